//! What is in the journal and on its way to the view: handed from the journal's thread to the view's.
//!
//! This station's own batches may wait for each other: nobody reads them from the view while the station runs, and the
//! view's thread need not wake up for each of them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use crate::store::Step;

/// How long own batches may wait for the view.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many commits of own batches wait for each other, at most.
const MAX_TOGETHER: usize = 256;

/// Transitions that are in the journal.
pub(super) struct Showing {
    pub(super) step: Step,
    /// The number of the last of them.
    pub(super) last: u64,
    /// When writing them began.
    pub(super) started: Instant,
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
            return Some(queue.waiting.drain(..own.max(1)).collect());
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
