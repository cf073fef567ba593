//! Licences as people write them: SPDX expressions, and the short names that everybody uses.

use qfzz_ledger_core::ids::Id;
use qfzz_ledger_core::limits::MAX_ID_BYTES;
use spdx::identifiers::LICENSES;
use spdx::{Expression, ParseMode};

/// Short names, in lower case with `-` for `_`, and the licence that each stands for. Where one leaves open which, it is
/// the one that grants least.
const SHORT_NAMES: [(&str, &str); 16] = [
    ("cc0", "CC0-1.0"),
    ("cc-0", "CC0-1.0"),
    ("cc-by", "CC-BY-4.0"),
    ("cc-by-sa", "CC-BY-SA-4.0"),
    ("cc-by-nc", "CC-BY-NC-4.0"),
    ("cc-by-nc-sa", "CC-BY-NC-SA-4.0"),
    ("cc-by-nd", "CC-BY-ND-4.0"),
    ("apache", "Apache-2.0"),
    ("apache-2", "Apache-2.0"),
    ("bsd", "BSD-3-Clause"),
    ("gpl", "GPL-3.0-only"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-2.0+", "GPL-2.0-or-later"),
    ("gpl-3.0", "GPL-3.0-only"),
    ("gpl-3.0+", "GPL-3.0-or-later"),
    ("gplv3", "GPL-3.0-only"),
];

/// Why a text is no licence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LicenseError {
    /// Longer than any expression may be.
    #[error("has {bytes} bytes: at most {MAX_ID_BYTES} are allowed")]
    TooLong {
        /// Bytes that it has.
        bytes: usize,
    },
    /// Not an expression over licences that SPDX lists.
    #[error("is no SPDX expression ({reason}): write one such as CC-BY-4.0, MIT or `MIT OR Apache-2.0`")]
    NotSpdx {
        /// The parser's words.
        reason: String,
    },
}

/// The SPDX expression that `text` stands for, its words in SPDX' own spelling.
///
/// # Errors
/// [`LicenseError`].
pub(crate) fn parse(text: &str) -> Result<Id, LicenseError> {
    let too_long = |text: &str| LicenseError::TooLong { bytes: text.len() };
    if text.len() > MAX_ID_BYTES {
        return Err(too_long(text));
    }
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_ascii_whitespace().map(spelt).collect();
    let expression = words.join(" ").replace("( ", "(").replace(" )", ")");
    let not_spdx = |reason: String| LicenseError::NotSpdx { reason };
    Expression::parse_mode(&expression, ParseMode::STRICT).map_err(|error| not_spdx(error.reason.to_string()))?;
    if expression.len() > MAX_ID_BYTES {
        return Err(too_long(&expression));
    }
    Id::new(&expression).map_err(|error| not_spdx(error.to_string()))
}

/// A word as SPDX spells it; as it is where SPDX has no such word.
fn spelt(word: &str) -> &str {
    let operators = ["AND", "OR", "WITH"];
    let lower = word.to_ascii_lowercase().replace('_', "-");
    let short = SHORT_NAMES.iter().find(|(name, _)| *name == lower).map(|(_, license)| *license);
    let operator = || operators.into_iter().find(|operator| operator.eq_ignore_ascii_case(word));
    let listed = || LICENSES.iter().map(|license| license.name).find(|name| name.eq_ignore_ascii_case(word));
    short.or_else(operator).or_else(listed).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use qfzz_ledger_core::dataset::DatasetRules;
    use qfzz_ledger_core::license;

    use super::*;

    #[test]
    fn short_names_and_other_spellings_stand_for_their_spdx_expression() {
        for (given, expected) in [
            ("CC-BY", "CC-BY-4.0"),
            ("CC_BY_SA", "CC-BY-SA-4.0"),
            ("cc0", "CC0-1.0"),
            ("mit", "MIT"),
            ("GPL", "GPL-3.0-only"),
            ("BSD", "BSD-3-Clause"),
            (" MIT  or ( cc-by and Apache-2.0 ) ", "MIT OR (CC-BY-4.0 AND Apache-2.0)"),
            ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception"),
        ] {
            assert_eq!(parse(given).map(|id| id.to_string()), Ok(expected.to_owned()), "{given}");
        }
    }

    #[test]
    fn what_spdx_does_not_list_is_refused() {
        for text in ["", "Proprietary", "MIT OR", "MIT/BSD", "all rights reserved", "(MIT", "M\u{7}IT", "MIT AND ()"] {
            assert!(matches!(parse(text), Err(LicenseError::NotSpdx { .. })), "{text}");
        }
        assert_eq!(parse(&"x".repeat(129)), Err(LicenseError::TooLong { bytes: 129 }));
    }

    #[test]
    fn each_short_name_is_one_of_spdx_and_the_ledger_reads_whatever_passes_here() {
        for (short, license) in SHORT_NAMES {
            assert_eq!(parse(short).map(|id| id.to_string()), Ok(license.to_owned()), "{short}");
        }
        for default in DatasetRules::default().licenses {
            assert_eq!(parse(default.as_str()).as_ref(), Ok(&default));
        }
        for text in ["(mit)", "mit and (gpl or BSD)", "LicenseRef-mine", "DocumentRef-a:LicenseRef-b", "Apache-2.0+"] {
            let parsed = parse(text).expect(text);
            assert_ne!(license::check(parsed.as_str(), &[]), Err(license::LicenseError::Malformed), "{parsed}");
        }
    }
}
