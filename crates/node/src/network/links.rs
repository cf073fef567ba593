//! The connections that stand, by station.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use qfzz_ledger_core::ids::{Name, StationId};
use qfzz_ledger_core::time::Timestamp;

use super::conduct::Conduct;
use super::event::Topic;
use super::handle::{Direction, PeerInfo};

/// How long a peer may stay connected without having said that it is of our federation. Newcomers that fetch the
/// genesis need a moment of it.
const CONFIRM_WITHIN: Duration = Duration::from_secs(8);

/// How long a peer of another federation stays connected, so that it hears who we are as well.
const FOREIGN_GRACE: Duration = Duration::from_secs(2);

/// Connections opened within this of each other come from both sides dialling at once.
const AT_ONCE: Duration = Duration::from_secs(2);

/// One station's connections: never none, and few by the connection limits.
#[derive(Debug)]
pub(super) struct Link {
    connections: Vec<Connection>,
    opened: Instant,
    /// Since when it is known to be of our federation.
    confirmed: Option<(Instant, Timestamp)>,
    foreign_since: Option<Instant>,
    topics: Vec<Topic>,
    subscription_told: bool,
    ping: Option<Duration>,
    conduct: Conduct,
    name: Option<Name>,
    /// Where it says that it can be dialled.
    listens_at: Vec<Multiaddr>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    address: Multiaddr,
    direction: Direction,
    opened: Instant,
}

impl Link {
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed.is_some()
    }

    /// Where its first connection leads.
    pub(super) fn address(&self) -> &Multiaddr {
        &self.connections[0].address
    }

    /// The address by which the given connection dialled it; `None` if it dialled us.
    pub(super) fn dialled_address(&self, id: ConnectionId) -> Option<&Multiaddr> {
        self.connections
            .iter()
            .find(|connection| connection.id == id && connection.direction == Direction::Outbound)
            .map(|connection| &connection.address)
    }

    /// Whether it has a connection besides the given one.
    pub(super) fn has_other(&self, id: ConnectionId) -> bool {
        self.connections.iter().any(|connection| connection.id != id)
    }

    /// Marks it as of our federation. Returns whether that is news; what was found foreign is not marked.
    pub(super) fn confirm(&mut self, now: Instant, wall: Timestamp) -> bool {
        let news = self.confirmed.is_none() && self.foreign_since.is_none();
        if news {
            self.confirmed = Some((now, wall));
        }
        news
    }

    /// Marks it as of another federation.
    pub(super) fn is_foreign(&mut self, now: Instant) {
        self.foreign_since.get_or_insert(now);
    }

    pub(super) fn subscribed(&mut self, topic: Topic) {
        if !self.topics.contains(&topic) {
            self.topics.push(topic);
        }
    }

    pub(super) fn unsubscribed(&mut self, topic: Topic) {
        self.topics.retain(|subscribed| *subscribed != topic);
    }

    /// Whether it is time to tell that it is in both topics: once.
    pub(super) fn tell_subscription(&mut self) -> bool {
        let tell = self.is_confirmed() && self.topics.len() == 2 && !self.subscription_told;
        self.subscription_told |= tell;
        tell
    }

    /// Whether it is being disconnected for what it did.
    pub(super) fn is_left(&self) -> bool {
        self.conduct.is_left
    }

    /// What it did, as far as that is counted.
    pub(super) fn conduct(&mut self) -> &mut Conduct {
        &mut self.conduct
    }

    pub(super) fn pinged(&mut self, round_trip: Duration) {
        self.ping = Some(round_trip);
    }

    /// What it told of itself: its name, and where it can be dialled.
    pub(super) fn told(&mut self, name: Option<Name>, listens_at: Vec<Multiaddr>) {
        self.name = name;
        self.listens_at = listens_at;
    }

    /// The address that it told which fits the one that it is connected by: the same host, else any.
    fn listens_at(&self) -> Option<Multiaddr> {
        let host = |address: &Multiaddr| address.iter().next().map(|part| part.to_string());
        let here = host(self.address());
        let same = self.listens_at.iter().find(|told| host(told) == here);
        same.or(self.listens_at.first()).cloned()
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let foreign = self.foreign_since.is_some_and(|since| now.saturating_duration_since(since) >= FOREIGN_GRACE);
        foreign || (!self.is_confirmed() && now.saturating_duration_since(self.opened) >= CONFIRM_WITHIN)
    }
}

/// What remained when a connection closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Others to the same station.
    Others,
    /// Only others that came well after it: the station had restarted or changed its network, and we noticed only now.
    /// What it told us on the old connection, its subscriptions too, says nothing about the new one.
    Replaced,
    /// None. How long the station had been confirmed; `None` if it never was.
    Last { stood: Option<Duration> },
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Links(HashMap<StationId, Link>);

impl Links {
    pub(super) fn get(&self, station: StationId) -> Option<&Link> {
        self.0.get(&station)
    }

    pub(super) fn get_mut(&mut self, station: StationId) -> Option<&mut Link> {
        self.0.get_mut(&station)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_confirmed(&self, station: StationId) -> bool {
        self.get(station).is_some_and(Link::is_confirmed)
    }

    pub(super) fn opened(
        &mut self,
        station: StationId,
        id: ConnectionId,
        address: Multiaddr,
        direction: Direction,
        now: Instant,
    ) {
        let connection = Connection { id, address, direction, opened: now };
        let link = self.0.entry(station).or_insert_with(|| Link {
            connections: Vec::new(),
            opened: now,
            confirmed: None,
            foreign_since: None,
            topics: Vec::new(),
            subscription_told: false,
            ping: None,
            conduct: Conduct::new(now),
            name: None,
            listens_at: Vec::new(),
        });
        link.connections.push(connection);
    }

    pub(super) fn closed(&mut self, station: StationId, id: ConnectionId, now: Instant) -> Closed {
        let Some(link) = self.0.get_mut(&station) else { return Closed::Others };
        let Some(index) = link.connections.iter().position(|connection| connection.id == id) else {
            return Closed::Others;
        };
        let closed = link.connections.remove(index);
        if !link.connections.is_empty() {
            let is_later = |other: &Connection| other.opened.saturating_duration_since(closed.opened) > AT_ONCE;
            return if link.connections.iter().all(is_later) { Closed::Replaced } else { Closed::Others };
        }
        let stood = link.confirmed.map(|(since, _)| now.saturating_duration_since(since));
        self.0.remove(&station);
        Closed::Last { stood }
    }

    /// Stations that are to be disconnected: foreign ones, and those that did not say who they are in time.
    pub(super) fn overdue(&self, now: Instant) -> Vec<StationId> {
        self.0.iter().filter(|(_, link)| link.is_overdue(now)).map(|(station, _)| *station).collect()
    }

    pub(super) fn stations(&self) -> Vec<StationId> {
        self.0.keys().copied().collect()
    }

    /// The confirmed stations, ordered by id.
    pub(super) fn peers(&self) -> Vec<PeerInfo> {
        let mut peers: Vec<PeerInfo> = self
            .0
            .iter()
            .filter_map(|(station, link)| {
                let (_, connected_since) = link.confirmed?;
                let first = link.connections.first()?;
                Some(PeerInfo {
                    station: *station,
                    address: first.address.clone(),
                    connected_since,
                    direction: first.direction,
                    ping: link.ping,
                    name: link.name.clone(),
                    listens_at: link.listens_at(),
                })
            })
            .collect();
        peers.sort_by_key(|peer| peer.station);
        peers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(links: &mut Links, now: Instant) -> (StationId, ConnectionId) {
        let (station, id) = (StationId::from_bytes([1; 32]), ConnectionId::new_unchecked(1));
        links.opened(station, id, Multiaddr::empty(), Direction::Inbound, now);
        (station, id)
    }

    #[test]
    fn a_station_is_gone_with_its_last_connection() {
        let (mut links, now) = (Links::default(), Instant::now());
        let (station, first) = link(&mut links, now);
        let second = ConnectionId::new_unchecked(2);
        links.opened(station, second, Multiaddr::empty(), Direction::Outbound, now);
        assert!(links.peers().is_empty(), "not confirmed yet");
        assert!(links.get_mut(station).expect("open").confirm(now, Timestamp::EPOCH));
        assert!(!links.get_mut(station).expect("open").confirm(now, Timestamp::EPOCH));
        assert_eq!(links.peers()[0].direction, Direction::Inbound);
        assert_eq!(links.closed(station, first, now), Closed::Others);
        assert_eq!(links.peers()[0].direction, Direction::Outbound);
        let later = now + Duration::from_secs(7);
        assert_eq!(links.closed(station, second, later), Closed::Last { stood: Some(Duration::from_secs(7)) });
        assert!(links.is_empty());
    }

    #[test]
    fn a_connection_that_outlived_a_restart_is_told_from_a_second_dial() {
        let (mut links, now) = (Links::default(), Instant::now());
        for (later, outcome) in [(AT_ONCE, Closed::Others), (AT_ONCE * 2, Closed::Replaced)] {
            let (station, first) = link(&mut links, now);
            let second = ConnectionId::new_unchecked(2);
            links.opened(station, second, Multiaddr::empty(), Direction::Inbound, now + later);
            assert_eq!(links.closed(station, first, now + later), outcome);
            assert_eq!(links.closed(station, second, now + later), Closed::Last { stood: None });
        }
        let (station, first) = link(&mut links, now);
        let second = ConnectionId::new_unchecked(2);
        links.opened(station, second, Multiaddr::empty(), Direction::Inbound, now + AT_ONCE * 2);
        assert_eq!(links.closed(station, second, now + AT_ONCE * 2), Closed::Others, "the older one stays");
        assert_eq!(links.closed(station, first, now), Closed::Last { stood: None });
    }

    #[test]
    fn who_does_not_say_who_it_is_or_is_foreign_is_overdue() {
        let (mut links, now) = (Links::default(), Instant::now());
        let (station, _) = link(&mut links, now);
        assert!(links.overdue(now + CONFIRM_WITHIN - Duration::from_millis(1)).is_empty());
        assert_eq!(links.overdue(now + CONFIRM_WITHIN), [station]);
        links.get_mut(station).expect("open").is_foreign(now);
        assert_eq!(links.overdue(now + FOREIGN_GRACE), [station]);
        let (mut links, now) = (Links::default(), Instant::now());
        let (station, _) = link(&mut links, now);
        links.get_mut(station).expect("open").confirm(now, Timestamp::EPOCH);
        assert!(links.overdue(now + CONFIRM_WITHIN).is_empty());
    }

    #[test]
    fn a_subscription_is_told_once_both_topics_are_in_and_the_station_is_confirmed() {
        let (mut links, now) = (Links::default(), Instant::now());
        let (station, _) = link(&mut links, now);
        let link = links.get_mut(station).expect("open");
        link.subscribed(Topic::Batches);
        link.subscribed(Topic::Batches);
        link.confirm(now, Timestamp::EPOCH);
        assert!(!link.tell_subscription());
        link.subscribed(Topic::Blocks);
        assert!(link.tell_subscription());
        assert!(!link.tell_subscription());
    }
}
