//! The store on disk: one writer over journal, view and side blocks.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BatchId, Height, Sequence, StationId};
use qfzz_ledger_core::ledger::Transition;
use qfzz_ledger_core::state::Undo;

use super::draft::Draft;
use super::entries::Entries;
use super::journal::{Cut, Group, Journal, Place, Position};
use super::lookup::Lookup;
use super::mark::{Mark, Note, Reach};
use super::reader::StoreReader;
use super::repair::{finish_swap, mark_file, reach_of, salvaged_dir};
use super::schema::{BATCH_ENTRY, BLOCK_ENTRY, BlockEntry, OWN_BATCH_ENTRY, Own};
use super::side::{Side, SideReader};
use super::view::{self, View, ViewError, ViewReader};
use super::{LedgerStore, StoreError, replay};

/// What opening found and healed, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The tail of the journal that was cut: never synced, so never acknowledged.
    pub cut: Option<Cut>,
    /// Where the damaged view was put, and what was wrong with it; it was rebuilt from the journal.
    pub set_aside: Option<(PathBuf, String)>,
    /// Blocks that the view lacked and were connected again.
    pub replayed: u64,
    /// Files of the journal whose damaged header was written again from its copy.
    pub mended: Vec<u32>,
}

/// Journal, view and side blocks of one data directory.
pub struct DiskStore {
    station: StationId,
    entries: Entries,
    journal: Journal,
    view: View,
    side: Side,
    /// Blocks that a repair found whole above something that is missing.
    salvaged: Option<SideReader>,
    mark: Mark,
    reach: Reach,
    mark_path: PathBuf,
    last_sync: Duration,
    /// Held as long as the store is open, so that nobody else writes to it.
    _lock: File,
}

impl DiskStore {
    /// Opens the store of `station` in `dir`, or makes it. A torn tail of the journal is cut, a view that lags is
    /// replayed, one that is damaged is set aside and rebuilt from the journal.
    ///
    /// # Errors
    /// [`StoreError`]: the directory is in use or belongs to another federation, the system refused, or something in
    /// the journal that was synced is not there any more, which names file and offset.
    pub fn open(dir: &Path, rules: Arc<Rules>, station: StationId) -> Result<(Self, Opened), StoreError> {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let lock = lock(dir)?;
        finish_swap(dir)?;
        let mark_path = mark_file(dir);
        let note = Mark::read(&mark_path).map_err(at(&mark_path))?;
        let view_dir = dir.join("view");
        let mut opened = Opened::default();
        let mut view = match View::open(&view_dir) {
            Err(damaged @ ViewError::Damaged { .. }) => {
                opened.set_aside = Some((set_aside(&view_dir)?, damaged.to_string()));
                View::open(&view_dir)?
            }
            view => view?,
        };
        let known = note.map_or(Position::START, |note| note.position).max(view.position());
        let (mut journal, cut) = Journal::open(&dir.join("journal"), known)?;
        opened.cut = cut;
        opened.mended = journal.mended().to_vec();
        let entries = Entries { rules, journal: journal.reader() };
        replay::found(&mut journal, &entries)?;
        let filled = view.position() != Position::START;
        let replayed = match replay::replay(&mut view, journal.end(), &entries, station) {
            Err(error) if filled && error.is_disagreement() => {
                drop(view);
                opened.set_aside = Some((set_aside(&view_dir)?, error.to_string()));
                view = View::open(&view_dir)?;
                replay::replay(&mut view, journal.end(), &entries, station)?
            }
            replayed => replayed?,
        };
        opened.replayed = replayed;
        let side = open_side(dir, &entries.rules, &view.reader())?;
        let salvaged = Some(SideReader::of(&salvaged_dir(dir))).filter(|_| salvaged_dir(dir).exists());
        let nothing = Reach { height: Height::ZERO, head: entries.rules.genesis_hash(), own_next: Sequence::ZERO };
        let reach = reach_of(&view.reader(), station)?.unwrap_or(nothing);
        let mark = Mark::open(&mark_path).map_err(at(&mark_path))?;
        let mut store = Self {
            station,
            entries,
            journal,
            view,
            side,
            salvaged,
            mark,
            reach,
            mark_path,
            last_sync: Duration::ZERO,
            _lock: lock,
        };
        store.note()?;
        Ok((store, opened))
    }

    /// Notes how far the journal is synced.
    fn note(&mut self) -> Result<(), StoreError> {
        let note = Note { position: self.journal.end(), reach: self.reach };
        self.mark.write(&note).map_err(at(&self.mark_path))
    }

    /// Takes note of what a transition reaches.
    fn reach(&mut self, transition: &Transition) {
        (self.reach.height, self.reach.head) = (transition.height, transition.head);
        let station = self.station;
        let on_chain = transition.connected.iter().flat_map(|(block, _)| block.batches());
        let own = transition.own_batches.iter().chain(on_chain.filter(|batch| batch.station() == station));
        for next in own.filter_map(|batch| batch.sequence().next()) {
            self.reach.own_next = self.reach.own_next.max(next);
        }
    }

    /// How often the journal was synced since the store was opened.
    pub fn syncs(&self) -> u64 {
        self.journal.syncs()
    }

    /// How long the last commit waited for the disk.
    pub const fn last_sync(&self) -> Duration {
        self.last_sync
    }

    /// Writes a transition to the journal, not synced, and adds what follows from it to `draft`.
    fn write(&mut self, transition: &Transition, draft: &mut Draft) -> Result<(), StoreError> {
        let mut places = HashMap::new();
        for hash in &transition.reverted {
            let at = draft.block_at(hash)?.ok_or(StoreError::NotNext { block: *hash })?;
            let (block, entry) = self.entries.block(at.place, hash)?;
            draft.revert(&block, &entry)?;
            places.extend(entry.batches.into_iter().map(|(place, id)| (id, place)));
        }
        if !transition.own_batches.is_empty() || !transition.connected.is_empty() {
            let mut group = self.journal.begin()?;
            for batch in &transition.own_batches {
                let place = group.push(OWN_BATCH_ENTRY, &encode(batch.signed()))?;
                draft.put_own(batch.sequence(), Own { place, id: batch.id() });
            }
            for (block, undo) in &transition.connected {
                connect(&self.entries, &mut group, draft, &places, block, undo)?;
            }
            group.finish()?;
        }
        if transition.replaces_state {
            draft.clear_state()?;
        }
        for hash in &transition.dropped {
            draft.drop_block(hash)?;
        }
        Ok(())
    }
}

/// Writes a connected block: first those of its batches that are not in the journal yet.
fn connect(
    entries: &Entries,
    group: &mut Group<'_>,
    draft: &mut Draft,
    places: &HashMap<BatchId, Place>,
    block: &VerifiedBlock,
    undo: &Undo,
) -> Result<(), StoreError> {
    let batches = match draft.block_at(&block.hash())? {
        Some(at) => entries.block_entry(at.place, &block.hash())?.batches,
        None => {
            let mut batches = Vec::with_capacity(block.batches().len());
            for batch in block.batches() {
                let own = if draft.is_own(&batch.station()) { draft.own(batch.sequence())? } else { None };
                let own = own.filter(|own| own.id == batch.id()).map(|own| own.place);
                let place = match own.or_else(|| places.get(&batch.id()).copied()) {
                    Some(place) => place,
                    None => group.push(BATCH_ENTRY, &encode(batch.signed()))?,
                };
                batches.push((place, batch.id()));
            }
            batches
        }
    };
    let entry = BlockEntry { sealed: block.sealed().clone(), batches };
    let place = group.push(BLOCK_ENTRY, &entry.encode())?;
    draft.connect(block, place, &entry.batches, undo)
}

impl LedgerStore for DiskStore {
    type Reader = StoreReader;

    fn commit(&mut self, transitions: &[Transition]) -> Result<(), StoreError> {
        let mut draft = Draft::new(self.view.reader(), self.station);
        let mut state = BTreeMap::new();
        for transition in transitions {
            // What came and went within one transition is in both.
            for hash in &transition.dropped {
                self.side.remove(hash)?;
            }
            for block in transition.kept.iter().filter(|block| !transition.dropped.contains(&block.hash())) {
                self.side.keep(block)?;
            }
            self.write(transition, &mut draft)?;
            // Only what the last of them writes to a key counts.
            if transition.replaces_state {
                state.clear();
            }
            state.extend(&transition.writes);
            self.reach(transition);
        }
        draft.put_state(state);
        let (before, started) = (self.journal.syncs(), Instant::now());
        self.journal.sync()?;
        self.last_sync = started.elapsed();
        if self.journal.syncs() > before {
            self.note()?;
        }
        if !draft.writes().is_empty() {
            self.view.apply(draft.writes(), self.journal.end())?;
        }
        for (block, _) in transitions.iter().flat_map(|transition| &transition.connected) {
            self.side.remove(&block.hash())?;
        }
        Ok(())
    }

    fn reader(&self) -> StoreReader {
        let side = self.side.reader();
        StoreReader::new(self.entries.clone(), self.view.reader(), side, self.salvaged.clone(), self.station)
    }
}

/// Opens the blocks off the best chain, and removes those that were connected since or follow nothing that is known.
fn open_side(dir: &Path, rules: &Rules, view: &ViewReader) -> Result<Side, StoreError> {
    let mut side = Side::open(&dir.join("side"), rules)?;
    for (hash, sealed) in side.reader().headers(rules)? {
        let header = &sealed.header;
        let follows = match header.index.previous() {
            Some(below) => {
                view.is_best(below, &header.previous)?
                    || view.block_at(&header.previous)?.is_some()
                    || side.holds(&header.previous)
            }
            None => false,
        };
        if !follows || view.block_at(&hash)?.is_some() {
            side.remove(&hash)?;
        }
    }
    Ok(side)
}

pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("store.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
    }
}

pub(super) fn set_aside(view: &Path) -> Result<PathBuf, StoreError> {
    view::set_aside(view).map_err(at(view))
}

pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_path_buf();
    |source| StoreError::Io { path, source }
}

#[cfg(test)]
mod tests;
