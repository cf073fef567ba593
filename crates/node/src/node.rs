//! A node: the only file that knows all parts.
//!
//! It runs in two phases. Without a federation only the API answers, and the join targets are tried until one gives
//! its genesis. With one, store, service, network and exchange run as one member of it.

mod blocks;
pub(crate) mod checkup;
mod datasets;
mod duties;
mod global;
mod health;
mod importing;
mod joining;
mod member;
mod mending;
mod refusal;
pub(crate) mod roster;
mod station;
mod status;
mod trust;
mod weighing;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use libp2p::Multiaddr;
use qfzz_ledger_core::federation::GenesisError;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::state::ReadError;
use qfzz_ledger_core::time::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::auth::{Access, HostError};
use crate::api::dto::GlobalTrust;
use crate::api::port::{GlobalQuery, PortError, Station};
use crate::api::server::{self, Limits};
use crate::clock;
use crate::config::Config;
use crate::data_dir::{DataDirError, LockedDataDir};
use crate::disk_space;
use crate::events::{Event, Events};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::network;
use crate::quantum::{self, QuantumProvider, QuantumRandomNumberGenerator};
use crate::service::worker::fail;
use crate::store::StoreError;
use crate::ticket::Ticket;

pub(crate) use blocks::CheckProgress;
pub(crate) use member::Member;
pub(crate) use station::StationHandle;

/// How long a stop waits for a join that is under way.
const JOIN_ENDS: Duration = Duration::from_millis(500);

/// Why a node does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file of the data directory cannot be read or written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The genesis on disk cannot be used.
    #[error("genesis: {0}")]
    Genesis(#[from] GenesisError),
    /// The genesis on disk is damaged, and the journal does not hold it either.
    #[error("{} is damaged ({why}): restore it from a backup, or move it away and join the federation again", path.display())]
    GenesisDamaged {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: GenesisError,
    },
    /// The store cannot be opened.
    #[error("{0}")]
    Store(StoreError),
    /// Something in the journal is lost, and no peer is known that could give it.
    #[error("{0}: run `qfzz doctor --repair`, with `network.join` naming a station that can be reached")]
    Damaged(StoreError),
    /// What was lost of the journal did not come back from anybody.
    #[error(
        "the store was damaged and lacks {missing}: no station that could be reached has that. Make sure that one is \
         reachable (`qfzz run --join ADDRESS`) and start again; or go on without it, for good: `qfzz doctor --repair \
         --accept-loss`"
    )]
    Unrepaired {
        /// What is still missing.
        missing: String,
    },
    /// The state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// libp2p cannot start.
    #[error(transparent)]
    Network(#[from] network::StartError),
    /// The API cannot listen.
    #[error(
        "cannot listen on {address} for the API: {source}; give another address with --api-listen or api.listen{}",
        network::who_listens(source, address.port())
    )]
    Api {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// `api.hosts` holds what is no host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The node stopped by itself.
    #[error("{reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What all parts of a node share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) dir: LockedDataDir,
    pub(crate) identity: Identity,
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
    /// Targets to join that did not work the last time.
    pub(crate) failing: health::FailingTargets,
    pub(crate) started_at: Timestamp,
    /// How far the check of the chain is that a caller asked for.
    pub(crate) checking: Arc<blocks::CheckProgress>,
    /// How far the import is that is under way.
    pub(crate) import_progress: Arc<CheckProgress>,
    /// One import at a time.
    importing: Arc<tokio::sync::Mutex<()>>,
    /// Every station's weight in global trust.
    pub(crate) weighing: Arc<weighing::Weighing>,
    /// How much room the data takes.
    pub(crate) meter: Arc<disk_space::Meter>,
    /// The source of random numbers beside the operating system's.
    pub(crate) quantum: QuantumProvider,
    /// The federation that it takes part in, once there is one.
    member: RwLock<Option<Arc<Member>>>,
    /// One join at a time.
    joining: tokio::sync::Mutex<()>,
    /// No join may begin, and none end with a new member.
    stopping: AtomicBool,
    /// Why the node cannot go on, once that is so.
    failure: watch::Sender<Option<String>>,
}

impl Shared {
    /// Stops the node, and says why; the first reason stays.
    fn fail(&self, reason: String) {
        fail(&self.failure, reason);
    }

    /// What the parts of a node share that has not started yet; and where it says why it cannot go on.
    fn new(
        config: Config,
        dir: LockedDataDir,
        identity: Identity,
        quantum: QuantumProvider,
    ) -> (Arc<Self>, watch::Receiver<Option<String>>) {
        let (started_at, (failure, failed)) = (clock::now(), watch::channel(None));
        let shared = Self {
            config,
            dir,
            identity,
            events: Events::starting(Events::CAPACITY, started_at),
            metrics: Arc::default(),
            failing: health::FailingTargets::default(),
            started_at,
            checking: Arc::default(),
            import_progress: Arc::default(),
            weighing: Arc::default(),
            importing: Arc::default(),
            meter: Arc::default(),
            quantum,
            member: RwLock::new(None),
            joining: tokio::sync::Mutex::new(()),
            stopping: AtomicBool::new(false),
            failure,
        };
        (Arc::new(shared), failed)
    }

    /// Tells those who listen for events when the quantum source is dropped.
    fn tell_of_the_quantum_source(&self) {
        let (mut dropped, events) = (self.quantum.dropped(), self.events.clone());
        tokio::spawn(async move {
            // Without a source there is nothing to tell.
            let test = dropped.wait_for(Option::is_some).await.ok().and_then(|test| *test);
            if let Some(test) = test {
                events.publish(Event::QuantumSourceFailed { test });
            }
        });
    }

    pub(crate) fn member(&self) -> Option<Arc<Member>> {
        self.member.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Random numbers, with those of the source mixed in.
    pub(crate) fn qrng(&self) -> QuantumRandomNumberGenerator {
        QuantumRandomNumberGenerator::new(self.quantum.clone())
    }

    /// Where mining begins; `None` where that is not wanted.
    pub(crate) fn mining_qrng(&self) -> Option<QuantumRandomNumberGenerator> {
        self.config.quantum.enabled.then(|| self.qrng())
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn set_member(&self, member: Option<Arc<Member>>) -> Option<Arc<Member>> {
        std::mem::replace(&mut *self.member.write().unwrap_or_else(PoisonError::into_inner), member)
    }
}

/// A node that runs.
pub struct Node {
    shared: Arc<Shared>,
    api: server::Handle,
    join_task: JoinHandle<()>,
    failure: watch::Receiver<Option<String>>,
}

impl Node {
    /// Starts a node on the current multi-threaded tokio runtime. The API listens when this returns, and libp2p too
    /// if the station has a federation or could join one at once.
    ///
    /// # Errors
    /// [`NodeError`]; nothing is left running then.
    pub async fn start(config: Config, dir: LockedDataDir, identity: Identity) -> Result<Self, NodeError> {
        let token = dir.token()?;
        importing::tidy(&dir);
        let genesis = mending::whole_genesis(&dir)?;
        let address = config.api.listen.get();
        let cannot_listen = |source| NodeError::Api { address, source };
        let listener = TcpListener::bind(address).await.map_err(cannot_listen)?;
        let bound = listener.local_addr().map_err(cannot_listen)?;
        let hosts: Vec<String> = config.api.hosts.iter().map(|host| host.as_str().to_owned()).collect();
        let access = Access::new(token, bound, &hosts)?;

        let quantum = QuantumProvider::start(quantum::Settings::of(&config.quantum, &dir));
        let (shared, failed) = Shared::new(config, dir, identity, quantum);
        shared.tell_of_the_quantum_source();
        let targets = shared.config.network.join.clone();
        if let Some(genesis) = genesis {
            let member = mending::start(&shared, genesis).await?;
            shared.set_member(Some(member));
        }
        let mut join_task = tokio::spawn(joining::join_targets(Arc::clone(&shared), targets));
        // Whoever starts a node to join another one wants to see where it listens.
        let _ = tokio::time::timeout(joining::FIRST_TRY, &mut join_task).await;
        let api = server::start(listener, StationHandle::new(Arc::clone(&shared)), access, Limits::default());
        match api {
            Ok(api) => Ok(Self { shared, api, join_task, failure: failed }),
            Err(source) => {
                join_task.abort();
                if let Some(member) = shared.set_member(None) {
                    member.stop().await;
                }
                Err(cannot_listen(source))
            }
        }
    }

    /// The station that it is.
    pub fn station_id(&self) -> StationId {
        self.shared.identity.station_id()
    }

    /// Where libp2p listens, with the peer id; none without a federation.
    pub async fn addresses(&self) -> Vec<Multiaddr> {
        match self.shared.member() {
            Some(member) => member.addresses().await,
            None => Vec::new(),
        }
    }

    /// Whether this node has a federation.
    pub fn has_federation(&self) -> bool {
        self.shared.member().is_some()
    }

    /// What others join with; `None` before this node has a federation.
    pub async fn ticket(&self) -> Option<Ticket> {
        self.shared.member()?.ticket().await
    }

    /// Where the HTTP API listens.
    pub fn api_address(&self) -> SocketAddr {
        self.api.address()
    }

    /// The node as a client in the same process uses it: as the HTTP API does, on the same paths.
    pub fn station(&self) -> impl Station + use<> {
        StationHandle::new(Arc::clone(&self.shared))
    }

    /// How far `subject` is trusted by the opinions of these stations, or of all that take part where none is named; under
    /// the policy of the settings. The same at every station with the same head.
    ///
    /// # Errors
    /// [`PortError`].
    pub async fn get_global_trust(&self, subject: &Subject, stations: &[StationId]) -> Result<GlobalTrust, PortError> {
        self.ask_globally(subject, stations, false).await
    }

    /// The same, with what these stations say now, or the connected ones that weigh something: each is asked at once and has
    /// 3 s, all have 5 s; what waits for a block there counts. For those that don't answer, or wrongly, their opinion at the
    /// head stands. The answer is this station's alone.
    ///
    /// # Errors
    /// [`PortError`].
    pub async fn get_live_global_trust(
        &self,
        subject: &Subject,
        stations: &[StationId],
    ) -> Result<GlobalTrust, PortError> {
        self.ask_globally(subject, stations, true).await
    }

    async fn ask_globally(&self, subject: &Subject, nodes: &[StationId], live: bool) -> Result<GlobalTrust, PortError> {
        let nodes = (!nodes.is_empty()).then(|| nodes.iter().copied().collect());
        let query = GlobalQuery { subject: subject.clone(), nodes, policy: None, live, explain: false };
        StationHandle::new(Arc::clone(&self.shared)).trust_globally(query).await
    }

    /// Closes the connections to a station and refuses new ones both ways, until [`meet`](Self::meet).
    pub async fn part_from(&self, station: StationId) {
        if let Some(member) = self.shared.member() {
            member.network.block(station).await;
        }
    }

    /// Lets a station connect again, and calls it.
    pub async fn meet(&self, station: StationId) {
        if let Some(member) = self.shared.member() {
            member.network.unblock(station).await;
        }
    }

    /// Waits until the node stops by itself, which it does only when it cannot go on.
    pub async fn failed(&mut self) -> NodeError {
        match self.failure.wait_for(Option::is_some).await {
            Ok(reason) => NodeError::Failed { reason: reason.clone().unwrap_or_default() },
            // The sender lives as long as this node.
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops the node: nothing of it runs when this returns, and what was acknowledged is on disk.
    pub async fn stop(self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.join_task.abort();
        self.api.stop().await;
        // A join under way ends by itself; one that waits for a stranger's answer is not waited for.
        let _no_join = tokio::time::timeout(JOIN_ENDS, self.shared.joining.lock()).await;
        if let Some(member) = self.shared.set_member(None) {
            member.stop().await;
        }
        // It kills the helper, and waits no longer than that takes.
        self.shared.quantum.stop();
    }
}
