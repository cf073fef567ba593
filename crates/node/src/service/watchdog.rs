//! Watches that the writer goes on. A disk that hangs answers nothing, not even with an error, and sled 0.34.7 can wait
//! for itself for good: whoever waits for the writer then would wait as long. A restart reads the journal and replays
//! what the view lacks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::showing::Showings;
use super::writer::Progress;
use crate::store::Pulse;

/// How often it looks. Time while the process or the machine stood still counts as one of them.
const TICK: Duration = Duration::from_secs(1);

/// At so many looks in a row nothing had moved though something was to be written: it will not move any more. A memory
/// card that tidies itself up takes seconds, and a sync may wait as long for what others write.
const PATIENCE: u32 = 60;

/// What is watched.
pub(super) struct Watched {
    /// The last transition that was handed to the writer.
    pub(super) handed: Arc<AtomicU64>,
    /// The room for transitions, closed on a standstill and never else: whoever waits for it hears of that.
    pub(super) room: Arc<Semaphore>,
    pub(super) showings: Arc<Showings>,
    /// What the view's thread gets done within a commit.
    pub(super) pulse: Pulse,
}

/// A running watchdog. Ends when it is dropped, and when the writer ends.
pub(super) struct Watchdog {
    _end: Sender<()>,
}

impl Watchdog {
    /// Starts it.
    pub(super) fn start(watched: Watched, progress: watch::Sender<Progress>) -> std::io::Result<Self> {
        let (end, ended) = channel();
        let watch = move || {
            if watched.watch(&progress, TICK, &ended) {
                watched.give_up(&progress);
            }
        };
        // Not waited for: it may have a tick to go.
        let _: JoinHandle<()> = Builder::new().name("qfzz-watchdog".to_owned()).spawn(watch)?;
        Ok(Self { _end: end })
    }
}

/// What one of the two threads had done at the last look, and at how many looks it had not moved since.
#[derive(Default)]
struct Idle {
    before: Option<(u64, u64)>,
    looks: u32,
}

impl Idle {
    /// Takes a look; true when the thread stands still.
    fn look(&mut self, something_waits: bool, done: (u64, u64)) -> bool {
        let is_idle = something_waits && self.before == Some(done);
        (self.before, self.looks) = (Some(done), if is_idle { self.looks + 1 } else { 0 });
        self.looks >= PATIENCE
    }
}

impl Watched {
    /// Looks every `tick`; true when the writer stands still, false when it or the watchdog has ended.
    fn watch(&self, progress: &watch::Sender<Progress>, tick: Duration, ended: &Receiver<()>) -> bool {
        let (mut journal, mut view) = (Idle::default(), Idle::default());
        while ended.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) && !self.showings.is_closed() {
            let handed = self.handed.load(Ordering::Acquire);
            let (synced, committed) = {
                let progress = progress.borrow();
                (progress.synced, progress.committed)
            };
            // While one goes on the other may stand still.
            let stands_still = [
                journal.look(synced < handed, (synced, 0)),
                view.look(committed < synced, (committed, self.pulse.count())),
            ];
            if stands_still.contains(&true) {
                return true;
            }
        }
        false
    }

    fn give_up(&self, progress: &watch::Sender<Progress>) {
        let seconds = u64::from(PATIENCE) * TICK.as_secs();
        tracing::error!(
            "nothing could be written for {seconds} s though something waits: the disk hangs, or the view's database does. \
             The node stops; nothing that was acknowledged is lost, and a restart reads the disk"
        );
        progress.send_modify(|progress| {
            progress.failure.get_or_insert_with(|| {
                format!(
                    "nothing could be written for {seconds} s: start again, and look at the disk if it happens again"
                )
            });
            // Before anybody hears why: who then finishes must not wait for the threads, and who waits for room finds the
            // reason.
            self.room.close();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Transition `handed` was handed over, `synced` is in the journal, and number 1 in the view.
    fn watched(handed: u64, synced: u64) -> (Watched, watch::Sender<Progress>) {
        let watched = Watched {
            handed: Arc::new(AtomicU64::new(handed)),
            room: Arc::new(Semaphore::new(1)),
            showings: Arc::default(),
            pulse: Pulse::default(),
        };
        (watched, watch::channel(Progress { synced, committed: 1, failure: None }).0)
    }

    #[test]
    fn only_what_has_something_to_do_and_does_not_move_for_long_stands_still() {
        let looks = |something_waits: bool, done: fn(u64) -> (u64, u64), times: u32| {
            let mut idle = Idle::default();
            (0..times).any(|time| idle.look(something_waits, done(u64::from(time))))
        };
        assert!(looks(true, |_| (1, 7), PATIENCE + 1));
        assert!(!looks(true, |_| (1, 7), PATIENCE), "not before");
        assert!(!looks(false, |_| (1, 7), 10 * PATIENCE), "nothing waits");
        assert!(!looks(true, |time| (time / 20, 7), 10 * PATIENCE), "commit after commit");
        assert!(!looks(true, |time| (1, time / 20), 10 * PATIENCE), "a long commit");
    }

    #[test]
    fn on_a_standstill_of_either_thread_whoever_waits_hears_of_it() {
        for (handed, synced) in [(2, 1), (2, 2)] {
            let (_end, ended) = channel();
            let (watched, progress) = watched(handed, synced);
            assert!(watched.watch(&progress, Duration::from_millis(1), &ended));
            watched.give_up(&progress);
            assert!(watched.room.is_closed());
            assert!(progress.borrow().failure.as_ref().is_some_and(|told| told.contains("60 s")));
        }
    }

    #[test]
    fn a_view_that_stands_still_is_noticed_while_the_journal_goes_on() {
        let (_end, ended) = channel();
        let (watched, progress) = watched(u64::MAX, 2);
        let journal = progress.clone();
        let is_done = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_done);
        let going_on = std::thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                journal.send_modify(|progress| progress.synced += 1);
            }
        });
        assert!(watched.watch(&progress, Duration::from_millis(1), &ended));
        is_done.store(true, Ordering::Release);
        going_on.join().expect("it ends");
    }

    #[test]
    fn it_ends_with_the_writer_and_when_it_is_dropped() {
        let (end, ended) = channel();
        let (watched, progress) = watched(2, 1);
        drop(super::super::showing::Side(&watched.showings));
        assert!(!watched.watch(&progress, Duration::from_millis(1), &ended));
        drop(end);
        assert!(!watched.watch(&progress, Duration::from_secs(3_600), &ended));
    }
}
