//! What came of a sync.

use qfzz_ledger_core::batch::BatchError;
use qfzz_ledger_core::ids::{BlockHash, FederationId, StationId};
use qfzz_ledger_core::ledger::BlockRefusal;
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::severity::Severity;

use crate::alive::OtherRun;
use crate::peer::SessionError;

/// What a peer did wrong, or why the sync with it ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It gave no usable answer.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// It is of another federation.
    #[error("belongs to federation {found}")]
    OtherFederation {
        /// Its federation.
        found: FederationId,
    },
    /// An answer of another kind than the request, more than was asked, or something that was not asked.
    #[error("answered something that was not asked")]
    NotAsked,
    /// Its headers do not follow each other, or nothing that is known here.
    #[error("sent headers that do not link: {hash} does not follow what is before it")]
    BrokenLink {
        /// The first header that does not.
        hash: BlockHash,
    },
    /// A block breaks a rule.
    #[error("sent an invalid block: {0}")]
    Block(#[from] BlockRefusal),
    /// A batch breaks a rule.
    #[error("sent an invalid batch: {0}")]
    Batch(#[from] BatchError),
    /// It said that it has what it does not give.
    #[error("does not give what it says it has")]
    Withheld,
    /// It tells of another daemon of this station what that did not sign.
    #[error("tells of another daemon with this station's key what that key did not sign")]
    ForgedStatement,
    /// It took long, and others waited for their turn.
    #[error("gave way to others")]
    GaveWay,
    /// It had no time for us.
    #[error("is busy")]
    Busy,
    /// This station could not go on: its store failed, or it is stopping.
    #[error("the sync ended at this station's side")]
    Here,
}

impl Fault {
    /// Who is at fault.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Session(SessionError::Disconnected | SessionError::Newer)
            | Self::Busy
            | Self::GaveWay
            | Self::OtherFederation { .. } => Severity::Later,
            Self::Session(
                SessionError::Timeout | SessionError::Dribbled | SessionError::Unsupported | SessionError::Malformed,
            )
            | Self::NotAsked
            | Self::BrokenLink { .. }
            | Self::ForgedStatement
            | Self::Withheld => Severity::Peer,
            Self::Block(refusal) => refusal.severity(),
            Self::Batch(error) => error.severity(),
            Self::Here => Severity::Later,
        }
    }
}

/// What one sync with one peer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReport {
    /// The peer.
    pub peer: StationId,
    /// Blocks taken in.
    pub blocks: u64,
    /// Batches taken in beside those in blocks.
    pub batches: u64,
    /// Records in those blocks and batches.
    pub records: u64,
    /// Bytes of answers received.
    pub bytes_in: u64,
    /// Bytes of requests sent.
    pub bytes_out: u64,
    /// Requests that were answered.
    pub round_trips: u64,
    /// Blocks that left the best chain, at most in one reorganisation.
    pub reorg_depth: u64,
    /// How long it took until all that was taken over was on disk, in milliseconds.
    pub elapsed_ms: u64,
    /// Where this station's own log ends, as the peer knows it; none if it did not tell.
    pub your_log: Option<LogEnd>,
    /// What the peer heard of another daemon that runs with this station's key; the signature was verified.
    pub other_run: Option<OtherRun>,
    /// Processor time that the whole process used meanwhile, on all cores, in milliseconds.
    pub cpu_ms: u64,
    /// What the peer did wrong, or why the sync ended early; none if both are equal now as far as the peer goes.
    pub fault: Option<Fault>,
}
