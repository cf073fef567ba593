//! The network: libp2p behind a handle and a channel of events.
//!
//! It bounds what strangers send and decodes nothing of it: payloads are bytes. It decides only what libp2p leaves to
//! the program: whom to dial and when, and who belongs to our federation.
//!
//! [`start`] spawns the one task that owns the swarm. Commands go in through a [`NetworkHandle`], events come out of a
//! bounded channel. The task never waits for the events to be read: gossip that finds no room is left out (sync closes
//! the gap), everything else is kept in bounded numbers.

mod address_book;
mod behaviour;
mod conduct;
mod event;
mod gate;
pub mod genesis;
mod gossip;
mod handle;
mod handshakes;
mod links;
mod muxer;
pub(crate) mod names;
mod peers;
mod session;
mod transport;
mod watch;
mod worker;

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use qfzz_ledger_core::ids::{FederationId, Name};
use tokio::sync::mpsc;

pub(crate) use address_book::names_others;
pub use behaviour::BuildError;
pub use event::{MessageRef, Misconduct, NetworkEvent, Responder, Topic, Verdict};
pub use handle::{DialError, Direction, JoinTrouble, NetworkHandle, PeerInfo, PublishError, RequestError};
pub use session::FrameError;

use session::MAX_GENESIS_BYTES;

/// Bytes of a request, at most.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Bytes of an answer, at most: 2 MiB, and what a message adds around that.
pub const MAX_RESPONSE_BYTES: usize = 2 * 1024 * 1024 + 1024;

/// How long a request may take, from sending it to the last byte of its answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection attempt of ours may take, handshakes included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Events that may wait for their reader before gossip is left out.
const EVENT_CAPACITY: usize = 512;

/// Commands that may wait for the task.
const COMMAND_CAPACITY: usize = 64;

/// Stations that are remembered, at most: five times the largest federation we expect.
const MAX_KNOWN: usize = 256;

/// Addresses that mDNS may have told of, at most; with more it is turned off, for libp2p keeps all of them.
const MAX_MDNS_ADDRESSES: usize = 1_024;

/// Addresses remembered of one station, at most.
const MAX_ADDRESSES: usize = 8;

/// Bytes of an address, at most: the longest DNS name fits.
pub(crate) const MAX_ADDRESS_BYTES: usize = 288;

/// What the network needs to know.
pub struct NetworkConfig {
    /// Seed of the station's Ed25519 key.
    pub seed: [u8; 32],
    /// The federation whose stations we talk to.
    pub federation: FederationId,
    /// What the station calls itself, told to its peers.
    pub name: Name,
    /// The federation's name, told to stations of other federations.
    pub federation_name: Name,
    /// The answer of `/qfzz/genesis/1`: encoded parameters and nonce, at most 64 KiB and 8 bytes.
    pub genesis: Vec<u8>,
    /// Where to listen, such as `/ip4/0.0.0.0/tcp/4811` and `/ip4/0.0.0.0/udp/4811/quic-v1`.
    pub listen: Vec<Multiaddr>,
    /// Addresses to connect to, and to connect to again whenever the station there is not connected.
    pub join: Vec<Multiaddr>,
    /// Whether to look for stations on the local network, and to be found there.
    pub mdns: bool,
    /// The file that remembers stations across restarts. Created when missing; its directory must exist.
    pub address_book: PathBuf,
    /// Whether that file remembers who called us, too, and not only whom we know from before or found where the operator
    /// said: at the next start they are all familiar. May change while the network runs.
    pub remembers_callers: Arc<AtomicBool>,
}

/// Why the network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The answer of `/qfzz/genesis/1` is too long.
    #[error("the genesis has {bytes} bytes, but at most {MAX_GENESIS_BYTES} are allowed")]
    GenesisTooLarge {
        /// Bytes given.
        bytes: usize,
    },
    /// The swarm could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; give another with --listen or network.listen{}",
        who_listens(source, port_of(address))
    )]
    Listen {
        /// As given.
        address: Multiaddr,
        /// The cause.
        source: io::Error,
    },
}

/// Starts the network on the current tokio runtime. It listens when this returns.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub fn start(config: NetworkConfig) -> Result<(NetworkHandle, mpsc::Receiver<NetworkEvent>), StartError> {
    if config.genesis.len() > MAX_GENESIS_BYTES {
        return Err(StartError::GenesisTooLarge { bytes: config.genesis.len() });
    }
    let keypair = behaviour::keypair(config.seed);
    let names = names::Names::of(config.federation);
    let behaviour = behaviour::behaviour(&keypair, &config, &names)?;
    let mut swarm = behaviour::swarm(keypair, behaviour)?;
    let cannot_listen = |address: &Multiaddr, source| StartError::Listen { address: address.clone(), source };
    // All ports before the first is ours: a test of `::` would find our own `0.0.0.0`.
    for address in &config.listen {
        refuse_taken_port(address).map_err(|source| cannot_listen(address, source))?;
    }
    for address in &config.listen {
        swarm.listen_on(address.clone()).map_err(|error| cannot_listen(address, transport_cause(error)))?;
    }
    Ok(worker::spawn(swarm, names, config))
}

fn port_of(address: &Multiaddr) -> u16 {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    port.unwrap_or(0)
}

/// How to find the program that has `port`, where the trouble is that one has it; else nothing.
pub(crate) fn who_listens(trouble: &io::Error, port: u16) -> String {
    match trouble.kind() {
        io::ErrorKind::AddrInUse => {
            format!(", or stop the program that has this port: `ss -lntup | grep :{port}` names it")
        }
        _ => String::new(),
    }
}

/// Fails if somebody listens on this TCP port already.
///
/// libp2p listens with `SO_REUSEPORT`, so two daemons of one user would share a port, each getting some of the
/// connections, and nobody would be told.
fn refuse_taken_port(address: &Multiaddr) -> io::Result<()> {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port @ 1..))) => TcpListener::bind((ip, port)).map(drop),
        (Some(Protocol::Ip6(ip)), Some(Protocol::Tcp(port @ 1..))) => TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// What is at the bottom of a transport's error: the operating system's, if there is one.
fn transport_cause(error: libp2p::TransportError<io::Error>) -> io::Error {
    match error {
        libp2p::TransportError::MultiaddrNotSupported(_) => {
            io::Error::new(io::ErrorKind::Unsupported, "give an IP address with a TCP or QUIC port")
        }
        libp2p::TransportError::Other(error) => root_cause(error),
    }
}

/// A cause for people: the resolver dumps its query where a name has no address.
fn in_words(cause: String) -> String {
    if cause.starts_with("no records found for Query") {
        "the name does not exist, or has no address".to_owned()
    } else {
        cause
    }
}

/// The operating system's error inside `error`, or the innermost one.
fn root_cause(error: io::Error) -> io::Error {
    fn inner(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
        let below = match error.downcast_ref::<io::Error>() {
            Some(io) => match io.raw_os_error() {
                Some(code) => return Some(io::Error::from_raw_os_error(code)),
                None => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
            },
            None => error.source(),
        };
        match below {
            Some(below) => inner(below),
            None => Some(io::Error::other(in_words(error.to_string()))),
        }
    }
    inner(&error).unwrap_or(error)
}

#[cfg(test)]
mod tests;
