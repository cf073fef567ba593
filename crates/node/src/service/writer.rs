//! The threads that write: one the journal, where transitions that wait share one sync of the disk, one the view.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use qfzz_ledger_core::ledger::Transition;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::effect::Reply;
use super::showing::{Showing, Showings, Side};
use super::watchdog::{Watchdog, Watched};
use crate::metrics::Metrics;
use crate::store::{DiskStore, JournalWriter, StoreError, ViewWriter};

/// Transitions that may wait for the writer; the worker waits when there are more.
const CAPACITY: usize = 256;

/// Bytes of memory that transitions take which wait for the writer or are with it, about, at most, or one transition
/// that is larger; the worker waits when there are more.
///
/// A full block of 1 MiB takes some 9 MiB until it is on disk where all its records are about different subjects, and
/// 2 MiB where they are about a thousand.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of memory that the transitions of one commit take, about, at most, or one that is larger, and those that are
/// shown as one: the same again for what it writes to the view. Blocks about the same subjects share a commit, for then
/// each subject is written once.
pub(super) const MAX_COMMIT_BYTES: usize = 8 * 1024 * 1024;

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

/// An answer that leaves when the transition before it is on disk, and who waits for it.
pub(super) type Answer = (oneshot::Sender<Reply>, Reply);

/// A transition on its way to the disk, what leaves at once when it is there, and its share of what may be.
struct Waiting {
    transition: Transition,
    answers: Vec<Answer>,
    bytes: usize,
    share: OwnedSemaphorePermit,
}

/// Hands transitions to the writer.
pub(super) struct Writer {
    transitions: Option<mpsc::Sender<Waiting>>,
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
        let (transitions, queue) = mpsc::channel(CAPACITY);
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
        let (written, shown, progress_of_view) = (Arc::clone(&showings), Arc::clone(&showings), progress.clone());
        let write = move || write(journal, queue, &written, &progress);
        let show = move || show(view, &shown, &progress_of_view, &metrics);
        let threads = vec![
            Builder::new().name("qfzz-journal".to_owned()).spawn(write)?,
            Builder::new().name("qfzz-view".to_owned()).spawn(show)?,
        ];
        Ok((Self { transitions: Some(transitions), room, showings, handed, _watchdog: watchdog, threads }, received))
    }

    /// Hands over a transition; waits while too much waits. False if the writer has failed.
    pub(super) async fn push(&self, transition: Transition, answers: Vec<Answer>) -> bool {
        let bytes = size_of_transition(&transition);
        let share = u32::try_from(bytes.min(MAX_WAITING_BYTES)).expect("at most 16 MiB");
        let (Some(queue), Ok(share)) = (&self.transitions, Arc::clone(&self.room).acquire_many_owned(share).await)
        else {
            return false;
        };
        self.handed.store(transition.number, Ordering::Release);
        queue.send(Waiting { transition, answers, bytes, share }).await.is_ok()
    }

    /// Whether the view takes everything at once, while there is room for it, instead of much together.
    pub(super) fn hurry(&self, is_hurried: bool) {
        self.showings.hurry(is_hurried);
    }

    /// Waits until everything that was handed over is on disk, and closes the store; not where it stands still.
    pub(super) fn finish(&mut self) {
        self.transitions = None;
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

/// The journal's thread.
fn write(
    mut journal: JournalWriter,
    mut queue: mpsc::Receiver<Waiting>,
    showings: &Showings,
    progress: &watch::Sender<Progress>,
) {
    let _end = Side(showings);
    while let Some(first) = queue.blocking_recv() {
        let (mut bytes, mut answers) = (first.bytes, first.answers);
        let (mut transitions, mut shares) = (vec![first.transition], vec![first.share]);
        while bytes < MAX_COMMIT_BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += next.bytes;
            answers.extend(next.answers);
            transitions.push(next.transition);
            shares.push(next.share);
        }
        let last = transitions.last().map_or(0, |transition| transition.number);
        let started = Instant::now();
        let step = match journal.write(&transitions) {
            Ok(step) => step,
            Err(error) => return fail(&error, progress),
        };
        for (respond_to, reply) in answers {
            // Whoever asked may have gone.
            let _ = respond_to.send(reply);
        }
        progress.send_modify(|progress| progress.synced = last);
        // Whoever was woken by that may be waiting for this core.
        std::thread::yield_now();
        drop(transitions);
        if let Err(error) = journal.note() {
            return fail(&error, progress);
        }
        if !showings.push(Showing { step, last, started, bytes, shares }) {
            // The view has failed, and said so.
            return;
        }
    }
}

/// The view's thread. Each write to sled keeps its threads and the disk busy: what may wait is written together.
fn show(mut view: ViewWriter, showings: &Showings, progress: &watch::Sender<Progress>, metrics: &Metrics) {
    let _end = Side(showings);
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

fn fail(error: &StoreError, progress: &watch::Sender<Progress>) {
    report(error);
    progress.send_modify(|progress| {
        progress.failure.get_or_insert_with(|| error.to_string());
    });
}

fn report(error: &StoreError) {
    let remedy = if error.is_full() { "free some space, and start again" } else { "look at the disk" };
    tracing::error!(%error, "the store cannot be written: the node stops, and a restart reads the disk; {remedy}");
}

fn size_of_transition(transition: &Transition) -> usize {
    let own: usize = transition.own_batches.iter().map(|batch| batch.encoded_len()).sum();
    let blocks = transition.connected.iter().map(|(block, _)| block).chain(&transition.kept);
    own + KEY_BYTES * transition.writes.len() + blocks.map(|block| block.header().body_bytes as usize).sum::<usize>()
}
