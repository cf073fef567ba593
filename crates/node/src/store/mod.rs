//! The store: what this station has, on disk and in order.
//!
//! - [`journal`]: append-only files of what was signed and what was connected. It is the truth, and the only part that
//!   is synced.
//! - [`view`]: what follows from the journal, in sled: trust state, headers by height, station logs, undo data. It may
//!   lag or be lost; opening replays it or rebuilds it from the journal.
//! - `side`: verified blocks off the best chain, one file each, unsynced.
//!
//! [`DiskStore`] is all of that; [`MemoryStore`] keeps the same in maps, for tests and the simulator.

mod blocks;
mod disk;
mod draft;
mod entries;
mod frame;
pub mod journal;
mod lookup;
mod mark;
mod memory;
mod reader;
mod redo;
pub mod repair;
mod replay;
mod salvage;
mod scan;
mod schema;
mod sealed;
mod side;
mod standing;
#[cfg(test)]
mod suite;
pub mod view;
mod writers;

use std::io;
use std::path::PathBuf;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::{EncodedBlock, SealedHeader, SignedBlock};
use qfzz_ledger_core::ids::{BlockHash, FederationId, Height, Sequence, StationId};
use qfzz_ledger_core::ledger::Transition;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::{ConnectError, ReadError};

pub use blocks::Blocks;
pub use disk::{DiskStore, Opened};
pub use mark::Reach;
pub use memory::{MemoryReader, MemoryStore};
pub use reader::StoreReader;
pub use salvage::{Hole, Salvage};
pub use side::SideError;
pub use view::Pulse;
pub use writers::{JournalWriter, Step, ViewWriter};

use journal::JournalError;
use view::ViewError;

/// Where the service worker persists what the ledger decided.
pub trait LedgerStore: Send {
    /// What the API, sync's answering side and the ledger read through.
    type Reader: StoreRead + Clone + Send + Sync + 'static;

    /// Persists `transitions` in their order, all with one sync of the disk. Afterwards they outlive a power cut, and
    /// every reader sees them.
    ///
    /// # Errors
    /// [`StoreError`]. The store then takes nothing any more: stop the node, a restart reads the disk.
    fn commit(&mut self, transitions: &[Transition]) -> Result<(), StoreError>;

    /// A reader, which does not wait for commits.
    fn reader(&self) -> Self::Reader;
}

/// A batch, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// The batch.
    pub batch: VerifiedBatch,
    /// The height of the block on the best chain that holds it; `None` while it is pending here, at its author.
    pub height: Option<Height>,
}

/// What can be read beyond the trust state. Each answer is of one commit; several need [`consistent`](Self::consistent).
pub trait StoreRead: LedgerRead {
    /// Hash, header and seal of the block at `height` of the best chain; genesis has height 0.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    fn header_at(&self, height: Height) -> Result<Option<(BlockHash, SealedHeader)>, StoreError>;

    /// The height of a block of the best chain; `None` for any other.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    fn best_height(&self, hash: &BlockHash) -> Result<Option<Height>, StoreError>;

    /// Header and seal of a block, on the best chain or off it.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    fn header(&self, hash: &BlockHash) -> Result<Option<SealedHeader>, StoreError>;

    /// Up to `limit` blocks of the best chain from height `from` on, ascending.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    fn headers(&self, from: Height, limit: usize) -> Result<Vec<(BlockHash, SealedHeader)>, StoreError>;

    /// Headers of the blocks off the best chain whose bodies are kept, by height: a parent comes before its children.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    fn side_headers(&self) -> Result<Vec<(BlockHash, SealedHeader)>, StoreError>;

    /// A block, on the best chain or off it, for somebody who verifies it: what is read is what is named so, and whole,
    /// but no record is hashed.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    fn signed_block(&self, hash: &BlockHash) -> Result<Option<SignedBlock>, StoreError>;

    /// The same, for somebody who passes it on: no record is read.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    fn encoded_block(&self, hash: &BlockHash) -> Result<Option<EncodedBlock>, StoreError>;

    /// The batch at a place of a station's log, if it is on the best chain, or is pending and this station's own.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    fn batch(&self, station: &StationId, sequence: Sequence) -> Result<Option<StoredBatch>, StoreError>;

    /// This station's own batches that are not on the best chain, in order.
    ///
    /// # Errors
    /// [`StoreError`], which is fatal to the node.
    fn own_pending(&self) -> Result<Vec<VerifiedBatch>, StoreError>;

    /// What `read` makes of the store between two commits, never of half a commit.
    ///
    /// `read` may run several times and should be short: in the last resort the next commit waits for it.
    ///
    /// # Errors
    /// Those of `read`; [`StoreError`] if a commit failed.
    fn consistent<T, E: From<StoreError>>(&self, read: impl FnMut(&Self) -> Result<T, E>) -> Result<T, E>
    where
        Self: Sized;
}

/// Why the store could not be opened, read or written. Each of them is fatal to the node.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("store: {path} is in use by another process", path = path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The system refused.
    #[error("store: {path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal could not be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The view could not be read or written.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A block off the best chain could not be read or written.
    #[error(transparent)]
    Side(#[from] SideError),
    /// The data directory belongs to another federation.
    #[error("store: it holds federation {found}, not {expected}")]
    OtherFederation {
        /// The federation that it holds.
        found: FederationId,
        /// The federation asked for.
        expected: FederationId,
    },
    /// An entry of the journal is whole, but is not what it was asked by.
    #[error("journal: file {file:08}.log holds another entry at byte {offset} than it should")]
    Mismatch {
        /// The file's number.
        file: u32,
        /// Where its frame starts, in bytes.
        offset: u32,
    },
    /// An entry of a kind that this version does not know.
    #[error("journal: file {file:08}.log holds an entry of unknown kind {kind} at byte {offset}: update qfzz")]
    UnknownKind {
        /// The file's number.
        file: u32,
        /// Where its frame starts, in bytes.
        offset: u32,
        /// The kind found.
        kind: u8,
    },
    /// A block of the journal does not connect to what was connected before it.
    #[error("journal: block {block} cannot be replayed: {error}")]
    Replay {
        /// The block.
        block: BlockHash,
        /// Why not.
        error: ConnectError,
    },
    /// The note that a repair left cannot be read, so nobody knows what is still missing.
    #[error("store: {path} is damaged", path = path.display())]
    Goal {
        /// The note.
        path: PathBuf,
    },
    /// A transition that does not start from the head: a mistake in this program, nothing was written of it.
    #[error("store: block {block} is not the next one")]
    NotNext {
        /// The block.
        block: BlockHash,
    },
}

impl StoreError {
    /// Whether something in the journal is not there any more as it was written: what [`repair`](repair::repair) is for.
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Journal(JournalError::Damaged { .. } | JournalError::Missing { .. })
                | Self::Mismatch { .. }
                | Self::Goal { .. }
        )
    }

    /// Whether it cannot be written because the disk is full.
    pub fn is_full(&self) -> bool {
        let source = match self {
            Self::Io { source, .. }
            | Self::Journal(JournalError::Io { source, .. })
            | Self::View(ViewError::Io { source })
            | Self::Side(SideError { source, .. }) => source,
            _ => return false,
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether view and journal do not fit together, so that filling an empty view may help.
    const fn is_disagreement(&self) -> bool {
        matches!(self, Self::View(ViewError::Damaged { .. }) | Self::Replay { .. } | Self::NotNext { .. })
    }
}

impl From<StoreError> for ReadError {
    /// The ledger only has to know that it must stop; the whole of it goes to the log.
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store cannot be read");
        let unavailable = |what, source: &io::Error| Self::Unavailable { what, kind: source.kind() };
        match &error {
            StoreError::Io { source, .. } => unavailable("the data directory", source),
            StoreError::Journal(JournalError::Io { source, .. }) => unavailable("the journal", source),
            StoreError::View(ViewError::Io { source }) => unavailable("the view", source),
            StoreError::Side(SideError { source, .. }) => unavailable("a block off the best chain", source),
            StoreError::InUse { .. } => Self::Unavailable { what: "the store", kind: io::ErrorKind::ResourceBusy },
            StoreError::View(_) => Self::Damaged { what: "the view" },
            StoreError::Journal(_)
            | StoreError::Mismatch { .. }
            | StoreError::UnknownKind { .. }
            | StoreError::Goal { .. }
            | StoreError::Replay { .. }
            | StoreError::NotNext { .. }
            | StoreError::OtherFederation { .. } => Self::Damaged { what: "the journal" },
        }
    }
}
