//! Between network and service: hands events to the one and orders to the other, runs syncs, answers those of others.
//!
//! It decides nothing but what a peer may draw. Two tasks: one reads the network's events, one the service's orders;
//! whatever takes long runs on a task of its own, in bounded number.

mod local;
mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, StationId};
use qfzz_sync::message::{Request, Response};
use qfzz_sync::peer::PeerSession;
use qfzz_sync::report::SyncReport;
use qfzz_sync::serve::{Allowances, answer_about_blocks, answer_about_pending};
use qfzz_sync::session::sync_with;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::clock;
use crate::events::{Event, Events};
use crate::metrics::Metrics;
use crate::network::{NetworkEvent, NetworkHandle, Responder, Topic};
use crate::service::ServiceHandle;
use crate::service::effect::Input;
use crate::service::worker::Order;
use crate::store::{Blocks, StoreRead, StoreReader};
use local::Local;
use session::Session;

/// Requests of peers that are answered at once, at most; more are told that we are busy.
const MAX_ANSWERS: usize = 32;

/// Requests of our own beside syncs that are under way at once, at most.
const MAX_FETCHES: usize = 64;

/// How long a question for a peer's head may take.
const ASK_FOR: Duration = Duration::from_millis(500);

/// How long a peer that sent something invalid is kept away.
const BAN: Duration = Duration::from_secs(600);

/// Network and service, connected. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exchange {
    network: NetworkHandle,
    service: ServiceHandle,
    reader: StoreReader,
    rules: Arc<Rules>,
    told: Told,
    verifiers: Arc<rayon::ThreadPool>,
    allowances: Arc<Mutex<Allowances>>,
    heads: Arc<Mutex<HashMap<StationId, (Height, BlockHash)>>>,
    answers: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
}

/// Who is told of what happens: listeners, and whoever reads the metrics.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
}

/// The two tasks; they end when network and service have.
pub(crate) struct Tasks {
    events: JoinHandle<()>,
    orders: JoinHandle<()>,
}

impl Tasks {
    /// Ends both.
    pub(crate) fn abort(&self) {
        self.events.abort();
        self.orders.abort();
    }
}

impl Exchange {
    /// Connects a network with a service.
    pub(crate) fn start(
        network: NetworkHandle,
        network_events: mpsc::Receiver<NetworkEvent>,
        service: ServiceHandle,
        orders: mpsc::Receiver<Order>,
        reader: StoreReader,
        told: Told,
        verifiers: Arc<rayon::ThreadPool>,
    ) -> (Self, Tasks) {
        let exchange = Self {
            network,
            service,
            rules: Arc::clone(reader.rules()),
            reader,
            told,
            verifiers,
            allowances: Arc::default(),
            heads: Arc::default(),
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
            fetches: Arc::new(Semaphore::new(MAX_FETCHES)),
        };
        let tasks = Tasks {
            events: tokio::spawn(exchange.clone().run_events(network_events)),
            orders: tokio::spawn(exchange.clone().run_orders(orders)),
        };
        (exchange, tasks)
    }

    /// The head that a peer last told of.
    pub(crate) fn head_of(&self, peer: &StationId) -> Option<(Height, BlockHash)> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).get(peer).copied()
    }

    /// Asks connected peers where they are; what they told before stands for those that don't answer at once.
    pub(crate) async fn ask_heads(&self, peers: &[StationId]) {
        let ask = |peer: &StationId| {
            let session = Session::new(self.network.clone(), *peer, Arc::clone(&self.heads));
            async move { tokio::time::timeout(ASK_FOR, session.request(Request::Status)).await }
        };
        futures::future::join_all(peers.iter().map(ask)).await;
    }

    /// Syncs with a connected peer, now.
    pub(crate) async fn sync(&self, peer: StationId) -> SyncReport {
        let session = Session::new(self.network.clone(), peer, Arc::clone(&self.heads));
        let local = Local::new(self.service.clone(), Arc::clone(&self.rules), Arc::clone(&self.verifiers));
        let report = sync_with(&session, &local, &local).await;
        self.service.tell(Input::SyncEnded(Box::new(report.clone()))).await;
        report
    }

    async fn run_events(self, mut events: mpsc::Receiver<NetworkEvent>) {
        while let Some(event) = events.recv().await {
            self.on_event(event).await;
        }
    }

    async fn on_event(&self, event: NetworkEvent) {
        match event {
            // The network has said so.
            NetworkEvent::Listening(_) => {}
            NetworkEvent::Connected { peer, address } => {
                tracing::debug!(%peer, %address, "peer connected");
                self.service.tell(Input::Connected(peer)).await;
                self.told.events.publish(Event::Peer { station: peer, connected: true });
            }
            NetworkEvent::Subscribed { peer } => self.service.tell(Input::Subscribed(peer)).await,
            NetworkEvent::Disconnected { peer } => {
                tracing::debug!(%peer, "peer disconnected");
                self.heads.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
                self.service.tell(Input::Disconnected(peer)).await;
                self.told.events.publish(Event::Peer { station: peer, connected: false });
            }
            NetworkEvent::Gossip { source, message, topic, data } => {
                self.service.gossip(message, source, topic, data).await;
            }
            NetworkEvent::Request { peer, data, respond } => self.on_request(peer, data, respond),
            NetworkEvent::MalformedRequest { peer, error } => {
                self.ban(peer, format!("sent a malformed request: it {error}")).await;
            }
            NetworkEvent::OtherFederation { peer, federation } => {
                self.told.metrics.refused(federation.is_some());
                match federation {
                    Some((id, name)) => {
                        tracing::warn!(%peer, "peer belongs to the federation `{name}` ({id}), not to ours")
                    }
                    None => tracing::debug!(%peer, "peer is no station of a federation"),
                }
            }
        }
    }

    fn on_request(&self, peer: StationId, data: Vec<u8>, respond: Responder) {
        let is_allowed = self.allowances.lock().unwrap_or_else(PoisonError::into_inner).allows(&peer, clock::now());
        let permit = Arc::clone(&self.answers).try_acquire_owned();
        let (Ok(permit), true) = (permit, is_allowed) else {
            respond.send(encode(&Response::Busy));
            return;
        };
        let exchange = self.clone();
        tokio::spawn(async move {
            exchange.answer(peer, data, respond).await;
            drop(permit);
        });
    }

    async fn answer(&self, peer: StationId, data: Vec<u8>, respond: Responder) {
        let request = match Request::decode(&data) {
            Ok(request) => request,
            Err(error) => return self.ban(peer, format!("sent a request that cannot be read: {error}")).await,
        };
        let answer = if request.is_about_blocks() {
            let reader = self.reader.clone();
            let answer_from = move |reader: &StoreReader| answer_about_blocks(&Blocks(reader), &request);
            let read = move || reader.consistent(answer_from).map(|answer| encode(&answer));
            match tokio::task::spawn_blocking(read).await {
                Ok(answer) => answer,
                Err(_) => return,
            }
        } else {
            let ask = move |state: &_| answer_about_pending(state, &peer, &request).map(|answer| encode(&answer));
            match self.service.query(ask).await {
                Ok(answer) => answer,
                Err(_) => return,
            }
        };
        // Our own trouble: the asker gets no answer, and the service stops by itself.
        let Ok(answer) = answer else { return };
        let bytes = answer.len() as u64;
        self.allowances.lock().unwrap_or_else(PoisonError::into_inner).draw(&peer, bytes, clock::now());
        respond.send(answer);
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
                tokio::spawn(async move { exchange.sync(peer).await });
            }
            Order::FetchBatches { peer, block, indexes } => {
                let request = Request::BlockBatches { block, indexes };
                self.fetch(peer, request, move |batches| Input::FetchedBatches { block, from: peer, batches });
            }
            Order::FetchLog { peer, station, from } => {
                let request = Request::Logs { from: vec![(station, from)] };
                self.fetch(peer, request, move |batches| Input::FetchedLog { from: peer, batches });
            }
            Order::Ban { peer, reason } => self.ban(peer, reason).await,
        }
    }

    async fn publish(&self, topic: Topic, data: Vec<u8>) {
        if let Err(error) = self.network.publish(topic, data).await {
            tracing::warn!("not gossiped: {error}");
        }
    }

    /// Asks a peer for batches; what it gives, or nothing, goes to the service.
    fn fetch(
        &self,
        peer: StationId,
        request: Request,
        input: impl FnOnce(Vec<qfzz_ledger_core::batch::SignedBatch>) -> Input + Send + 'static,
    ) {
        let (exchange, permit) = (self.clone(), Arc::clone(&self.fetches).try_acquire_owned());
        tokio::spawn(async move {
            let session = Session::new(exchange.network.clone(), peer, Arc::clone(&exchange.heads));
            // Without a permit nothing is asked: a sync closes the gap.
            let answer = match &permit {
                Ok(_) => session.request(request).await.ok(),
                Err(_) => None,
            };
            let batches = match answer {
                Some(Response::Batches(batches)) => batches,
                _ => Vec::new(),
            };
            exchange.service.tell(input(batches)).await;
        });
    }

    /// Parts with a peer for ten minutes.
    async fn ban(&self, peer: StationId, reason: String) {
        self.told.metrics.banned();
        tracing::warn!(%peer, "peer {reason}: parting with it for {} minutes", BAN.as_secs() / 60);
        self.network.disconnect(peer, &reason).await;
        self.network.block(peer).await;
        let network = self.network.clone();
        tokio::spawn(async move {
            tokio::time::sleep(BAN).await;
            network.unblock(peer).await;
        });
    }
}
