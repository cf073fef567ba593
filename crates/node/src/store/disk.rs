//! The store on disk: one writer over journal, view and side blocks.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{Height, Sequence, StationId};
use qfzz_ledger_core::ledger::Transition;

use super::entries::Entries;
use super::journal::{Cut, Journal, Position};
use super::lookup::Lookup;
use super::mark::{Mark, Reach};
use super::reader::StoreReader;
use super::repair::{finish_swap, mark_file, reach_of, salvaged_dir};
use super::side::{Side, SideReader};
use super::view::{self, View, ViewError, ViewReader};
use super::writers::{JournalWriter, Unshown, ViewWriter};
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
    writer: JournalWriter,
    view: ViewWriter,
    /// Blocks that a repair found whole above something that is missing.
    salvaged: Option<SideReader>,
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
        let (lock, unshown) = (Arc::new(lock), Unshown::default());
        let mut writer = JournalWriter {
            station,
            entries,
            journal,
            side,
            view: view.reader(),
            unshown: unshown.clone(),
            steps: 0,
            connected: VecDeque::new(),
            mark,
            mark_path,
            noted: None,
            reach,
            _lock: Arc::clone(&lock),
        };
        writer.note()?;
        let store = Self { writer, view: ViewWriter { view, unshown, _lock: lock }, salvaged };
        Ok((store, opened))
    }

    /// How often the journal was synced since the store was opened.
    pub fn syncs(&self) -> u64 {
        self.writer.journal.syncs()
    }

    /// The two halves, for a thread each.
    pub fn split(self) -> (JournalWriter, ViewWriter) {
        (self.writer, self.view)
    }
}

impl LedgerStore for DiskStore {
    type Reader = StoreReader;

    fn commit(&mut self, transitions: &[Transition]) -> Result<(), StoreError> {
        let step = self.writer.write(transitions)?;
        self.writer.note()?;
        self.view.show(&[step])?;
        self.writer.remove_shown()
    }

    fn reader(&self) -> StoreReader {
        let JournalWriter { entries, view, side, station, .. } = &self.writer;
        StoreReader::new(entries.clone(), view.clone(), side.reader(), self.salvaged.clone(), *station)
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
