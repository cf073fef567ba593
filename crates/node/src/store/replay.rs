//! From the journal to the view: what the journal has beyond the view's position is connected again.
//!
//! A replay follows what was connected and chooses nothing anew. It finds the last block that was connected, walks back
//! to the view's best chain, takes off what lies above that, and connects forward; blocks that were connected and
//! reverted in between are left out. So the same replay brings a lagging view up to date and fills an empty one, and one
//! that is interrupted goes on where it was.

use std::collections::HashMap;
use std::path::Path as FsPath;

use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::{SealedHeader, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, FederationId, Height, Sequence, StationId};
use qfzz_ledger_core::limits::MAX_UNDO_BLOCKS;
use qfzz_ledger_core::state::{BlockRead, ConnectError, Key, ReadError, Value, connect};

use super::StoreError;
use super::draft::Draft;
use super::entries::Entries;
use super::journal::{Entry, Journal, JournalReader, Place, Position};
use super::lookup::Lookup;
use super::schema::{
    BATCH_ENTRY, BLOCK_ENTRY, BlockAt, BlockEntry, FEDERATION_ENTRY, GENESIS_ENTRY, Link, OWN_BATCH_ENTRY, Own,
};
use super::view::{Damage, View, ViewError};

/// Bytes of changes that a replay collects before they are written to the view.
const DRAFT_BYTES: usize = 4 * 1024 * 1024;

/// Writes the journal's first entry where there is none; else checks that it names the federation.
pub(super) fn found(journal: &mut Journal, entries: &Entries) -> Result<(), StoreError> {
    let expected = entries.rules.federation();
    if journal.end() == Position::START {
        write_founding(journal, &entries.rules)?;
        return Ok(journal.sync()?);
    }
    let Some(first) = journal.reader().replay(Position::START, journal.end()).next() else {
        return Err(StoreError::Mismatch { file: Position::START.file, offset: Position::START.offset });
    };
    let (place, entry) = first?;
    let found = (entry.kind == FEDERATION_ENTRY).then_some(entry.bytes).and_then(|bytes| bytes.try_into().ok());
    match found.map(FederationId::from_bytes) {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(StoreError::OtherFederation { found, expected }),
        None => Err(StoreError::Mismatch { file: place.file, offset: place.offset }),
    }
}

/// Writes the journal's first entries: which federation it is about.
pub(super) fn write_founding(journal: &mut Journal, rules: &Rules) -> Result<(), StoreError> {
    let mut group = journal.begin()?;
    group.push(FEDERATION_ENTRY, rules.federation().as_bytes())?;
    group.push(GENESIS_ENTRY, &rules.genesis().encode())?;
    Ok(group.finish()?)
}

/// The encoded genesis that the journal in `dir` holds, if that part of it is whole.
pub(super) fn founding(dir: &FsPath) -> Option<Vec<u8>> {
    let reader = JournalReader::of(dir);
    // The second entry is at most this far into the file.
    let end = Position { file: 1, offset: u32::MAX };
    let first = reader.replay(Position::START, end).take(2).map_while(Result::ok);
    first.map(|(_, entry)| entry).find(|entry| entry.kind == GENESIS_ENTRY).map(|entry| entry.bytes)
}

/// What the journal has beyond the view's position.
#[derive(Default)]
struct Beyond {
    blocks: HashMap<BlockHash, Seen>,
    head: Option<BlockHash>,
    own: Vec<(Sequence, Own)>,
}

struct Seen {
    previous: BlockHash,
    at: BlockAt,
}

impl Beyond {
    fn add(&mut self, place: Place, entry: &Entry, entries: &Entries) -> Result<(), StoreError> {
        let mismatch = |_| StoreError::Mismatch { file: place.file, offset: place.offset };
        match entry.kind {
            FEDERATION_ENTRY | GENESIS_ENTRY | BATCH_ENTRY => {}
            OWN_BATCH_ENTRY => {
                let batch = SignedBatch::decode(&entry.bytes).map_err(|_| mismatch(()))?;
                self.own.push((batch.header.sequence, Own { place, id: batch.id(&entries.rules) }));
            }
            BLOCK_ENTRY => {
                let sealed = BlockEntry::decode(&entry.bytes).map_err(|_| mismatch(()))?.sealed;
                let hash = sealed.hash(&entries.rules);
                let at = BlockAt { height: sealed.header.index, place };
                self.blocks.insert(hash, Seen { previous: sealed.header.previous, at });
                self.head = Some(hash);
            }
            kind => return Err(StoreError::UnknownKind { file: place.file, offset: place.offset, kind }),
        }
        Ok(())
    }
}

/// Blocks that were connected; the newest is not read again.
struct Past<'a> {
    draft: &'a Draft,
    entries: &'a Entries,
    newest: Option<VerifiedBlock>,
}

impl BlockRead for Past<'_> {
    fn past_block(&self, hash: &BlockHash) -> Result<VerifiedBlock, ReadError> {
        if let Some(block) = self.newest.as_ref().filter(|block| block.hash() == *hash) {
            return Ok(block.clone());
        }
        let at = self.draft.block_at(hash).map_err(StoreError::from)?;
        let at = at.ok_or(StoreError::from(ViewError::damaged(Damage::Meaning)))?;
        Ok(self.entries.block(at.place, hash)?.0)
    }
}

/// Brings `view` up to `end`, the end of the journal. Returns the number of blocks that were connected.
///
/// # Errors
/// [`StoreError`]. What does not fit together ([`StoreError::is_disagreement`]) may do so from an empty view.
pub(super) fn replay(view: &mut View, end: Position, entries: &Entries, station: StationId) -> Result<u64, StoreError> {
    let from = view.position();
    let mut beyond = Beyond::default();
    for entry in entries.journal.replay(from, end) {
        let (place, entry) = entry?;
        beyond.add(place, &entry, entries)?;
    }
    let mut draft = Draft::new(view.reader(), station);
    if draft.link(Height::ZERO)?.is_none() {
        let sealed = SealedHeader::genesis(&entries.rules);
        draft.put_genesis(&Link { hash: entries.rules.genesis_hash(), sealed });
    }
    let path = path(&draft, &beyond)?;
    take_off(&mut draft, &path, entries)?;
    let (mut count, mut newest) = (0, None);
    for (hash, at) in path.blocks.iter().rev() {
        let (block, entry) = entries.block(at.place, hash)?;
        let past = Past { draft: &draft, entries, newest };
        let connected = connect(&entries.rules, &draft, &past, &block).map_err(|error| match error {
            ConnectError::Read(_) => ViewError::damaged(Damage::Meaning).into(),
            error => StoreError::Replay { block: *hash, error },
        })?;
        draft.connect(&block, at.place, &entry.batches, &connected.undo)?;
        draft.put_state(&connected.writes);
        newest = Some(block);
        count += 1;
        if draft.size() > DRAFT_BYTES {
            // The position stays behind until all is done: a replay that starts again finds these blocks connected.
            view.apply(draft.writes(), from)?;
            draft.clear();
        }
    }
    add_pending(&mut draft, &beyond, entries, station)?;
    if from != end || !draft.writes().is_empty() {
        view.apply(draft.writes(), end)?;
    }
    Ok(count)
}

/// From the view's best chain to the last block that was connected.
struct Path {
    fork: Height,
    /// Highest first.
    blocks: Vec<(BlockHash, BlockAt)>,
}

fn path(draft: &Draft, beyond: &Beyond) -> Result<Path, StoreError> {
    let mut blocks = Vec::new();
    let Some(mut hash) = beyond.head else {
        return Ok(Path { fork: best_height(draft)?, blocks });
    };
    loop {
        let below = blocks.last().map(|(_, at): &(_, BlockAt)| at.height.previous());
        if let Some(fork) = below.flatten()
            && draft.is_best(fork, &hash)?
        {
            return Ok(Path { fork, blocks });
        }
        let seen = beyond.blocks.get(&hash).ok_or(StoreError::NotNext { block: hash })?;
        if blocks.is_empty() && draft.is_best(seen.at.height, &hash)? {
            return Ok(Path { fork: seen.at.height, blocks });
        }
        blocks.push((hash, seen.at));
        hash = seen.previous;
    }
}

/// Takes the blocks above the fork off the view's best chain.
fn take_off(draft: &mut Draft, path: &Path, entries: &Entries) -> Result<(), StoreError> {
    let mut height = best_height(draft)?;
    while height > path.fork {
        let lost = ViewError::damaged(Damage::Meaning);
        let (Some(link), Some(below)) = (draft.link(height)?, height.previous()) else { return Err(lost.into()) };
        let (Some(at), Some(undo)) = (draft.block_at(&link.hash)?, draft.undo_at(height)?) else {
            // Deeper than undo data is kept: only a view that is filled anew gets there.
            return Err(lost.into());
        };
        let (block, entry) = entries.block(at.place, &link.hash)?;
        draft.revert(&block, &entry)?;
        draft.put_state(&undo);
        height = below;
    }
    Ok(())
}

/// What a replay passes by: this station's batches that are not on the best chain, and the blocks that left it.
fn add_pending(draft: &mut Draft, beyond: &Beyond, entries: &Entries, station: StationId) -> Result<(), StoreError> {
    let next = match draft.state(&Key::Station(station))? {
        Some(Value::Station(state)) => state.next,
        Some(_) => return Err(ViewError::damaged(Damage::Meaning).into()),
        None => Sequence::ZERO,
    };
    for (sequence, own) in beyond.own.iter().filter(|(sequence, _)| *sequence >= next) {
        draft.put_own(*sequence, *own);
    }
    let head = best_height(draft)?;
    for (hash, seen) in &beyond.blocks {
        if draft.is_best(seen.at.height, hash)? {
            continue;
        }
        // Older ones were given up long ago; those that were given up since are given up again by the ledger.
        if seen.at.height.get().saturating_add(MAX_UNDO_BLOCKS) > head.get() {
            draft.put_block(hash, seen.at);
        }
        let (block, entry) = entries.block(seen.at.place, hash)?;
        for (batch, (place, id)) in block.batches().iter().zip(&entry.batches) {
            if batch.station() == station && batch.sequence() >= next {
                draft.put_own(batch.sequence(), Own { place: *place, id: *id });
            }
        }
    }
    Ok(())
}

/// The height of the best chain as the view has it.
fn best_height(draft: &Draft) -> Result<Height, StoreError> {
    match draft.state(&Key::Chain)? {
        Some(Value::Chain(chain)) => Ok(chain.height),
        Some(_) => Err(ViewError::damaged(Damage::Meaning).into()),
        None => Ok(Height::ZERO),
    }
}
