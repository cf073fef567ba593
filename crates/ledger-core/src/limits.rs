//! The protocol's limits (protocol, section 10), each with its unit and reason.
//!
//! Those that bind validity also stand in genesis ([`Limits`](crate::federation::Limits)), where a federation could
//! choose others; what stands here are the defaults and the bounds that no federation may pass.

/// Bytes of an id (user, content, creator, action), at most.
pub const MAX_ID_BYTES: usize = 128;

/// Bytes of a station's or a federation's name, at most.
pub const MAX_NAME_BYTES: usize = 64;

/// Bytes of a record's metadata, at most. Opaque to validity, so it costs every station disk.
pub const MAX_METADATA_BYTES: usize = 4 * 1024;

/// Bytes of a dataset's description or source, at most.
pub const MAX_TEXT_BYTES: usize = 1024;

/// Tags of a dataset, at most: with texts of full length its record has 5 KiB.
pub const MAX_DATASET_TAGS: usize = 16;

/// Records in one batch, at most: one signature then costs less than hashing what it covers.
pub const MAX_BATCH_RECORDS: u16 = 256;

/// Proofs of equivocation in one batch, at most: each takes two signature checks, so a gossiped batch costs whoever
/// hears it 33 at most, about a millisecond. Under `hybrid` no more than 8 fit.
pub const MAX_PROOFS_PER_BATCH: usize = 16;

/// Bytes of an encoded signed batch, at most. Below [`MAX_GOSSIP_BYTES`], so that every batch can be gossiped.
pub const MAX_BATCH_BYTES: u32 = 60 * 1024;

/// The least that a federation may allow a batch, in bytes: an introduction and the longest record fit.
pub const MIN_BATCH_BYTES: u32 = 8 * 1024;

/// The same where stations sign with ML-DSA as well: an introduction takes 5.5 KiB, a proof of two of them 11 KiB.
pub const MIN_HYBRID_BATCH_BYTES: u32 = 20 * 1024;

/// Batches in one block, at most: their ids (32 bytes each) fit one announcement.
pub const MAX_BLOCK_BATCHES: u32 = 1_536;

/// Bytes of a block's body (the sum of its encoded signed batches), at most.
pub const MAX_BODY_BYTES: u32 = 1024 * 1024;

/// Bytes of one gossip message, at most.
pub const MAX_GOSSIP_BYTES: usize = 64 * 1024;

/// Bytes of encoded federation parameters, at most: with the nonce they fit an answer of 64 KiB. 64 founders and 256
/// actions of full length fit.
pub const MAX_PARAMETERS_BYTES: usize = 64 * 1024 - 8;

/// Founders that a genesis may name, at most.
pub const MAX_FOUNDERS: usize = 64;

/// Actions that a genesis may name, at most.
pub const MAX_ACTIONS: usize = 256;

/// Pending batches of one other station that the mempool keeps, at most.
pub const MAX_PENDING_PER_STATION: usize = 1_024;

/// Bytes of other stations' pending batches that the mempool keeps, at most.
pub const MAX_PENDING_BYTES: usize = 64 * 1024 * 1024;

/// Batches of one station that wait for their predecessor, at most.
pub const MAX_HELD_PER_STATION: usize = 16;

/// Batches that wait for their predecessor, at most, over all stations.
pub const MAX_HELD: usize = 256;

/// How long a batch may wait for its predecessor, in milliseconds.
pub const HELD_FOR_MS: i64 = 300_000;

/// Batches of stations that are not admitted, of one peer, that are held, at most: their admission may be under way.
pub const MAX_UNADMITTED_PER_PEER: usize = 64;

/// Announcements whose parent is unknown, at most.
pub const MAX_ORPHANS: usize = 100;

/// Announcements with unknown parents from one peer, at most.
pub const MAX_ORPHANS_PER_PEER: usize = 10;

/// How long an announcement may wait for its parent, in milliseconds.
pub const ORPHAN_FOR_MS: i64 = 300_000;

/// Headers off the best chain that are kept, at most; the lightest go first.
pub const MAX_SIDE_HEADERS: usize = 10_000;

/// Bytes of verified bodies off the best chain that are kept, at most; the lightest go first.
pub const MAX_SIDE_BYTES: u64 = 256 * 1024 * 1024;

/// Blocks below the head whose undo data is kept. A deeper reorganisation rebuilds the view from the journal.
pub const MAX_UNDO_BLOCKS: u64 = 1_000;

/// How far ahead of the local clock a block or batch may be dated, in milliseconds.
///
/// Wider than the drift of an unattended station computer.
pub const MAX_CLOCK_SKEW_MS: i64 = 2 * 60 * 1_000;

/// How far a gossiped batch's sequence may be ahead of the next expected one.
pub const MAX_SEQUENCE_AHEAD: u64 = 1_024;

/// Blocks whose timestamps make the median that a block must be later than.
pub const MEDIAN_BLOCKS: usize = 11;

/// Ancestors among which one must hold a batch, for a block without batches to be valid (rule 6).
pub const EMPTY_BLOCK_ANCESTORS: u64 = 4;
