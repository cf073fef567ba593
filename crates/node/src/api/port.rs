//! What the API needs of the node: one small trait, so that it knows neither service, store nor network.
//!
//! Every answer fixes one head first and shows the state at it. What a caller drops (a client that hangs up) may be
//! abandoned, except [`Station::submit`]: what it was given is stored whole or not at all.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::stream::BoxStream;
use qfzz_ledger_core::dataset::{DatasetRated, DatasetRegistered, DatasetVerified};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{
    BlockHash, ContentHash, FederationId, Height, Id, Label, Name, Reason, RecordId, StationId,
};
use qfzz_ledger_core::proof::RecordProof;
use qfzz_ledger_core::record::{Record, Subject};
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::state::EndingPlace;
use qfzz_ledger_core::testimony::Answer;
use qfzz_ledger_core::time::Timestamp;
#[cfg(doc)]
use qfzz_sync::global_trust::MAX_LISTED;
use qfzz_sync::global_trust::Policy;
use qfzz_sync::report::SyncReport;

use super::block::{Block, FoundRecord};
use super::dto::{
    ContentTrust, CreatorTrust, Dataset, DatasetChange, DatasetPage, DatasetTrust, Dialled, Draws, DutyPage,
    GlobalTrust, Imported, Invitation, Peer, Readiness, Receipt, StationInfo, Statistics, Status, UserTrust,
    Verification,
};
use super::problem::Code;
use crate::events::Events;
use crate::metrics::{Figures, Metrics};
use crate::quantum::QuantumStatus;

/// Blocks of the best chain, by rising height.
pub type BlockStream = BoxStream<'static, Result<Block, PortError>>;

/// A file as it comes; an error ends it.
pub type Upload = BoxStream<'static, Result<Bytes, io::Error>>;

/// Why the node did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// It belongs to no federation yet.
    #[error("this station has no federation yet")]
    NoFederation,
    /// The other side belongs to another federation.
    #[error("the peer belongs to the federation `{name}` ({id})")]
    OtherFederation {
        /// What the other federation calls itself.
        name: Name,
        /// Its id.
        id: FederationId,
    },
    /// Not an address, ticket or peer id, or one that cannot be used.
    #[error("the address {reason}")]
    BadAddress {
        /// What is wrong with it, such as "is not a multiaddress".
        reason: String,
    },
    /// Several blocks have a hash that begins as given.
    #[error("several blocks have a hash that begins so")]
    SeveralBlocks,
    /// A user's score is below this station's threshold.
    #[error("the user `{user}` has a score of {score}, below this station's trust.submit_threshold of {threshold}")]
    BelowThreshold {
        /// Who.
        user: Id,
        /// What they have.
        score: Score,
        /// What is asked for.
        threshold: Score,
    },
    /// The dataset is registered already.
    #[error("the dataset `{dataset}` is registered already, by {station}")]
    DatasetExists {
        /// Which.
        dataset: Id,
        /// By whom.
        station: StationId,
    },
    /// The dataset is not registered.
    #[error("no dataset `{dataset}` is registered")]
    UnknownDataset {
        /// Which.
        dataset: Id,
    },
    /// Another SHA-256 was found than the registered one.
    #[error("this is not the dataset `{dataset}`: its SHA-256 is {found}, registered is {registered}")]
    DatasetMismatch {
        /// Which.
        dataset: Id,
        /// The registered one.
        registered: ContentHash,
        /// The one found.
        found: ContentHash,
    },
    /// The federation's table lacks an action that must be written.
    #[error("the federation's table has no action `{action}`")]
    NoAction {
        /// Which.
        action: &'static str,
    },
    /// The peer that was named is not connected.
    #[error("the peer is not connected")]
    NotConnected,
    /// The peer could not be reached.
    #[error("the peer cannot be reached: {reason}")]
    Unreachable {
        /// What every try ended with.
        reason: String,
    },
    /// It cannot do this yet, and will later.
    #[error("the station is not ready: {reason}")]
    NotReady {
        /// What it waits for.
        reason: String,
    },
    /// It does not know its own log yet, so it signs nothing.
    #[error("{reason}")]
    LogUnknown {
        /// What it waits for.
        reason: String,
    },
    /// Another daemon was seen that signs with its key, and may be running.
    #[error("{reason}")]
    AnotherSeen {
        /// What is known of it.
        reason: String,
    },
    /// Another daemon that was started earlier signs with its key, so this one signs nothing.
    #[error("{reason}")]
    AnotherDaemon {
        /// What is known of it.
        reason: String,
    },
    /// A file that is to be imported does not hold.
    #[error("the file is refused, and nothing of it is kept: {reason}")]
    BadImport {
        /// The first block that is wrong, and what is wrong with it.
        reason: String,
    },
    /// An export is to be imported, and the station has a chain of its own.
    #[error("the export cannot be imported: {reason}")]
    NotEmpty {
        /// What the station has.
        reason: String,
    },
    /// A file broke off while it came.
    #[error("the file did not arrive whole ({reason})")]
    BrokeOff {
        /// What the connection said.
        reason: String,
    },
    /// Its testimony would count for nothing.
    #[error(transparent)]
    NotAsked(#[from] NotAsked),
    /// Who takes part says no.
    #[error(transparent)]
    Roster(#[from] Refusal),
    /// Its queues are full.
    #[error("the station is busy")]
    Busy,
    /// The disk is full; reads go on.
    #[error("the disk is full")]
    DiskFull,
    /// It is stopping.
    #[error("the station is stopping")]
    Stopping,
    /// It failed; whatever was asked is not done.
    #[error("the station failed: {reason}")]
    Failed {
        /// What failed.
        reason: String,
    },
}

/// Why a testimony of this station about a record would count for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// It wrote the record itself.
    #[error("the record is this station's own, and a station's word about itself never counts")]
    OwnRecord,
    /// No block has drawn it for this record.
    #[error("this station was not drawn to check that record")]
    NotDrawn,
    /// It has answered.
    #[error("this station has answered about that record already, and only the first answer counts")]
    Answered,
    /// The blocks in which an answer counts are over.
    #[error("that record is too old: an answer counts for 1,024 blocks from the draw")]
    Expired,
    /// It is proven to have signed two batches with one sequence.
    #[error("this station has signed two batches with one sequence, so its answers count for nothing")]
    Equivocated,
}

impl NotAsked {
    /// What programs tell it by, and what helps.
    pub(crate) const fn code_and_remedy(self) -> (Code, &'static str) {
        match self {
            Self::OwnRecord => {
                (Code::OwnRecord, "leave it to the others; `qfzz duties` lists what this station is asked")
            }
            Self::NotDrawn => (
                Code::NotDrawn,
                "`qfzz duties` lists what it is asked, `qfzz duties --explain` who was drawn; to have the record checked again, dispute it: add a record of the kind `testimony`",
            ),
            Self::Answered => (Code::AlreadyAnswered, "there is nothing more to do"),
            Self::Expired => (Code::DutyExpired, "say what you found by a record of your own"),
            Self::Equivocated => (Code::NotDrawn, "start a new station: `qfzz init` in an empty --data-dir"),
        }
    }
}

/// What a founder says of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// That it may take part.
    Admit {
        /// The hash of its ML-DSA key: needed where stations sign with `hybrid`, unless it is known on the chain.
        ml_dsa_key_hash: Option<[u8; 32]>,
    },
    /// That it be expelled.
    Expel,
}

/// Why something about who takes part is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has to be admitted.
    #[error("admission to this federation is open: every station takes part")]
    AdmissionOpen,
    /// This station is none of the founders.
    #[error("this station is no founder of the federation")]
    NotAFounder,
    /// The word is about a founder.
    #[error("that station is a founder")]
    FounderStays,
    /// Nobody has admitted the station that is to be expelled.
    #[error("that station is not admitted")]
    NotAdmitted,
    /// An admission has to name the newcomer's ML-DSA key.
    #[error("stations of this federation sign with `hybrid`, and an admission names the newcomer's ML-DSA key")]
    KeyHashMissing,
    /// Stations sign without such a key.
    #[error("stations of this federation sign with `ed25519` alone")]
    KeyHashUnused,
    /// Another key is expected of that station already: the admission would have no effect.
    #[error("that station has, or was admitted with, another ML-DSA key")]
    OtherKey,
    /// This station is not admitted.
    #[error("this station is not admitted to the federation")]
    Stranger,
    /// The invitation was used by another station.
    #[error("the invitation was used already")]
    InvitationUsed,
    /// The invitation's time is over.
    #[error("the invitation has expired")]
    InvitationExpired,
    /// The founder has made no such invitation.
    #[error("the founder knows no such invitation")]
    InvitationUnknown,
    /// This station was expelled, which no invitation undoes.
    #[error("this station was expelled from the federation")]
    StationExpelled,
}

impl Refusal {
    /// What programs tell it by, and what helps.
    pub(crate) const fn code_and_remedy(self) -> (Code, &'static str) {
        match self {
            Self::AdmissionOpen => (Code::AdmissionOpen, "give newcomers what `qfzz ticket` prints"),
            Self::NotAFounder => (Code::NotAFounder, "ask a founder to do it: see `qfzz station list`"),
            Self::FounderStays => (Code::FounderStays, "founders take part for good, and nobody can expel them"),
            Self::NotAdmitted => (Code::NotAdmitted, "check its id: see `qfzz station list`"),
            Self::KeyHashMissing => (
                Code::MissingField,
                "give the key hash that `qfzz status` shows there: `--key-hash`, or `ml_dsa_key_hash`",
            ),
            Self::KeyHashUnused => (Code::UnknownField, "leave the key hash out"),
            Self::OtherKey => (
                Code::OtherKey,
                "compare the key hash with what `qfzz status` shows there; if it was admitted with a wrong one, more than half of the founders must expel it first",
            ),
            Self::Stranger => (
                Code::NotAdmitted,
                "ask a founder: there `qfzz station admit` and this station's id, or an invitation by `qfzz ticket --invite`",
            ),
            Self::InvitationUsed => {
                (Code::InvitationUsed, "ask the founder for another one, which `qfzz ticket --invite` prints")
            }
            Self::InvitationExpired => {
                (Code::InvitationExpired, "ask the founder for a new one, which `qfzz ticket --invite` prints")
            }
            Self::InvitationUnknown => (
                Code::InvitationUnknown,
                "copy the ticket again, whole, or ask the founder for another one, which `qfzz ticket --invite` prints",
            ),
            Self::StationExpelled => {
                (Code::StationExpelled, "more than half of the founders must admit it again: `qfzz station admit`")
            }
        }
    }
}

/// Which block of the best chain, or which block at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockAt {
    /// The head.
    Latest,
    /// The one at this height of the best chain.
    Index(Height),
    /// The one with this hash, also off the best chain as long as its body is kept.
    Hash(BlockHash),
    /// The only one whose hash is not below the first and not above the last.
    Within(BlockHash, BlockHash),
}

/// A question about global trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalQuery {
    /// About whom or what.
    pub subject: Subject,
    /// Whose opinions to combine, at most [`MAX_LISTED`]; `None`: all that take part.
    pub nodes: Option<BTreeSet<StationId>>,
    /// How to combine them; `None`: as configured.
    pub policy: Option<Policy>,
    /// Whether to ask `nodes` at once, or the connected ones that weigh something: at most [`MAX_ASKED`], for 5 s in all.
    pub live: bool,
    /// Whether to say what weights rest on.
    pub explain: bool,
}

/// Stations that are asked at once for one answer, at most.
pub const MAX_ASKED: usize = 64;

/// Which datasets to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetQuery {
    /// Where to begin: 0, or what the part before said.
    pub after: u64,
    /// How many to list, at most.
    pub limit: usize,
    /// Of at least this quality.
    pub min_quality: Option<Score>,
    /// With this licence in their expression.
    pub license: Option<Id>,
    /// Of this genre.
    pub genre: Option<Label>,
    /// With this tag.
    pub tag: Option<Id>,
    /// By this creator.
    pub creator: Option<Label>,
    /// Registered by this station.
    pub station: Option<StationId>,
    /// Verified by anybody, or by nobody.
    pub verified: Option<bool>,
}

/// Duties of one answer, at most.
pub const MAX_DUTIES: usize = 1_000;

/// Which duties to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DutyQuery {
    /// Answered, or not yet.
    pub answered: Option<bool>,
    /// Where to begin: the default, or what the part before said.
    pub after: EndingPlace,
    /// How many to list, at most [`MAX_DUTIES`].
    pub limit: usize,
}

impl Default for DutyQuery {
    /// As many as may be, from the first to end on.
    fn default() -> Self {
        Self { answered: None, after: EndingPlace::default(), limit: MAX_DUTIES }
    }
}

/// The node, as the API sees it. Clones are the same node.
///
/// Methods may be called at any time and from any number of tasks; those that need a federation fail with
/// [`PortError::NoFederation`] while there is none.
pub trait Station: Clone + Send + Sync + 'static {
    /// The node's clock.
    fn now(&self) -> Timestamp;

    /// Where its events are listened to.
    fn events(&self) -> Events;

    /// Where it counts, and where the API counts its answers.
    fn metrics(&self) -> Arc<Metrics>;

    /// What the metrics ask for at every reading; also without a federation.
    fn figures(&self) -> impl Future<Output = Result<Figures, PortError>> + Send;

    /// The federation's rules.
    fn rules(&self) -> impl Future<Output = Result<Arc<Rules>, PortError>> + Send;

    /// Signs and stores `records`, at most [`MAX_SUBMIT`], in one batch or several: all of them or none.
    ///
    /// Returns once they are on disk, synced: one receipt for each, in order.
    fn submit(&self, records: Vec<Record>) -> impl Future<Output = Result<Vec<Receipt>, PortError>> + Send;

    /// Mines one block from what is pending; `None` when nothing is.
    fn mine(&self) -> impl Future<Output = Result<Option<Block>, PortError>> + Send;

    /// Connects to a ticket or multiaddress, and joins its federation when this node has none.
    fn dial(&self, target: String) -> impl Future<Output = Result<Dialled, PortError>> + Send;

    /// Syncs with one peer, given as peer id or multiaddress, or with all connected ones; one report for each.
    fn sync(&self, peer: Option<String>) -> impl Future<Output = Result<Vec<SyncReport>, PortError>> + Send;

    /// Where its random numbers come from; also without a federation.
    fn quantum(&self) -> QuantumStatus;

    /// One screen about this station; also without a federation.
    fn status(&self) -> impl Future<Output = Result<Status, PortError>> + Send;

    /// Whether the node is ready, and if not, why; also without a federation.
    fn readiness(&self) -> impl Future<Output = Result<Readiness, PortError>> + Send;

    /// The connected peers.
    fn peers(&self) -> impl Future<Output = Result<Vec<Peer>, PortError>> + Send;

    /// A ticket with which others join this federation through this station.
    fn ticket(&self) -> impl Future<Output = Result<String, PortError>> + Send;

    /// Signs and stores a founder's word about a station; it is on disk when this returns.
    fn say_of(
        &self,
        station: StationId,
        word: Word,
        reason: Reason,
    ) -> impl Future<Output = Result<Receipt, PortError>> + Send;

    /// Makes a one-time invitation that is valid so long; it is on disk when this returns.
    fn invite(&self, valid: Duration) -> impl Future<Output = Result<Invitation, PortError>> + Send;

    /// The stations that take part, those on the chain, those that founders spoke of, and this one.
    fn stations(&self) -> impl Future<Output = Result<Vec<StationInfo>, PortError>> + Send;

    /// How far a user is trusted, by the ledger or by one station.
    fn user_trust(
        &self,
        user: Id,
        station: Option<StationId>,
    ) -> impl Future<Output = Result<UserTrust, PortError>> + Send;

    /// How far a content is trusted, by the ledger or by one station.
    fn content_trust(
        &self,
        content: Id,
        creator: Id,
        station: Option<StationId>,
    ) -> impl Future<Output = Result<ContentTrust, PortError>> + Send;

    /// How far a creator is trusted, by the ledger or by one station.
    fn creator_trust(
        &self,
        creator: Id,
        station: Option<StationId>,
    ) -> impl Future<Output = Result<CreatorTrust, PortError>> + Send;

    /// How far a dataset is trusted, by the ledger or by one station.
    fn dataset_trust(
        &self,
        dataset: Id,
        station: Option<StationId>,
    ) -> impl Future<Output = Result<DatasetTrust, PortError>> + Send;

    /// One dataset; `None` if it is not registered.
    fn dataset(&self, dataset: Id) -> impl Future<Output = Result<Option<Dataset>, PortError>> + Send;

    /// A part of the list of datasets: at most [`DatasetQuery::limit`], fewer also where the list goes on.
    fn datasets(&self, query: DatasetQuery) -> impl Future<Output = Result<DatasetPage, PortError>> + Send;

    /// Registers a dataset, valid by itself, in the name of `user` where one is named, whose score must then reach this
    /// station's threshold. Refused if it is registered already.
    fn register_dataset(
        &self,
        dataset: DatasetRegistered,
        user: Option<Id>,
    ) -> impl Future<Output = Result<DatasetChange, PortError>> + Send;

    /// Records that a SHA-256 was found, with the guide's actions of `system` and of `user` where one is named. One that
    /// is not the registered one is refused unless `publish`.
    fn verify_dataset(
        &self,
        found: DatasetVerified,
        user: Option<Id>,
        publish: bool,
    ) -> impl Future<Output = Result<DatasetChange, PortError>> + Send;

    /// Records a user's rating, with the guide's action.
    fn rate_dataset(
        &self,
        rated: DatasetRated,
        user: Id,
    ) -> impl Future<Output = Result<DatasetChange, PortError>> + Send;

    /// What this station is asked to check and may still answer about, the first to end first.
    fn duties(&self, query: DutyQuery) -> impl Future<Output = Result<DutyPage, PortError>> + Send;

    /// The draws that may have been about a record, made again; `None` if it is not known.
    fn draws(&self, record: RecordId) -> impl Future<Output = Result<Option<Draws>, PortError>> + Send;

    /// Signs and stores this station's answer about a record that it was drawn to check; `None` if the record is not known.
    /// On disk when this returns; refused where it would count for nothing.
    fn testify(
        &self,
        record: RecordId,
        answer: Answer,
    ) -> impl Future<Output = Result<Option<Receipt>, PortError>> + Send;

    /// The opinions of many stations, combined.
    fn global_trust(&self, query: GlobalQuery) -> impl Future<Output = Result<GlobalTrust, PortError>> + Send;

    /// Figures about the chain.
    fn statistics(&self) -> impl Future<Output = Result<Statistics, PortError>> + Send;

    /// One block; `None` if it is not known.
    fn block(&self, at: BlockAt) -> impl Future<Output = Result<Option<Block>, PortError>> + Send;

    /// At most `limit` blocks of the chain that is best now, from the height `from` on; none beyond the head.
    ///
    /// Blocks are read as the stream is read; an error ends it.
    fn blocks(&self, from: Height, limit: Option<u64>) -> impl Future<Output = Result<BlockStream, PortError>> + Send;

    /// One record; `None` if it is not known.
    fn record(&self, id: RecordId) -> impl Future<Output = Result<Option<FoundRecord>, PortError>> + Send;

    /// The proof that a record was signed and, once it is confirmed, that its block holds it; `None` if the record is
    /// not known.
    fn proof(&self, id: RecordId) -> impl Future<Output = Result<Option<RecordProof>, PortError>> + Send;

    /// The scores of contents (content, creator), with what is pending, in their order; at most [`MAX_SCORES`].
    fn content_scores(&self, contents: Vec<(Id, Id)>) -> impl Future<Output = Result<Vec<Score>, PortError>> + Send;

    /// Takes in a file: our own export into a station without a chain, or a file of the original program. All of it is
    /// judged first; one that does not hold changes nothing.
    fn import(&self, file: Upload) -> impl Future<Output = Result<Imported, PortError>> + Send;

    /// Reads the stored chain from disk and verifies all of it.
    fn verify(&self) -> impl Future<Output = Result<Verification, PortError>> + Send;
}

/// Records that one call of [`Station::submit`] may have: four full batches.
pub const MAX_SUBMIT: usize = 1_024;

/// Contents that one call of [`Station::content_scores`] may name: they are answered in one turn of the worker.
pub const MAX_SCORES: usize = 64;
