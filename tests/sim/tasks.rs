//! A deterministic executor: syncs are polled in the order in which they were woken.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use qfzz_sync::report::SyncReport;

type Ready = Arc<Mutex<VecDeque<u64>>>;

struct Woken {
    task: u64,
    ready: Ready,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.task);
    }
}

struct Task {
    station: usize,
    future: Pin<Box<dyn Future<Output = SyncReport>>>,
    waker: Waker,
}

/// The syncs under way at all stations.
#[derive(Default)]
pub(crate) struct Tasks {
    tasks: BTreeMap<u64, Task>,
    ready: Ready,
    started: u64,
}

impl Tasks {
    /// Takes up a sync of `station`.
    pub(crate) fn spawn(&mut self, station: usize, future: impl Future<Output = SyncReport> + 'static) {
        self.started += 1;
        let task = self.started;
        let waker = Waker::from(Arc::new(Woken { task, ready: Arc::clone(&self.ready) }));
        waker.wake_by_ref();
        self.tasks.insert(task, Task { station, future: Box::pin(future), waker });
    }

    /// Polls the next sync that was woken: its station, and its report once it has ended. `None` if none was woken.
    pub(crate) fn poll_next(&mut self) -> Option<(usize, Option<SyncReport>)> {
        loop {
            let next = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
            let Some(task) = self.tasks.get_mut(&next) else { continue };
            let station = task.station;
            let polled = task.future.as_mut().poll(&mut Context::from_waker(&task.waker));
            let Poll::Ready(report) = polled else { return Some((station, None)) };
            self.tasks.remove(&next);
            return Some((station, Some(report)));
        }
    }

    /// The station stopped, and its syncs with it.
    pub(crate) fn drop_of(&mut self, station: usize) {
        self.tasks.retain(|_, task| task.station != station);
    }
}
