//! The trust state: what follows from the blocks of one branch (protocol, section 5).
//!
//! It is a map from [`Key`] to [`Value`] that the node keeps on disk. This module reads it through one small port
//! ([`StateRead`]) and returns what changes as values: [`connect`] gives a block's writes and its undo data. A query
//! reads a few keys whatever the chain's length: a subject's ledger part lies under group 0, the opinions of the
//! stations with numbers 64 n to 64 n + 63 under group n + 1; nothing ever splits or moves.

mod admission;
mod answers;
mod audit;
mod connect;
mod dataset;
mod draw;
mod duties;
mod explain;
mod index;
mod past;
mod query;
mod scratch;
mod settle;
mod sums;
mod value;
mod weights;

pub use admission::{
    AdmissionState, Founders, Standing, admission, expected_key_hash, is_vouched, roster_at, roster_len, standing,
};
pub use answers::{Answers, Duty, Expiring, GivenTo, Juror, duty, jury_answers, verdict};
pub use audit::{DRAW_COST, Fate, JUROR_WEIGHT, MAX_ANSWERS, Pick};
pub use connect::{ConnectError, Connected, connect};
pub use dataset::{DatasetEvidence, DatasetLedger, DatasetOpinion, DatasetTrust, dataset_count, dataset_id};
pub use draw::{Audit, DUTY_BLOCKS, Disputed, JuryState, jury_state};
#[cfg(feature = "testing")]
pub use draw::{asked, draw_among, with_credit};
pub use duties::{EndingPlace, OpenDuty, disputed_at, duties_of, place_of, record_height, record_id};
pub use explain::{Explanation, MAX_EARLIER, Rewound, Step, Then, explain};
pub use index::LogBlock;
pub use past::{BlockRead, RecentBlocks};
pub use query::{
    ContentTrust, CreatorTrust, Opinion, OpinionDetail, Opinions, Trust, UserTrust, opinion_of, opinion_with, opinions,
    station_id,
};
pub use scratch::{PendingRecord, Scratch};
pub use sums::{JurySums, PairSums, Sums, agreement, difference, information, sums};
pub use value::{
    ChainState, ContentLedger, ContentOpinion, CreatorLedger, CreatorOpinion, RecordPlace, Since, StationState,
    UserLedger, UserOpinion, Value,
};
pub use weights::{StationWeight, Weights, weights};

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::{Decode, Encode};
use crate::federation::Rules;
use crate::ids::{BlockHash, Height, StationId};
use crate::ml_dsa::MlDsaKey;
use crate::record::Subject;
use crate::severity::Severity;

/// Stations whose opinions about a subject share one value: so none exceeds 4 KiB.
pub const STATIONS_PER_GROUP: u32 = 64;

/// Where something stands in the trust state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Key {
    /// [`ChainState`]: the head, and totals.
    Chain,
    /// [`StationState`] of a station that has a batch on the branch.
    Station(StationId),
    /// The station with a number; numbers count from 0 in order of first appearance.
    StationNumber(u32),
    /// A subject's ledger part (group 0) or the opinions of 64 stations (group 1 + number / 64).
    Subject(Subject, u32),
    /// Where the record stands that first proved a station's equivocation.
    Equivocation(StationId),
    /// How many of the founders and of the stations with a batch on the branch equivocated.
    Equivocators,
    /// How many datasets are registered.
    Datasets,
    /// The dataset with a number; numbers count from 0 in order of registration.
    DatasetNumber(u32),
    /// [`AdmissionState`] of a station that a founder admitted or wanted expelled.
    Admission(StationId),
    /// The station that founders spoke of as the n-th, from 0.
    RosterPlace(u32),
    /// How many stations founders have spoken of.
    RosterLen,
    /// The height of a block of the branch above genesis.
    BlockHeight(BlockHash),
    /// The blocks that hold the batches 64 n to 64 n + 63 of the station with a number.
    LogBlocks(u32, u64),
    /// [`Sums`] of the station with a number.
    Sums(u32),
    /// Jurors' answers about a content or dataset, or about the claim of the station with a number about a user: those
    /// from 512 n on. The first of these values has the totals.
    Answers(Subject, Option<u32>, u32),
    /// What the station with a number gave its counted answers 8 n to 8 n + 7 about.
    AnswersBy(u32, u32),
    /// Who was drawn to check a record, for 1,024 blocks.
    Duty(RecordPlace),
    /// Duties and disputes that end with the block at a height.
    Expiring(Height),
    /// That a record was disputed, for 1,024 blocks.
    Disputed(RecordPlace),
    /// [`JuryState`].
    Jury,
    /// The ML-DSA key that a station introduced itself with.
    MlDsaKey(StationId),
    /// The hash of the ML-DSA key that a station must introduce itself with, as the first admission since it was last
    /// expelled names it.
    AdmittedKey(StationId),
}

/// Changes to the trust state: each key's new value, or its absence.
pub type Writes = BTreeMap<Key, Option<Value>>;

/// What the keys that a block touched held before: its undo data.
pub type Undo = BTreeMap<Key, Option<Value>>;

/// The state could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What is stored is not what was written.
    #[error("{what} in the store is damaged: stop the node and run `qfzz doctor --repair`")]
    Damaged {
        /// What was read.
        what: &'static str,
    },
    /// The disk or the database refused.
    #[error("{what} cannot be read from the store: {kind}")]
    Unavailable {
        /// What was read.
        what: &'static str,
        /// The kind of the error.
        kind: std::io::ErrorKind,
    },
}

impl ReadError {
    /// Always our own trouble.
    pub const fn severity(&self) -> Severity {
        Severity::Fatal
    }
}

/// The port through which the trust state is read.
pub trait StateRead {
    /// The value under `key`, if there is one.
    ///
    /// # Errors
    /// [`ReadError`], which stops the node.
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError>;
}

impl<R: StateRead + ?Sized> StateRead for &R {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        (**self).get(key)
    }
}

/// The port through which the trust state is looked through: only a policy that compares everybody with everybody does.
pub trait StateScan: StateRead {
    /// The users, contents and datasets that stations have records about. One that nobody has any more does no harm.
    ///
    /// # Errors
    /// [`ReadError`].
    fn judged_subjects(&self) -> Result<BTreeSet<Subject>, ReadError>;
}

impl<R: StateScan + ?Sized> StateScan for &R {
    fn judged_subjects(&self) -> Result<BTreeSet<Subject>, ReadError> {
        (**self).judged_subjects()
    }
}

impl Key {
    /// The user, content or dataset that stations have records about, where this is such a key.
    pub fn judged_subject(&self) -> Option<&Subject> {
        match self {
            Self::Subject(Subject::Creator(_), _) | Self::Subject(_, 0) => None,
            Self::Subject(subject, _) => Some(subject),
            _ => None,
        }
    }
}

/// A state in memory: the empty one of genesis, and what was written since.
impl StateRead for Writes {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        Ok(self.get(key).cloned().flatten())
    }
}

impl StateScan for Writes {
    fn judged_subjects(&self) -> Result<BTreeSet<Subject>, ReadError> {
        Ok(self.keys().filter_map(Key::judged_subject).cloned().collect())
    }
}

/// Writes on top of another state.
pub struct Layer<'a, R: ?Sized> {
    below: &'a R,
    writes: Writes,
}

impl<'a, R: StateRead + ?Sized> Layer<'a, R> {
    /// No writes yet.
    pub fn new(below: &'a R) -> Self {
        Self { below, writes: Writes::new() }
    }

    /// Puts `writes` on top.
    pub fn apply(&mut self, writes: Writes) {
        self.writes.extend(writes);
    }

    /// All that was put on top, the last of each key.
    pub fn into_writes(self) -> Writes {
        self.writes
    }
}

impl<R: StateRead + ?Sized> StateRead for Layer<'_, R> {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.below.get(key),
        }
    }
}

/// The ledger's state at the head; that of genesis before the first block.
///
/// # Errors
/// [`ReadError`].
pub fn chain_state(read: &impl StateRead, rules: &Rules) -> Result<ChainState, ReadError> {
    Ok(match read.get(&Key::Chain)? {
        Some(Value::Chain(chain)) => *chain,
        Some(_) => return Err(ReadError::Damaged { what: "the chain's totals" }),
        None => ChainState::genesis(rules),
    })
}

/// Where the record stands that first proved on the branch that `station` equivocated; `None` of an honest station.
///
/// # Errors
/// [`ReadError`].
pub fn equivocation(read: &impl StateRead, station: &StationId) -> Result<Option<RecordPlace>, ReadError> {
    match read.get(&Key::Equivocation(*station))? {
        Some(Value::Equivocation(place)) => Ok(Some(place)),
        Some(_) => Err(ReadError::Damaged { what: "the place of a proof" }),
        None => Ok(None),
    }
}

/// How many of the founders and of the stations with a batch on the branch equivocated.
///
/// # Errors
/// [`ReadError`].
pub fn equivocators(read: &impl StateRead) -> Result<u32, ReadError> {
    match read.get(&Key::Equivocators)? {
        Some(Value::Equivocators(count)) => Ok(count),
        Some(_) => Err(ReadError::Damaged { what: "the number of equivocators" }),
        None => Ok(0),
    }
}

/// The ML-DSA key that `station` introduced itself with on the branch; `None` while it has no batch there, and where
/// stations sign without one.
///
/// # Errors
/// [`ReadError`].
pub fn ml_dsa_key(read: &impl StateRead, station: &StationId) -> Result<Option<MlDsaKey>, ReadError> {
    match read.get(&Key::MlDsaKey(*station))? {
        Some(value) => Ok(Some(key_of(&value)?)),
        None => Ok(None),
    }
}

/// The key in a value.
fn key_of(value: &Value) -> Result<MlDsaKey, ReadError> {
    let key = match value {
        Value::MlDsaKey(bytes) => MlDsaKey::from_bytes(bytes),
        _ => None,
    };
    key.ok_or(ReadError::Damaged { what: "a station's ML-DSA key" })
}

/// What the branch knows of a station; `None` while it has no batch there.
///
/// # Errors
/// [`ReadError`].
pub fn station_state(read: &impl StateRead, station: &StationId) -> Result<Option<StationState>, ReadError> {
    match read.get(&Key::Station(*station))? {
        Some(Value::Station(state)) => Ok(Some(*state)),
        Some(_) => Err(ReadError::Damaged { what: "a station's entry" }),
        None => Ok(None),
    }
}
