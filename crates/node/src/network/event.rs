//! What the network reports to its owner, and the bounded queue in which it waits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use libp2p::Multiaddr;
use libp2p::PeerId;
use libp2p::gossipsub::MessageId;
use qfzz_ledger_core::ids::{FederationId, Name, StationId};
use tokio::sync::{mpsc, oneshot};

use super::session::FrameError;
use crate::invitations::Shown;

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
    /// Not forwarded, and nobody is blamed, but for too much of it: unknown parent, duplicate, full mempool.
    Ignore,
    /// Not forwarded, and nobody is blamed: our own trouble, such as a full disk.
    Unseen,
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

#[cfg(test)]
impl MessageRef {
    /// Of a message with this payload; from whom does not matter.
    pub(crate) fn of(data: &[u8]) -> Self {
        Self { id: MessageId::from(data.to_vec()), from: super::names::peer_of(StationId::ZERO) }
    }
}

/// Bytes of answers that one peer has not taken yet, at most: four of the largest, as many as a sync asks for at once.
const MAX_UNTAKEN: usize = 8 * 1024 * 1024 + 4 * 1024;

/// Bytes of answers that all peers together have not taken yet, at most. Of peers that read a byte a second, four
/// fill it until their time is up; the others are told that we are busy, and get small answers meanwhile.
const MAX_UNTAKEN_IN_ALL: usize = 32 * 1024 * 1024;

/// Bytes of an answer that is given whatever else is under way.
const SMALL_ANSWER: usize = 8 * 1024;

/// The bytes of answers under way, by peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Untaken(Arc<Mutex<HashMap<StationId, usize>>>);

/// Room for an answer under way, given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    untaken: Untaken,
    peer: StationId,
    bytes: usize,
}

impl Untaken {
    fn room(&self, peer: StationId, bytes: usize) -> Option<Room> {
        let mut by_peer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (in_all, own) = (by_peer.values().sum::<usize>(), by_peer.get(&peer).copied().unwrap_or(0));
        let fits = bytes <= SMALL_ANSWER || (own + bytes <= MAX_UNTAKEN && in_all + bytes <= MAX_UNTAKEN_IN_ALL);
        fits.then(|| {
            *by_peer.entry(peer).or_default() += bytes;
            Room { untaken: self.clone(), peer, bytes }
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut by_peer = self.untaken.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = by_peer.get_mut(&self.peer) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                by_peer.remove(&self.peer);
            }
        }
    }
}

/// Takes the answer to one request.
///
/// Dropped unused, it closes the stream: the peer sees [`RequestError::Refused`](super::RequestError::Refused).
#[derive(Debug)]
pub struct Responder {
    pub(super) answer: oneshot::Sender<(Vec<u8>, Option<Room>)>,
    pub(super) peer: StationId,
    pub(super) untaken: Untaken,
}

impl Responder {
    /// Answers with at most [`MAX_RESPONSE_BYTES`](super::MAX_RESPONSE_BYTES); more closes the stream unanswered.
    /// Where this peer, or all together, have not yet taken too much of what was answered before, it is answered with
    /// `busy` instead, which should be short. Does nothing when the peer has given up. Returns whether `answer` was sent.
    pub fn send_or(self, answer: Vec<u8>, busy: Vec<u8>) -> bool {
        match self.untaken.room(self.peer, answer.len()) {
            Some(room) => self.answer.send((answer, Some(room))).is_ok(),
            None => {
                self.send(busy);
                false
            }
        }
    }

    /// Answers with something short, whatever is under way.
    pub fn send(self, answer: Vec<u8>) {
        // An error means that the peer or the network is gone, and then nobody waits for the answer.
        let _ = self.answer.send((answer, None));
    }
}

/// What a peer did that no honest station of this version does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misconduct {
    /// A request that was no frame, or too large. It was refused.
    #[error("sent a malformed request: it {0}")]
    MalformedRequest(FrameError),
    /// A message on a topic that is not ours, or longer than messages may be.
    #[error("gossiped what nobody subscribed to")]
    ForeignGossip,
    /// What came on its gossip streams could not be read.
    #[error("gossiped what cannot be read")]
    BrokenGossip,
    /// Messages that were rejected, or rules of gossip broken again and again.
    #[error("broke the rules of gossip")]
    GossipScore,
    /// More gossip than can be read, for seconds.
    #[error("gossiped without measure")]
    GossipFlood,
    /// Gossip of which hardly anything was of use.
    #[error("gossiped what is of no use")]
    UselessGossip,
    /// More streams than there is use for.
    #[error("opened streams without measure")]
    StreamFlood,
    /// The genesis, again and again.
    #[error("asked for the genesis again and again")]
    GenesisFlood,
    /// Invitations, again and again.
    #[error("showed invitations again and again")]
    InvitationFlood,
}

impl Misconduct {
    /// Whether an honest station in trouble might do it, too: then it may come back soon.
    pub const fn may_be_trouble(self) -> bool {
        match self {
            Self::MalformedRequest(error) => matches!(error, FrameError::Dribbled),
            Self::ForeignGossip | Self::BrokenGossip | Self::GossipScore => false,
            Self::GossipFlood
            | Self::UselessGossip
            | Self::StreamFlood
            | Self::GenesisFlood
            | Self::InvitationFlood => true,
        }
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
    /// This station knew it before its start, or found it where the operator said: no stranger becomes so by calling us.
    /// At least once after `Connected`, where it is so.
    Familiar {
        /// Who.
        peer: StationId,
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
    /// A newcomer shows that it has an invitation. It need not be of our federation yet.
    Invitation {
        /// Who.
        peer: StationId,
        /// What it shows.
        shown: Shown,
        /// Takes the answer, at most 16 bytes.
        respond: Responder,
    },
    /// A peer does what no honest station does. It is being disconnected; whether it may come back is for the owner
    /// to say. Once a connection.
    Misconduct {
        /// Who.
        peer: StationId,
        /// What.
        what: Misconduct,
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
        match self {
            Self::Connected { peer, .. } | Self::Familiar { peer } | Self::Subscribed { peer } => *peer == station,
            _ => false,
        }
    }
}

/// Events that wait here, from which on those about misconduct are lost.
const MAX_WAITING: usize = 1_024;

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

    /// Sends the event now, or later unless many wait already; `false` if it is lost.
    pub(super) fn push_if_few(&mut self, event: NetworkEvent) -> bool {
        let are_few = self.waiting.len() < MAX_WAITING;
        if are_few {
            self.push(event);
        }
        are_few
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
            outbox.push(NetworkEvent::Familiar { peer: station(2) });
            outbox.push(NetworkEvent::Subscribed { peer: station(2) });
            outbox.push(NetworkEvent::Disconnected { peer: station(2) });
            outbox.push(NetworkEvent::Disconnected { peer: station(1) });
            outbox.push(connected(1));
        }
        assert!(outbox.waiting.len() <= 2, "{}", outbox.waiting.len());
    }
}
