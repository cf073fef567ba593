//! Gossip, with an eye on each peer: how much it sends, and what gossipsub keeps to itself.
//!
//! gossipsub drops what it cannot read, closes the stream, and tells nobody; what it can read it keeps and answers however
//! much there is. So this wraps it: messages are counted where they are taken in, streams where they are opened.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::future::Either;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::gossipsub::{self, DataTransform, Message, RawMessage, TopicHash, WhitelistSubscriptionFilter};
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use qfzz_ledger_core::limits::MAX_GOSSIP_BYTES;

use super::event::Misconduct;
use crate::rate::{Bucket, Rate};

/// Messages and frames of gossip that are read of one peer: twice what a station that writes as fast as its disk allows
/// passes on in single records. What is over it is left out unread, and sync carries it.
const MESSAGES: Rate = Rate::per_second(8_192, 4_096);

/// Bytes of messages that are read of one peer.
const BYTES: Rate = Rate::per_second(16 * 1024 * 1024, 8 * 1024 * 1024);

/// Frames over those that are forgiven. What goes on for seconds after that is a flood.
const LEFT_OUT: Rate = Rate::per_second(16_384, 2_048);

/// Streams for gossip that a peer may open on one connection: it needs one, and one more after a mishap. A stream ends
/// early only where what came on it could not be read.
const MAX_STREAMS: u32 = 2;

/// gossipsub, as it is used here.
pub(super) type Router = gossipsub::Behaviour<Sieve, WhitelistSubscriptionFilter>;

type RouterHandler = <Router as NetworkBehaviour>::ConnectionHandler;

/// What was taken in since it was last asked.
#[derive(Debug, Default)]
struct Seen {
    messages: AtomicU64,
    bytes: AtomicU64,
    foreign: AtomicU64,
}

/// Lets nothing in but messages on our topics, of the size that is allowed, and counts. gossipsub would keep the
/// others for seconds, whoever wants them.
#[derive(Clone)]
pub(super) struct Sieve {
    topics: [TopicHash; 2],
    seen: Arc<Seen>,
}

impl Sieve {
    pub(super) fn new(topics: [TopicHash; 2]) -> Self {
        Self { topics, seen: Arc::default() }
    }
}

impl DataTransform for Sieve {
    fn inbound_transform(&self, message: RawMessage) -> io::Result<Message> {
        let RawMessage { source, data, sequence_number, topic, .. } = message;
        self.seen.messages.fetch_add(1, Ordering::Relaxed);
        self.seen.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        if data.len() > MAX_GOSSIP_BYTES || !self.topics.contains(&topic) {
            self.seen.foreign.fetch_add(1, Ordering::Relaxed);
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Message { source, data, sequence_number, topic })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> io::Result<Vec<u8>> {
        Ok(data)
    }
}

/// What a connected peer has left.
struct Pace {
    connections: usize,
    messages: Bucket,
    bytes: Bucket,
    left_out: Bucket,
    is_told: bool,
}

/// What gossip reports.
#[derive(Debug)]
pub(super) enum Event {
    Gossip(gossipsub::Event),
    /// Once a peer, until it is gone.
    Misconduct(PeerId, Misconduct),
}

/// gossipsub under supervision.
pub(super) struct Behaviour {
    pub(super) router: Router,
    seen: Arc<Seen>,
    peers: HashMap<PeerId, Pace>,
    told: VecDeque<(PeerId, Misconduct)>,
    since: Instant,
}

impl Behaviour {
    /// `sieve` is the one that `router` was made with.
    pub(super) fn new(router: Router, sieve: &Sieve) -> Self {
        let seen = Arc::clone(&sieve.seen);
        Self { router, seen, peers: HashMap::new(), told: VecDeque::new(), since: Instant::now() }
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn tell(&mut self, peer: PeerId, what: Misconduct) {
        if let Some(pace) = self.peers.get_mut(&peer)
            && !std::mem::replace(&mut pace.is_told, true)
        {
            self.told.push_back((peer, what));
        }
    }

    /// Whether what came of `peer` is read at all.
    fn has_room(&mut self, peer: PeerId) -> bool {
        let now = self.now_ms();
        let Some(pace) = self.peers.get_mut(&peer) else { return true };
        if pace.messages.has_left(now) && pace.bytes.has_left(now) {
            return !pace.is_told;
        }
        if !pace.left_out.spend(1, now) {
            self.tell(peer, Misconduct::GossipFlood);
        }
        false
    }

    /// Counts what came of `peer` just now.
    fn count(&mut self, peer: PeerId) {
        let now = self.now_ms();
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let (messages, bytes, foreign) = (take(&self.seen.messages), take(&self.seen.bytes), take(&self.seen.foreign));
        if let Some(pace) = self.peers.get_mut(&peer) {
            // A frame costs, too: it may be full of control messages.
            pace.messages.spend(messages + 1, now);
            pace.bytes.spend(bytes, now);
        }
        if foreign > 0 {
            self.tell(peer, Misconduct::ForeignGossip);
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        here: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.router.handle_pending_inbound_connection(id, here, from)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        here: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.router.handle_established_inbound_connection(id, peer, here, from).map(Handler::new)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.router.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        to: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.router.handle_established_outbound_connection(id, peer, to, role, port).map(Handler::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match &event {
            FromSwarm::ConnectionEstablished(established) => {
                let now = self.now_ms();
                let pace = self.peers.entry(established.peer_id).or_insert_with(|| Pace {
                    connections: 0,
                    messages: Bucket::full(MESSAGES, now),
                    bytes: Bucket::full(BYTES, now),
                    left_out: Bucket::full(LEFT_OUT, now),
                    is_told: false,
                });
                pace.connections += 1;
            }
            FromSwarm::ConnectionClosed(closed) => {
                if let Some(pace) = self.peers.get_mut(&closed.peer_id) {
                    pace.connections -= 1;
                    if pace.connections == 0 {
                        self.peers.remove(&closed.peer_id);
                    }
                }
            }
            _ => {}
        }
        self.router.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => {
                if self.has_room(peer) {
                    self.router.on_connection_handler_event(peer, id, event);
                    self.count(peer);
                }
            }
            Either::Right(TooManyStreams) => self.tell(peer, Misconduct::BrokenGossip),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        if let Some((peer, what)) = self.told.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(Event::Misconduct(peer, what)));
        }
        self.router.poll(cx).map(|event| event.map_out(Event::Gossip))
    }
}

/// A peer opened more than [`MAX_STREAMS`] streams for gossip on one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooManyStreams;

/// gossipsub's handler of one connection, with a count of the streams that the peer opens.
pub(super) struct Handler {
    inner: RouterHandler,
    streams: u32,
}

impl Handler {
    fn new(inner: RouterHandler) -> Self {
        Self { inner, streams: 0 }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = <RouterHandler as ConnectionHandler>::FromBehaviour;
    type ToBehaviour = Either<<RouterHandler as ConnectionHandler>::ToBehaviour, TooManyStreams>;
    type InboundProtocol = <RouterHandler as ConnectionHandler>::InboundProtocol;
    type OutboundProtocol = <RouterHandler as ConnectionHandler>::OutboundProtocol;
    type InboundOpenInfo = <RouterHandler as ConnectionHandler>::InboundOpenInfo;
    type OutboundOpenInfo = <RouterHandler as ConnectionHandler>::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if self.streams > MAX_STREAMS {
            self.streams = 0;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Either::Right(TooManyStreams)));
        }
        self.inner.poll(cx).map(|event| event.map_custom(Either::Left))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::ToBehaviour>> {
        self.inner.poll_close(cx).map(|event| event.map(Either::Left))
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        if matches!(event, ConnectionEvent::FullyNegotiatedInbound(_)) {
            self.streams += 1;
        }
        self.inner.on_connection_event(event);
    }
}
