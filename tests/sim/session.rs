//! `sync_with` inside the simulator: how it reaches the peer over the virtual network, and this station's state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;
use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::{SignedBlock, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, StationId};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::time::Timestamp;
use qfzz_node::service::effect::{Input, Token};
use qfzz_node::service::state::State;
use qfzz_node::store::MemoryReader;
use qfzz_sync::alive::Statement;
use qfzz_sync::message::{Request, Response};
use qfzz_sync::peer::{PeerSession, SessionError, Traffic};
use qfzz_sync::plan::Anchor;
use qfzz_sync::report::Fault;
use qfzz_sync::session::{Handed, Here, Stopped, SyncSink, SyncView, Taken, sync_with};

use crate::exchange::Waiting;
use crate::world::{Event, World};

/// Where the answer to a request of a sync goes.
pub(crate) type AnswerTo = oneshot::Sender<Result<(Response, Traffic), SessionError>>;

/// What a sync wants of the simulator.
pub(crate) enum Wish {
    Ask { peer: StationId, request: Request, answer_to: AnswerTo },
    Pause { millis: i64, until: oneshot::Sender<()> },
    Blocks { blocks: Vec<VerifiedBlock>, taken: oneshot::Sender<Handed> },
    Batches { peer: StationId, batches: Vec<SignedBatch>, taken: oneshot::Sender<Handed> },
}

/// A running station's state, and what its syncs want.
pub(crate) struct Node {
    pub(crate) state: State<MemoryReader>,
    /// The station's clock.
    pub(crate) now: Timestamp,
    pub(crate) wishes: Vec<Wish>,
}

/// A running station as it and its syncs see it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Node>>);

impl Shared {
    pub(crate) fn new(state: State<MemoryReader>, now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Node { state, now, wishes: Vec::new() })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Node> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One sync's two ends: the peer, and this station.
pub(crate) struct Session {
    peer: StationId,
    node: Shared,
    rules: Arc<Rules>,
    traffic: Mutex<Traffic>,
}

impl Session {
    pub(crate) fn new(peer: StationId, node: Shared, rules: Arc<Rules>) -> Self {
        Self { peer, node, rules, traffic: Mutex::default() }
    }

    fn wish(&self, wish: Wish) {
        self.node.lock().wishes.push(wish);
    }
}

impl PeerSession for Session {
    fn peer(&self) -> StationId {
        self.peer
    }

    async fn request(&self, request: Request) -> Result<Response, SessionError> {
        let (answer_to, answer) = oneshot::channel();
        self.wish(Wish::Ask { peer: self.peer, request, answer_to });
        let (response, moved) = answer.await.unwrap_or(Err(SessionError::Disconnected))?;
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.bytes_in += moved.bytes_in;
        traffic.bytes_out += moved.bytes_out;
        Ok(response)
    }

    fn traffic(&self) -> Traffic {
        *self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SyncView for Session {
    fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    fn now(&self) -> Timestamp {
        self.node.lock().now
    }

    fn cpu_ms(&self) -> u64 {
        // Virtual time costs none.
        0
    }

    async fn pause(&self, millis: u64) {
        let (until, waited) = oneshot::channel();
        self.wish(Wish::Pause { millis: i64::try_from(millis).unwrap_or(i64::MAX), until });
        // A station that stopped meanwhile drops this sync as well.
        let _ = waited.await;
    }

    async fn must_give_way(&self) -> Result<bool, Stopped> {
        let node = self.node.lock();
        Ok(node.state.must_give_way(node.now))
    }

    async fn alive(&self) -> Result<Option<Statement>, Stopped> {
        let node = self.node.lock();
        Ok(node.state.alive(node.now))
    }

    async fn here(&self) -> Result<Here, Stopped> {
        self.node.lock().state.here().map_err(|_| Stopped)
    }

    async fn anchor(&self, hash: BlockHash) -> Result<Option<Anchor>, Stopped> {
        Ok(self.node.lock().state.anchor(&hash))
    }

    async fn unknown(&self, hashes: Vec<BlockHash>) -> Result<Vec<BlockHash>, Stopped> {
        Ok(self.node.lock().state.unknown(hashes))
    }

    async fn log_ends(&self, stations: Vec<StationId>) -> Result<Vec<Option<LogEnd>>, Stopped> {
        self.node.lock().state.log_ends(&stations).map_err(|_| Stopped)
    }

    async fn may_produce(&self, parent: BlockHash, producer: StationId) -> Result<bool, Stopped> {
        self.node.lock().state.may_produce(&parent, &producer).map_err(|_| Stopped)
    }
}

impl SyncSink for Session {
    async fn verify(&self, blocks: Vec<SignedBlock>) -> Result<Vec<VerifiedBlock>, Fault> {
        let known = HashMap::new();
        let verified = blocks.into_iter().map(|block| block.verify(&self.rules, &known));
        verified.collect::<Result<_, _>>().map_err(|error| Fault::Block(error.into()))
    }

    async fn blocks(&self, _peer: StationId, blocks: Vec<VerifiedBlock>) -> Handed {
        let (taken, answer) = oneshot::channel();
        self.wish(Wish::Blocks { blocks, taken });
        answer.await.unwrap_or_else(|_| (Taken::default(), Err(Fault::Here)))
    }

    async fn batches(&self, peer: StationId, batches: Vec<SignedBatch>) -> Handed {
        let (taken, answer) = oneshot::channel();
        self.wish(Wish::Batches { peer, batches, taken });
        answer.await.unwrap_or_else(|_| (Taken::default(), Err(Fault::Here)))
    }
}

impl World {
    pub(crate) fn start_sync_with(&mut self, number: usize, peer: StationId) {
        let Some(running) = &self.stations[number].running else { return };
        let other = self.numbers[&peer];
        let session = Session::new(peer, running.node.clone(), Arc::clone(&self.rules));
        self.tasks.spawn(number, async move { sync_with(&session, &session, &session).await });
        self.line(format_args!("s{number} syncs with s{other}"));
    }

    /// Lets all syncs go on that can.
    pub(crate) fn run_tasks(&mut self) {
        while let Some((number, report)) = self.tasks.poll_next() {
            let Some(running) = &self.stations[number].running else { continue };
            let wishes = std::mem::take(&mut running.node.lock().wishes);
            for wish in wishes {
                self.grant(number, wish);
            }
            if let Some(report) = report {
                self.input(number, Input::SyncEnded(Box::new(report)));
            }
        }
    }

    fn grant(&mut self, number: usize, wish: Wish) {
        match wish {
            Wish::Ask { peer, request, answer_to } => self.ask(number, peer, &request, Waiting::Sync(answer_to)),
            Wish::Pause { millis, until } => self.after(millis, Event::PauseEnds { until }),
            Wish::Blocks { blocks, taken } => {
                let token = self.wait_for(number, taken);
                self.input(number, Input::SyncedBlocks { token, blocks });
            }
            Wish::Batches { peer, batches, taken } => {
                let token = self.wait_for(number, taken);
                let checked = self.verify(batches);
                self.input(number, Input::SyncedBatches { token, peer, checked });
            }
        }
    }

    fn wait_for(&mut self, number: usize, taken: oneshot::Sender<Handed>) -> Token {
        let token = self.clients.next_token();
        if let Some(running) = &mut self.stations[number].running {
            running.syncs.insert(token, taken);
        }
        token
    }
}
