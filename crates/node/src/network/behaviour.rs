//! The swarm: which protocols a station of a federation speaks, and within which limits.

use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{Swarm, allow_block_list, identify, kad, mdns, memory_connection_limits, noise, ping, swarm};

use super::gate::Gate;
use super::names::{self, Names};
use super::{NetworkConfig, gossip, session, transport, watch};

/// Part of the machine's memory above which no connection is accepted any more.
const MAX_MEMORY_SHARE: f64 = 0.9;

/// How long a connection that nothing uses stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Streams of one connection whose protocol is being negotiated, at most; others wait. Each has 10 s for it.
const MAX_NEGOTIATING: usize = 32;

/// How often a connection is tested, and how long an answer may take before it counts as dead.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How often stations are looked for beyond each new peer's arrival.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(60);

/// What a station of a federation speaks.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    // The limits come first: what they refuse must not reach the others.
    pub(super) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(super) gate: Gate,
    pub(super) memory: memory_connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) gossip: watch::Behaviour,
    pub(super) sync: session::Behaviour,
    pub(super) genesis: session::Behaviour,
    pub(super) invite: session::Behaviour,
}

/// Why a swarm could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The key pair could not be used for encryption.
    #[error("cannot set up encryption: {source}")]
    Encryption {
        /// The cause.
        source: noise::Error,
    },
    /// The system's DNS configuration could not be read.
    #[error("cannot read the system's DNS configuration: {source}")]
    Dns {
        /// The cause.
        source: std::io::Error,
    },
    /// The thread for handshakes could not be started.
    #[error("cannot start the thread for handshakes: {source}")]
    Thread {
        /// The cause.
        source: std::io::Error,
    },
    /// The network's interfaces cannot be watched.
    #[error("cannot look for stations on the local network: {source}; turn network.mdns off")]
    Mdns {
        /// The cause.
        source: std::io::Error,
    },
    /// A protocol refused its configuration.
    #[error("cannot set up gossip: {reason}")]
    Gossip {
        /// The cause.
        reason: &'static str,
    },
}

/// The key pair of a station's seed.
pub(super) fn keypair(seed: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(seed).expect("any 32 bytes are an Ed25519 seed")
}

/// A swarm over TCP + Noise + Yamux and QUIC, by IP address or DNS name. Needs a tokio runtime.
pub(super) fn swarm<B: NetworkBehaviour>(keypair: Keypair, behaviour: B) -> Result<Swarm<B>, BuildError> {
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING);
    Ok(Swarm::new(transport::transport(&keypair)?, behaviour, keypair.public().to_peer_id(), config))
}

/// Identify with the given protocol and agent version.
pub(super) fn identify(keypair: &Keypair, protocol_version: String, agent: String) -> identify::Behaviour {
    let config = identify::Config::new(protocol_version, keypair.public())
        .with_agent_version(agent)
        .with_push_listen_addr_updates(true)
        // The peer table keeps the addresses that may be dialled; strangers' have no place here.
        .with_cache_size(0);
    identify::Behaviour::new(config)
}

/// Ping.
pub(super) fn ping() -> ping::Behaviour {
    ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_INTERVAL))
}

/// Kademlia, for finding stations only: nobody can store anything in it.
fn kad(keypair: &Keypair, names: &Names) -> kad::Behaviour<MemoryStore> {
    let peer = keypair.public().to_peer_id();
    let mut config = kad::Config::new(names.kad.clone());
    config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_periodic_bootstrap_interval(Some(DISCOVERY_INTERVAL));
    let mut kad = kad::Behaviour::with_config(peer, MemoryStore::new(peer), config);
    // Left to itself a station on loopback or behind NAT would stay a client, and nobody would ever be found.
    kad.set_mode(Some(kad::Mode::Server));
    kad
}

/// mDNS where it is turned on.
fn mdns(keypair: &Keypair, is_on: bool) -> Result<Toggle<mdns::tokio::Behaviour>, BuildError> {
    let peer = keypair.public().to_peer_id();
    let behaviour = is_on.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer)).transpose();
    behaviour.map(Toggle::from).map_err(|source| BuildError::Mdns { source })
}

/// What a station of a federation speaks.
pub(super) fn behaviour(keypair: &Keypair, config: &NetworkConfig, names: &Names) -> Result<Behaviour, BuildError> {
    Ok(Behaviour {
        blocked: allow_block_list::Behaviour::default(),
        gate: Gate::new(),
        memory: memory_connection_limits::Behaviour::with_max_percentage(MAX_MEMORY_SHARE),
        identify: identify(
            keypair,
            names::introduce(config.federation, &config.federation_name),
            names::agent(&config.name),
        ),
        ping: ping(),
        kad: kad(keypair, names),
        mdns: mdns(keypair, config.mdns)?,
        gossip: gossip::behaviour(names).map_err(|reason| BuildError::Gossip { reason })?,
        sync: session::sync(names.sync.clone()),
        genesis: session::genesis(),
        invite: session::invite(names.invite.clone()),
    })
}
