//! What to ask for: checking a peer's headers, and splitting the bodies that are missing into requests.

use qfzz_ledger_core::block::SealedHeader;
use qfzz_ledger_core::chain::{ChainError, median_time};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::fork_choice::Tip;
use qfzz_ledger_core::header::Work;
use qfzz_ledger_core::ids::{BlockHash, Height};
use qfzz_ledger_core::limits::{EMPTY_BLOCK_ANCESTORS, MAX_CLOCK_SKEW_MS, MEDIAN_BLOCKS};
use qfzz_ledger_core::time::Timestamp;

use crate::message::{MAX_BLOCKS, MAX_RESPONSE_BYTES};
use crate::report::Fault;

/// Bytes of bodies in one request: half of what an answer may hold, so that the next is under way while this one is
/// verified.
const CHUNK_BYTES: usize = MAX_RESPONSE_BYTES / 2;

/// What is known here of the block that a peer's headers follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The block.
    pub hash: BlockHash,
    /// Its height.
    pub height: Height,
    /// The work of the chain that ends with it.
    pub work: Work,
    /// The timestamps of the last 11 blocks up to it, newest first.
    pub recent_times: Vec<Timestamp>,
    /// Whether one of the last four blocks up to it holds a batch.
    pub has_recent_batches: bool,
}

/// A header whose link, work, time and seal were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedHeader {
    /// The block.
    pub hash: BlockHash,
    /// The length of its body, in bytes.
    pub body_bytes: u32,
}

/// Headers that follow an anchor, and the tip that they lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedHeaders {
    /// Lowest first.
    pub headers: Vec<CheckedHeader>,
    /// The last one as fork choice sees it.
    pub tip: Tip,
}

/// Checks headers for link, work, time and seal. Those dated ahead of the local clock end the list; they are asked
/// for again when due.
///
/// # Errors
/// [`Fault`]: the peer sent a header that no honest station would.
pub fn check_headers(
    rules: &Rules,
    anchor: &Anchor,
    headers: &[SealedHeader],
    now: Timestamp,
) -> Result<Option<CheckedHeaders>, Fault> {
    let mut times = anchor.recent_times.clone();
    let (mut previous, mut height, mut work) = (anchor.hash, anchor.height, anchor.work);
    let mut since_batches = if anchor.has_recent_batches { 0 } else { EMPTY_BLOCK_ANCESTORS };
    let mut tip = None;
    let mut checked = Vec::with_capacity(headers.len());
    for sealed in headers {
        let header = &sealed.header;
        if header.previous != previous || Some(header.index) != height.next() {
            return Err(Fault::BrokenLink { hash: sealed.hash(rules) });
        }
        let hash = sealed.check_alone(rules).map_err(|error| Fault::Block(error.into()))?;
        let median = median_time(&mut times.clone());
        if header.timestamp <= median {
            let found = header.timestamp;
            return Err(Fault::Block(ChainError::TooOld { hash, found, median }.into()));
        }
        if header.timestamp > now.saturating_add(MAX_CLOCK_SKEW_MS) {
            break;
        }
        since_batches = if header.batch_count > 0 { 0 } else { since_batches + 1 };
        if since_batches > EMPTY_BLOCK_ANCESTORS + 1 {
            return Err(Fault::Block(ChainError::Empty { hash }.into()));
        }
        times.insert(0, header.timestamp);
        times.truncate(MEDIAN_BLOCKS);
        work = work.plus(header.difficulty.work());
        tip = Some(Tip { work, rank: rules.rank(&previous, &header.producer), hash });
        checked.push(CheckedHeader { hash, body_bytes: header.body_bytes });
        (previous, height) = (hash, header.index);
    }
    Ok(tip.map(|tip| CheckedHeaders { headers: checked, tip }))
}

/// Splits blocks into requests of about 1 MiB of bodies, in order.
pub fn chunks(headers: &[CheckedHeader]) -> Vec<Vec<BlockHash>> {
    let mut chunks: Vec<Vec<BlockHash>> = Vec::new();
    let mut bytes = 0;
    for header in headers {
        let size = header.body_bytes as usize;
        match chunks.last_mut() {
            Some(chunk) if bytes + size <= CHUNK_BYTES && chunk.len() < MAX_BLOCKS => {
                chunk.push(header.hash);
                bytes += size;
            }
            _ => {
                chunks.push(vec![header.hash]);
                bytes = size;
            }
        }
    }
    chunks
}
