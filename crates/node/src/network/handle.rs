//! The network as its users see it: a handle that sends commands to the task that owns the swarm.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libp2p::Multiaddr;
use qfzz_ledger_core::ids::{FederationId, Name, StationId};
use qfzz_ledger_core::limits::MAX_GOSSIP_BYTES;
use qfzz_ledger_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::MAX_REQUEST_BYTES;
use super::event::{MessageRef, Topic, Verdict};
use super::session::FrameError;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer dialled us.
    Inbound,
    /// We dialled the peer.
    Outbound,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// A connected station of our federation.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Who.
    pub station: StationId,
    /// Where its first connection leads, without peer id.
    pub address: Multiaddr,
    /// Since when.
    pub connected_since: Timestamp,
    /// Who opened its first connection.
    pub direction: Direction,
    /// Round trip of the last ping; `None` before the first.
    pub ping: Option<Duration>,
    /// What it calls itself, once it has told.
    pub name: Option<Name>,
    /// Where it can be dialled, as it says, once it has told; without peer id.
    pub listens_at: Option<Multiaddr>,
}

/// An address to join that did not work the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTrouble {
    /// As given.
    pub address: Multiaddr,
    /// What the last attempt ended with.
    pub why: String,
    /// The federation of the station there, if that is the trouble.
    pub foreign: Option<(FederationId, Name)>,
}

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Longer than gossip carries.
    #[error("the message has {bytes} bytes, but gossip carries at most {MAX_GOSSIP_BYTES}")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
    },
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No answer within 20 s.
    #[error("the station did not answer in time")]
    Timeout,
    /// Not connected, or the connection closed before the answer.
    #[error("the station is not connected")]
    Disconnected,
    /// It does not speak our federation's protocol for requests.
    #[error("the station does not speak this federation's protocol")]
    Unsupported,
    /// It closed the stream without an answer.
    #[error("the station refused to answer")]
    Refused,
    /// Its answer is too large or was cut off: its fault.
    #[error("the station's answer is malformed: it {error}")]
    Malformed {
        /// What is wrong with it.
        error: FrameError,
    },
    /// The stream failed, or too many requests are in flight to this station.
    #[error("the stream to the station failed: {kind}")]
    Broken {
        /// What kind of failure.
        kind: io::ErrorKind,
    },
    /// Our request is longer than requests may be; it was not sent.
    #[error("the request has {bytes} bytes, but at most {MAX_REQUEST_BYTES} are allowed")]
    TooLarge {
        /// Bytes given.
        bytes: usize,
    },
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

impl RequestError {
    /// Whether the peer is to blame, beyond being slow or gone.
    pub fn is_peers_fault(&self) -> bool {
        matches!(self, Self::Malformed { .. })
    }

    /// Whether it is what a request comes to whose connection is closed under it.
    pub(super) fn may_be_the_connections(&self) -> bool {
        matches!(self, Self::Disconnected | Self::Refused | Self::Broken { .. })
    }
}

/// Why a dial did not end in a connection to a station of our federation.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address is our own.
    #[error("this is the station's own address")]
    Ourselves,
    /// Not an address to dial: it needs a host and a TCP or UDP port.
    #[error("cannot dial {address}: give an address such as /ip4/192.0.2.1/tcp/4811")]
    NotDialable {
        /// As given.
        address: Multiaddr,
    },
    /// Nobody answers there.
    #[error("cannot reach {address}: {source}")]
    Unreachable {
        /// As given.
        address: Multiaddr,
        /// What the connection attempt ended with.
        source: io::Error,
    },
    /// Another station answers there.
    #[error("{found} answers there, not {expected}")]
    WrongStation {
        /// The station that the address names.
        expected: StationId,
        /// Who answered, as a peer id.
        found: String,
    },
    /// The station belongs to another federation.
    #[error("{station} belongs to the federation \"{name}\" ({id}), not to ours")]
    OtherFederation {
        /// Who answered.
        station: StationId,
        /// The name of its federation, as it says.
        name: Name,
        /// The id of its federation, as it says.
        id: FederationId,
    },
    /// What answers is no station of any federation.
    #[error("what answers there is not a station of a federation")]
    NotAStation,
    /// We refuse this station.
    #[error("this station is blocked")]
    Blocked,
    /// We hold as many connections as we may.
    #[error("too many connections: disconnect others first")]
    TooManyConnections,
    /// The connection closed before the peer said who it is.
    #[error("the connection was closed before the station said who it is")]
    Closed,
    /// The peer did not say who it is in time.
    #[error("the station did not say who it is in time")]
    Timeout,
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

/// What the handle asks of the task.
pub(super) enum Command {
    Publish { topic: Topic, data: Vec<u8> },
    Verdict { message: MessageRef, verdict: Verdict },
    LeaveOut { message: MessageRef },
    Request { peer: StationId, data: Vec<u8>, respond_to: oneshot::Sender<Result<Vec<u8>, RequestError>> },
    Dial { address: Multiaddr, respond_to: oneshot::Sender<Result<StationId, DialError>> },
    Disconnect { peer: StationId, reason: String, respond_to: oneshot::Sender<()> },
    Block { peer: StationId, respond_to: oneshot::Sender<()> },
    Unblock { peer: StationId, respond_to: oneshot::Sender<()> },
    Peers { respond_to: oneshot::Sender<Vec<PeerInfo>> },
    JoinTroubles { respond_to: oneshot::Sender<Vec<JoinTrouble>> },
    Listeners { respond_to: oneshot::Sender<Vec<Multiaddr>> },
    Stop { respond_to: oneshot::Sender<()> },
}

/// Commands the network. Cheap to clone; when the last one is dropped the network stops.
///
/// No command waits for events to be read, so whoever reads them may also command.
#[derive(Clone)]
pub struct NetworkHandle {
    pub(super) station: StationId,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) dropped_gossip: Arc<AtomicU64>,
}

impl NetworkHandle {
    /// Our own station.
    pub fn station(&self) -> StationId {
        self.station
    }

    /// Gossiped messages that were left out because there were too many to look at.
    pub fn dropped_gossip(&self) -> u64 {
        self.dropped_gossip.load(Ordering::Relaxed)
    }

    /// Publishes at most `MAX_GOSSIP_BYTES` to all peers that subscribed. Without peers nothing happens, and what was
    /// published within the last minute is not published again.
    ///
    /// # Errors
    /// [`PublishError`]; success means handed over, not heard by anyone.
    pub async fn publish(&self, topic: Topic, data: Vec<u8>) -> Result<(), PublishError> {
        if data.len() > MAX_GOSSIP_BYTES {
            return Err(PublishError::TooLarge { bytes: data.len() });
        }
        self.commands.send(Command::Publish { topic, data }).await.map_err(|_| PublishError::Stopped)
    }

    /// Says what becomes of a gossiped message.
    pub async fn verdict(&self, message: MessageRef, verdict: Verdict) {
        // When the network has stopped nothing is left to forward or to blame.
        let _ = self.commands.send(Command::Verdict { message, verdict }).await;
    }

    /// Says that nobody looks at a gossiped message, because there are too many.
    pub async fn leave_out(&self, message: MessageRef) {
        // When the network has stopped nothing is left to forward.
        let _ = self.commands.send(Command::LeaveOut { message }).await;
    }

    /// Sends a request to a connected station and waits for its answer, at most 20 s.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, peer: StationId, data: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        if data.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge { bytes: data.len() });
        }
        self.ask(|respond_to| Command::Request { peer, data, respond_to }).await.unwrap_or(Err(RequestError::Stopped))
    }

    /// Connects to a station by address, with or without its peer id, and waits until it has said that it belongs to
    /// our federation: at most 20 s. A station that is connected already is a success.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, address: Multiaddr) -> Result<StationId, DialError> {
        self.ask(|respond_to| Command::Dial { address, respond_to }).await.unwrap_or(Err(DialError::Stopped))
    }

    /// Closes the connections to a station and does not dial it for half a minute; it may come back by itself.
    /// `reason` is for the log.
    pub async fn disconnect(&self, peer: StationId, reason: impl fmt::Display) {
        let reason = reason.to_string();
        self.ask(|respond_to| Command::Disconnect { peer, reason, respond_to }).await;
    }

    /// Closes the connections to a station and refuses new ones both ways until [`unblock`](Self::unblock) or a
    /// restart. Of more than 1,024 blocked stations the oldest is let in again.
    pub async fn block(&self, peer: StationId) {
        self.ask(|respond_to| Command::Block { peer, respond_to }).await;
    }

    /// Lets a blocked station connect again, and dials it if an address is known.
    pub async fn unblock(&self, peer: StationId) {
        self.ask(|respond_to| Command::Unblock { peer, respond_to }).await;
    }

    /// The connected stations of our federation, ordered by id.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        self.ask(|respond_to| Command::Peers { respond_to }).await.unwrap_or_default()
    }

    /// The addresses to join that did not work the last time.
    pub async fn join_troubles(&self) -> Vec<JoinTrouble> {
        self.ask(|respond_to| Command::JoinTroubles { respond_to }).await.unwrap_or_default()
    }

    /// The addresses at which peers can reach us, without our peer id.
    pub async fn listeners(&self) -> Vec<Multiaddr> {
        self.ask(|respond_to| Command::Listeners { respond_to }).await.unwrap_or_default()
    }

    /// Lets answers and messages under way leave, closes all connections, writes the address book; returns when all
    /// that is done, after about a second at most. Requests of ours that are open end with an error.
    pub async fn stop(&self) {
        self.ask(|respond_to| Command::Stop { respond_to }).await;
    }

    /// Sends a command and waits for its reply; `None` when the network has stopped.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (respond_to, reply) = oneshot::channel();
        self.commands.send(command(respond_to)).await.ok()?;
        reply.await.ok()
    }
}
