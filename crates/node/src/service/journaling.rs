//! Who writes the journal: its thread, or whoever waits for the answer, where nothing else is on its way.
//!
//! To wake a thread and to be woken by it takes about half as long as a fast disk takes to sync a record. So what comes
//! alone is offered to who asked for it, who writes it, answers, and then tells the others ([`after`](crate::after)). It
//! goes to the thread where nobody takes it, and as soon as something else is to be written; what comes while somebody
//! writes is written together.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use qfzz_ledger_core::ledger::Transition;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::effect::Reply;
use super::showing::{Showing, Showings, Side};
use super::writer::{Progress, fail, fit_a_commit, has_ended};
use crate::after;
use crate::store::JournalWriter;

/// What whoever asked is told.
pub(super) enum Told {
    Reply(Reply),
    /// What is asked for is on its way to the disk, and may be written now.
    Turn(Turn),
}

/// Who waits for a reply.
pub(super) struct Asker {
    respond_to: oneshot::Sender<Told>,
    may_write: bool,
}

impl Asker {
    /// One who may write what is asked for or not, and where the answer comes.
    pub(super) fn new(may_write: bool) -> (Self, oneshot::Receiver<Told>) {
        let (respond_to, answer) = oneshot::channel();
        (Self { respond_to, may_write }, answer)
    }

    /// Replies. Whoever asked may have gone.
    pub(super) fn answer(self, reply: Reply) {
        let _ = self.respond_to.send(Told::Reply(reply));
    }
}

/// An answer that leaves when the transition before it is on disk, and who waits for it.
pub(super) type Answer = (Asker, Reply);

/// A transition on its way to the disk, what leaves at once when it is there, and its share of what may be.
pub(super) struct Waiting {
    pub(super) transition: Transition,
    pub(super) answers: Vec<Answer>,
    pub(super) bytes: usize,
    pub(super) share: OwnedSemaphorePermit,
}

struct Desk {
    waiting: VecDeque<Waiting>,
    /// The one that waits is left to who asked.
    is_offered: bool,
    /// The journal, while nobody writes it.
    journal: Option<JournalWriter>,
    /// Nothing more is taken.
    is_closed: bool,
    /// The journal could not be written, and is not written any more.
    has_failed: bool,
}

/// What all share who may write the journal.
pub(super) struct Journaling {
    desk: Mutex<Desk>,
    changed: Condvar,
    showings: Arc<Showings>,
    progress: watch::Sender<Progress>,
}

impl Journaling {
    pub(super) fn new(journal: JournalWriter, showings: Arc<Showings>, progress: watch::Sender<Progress>) -> Self {
        let (waiting, journal) = (VecDeque::new(), Some(journal));
        let desk = Desk { waiting, is_offered: false, journal, is_closed: false, has_failed: false };
        Self { desk: Mutex::new(desk), changed: Condvar::new(), showings, progress }
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a transition; false if nothing is taken any more. `is_alone` says that nobody else asks for anything: it
    /// would be looked at before whoever asked for this can write it.
    pub(super) fn push(self: &Arc<Self>, mut waiting: Waiting, is_alone: bool) -> bool {
        let mut desk = self.lock();
        if desk.is_closed || desk.has_failed {
            return false;
        }
        let is_alone = is_alone && desk.waiting.is_empty() && desk.journal.is_some();
        if is_alone
            && let [(asker, _)] = &mut waiting.answers[..]
            && asker.may_write
        {
            let (own, answer) = Asker::new(true);
            let Asker { respond_to, .. } = std::mem::replace(asker, own);
            desk.is_offered = true;
            desk.waiting.push_back(waiting);
            drop(desk);
            // Whoever asked may have gone: then the turn is dropped here, and the thread takes it.
            let _ = respond_to.send(Told::Turn(Turn { offer: Offer(Some(Arc::clone(self))), answer }));
            return true;
        }
        desk.is_offered = false;
        desk.waiting.push_back(waiting);
        let is_idle = desk.journal.is_some();
        drop(desk);
        // Who writes now looks for more afterwards.
        if is_idle {
            self.changed.notify_one();
        }
        true
    }

    /// Takes nothing more: the thread ends when all is written.
    pub(super) fn close(&self) {
        let mut desk = self.lock();
        (desk.is_closed, desk.is_offered) = (true, false);
        drop(desk);
        self.changed.notify_one();
    }

    /// The journal's thread. When it ends, the journal is closed.
    pub(super) fn run(self: &Arc<Self>) {
        let _end = (End(self), Side(&self.showings));
        let mut desk = self.lock();
        loop {
            if desk.has_failed {
                break;
            }
            if !desk.is_offered
                && let Some((mut writing, group)) = self.begin(&mut desk)
            {
                drop(desk);
                writing.write(group);
                drop(writing);
                // Whoever was woken by that may be waiting for this core.
                std::thread::yield_now();
                desk = self.lock();
            } else if desk.is_closed && desk.journal.is_some() {
                break;
            } else {
                desk = self.changed.wait(desk).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Writes what is offered, if anything is.
    fn write_offered(self: &Arc<Self>) {
        let mut desk = self.lock();
        if desk.is_offered
            && let Some((mut writing, group)) = self.begin(&mut desk)
        {
            drop(desk);
            writing.write(group);
            // The others are told after the answer has left: to wake them takes longer.
            after::put_off(writing);
        }
    }

    /// Takes the journal and what is written next, as one; `None` where nothing waits or somebody writes.
    fn begin(self: &Arc<Self>, desk: &mut Desk) -> Option<(Writing, Vec<Waiting>)> {
        if desk.waiting.is_empty() {
            return None;
        }
        let journal = Some(desk.journal.take()?);
        desk.is_offered = false;
        let together = fit_a_commit(desk.waiting.iter().map(|waiting| waiting.bytes));
        let writing = Writing { journaling: Arc::clone(self), journal, written: None };
        Some((writing, desk.waiting.drain(..together).collect()))
    }
}

/// The end of the journal's thread, also where it panics: closes the journal, and whoever waits still hears that the
/// station is stopping.
struct End<'a>(&'a Journaling);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut desk = self.0.lock();
        desk.is_closed = true;
        let left = (std::mem::take(&mut desk.waiting), desk.journal.take());
        drop(desk);
        drop(left);
    }
}

/// The journal while it is written. When this is dropped, others are told how far it is, and may write it; where it did
/// not end well, nobody does any more.
struct Writing {
    journaling: Arc<Journaling>,
    journal: Option<JournalWriter>,
    /// What was written.
    written: Option<Showing>,
}

impl Writing {
    /// Writes `group` with one sync, and lets its answers leave.
    fn write(&mut self, group: Vec<Waiting>) {
        let Some(journal) = &mut self.journal else { return };
        let started = Instant::now();
        let (mut bytes, mut answers) = (0, Vec::new());
        let (mut transitions, mut shares) = (Vec::new(), Vec::new());
        for waiting in group {
            bytes += waiting.bytes;
            answers.extend(waiting.answers);
            transitions.push(waiting.transition);
            shares.push(waiting.share);
        }
        let last = transitions.last().map_or(0, |transition| transition.number);
        match journal.write(&transitions) {
            Ok(step) => self.written = Some(Showing { step, last, started, bytes, shares }),
            Err(error) => return fail(&error, &self.journaling.progress),
        }
        for (asker, reply) in answers {
            asker.answer(reply);
        }
    }

    /// Tells how far the journal is, and hands on to the view what was written; false if that did not end well.
    fn finish(&mut self) -> bool {
        let (Some(written), Some(journal)) = (self.written.take(), &mut self.journal) else { return false };
        let Journaling { showings, progress, .. } = &*self.journaling;
        progress.send_modify(|progress| progress.synced = written.last);
        if let Err(error) = journal.note() {
            fail(&error, progress);
            return false;
        }
        // If not, the view has failed, and said so.
        showings.push(written)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let is_well = self.finish();
        let mut desk = self.journaling.lock();
        desk.has_failed |= !is_well;
        desk.journal = self.journal.take();
        let is_awaited = !desk.waiting.is_empty() || desk.is_closed || desk.has_failed;
        drop(desk);
        if is_awaited {
            self.journaling.changed.notify_one();
        }
        if !is_well {
            self.journaling.progress.send_modify(has_ended);
        }
    }
}

/// The turn to write what was offered. Dropped, it goes to the thread.
pub(super) struct Turn {
    offer: Offer,
    answer: oneshot::Receiver<Told>,
}

impl Turn {
    /// Writes what was offered, where that has not been done yet, and says where the answer will come. It holds up the
    /// thread as long as the disk does; tokio lets another one go on with the other tasks.
    pub(super) fn take(mut self) -> oneshot::Receiver<Told> {
        if let Some(journaling) = &self.offer.0 {
            tokio::task::block_in_place(|| journaling.write_offered());
        }
        self.offer.0 = None;
        self.answer
    }
}

struct Offer(Option<Arc<Journaling>>);

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(journaling) = &self.0 {
            journaling.lock().is_offered = false;
            journaling.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
