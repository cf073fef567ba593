//! What stands under the keys of the trust state.

use super::admission::AdmissionState;
use super::answers::{Answers, Duty, Expiring, GivenTo};
use super::dataset::{DatasetLedger, DatasetOpinion};
use super::draw::JuryState;
use super::index::LogBlock;
use super::sums::Sums;
use crate::codec::{Decode, Encode};
use crate::federation::Rules;
use crate::ids::{BatchId, BlockHash, Height, Id, Name, Sequence, StationId};
use crate::score::Score;
use crate::time::Timestamp;

/// Anything that stands under a [`Key`](super::Key).
///
/// Small: a full block changes tens of thousands of keys, and each value is held three times until it is on disk. What
/// is rare is boxed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Value {
    /// Under `Chain`.
    Chain(Box<ChainState>),
    /// Under `Station`.
    Station(Box<StationState>),
    /// Under `StationNumber` and `RosterPlace`.
    StationNumber(Box<StationId>),
    /// A user's ledger part.
    User(UserLedger),
    /// A content's ledger part.
    Content(Box<ContentLedger>),
    /// A creator's ledger part.
    Creator(CreatorLedger),
    /// Opinions about a user, by station number.
    UserOpinions(Vec<UserOpinion>),
    /// Opinions about a content, by station number.
    ContentOpinions(Vec<ContentOpinion>),
    /// Opinions about a creator, by station number.
    CreatorOpinions(Vec<CreatorOpinion>),
    /// Under `Equivocation`.
    Equivocation(RecordPlace),
    /// Under `Equivocators`.
    Equivocators(u32),
    /// A dataset's ledger part.
    Dataset(Box<DatasetLedger>),
    /// Opinions about a dataset, by station number.
    DatasetOpinions(Vec<DatasetOpinion>),
    /// Under `Datasets`.
    Datasets(u32),
    /// Under `DatasetNumber`.
    DatasetNumber(Id),
    /// Under `Admission`.
    Admission(Box<AdmissionState>),
    /// Under `RosterLen`.
    RosterLen(u32),
    /// Under `MlDsaKey`: 1,952 bytes.
    MlDsaKey(Vec<u8>),
    /// Under `AdmittedKey`.
    KeyHash(Box<[u8; 32]>),
    /// Under `BlockHeight`.
    BlockHeight(Height),
    /// Under `LogBlocks`, by sequence.
    LogBlocks(Vec<LogBlock>),
    /// Under `Sums`.
    Sums(Box<Sums>),
    /// Under `Answers`.
    Answers(Answers),
    /// Under `AnswersBy`, oldest first.
    AnswersBy(Vec<GivenTo>),
    /// Under `Duty`.
    Duty(Box<Duty>),
    /// Under `Expiring`.
    Expiring(Expiring),
    /// Under `Disputed`: the height of the block with the dispute.
    Disputed(Height),
    /// Under `Jury`.
    Jury(Box<JuryState>),
}

/// The head, and what a query should not have to count.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ChainState {
    /// The head's height.
    pub height: Height,
    /// The head.
    pub head: BlockHash,
    /// The head's draw.
    pub draw: [u8; 32],
    /// Records on the branch.
    pub records: u64,
    /// Distinct users on the branch.
    pub users: u64,
    /// Distinct (content, creator) pairs on the branch.
    pub contents: u64,
    /// Stations with a batch on the branch; the next one's number.
    pub stations: u32,
}

impl ChainState {
    /// The state of a chain that is genesis alone.
    pub fn genesis(rules: &Rules) -> Self {
        let head = rules.genesis_hash();
        Self { height: Height::ZERO, head, draw: *head.as_bytes(), records: 0, users: 0, contents: 0, stations: 0 }
    }
}

/// What a branch knows of one station.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StationState {
    /// Its number on this branch, in order of first appearance.
    pub number: u32,
    /// What it calls itself.
    pub name: Name,
    /// The sequence of its next batch.
    pub next: Sequence,
    /// Its newest batch.
    pub last: BatchId,
    /// Its records.
    pub records: u64,
    /// Blocks that it produced.
    pub produced: u64,
    /// What its next reveal must open: its newest reveal, or its commitment.
    pub reveal: [u8; 32],
}

/// What all records say about a user.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UserLedger {
    /// 0.5, then every delta, clamped each time.
    pub score: Score,
    /// User actions.
    pub actions: u64,
}

/// When a station's opinion began: what the order rule of global trust compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Since {
    /// The height of the block with its first evidence; 0 while there is none.
    pub first: Height,
    /// The height of the head that its author had seen when it signed that evidence. Of founders alone, for nobody
    /// else's is asked for; none where that block is not on this branch.
    pub seen: Option<Height>,
}

/// What one station's records say about a user.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UserOpinion {
    /// The station's number.
    pub station: u32,
    /// The same fold over its records alone.
    pub score: Score,
    /// Its user actions.
    pub actions: u64,
    /// When it began.
    pub since: Since,
}

/// Where a station said something: the rest of a [`RecordId`](crate::ids::RecordId).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RecordPlace {
    /// The station's number.
    pub station: u32,
    /// The batch.
    pub sequence: Sequence,
    /// The index in the batch.
    pub index: u16,
}

/// What all records say about a content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ContentLedger {
    /// Its score while nobody has verified or reported it.
    pub initial_score: Score,
    /// Verifications by all stations.
    pub verifications: u64,
    /// Reports by all stations.
    pub reports: u64,
    /// The newest addition by the station that added it first; none while it was only verified or reported.
    pub added: Option<RecordPlace>,
    /// When the batch that first named it was signed.
    pub created_at: Timestamp,
    /// When the batch that last changed it was signed.
    pub updated_at: Timestamp,
}

impl ContentLedger {
    /// Its score.
    pub fn score(&self) -> Score {
        Score::of_content(self.verifications, self.reports).unwrap_or(self.initial_score)
    }
}

/// What one station's records say about a content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ContentOpinion {
    /// The station's number.
    pub station: u32,
    /// The initial score that it gave; 0.5 where it gave none.
    pub initial_score: Score,
    /// Its verifications.
    pub verifications: u64,
    /// Its reports.
    pub reports: u64,
    /// Its newest addition, which has its metadata.
    pub added: Option<RecordPlace>,
    /// When its evidence began.
    pub since: Since,
}

impl ContentOpinion {
    /// The station's score for it.
    pub fn score(&self) -> Score {
        Score::of_content(self.verifications, self.reports).unwrap_or(self.initial_score)
    }
}

/// What all records say about a creator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct CreatorLedger {
    /// The creator's contents.
    pub contents: u64,
    /// The sum of their scores, in millionths.
    pub sum: u64,
    /// Their verifications and reports.
    pub evidence: u64,
}

impl CreatorLedger {
    /// The mean over the creator's contents; 0.5 when none.
    pub fn score(&self) -> Score {
        Score::mean(self.sum, self.contents).unwrap_or(Score::HALF)
    }
}

/// What one station's records say about a creator.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CreatorOpinion {
    /// The station's number.
    pub station: u32,
    /// The same sums over its records alone.
    pub totals: CreatorLedger,
}
