//! A station without a ledger, in the test's own process.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::{Genesis, Rules};
use qfzz_ledger_core::header::Work;
use qfzz_ledger_core::ids::{Height, Name, StationId};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_node::network::{self, NetworkConfig, NetworkEvent, NetworkHandle, Topic};
use qfzz_sync::message::{Request, Response, Status};
use qfzz_sync::opinion::Question;
use tokio::runtime::Runtime;

use super::Daemon;

/// The rules of a daemon's federation.
///
/// # Panics
/// If it has none.
pub fn rules_of(daemon: &Daemon) -> Arc<Rules> {
    let genesis = fs::read(daemon.data_dir().join("genesis")).expect("a member has a genesis");
    Arc::new(Rules::new(Genesis::decode(&genesis).expect("a genesis")).expect("a valid genesis"))
}

/// What it says when it is asked for an opinion, and after which time.
type Says = Box<dyn Fn(Question) -> (Duration, Response) + Send>;

/// A station that speaks libp2p and publishes whatever it is told to. Asked, it knows of genesis alone.
pub struct Ledgerless {
    runtime: Runtime,
    network: NetworkHandle,
    /// Whether anybody has subscribed to what it publishes.
    is_heard: Arc<AtomicBool>,
    _home: tempfile::TempDir,
}

impl Ledgerless {
    /// Starts it under a key made of `seed`.
    ///
    /// # Panics
    /// If the network cannot be started.
    pub fn start(rules: &Arc<Rules>, seed: u8) -> Self {
        Self::start_saying(rules, seed, Box::new(|_| (Duration::ZERO, Response::Unknown)))
    }

    /// As [`start`](Self::start); asked for an opinion it `says` whatever that makes up.
    ///
    /// # Panics
    /// If the network cannot be started.
    pub fn start_saying(rules: &Arc<Rules>, seed: u8, says: Says) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        let runtime = Runtime::new().expect("a runtime can be made");
        let is_heard = Arc::new(AtomicBool::new(false));
        let hears = Arc::clone(&is_heard);
        let network = runtime.block_on(async {
            let config = NetworkConfig {
                seed: [seed; 32],
                federation: rules.federation(),
                name: Name::new("ledgerless").expect("a name"),
                federation_name: rules.parameters().name.clone(),
                genesis: rules.genesis().encode(),
                listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a multiaddress")],
                join: Vec::new(),
                mdns: false,
                address_book: home.path().join("peers"),
                remembers_callers: Arc::new(AtomicBool::new(true)),
            };
            let (network, mut events) = network::start(config).expect("the network starts");
            let rules = Arc::clone(rules);
            tokio::spawn(async move {
                while let Some(event) = events.recv().await {
                    let (data, respond) = match event {
                        NetworkEvent::Request { data, respond, .. } => (data, respond),
                        NetworkEvent::Subscribed { .. } => {
                            hears.store(true, Ordering::Release);
                            continue;
                        }
                        _ => continue,
                    };
                    match Request::decode(&data) {
                        Ok(Request::Opinion(question)) => {
                            let (after, said) = says(question);
                            tokio::spawn(async move {
                                tokio::time::sleep(after).await;
                                respond.send(encode(&said));
                            });
                        }
                        _ => respond.send(encode(&answer(&rules, &data))),
                    }
                }
            });
            network
        });
        Self { runtime, network, is_heard, _home: home }
    }

    /// Its id.
    pub fn station(&self) -> StationId {
        self.network.station()
    }

    /// Whether the daemon at an address answers its call.
    ///
    /// # Panics
    /// If that is no multiaddress.
    pub fn dial(&self, address: &str) -> bool {
        let address = address.parse().expect("a multiaddress");
        self.runtime.block_on(self.network.dial(address)).is_ok()
    }

    /// Gossips the encoding of a batch, or what passes for one.
    ///
    /// # Errors
    /// Where nobody listens, or its own network has too much to do.
    pub fn publish(&self, data: Vec<u8>) -> Result<(), String> {
        if !self.is_heard.load(Ordering::Acquire) {
            return Err("nobody has subscribed".to_owned());
        }
        self.runtime.block_on(self.network.publish(Topic::Batches, data)).map_err(|error| error.to_string())
    }

    /// Asks a connected station.
    ///
    /// # Errors
    /// Why there is no answer that can be read.
    pub fn ask(&self, station: StationId, request: &Request) -> Result<Response, String> {
        let answer = self.runtime.block_on(self.network.request(station, encode(request)));
        Response::decode(&answer.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    /// Whether anybody is connected.
    pub fn is_connected(&self) -> bool {
        !self.runtime.block_on(self.network.peers()).is_empty()
    }
}

fn answer(rules: &Rules, request: &[u8]) -> Response {
    match Request::decode(request) {
        Ok(Request::Status { .. }) => Response::Status(Status {
            federation: rules.federation(),
            head: rules.genesis_hash(),
            height: Height::ZERO,
            work: Work::ZERO,
            pending: [0; 32],
            your_log: LogEnd::EMPTY,
            other_run: None,
        }),
        Ok(Request::Pending { .. }) => Response::Pending(Vec::new()),
        _ => Response::Unknown,
    }
}
