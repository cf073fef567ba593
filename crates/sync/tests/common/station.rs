// A station in memory, and the link over which another one syncs with it. The crate's example includes this file, too,
// so it has no inner attributes.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use futures::executor::block_on;
use qfzz_ledger_core::batch::{SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::fork_choice::Tip;
use qfzz_ledger_core::ids::{BlockHash, Height, Name, Sequence, StationId};
use qfzz_ledger_core::ledger::{BatchOutcome, Ledger, Transition};
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::own_log::OwnLog;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::reveal::RevealChain;
use qfzz_ledger_core::state::ReadError;
use qfzz_ledger_core::testing::{at, key, solve};
use qfzz_ledger_core::time::Timestamp;
use qfzz_ledger_core::verify::Verifier;
use qfzz_sync::alive::{OtherRun, Run, Runs, Statement};
use qfzz_sync::message::{MAX_REQUEST_BYTES, Request, Response, Status};
use qfzz_sync::peer::{PeerSession, SessionError, Traffic};
use qfzz_sync::plan::Anchor;
use qfzz_sync::report::{Fault, SyncReport};
use qfzz_sync::serve::{Allowances, BlockView, PendingView, answer_about_blocks, answer_about_pending};
use qfzz_sync::session::{Handed, Here, Stopped, SyncSink, SyncView, Taken, sync_with};

/// Steps of a station's reveal chain: blocks that it can produce.
const REVEALS: u32 = 8_192;

/// Requests that no sync of these tests comes near.
const MAX_REQUESTS: usize = 300;

/// The clock that all stations of a test share; it moves only when somebody waits.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        at(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

/// A station in memory; a clone is the same station.
#[derive(Clone)]
pub(crate) struct Station {
    rules: Arc<Rules>,
    clock: Clock,
    ledger: Arc<Mutex<Ledger<MemoryStore>>>,
    store: MemoryStore,
    allowances: Arc<Mutex<Allowances>>,
    runs: Arc<Mutex<Runs>>,
    /// Which run of the station's daemon this is, where it says so.
    run: Option<Run>,
    others_wait: Arc<AtomicBool>,
}

impl Station {
    /// Test station `number` with an empty store.
    pub(crate) fn new(rules: &Arc<Rules>, number: u8, clock: &Clock) -> Self {
        let (key, federation) = (key(number), rules.federation());
        let reveals = RevealChain::new(&federation, &key.station(), key.reveal_secret(&federation), REVEALS);
        let own = OwnLog::new(key, Name::new(format!("station {number}")).expect("a name"), reveals);
        let store = MemoryStore::default();
        let ledger = Ledger::open(Arc::clone(rules), store.clone(), own, [], [], [], clock.now()).expect("empty");
        Self {
            rules: Arc::clone(rules),
            clock: clock.clone(),
            ledger: Arc::new(Mutex::new(ledger)),
            store,
            allowances: Arc::default(),
            runs: Arc::default(),
            run: None,
            others_wait: Arc::default(),
        }
    }

    /// The same, as this run of its daemon.
    pub(crate) fn running(self, run: Run) -> Self {
        Self { run: Some(run), ..self }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger<MemoryStore>> {
        self.ledger.lock().expect("no test panics while it holds this")
    }

    pub(crate) fn federation_rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn id(&self) -> StationId {
        self.ledger().own().station()
    }

    pub(crate) fn head(&self) -> BlockHash {
        self.ledger().chain().head()
    }

    pub(crate) fn height(&self) -> u64 {
        self.ledger().chain().height().get()
    }

    pub(crate) fn tip(&self) -> Tip {
        let ledger = self.ledger();
        ledger.chain().tip(&self.rules, &ledger.chain().head()).expect("the head is known")
    }

    pub(crate) fn pending_digest(&self) -> [u8; 32] {
        self.ledger().pool().digest(&self.rules)
    }

    fn commit(&self, ledger: &mut Ledger<MemoryStore>, transitions: impl IntoIterator<Item = Transition>) {
        for transition in transitions {
            self.store.apply(&transition);
            ledger.committed(transition.number);
        }
    }

    /// Signs `records` as few batches as they fit; without records, the introduction.
    pub(crate) fn say(&self, records: Vec<Record>) {
        let mut ledger = self.ledger();
        let transition = ledger.sign(records, self.clock.now()).expect("the store is in memory");
        self.commit(&mut ledger, transition);
    }

    /// Mines what is pending.
    pub(crate) fn mine(&self) -> VerifiedBlock {
        let mut ledger = self.ledger();
        let (introduced, template) = ledger.template(self.clock.now()).expect("the store is in memory");
        self.commit(&mut ledger, introduced);
        let template = template.expect("records are pending");
        let header = solve(&self.rules, &template);
        let (block, outcome) = ledger.mined(template, header, self.clock.now()).expect("the store is in memory");
        self.commit(&mut ledger, outcome.transitions);
        assert_eq!(outcome.refused, None);
        block.expect("a valid block")
    }

    /// Takes in blocks, as if they had been announced.
    pub(crate) fn take(&self, blocks: &[VerifiedBlock]) {
        let mut ledger = self.ledger();
        let outcome = ledger.add_blocks(blocks.to_vec(), self.clock.now()).expect("the store is in memory");
        self.commit(&mut ledger, outcome.transitions);
        assert_eq!(outcome.refused, None);
    }

    /// Takes in batches, as if they had been gossiped.
    pub(crate) fn hear(&self, batches: impl IntoIterator<Item = VerifiedBatch>) {
        for batch in batches {
            let outcome = self.add(batch.signed().clone());
            assert!(matches!(outcome, BatchOutcome::Added { .. }), "{outcome:?}");
        }
    }

    fn add(&self, batch: SignedBatch) -> BatchOutcome {
        let mut ledger = self.ledger();
        let mut outcome = ledger.add_batch(batch, self.clock.now()).expect("the store is in memory");
        if let BatchOutcome::Added { transition, .. } = &mut outcome {
            self.commit(&mut ledger, transition.take().map(|it| *it));
        }
        outcome
    }

    /// What waits for a block here, in order.
    pub(crate) fn pending(&self) -> Vec<VerifiedBatch> {
        self.ledger().pool().in_order().cloned().collect()
    }

    /// The blocks above genesis, lowest first.
    pub(crate) fn blocks(&self) -> Vec<VerifiedBlock> {
        let ledger = self.ledger();
        let at = |height| ledger.chain().at(Height::new(height)).expect("up to the head");
        let read = |height| ledger.read().block(&at(height)).expect("the store is in memory").expect("it is there");
        (1..=ledger.chain().height().get()).map(read).collect()
    }

    /// Verifies the whole chain again, and that the state is what follows from it.
    pub(crate) fn assert_valid(&self) {
        let mut verifier = Verifier::from_genesis(&self.rules);
        for block in self.blocks() {
            verifier.next(block.to_signed()).expect("every block on a station's chain is valid");
        }
        assert_eq!(*verifier.state(), self.store.state());
    }

    /// Whether both have one head and the same batches waiting.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.head() == other.head() && self.pending_digest() == other.pending_digest()
    }

    /// Answers a request as the node does.
    pub(crate) fn answer(&self, asker: &StationId, request: &Request) -> Response {
        let mut allowances = self.allowances.lock().expect("no test panics while it holds this");
        if !allowances.allows(asker, self.clock.now()) {
            return Response::Busy;
        }
        let answer = if request.is_about_blocks() {
            answer_about_blocks(self, self.rules.scheme(), request)
        } else {
            answer_about_pending(self, asker, request, self.other_run(asker, request))
        };
        let answer = answer.expect("the store is in memory");
        allowances.draw(asker, encode(&answer).len() as u64, self.clock.now());
        answer
    }

    /// What it remembers of another run of the asker's daemon.
    fn other_run(&self, asker: &StationId, request: &Request) -> Option<OtherRun> {
        let Request::Status { alive } = request else { return None };
        let mut runs = self.runs.lock().expect("no test panics while it holds this");
        runs.heard(*asker, alive.as_ref(), self.clock.now())
    }

    /// Counts `bytes` as given to `peer`.
    pub(crate) fn draw(&self, peer: &StationId, bytes: u64) {
        self.allowances.lock().expect("no test panics while it holds this").draw(peer, bytes, self.clock.now());
    }

    /// A link over which this station asks `other`.
    pub(crate) fn link_to<'a>(&self, other: &'a Self) -> Link<'a> {
        let asker = self.id();
        Link::new(other.id(), move |_, request| Ok(other.answer(&asker, request)))
    }

    /// Takes over what `other` has.
    pub(crate) fn sync_with(&self, other: &Self) -> SyncReport {
        self.sync_over(&self.link_to(other))
    }

    /// From now on others wait for their turn to be synced with, or not.
    pub(crate) fn others_wait(&self, wait: bool) {
        self.others_wait.store(wait, Ordering::Relaxed);
    }

    pub(crate) fn sync_over(&self, link: &Link<'_>) -> SyncReport {
        block_on(sync_with(link, self, self))
    }
}

impl SyncView for Station {
    fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn cpu_ms(&self) -> u64 {
        // Its clock moves only when a test says so.
        0
    }

    async fn pause(&self, millis: u64) {
        self.clock.advance(i64::try_from(millis).expect("a pause is short"));
    }

    async fn alive(&self) -> Result<Option<Statement>, Stopped> {
        let ledger = self.ledger();
        Ok(self.run.map(|run| Statement::sign(&self.rules, ledger.own().key(), run, self.clock.now())))
    }

    async fn must_give_way(&self) -> Result<bool, Stopped> {
        Ok(self.others_wait.load(Ordering::Relaxed))
    }

    async fn here(&self) -> Result<Here, Stopped> {
        let (tip, pending) = (self.tip(), self.pending_digest());
        let ledger = self.ledger();
        let own = ledger.own().station();
        let end = ledger.log_end(&own).expect("the store is in memory");
        Ok(Here { tip, locator: ledger.chain().locator(), pending, own: (own, end) })
    }

    async fn anchor(&self, hash: BlockHash) -> Result<Option<Anchor>, Stopped> {
        let ledger = self.ledger();
        let chain = ledger.chain();
        let known = chain.height_of(&hash).zip(chain.work_of(&hash));
        Ok(known.map(|(height, work)| Anchor {
            hash,
            height,
            work,
            recent_times: chain.recent_times(&hash),
            has_recent_batches: chain.has_recent_batches(&hash),
        }))
    }

    async fn unknown(&self, hashes: Vec<BlockHash>) -> Result<Vec<BlockHash>, Stopped> {
        let ledger = self.ledger();
        Ok(hashes.into_iter().filter(|hash| !ledger.chain().contains(hash)).collect())
    }

    async fn log_ends(&self, stations: Vec<StationId>) -> Result<Vec<Option<LogEnd>>, Stopped> {
        let ledger = self.ledger();
        let end = |station: &StationId| {
            let is_admitted = ledger.is_admitted(station).expect("the store is in memory");
            is_admitted.then(|| ledger.log_end(station).expect("the store is in memory"))
        };
        Ok(stations.iter().map(end).collect())
    }

    async fn may_produce(&self, parent: BlockHash, producer: StationId) -> Result<bool, Stopped> {
        let ledger = self.ledger();
        Ok(ledger.chain().head() != parent || ledger.is_admitted(&producer).expect("the store is in memory"))
    }
}

impl SyncSink for Station {
    async fn verify(&self, blocks: Vec<SignedBlock>) -> Result<Vec<VerifiedBlock>, Fault> {
        let verified = blocks.into_iter().map(|block| block.verify(&self.rules, &HashMap::new()));
        verified.collect::<Result<_, _>>().map_err(|error| Fault::Block(error.into()))
    }

    async fn blocks(&self, _: StationId, blocks: Vec<VerifiedBlock>) -> Handed {
        let mut ledger = self.ledger();
        let new: Vec<_> = blocks.into_iter().filter(|block| !ledger.chain().contains(&block.hash())).collect();
        let outcome = ledger.add_blocks(new.clone(), self.clock.now()).expect("the store is in memory");
        let reorg_depth = outcome.transitions.iter().map(|it| it.reverted.len() as u64).max().unwrap_or(0);
        self.commit(&mut ledger, outcome.transitions);
        let taken: Vec<_> = new.iter().filter(|block| ledger.chain().contains(&block.hash())).collect();
        let records = taken.iter().map(|block| block.record_count()).sum();
        let taken = Taken { count: taken.len() as u64, records, reorg_depth };
        (taken, outcome.refused.map_or(Ok(()), |(_, refusal)| Err(Fault::Block(refusal))))
    }

    async fn batches(&self, _: StationId, batches: Vec<SignedBatch>) -> Handed {
        let mut taken = Taken::default();
        for batch in batches {
            match self.add(batch) {
                BatchOutcome::Added { batches, .. } => {
                    taken.count += batches.len() as u64;
                    taken.records += batches.iter().map(|batch| batch.records().len() as u64).sum::<u64>();
                }
                BatchOutcome::Invalid(error) => return (taken, Err(Fault::Batch(error))),
                BatchOutcome::Known
                | BatchOutcome::Taken
                | BatchOutcome::Gap { .. }
                | BatchOutcome::Ahead
                | BatchOutcome::NotAdmitted
                | BatchOutcome::TooFar
                | BatchOutcome::Unlinked
                | BatchOutcome::Full => {}
            }
        }
        (taken, Ok(()))
    }
}

impl BlockView for Station {
    type Sent = SignedBlock;

    fn best_height(&self, hash: &BlockHash) -> Result<Option<Height>, ReadError> {
        let ledger = self.ledger();
        Ok(ledger.chain().height_of(hash).filter(|_| ledger.chain().is_best(hash)))
    }

    fn sealed_at(&self, height: Height) -> Result<Option<SealedHeader>, ReadError> {
        let ledger = self.ledger();
        let Some(hash) = ledger.chain().at(height) else { return Ok(None) };
        Ok(ledger.read().block(&hash)?.map(|block| block.sealed().clone()))
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<SignedBlock>, ReadError> {
        Ok(self.ledger().read().block(hash)?.map(|block| block.to_signed()))
    }

    fn sent_block(&self, hash: &BlockHash) -> Result<Option<SignedBlock>, ReadError> {
        self.block(hash)
    }
}

impl PendingView for Station {
    fn status(&self, asker: &StationId) -> Result<Status, ReadError> {
        let (Tip { work, hash: head, .. }, pending) = (self.tip(), self.pending_digest());
        let ledger = self.ledger();
        let (federation, height) = (self.rules.federation(), ledger.chain().height());
        let your_log = ledger.log_end(asker)?;
        Ok(Status { federation, head, height, work, pending, your_log, other_run: None })
    }

    fn confirmed_from(
        &self,
        station: &StationId,
        from: Sequence,
        bytes: usize,
    ) -> Result<Vec<VerifiedBatch>, ReadError> {
        self.ledger().confirmed_from(station, from, bytes)
    }

    fn pending_logs(&self, after: Option<StationId>, limit: usize) -> Vec<(StationId, LogEnd)> {
        self.ledger().pool().log_ends(after).take(limit).collect()
    }

    fn log_from(&self, station: &StationId, from: Sequence) -> Vec<VerifiedBatch> {
        self.ledger().pool().log_from(station, from).cloned().collect()
    }
}

/// What a peer answers to its n-th request, counted from 0.
type Answer<'a> = Box<dyn Fn(usize, &Request) -> Result<Response, SessionError> + Send + Sync + 'a>;

/// A session with a peer that answers whatever it is made to answer; every message goes through its encoding.
pub(crate) struct Link<'a> {
    peer: StationId,
    answer: Answer<'a>,
    requests: Mutex<Vec<Request>>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl<'a> Link<'a> {
    pub(crate) fn new(
        peer: StationId,
        answer: impl Fn(usize, &Request) -> Result<Response, SessionError> + Send + Sync + 'a,
    ) -> Self {
        Self {
            peer,
            answer: Box::new(answer),
            requests: Mutex::default(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        }
    }

    /// Everything that was asked, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panics while it holds this").clone()
    }

    /// The most requests that were under way at once.
    pub(crate) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }

    /// What the peer answers to `request`, without counting anything.
    pub(crate) fn ask_now(&self, request: &Request) -> Result<Response, SessionError> {
        (self.answer)(usize::MAX, request)
    }

    fn exchange(&self, request: Request) -> Result<Response, SessionError> {
        let sent = encode(&request);
        assert!(sent.len() <= MAX_REQUEST_BYTES);
        self.bytes_out.fetch_add(sent.len() as u64, Ordering::SeqCst);
        let received = Request::decode(&sent).expect("what a station asks can be read");
        let number = {
            let mut requests = self.requests.lock().expect("no test panics while it holds this");
            requests.push(request);
            assert!(requests.len() < MAX_REQUESTS, "a sync that does not end");
            requests.len() - 1
        };
        let answer = encode(&(self.answer)(number, &received)?);
        self.bytes_in.fetch_add(answer.len() as u64, Ordering::SeqCst);
        Ok(Response::decode(&answer)?)
    }
}

impl PeerSession for Link<'_> {
    fn peer(&self) -> StationId {
        self.peer
    }

    async fn request(&self, request: Request) -> Result<Response, SessionError> {
        let under_way = 1 + self.under_way.fetch_add(1, Ordering::SeqCst);
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let answer = self.exchange(request);
        // The answer is there at the second look, so that others can be asked for meanwhile.
        let mut is_first = true;
        poll_fn(|context| {
            if std::mem::take(&mut is_first) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    fn traffic(&self) -> Traffic {
        Traffic { bytes_in: self.bytes_in.load(Ordering::SeqCst), bytes_out: self.bytes_out.load(Ordering::SeqCst) }
    }
}
