//! What two stations say to each other: one request, one answer (protocol, section 6).

use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::{MAX_BLOCK_BYTES, SealedHeader, SignedBlock};
use qfzz_ledger_core::codec::{self, CodecError, Decode, Encode};
use qfzz_ledger_core::crypto::SignatureScheme;
use qfzz_ledger_core::header::Work;
use qfzz_ledger_core::ids::{BlockHash, FederationId, Height, Sequence, StationId};
use qfzz_ledger_core::mempool::LogEnd;

use crate::alive::{OtherRun, Statement};
use crate::opinion::{Question, SignedOpinion};

/// Bytes of an encoded request, at most.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Bytes of an encoded answer, at most. A block always fits.
pub const MAX_RESPONSE_BYTES: usize = 2 * 1024 * 1024;
const _: () = assert!(MAX_RESPONSE_BYTES > MAX_BLOCK_BYTES);

/// Headers in one answer, at most; also how far a station reads ahead of the last body it verified. With hybrid seals
/// fewer fit.
pub const fn max_headers(scheme: SignatureScheme) -> usize {
    match scheme {
        SignatureScheme::Ed25519 => 2_000,
        SignatureScheme::Hybrid => 500,
    }
}
const _: () = assert!(max_headers(SignatureScheme::Hybrid) * 4 * 1_024 < MAX_RESPONSE_BYTES);

/// Blocks in one request, at most: their hashes and bodies fit the limits.
pub const MAX_BLOCKS: usize = 256;

/// Logs in one request or answer, at most.
pub const MAX_LOGS: usize = 1_000;

/// What a station asks.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub enum Request {
    /// Where are you, and what do you know of my log?
    Status {
        /// Which run of its daemon the asker is; none where it does not sign.
        alive: Option<Statement>,
    },
    /// The headers of your best chain after the first of these hashes that is on it.
    Headers {
        /// Newest first, at most [`MAX_LOCATOR`](qfzz_ledger_core::chain::MAX_LOCATOR).
        locator: Vec<BlockHash>,
    },
    /// These blocks; the answer holds the first ones that fit, at least one.
    Blocks {
        /// At most [`MAX_BLOCKS`].
        hashes: Vec<BlockHash>,
    },
    /// Batches of one block, by their index in it.
    BlockBatches {
        /// The block.
        block: BlockHash,
        /// Ascending.
        indexes: Vec<u32>,
    },
    /// Logs with batches beyond the chain, in order of id, from after a station on; at most [`MAX_LOGS`] an answer.
    Pending {
        /// The last station of the answer before.
        after: Option<StationId>,
    },
    /// What waits for a block in these logs, from these sequences on; of the asker's own log also what is on the chain.
    /// The answer holds the first ones that fit.
    Logs {
        /// At most [`MAX_LOGS`].
        from: Vec<(StationId, Sequence)>,
    },
    /// What do you say of this subject, now?
    Opinion(Question),
}

/// What the other station answers. `B` are blocks as they are received, or as whoever answers has them, in one encoding.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub enum Response<B = SignedBlock> {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Headers`].
    Headers {
        /// The block of the locator that the headers follow.
        after: BlockHash,
        /// Lowest first, at most [`max_headers`]; none if that block is the head.
        headers: Vec<SealedHeader>,
    },
    /// To [`Request::Blocks`]: in the order asked.
    Blocks(Vec<B>),
    /// To [`Request::BlockBatches`] and [`Request::Logs`]: in the order asked.
    Batches(Vec<SignedBatch>),
    /// To [`Request::Pending`]: each log with where it ends.
    Pending(Vec<(StationId, LogEnd)>),
    /// You have drawn your share; ask again later.
    Busy,
    /// I have not got that.
    Unknown,
    /// To [`Request::Opinion`].
    Opinion(SignedOpinion),
}

/// Where a station is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub struct Status {
    /// Its federation.
    pub federation: FederationId,
    /// Its head.
    pub head: BlockHash,
    /// The head's height.
    pub height: Height,
    /// The work of its best chain.
    pub work: Work,
    /// The digest of what waits for a block there.
    pub pending: [u8; 32],
    /// Where the asker's own log ends, as this station knows it.
    pub your_log: LogEnd,
    /// What another run of the asker's daemon said, if one was heard of in the last 120 s.
    pub other_run: Option<OtherRun>,
}

impl Request {
    /// Decodes a request, at most 64 KiB.
    ///
    /// # Errors
    /// [`CodecError`]; lists longer than their limits are malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let request = codec::decode(bytes, MAX_REQUEST_BYTES)?;
        let fits = match &request {
            Self::Status { alive } => alive.as_ref().is_none_or(Statement::has_right_length),
            Self::Pending { .. } | Self::Opinion(_) => true,
            Self::Headers { locator } => locator.len() <= qfzz_ledger_core::chain::MAX_LOCATOR,
            Self::Blocks { hashes } => hashes.len() <= MAX_BLOCKS,
            Self::BlockBatches { indexes, .. } => indexes.is_sorted_by(|a, b| a < b),
            Self::Logs { from } => from.len() <= MAX_LOGS,
        };
        if fits { Ok(request) } else { Err(CodecError::Malformed) }
    }

    /// Whether the answer is about blocks, which never change, and needs no look at what is pending.
    pub const fn is_about_blocks(&self) -> bool {
        match self {
            Self::Headers { .. } | Self::Blocks { .. } | Self::BlockBatches { .. } => true,
            Self::Status { .. } | Self::Pending { .. } | Self::Logs { .. } | Self::Opinion(_) => false,
        }
    }
}

impl Response {
    /// Decodes an answer, at most 2 MiB.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_RESPONSE_BYTES)
    }
}
