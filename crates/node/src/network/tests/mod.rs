//! The network over real sockets on loopback. Every wait is for an event, with a deadline.

mod dialling;
mod discovery;
mod gossip;
mod latency;
mod requests;
mod rude;

use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use qfzz_ledger_core::ids::{FederationId, Name, StationId};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::names::peer_of;
use super::{NetworkConfig, NetworkEvent, NetworkHandle, start};

/// What stations in these tests are a part of, if nothing else is said.
const FEDERATION: FederationId = FederationId::from_bytes([0xfe; 32]);

/// How long anything may take: several times what a busy machine needs.
const DEADLINE: Duration = Duration::from_secs(15);

/// A station's network, and what it reported that no test has taken yet.
struct Node {
    handle: NetworkHandle,
    events: mpsc::Receiver<NetworkEvent>,
    backlog: VecDeque<NetworkEvent>,
    listening: Multiaddr,
    directory: TempDir,
}

fn address(text: &str) -> Multiaddr {
    text.parse().expect("an address")
}

fn config(seed: u8, directory: &Path) -> NetworkConfig {
    NetworkConfig {
        seed: [seed; 32],
        federation: FEDERATION,
        name: Name::new(format!("Station {seed}")).expect("a name"),
        federation_name: Name::new("Test Federation").expect("a name"),
        genesis: b"the genesis".to_vec(),
        listen: vec![address("/ip4/127.0.0.1/tcp/0")],
        join: Vec::new(),
        mdns: false,
        address_book: directory.join("peers.json"),
        remembers_callers: Arc::new(AtomicBool::new(true)),
    }
}

impl Node {
    /// A station that listens over TCP.
    async fn start(seed: u8) -> Self {
        Self::start_with(seed, |_| {}).await
    }

    /// One whose configuration differs.
    async fn start_with(seed: u8, change: impl FnOnce(&mut NetworkConfig)) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), seed, change).await
    }

    /// One that finds what it left in `directory`.
    async fn start_in(directory: TempDir, seed: u8, change: impl FnOnce(&mut NetworkConfig)) -> Self {
        let mut config = config(seed, directory.path());
        change(&mut config);
        let (handle, events) = start(config).expect("a free port");
        let mut node = Self { handle, events, backlog: VecDeque::new(), listening: Multiaddr::empty(), directory };
        let event = node.expect("to listen", |event| matches!(event, NetworkEvent::Listening(_))).await;
        if let NetworkEvent::Listening(address) = event {
            node.listening = address;
        }
        node
    }

    /// Stops it as a clean end of the program would; what it leaves on disk stays.
    async fn stop(self) -> TempDir {
        self.handle.stop().await;
        self.directory
    }

    fn id(&self) -> StationId {
        self.handle.station()
    }

    /// Its address with its peer id.
    fn full_address(&self) -> Multiaddr {
        self.listening.clone().with(Protocol::P2p(peer_of(self.id())))
    }

    /// Takes the first event, reported before or to come, for which `wanted` holds.
    async fn expect(&mut self, what: &str, wanted: impl Fn(&NetworkEvent) -> bool) -> NetworkEvent {
        if let Some(index) = self.backlog.iter().position(&wanted) {
            return self.backlog.remove(index).expect("the index was found");
        }
        within(what, async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if wanted(&event) {
                    return event;
                }
                self.backlog.push_back(event);
            }
        })
        .await
    }

    async fn connected(&mut self, to: StationId) {
        self.expect("to connect", |event| matches!(event, NetworkEvent::Connected { peer, .. } if *peer == to)).await;
    }

    async fn disconnected(&mut self, from: StationId) {
        self.expect("to disconnect", |event| matches!(event, NetworkEvent::Disconnected { peer } if *peer == from))
            .await;
    }

    async fn subscribed(&mut self, peer: StationId) {
        self.expect("a subscription", |event| matches!(event, NetworkEvent::Subscribed { peer: p } if *p == peer))
            .await;
    }

    /// Takes the message `data` and says who it came from, and how to give the verdict.
    async fn hears(&mut self, data: &[u8]) -> (StationId, super::MessageRef) {
        let event = self
            .expect("a message", |event| matches!(event, NetworkEvent::Gossip { data: found, .. } if found == data))
            .await;
        match event {
            NetworkEvent::Gossip { source, message, .. } => (source, message),
            other => panic!("asked for gossip, got {other:?}"),
        }
    }

    /// Whether something of that kind was reported and not taken yet.
    fn has(&mut self, wanted: impl Fn(&NetworkEvent) -> bool) -> bool {
        while let Ok(event) = self.events.try_recv() {
            self.backlog.push_back(event);
        }
        self.backlog.iter().any(wanted)
    }
}

/// Waits for `outcome`, or fails saying `what` did not happen.
async fn within<T>(what: &str, outcome: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, outcome).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// Waits until `condition` holds, asking again and again.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Two stations, connected and subscribed both ways.
async fn pair() -> (Node, Node) {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    a.handle.dial(b.listening.clone()).await.expect("reachable");
    a.subscribed(b.id()).await;
    b.subscribed(a.id()).await;
    (a, b)
}
