//! The view: what follows from the journal, in sled, for quick reading. It may lag and it may be lost.
//!
//! It carries the journal's position that it stands for, and a sum over all its entries. So a view that lost its tail
//! is noticed and replayed, and one that holds anything else than it should is noticed, set aside and rebuilt.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::journal::Position;
use super::redo::{self, Redo};
use super::scan;
use super::sealed::{Batch, unseal};
use super::standing::Standing;

/// Bytes of a value, at most: sled writes what exceeds 128 KiB (16 values of a leaf) to files that it never syncs.
pub(super) const MAX_VALUE_BYTES: usize = 4 * 1024;

/// Bytes of a key, at most. The longest name two ids of 128 bytes.
pub(super) const MAX_KEY_BYTES: usize = 512;

/// Keys that one batch writes, at most, the standing among them: batches of 1,000 left 1.3 GiB resident where those of 100 left 227 MiB.
pub(super) const BATCH_KEYS: usize = 100;

/// Bytes that are written, about, before the disk is waited for.
///
/// sled 0.34.7 has each buffer of half a MiB written by a pool of seven threads, which also cuts its file and grows no
/// more once more than half of it is busy. Where all seven wait for the lock of whoever waits for that cut, it stands
/// still for good. It writes up to thirteen times what it is given, so this leaves part of the pool free; and its buffers
/// would wait in memory in any number.
const MAX_UNFLUSHED_BYTES: usize = 128 * 1024;

/// Memory that sled may use for its cache, in bytes as it counts them: those of the entries on disk. In memory they are
/// four times as much.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Readings that a reader makes while commits come in between, before it takes its turn with the writer.
const FREE_READINGS: u32 = 3;

/// How long opening waits for the database's lock: sled's threads may hold it for a moment after it was closed.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Views that were set aside and are kept for inspection, at most.
const KEPT_ASIDE: usize = 2;

/// Everything below this byte is the view's own; the keys of its users start at it.
pub(super) const FIRST_KEY_BYTE: u8 = 1;
const STANDING: [u8; 2] = [0, 0];

/// What to write: `None` removes. Values are absolute, so that writing them twice changes nothing.
pub(super) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Why the view could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Another process, or another part of this one, has it open.
    #[error("view: in use by another process")]
    InUse,
    /// The system refused; the view itself may be whole.
    #[error("view: {source}")]
    Io {
        /// What the system said.
        source: io::Error,
    },
    /// It does not hold what was written to it.
    #[error("view: damaged: {damage}")]
    Damaged {
        /// What was found.
        damage: Damage,
    },
    /// A key or value above its limit; nothing was written.
    #[error(
        "view: an entry of {key_bytes} and {value_bytes} bytes is above the limits of {MAX_KEY_BYTES} and {MAX_VALUE_BYTES}"
    )]
    TooLarge {
        /// Bytes of the key.
        key_bytes: usize,
        /// Bytes of the value.
        value_bytes: usize,
    },
    /// An earlier write failed, so what the view holds is unknown until it is opened again.
    #[error("view: an earlier write failed")]
    Failed,
}

/// How a view is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// sled gave up.
    #[error("the database cannot be read")]
    Unreadable,
    /// sled panicked.
    #[error("the database panicked")]
    Panicked,
    /// A value that does not belong to its key, or not as it was written.
    #[error("a value fails its checksum")]
    Checksum,
    /// Every value is whole, but they are not those that should be there.
    #[error("the entries do not add up")]
    Sum,
    /// A value is whole but not what its key promises.
    #[error("a value is not what its key promises")]
    Meaning,
}

impl ViewError {
    pub(super) const fn damaged(damage: Damage) -> Self {
        Self::Damaged { damage }
    }

    const fn io(source: io::Error) -> Self {
        Self::Io { source }
    }
}

/// The one writer.
pub(super) struct View {
    reader: ViewReader,
    standing: Standing,
    redo: Redo,
    /// Bytes that were written since the disk was waited for, about.
    unflushed: usize,
    pulse: Pulse,
}

/// Counts what the writer of the view gets done, for whoever watches that it goes on. One key looked up or one batch
/// written counts: how long a whole commit takes depends on how much it changes.
#[derive(Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// How much has been done; only that it changes means something.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl View {
    /// Opens the view in `dir`, makes it where there is none, finishes a write that was interrupted, and checks that
    /// every entry is there as it was written.
    ///
    /// # Errors
    /// [`ViewError::Damaged`] if not; the caller sets it aside ([`set_aside`]) and rebuilds it.
    pub(super) fn open(dir: &Path) -> Result<Self, ViewError> {
        guarded(|| {
            let tree = open_tree(dir)?;
            let shared =
                Shared { tree, moves: AtomicU64::new(0), turn: RwLock::new(()), failed: AtomicBool::new(false) };
            let reader = ViewReader { shared: Arc::new(shared) };
            let redo = Redo::open(dir).map_err(ViewError::io)?;
            let mut standing = reader.standing()?;
            if let Some(batches) = redo.begun_at(&standing).map_err(ViewError::io)? {
                for batch in batches {
                    reader.shared.tree.apply_batch(batch.batch)?;
                    reader.shared.tree.flush()?;
                }
                standing = reader.standing()?;
            }
            let found = scan::add_up(&reader.shared.tree, standing.position)?;
            if found != standing {
                return Err(ViewError::damaged(Damage::Sum));
            }
            Ok(Self { reader, standing, redo, unflushed: 0, pulse: Pulse::default() })
        })
    }

    /// The journal's position that the view stands for.
    pub(super) fn position(&self) -> Position {
        self.standing.position
    }

    /// For readers.
    pub(super) fn reader(&self) -> ViewReader {
        self.reader.clone()
    }

    /// For whoever watches that writing goes on.
    pub(super) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Writes `writes`, all or none of them, and that the view stands for `position` now. Not synced: it may lag.
    ///
    /// # Errors
    /// [`ViewError::TooLarge`] before anything is written; after any other error the view takes nothing any more.
    pub(super) fn apply(&mut self, writes: &Writes, position: Position) -> Result<(), ViewError> {
        self.apply_batches(writes, position, usize::MAX)
    }

    /// As [`apply`](Self::apply), interrupted after so many batches.
    fn apply_batches(&mut self, writes: &Writes, position: Position, batches: usize) -> Result<(), ViewError> {
        let shared = &self.reader.shared;
        if shared.failed.load(Ordering::Acquire) {
            return Err(ViewError::Failed);
        }
        let mut standing = Standing { position, ..self.standing };
        let mut changes = Vec::with_capacity(writes.len() + 1);
        for (key, new) in writes {
            let (key_bytes, value_bytes) = (key.len(), new.as_ref().map_or(0, Vec::len));
            if key_bytes > MAX_KEY_BYTES || value_bytes > MAX_VALUE_BYTES {
                return Err(ViewError::TooLarge { key_bytes, value_bytes });
            }
            self.pulse.beat();
            let old = self.reader.get(key)?;
            if old == *new {
                continue;
            }
            if let Some(old) = &old {
                standing.subtract(key, old);
            }
            if let Some(new) = new {
                standing.add(key, new);
            }
            changes.push((key.as_slice(), new.as_deref()));
        }
        let settled = standing.encode();
        changes.push((&STANDING, Some(&settled)));
        let unflushed = &mut self.unflushed;
        // Readers go on meanwhile.
        let noted = guarded(|| {
            if changes.len() > BATCH_KEYS {
                // The disk must have what was noted before.
                shared.tree.flush()?;
                *unflushed = 0;
                self.redo.write(&self.standing, &changes).map_err(ViewError::io)?;
                self.pulse.beat();
            }
            Ok(())
        });
        let turn = shared.turn.write().unwrap_or_else(PoisonError::into_inner);
        shared.moves.fetch_add(1, Ordering::AcqRel);
        let write = || {
            for Batch { batch, bytes } in redo::batches(&changes).take(batches) {
                shared.tree.apply_batch(batch)?;
                reclaim();
                *unflushed += bytes;
                if *unflushed >= MAX_UNFLUSHED_BYTES {
                    shared.tree.flush()?;
                    *unflushed = 0;
                }
                self.pulse.beat();
            }
            Ok(())
        };
        let done = noted.and_then(|()| guarded(write));
        if done.is_err() {
            shared.failed.store(true, Ordering::Release);
        }
        shared.moves.fetch_add(1, Ordering::AcqRel);
        drop(turn);
        done?;
        self.standing = standing;
        Ok(())
    }
}

/// Frees what sled has replaced.
///
/// It leaves that to crossbeam's epochs, which look at it after every 128 operations only, and a batch is one of them: so
/// more was replaced than freed, up to 145 MiB while a block of 1 MiB was written. Freeing takes two epochs, so thrice.
fn reclaim() {
    for _ in 0..3 {
        crossbeam_epoch::pin().flush();
    }
}

fn open_tree(dir: &Path) -> Result<sled::Db, ViewError> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match config.open().map_err(ViewError::from) {
            Err(ViewError::InUse) if Instant::now() < deadline => std::thread::sleep(LOCK_PATIENCE / 200),
            opened => return opened,
        }
    }
}

struct Shared {
    tree: sled::Db,
    /// Odd while a commit is being applied.
    moves: AtomicU64,
    /// Readers that were disturbed too often read under it; the writer applies under it.
    turn: RwLock<()>,
    failed: AtomicBool,
}

/// Reads the view, from any thread.
#[derive(Clone)]
pub(super) struct ViewReader {
    shared: Arc<Shared>,
}

impl ViewReader {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`ViewError::Damaged`] if the value is not the one that was written for this key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        let sealed = guarded(|| Ok(self.shared.tree.get(key)?))?;
        sealed.map(|sealed| unseal(key, &sealed).map(<[u8]>::to_vec)).transpose()
    }

    /// The entries from `from` up to, but without, `to`, in order of their keys.
    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> impl DoubleEndedIterator<Item = Result<Pair, ViewError>> + use<> {
        Range(self.shared.tree.range(from..to))
    }

    /// What the view says about itself.
    fn standing(&self) -> Result<Standing, ViewError> {
        match self.get(&STANDING)? {
            Some(bytes) => Standing::decode(&bytes).ok_or(ViewError::damaged(Damage::Meaning)),
            None => Ok(Standing::EMPTY),
        }
    }

    /// How many entries it has.
    pub(super) fn entries(&self) -> Result<u64, ViewError> {
        self.standing().map(|standing| standing.entries)
    }

    /// What `read` makes of the view between two commits, never of half a commit.
    ///
    /// `read` may run several times and should be short: in the last resort the writer waits for it. It must not ask
    /// for another consistent reading inside.
    ///
    /// # Errors
    /// Those of `read`; [`ViewError::Failed`] if a commit failed.
    pub(super) fn consistent<T, E: From<ViewError>>(
        &self,
        mut read: impl FnMut(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let shared = &self.shared;
        for _ in 0..FREE_READINGS {
            let before = shared.moves.load(Ordering::Acquire);
            if before % 2 == 1 {
                std::thread::yield_now();
                continue;
            }
            let answer = read(self);
            fence(Ordering::Acquire);
            if shared.moves.load(Ordering::Relaxed) == before {
                return if shared.failed.load(Ordering::Acquire) { Err(ViewError::Failed.into()) } else { answer };
            }
        }
        let _turn = shared.turn.read().unwrap_or_else(PoisonError::into_inner);
        if shared.failed.load(Ordering::Acquire) { Err(ViewError::Failed.into()) } else { read(self) }
    }
}

struct Range(sled::Iter);

impl Range {
    fn open(item: Option<sled::Result<(sled::IVec, sled::IVec)>>) -> Option<Result<Pair, ViewError>> {
        item.map(|item| {
            let (key, sealed) = item?;
            Ok((key.to_vec(), unseal(&key, &sealed)?.to_vec()))
        })
    }
}

impl Iterator for Range {
    type Item = Result<Pair, ViewError>;

    fn next(&mut self) -> Option<Self::Item> {
        guarded(|| Ok(Self::open(self.0.next()))).unwrap_or_else(|error| Some(Err(error)))
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        guarded(|| Ok(Self::open(self.0.next_back()))).unwrap_or_else(|error| Some(Err(error)))
    }
}

/// Renames the view in `dir` to the next free `view.damaged-N` beside it, and removes all but the newest two of them.
///
/// # Errors
/// What the system said; the view is still in its place then.
pub(super) fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let parent = dir.parent().unwrap_or(Path::new("."));
    let mut aside = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("view.damaged-"));
        aside.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    aside.sort_unstable();
    let name = |number: u64| parent.join(format!("view.damaged-{number}"));
    let target = name(aside.last().map_or(1, |last| last.saturating_add(1)));
    std::fs::rename(dir, &target)?;
    for old in aside.iter().rev().skip(KEPT_ASIDE - 1) {
        std::fs::remove_dir_all(name(*old))?;
    }
    Ok(target)
}

/// Runs what calls sled: it panics where it should report damage.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, ViewError>) -> Result<T, ViewError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(ViewError::damaged(Damage::Panicked)))
}

impl From<sled::Error> for ViewError {
    fn from(error: sled::Error) -> Self {
        match error {
            // sled 0.34.7 says so in words only.
            sled::Error::Io(source) if source.to_string().starts_with("could not acquire lock") => Self::InUse,
            sled::Error::Io(source) => match source.kind() {
                // What an intact view cannot be the cause of; anything else sled makes of what it finds.
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::OutOfMemory => Self::Io { source },
                _ => Self::damaged(Damage::Unreadable),
            },
            sled::Error::CollectionNotFound(_)
            | sled::Error::Unsupported(_)
            | sled::Error::ReportableBug(_)
            | sled::Error::Corruption { .. } => Self::damaged(Damage::Unreadable),
        }
    }
}

#[cfg(test)]
mod tests;
