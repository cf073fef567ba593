use std::thread::JoinHandle;

use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::testing::{at, interaction, ledger, rules, station};
use tokio::sync::Semaphore;

use super::*;
use crate::store::{DiskStore, ViewWriter};

struct Fixture {
    journaling: Arc<Journaling>,
    progress: watch::Receiver<Progress>,
    ledger: Ledger<MemoryStore>,
    room: Arc<Semaphore>,
    _view: ViewWriter,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, _) = DiskStore::open(dir.path(), rules(), station(1)).expect("a new store");
        let (journal, view) = store.split();
        let (tell, progress) = watch::channel(Progress::default());
        let journaling = Arc::new(Journaling::new(journal, Arc::default(), tell));
        let room = Arc::new(Semaphore::new(100));
        Self { journaling, progress, ledger: ledger(&rules(), 1).0, room, _view: view, _dir: dir }
    }

    /// Hands over a record for somebody who waits for it, may write it, and is alone.
    fn push(&mut self) -> oneshot::Receiver<Told> {
        self.push_as(true, true)
    }

    fn push_as(&mut self, may_write: bool, is_alone: bool) -> oneshot::Receiver<Told> {
        let (asker, answer) = Asker::new(may_write);
        let waiting = self.waiting(vec![(asker, Reply::Submitted(Vec::new()))]);
        assert!(self.journaling.push(waiting, is_alone));
        answer
    }

    fn waiting(&mut self, answers: Vec<Answer>) -> Waiting {
        let signed = self.ledger.sign(vec![interaction("u")], at(1)).expect("a store");
        let share = Arc::clone(&self.room).try_acquire_owned().expect("room");
        Waiting { transition: signed.expect("a record"), answers, bytes: 1, share }
    }

    fn synced(&self) -> u64 {
        self.progress.borrow().synced
    }

    fn start(&self) -> JoinHandle<()> {
        let journaling = Arc::clone(&self.journaling);
        std::thread::spawn(move || journaling.run())
    }

    fn finish(&self, thread: JoinHandle<()>) {
        self.journaling.close();
        thread.join().expect("it ends");
        assert_eq!(self.progress.borrow().failure, None);
    }
}

fn turn(told: Result<Told, impl std::fmt::Debug>) -> Turn {
    match told.expect("somebody answers") {
        Told::Turn(turn) => turn,
        Told::Reply(reply) => panic!("answered by another: {reply:?}"),
    }
}

fn is_submitted(told: Result<Told, impl std::fmt::Debug>) -> bool {
    matches!(told.expect("somebody answers"), Told::Reply(Reply::Submitted(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_asked_writes_what_comes_alone_and_the_others_hear_of_it_after_the_turn() {
    let mut fixture = Fixture::new();
    for number in 1..=3 {
        let mut asked = fixture.push();
        after::run(|| {
            let mut answer = turn(asked.try_recv()).take();
            assert!(is_submitted(answer.try_recv()));
            assert_eq!(fixture.synced(), number - 1, "not before the answer has left");
        });
        assert_eq!(fixture.synced(), number);
    }
    // There was no thread in this test.
    assert!(fixture.journaling.lock().journal.is_some());
}

#[tokio::test]
async fn who_may_not_write_or_is_not_alone_leaves_it_to_the_thread() {
    let mut fixture = Fixture::new();
    let thread = fixture.start();
    assert!(is_submitted(fixture.push_as(false, true).await));
    assert!(is_submitted(fixture.push_as(true, false).await));
    fixture.finish(thread);
    assert_eq!(fixture.synced(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_turn_that_is_not_taken_goes_to_the_thread() {
    let mut fixture = Fixture::new();
    let thread = fixture.start();
    let Turn { offer, answer } = turn(fixture.push().await);
    drop(offer);
    assert!(is_submitted(answer.await));
    drop(fixture.push());
    fixture.progress.wait_for(|progress| progress.synced == 2).await.expect("a writer");
    fixture.finish(thread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_comes_while_a_turn_is_open_is_written_with_it_and_who_is_late_finds_the_answer() {
    let mut fixture = Fixture::new();
    let late = turn(fixture.push().await);
    let second = fixture.push();
    let thread = fixture.start();
    assert!(is_submitted(second.await));
    assert!(is_submitted(late.take().await));
    fixture.finish(thread);
    assert_eq!(fixture.synced(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_comes_while_who_asked_writes_goes_to_the_thread_afterwards() {
    let mut fixture = Fixture::new();
    let thread = fixture.start();
    let mut asked = fixture.push();
    let mut second = after::run(|| {
        assert!(is_submitted(turn(asked.try_recv()).take().try_recv()));
        let mut second = fixture.push();
        assert!(second.try_recv().is_err(), "the journal is not free yet");
        second
    });
    assert!(is_submitted((&mut second).await));
    fixture.finish(thread);
    assert_eq!(fixture.synced(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn at_the_end_the_thread_writes_what_is_offered_and_nothing_more_is_taken() {
    let mut fixture = Fixture::new();
    let offered = turn(fixture.push().await);
    let thread = fixture.start();
    fixture.finish(thread);
    assert_eq!(fixture.synced(), 1);
    assert!(fixture.journaling.lock().journal.is_none(), "closed");
    assert!(is_submitted(offered.take().await));
    let more = fixture.waiting(Vec::new());
    assert!(!fixture.journaling.push(more, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn where_writing_ends_badly_nothing_is_written_any_more_and_all_are_told() {
    let mut fixture = Fixture::new();
    // As where whoever wrote panicked.
    let journal = fixture.journaling.lock().journal.take();
    let writing = Writing { journaling: Arc::clone(&fixture.journaling), journal, written: None };
    let waits = fixture.push();
    let thread = fixture.start();
    drop(writing);
    assert!(waits.await.is_err(), "not acknowledged");
    thread.join().expect("it ends");
    assert_eq!(fixture.progress.borrow().failure.as_deref(), Some("the writer has ended"));
    assert!(fixture.journaling.lock().journal.is_none(), "closed");
    assert_eq!(fixture.synced(), 0);
}
