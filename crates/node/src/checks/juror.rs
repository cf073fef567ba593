//! The juror: answers what this station is asked to check, without a person, where the operator said how.
//!
//! It looks at the open duties after each block and after each look through the folders. One check at a time; what
//! nobody could answer is tried again ever more rarely, a dataset at once when its file turns up.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use qfzz_ledger_core::ids::RecordId;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::testimony::Answer;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::command::Checker;
use super::docket::{Docket, answer_by_file};
use super::files::FileIndex;
use crate::api::dto::{AnsweredBy, Duty};
use crate::api::duties::question;
use crate::api::port::{DutyQuery, PortError};
use crate::events::Events;

/// The shortest time between two looks at what is asked: each reads up to 1,000 records.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Looking takes this part of the time at most, however much is asked and however often there are blocks.
const LOOKS_PART: u32 = 20;

/// For how long duties are checked before it looks again at which are open.
const PASS: Duration = Duration::from_secs(10);

/// When an answer is tried again that could not be stored.
const STORED_LATER: Duration = Duration::from_secs(10);

/// When a check is tried again that found nothing; each time it takes twice as long.
const FIRST_REPEAT: Duration = Duration::from_secs(10 * 60);

/// As long as that gets.
const LAST_REPEAT: Duration = Duration::from_secs(24 * 60 * 60);

/// The juror, from outside.
pub(crate) struct Juror {
    open: Arc<AtomicU64>,
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Juror {
    /// Starts it on the current tokio runtime. It looks through the docket's folders, if there are any, every
    /// `interval`, and asks `checker` about everything else, if there is one.
    pub(crate) fn start(docket: Docket, checker: Option<Checker>, interval: Duration, events: &Events) -> Self {
        let (open, stop, (looks, looked)) = (Arc::<AtomicU64>::default(), CancellationToken::new(), watch::channel(0));
        let mut tasks = Vec::new();
        if let Some(files) = docket.files().cloned() {
            tasks.push(tokio::spawn(look_through(files, interval, looks, stop.clone())));
        }
        let worker = Worker {
            docket,
            checker,
            looked,
            blocks: events.blocks(),
            open: Arc::clone(&open),
            tried: HashMap::new(),
            stop: stop.clone(),
        };
        let stopped = stop.clone();
        tasks.push(tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled_owned() => {}
                () = worker.run() => {}
            }
        }));
        Self { open, stop, tasks: Mutex::new(tasks) }
    }

    /// Records that this station is asked to check and has not answered about, as it last looked; at most 1,000.
    pub(crate) fn open_duties(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Ends it, and a check under way: nothing of it runs when this returns.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // One that panicked has ended, too.
            let _ = task.await;
        }
    }
}

/// Looks through the folders again and again; counts how often something new was found there, the first look as one.
async fn look_through(files: Arc<FileIndex>, interval: Duration, looks: watch::Sender<u64>, stop: CancellationToken) {
    let mut left_out = 0;
    loop {
        let (index, go_on) = (Arc::clone(&files), stop.clone());
        let scanned = tokio::task::spawn_blocking(move || index.scan(|| !go_on.is_cancelled())).await;
        if stop.is_cancelled() {
            return;
        }
        let Ok(scanned) = scanned else { return tracing::error!("looking through verify.folders failed") };
        let is_first = *looks.borrow() == 0;
        if is_first || scanned.hashed > 0 {
            tracing::info!(files = scanned.files, hashed = scanned.hashed, "looked through verify.folders");
            looks.send_modify(|looks| *looks += 1);
        }
        if scanned.left_out > left_out {
            tracing::warn!(left_out = scanned.left_out, "in verify.folders something cannot be read, or is too much");
        }
        left_out = scanned.left_out;
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(interval) => {}
        }
    }
}

/// A duty that was tried without coming to an end.
struct Tried {
    /// When it is tried again.
    next: Instant,
    /// How long it waits the next time.
    wait: Duration,
    /// The look through the folders that it was tried after.
    look: u64,
    /// What was found, and could not be stored yet.
    found: Option<Answer>,
}

struct Worker {
    docket: Docket,
    checker: Option<Checker>,
    looked: watch::Receiver<u64>,
    blocks: watch::Receiver<()>,
    open: Arc<AtomicU64>,
    tried: HashMap<RecordId, Tried>,
    stop: CancellationToken,
}

impl Worker {
    async fn run(mut self) {
        loop {
            let began = Instant::now();
            let open = DutyQuery { answered: Some(false), ..DutyQuery::default() };
            let duties = self.docket.duties(open).await;
            let rest = (began.elapsed() * LOOKS_PART).max(BETWEEN_LOOKS);
            match duties {
                Ok(page) => self.pass(&page.duties).await,
                Err(PortError::Stopping) => return,
                Err(error) => tracing::warn!(%error, "what this station is asked to check cannot be read"),
            }
            if began.elapsed() < PASS {
                self.wait(began + rest).await;
            }
        }
    }

    /// Checks the open duties that are due, the first to end first.
    async fn pass(&mut self, duties: &[Duty]) {
        let open: HashSet<RecordId> = duties.iter().map(|duty| duty.record).collect();
        self.open.store(duties.len() as u64, Ordering::Relaxed);
        self.tried.retain(|record, _| open.contains(record));
        self.docket.silences().retain(|record, _| open.contains(record));
        let (began, look, mut for_people) = (Instant::now(), *self.looked.borrow_and_update(), 0_u64);
        for duty in duties {
            if began.elapsed() >= PASS {
                break;
            }
            let is_new_file = |tried: &Tried| duty.by == AnsweredBy::File && tried.look < look;
            let is_due = |tried: &Tried| tried.next <= Instant::now() || is_new_file(tried);
            // Before the first look nobody knows which other datasets are here.
            let is_known = duty.by == AnsweredBy::File || duty.registered.is_none();
            let may_be_here = !is_known && self.docket.files().is_some() && look == 0;
            if may_be_here || !self.tried.get(&duty.record).is_none_or(is_due) {
                continue;
            }
            let is_new = !self.tried.contains_key(&duty.record);
            match self.check(duty).await {
                Some(answer) => self.testify(duty, answer, look).await,
                None => {
                    for_people += u64::from(is_new && self.checker.is_none());
                    self.try_later(duty.record, look);
                }
            }
        }
        if for_people > 0 {
            tracing::info!(records = for_people, "asked to check records: see `qfzz duties`, answer by `qfzz testify`");
        }
    }

    /// What this station finds about a claim; `None` where it cannot tell.
    async fn check(&mut self, duty: &Duty) -> Option<Answer> {
        if let Some(found) = self.tried.get_mut(&duty.record).and_then(|tried| tried.found.take()) {
            return Some(found);
        }
        if let Some(answer) = self.check_by_file(duty).await {
            return Some(answer);
        }
        let (record, until, checker) = (duty.record, duty.until.get(), self.checker.as_ref()?);
        match checker.ask(&question(duty, self.docket.rules())).await {
            Ok(answer) => {
                tracing::info!(%record, %answer, "verify.command checked a record");
                Some(answer)
            }
            Err(silence) => {
                tracing::info!(%record, until, "verify.command says nothing of a record: {silence}");
                self.docket.silences().insert(record, format!("verify.command: {silence}"));
                None
            }
        }
    }

    /// The answer to a finding about a dataset whose registered bytes lie in the folders; they are hashed again for it.
    async fn check_by_file(&self, duty: &Duty) -> Option<Answer> {
        let (registered, files) = (duty.registered?, self.docket.files().cloned()?);
        let Record::DatasetVerified(found) = duty.batch.records().get(usize::from(duty.record.index))? else {
            return None;
        };
        let stop = self.stop.clone();
        let find = move || files.find(registered.as_bytes(), || !stop.is_cancelled());
        let file = tokio::task::spawn_blocking(find).await.ok()??;
        let (answer, record) = (answer_by_file(found, registered), duty.record);
        tracing::info!(%record, %answer, dataset = %found.dataset_id, file = %file.display(), "hashed a dataset again");
        Some(answer)
    }

    async fn testify(&mut self, duty: &Duty, answer: Answer, look: u64) {
        let record = duty.record;
        match self.docket.testify(record, answer).await {
            Ok(receipt) => {
                tracing::info!(%record, %answer, testimony = %receipt.record_id, "testified");
                self.tried.remove(&record);
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
            Err(PortError::NotAsked(reason)) => {
                tracing::debug!(%record, "no answer is wanted any more: {reason}");
                self.try_later(record, look);
            }
            Err(error) => {
                tracing::debug!(%record, %error, "the answer is stored later");
                let (next, wait) = (Instant::now() + STORED_LATER, FIRST_REPEAT);
                self.tried.insert(record, Tried { next, wait, look, found: Some(answer) });
            }
        }
    }

    fn try_later(&mut self, record: RecordId, look: u64) {
        let wait = self.tried.get(&record).map_or(FIRST_REPEAT, |tried| tried.wait);
        let tried = Tried { next: Instant::now() + wait, wait: (wait * 2).min(LAST_REPEAT), look, found: None };
        self.tried.insert(record, tried);
    }

    /// Waits for a block, a file or the time of the next try, but at least until `earliest`.
    async fn wait(&mut self, earliest: Instant) {
        sleep_until(earliest).await;
        let next = self.tried.values().map(|tried| tried.next).min();
        let due = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            Ok(()) = self.blocks.changed() => {}
            // Without folders nobody looks.
            Ok(()) = self.looked.changed() => {}
        }
    }
}
