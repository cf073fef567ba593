//! The answering side of a sync.

use std::collections::HashMap;

use qfzz_ledger_core::batch::{SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{SealedHeader, SignedBlock};
use qfzz_ledger_core::codec::{Encode, encoded_len};
use qfzz_ledger_core::crypto::SignatureScheme;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::state::ReadError;
use qfzz_ledger_core::time::Timestamp;

use crate::alive::OtherRun;
use crate::message::{MAX_LOGS, MAX_RESPONSE_BYTES, Request, Response, Status, max_headers};

/// Bytes of an answer beside what it lists: tag and length.
const OVERHEAD: usize = 16;

/// Blocks as the answering side reads them: they never change, so this needs no writer.
pub trait BlockView {
    /// A block as it is sent: encodes as [`SignedBlock`] does.
    type Sent: Encode;
    /// The height of a block of the best chain; `None` for any other.
    ///
    /// # Errors
    /// [`ReadError`].
    fn best_height(&self, hash: &BlockHash) -> Result<Option<Height>, ReadError>;
    /// Hash, header and seal of the best chain's block at a height.
    ///
    /// # Errors
    /// [`ReadError`].
    fn sealed_at(&self, height: Height) -> Result<Option<SealedHeader>, ReadError>;
    /// A block by its hash, as it was taken in. Whoever asks verifies it.
    ///
    /// # Errors
    /// [`ReadError`].
    fn block(&self, hash: &BlockHash) -> Result<Option<SignedBlock>, ReadError>;
    /// The same, to be sent as a whole.
    ///
    /// # Errors
    /// [`ReadError`].
    fn sent_block(&self, hash: &BlockHash) -> Result<Option<Self::Sent>, ReadError>;
}

/// What is pending, as the answering side reads it.
pub trait PendingView {
    /// This station's status, with what it knows of the log of `asker`, but for `other_run`.
    ///
    /// # Errors
    /// [`ReadError`].
    fn status(&self, asker: &StationId) -> Result<Status, ReadError>;
    /// What is on the chain of one log from a sequence on, in order: the first ones that fit into so many bytes.
    ///
    /// # Errors
    /// [`ReadError`].
    fn confirmed_from(
        &self,
        station: &StationId,
        from: Sequence,
        bytes: usize,
    ) -> Result<Vec<VerifiedBatch>, ReadError>;
    /// Logs with batches that wait for a block, each with where it ends, in order of id, from after a station on, at most
    /// `limit`.
    fn pending_logs(&self, after: Option<StationId>, limit: usize) -> Vec<(StationId, LogEnd)>;
    /// What waits of one log from a sequence on, in order.
    fn log_from(&self, station: &StationId, from: Sequence) -> Vec<VerifiedBatch>;
}

/// Answers a request about blocks; [`Response::Unknown`] to any other.
///
/// # Errors
/// [`ReadError`]: our own trouble, the asker gets no answer.
pub fn answer_about_blocks<V: BlockView>(
    view: &V,
    scheme: SignatureScheme,
    request: &Request,
) -> Result<Response<V::Sent>, ReadError> {
    match request {
        Request::Headers { locator } => headers(view, max_headers(scheme), locator),
        Request::Blocks { hashes } => blocks(view, hashes),
        Request::BlockBatches { block, indexes } => {
            let Some(block) = view.block(block)? else { return Ok(Response::Unknown) };
            let batches = indexes.iter().filter_map(|index| block.batches.get(*index as usize));
            Ok(Response::Batches(fitting(batches)))
        }
        Request::Status { .. } | Request::Pending { .. } | Request::Logs { .. } | Request::Opinion(_) => {
            Ok(Response::Unknown)
        }
    }
}

/// Answers a request about what is pending; [`Response::Unknown`] to any other. `other_run` is what is known of another
/// run of the asker's daemon.
///
/// # Errors
/// [`ReadError`]: our own trouble, the asker gets no answer.
pub fn answer_about_pending(
    view: &impl PendingView,
    asker: &StationId,
    request: &Request,
    other_run: Option<OtherRun>,
) -> Result<Response, ReadError> {
    match request {
        Request::Status { .. } => Ok(Response::Status(Status { other_run, ..view.status(asker)? })),
        Request::Pending { after } => Ok(Response::Pending(view.pending_logs(*after, MAX_LOGS))),
        Request::Logs { from } => {
            let mut left = MAX_RESPONSE_BYTES - OVERHEAD;
            let mut batches = Vec::new();
            for (station, sequence) in from {
                // Whoever lost its own log needs what is confirmed as well; others take that from the blocks.
                let is_own = station == asker;
                let confirmed = if is_own { view.confirmed_from(station, *sequence, left)? } else { Vec::new() };
                for batch in confirmed.into_iter().chain(view.log_from(station, *sequence)) {
                    if batch.encoded_len() > left {
                        return Ok(Response::Batches(batches));
                    }
                    left -= batch.encoded_len();
                    batches.push(batch.signed().clone());
                }
            }
            Ok(Response::Batches(batches))
        }
        Request::Headers { .. } | Request::Blocks { .. } | Request::BlockBatches { .. } | Request::Opinion(_) => {
            Ok(Response::Unknown)
        }
    }
}

fn headers<V: BlockView>(view: &V, most: usize, locator: &[BlockHash]) -> Result<Response<V::Sent>, ReadError> {
    for hash in locator {
        let Some(after) = view.best_height(hash)? else { continue };
        let mut headers = Vec::new();
        let mut height = after;
        while headers.len() < most
            && let Some(next) = height.next()
            && let Some(sealed) = view.sealed_at(next)?
        {
            headers.push(sealed);
            height = next;
        }
        return Ok(Response::Headers { after: *hash, headers });
    }
    Ok(Response::Unknown)
}

fn blocks<V: BlockView>(view: &V, hashes: &[BlockHash]) -> Result<Response<V::Sent>, ReadError> {
    let mut left = MAX_RESPONSE_BYTES - OVERHEAD;
    let mut blocks = Vec::new();
    for hash in hashes {
        let Some(block) = view.sent_block(hash)? else { break };
        let size = encoded_len(&block);
        if size > left {
            break;
        }
        left -= size;
        blocks.push(block);
    }
    Ok(if blocks.is_empty() { Response::Unknown } else { Response::Blocks(blocks) })
}

/// The first batches that fit an answer.
fn fitting<'a>(batches: impl Iterator<Item = &'a SignedBatch>) -> Vec<SignedBatch> {
    let mut left = MAX_RESPONSE_BYTES - OVERHEAD;
    let fits = batches.map_while(|batch| {
        left = left.checked_sub(encoded_len(batch))?;
        Some(batch.clone())
    });
    fits.collect()
}

/// Bytes that a peer may draw at once.
pub const BURST_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes a second that a peer may draw after that.
const BYTES_PER_SECOND: i64 = 4 * 1024 * 1024;

/// What an answer costs at least, in bytes: small ones take their time to look up, too.
const MIN_DRAW_BYTES: u64 = 4 * 1024;

/// Peers whose draw is remembered, at most; those with most left go first.
const MAX_PEERS: usize = 1_024;

/// What each peer has drawn: 64 MiB at once, then 4 MiB/s.
#[derive(Clone, Debug, Default)]
pub struct Allowances {
    /// Bytes left at a time; below 0 where the last answer was larger than what was left.
    left: HashMap<StationId, (i64, Timestamp)>,
}

impl Allowances {
    /// Whether the peer may draw anything at `now`; over its allowance the answer is [`Response::Busy`].
    pub fn allows(&mut self, peer: &StationId, now: Timestamp) -> bool {
        self.refill(peer, now) > 0
    }

    /// Counts what was answered; what is over the allowance is given back before the next answer.
    pub fn draw(&mut self, peer: &StationId, bytes: u64, now: Timestamp) {
        let bytes = i64::try_from(bytes.max(MIN_DRAW_BYTES)).unwrap_or(i64::MAX);
        let left = self.refill(peer, now).saturating_sub(bytes);
        self.left.insert(*peer, (left, now));
        if self.left.len() > MAX_PEERS {
            let richest = self.left.iter().max_by_key(|(peer, (left, _))| (*left, **peer)).map(|(peer, _)| *peer);
            richest.map(|peer| self.left.remove(&peer));
        }
    }

    fn refill(&self, peer: &StationId, now: Timestamp) -> i64 {
        let burst = i64::try_from(BURST_BYTES).unwrap_or(i64::MAX);
        let Some((left, since)) = self.left.get(peer) else { return burst };
        let millis = now.since(*since).max(0);
        left.saturating_add(millis.saturating_mul(BYTES_PER_SECOND) / 1_000).min(burst)
    }
}
