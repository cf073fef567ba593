//! Why a file is refused: the first block that is wrong, and what is wrong with it.

use qfzz_ledger_core::ids::IdError;

use super::elements::ElementError;
use super::parse::ParseError;

/// The first block that is wrong. The whole file is refused with it.
#[derive(Debug, thiserror::Error)]
#[error("block {block}: {reason}")]
pub struct Fault {
    /// Its place in the file, from 0.
    pub block: u64,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a block.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It cannot be read.
    #[error(transparent)]
    Element(#[from] ElementError),
    /// It is not JSON.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The file holds no block.
    #[error("the file holds no block: give a file that was exported")]
    Empty,
    /// A file of none of the kinds that are read here.
    #[error("it is no block of a chain or station ledger, for it has neither `records` nor `event_type`")]
    UnknownKind,
    /// A member that such a block or record has is missing.
    #[error("{within} has no `{member}`")]
    Missing {
        /// The block, or one of its records.
        within: Within,
        /// The member's name.
        member: &'static str,
    },
    /// A member that such a block does not have: no hash covers it.
    #[error("it has a member {member} that such a block does not have")]
    Unknown {
        /// The member's name as Python writes it.
        member: String,
    },
    /// A member of another kind than it should be.
    #[error("`{member}` of {within} is {found}, not {expected}")]
    WrongKind {
        /// The block, or one of its records.
        within: Within,
        /// The member's name.
        member: &'static str,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Its index is not its place.
    #[error("its index is {found}")]
    Index {
        /// The index found.
        found: String,
    },
    /// It does not name the hash of the block before.
    #[error("it names {found} as the block before, which is {expected}")]
    Link {
        /// What it names, as Python writes it.
        found: String,
        /// The hash of the block before; `0` for block 0.
        expected: String,
    },
    /// Its hash is not that of what it holds: something in it was changed.
    #[error("its hash is {found}, but what it holds has the hash {computed}: it was changed after it was made")]
    Hash {
        /// What it says, as Python writes it.
        found: String,
        /// What follows from its members.
        computed: String,
    },
    /// A text that is hashed as UTF-8, and cannot be written so.
    #[error("`{member}` is not Unicode text")]
    NotUnicode {
        /// The member's name.
        member: &'static str,
    },
    /// An id that no record of this version can hold.
    #[error("`{member}` of {within} {error}")]
    Id {
        /// The record.
        within: Within,
        /// The member's name.
        member: &'static str,
        /// Why not.
        error: IdError,
    },
    /// A score outside 0 to 1.
    #[error("`trust_score` of {within} is {found}, not a number from 0 to 1")]
    Score {
        /// The record.
        within: Within,
        /// The score found.
        found: String,
    },
    /// More records than are taken of one file.
    #[error("with {within} the file makes more than {limit} records: that is too much for one import")]
    TooMany {
        /// The record.
        within: Within,
        /// The limit.
        limit: u64,
    },
}

/// The block itself, or one of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// The block.
    Block,
    /// The record with this index in the block.
    Record(usize),
}

impl std::fmt::Display for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Block => f.write_str("it"),
            Self::Record(index) => write!(f, "record {index}"),
        }
    }
}
