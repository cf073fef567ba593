//! The one thread that writes: transitions that wait share one sync of the disk.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use qfzz_ledger_core::ledger::Transition;
use tokio::sync::watch;

use crate::store::{DiskStore, LedgerStore, StoreError};

/// Transitions that may wait for the writer; the worker waits when there are more.
const CAPACITY: usize = 256;

/// Bytes of blocks and batches in one commit, about, at most: a few MiB keep a sync short.
const MAX_COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// How far the writer is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Every transition up to this number is on disk.
    pub(super) committed: u64,
    /// Why it stopped, if it failed.
    pub(super) failure: Option<String>,
}

/// Hands transitions to the writer.
pub(super) struct Writer {
    transitions: Option<SyncSender<Transition>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. The receiver tells how far it is.
    pub(super) fn start(store: DiskStore) -> std::io::Result<(Self, watch::Receiver<Progress>)> {
        let (transitions, queue) = sync_channel(CAPACITY);
        let (progress, watched) = watch::channel(Progress::default());
        let thread = Builder::new().name("qfzz-writer".to_owned()).spawn(move || write(store, &queue, &progress))?;
        Ok((Self { transitions: Some(transitions), thread: Some(thread) }, watched))
    }

    /// Hands over a transition; waits while too many wait. False if the writer has failed.
    pub(super) fn push(&self, transition: Transition) -> bool {
        self.transitions.as_ref().is_some_and(|queue| queue.send(transition).is_ok())
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

fn write(mut store: DiskStore, queue: &Receiver<Transition>, progress: &watch::Sender<Progress>) {
    while let Ok(first) = queue.recv() {
        let mut bytes = size_of_transition(&first);
        let mut waiting = vec![first];
        while bytes < MAX_COMMIT_BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += size_of_transition(&next);
            waiting.push(next);
        }
        let last = waiting.last().map_or(0, |transition| transition.number);
        match store.commit(&waiting) {
            Ok(()) => progress.send_modify(|progress| progress.committed = last),
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
    own + blocks.map(|block| block.header().body_bytes as usize).sum::<usize>()
}
