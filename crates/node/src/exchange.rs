//! Between network and service: hands events to the one and orders to the other, runs syncs, answers those of others.
//!
//! It decides nothing but what a peer may draw. Two tasks: one reads the network's events, one the service's orders;
//! whatever takes long runs on a task of its own, in bounded number.

mod bans;
mod inviting;
mod keys;
mod live;
mod local;
mod neighbours;
mod session;
mod turns;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::codec::{CodecError, Encode, encode};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, StationId};
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::alive::Runs;
use qfzz_sync::message::{Request, Response};
use qfzz_sync::peer::{PeerSession, SessionError};
use qfzz_sync::report::SyncReport;
use qfzz_sync::serve::{Allowances, answer_about_blocks, answer_about_pending};
use qfzz_sync::session::sync_with;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::clock;
use crate::events::{Event, Observers};
use crate::invitations::Invitations;
use crate::network::{NetworkEvent, NetworkHandle, Responder, Topic, Verdict};
use crate::rate::{Bucket, Rate};
use crate::service::ServiceHandle;
use crate::service::effect::{Checked, Input};
use crate::service::worker::Order;
use crate::store::{Blocks, StoreRead, StoreReader};
pub(crate) use bans::Ban;
use bans::Bans;
use keys::KeySource;
use local::{Local, check};
use neighbours::{Gave, Neighbours, Welcome, cost_of};
use session::Session;
use turns::Turns;

/// Requests of peers that are answered at once, at most; more are told that we are busy.
const MAX_ANSWERS: usize = 32;

/// Requests of our own beside syncs that are under way at once, at most.
const MAX_FETCHES: usize = 64;

/// What the network told that is being handled at once, at most. What a client asks of the service waits behind no more
/// gossip than that: a millisecond of signature checks.
const MAX_IN_HAND: usize = 16;

/// How long a question for a peer's head may take.
const ASK_FOR: Duration = Duration::from_millis(500);

/// How long a request for what precedes a batch, or for a body, may take: gossip has little to wait for.
const FETCH_FOR: Duration = Duration::from_secs(8);

/// How long a peer that sent something invalid is kept away, in milliseconds.
const BAN_MS: i64 = 600_000;

/// How long a peer is kept away for what an honest one might do in trouble, too, in milliseconds.
const PAUSE_MS: i64 = 60_000;

/// How often the log tells with whom was parted; strangers must not fill it. The status shows the others, too.
const TOLD: Rate = Rate::per_minute(100, 20);

/// How often peers are asked where they are, however often a client asks that: each answer costs them something.
const HEADS_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked who may come back.
const LET_IN_EVERY: Duration = Duration::from_secs(1);

/// Peers whose head is remembered, at most: more than can be connected.
const MAX_HEADS: usize = 512;

/// What peers last told of where they are.
type Heads = Arc<Mutex<HashMap<StationId, (Height, BlockHash)>>>;

/// An answer's bytes, and whether it was for what is not here.
fn shown<B: Encode>(answer: Response<B>) -> (Vec<u8>, bool) {
    (encode(&answer), matches!(answer, Response::Unknown))
}

/// Network and service, connected. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exchange {
    network: NetworkHandle,
    service: ServiceHandle,
    reader: StoreReader,
    rules: Arc<Rules>,
    observers: Observers,
    verifiers: Arc<rayon::ThreadPool>,
    allowances: Arc<Mutex<Allowances>>,
    heads: Heads,
    /// When the peers were asked for them last.
    heads_asked: Arc<Mutex<Option<Instant>>>,
    /// Which daemons of other stations are alive.
    runs: Arc<Mutex<Runs>>,
    neighbours: Arc<Mutex<Neighbours>>,
    bans: Arc<Mutex<Bans>>,
    /// How often it may yet be told with whom was parted.
    told: Arc<Mutex<Bucket>>,
    answers: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
    /// Questions of ours for live opinions.
    questions: Arc<Semaphore>,
    /// What this station promised newcomers, as a founder.
    pub(crate) invitations: Arc<Invitations>,
    /// Whether this station mines by itself.
    mines: bool,
    /// The two tasks, and those that they have started.
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// What a mutex holds; what a panic left behind is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    /// Connects a network with a service.
    pub(crate) fn start(
        (network, network_events): (NetworkHandle, mpsc::Receiver<NetworkEvent>),
        service: ServiceHandle,
        orders: mpsc::Receiver<Order>,
        reader: StoreReader,
        observers: Observers,
        verifiers: Arc<rayon::ThreadPool>,
        (invitations, mines): (Arc<Invitations>, bool),
    ) -> Self {
        let exchange = Self {
            network,
            service,
            rules: Arc::clone(reader.rules()),
            reader,
            observers,
            verifiers,
            allowances: Arc::default(),
            heads: Arc::default(),
            heads_asked: Arc::default(),
            runs: Arc::default(),
            neighbours: Arc::new(Mutex::new(Neighbours::new(clock::now()))),
            bans: Arc::default(),
            told: Arc::new(Mutex::new(Bucket::full(TOLD, clock::now().as_millis()))),
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
            fetches: Arc::new(Semaphore::new(MAX_FETCHES)),
            questions: Arc::new(Semaphore::new(live::MAX_QUESTIONS)),
            invitations,
            mines,
            tasks: Arc::default(),
        };
        exchange.spawn(exchange.clone().run_events(network_events));
        exchange.spawn(exchange.clone().run_orders(orders));
        exchange
    }

    /// Ends the two tasks and all that they have started; none runs when this returns.
    pub(crate) async fn stop(&self) {
        loop {
            let mut tasks = std::mem::take(&mut *locked(&self.tasks));
            if tasks.is_empty() {
                return;
            }
            // One of them may have started another meanwhile.
            tasks.shutdown().await;
        }
    }

    /// The head that a peer last told of.
    pub(crate) fn head_of(&self, peer: &StationId) -> Option<(Height, BlockHash)> {
        locked(&self.heads).get(peer).copied()
    }

    /// Who is kept away, the longest first, at most `limit`, and how many are in all.
    pub(crate) fn bans(&self, limit: usize) -> (Vec<Ban>, usize) {
        let bans = locked(&self.bans);
        (bans.longest(limit), bans.len())
    }

    /// Runs something that takes long; it ends with this exchange.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = locked(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Whether the log may tell one more thing that a stranger can cause.
    fn may_tell(&self) -> bool {
        locked(&self.told).spend(1, clock::now().as_millis())
    }

    /// Requests to a connected peer.
    fn session(&self, peer: StationId) -> Session {
        Session::new(self.network.clone(), peer, Arc::clone(&self.heads), Arc::clone(&self.verifiers))
    }

    /// Asks connected peers where they are, unless they were asked just now; what they told before stands for those that
    /// don't answer at once.
    pub(crate) async fn ask_heads(&self, peers: &[StationId]) {
        let now = Instant::now();
        {
            let mut asked = locked(&self.heads_asked);
            if peers.is_empty() || asked.is_some_and(|asked| now.duration_since(asked) < HEADS_EVERY) {
                return;
            }
            *asked = Some(now);
        }
        let ask = |peer: &StationId| {
            let session = self.session(*peer);
            async move { tokio::time::timeout(ASK_FOR, session.request(Request::Status { alive: None })).await }
        };
        futures::future::join_all(peers.iter().map(ask)).await;
    }

    /// Syncs with a connected peer, now.
    pub(crate) async fn sync(&self, peer: StationId) -> SyncReport {
        let session = self.session(peer).with_local(self.reader.clone());
        let local = Local::new(self.service.clone(), Arc::clone(&self.rules), Arc::clone(&self.verifiers));
        let report = sync_with(&session, &local, &local).await;
        // Whoever hears of it may look in the store. An error means that the service is stopping.
        let _ = self.service.query(|_| ()).await;
        self.service.tell(Input::SyncEnded(Box::new(report.clone()))).await;
        report
    }

    async fn run_events(self, mut events: mpsc::Receiver<NetworkEvent>) {
        let mut let_in = tokio::time::interval(LET_IN_EVERY);
        let_in.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut turns, hands) = (Turns::default(), Arc::new(Semaphore::new(MAX_IN_HAND)));
        loop {
            tokio::select! {
                // Whose turn it is shows when all that is there is known.
                biased;
                _ = let_in.tick() => self.let_in().await,
                event = events.recv(), if turns.has_room() => match event {
                    Some(event) => if let Some(left_out) = turns.push(event) {
                        self.network.leave_out(left_out).await;
                    },
                    None => return,
                },
                hand = Arc::clone(&hands).acquire_owned(), if !turns.is_empty() => {
                    if let (Ok(hand), Some(event)) = (hand, turns.next()) {
                        self.on_event(event, hand).await;
                    }
                }
            }
        }
    }

    /// Lets those come back whose time is over.
    async fn let_in(&self) {
        let over = locked(&self.bans).over(clock::now());
        for peer in over {
            self.network.unblock(peer).await;
        }
    }

    /// Handles an event; of a gossiped message the service does, and has the `hand` until it is done.
    async fn on_event(&self, event: NetworkEvent, hand: OwnedSemaphorePermit) {
        match event {
            // The network has said so.
            NetworkEvent::Listening(_) => {}
            NetworkEvent::Connected { peer, address } => {
                tracing::debug!(%peer, %address, "peer connected");
                locked(&self.neighbours).connected(peer, clock::now());
                self.service.tell(Input::Connected(peer)).await;
                self.observers.events.publish(Event::Peer { station: peer, connected: true, reason: None });
            }
            NetworkEvent::Familiar { peer } => self.service.tell(Input::Familiar(peer)).await,
            NetworkEvent::Subscribed { peer } => self.service.tell(Input::Subscribed(peer)).await,
            NetworkEvent::Disconnected { peer } => {
                tracing::debug!(%peer, "peer disconnected");
                locked(&self.heads).remove(&peer);
                locked(&self.neighbours).disconnected(&peer);
                self.service.tell(Input::Disconnected(peer)).await;
                let reason = locked(&self.bans).reason(&peer);
                self.observers.events.publish(Event::Peer { station: peer, connected: false, reason });
            }
            NetworkEvent::Gossip { source, message, topic, data } => {
                if locked(&self.bans).contains(&source) {
                    // What it sent before it is gone is not worth a signature check.
                    return self.network.verdict(message, Verdict::Ignore).await;
                }
                self.service.gossip(message, source, topic, data, hand).await;
            }
            NetworkEvent::Request { peer, data, respond } => self.on_request(peer, data, respond).await,
            NetworkEvent::Invitation { peer, shown, respond } => self.on_invitation(peer, shown, respond),
            NetworkEvent::Misconduct { peer, what } => {
                let ms = if what.may_be_trouble() { PAUSE_MS } else { BAN_MS };
                self.part_from(peer, what.to_string(), clock::now().saturating_add(ms)).await;
            }
            NetworkEvent::OtherFederation { peer, federation } => {
                self.observers.metrics.refused(federation.is_some());
                match federation {
                    Some((id, name)) if self.may_tell() => {
                        tracing::warn!(%peer, "peer belongs to the federation `{name}` ({id}), not to ours")
                    }
                    _ => tracing::debug!(%peer, "peer is of another federation, or of none"),
                }
            }
        }
    }

    async fn on_request(&self, peer: StationId, data: Vec<u8>, respond: Responder) {
        let now = clock::now();
        // Before it is weighed whether it is answered: what cannot be read costs its sender even while we are busy.
        let request = match Request::decode(&data) {
            Ok(request) => Some(request),
            // Of a newer version, perhaps: it is told, and nobody is blamed before it asks on and on.
            Err(CodecError::UnknownTag { .. }) => None,
            Err(error @ (CodecError::TooLong { .. } | CodecError::Malformed)) => {
                let reason = format!("sent a request that cannot be read: {error}");
                return self.part_from(peer, reason, now.saturating_add(BAN_MS)).await;
            }
        };
        let has_drawn_all = !locked(&self.allowances).allows(&peer, now);
        let welcome = locked(&self.neighbours).asks(&peer, cost_of(request.as_ref()), has_drawn_all, now);
        match welcome {
            Welcome::Answer => {}
            Welcome::Busy => return respond.send(encode::<Response>(&Response::Busy)),
            Welcome::Enough => {
                let until = now.saturating_add(PAUSE_MS);
                return self.part_from(peer, "asked on and on while told to wait".to_owned(), until).await;
            }
        }
        let Some(request) = request else {
            respond.send(encode::<Response>(&Response::Unknown));
            return self.answered(peer, true).await;
        };
        let Ok(permit) = Arc::clone(&self.answers).try_acquire_owned() else {
            respond.send(encode::<Response>(&Response::Busy));
            return self.answered(peer, false).await;
        };
        let exchange = self.clone();
        self.spawn(async move {
            let is_unknown = exchange.answer(peer, request, respond).await;
            drop(permit);
            exchange.answered(peer, is_unknown).await;
        });
    }

    /// Takes note that a request was answered, and whether it was for what is not here.
    async fn answered(&self, peer: StationId, is_unknown: bool) {
        let now = clock::now();
        let is_too_much = !locked(&self.neighbours).answered(&peer, is_unknown, now);
        if is_too_much {
            let until = now.saturating_add(PAUSE_MS);
            self.part_from(peer, "asked again and again for what is not here".to_owned(), until).await;
        }
    }

    /// Answers a request; returns whether it was for what is not here.
    async fn answer(&self, peer: StationId, request: Request, respond: Responder) -> bool {
        let answer = if request.is_about_blocks() {
            let (reader, scheme) = (self.reader.clone(), self.rules.scheme());
            let answer_from = move |reader: &StoreReader| answer_about_blocks(&Blocks(reader), scheme, &request);
            let read = move || reader.consistent(answer_from).map(shown);
            match tokio::task::spawn_blocking(read).await {
                Ok(answer) => answer,
                Err(_) => return false,
            }
        } else if let Request::Opinion(question) = request {
            self.opinion_for(&peer, question).await.map(shown)
        } else {
            let other_run = match &request {
                Request::Status { alive } => locked(&self.runs).heard(peer, alive.as_ref(), clock::now()),
                _ => None,
            };
            let ask = move |state: &_| answer_about_pending(state, &peer, &request, other_run).map(shown);
            match self.service.query(ask).await {
                Ok(answer) => answer,
                Err(_) => return false,
            }
        };
        // Our own trouble: the asker gets no answer, and the service stops by itself.
        let Ok((answer, is_unknown)) = answer else { return false };
        let bytes = answer.len() as u64;
        if respond.send_or(answer, encode::<Response>(&Response::Busy)) {
            locked(&self.allowances).draw(&peer, bytes, clock::now());
        }
        is_unknown
    }

    async fn run_orders(self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            self.on_order(order).await;
        }
    }

    async fn on_order(&self, order: Order) {
        match order {
            Order::PublishBatch(batch) => self.publish(Topic::Batches, encode(batch.signed())).await,
            Order::PublishBlock(block) => self.publish(Topic::Blocks, encode(&block.announcement())).await,
            Order::Verdict(message, verdict) => self.network.verdict(message, verdict).await,
            Order::Sync(peer) => {
                let exchange = self.clone();
                self.spawn(async move { drop(exchange.sync(peer).await) });
            }
            Order::FetchBatches { peer, block, indexes, ids } => {
                let request = Request::BlockBatches { block, indexes };
                let ids: HashSet<BatchId> = ids.into_iter().collect();
                let rules = Arc::clone(&self.rules);
                let wanted = move |batch: &SignedBatch| ids.contains(&batch.id(&rules));
                let input = move |checked| Input::FetchedBatches { block, from: peer, checked };
                self.fetch(peer, request, wanted, input);
            }
            Order::FetchLog { peer, station, from } => {
                let request = Request::Logs { from: vec![(station, from)] };
                self.fetch(peer, request, |_| true, move |checked| Input::FetchedLog { from: peer, checked });
            }
            Order::Ban { peer, reason, until } => self.part_from(peer, reason, until).await,
        }
    }

    async fn publish(&self, topic: Topic, data: Vec<u8>) {
        if let Err(error) = self.network.publish(topic, data).await {
            tracing::warn!("not gossiped: {error}");
        }
    }

    /// Asks a peer for batches; what it gives of those that are wanted, or nothing, goes to the service.
    fn fetch(
        &self,
        peer: StationId,
        request: Request,
        wanted: impl FnMut(&SignedBatch) -> bool + Send + 'static,
        input: impl FnOnce(Checked) -> Input + Send + 'static,
    ) {
        let (exchange, permit) = (self.clone(), Arc::clone(&self.fetches).try_acquire_owned());
        self.spawn(async move {
            // Without a permit nothing is asked: a sync closes the gap.
            let mut batches = match permit {
                Ok(_) if locked(&exchange.neighbours).may_fetch(&peer) => {
                    let batches = exchange.ask_for_batches(peer, request).await;
                    locked(&exchange.neighbours).fetched(&peer);
                    batches
                }
                _ => Vec::new(),
            };
            batches.retain(wanted);
            let keys = KeySource::default().of_batches(&exchange.service, &exchange.rules, &batches).await;
            let checked = check(&exchange.verifiers, &exchange.rules, keys, batches).await;
            exchange.service.tell(input(checked)).await;
        });
    }

    /// Asks a connected peer for batches, and takes note of how it answers.
    async fn ask_for_batches(&self, peer: StationId, request: Request) -> Vec<SignedBatch> {
        let is_for_log = matches!(request, Request::Logs { .. });
        let session = self.session(peer);
        let answer = tokio::time::timeout(FETCH_FOR, session.request(request)).await;
        let (batches, gave) = match answer {
            Ok(Ok(Response::Batches(batches))) => {
                let gave = if batches.is_empty() { Gave::Nothing } else { Gave::Something };
                (batches, Some(gave))
            }
            Ok(Ok(Response::Unknown)) => (Vec::new(), Some(Gave::Nothing)),
            Ok(Ok(Response::Busy) | Err(SessionError::Disconnected | SessionError::Newer)) => (Vec::new(), None),
            Ok(Ok(_)) => return self.part_for_answer(peer, "answered something that was not asked").await,
            Ok(Err(SessionError::Malformed)) => {
                return self.part_for_answer(peer, "sent an answer that cannot be read").await;
            }
            Ok(Err(SessionError::Unsupported)) => return self.part_for_answer(peer, "speaks no sync").await,
            Ok(Err(SessionError::Timeout | SessionError::Dribbled)) | Err(_) => (Vec::new(), Some(Gave::Silence)),
        };
        let now = clock::now();
        if let (true, Some(gave)) = (is_for_log, gave)
            && !locked(&self.neighbours).gave(&peer, gave, now)
        {
            let reason = "sent batches and did not give what precedes them".to_owned();
            self.part_from(peer, reason, now.saturating_add(PAUSE_MS)).await;
        }
        batches
    }

    async fn part_for_answer(&self, peer: StationId, reason: &str) -> Vec<SignedBatch> {
        self.part_from(peer, reason.to_owned(), clock::now().saturating_add(BAN_MS)).await;
        Vec::new()
    }

    /// Parts with a peer until a time.
    async fn part_from(&self, peer: StationId, reason: String, until: Timestamp) {
        let now = clock::now();
        let (is_news, let_in) = locked(&self.bans).insert(Ban { peer, reason: reason.clone(), until });
        if !is_news {
            // What it sent before it is gone is all the same.
            return;
        }
        self.observers.metrics.banned();
        let seconds = until.since(now).max(0) / 1_000;
        if self.may_tell() {
            tracing::warn!(%peer, "peer {reason}: parting with it for {seconds} s");
        } else {
            tracing::debug!(%peer, "peer {reason}: parting with it for {seconds} s");
        }
        let is_connected = locked(&self.neighbours).contains(&peer);
        if !is_connected {
            // Its end was told before, or its arrival never.
            self.observers.events.publish(Event::Peer { station: peer, connected: false, reason: Some(reason) });
        }
        self.network.block(peer).await;
        if let Some(peer) = let_in {
            self.network.unblock(peer).await;
        }
    }
}
