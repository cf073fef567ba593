//! What is whole in a journal, damaged or not, and what of it still makes a chain.
//!
//! Reads every byte of every file and writes nothing. Frames have checksums of their own, so those after a damaged
//! stretch are found again; batches are known by their ids and blocks by their hashes, wherever they lie.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use qfzz_ledger_core::batch::{Checked, SignedBatch};
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::fork_choice::Tip;
use qfzz_ledger_core::header::Work;
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::time::Timestamp;
use qfzz_ledger_core::verify::{ChainFault, Verifier};

use super::StoreError;
use super::entries::Entries;
use super::frame::{FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader, GROUP_END, MAX_ENTRY_BYTES};
use super::journal::{JournalReader, Place, Position};
use super::mark::Reach;
use super::schema::{BATCH_ENTRY, BLOCK_ENTRY, BlockEntry, FEDERATION_ENTRY, GENESIS_ENTRY, OWN_BATCH_ENTRY};

/// A stretch of a journal's file that does not hold what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The file's number.
    pub file: u32,
    /// Where it starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; 0 where that is unknown.
    pub bytes: u64,
    /// What was there.
    pub what: &'static str,
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {:08}.log, byte {}, {} bytes: {}", self.file, self.offset, self.bytes, self.what)
    }
}

/// A whole batch.
struct BatchAt {
    place: Place,
    station: StationId,
    sequence: Sequence,
}

/// The whole entry of a block.
struct BlockSeen {
    place: Place,
    height: Height,
    previous: BlockHash,
    work: Work,
    producer: StationId,
}

/// What is whole in a journal. See the module.
pub struct Salvage {
    pub(super) entries: Entries,
    pub(super) station: StationId,
    holes: Vec<Hole>,
    stranger: Option<StationId>,
    batches: HashMap<BatchId, BatchAt>,
    own: BTreeMap<(Sequence, BatchId), Place>,
    blocks: HashMap<BlockHash, BlockSeen>,
    /// The best chain that can be put together, lowest first.
    path: Vec<BlockHash>,
    /// The sequence after this station's last batch on that chain.
    own_on_chain: Sequence,
    here: Reach,
    expected: Reach,
}

impl Salvage {
    /// Reads the journal in `dir`. `known` is a position that was synced for certain, `reach` what it held then.
    ///
    /// # Errors
    /// [`StoreError`] where the system refuses, or an entry is of a kind that this version does not know.
    pub(super) fn read(
        dir: &Path,
        rules: Arc<Rules>,
        station: StationId,
        known: Position,
        reach: Option<Reach>,
    ) -> Result<Self, StoreError> {
        let genesis = Reach { height: Height::ZERO, head: rules.genesis_hash(), own_next: Sequence::ZERO };
        let entries = Entries { rules, journal: JournalReader::of(dir) };
        let mut salvage = Self {
            entries,
            station,
            holes: Vec::new(),
            stranger: None,
            batches: HashMap::new(),
            own: BTreeMap::new(),
            blocks: HashMap::new(),
            path: Vec::new(),
            own_on_chain: Sequence::ZERO,
            here: genesis,
            expected: genesis,
        };
        let last = salvage.entries.journal.last_file()?.max(known.file);
        for number in 1..=last {
            salvage.read_file(number, number == last, known)?;
        }
        salvage.connect()?;
        salvage.expected = reach.into_iter().fold(salvage.seen(), Reach::or_further);
        Ok(salvage)
    }

    /// What is damaged, in order.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// What the journal reaches without anybody's help.
    pub fn here(&self) -> Reach {
        self.here
    }

    /// What this station had: what a repair must reach again.
    pub fn expected(&self) -> Reach {
        self.expected
    }

    /// Whether all that this station had can be put together from what is whole.
    pub fn is_complete(&self) -> bool {
        self.here.or_further(self.expected) == self.here
    }

    /// Batches that are whole.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// This station's own batches that are whole, in order; the same place may have been signed twice.
    pub(super) fn own(&self) -> impl Iterator<Item = (Sequence, BatchId, Place)> + '_ {
        self.own.iter().map(|((sequence, id), place)| (*sequence, *id, *place))
    }

    /// This station's own batches that are not on the chain.
    pub fn own_pending(&self) -> usize {
        self.own.keys().filter(|(sequence, _)| *sequence >= self.own_on_chain).count()
    }

    /// The best chain that can be put together, above genesis and lowest first.
    pub(super) fn path(&self) -> &[BlockHash] {
        &self.path
    }

    /// The blocks that are whole and of which something below is missing, by height.
    pub(super) fn stranded(&self) -> Result<Vec<BlockHash>, StoreError> {
        let reached: HashSet<&BlockHash> = self.path.iter().collect();
        let above = self.blocks.iter().filter(|(hash, seen)| !reached.contains(hash) && seen.height > self.here.height);
        let mut above: Vec<_> = above.map(|(hash, seen)| (seen.height, *hash)).collect();
        above.sort_unstable();
        let mut stranded = Vec::with_capacity(above.len());
        for (_, hash) in above {
            if self.is_whole(&hash)? {
                stranded.push(hash);
            }
        }
        Ok(stranded)
    }

    /// A block that is whole, wherever its parts lie.
    pub(super) fn block(&self, hash: &BlockHash) -> Result<VerifiedBlock, StoreError> {
        let missing = StoreError::NotNext { block: *hash };
        let Some(seen) = self.blocks.get(hash) else { return Err(missing) };
        let entry = self.entries.block_entry(seen.place, hash)?;
        let mut batches = Vec::with_capacity(entry.batches.len());
        for (_, id) in &entry.batches {
            let Some(at) = self.batches.get(id) else { return Err(missing) };
            batches.push(self.entries.batch(at.place, *id)?);
        }
        let mismatch = StoreError::Mismatch { file: seen.place.file, offset: seen.place.offset };
        VerifiedBlock::reread(&self.entries.rules, entry.sealed, batches, *hash, Checked::OnChain).map_err(|_| mismatch)
    }

    /// When the head of that chain was made; `None` at genesis.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn head_time(&self) -> Result<Option<Timestamp>, StoreError> {
        let head = self.path.last().and_then(|hash| Some((self.blocks.get(hash)?.place, hash)));
        head.map(|(place, hash)| Ok(self.entries.block_entry(place, hash)?.sealed.header.timestamp)).transpose()
    }

    /// Another station that wrote batches here as its own: then the key is not the one that this store belongs to.
    pub fn stranger(&self) -> Option<StationId> {
        self.stranger
    }

    /// Verifies the chain again from genesis, every rule and signature; the number of blocks above genesis.
    ///
    /// # Errors
    /// [`StoreError`] where the journal cannot be read; the inner error names the block that breaks a rule.
    pub fn verify(&self) -> Result<Result<usize, ChainFault>, StoreError> {
        let mut verifier = Verifier::from_genesis(&self.entries.rules);
        for hash in &self.path {
            if let Err(fault) = verifier.next(self.block(hash)?.to_signed()) {
                return Ok(Err(fault));
            }
        }
        Ok(Ok(self.path.len()))
    }

    fn read_file(&mut self, number: u32, is_last: bool, known: Position) -> Result<(), StoreError> {
        let whole_file = |bytes, what| Hole { file: number, offset: 0, bytes, what };
        let Some((header, bytes)) = self.entries.journal.raw(number)? else {
            self.holes.push(whole_file(0, "the file is missing"));
            return Ok(());
        };
        let Some(FileHeader { salt, previous_length, .. }) = header else {
            self.holes.push(whole_file(bytes.len() as u64, "the file's header, and the copy of it"));
            return Ok(());
        };
        if let Some(before) = number.checked_sub(1).filter(|before| *before > 0)
            && let Some(length) = self.entries.journal.length(before)?
            && length < u64::from(previous_length)
        {
            let bytes = u64::from(previous_length) - length;
            self.holes.push(Hole { file: before, offset: length, bytes, what: "the file's end was cut off" });
        }
        let mut offset = FILE_HEADER_BYTES;
        while let Some(step) = step(&bytes, salt, offset) {
            match step {
                Scanned::Frame { place, kind } => {
                    let place = Place { file: number, ..place };
                    self.take(place, kind)?;
                    offset = place.offset + FRAME_HEADER_BYTES + place.length;
                }
                Scanned::Hole { until, what } => {
                    let start = Position { file: number, offset };
                    // What follows the last sync was never acknowledged.
                    if !(is_last && until == bytes.len() && start >= known) {
                        let length = until as u64 - u64::from(offset);
                        self.holes.push(Hole { file: number, offset: offset.into(), bytes: length, what });
                    }
                    let Ok(until) = u32::try_from(until) else { break };
                    offset = until;
                }
            }
        }
        if number == known.file && (bytes.len() as u64) < u64::from(known.offset) {
            let (offset, bytes) = (bytes.len() as u64, u64::from(known.offset) - bytes.len() as u64);
            self.holes.push(Hole { file: number, offset, bytes, what: "the file's end was cut off" });
        }
        Ok(())
    }

    fn take(&mut self, place: Place, kind: u8) -> Result<(), StoreError> {
        let mismatch = || StoreError::Mismatch { file: place.file, offset: place.offset };
        match kind {
            GROUP_END | FEDERATION_ENTRY | GENESIS_ENTRY => {}
            OWN_BATCH_ENTRY | BATCH_ENTRY => {
                let entry = self.entries.journal.read(place)?;
                let batch = SignedBatch::decode(&entry.bytes).map_err(|_| mismatch())?;
                let (id, (station, sequence)) = (batch.id(&self.entries.rules), batch.place());
                if kind == OWN_BATCH_ENTRY && station != self.station {
                    self.stranger = Some(station);
                }
                if station == self.station {
                    self.own.insert((sequence, id), place);
                }
                self.batches.insert(id, BatchAt { place, station, sequence });
            }
            BLOCK_ENTRY => {
                let entry = self.entries.journal.read(place)?;
                let sealed = BlockEntry::decode(&entry.bytes).map_err(|_| mismatch())?.sealed;
                let header = &sealed.header;
                let seen = BlockSeen {
                    place,
                    height: header.index,
                    previous: header.previous,
                    work: header.difficulty.work(),
                    producer: header.producer,
                };
                self.blocks.insert(sealed.hash(&self.entries.rules), seen);
            }
            kind => return Err(StoreError::UnknownKind { file: place.file, offset: place.offset, kind }),
        }
        Ok(())
    }

    /// Whether all batches of a block are there.
    fn is_whole(&self, hash: &BlockHash) -> Result<bool, StoreError> {
        let Some(seen) = self.blocks.get(hash) else { return Ok(false) };
        let entry = self.entries.block_entry(seen.place, hash)?;
        Ok(entry.batches.iter().all(|(_, id)| self.batches.contains_key(id)))
    }

    /// Finds the best chain that can be put together.
    fn connect(&mut self) -> Result<(), StoreError> {
        let rules = Arc::clone(&self.entries.rules);
        let mut by_height: Vec<(Height, BlockHash)> = self.blocks.iter().map(|(hash, it)| (it.height, *hash)).collect();
        by_height.sort_unstable();
        let mut reached = HashMap::from([(rules.genesis_hash(), Work::ZERO)]);
        let mut best: Option<Tip> = None;
        for (_, hash) in by_height {
            let Some(seen) = self.blocks.get(&hash) else { continue };
            let Some(below) = reached.get(&seen.previous).copied() else { continue };
            if !self.is_whole(&hash)? {
                continue;
            }
            let work = below.plus(seen.work);
            let tip = Tip { work, rank: rules.rank(&seen.previous, &seen.producer), hash };
            reached.insert(hash, work);
            if best.is_none_or(|best| tip.is_better_than(&best)) {
                best = Some(tip);
            }
        }
        let mut at = best.map(|best| best.hash);
        while let Some(seen) = at.as_ref().and_then(|hash| self.blocks.get(hash)) {
            self.path.extend(at);
            at = Some(seen.previous);
        }
        self.path.reverse();
        if let Some((head, seen)) = self.path.last().and_then(|head| Some((*head, self.blocks.get(head)?))) {
            (self.here.head, self.here.height) = (head, seen.height);
        }
        self.own_on_chain = self.own_on_chain()?;
        self.here.own_next = self.own_on_chain;
        for (sequence, _) in self.own.keys() {
            if *sequence == self.here.own_next
                && let Some(next) = sequence.next()
            {
                self.here.own_next = next;
            }
        }
        Ok(())
    }

    fn own_on_chain(&self) -> Result<Sequence, StoreError> {
        let mut own_next = Sequence::ZERO;
        for hash in &self.path {
            let Some(seen) = self.blocks.get(hash) else { continue };
            for (_, id) in self.entries.block_entry(seen.place, hash)?.batches {
                if let Some(at) = self.batches.get(&id).filter(|at| at.station == self.station) {
                    own_next = at.sequence.next().map_or(own_next, |next| next.max(own_next));
                }
            }
        }
        Ok(own_next)
    }

    /// The furthest that any whole entry speaks of.
    fn seen(&self) -> Reach {
        let own_next = self.own.keys().filter_map(|(sequence, _)| sequence.next()).max().unwrap_or(Sequence::ZERO);
        let blocks = self.blocks.iter().map(|(head, it)| Reach { height: it.height, head: *head, own_next });
        blocks.fold(self.here, Reach::or_further).or_further(Reach { own_next, ..self.here })
    }
}

/// What stands at an offset.
enum Scanned {
    Frame { place: Place, kind: u8 },
    Hole { until: usize, what: &'static str },
}

/// What stands at `offset` of a file's bytes; `None` at their end.
fn step(bytes: &[u8], salt: u64, offset: u32) -> Option<Scanned> {
    let start = offset as usize;
    if start >= bytes.len() {
        return None;
    }
    if let Some((place, kind)) = frame_at(bytes, salt, start) {
        return Some(Scanned::Frame { place, kind });
    }
    let what = match header_at(bytes, salt, start) {
        Some(header) => name(header.kind),
        None => "an entry whose kind cannot be told",
    };
    let next = (start + 1..bytes.len()).find(|start| frame_at(bytes, salt, *start).is_some());
    Some(Scanned::Hole { until: next.unwrap_or(bytes.len()), what })
}

const fn name(kind: u8) -> &'static str {
    match kind {
        GROUP_END => "the end of a group",
        FEDERATION_ENTRY => "the federation's id",
        GENESIS_ENTRY => "the federation's genesis",
        OWN_BATCH_ENTRY => "an own batch",
        BATCH_ENTRY => "another station's batch",
        BLOCK_ENTRY => "a block",
        _ => "an entry of a newer version",
    }
}

fn header_at(bytes: &[u8], salt: u64, start: usize) -> Option<FrameHeader> {
    let raw = bytes.get(start..start + FRAME_HEADER_BYTES as usize)?;
    // The cheap look first: almost no noise passes it.
    let length = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
    if length > MAX_ENTRY_BYTES {
        return None;
    }
    FrameHeader::decode(raw.try_into().ok()?, salt, u32::try_from(start).ok()?)
}

fn frame_at(bytes: &[u8], salt: u64, start: usize) -> Option<(Place, u8)> {
    let header = header_at(bytes, salt, start)?;
    let from = start + FRAME_HEADER_BYTES as usize;
    let entry = bytes.get(from..from + header.length as usize)?;
    let offset = u32::try_from(start).ok()?;
    header.covers(entry).then_some((Place { file: 0, offset, length: header.length }, header.kind))
}
