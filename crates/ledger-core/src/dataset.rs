//! Datasets: what their records hold, and which of them a federation accepts (protocol, section 2).

use crate::codec::{Decode, Encode};
use crate::ids::{ContentHash, Id, Label, Text};
use crate::license::{self, LicenseError};
use crate::limits::MAX_DATASET_TAGS;
use crate::score::Score;

/// Which datasets may be registered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DatasetRules {
    /// The licences that are accepted, in ascending order.
    pub licenses: Vec<Id>,
    /// The lowest quality that is accepted.
    pub min_quality: Score,
}

/// The licences accepted by default (SPDX), in ascending order.
const DEFAULT_LICENSES: [&str; 11] = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "MIT",
];

/// The lowest quality accepted by default, in millionths.
const DEFAULT_MIN_QUALITY: u32 = 700_000;

impl Default for DatasetRules {
    /// Open licences, and a quality of 0.7.
    fn default() -> Self {
        Self {
            licenses: DEFAULT_LICENSES.iter().map(|name| Id::new(name).expect("a short text")).collect(),
            min_quality: Score::from_millionths(DEFAULT_MIN_QUALITY).expect("in range"),
        }
    }
}

/// A dataset exists. The first registration of an id stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DatasetRegistered {
    /// The dataset.
    pub dataset_id: Id,
    /// What people call it.
    pub name: Id,
    /// A licence expression that holds with the federation's licences.
    pub license: Id,
    /// How good it is, as the station says.
    pub quality: Score,
    /// The SHA-256 of its bytes.
    pub sha256: ContentHash,
    /// Its length in bytes, as the station says.
    pub size: u64,
    /// What is in it; may be empty.
    pub description: Text,
    /// Where it comes from; may be empty.
    pub source: Text,
    /// Who made it; may be empty.
    pub creator: Label,
    /// What kind of music it holds; may be empty.
    pub genre: Label,
    /// At most 16 words, as given.
    pub tags: Vec<Id>,
}

/// Somebody computed the SHA-256 of a dataset's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DatasetVerified {
    /// The dataset.
    pub dataset_id: Id,
    /// The SHA-256 that was found.
    pub sha256: ContentHash,
}

/// Somebody rated a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DatasetRated {
    /// The dataset.
    pub dataset_id: Id,
    /// How good they found it.
    pub rating: Score,
}

/// Why a registration is not accepted. Each names the rule in genesis and the value that breaks it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatasetError {
    /// Against `datasets.licenses`.
    #[error("license `{license}` breaks the federation's rule datasets.licenses: {error}")]
    License {
        /// The licence given.
        license: Id,
        /// What is wrong with it.
        error: LicenseError,
    },
    /// Against `datasets.min_quality`.
    #[error("quality {quality} breaks the federation's rule datasets.min_quality: at least {least} is needed")]
    Quality {
        /// The quality given.
        quality: Score,
        /// The lowest accepted.
        least: Score,
    },
    /// More tags than the protocol allows.
    #[error("{count} tags are too many: give at most {MAX_DATASET_TAGS}")]
    Tags {
        /// Tags given.
        count: usize,
    },
}

impl DatasetRules {
    /// Judges a registration by itself and these rules.
    ///
    /// # Errors
    /// [`DatasetError`], the first that applies: licence, quality, tags.
    pub fn check(&self, dataset: &DatasetRegistered) -> Result<(), DatasetError> {
        let DatasetRegistered { license, quality, tags, .. } = dataset;
        license::check(license.as_str(), &self.licenses)
            .map_err(|error| DatasetError::License { license: license.clone(), error })?;
        if *quality < self.min_quality {
            return Err(DatasetError::Quality { quality: *quality, least: self.min_quality });
        }
        if tags.len() > MAX_DATASET_TAGS {
            return Err(DatasetError::Tags { count: tags.len() });
        }
        Ok(())
    }
}

/// How good a dataset is, as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QualityBand {
    /// Below 0.6.
    Low,
    /// Below 0.8.
    Medium,
    /// From 0.8.
    High,
}

impl QualityBand {
    /// The band of a quality.
    pub const fn of(quality: Score) -> Self {
        match quality.millionths() {
            0..600_000 => Self::Low,
            600_000..800_000 => Self::Medium,
            _ => Self::High,
        }
    }

    /// Its name in the API and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl std::fmt::Display for QualityBand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_of_quality_begin_at_their_lower_bound() {
        let band = |millionths| QualityBand::of(Score::from_millionths(millionths).expect("in range"));
        assert_eq!([599_999, 600_000, 799_999].map(band), [QualityBand::Low, QualityBand::Medium, QualityBand::Medium]);
        assert_eq!(band(800_000), QualityBand::High);
    }

    #[test]
    fn the_default_licences_are_in_their_one_order() {
        assert!(DatasetRules::default().licenses.is_sorted_by(|one, other| one < other));
    }
}
