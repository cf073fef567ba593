//! What the network reports to its owner, and the bounded queue in which it waits.

use std::collections::VecDeque;

use libp2p::Multiaddr;
use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use qfzz_ledger_core::ids::{FederationId, Name, StationId};
use tokio::sync::{mpsc, oneshot};

use super::session::FrameError;

/// What gossip is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Signed batches of records.
    Batches,
    /// Announcements of blocks.
    Blocks,
}

/// What becomes of a gossiped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Good: it is forwarded.
    Accept,
    /// Not forwarded, and nobody is blamed: unknown parent, duplicate, full mempool, our own trouble.
    Ignore,
    /// Not forwarded, and who sent it to us loses score: only for what the sender is answerable for.
    Reject,
}

/// Names a gossiped message for the [`Verdict`] that its receiver owes.
///
/// A verdict counts for about 5 s; a message without one is not forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRef {
    pub(super) id: MessageId,
    pub(super) from: PeerId,
}

/// Takes the answer to one request.
///
/// Dropped unused, it closes the stream: the peer sees [`RequestError::Refused`](super::RequestError::Refused).
#[derive(Debug)]
pub struct Responder(pub(super) oneshot::Sender<Vec<u8>>);

impl Responder {
    /// Answers with at most [`MAX_RESPONSE_BYTES`](super::MAX_RESPONSE_BYTES); more closes the stream unanswered.
    /// Does nothing when the peer has given up.
    pub fn send(self, answer: Vec<u8>) {
        // An error means that the peer or the network is gone, and then nobody waits for the answer.
        let _ = self.0.send(answer);
    }
}

/// What the network reports. `Connected` comes before anything else about a peer, `Disconnected` ends it.
#[derive(Debug)]
pub enum NetworkEvent {
    /// Peers can reach us at this address (without our peer id).
    Listening(Multiaddr),
    /// A station of our federation is connected. Comes once until `Disconnected`, however many connections there are.
    Connected {
        /// Who.
        peer: StationId,
        /// Where its first connection leads, without peer id. Of a peer that dialled us this is no address to dial.
        address: Multiaddr,
    },
    /// Its last connection is closed.
    Disconnected {
        /// Who.
        peer: StationId,
    },
    /// It has subscribed to both topics, so it hears what we publish from now on. Once a connection.
    Subscribed {
        /// Who.
        peer: StationId,
    },
    /// A gossiped message of at most `MAX_GOSSIP_BYTES`, each once a minute at most. Owes a verdict.
    ///
    /// Where the owner doesn't keep up, gossip is what is left out; sync closes the gap.
    Gossip {
        /// Who sent it to us, not who wrote it.
        source: StationId,
        /// To give the verdict by.
        message: MessageRef,
        /// What it is about.
        topic: Topic,
        /// Its bytes, undecoded.
        data: Vec<u8>,
    },
    /// A request of at most [`MAX_REQUEST_BYTES`](super::MAX_REQUEST_BYTES). Owes an answer within 20 s.
    Request {
        /// Who asks.
        peer: StationId,
        /// Its bytes, undecoded.
        data: Vec<u8>,
        /// Takes the answer.
        respond: Responder,
    },
    /// A request that was no frame, or too large. It was refused; the peer is to blame.
    MalformedRequest {
        /// Who sent it.
        peer: StationId,
        /// What was wrong.
        error: FrameError,
    },
    /// A peer belongs to another federation, or to none. It is disconnected and not dialled again. Once a peer.
    OtherFederation {
        /// Who.
        peer: StationId,
        /// The id and name of its federation; `None` for a program that is no station.
        federation: Option<(FederationId, Name)>,
    },
}

impl NetworkEvent {
    /// Whether this event only says that `station` is here.
    fn is_presence_of(&self, station: StationId) -> bool {
        matches!(self, Self::Connected { peer, .. } | Self::Subscribed { peer } if *peer == station)
    }
}

/// The events on their way to the owner. Never waits: what the channel cannot take is kept here.
///
/// Its growth is bounded without losing what must not be lost: gossip is handed back, requests are counted by the
/// worker, and a peer that left before its arrival was reported is not reported at all.
pub(super) struct Outbox {
    channel: mpsc::Sender<NetworkEvent>,
    waiting: VecDeque<NetworkEvent>,
}

impl Outbox {
    pub(super) fn new(channel: mpsc::Sender<NetworkEvent>) -> Self {
        Self { channel, waiting: VecDeque::new() }
    }

    /// Whether nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }

    /// Whether events wait, so that [`flush`](Self::flush) has something to do.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends the event if there is room now; else it is lost, and `false`.
    #[must_use]
    pub(super) fn offer(&mut self, event: NetworkEvent) -> bool {
        self.waiting.is_empty() && self.channel.try_send(event).is_ok()
    }

    /// Sends the event now, or later.
    pub(super) fn push(&mut self, event: NetworkEvent) {
        if let NetworkEvent::Disconnected { peer } = event
            && self.waiting.iter().any(|e| matches!(e, NetworkEvent::Connected { peer: p, .. } if *p == peer))
        {
            self.waiting.retain(|event| !event.is_presence_of(peer));
            return;
        }
        if !self.waiting.is_empty() {
            self.waiting.push_back(event);
            return;
        }
        match self.channel.try_send(event) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(event)) => self.waiting.push_back(event),
        }
    }

    /// Waits for room in the channel and sends the oldest waiting event. Can be cancelled at any time.
    pub(super) async fn flush(&mut self) {
        match self.channel.reserve().await {
            Ok(permit) => {
                if let Some(event) = self.waiting.pop_front() {
                    permit.send(event);
                }
            }
            Err(_) => self.waiting.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn station(n: u8) -> StationId {
        StationId::from_bytes([n; 32])
    }

    fn connected(n: u8) -> NetworkEvent {
        NetworkEvent::Connected { peer: station(n), address: Multiaddr::empty() }
    }

    #[tokio::test]
    async fn what_the_channel_cannot_take_waits_in_order_and_only_offers_are_lost() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        outbox.push(connected(1));
        outbox.push(connected(2));
        outbox.push(NetworkEvent::Disconnected { peer: station(1) });
        assert!(!outbox.offer(NetworkEvent::Subscribed { peer: station(2) }));
        let mut seen = Vec::new();
        while outbox.is_waiting() {
            seen.push(receiver.recv().await.expect("an event"));
            outbox.flush().await;
        }
        assert!(!outbox.offer(connected(3)), "the channel is full again");
        seen.push(receiver.recv().await.expect("an event"));
        assert!(matches!(
            seen[..],
            [NetworkEvent::Connected { .. }, NetworkEvent::Connected { .. }, NetworkEvent::Disconnected { .. }]
        ));
        assert!(outbox.offer(connected(3)));
    }

    #[test]
    fn peers_that_come_and_go_while_nobody_reads_take_no_room() {
        let (sender, _receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        outbox.push(connected(1));
        for _ in 0..1_000 {
            outbox.push(connected(2));
            outbox.push(NetworkEvent::Subscribed { peer: station(2) });
            outbox.push(NetworkEvent::Disconnected { peer: station(2) });
            outbox.push(NetworkEvent::Disconnected { peer: station(1) });
            outbox.push(connected(1));
        }
        assert!(outbox.waiting.len() <= 2, "{}", outbox.waiting.len());
    }
}
