//! What is in the journal and on its way to the view: handed from whoever wrote the journal to the view's thread.
//!
//! What waits while the view's thread is busy is shown as one: blocks of a catch-up are mostly about the same subjects,
//! and each is then written once. This station's own batches may wait for each other: nobody reads them from the view
//! while the station runs, and the view's thread need not wake up for each of them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::writer::fit_a_commit;
use crate::store::Step;

/// How long own batches may wait for the view.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many commits of own batches wait for each other, and how many commits are shown as one, at most.
const MAX_TOGETHER: usize = 256;

/// Transitions that are in the journal.
pub(super) struct Showing {
    pub(super) step: Step,
    /// The number of the last of them.
    pub(super) last: u64,
    /// When writing them began.
    pub(super) started: Instant,
    /// Bytes of memory that they take, about.
    pub(super) bytes: usize,
    /// What they take of the writer's memory.
    pub(super) shares: Vec<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Showing>,
    is_hurried: bool,
    is_closed: bool,
}

/// The queue between the two threads. The writer's memory bounds it.
#[derive(Default)]
pub(super) struct Showings {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Showings {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands something over; false if the view's thread has ended.
    pub(super) fn push(&self, showing: Showing) -> bool {
        let mut queue = self.lock();
        if queue.is_closed {
            return false;
        }
        let may_wait = showing.step.is_own_only && queue.waiting.len() + 1 < MAX_TOGETHER;
        let wakes = queue.waiting.is_empty() || !may_wait || queue.is_hurried;
        queue.waiting.push_back(showing);
        drop(queue);
        if wakes {
            self.changed.notify_one();
        }
        true
    }

    /// From now on nothing waits for anything else, or it may again.
    pub(super) fn hurry(&self, is_hurried: bool) {
        self.lock().is_hurried = is_hurried;
        self.changed.notify_one();
    }

    /// Whether one of the two threads has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits for what is to be shown next, as one; `None` when all is shown and no more comes.
    pub(super) fn next(&self) -> Option<Vec<Showing>> {
        let mut queue = self.lock();
        loop {
            let own = queue.waiting.iter().take_while(|showing| showing.step.is_own_only).count();
            let Some(first) = queue.waiting.front() else {
                if queue.is_closed {
                    return None;
                }
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let patience = (first.started + PATIENCE).saturating_duration_since(Instant::now());
            let is_calm = !queue.is_hurried && !queue.is_closed;
            let all_may_wait = own == queue.waiting.len() && own < MAX_TOGETHER && is_calm;
            if all_may_wait && !patience.is_zero() {
                queue = self.changed.wait_timeout(queue, patience).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let together = fit_a_commit(queue.waiting.iter().take(MAX_TOGETHER).map(|showing| showing.bytes));
            return Some(queue.waiting.drain(..together).collect());
        }
    }
}

/// One of the two threads: when it has ended, the other one ends as well.
pub(super) struct Side<'a>(pub(super) &'a Showings);

impl Drop for Side<'_> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use qfzz_ledger_core::testing::{rules, station};

    use super::*;
    use crate::store::{DiskStore, JournalWriter};

    const MIB: usize = 1024 * 1024;

    /// Hands over a step that changes nothing.
    fn push(showings: &Showings, journal: &mut JournalWriter, number: u64, bytes: usize, is_own_only: bool) {
        let mut step = journal.write(&[]).expect("an open store");
        step.is_own_only = is_own_only;
        let showing = Showing { step, last: number, started: Instant::now(), bytes, shares: Vec::new() };
        assert!(showings.push(showing));
    }

    fn numbers(together: Option<Vec<Showing>>) -> Vec<u64> {
        together.expect("not closed").iter().map(|showing| showing.last).collect()
    }

    #[test]
    fn what_waits_is_shown_together_in_order_up_to_a_measure() {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _) = DiskStore::open(dir.path(), rules(), station(1)).expect("a new store");
        let (mut journal, _view) = store.split();
        let showings = Showings::default();
        let steps = [(3, false), (1, true), (3, false), (2, false), (20, false), (0, true), (0, false)];
        for (number, (mib, is_own_only)) in (1..).zip(steps) {
            push(&showings, &mut journal, number, mib * MIB, is_own_only);
        }
        assert_eq!(numbers(showings.next()), [1, 2, 3], "8 MiB at most");
        assert_eq!(numbers(showings.next()), [4]);
        assert_eq!(numbers(showings.next()), [5], "what is larger goes alone");
        assert_eq!(numbers(showings.next()), [6, 7]);
        for number in 0..MAX_TOGETHER as u64 + 1 {
            push(&showings, &mut journal, number, 0, false);
        }
        assert_eq!(numbers(showings.next()).len(), MAX_TOGETHER);
        assert_eq!(numbers(showings.next()), [MAX_TOGETHER as u64]);
    }
}
