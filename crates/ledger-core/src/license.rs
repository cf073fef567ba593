//! Licences of datasets: expressions over the licences that genesis lists.
//!
//! What is valid must never depend on a list that others change, so consensus knows no SPDX list: this small grammar is
//! frozen, and a licence is allowed where genesis lists its exact text. Whether an expression is one of SPDX is for the
//! node that writes it.
//!
//! ```text
//! any  = all *("OR" all)
//! all  = one *("AND" one)
//! one  = "(" any ")" / word ["WITH" word]
//! word = 1*(ALPHA / DIGIT / "." / "+" / "-" / ":")
//! ```
//!
//! Tokens are separated by spaces; parentheses need none. `X WITH Y`, with one space on each side, is one licence.

use crate::ids::Id;

/// Why a licence is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LicenseError {
    /// The text is no expression of the grammar.
    #[error("is not a licence expression: write one such as `MIT` or `CC-BY-4.0 OR MIT`")]
    Malformed,
    /// A licence that genesis does not list, and that no alternative makes up for.
    #[error("`{license}` is not among the federation's licences")]
    NotAllowed {
        /// The first such licence.
        license: String,
    },
}

/// Checks that `expression` is one, and that it holds with the `allowed` licences alone: all sides of an `AND`, one side
/// of an `OR`. `allowed` is in ascending order.
///
/// # Errors
/// [`LicenseError`].
pub fn check(expression: &str, allowed: &[Id]) -> Result<(), LicenseError> {
    let mut reader = Reader { tokens: tokens(expression)?, next: 0, allowed };
    let culprit = reader.any()?;
    match (reader.peek(), culprit) {
        (Some(_), _) => Err(LicenseError::Malformed),
        (None, Some(license)) => Err(LicenseError::NotAllowed { license }),
        (None, None) => Ok(()),
    }
}

fn tokens(text: &str) -> Result<Vec<&str>, LicenseError> {
    let mut tokens = Vec::new();
    for part in text.split(' ').flat_map(|part| part.split_inclusive(['(', ')'])) {
        let (word, parenthesis) = match part.find(['(', ')']) {
            Some(at) => part.split_at(at),
            None => (part, ""),
        };
        if !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-:".contains(&byte)) {
            return Err(LicenseError::Malformed);
        }
        tokens.extend([word, parenthesis].into_iter().filter(|token| !token.is_empty()));
    }
    Ok(tokens)
}

/// Reads tokens; each step gives the first licence that it fails for, if it does. An id's length bounds its depth.
struct Reader<'a> {
    tokens: Vec<&'a str>,
    next: usize,
    allowed: &'a [Id],
}

type Culprit = Option<String>;

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).copied()
    }

    fn take(&mut self, token: &str) -> bool {
        let is_there = self.peek() == Some(token);
        self.next += usize::from(is_there);
        is_there
    }

    fn any(&mut self) -> Result<Culprit, LicenseError> {
        let mut culprit = self.all()?;
        while self.take("OR") {
            let other = self.all()?;
            culprit = culprit.filter(|_| other.is_some());
        }
        Ok(culprit)
    }

    fn all(&mut self) -> Result<Culprit, LicenseError> {
        let mut culprit = self.one()?;
        while self.take("AND") {
            let other = self.one()?;
            culprit = culprit.or(other);
        }
        Ok(culprit)
    }

    fn one(&mut self) -> Result<Culprit, LicenseError> {
        if self.take("(") {
            let culprit = self.any()?;
            return if self.take(")") { Ok(culprit) } else { Err(LicenseError::Malformed) };
        }
        let word = self.word()?;
        let license = if self.take("WITH") { format!("{word} WITH {}", self.word()?) } else { word.to_owned() };
        let is_allowed = self.allowed.binary_search_by(|allowed| allowed.as_str().cmp(&license)).is_ok();
        Ok((!is_allowed).then_some(license))
    }

    fn word(&mut self) -> Result<&'a str, LicenseError> {
        let word = self.peek().filter(|token| !["(", ")", "AND", "OR", "WITH"].contains(token));
        self.next += 1;
        word.ok_or(LicenseError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(expression: &str) -> Result<(), LicenseError> {
        let allowed = ["Apache-2.0 WITH LLVM-exception", "CC-BY-4.0", "MIT"].map(|text| Id::new(text).expect("an id"));
        check(expression, &allowed)
    }

    #[test]
    fn an_expression_holds_with_the_listed_licences_alone() {
        for held in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "GPL-3.0-only OR MIT",
            "MIT AND CC-BY-4.0",
            "(MIT)",
            "((MIT)OR(X))AND CC-BY-4.0",
            "X AND Y OR MIT",
            "Apache-2.0 WITH LLVM-exception",
            "  MIT  ",
        ] {
            assert_eq!(judge(held), Ok(()), "{held}");
        }
        for (refused, license) in [
            ("GPL-3.0-only", "GPL-3.0-only"),
            ("mit", "mit"),
            ("MIT+", "MIT+"),
            ("MIT AND X", "X"),
            ("X AND Y", "X"),
            ("X OR Y", "X"),
            ("MIT AND (X OR Y)", "X"),
            ("X AND (Y OR MIT)", "X"),
            ("Apache-2.0", "Apache-2.0"),
            ("MIT WITH X", "MIT WITH X"),
        ] {
            assert_eq!(judge(refused), Err(LicenseError::NotAllowed { license: license.to_owned() }), "{refused}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_also_where_a_part_would_hold() {
        let deep = "(".repeat(128);
        for text in [
            "",
            " ",
            "MIT OR",
            "OR MIT",
            "MIT MIT",
            "MIT)",
            "(MIT",
            "()",
            "MIT WITH",
            "MIT AND AND MIT",
            "M/T",
            "MIT,",
            "WITH",
            &deep,
        ] {
            assert_eq!(judge(text), Err(LicenseError::Malformed), "{text}");
        }
    }
}
