//! Repairing a store: what is whole in a damaged journal becomes a new one; the old one is set aside, never removed.
//!
//! What only other stations have comes back from them afterwards. Until then a note says how far the store must come
//! again, and blocks that are whole but lack something below lie where a sync finds them without asking a peer.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BatchId, Sequence, StationId};
use qfzz_ledger_core::state::{Key, Value};

use super::StoreError;
use super::disk::{at, lock, set_aside};
use super::journal::{Journal, Place, Position};
use super::lookup::Lookup;
use super::mark::{Mark, Reach};
use super::replay::{founding, write_founding};
use super::salvage::{Hole, Salvage};
use super::schema::{self, BATCH_ENTRY, BLOCK_ENTRY, BlockEntry, OWN_BATCH_ENTRY};
use super::side::{Side, SideReader};
use super::view::{View, ViewError, ViewReader};

/// The note that says how far the store must come again.
const GOAL: &str = "repair";

/// Whole blocks of the old journal that lack something below.
const SALVAGED: &str = "salvaged";

/// The new journal while it is being written.
const NEW: &str = "journal.new";

/// What a repair did.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What was damaged.
    pub holes: Vec<Hole>,
    /// Where the old journal is now.
    pub aside: Option<PathBuf>,
    /// What the new one reaches.
    pub here: Reach,
    /// What it must reach again.
    pub expected: Reach,
}

/// What a look at the view found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewFound {
    /// Every entry is as it was written.
    Whole {
        /// The journal's position that it stands for.
        position: Position,
    },
    /// It will be made from the journal.
    Missing,
    /// It will be set aside, and made from the journal.
    Damaged {
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads every byte of journal and view in `dir`, and changes nothing but what opening a database changes.
///
/// # Errors
/// [`StoreError`] where the system refuses, or another process has the store.
pub fn examine(dir: &Path, rules: Arc<Rules>, station: StationId) -> Result<(Salvage, ViewFound), StoreError> {
    let _lock = lock(dir)?;
    finish_swap(dir)?;
    let note = Mark::read(&mark_file(dir)).map_err(at(&mark_file(dir)))?;
    let mut reaches: Vec<Reach> = note.iter().map(|note| note.reach).collect();
    let mut known = note.map_or(Position::START, |note| note.position);
    let view_dir = dir.join("view");
    let found = if view_dir.exists() {
        match View::open(&view_dir) {
            Ok(view) => {
                known = known.max(view.position());
                reaches.extend(reach_of(&view.reader(), station).ok().flatten());
                ViewFound::Whole { position: view.position() }
            }
            Err(error @ ViewError::Damaged { .. }) => ViewFound::Damaged { problem: error.to_string() },
            Err(error) => return Err(error.into()),
        }
    } else {
        ViewFound::Missing
    };
    // One that cannot be read is made anew from the rest.
    reaches.extend(goal(dir).ok().flatten());
    let reach = reaches.into_iter().reduce(Reach::or_further);
    Ok((Salvage::read(&dir.join("journal"), rules, station, known, reach)?, found))
}

/// What a view holds; `None` before it holds anything.
pub(super) fn reach_of(view: &ViewReader, station: StationId) -> Result<Option<Reach>, StoreError> {
    let Some(Value::Chain(chain)) = view.state(&Key::Chain)? else { return Ok(None) };
    let on_chain = match view.state(&Key::Station(station))? {
        Some(Value::Station(state)) => state.next,
        _ => Sequence::ZERO,
    };
    let pending = view.range(&[schema::OWN], &schema::after(&[schema::OWN])).next_back().transpose()?;
    let pending = pending.and_then(|(key, _)| schema::sequence_of_own_key(&key)).and_then(Sequence::next);
    let own_next = pending.map_or(on_chain, |pending| pending.max(on_chain));
    Ok(Some(Reach { height: chain.height, head: chain.head, own_next }))
}

/// Makes a new journal of what is whole in the old one, and sets the old one and the view aside.
///
/// # Errors
/// [`StoreError`]; the old journal is then still in its place, or in its named folder beside a whole new one.
pub fn repair(dir: &Path, rules: Arc<Rules>, station: StationId) -> Result<Repaired, StoreError> {
    let (salvage, _) = examine(dir, rules, station)?;
    let expected = salvage.here().or_further(salvage.expected());
    replace(dir, &salvage, salvage.own(), expected)
}

/// Goes on without what is missing: as [`repair`], but own batches that follow a lost one stay in the old journal only,
/// as they can be on no chain any more; and nothing is waited for.
///
/// # Errors
/// As [`repair`].
pub fn give_up(dir: &Path, rules: Arc<Rules>, station: StationId) -> Result<Repaired, StoreError> {
    let (salvage, _) = examine(dir, rules, station)?;
    let here = salvage.here();
    let repaired = replace(dir, &salvage, salvage.own().filter(|(sequence, ..)| *sequence < here.own_next), here)?;
    settle(dir)?;
    Ok(repaired)
}

/// Puts a new journal of the best chain and these own batches in the place of the old one.
fn replace(
    dir: &Path,
    salvage: &Salvage,
    own: impl Iterator<Item = (Sequence, BatchId, Place)>,
    expected: Reach,
) -> Result<Repaired, StoreError> {
    let _lock = lock(dir)?;
    let new = dir.join(NEW);
    remove_dir(&new)?;
    write_journal(&new, salvage, own)?;
    keep_stranded(&dir.join(SALVAGED), salvage)?;
    write_goal(dir, &expected)?;
    // From here on only the new journal counts, whose places are other ones.
    remove_file(&mark_file(dir))?;
    if dir.join("view").exists() {
        set_aside(&dir.join("view"))?;
    }
    let journal = dir.join("journal");
    let aside = if journal.exists() {
        let aside = free_name(dir)?;
        fs::rename(&journal, &aside).map_err(at(&journal))?;
        Some(aside)
    } else {
        None
    };
    fs::rename(&new, &journal).map_err(at(&new))?;
    sync_dir(dir)?;
    Ok(Repaired { holes: salvage.holes().to_vec(), aside, here: salvage.here(), expected })
}

/// The encoded genesis that the journal in `dir` holds, if that part of it is whole.
pub fn genesis(dir: &Path) -> Option<Vec<u8>> {
    founding(&dir.join("journal"))
}

/// How far the store must come again before it may be used; `None` if nothing is being repaired.
///
/// # Errors
/// [`StoreError::Io`].
pub fn goal(dir: &Path) -> Result<Option<Reach>, StoreError> {
    let path = dir.join(GOAL);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Io { path, source }),
    };
    let whole = bytes.split_last_chunk().filter(|(reach, sum)| u32::from_le_bytes(**sum) == crc32fast::hash(reach));
    match whole.and_then(|(reach, _)| Reach::decode(reach)) {
        Some(reach) => Ok(Some(reach)),
        None => Err(StoreError::Goal { path }),
    }
}

/// Whether a store was here, though its journal may be gone.
pub fn remembers(dir: &Path) -> bool {
    mark_file(dir).exists() || dir.join(GOAL).exists() || dir.join("view").exists()
}

/// Blocks off the best chain that are whole, and files beside them that are not.
///
/// # Errors
/// [`StoreError`] where the system refuses.
pub fn examine_side(dir: &Path, rules: &Rules) -> Result<(usize, usize), StoreError> {
    let dir = dir.join("side");
    if !dir.exists() {
        return Ok((0, 0));
    }
    Ok(SideReader::of(&dir).count(rules)?)
}

/// Ends a repair: the store has all that it had, or the operator goes on without.
///
/// # Errors
/// [`StoreError::Io`].
pub fn settle(dir: &Path) -> Result<(), StoreError> {
    remove_dir(&dir.join(SALVAGED))?;
    remove_file(&dir.join(GOAL))
}

/// Ends what a repair was doing when it was interrupted between two renames.
pub(super) fn finish_swap(dir: &Path) -> Result<(), StoreError> {
    let (new, journal) = (dir.join(NEW), dir.join("journal"));
    if !new.exists() {
        return Ok(());
    }
    if journal.exists() {
        return remove_dir(&new);
    }
    fs::rename(&new, &journal).map_err(at(&new))?;
    sync_dir(dir)
}

/// Where the notes about the journal's end are.
pub(super) fn mark_file(dir: &Path) -> PathBuf {
    dir.join("journal.mark")
}

/// Where whole blocks lie that lack something below.
pub(super) fn salvaged_dir(dir: &Path) -> PathBuf {
    dir.join(SALVAGED)
}

fn write_journal(
    dir: &Path,
    salvage: &Salvage,
    own: impl Iterator<Item = (Sequence, BatchId, Place)>,
) -> Result<(), StoreError> {
    let (mut journal, _) = Journal::open(dir, Position::START)?;
    write_founding(&mut journal, &salvage.entries.rules)?;
    let mut places: HashMap<BatchId, Place> = HashMap::new();
    for (_, id, place) in own {
        let mut group = journal.begin()?;
        places.insert(id, group.push(OWN_BATCH_ENTRY, &salvage.entries.journal.read(place)?.bytes)?);
        group.finish()?;
    }
    for hash in salvage.path() {
        let block = salvage.block(hash)?;
        let mut group = journal.begin()?;
        let mut batches = Vec::with_capacity(block.batches().len());
        for batch in block.batches() {
            let place = match places.get(&batch.id()) {
                Some(place) => *place,
                None => group.push(BATCH_ENTRY, &encode(batch.signed()))?,
            };
            batches.push((place, batch.id()));
        }
        group.push(BLOCK_ENTRY, &BlockEntry { sealed: block.sealed().clone(), batches }.encode())?;
        group.finish()?;
    }
    Ok(journal.sync()?)
}

fn keep_stranded(dir: &Path, salvage: &Salvage) -> Result<(), StoreError> {
    let stranded = salvage.stranded()?;
    if stranded.is_empty() {
        return Ok(());
    }
    let mut side = Side::open(dir, &salvage.entries.rules)?;
    for hash in stranded {
        side.keep(&salvage.block(&hash)?)?;
    }
    Ok(())
}

fn write_goal(dir: &Path, goal: &Reach) -> Result<(), StoreError> {
    let mut bytes = goal.encode();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let (path, new) = (dir.join(GOAL), dir.join("repair.new"));
    let mut file = File::create(&new).map_err(at(&new))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(at(&new))?;
    fs::rename(&new, &path).map_err(at(&path))?;
    sync_dir(dir)
}

/// The next name of a journal that is set aside. They are never removed: what was signed is in them.
fn free_name(dir: &Path) -> Result<PathBuf, StoreError> {
    let mut number = 1_u64;
    loop {
        let path = dir.join(format!("journal.damaged-{number}"));
        match path.symlink_metadata() {
            Ok(_) => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
            Err(source) => return Err(StoreError::Io { path, source }),
        }
    }
}

fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}
