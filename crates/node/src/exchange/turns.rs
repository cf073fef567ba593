//! What the network told, by the peer that it is about: peers take turns, so that nobody waits behind another's flood.
//!
//! What is about one peer stays in order, but for its misconduct: that comes before its gossip, which is then good for
//! nothing. What is left out here is brought by a sync.

use std::collections::{HashMap, VecDeque};

use qfzz_ledger_core::ids::StationId;

use crate::network::{MessageRef, NetworkEvent};

/// Gossiped messages that wait for their turn, at most. They hold no more bytes than the network lets wait for a verdict.
const MAX_GOSSIP: usize = 1_024;

/// Events that wait, at most; with more the network keeps its own. Beside the gossip there is room for a crowd that comes
/// and goes.
const MAX_EVENTS: usize = 2 * MAX_GOSSIP;

/// Whom an event is about; `None` for what is about this station.
type About = Option<StationId>;

/// What waits of one peer: never nothing.
#[derive(Default)]
struct Waiting {
    events: VecDeque<NetworkEvent>,
    gossip: usize,
}

/// Events that wait to be handled.
#[derive(Default)]
pub(super) struct Turns {
    waiting: HashMap<About, Waiting>,
    /// Those of whom something waits, each once; the first is next.
    order: VecDeque<About>,
    events: usize,
    gossip: usize,
}

fn about(event: &NetworkEvent) -> About {
    match event {
        NetworkEvent::Listening(_) => None,
        NetworkEvent::Gossip { source: peer, .. }
        | NetworkEvent::Connected { peer, .. }
        | NetworkEvent::Familiar { peer }
        | NetworkEvent::Subscribed { peer }
        | NetworkEvent::Disconnected { peer }
        | NetworkEvent::Request { peer, .. }
        | NetworkEvent::Invitation { peer, .. }
        | NetworkEvent::Misconduct { peer, .. }
        | NetworkEvent::OtherFederation { peer, .. } => Some(*peer),
    }
}

const fn is_gossip(event: &NetworkEvent) -> bool {
    matches!(event, NetworkEvent::Gossip { .. })
}

impl Turns {
    /// Whether one more event may wait.
    pub(super) fn has_room(&self) -> bool {
        self.events < MAX_EVENTS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Lets an event wait for its turn. Returns the message that is left out where too many wait: the newest of the peer
    /// of whom most do.
    pub(super) fn push(&mut self, event: NetworkEvent) -> Option<MessageRef> {
        let (about, is_gossip_itself) = (about(&event), is_gossip(&event));
        let waiting = self.waiting.entry(about).or_default();
        if waiting.events.is_empty() {
            self.order.push_back(about);
        }
        let first_gossip = match event {
            NetworkEvent::Misconduct { .. } => waiting.events.iter().position(is_gossip),
            _ => None,
        };
        waiting.events.insert(first_gossip.unwrap_or(waiting.events.len()), event);
        waiting.gossip += usize::from(is_gossip_itself);
        self.gossip += usize::from(is_gossip_itself);
        self.events += 1;
        if self.gossip > MAX_GOSSIP { self.leave_one_out() } else { None }
    }

    fn leave_one_out(&mut self) -> Option<MessageRef> {
        let most = *self.order.iter().max_by_key(|about| self.waiting.get(about).map(|waiting| waiting.gossip))?;
        let waiting = self.waiting.get_mut(&most)?;
        let newest = waiting.events.iter().rposition(is_gossip)?;
        let left_out = waiting.events.remove(newest)?;
        waiting.gossip -= 1;
        if waiting.events.is_empty() {
            self.waiting.remove(&most);
            self.order.retain(|about| *about != most);
        }
        (self.events, self.gossip) = (self.events - 1, self.gossip - 1);
        match left_out {
            NetworkEvent::Gossip { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The next event: one of each peer in turn.
    pub(super) fn next(&mut self) -> Option<NetworkEvent> {
        let about = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&about)?;
        let event = waiting.events.pop_front()?;
        let is_gossip = usize::from(is_gossip(&event));
        waiting.gossip -= is_gossip;
        if waiting.events.is_empty() {
            self.waiting.remove(&about);
        } else {
            self.order.push_back(about);
        }
        (self.events, self.gossip) = (self.events - 1, self.gossip - is_gossip);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Misconduct, Topic};

    fn peer(n: u8) -> StationId {
        StationId::from_bytes([n; 32])
    }

    fn gossip(n: u8, number: u16) -> NetworkEvent {
        let data = number.to_be_bytes().to_vec();
        NetworkEvent::Gossip { source: peer(n), message: MessageRef::of(&data), topic: Topic::Batches, data }
    }

    /// Whom what waits is about, as it comes: the number of the message, or of whom and what.
    fn come(turns: &mut Turns) -> Vec<String> {
        let name = |event| match event {
            NetworkEvent::Gossip { source, data, .. } => {
                format!("{}:{}", source.as_bytes()[0], u16::from_be_bytes([data[0], data[1]]))
            }
            NetworkEvent::Subscribed { peer } => format!("{} is here", peer.as_bytes()[0]),
            NetworkEvent::Disconnected { peer } => format!("{} is gone", peer.as_bytes()[0]),
            NetworkEvent::Misconduct { peer, .. } => format!("{} is left", peer.as_bytes()[0]),
            other => panic!("{other:?} was not sent"),
        };
        std::iter::from_fn(|| turns.next()).map(name).collect()
    }

    #[test]
    fn given_a_flood_a_message_of_another_peer_is_next_but_one() {
        let mut turns = Turns::default();
        (0..100).for_each(|number| assert!(turns.push(gossip(1, number)).is_none()));
        turns.push(gossip(2, 0));
        turns.push(NetworkEvent::Disconnected { peer: peer(2) });
        let come = come(&mut turns);
        assert_eq!(come[..5], ["1:0", "2:0", "1:1", "2 is gone", "1:2"], "each peer's in order");
        assert_eq!(come.len(), 102);
        assert!(turns.is_empty() && turns.waiting.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn given_too_much_gossip_the_newest_of_whom_most_is_waiting_is_left_out_and_nothing_else() {
        let mut turns = Turns::default();
        turns.push(NetworkEvent::Subscribed { peer: peer(1) });
        (0..1_020).for_each(|number| assert!(turns.push(gossip(1, number)).is_none()));
        (0..4).for_each(|number| assert!(turns.push(gossip(2, number)).is_none()));
        assert_eq!(turns.push(gossip(2, 4)), Some(MessageRef::of(&1_019_u16.to_be_bytes())));
        assert_eq!(turns.push(gossip(1, 5_000)), Some(MessageRef::of(&5_000_u16.to_be_bytes())), "its own");
        let come = come(&mut turns);
        assert_eq!(come.iter().filter(|event| event.starts_with("2:")).count(), 5);
        assert_eq!((come.len(), &*come[0]), (MAX_GOSSIP + 1, "1 is here"));
    }

    #[test]
    fn given_gossip_that_waits_its_senders_misconduct_comes_before_it() {
        let mut turns = Turns::default();
        turns.push(NetworkEvent::Subscribed { peer: peer(1) });
        turns.push(gossip(1, 0));
        turns.push(NetworkEvent::Misconduct { peer: peer(1), what: Misconduct::GossipFlood });
        assert_eq!(come(&mut turns), ["1 is here", "1 is left", "1:0"]);
    }

    #[test]
    fn given_a_crowd_that_comes_and_goes_there_is_an_end_to_what_waits() {
        let mut turns = Turns::default();
        let mut taken = 0;
        while turns.has_room() {
            turns.push(NetworkEvent::Subscribed { peer: peer(taken as u8) });
            taken += 1;
        }
        assert_eq!(taken, MAX_EVENTS);
        turns.next();
        assert!(turns.has_room());
    }
}
