//! The tree of known headers: the best chain, and what is known off it.
//!
//! Only blocks whose body was verified enter; each knows its accumulated work. Best-chain entries stay, about 200
//! bytes a block; off the best chain the lightest tips go first.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::federation::Rules;
use crate::fork_choice::Tip;
use crate::header::{BlockHeader, Work};
use crate::ids::{BlockHash, Height, StationId};
use crate::limits::{EMPTY_BLOCK_ANCESTORS, MAX_CLOCK_SKEW_MS, MAX_SIDE_BYTES, MAX_SIDE_HEADERS, MEDIAN_BLOCKS};
use crate::severity::Severity;
use crate::time::Timestamp;

/// Invalid blocks that are remembered, at most; the oldest are forgotten first.
const MAX_INVALID: usize = 1_000;

/// Hashes in a block locator, at most: enough for any height with doubling steps.
pub const MAX_LOCATOR: usize = 80;

/// Why a header does not fit the tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The parent is not known (yet).
    #[error("block {hash} follows {previous}, which is not known here")]
    UnknownParent {
        /// The block.
        hash: BlockHash,
        /// Its parent.
        previous: BlockHash,
    },
    /// Rule 3: the index is not the parent's plus one.
    #[error("block {hash} has index {found}, expected {expected}")]
    Index {
        /// The block.
        hash: BlockHash,
        /// The index found.
        found: Height,
        /// The parent's plus one.
        expected: Height,
    },
    /// Rule 4: the timestamp is not later than the median.
    #[error("block {hash} is dated {found}, not later than the median {median} of the blocks before it")]
    TooOld {
        /// The block.
        hash: BlockHash,
        /// Its timestamp.
        found: Timestamp,
        /// The median of the last blocks.
        median: Timestamp,
    },
    /// Rule 4: more than 120 s ahead of the local clock; tried again when due.
    #[error("block {hash} is dated {found}, ahead of this station's clock")]
    Ahead {
        /// The block.
        hash: BlockHash,
        /// Its timestamp.
        found: Timestamp,
    },
    /// Rule 6: neither this block nor one of its last four ancestors has a batch.
    #[error("block {hash} has no batches, nor have its last {EMPTY_BLOCK_ANCESTORS} ancestors")]
    Empty {
        /// The block.
        hash: BlockHash,
    },
    /// It, or an ancestor, failed when it was connected.
    #[error("block {hash} is, or follows, a block that was found invalid")]
    Invalid {
        /// The block.
        hash: BlockHash,
    },
}

impl ChainError {
    /// Who is at fault.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::UnknownParent { .. } | Self::Ahead { .. } => Severity::Later,
            Self::Index { .. } | Self::TooOld { .. } | Self::Empty { .. } | Self::Invalid { .. } => Severity::Peer,
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    previous: BlockHash,
    height: Height,
    timestamp: Timestamp,
    work: Work,
    producer: StationId,
    has_batches: bool,
    body_bytes: u32,
    children: u32,
}

/// Known blocks by hash, and the best chain by height.
#[derive(Clone, Debug)]
pub struct Chain {
    entries: HashMap<BlockHash, Entry>,
    best: Vec<BlockHash>,
    /// Blocks off the best chain that no known block follows, lightest first.
    side_tips: BTreeSet<(Work, BlockHash)>,
    side_bytes: u64,
    invalid: HashSet<BlockHash>,
    /// The invalid ones, oldest first.
    invalid_order: VecDeque<BlockHash>,
}

/// The way from one tip to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The last block that both have.
    pub fork: BlockHash,
    /// From the fork to the new tip, lowest first.
    pub blocks: Vec<BlockHash>,
}

impl Chain {
    /// Genesis alone.
    pub fn new(rules: &Rules) -> Self {
        let header = rules.genesis().header();
        let hash = rules.genesis_hash();
        let entry = Entry {
            previous: header.previous,
            height: header.index,
            timestamp: header.timestamp,
            work: header.difficulty.work(),
            producer: header.producer,
            has_batches: false,
            body_bytes: 0,
            children: 0,
        };
        Self {
            entries: HashMap::from([(hash, entry)]),
            best: vec![hash],
            side_tips: BTreeSet::new(),
            side_bytes: 0,
            invalid: HashSet::new(),
            invalid_order: VecDeque::new(),
        }
    }

    /// The best chain's last block.
    pub fn head(&self) -> BlockHash {
        *self.best.last().expect("the best chain holds genesis")
    }

    /// The head's height.
    pub fn height(&self) -> Height {
        Height::new(self.best.len() as u64 - 1)
    }

    /// The block of the best chain at `height`.
    pub fn at(&self, height: Height) -> Option<BlockHash> {
        self.best.get(usize::try_from(height.get()).ok()?).copied()
    }

    /// Whether the block's header and body are known.
    pub fn contains(&self, hash: &BlockHash) -> bool {
        self.entries.contains_key(hash)
    }

    /// The height of a known block.
    pub fn height_of(&self, hash: &BlockHash) -> Option<Height> {
        self.entries.get(hash).map(|entry| entry.height)
    }

    /// The timestamp of a known block.
    pub fn timestamp_of(&self, hash: &BlockHash) -> Option<Timestamp> {
        self.entries.get(hash).map(|entry| entry.timestamp)
    }

    /// The producer of a known block.
    pub fn producer_of(&self, hash: &BlockHash) -> Option<StationId> {
        self.entries.get(hash).map(|entry| entry.producer)
    }

    /// Whether the block is on the best chain.
    pub fn is_best(&self, hash: &BlockHash) -> bool {
        self.height_of(hash).is_some_and(|height| self.at(height) == Some(*hash))
    }

    /// Whether the block is remembered as invalid.
    pub fn is_invalid(&self, hash: &BlockHash) -> bool {
        self.invalid.contains(hash)
    }

    /// What fork choice looks at for a known block.
    pub fn tip(&self, rules: &Rules, hash: &BlockHash) -> Option<Tip> {
        let entry = self.entries.get(hash)?;
        Some(Tip { work: entry.work, rank: rules.rank(&entry.previous, &entry.producer), hash: *hash })
    }

    /// The work of the chain that ends with a known block.
    pub fn work_of(&self, hash: &BlockHash) -> Option<Work> {
        self.entries.get(hash).map(|entry| entry.work)
    }

    /// Rules 3, 4 and, of 6, the ancestors of a block without batches.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn check(&self, hash: &BlockHash, header: &BlockHeader, now: Timestamp) -> Result<(), ChainError> {
        let (hash, previous) = (*hash, header.previous);
        if self.is_invalid(&hash) || self.is_invalid(&previous) {
            return Err(ChainError::Invalid { hash });
        }
        let parent = self.entries.get(&previous).ok_or(ChainError::UnknownParent { hash, previous })?;
        let expected = parent.height.next().unwrap_or(parent.height);
        if header.index != expected {
            return Err(ChainError::Index { hash, found: header.index, expected });
        }
        let median = self.median_time(&previous);
        if header.timestamp <= median {
            return Err(ChainError::TooOld { hash, found: header.timestamp, median });
        }
        if header.timestamp > now.saturating_add(MAX_CLOCK_SKEW_MS) {
            return Err(ChainError::Ahead { hash, found: header.timestamp });
        }
        let mut recent = self.ancestry(&previous).take(EMPTY_BLOCK_ANCESTORS as usize);
        if header.batch_count == 0 && !recent.any(|entry| entry.has_batches) {
            return Err(ChainError::Empty { hash });
        }
        Ok(())
    }

    /// The median (element n / 2 of the sorted) of the timestamps of the last 11 blocks up to `hash`.
    pub fn median_time(&self, hash: &BlockHash) -> Timestamp {
        let mut times: Vec<Timestamp> = self.ancestry(hash).take(MEDIAN_BLOCKS).map(|entry| entry.timestamp).collect();
        median_time(&mut times)
    }

    /// The timestamps of the last 11 blocks up to `hash`, newest first: what checking further headers needs.
    pub fn recent_times(&self, hash: &BlockHash) -> Vec<Timestamp> {
        self.ancestry(hash).take(MEDIAN_BLOCKS).map(|entry| entry.timestamp).collect()
    }

    /// Whether one of the last four blocks up to `hash` holds a batch.
    pub fn has_recent_batches(&self, hash: &BlockHash) -> bool {
        self.ancestry(hash).take(EMPTY_BLOCK_ANCESTORS as usize).any(|entry| entry.has_batches)
    }

    /// The producers of the last `count` blocks of the best chain, each once.
    pub fn recent_producers(&self, count: usize) -> BTreeSet<StationId> {
        self.ancestry(&self.head())
            .take(count)
            .map(|entry| entry.producer)
            .filter(|it| *it != StationId::ZERO)
            .collect()
    }

    /// The block and its ancestors, newest first.
    fn ancestry(&self, hash: &BlockHash) -> impl Iterator<Item = &Entry> {
        std::iter::successors(self.entries.get(hash), |entry| self.entries.get(&entry.previous))
    }

    /// Takes in a block that passed [`Chain::check`] and whose body was verified.
    ///
    /// # Panics
    /// If its parent is not known.
    pub fn insert(&mut self, hash: BlockHash, header: &BlockHeader) {
        let parent = self.entries.get_mut(&header.previous).expect("checked: the parent is known");
        parent.children += 1;
        self.side_tips.remove(&(parent.work, header.previous));
        let entry = Entry {
            previous: header.previous,
            height: header.index,
            timestamp: header.timestamp,
            work: parent.work.plus(header.difficulty.work()),
            producer: header.producer,
            has_batches: header.batch_count > 0,
            body_bytes: header.body_bytes,
            children: 0,
        };
        self.side_bytes += u64::from(entry.body_bytes);
        self.side_tips.insert((entry.work, hash));
        self.entries.insert(hash, entry);
    }

    /// The way from the head to a known block.
    pub fn path_to(&self, hash: &BlockHash) -> Option<Path> {
        let mut blocks = Vec::new();
        let mut at = *hash;
        while !self.is_best(&at) {
            blocks.push(at);
            at = self.entries.get(&at)?.previous;
        }
        blocks.reverse();
        Some(Path { fork: at, blocks })
    }

    /// The blocks of the best chain above `fork`, highest first.
    pub fn above(&self, fork: &BlockHash) -> Vec<BlockHash> {
        let from = self.height_of(fork).map_or(self.best.len(), |height| height.get() as usize + 1);
        self.best.get(from..).unwrap_or_default().iter().rev().copied().collect()
    }

    /// Makes the blocks of `path` the best chain above its fork.
    pub fn adopt(&mut self, path: &Path) {
        let reverted = self.above(&path.fork);
        self.best.truncate(self.best.len() - reverted.len());
        for (hash, entry) in reverted.iter().filter_map(|hash| Some((hash, self.entries.get(hash)?))) {
            self.side_bytes += u64::from(entry.body_bytes);
            if entry.children == 0 {
                self.side_tips.insert((entry.work, *hash));
            }
        }
        for (hash, entry) in path.blocks.iter().filter_map(|hash| Some((hash, self.entries.get(hash)?))) {
            self.side_bytes -= u64::from(entry.body_bytes);
            self.side_tips.remove(&(entry.work, *hash));
        }
        self.best.extend(&path.blocks);
    }

    /// Forgets a block off the best chain that failed when it was connected, with its descendants, and remembers them
    /// as invalid. Returns what was forgotten.
    pub fn reject(&mut self, hash: &BlockHash) -> Vec<BlockHash> {
        let rejected = self.forget(hash);
        // The block itself comes last: its descendants are the first whose names may go.
        for hash in rejected.iter().rev() {
            if self.invalid.insert(*hash) {
                self.invalid_order.push_back(*hash);
            }
        }
        while self.invalid_order.len() > MAX_INVALID {
            let oldest = self.invalid_order.pop_front();
            oldest.map(|hash| self.invalid.remove(&hash));
        }
        rejected
    }

    /// Forgets a block off the best chain, with its descendants; they can be taken in again. Returns what was
    /// forgotten, parents before children.
    pub fn forget(&mut self, hash: &BlockHash) -> Vec<BlockHash> {
        let forgotten = self.with_descendants(hash);
        forgotten.iter().rev().for_each(|hash| self.remove(hash));
        forgotten
    }

    /// A block off the best chain and all that follows it, parents before children.
    fn with_descendants(&self, hash: &BlockHash) -> Vec<BlockHash> {
        let mut found = vec![*hash];
        if self.entries.get(hash).is_none_or(|entry| entry.children == 0) {
            return found;
        }
        let mut side = Vec::new();
        let mut seen = HashSet::new();
        for (_, tip) in &self.side_tips {
            let mut at = *tip;
            while let Some(entry) = self.entries.get(&at).filter(|entry| self.at(entry.height) != Some(at))
                && seen.insert(at)
            {
                side.push((entry.height, at, entry.previous));
                at = entry.previous;
            }
        }
        // Children have a greater height, so one pass in that order finds all descendants.
        side.sort_unstable();
        let mut members = HashSet::from([*hash]);
        for (_, hash, previous) in side {
            if members.contains(&previous) {
                members.insert(hash);
                found.push(hash);
            }
        }
        found
    }

    /// Forgets the lightest tips off the best chain until what is off it keeps within its limits: 10,000 headers,
    /// 256 MiB of bodies. Returns what was forgotten.
    pub fn prune(&mut self) -> Vec<BlockHash> {
        let mut forgotten = Vec::new();
        while self.entries.len() - self.best.len() > MAX_SIDE_HEADERS || self.side_bytes > MAX_SIDE_BYTES {
            let Some((_, hash)) = self.side_tips.first().copied() else { break };
            self.remove(&hash);
            forgotten.push(hash);
        }
        forgotten
    }

    /// Removes a block off the best chain that no known block follows.
    fn remove(&mut self, hash: &BlockHash) {
        let Some(entry) = self.entries.remove(hash) else { return };
        self.side_bytes -= u64::from(entry.body_bytes);
        self.side_tips.remove(&(entry.work, *hash));
        let is_best = self.is_best(&entry.previous);
        if let Some(parent) = self.entries.get_mut(&entry.previous) {
            parent.children -= 1;
            if parent.children == 0 && !is_best {
                self.side_tips.insert((parent.work, entry.previous));
            }
        }
    }

    /// Hashes of the best chain from the head down, the newest ten one by one, then with doubling steps; genesis last.
    pub fn locator(&self) -> Vec<BlockHash> {
        let mut hashes = Vec::new();
        let (mut height, mut step) = (self.best.len() - 1, 1);
        while height > 0 && hashes.len() < MAX_LOCATOR - 1 {
            hashes.push(self.best[height]);
            if hashes.len() >= 10 {
                step *= 2;
            }
            height = height.saturating_sub(step);
        }
        hashes.push(self.best[0]);
        hashes
    }
}

/// Element n / 2 of `times`, which are sorted here; the epoch of none.
pub fn median_time(times: &mut [Timestamp]) -> Timestamp {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(Timestamp::EPOCH)
}
