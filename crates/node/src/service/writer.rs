//! What is written: transitions to the journal, where those that wait share one sync of the disk, and by a thread of its own to
//! the view.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

use qfzz_ledger_core::ledger::Transition;
use tokio::sync::{Semaphore, watch};

use super::journaling::{Answer, Journaling, Waiting};
use super::showing::{Showings, Side};
use super::watchdog::{Watchdog, Watched};
use crate::metrics::Metrics;
use crate::store::{DiskStore, StoreError, ViewWriter};

/// Bytes of memory that transitions take which wait for the writer or are with it, about, at most, or one transition
/// that is larger; the worker waits when there are more.
///
/// A full block of 1 MiB takes some 9 MiB until it is on disk where all its records are about different subjects, and
/// 2 MiB where they are about a thousand.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// What each of them counts for, at least: so many wait at most, however small they are.
const MIN_SHARE_BYTES: usize = MAX_WAITING_BYTES / 4_096;

/// Bytes of memory that the transitions of one commit take, about, at most, or one that is larger, and those that are
/// shown as one: the same again for what it writes to the view. Blocks about the same subjects share a commit, for then
/// each subject is written once.
const MAX_COMMIT_BYTES: usize = 8 * 1024 * 1024;

/// What a key of the trust state that a transition changes takes, in bytes, about: in the transition and its undo data.
const KEY_BYTES: usize = 256;

/// How far the writer is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Every transition up to this number is on disk.
    pub(super) synced: u64,
    /// Every transition up to this number is on disk, and seen by every reader of the store.
    pub(super) committed: u64,
    /// Why it stopped, if it failed.
    pub(super) failure: Option<String>,
}

/// Hands transitions to the writer.
pub(super) struct Writer {
    journaling: Arc<Journaling>,
    room: Arc<Semaphore>,
    showings: Arc<Showings>,
    /// The last transition that was handed over.
    handed: Arc<AtomicU64>,
    _watchdog: Watchdog,
    threads: Vec<JoinHandle<()>>,
}

impl Writer {
    /// Starts the threads. The receiver tells how far they are.
    pub(super) fn start(store: DiskStore, metrics: Arc<Metrics>) -> std::io::Result<(Self, watch::Receiver<Progress>)> {
        let (progress, received) = watch::channel(Progress::default());
        let (journal, view) = store.split();
        let showings = Arc::new(Showings::default());
        let (room, handed) = (Arc::new(Semaphore::new(MAX_WAITING_BYTES)), Arc::default());
        let watched = Watched {
            handed: Arc::clone(&handed),
            room: Arc::clone(&room),
            showings: Arc::clone(&showings),
            pulse: view.pulse(),
        };
        let watchdog = Watchdog::start(watched, progress.clone())?;
        let (shown, progress_of_view) = (Arc::clone(&showings), progress.clone());
        let journaling = Arc::new(Journaling::new(journal, Arc::clone(&showings), progress));
        let written = Arc::clone(&journaling);
        let write = move || written.run();
        let show = move || show(view, &shown, &progress_of_view, &metrics);
        let mut writer = Self { journaling, room, showings, handed, _watchdog: watchdog, threads: Vec::new() };
        writer.threads.push(Builder::new().name("qfzz-journal".to_owned()).spawn(write)?);
        writer.threads.push(Builder::new().name("qfzz-view".to_owned()).spawn(show)?);
        Ok((writer, received))
    }

    /// Hands over a transition; waits while too much waits. `is_alone` says that nobody else asks for anything. False if
    /// the writer has failed.
    pub(super) async fn push(&self, transition: Transition, answers: Vec<Answer>, is_alone: bool) -> bool {
        let bytes = size_of_transition(&transition);
        let share = u32::try_from(bytes.clamp(MIN_SHARE_BYTES, MAX_WAITING_BYTES)).expect("at most 16 MiB");
        let Ok(share) = Arc::clone(&self.room).acquire_many_owned(share).await else { return false };
        self.handed.store(transition.number, Ordering::Release);
        self.journaling.push(Waiting { transition, answers, bytes, share }, is_alone)
    }

    /// Whether the view takes everything at once, while there is room for it, instead of much together.
    pub(super) fn hurry(&self, is_hurried: bool) {
        self.showings.hurry(is_hurried);
    }

    /// Waits until everything that was handed over is on disk, and closes the store; not where it stands still.
    pub(super) fn finish(&mut self) {
        self.journaling.close();
        // The watchdog has found that they stand still.
        if self.room.is_closed() {
            return;
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("the writer panicked");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.journaling.close();
    }
}

/// The view's thread. Each write to sled keeps its threads and the disk busy: what may wait is written together.
fn show(mut view: ViewWriter, showings: &Showings, progress: &watch::Sender<Progress>, metrics: &Metrics) {
    let _end = (Side(showings), Panic(progress));
    while let Some(together) = showings.next() {
        let last = together.last().map_or(0, |showing| showing.last);
        let times: Vec<_> = together.iter().map(|showing| (showing.started, showing.step.sync)).collect();
        let (steps, shares): (Vec<_>, Vec<_>) = together.into_iter().map(|it| (it.step, it.shares)).unzip();
        if let Err(error) = view.show(&steps) {
            return fail(&error, progress);
        }
        for (started, sync) in times {
            metrics.committed(started.elapsed(), sync);
        }
        // Gone before anybody hears of it and hands over more.
        drop(steps);
        drop(shares);
        progress.send_modify(|progress| progress.committed = last);
    }
}

/// Says so if the thread panics.
struct Panic<'a>(&'a watch::Sender<Progress>);

impl Drop for Panic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_modify(has_ended);
        }
    }
}

/// Why the node stops where the writer is gone and has not said why.
pub(super) const HAS_ENDED: &str = "the writer has ended";

/// Notes that the writer has ended, if there is no other reason.
pub(super) fn has_ended(progress: &mut Progress) {
    progress.failure.get_or_insert_with(|| HAS_ENDED.to_owned());
}

pub(super) fn fail(error: &StoreError, progress: &watch::Sender<Progress>) {
    report(error);
    progress.send_modify(|progress| {
        progress.failure.get_or_insert_with(|| error.to_string());
    });
}

fn report(error: &StoreError) {
    let remedy = if error.is_full() { "free some space, and start again" } else { "look at the disk" };
    tracing::error!(%error, "the store cannot be written: the node stops, and a restart reads the disk; {remedy}");
}

/// How many of those that wait, of so many bytes each, one commit takes: one at least.
pub(super) fn fit_a_commit(waiting: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fits = |next: &usize| {
        bytes += next;
        bytes <= MAX_COMMIT_BYTES
    };
    waiting.take_while(fits).count().max(1)
}

fn size_of_transition(transition: &Transition) -> usize {
    let own: usize = transition.own_batches.iter().map(|batch| batch.encoded_len()).sum();
    let blocks = transition.connected.iter().map(|(block, _)| block).chain(&transition.kept);
    own + KEY_BYTES * transition.writes.len() + blocks.map(|block| block.header().body_bytes as usize).sum::<usize>()
}
