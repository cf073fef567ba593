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

/// Bytes of bodies in one request, but for a block that is larger: four of them under way at once then pass a link of
/// 52 KiB/s before their 20 s are over.
const CHUNK_BYTES: usize = 256 * 1024;
const _: () = assert!(CHUNK_BYTES + MAX_BLOCKS * 4 * 1_024 < MAX_RESPONSE_BYTES);

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
    let mut check = HeaderCheck::new(rules, anchor, now);
    for sealed in headers {
        if !check.push(sealed)? {
            break;
        }
    }
    Ok(check.finish())
}

/// Headers that are being checked: one at a time, for a seal takes as long as a thousand hashes.
pub(crate) struct HeaderCheck<'a> {
    rules: &'a Rules,
    now: Timestamp,
    previous: BlockHash,
    height: Height,
    work: Work,
    recent_times: Vec<Timestamp>,
    /// Blocks since one with a batch; at least, for the anchor says only whether one of four holds one.
    without_batches: u64,
    checked: Vec<CheckedHeader>,
    tip: Option<Tip>,
}

impl<'a> HeaderCheck<'a> {
    /// None so far.
    pub(crate) fn new(rules: &'a Rules, anchor: &Anchor, now: Timestamp) -> Self {
        Self {
            rules,
            now,
            previous: anchor.hash,
            height: anchor.height,
            work: anchor.work,
            recent_times: anchor.recent_times.clone(),
            without_batches: if anchor.has_recent_batches { 0 } else { EMPTY_BLOCK_ANCESTORS },
            checked: Vec::new(),
            tip: None,
        }
    }

    /// Checks the next one; false if it is dated ahead of the local clock, and ends the list.
    pub(crate) fn push(&mut self, sealed: &SealedHeader) -> Result<bool, Fault> {
        let header = &sealed.header;
        if header.previous != self.previous || Some(header.index) != self.height.next() {
            return Err(Fault::BrokenLink { hash: sealed.hash(self.rules) });
        }
        let hash = sealed.check_alone(self.rules).map_err(|error| Fault::Block(error.into()))?;
        let median = median_time(&mut self.recent_times.clone());
        if header.timestamp <= median {
            let found = header.timestamp;
            return Err(Fault::Block(ChainError::TooOld { hash, found, median }.into()));
        }
        if header.timestamp > self.now.saturating_add(MAX_CLOCK_SKEW_MS) {
            return Ok(false);
        }
        self.without_batches = if header.batch_count > 0 { 0 } else { self.without_batches + 1 };
        if self.without_batches > EMPTY_BLOCK_ANCESTORS {
            return Err(Fault::Block(ChainError::Empty { hash }.into()));
        }
        self.recent_times.insert(0, header.timestamp);
        self.recent_times.truncate(MEDIAN_BLOCKS);
        self.work = self.work.plus(header.difficulty.work());
        self.tip = Some(Tip { work: self.work, rank: self.rules.rank(&self.previous, &header.producer), hash });
        self.checked.push(CheckedHeader { hash, body_bytes: header.body_bytes });
        (self.previous, self.height) = (hash, header.index);
        Ok(true)
    }

    /// All of them; `None` if there is none.
    pub(crate) fn finish(self) -> Option<CheckedHeaders> {
        self.tip.map(|tip| CheckedHeaders { headers: self.checked, tip })
    }
}

/// Splits blocks into requests of at most 256 KiB of bodies, or one larger block, in order.
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
