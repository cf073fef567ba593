//! What goes into the service's state, and what it wants done.

use qfzz_ledger_core::batch::{BatchError, VerifiedBatch};
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::header::BlockHeader;
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, RecordHash, RecordId, Sequence, StationId};
use qfzz_ledger_core::ledger::{NoBlock, Template, Transition};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::ReadError;
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::report::{Fault, SyncReport};
use qfzz_sync::session::Taken;

use super::state::NotSigning;

/// Names who waits for a reply; chosen by the caller, never used twice.
pub type Token = u64;

/// Names a gossiped message whose verdict is owed; chosen by the caller, never used twice.
pub type MessageToken = u64;

/// Batches that a peer gave, verified in the order in which it gave them, up to the first that is not valid.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Those before it.
    pub batches: Vec<VerifiedBatch>,
    /// What is wrong with it.
    pub fault: Option<BatchError>,
}

impl FromIterator<Result<VerifiedBatch, BatchError>> for Checked {
    fn from_iter<I: IntoIterator<Item = Result<VerifiedBatch, BatchError>>>(verified: I) -> Self {
        let mut checked = Self::default();
        for batch in verified {
            match batch {
                Ok(batch) => checked.batches.push(batch),
                Err(error) => {
                    checked.fault = Some(error);
                    break;
                }
            }
        }
        checked
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A client wants records, valid by themselves, signed and stored.
    Submit {
        /// Who waits.
        token: Token,
        /// At least one.
        records: Vec<Record>,
    },
    /// A client wants a block mined now.
    Mine {
        /// Who waits.
        token: Token,
    },
    /// A peer of this federation is connected.
    Connected(StationId),
    /// It is known from before the start, or was found where the operator said.
    Familiar(StationId),
    /// It subscribed to the topics.
    Subscribed(StationId),
    /// Its last connection closed.
    Disconnected(StationId),
    /// A batch was gossiped.
    GossipBatch {
        /// Whose verdict is owed.
        message: MessageToken,
        /// Who sent it on.
        from: StationId,
        /// Its encoding.
        data: Vec<u8>,
    },
    /// A block was announced.
    GossipBlock {
        /// Whose verdict is owed.
        message: MessageToken,
        /// Who sent it on.
        from: StationId,
        /// Its encoding.
        data: Vec<u8>,
    },
    /// A sync fetched and verified blocks.
    SyncedBlocks {
        /// The sync that waits.
        token: Token,
        /// Parents first.
        blocks: Vec<VerifiedBlock>,
    },
    /// A sync fetched batches that wait for a block.
    SyncedBatches {
        /// The sync that waits.
        token: Token,
        /// With whom.
        peer: StationId,
        /// In order within each log.
        checked: Checked,
    },
    /// A sync ended.
    SyncEnded(Box<SyncReport>),
    /// What [`Effect::FetchBatches`] brought; none where the peer gave nothing.
    FetchedBatches {
        /// The block that they are missing in.
        block: BlockHash,
        /// Who gave them.
        from: StationId,
        /// What it gave.
        checked: Checked,
    },
    /// What [`Effect::FetchLog`] brought; none where the peer gave nothing.
    FetchedLog {
        /// Who gave them.
        from: StationId,
        /// What it gave.
        checked: Checked,
    },
    /// The miner found a nonce for the newest template.
    Mined(BlockHeader),
    /// Every transition up to this number is on disk.
    Synced(u64),
    /// Every transition up to this number is on disk, and seen by every reader of the store.
    Committed(u64),
    /// The disk has no room left, or has room again.
    Disk {
        /// Whether it is full.
        full: bool,
    },
}

/// What becomes of a gossiped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Pass it on.
    Accept,
    /// Nobody's fault: don't pass it on.
    Ignore,
    /// Nobody looked at it, for this station could not keep it: nobody's fault, however much of it comes.
    Unseen,
    /// The sender is answerable for it.
    Reject,
}

/// What is to be done, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write this, synced, before anything that follows.
    Persist(Box<Transition>),
    /// Gossip a batch.
    PublishBatch(VerifiedBatch),
    /// Gossip a block's announcement.
    PublishBlock(VerifiedBlock),
    /// Answer for a gossiped message; changes nothing here, so it need not wait for what is before it.
    Verdict(MessageToken, Verdict),
    /// Answer a client or a sync.
    Reply(Token, Reply),
    /// Tell who listens.
    Event(Event),
    /// Run `sync_with` this peer; its end comes back as [`Input::SyncEnded`].
    Sync(StationId),
    /// Ask this peer for batches of a block that was announced.
    FetchBatches {
        /// Whom.
        peer: StationId,
        /// The block.
        block: BlockHash,
        /// Which, by their index in the block; ascending.
        indexes: Vec<u32>,
        /// The same by their ids: what else comes is not looked at.
        ids: Vec<BatchId>,
    },
    /// Ask this peer for what precedes a batch that it sent.
    FetchLog {
        /// Whom.
        peer: StationId,
        /// Whose log.
        station: StationId,
        /// From which batch on.
        from: Sequence,
    },
    /// Search a nonce for this template, and for no other.
    StartMining(Box<Template>),
    /// Search no more.
    StopMining,
    /// Part with this peer for a while.
    Ban {
        /// Whom.
        peer: StationId,
        /// What it did, in the past tense.
        reason: String,
        /// When it may come back.
        until: Timestamp,
    },
    /// Stop the node.
    Fatal(ReadError),
}

impl Effect {
    /// Whether it answers a client or a sync.
    pub const fn is_reply(&self) -> bool {
        matches!(self, Self::Reply(..))
    }
}

/// A record that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its place.
    pub id: RecordId,
    /// Its hash.
    pub hash: RecordHash,
    /// Its batch.
    pub batch: BatchId,
}

/// An answer to whoever waits.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The records are on disk.
    Submitted(Vec<Receipt>),
    /// Too much waits to be signed: try again later.
    Overloaded,
    /// The disk is full: nothing was taken in.
    DiskFull,
    /// The block is on disk and announced; none if nothing is pending.
    Mined(Option<VerifiedBlock>),
    /// There is no block to mine, though something may be pending.
    NotMined(NoBlock),
    /// Nothing is signed now, records or blocks.
    NotSigning(NotSigning),
    /// What blocks or batches changed is on disk, and what ended taking them in early.
    Taken(Taken, Result<(), Fault>),
}

/// Something that people and programs may want to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A block joined the best chain.
    Block {
        /// The block.
        hash: BlockHash,
        /// Its height.
        index: Height,
        /// Its records.
        records: u64,
        /// Who made it.
        producer: StationId,
    },
    /// Blocks left the best chain.
    Reorganisation {
        /// How many.
        depth: u64,
        /// The head before.
        from: BlockHash,
        /// The head now.
        to: BlockHash,
    },
    /// A record is known now, pending or not.
    Record(RecordId),
    /// A sync ended.
    Sync(Box<SyncReport>),
    /// A station signed two batches for one place of its log; told once of each station.
    Equivocation {
        /// Which; it may be this one.
        station: StationId,
        /// The place.
        sequence: Sequence,
    },
    /// Another daemon with this station's key may be running: signing waits until that is known.
    AnotherDaemonSeen,
    /// Another daemon with this station's key runs and started earlier: this one signs no more.
    StoppedSigning,
    /// Another daemon with this station's key runs and started later: that one signs no more.
    AnotherDaemonStopped,
    /// Signing was held until a peer had told of this station's log, and one has.
    LogKnown,
    /// A message of a newer version of the protocol arrived.
    NewerVersion,
}
