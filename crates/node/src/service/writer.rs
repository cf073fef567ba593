//! The one thread that writes: transitions that wait share one sync of the disk.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use qfzz_ledger_core::ledger::Transition;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::metrics::Metrics;
use crate::store::{DiskStore, LedgerStore, StoreError};

/// Transitions that may wait for the writer; the worker waits when there are more.
const CAPACITY: usize = 256;

/// Bytes of memory that transitions take which wait for the writer or are with it, about, at most, or one transition
/// that is larger; the worker waits when there are more.
///
/// A full block of 1 MiB takes some 9 MiB until it is on disk where all its records are about different subjects, and
/// 2 MiB where they are about a thousand.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of memory that the transitions of one commit take, about, at most: the same again for what it writes to the
/// view. Blocks about the same subjects share a commit, for then each subject is written once.
const MAX_COMMIT_BYTES: usize = 8 * 1024 * 1024;

/// What a key of the trust state that a transition changes takes, in bytes, about: in the transition and its undo data.
const KEY_BYTES: usize = 256;

/// How far the writer is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Every transition up to this number is on disk.
    pub(super) committed: u64,
    /// Why it stopped, if it failed.
    pub(super) failure: Option<String>,
}

/// A transition on its way to the disk, and its share of what may be.
struct Waiting {
    transition: Transition,
    bytes: usize,
    share: OwnedSemaphorePermit,
}

/// Hands transitions to the writer.
pub(super) struct Writer {
    transitions: Option<mpsc::Sender<Waiting>>,
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. The receiver tells how far it is.
    pub(super) fn start(store: DiskStore, metrics: Arc<Metrics>) -> std::io::Result<(Self, watch::Receiver<Progress>)> {
        let (transitions, queue) = mpsc::channel(CAPACITY);
        let (progress, watched) = watch::channel(Progress::default());
        let thread =
            Builder::new().name("qfzz-writer".to_owned()).spawn(move || write(store, queue, &progress, &metrics))?;
        let room = Arc::new(Semaphore::new(MAX_WAITING_BYTES));
        Ok((Self { transitions: Some(transitions), room, thread: Some(thread) }, watched))
    }

    /// Hands over a transition; waits while too much waits. False if the writer has failed.
    pub(super) async fn push(&self, transition: Transition) -> bool {
        let bytes = size_of_transition(&transition);
        let share = u32::try_from(bytes.min(MAX_WAITING_BYTES)).expect("at most 16 MiB");
        let (Some(queue), Ok(share)) = (&self.transitions, Arc::clone(&self.room).acquire_many_owned(share).await)
        else {
            return false;
        };
        queue.send(Waiting { transition, bytes, share }).await.is_ok()
    }

    /// Waits until everything that was handed over is on disk, and closes the store.
    pub(super) fn finish(&mut self) {
        self.transitions = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer panicked");
        }
    }
}

fn write(
    mut store: DiskStore,
    mut queue: mpsc::Receiver<Waiting>,
    progress: &watch::Sender<Progress>,
    metrics: &Metrics,
) {
    while let Some(first) = queue.blocking_recv() {
        let mut bytes = first.bytes;
        let (mut transitions, mut shares) = (vec![first.transition], vec![first.share]);
        while bytes < MAX_COMMIT_BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += next.bytes;
            transitions.push(next.transition);
            shares.push(next.share);
        }
        let last = transitions.last().map_or(0, |transition| transition.number);
        let started = Instant::now();
        match store.commit(&transitions) {
            Ok(()) => {
                metrics.committed(started.elapsed(), store.last_sync());
                // Gone before anybody hears of it and hands over more.
                drop(transitions);
                drop(shares);
                progress.send_modify(|progress| progress.committed = last);
            }
            Err(error) => {
                report(&error);
                progress.send_modify(|progress| progress.failure = Some(error.to_string()));
                return;
            }
        }
    }
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
