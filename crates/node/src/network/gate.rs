//! Who may connect: limits on connections and on handshakes under way, in all, by peer and by where they come from.
//!
//! A handshake costs a stranger nothing, so those of one address must not use up the room of all others. A place is an
//! IPv4 address, or a /64 of IPv6, which is what one customer has at least.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, ListenError, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId, allow_block_list};

use crate::rate::{Bucket, Rate};

/// Handshakes under way that others began, at most. A handshake has
/// [`HANDSHAKE_TIMEOUT`](super::transport::HANDSHAKE_TIMEOUT).
const MAX_PENDING_INCOMING: usize = 512;

/// Of those from one place, at most: a federation that restarts behind one address fits.
const MAX_PENDING_FROM: usize = 32;

/// Handshakes under way that we began, at most.
const MAX_PENDING_OUTGOING: usize = 64;

/// Connections in all, at most: federations have 2 to 50 stations, newcomers and strangers come on top.
const MAX_STANDING: usize = 256;

/// Connections that others opened, at most, so that we can always dial.
const MAX_INCOMING: usize = 192;

/// Of those from one place, at most: the largest federation we expect fits behind one address, twice dialled.
const MAX_INCOMING_FROM: usize = 96;

/// Connections to one peer, at most: two, because both sides may dial at once; and twice that, because a second daemon
/// with the same key must get through to hear of the first.
const MAX_PER_PEER: usize = 4;

/// Connections that one place may open: each costs a handshake, about a millisecond of a core.
const OPENINGS: Rate = Rate::per_second(256, 32);

/// Handshakes with stations that are kept away, from one place: each costs a millisecond or two, and who it is shows only
/// at its end. Once these are used nobody gets in from there for a while, but for whom we call.
const IN_VAIN: Rate = Rate::per_minute(8, 12);

/// Handshakes under way from a place from which such a station came lately, at most.
const MAX_PENDING_FROM_SUSPECT: usize = 4;

/// Places whose openings are counted, at most; with more, those that used least are forgotten.
const MAX_PLACES: usize = 4_096;

/// A limit on connections is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: at most {limit}")]
pub(super) struct Refused {
    what: &'static str,
    limit: usize,
}

/// Where a connection comes from; `None` for what has no IP address.
type Place = Option<IpAddr>;

/// The limits.
pub(super) struct Gate {
    since: Instant,
    pending_in: HashMap<ConnectionId, Place>,
    pending_out: HashSet<ConnectionId>,
    /// With the place of those that others opened.
    standing: HashMap<ConnectionId, (PeerId, Option<Place>)>,
    openings: HashMap<Place, Bucket>,
    /// Of places from which stations came that are kept away.
    in_vain: HashMap<Place, Bucket>,
}

fn place_of(address: &Multiaddr) -> Place {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(match ip.to_ipv4_mapped() {
            Some(ip) => IpAddr::V4(ip),
            None => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        }),
        _ => None,
    }
}

/// Whether a connection was denied because its peer is kept away.
fn is_of_blocked_peer(error: &ListenError) -> bool {
    let ListenError::Denied { cause } = error else { return false };
    cause.source().is_some_and(|source| source.is::<allow_block_list::Blocked>())
}

fn check(what: &'static str, limit: usize, current: usize) -> Result<(), ConnectionDenied> {
    if current < limit { Ok(()) } else { Err(ConnectionDenied::new(Refused { what, limit })) }
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            pending_in: HashMap::new(),
            pending_out: HashSet::new(),
            standing: HashMap::new(),
            openings: HashMap::new(),
            in_vain: HashMap::new(),
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// A handshake turned out to be with a station that is kept away.
    fn was_in_vain(&mut self, place: Place) {
        let now = self.now();
        self.in_vain.retain(|_, bucket| !bucket.is_full(now));
        if self.in_vain.len() < MAX_PLACES {
            self.in_vain.entry(place).or_insert_with(|| Bucket::full(IN_VAIN, now)).spend(1, now);
        }
    }

    /// Handshakes that may be under way from a place at once.
    fn pending_from(&mut self, place: Place) -> usize {
        let now = self.now();
        let is_open = self.in_vain.get_mut(&place).map(|bucket| bucket.has_left(now));
        match is_open {
            None => MAX_PENDING_FROM,
            Some(true) => MAX_PENDING_FROM_SUSPECT,
            Some(false) => 0,
        }
    }

    fn may_open(&mut self, place: Place) -> bool {
        let now = self.now();
        if self.openings.len() >= MAX_PLACES && !self.openings.contains_key(&place) {
            self.openings.retain(|_, bucket| !bucket.is_full(now));
            if self.openings.len() >= MAX_PLACES {
                return false;
            }
        }
        self.openings.entry(place).or_insert_with(|| Bucket::full(OPENINGS, now)).spend(1, now)
    }

    fn check_standing(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        let to_peer = self.standing.values().filter(|(standing, _)| standing == peer).count();
        check("connections to one peer", MAX_PER_PEER, to_peer)?;
        check("connections", MAX_STANDING, self.standing.len())
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let place = place_of(from);
        check("handshakes under way", MAX_PENDING_INCOMING, self.pending_in.len())?;
        let same = self.pending_in.values().filter(|other| **other == place).count();
        let limit = self.pending_from(place);
        check("handshakes under way from one address", limit, same)?;
        if !self.may_open(place) {
            let what = "connections from one address in a short time";
            return Err(ConnectionDenied::new(Refused { what, limit: OPENINGS.burst() as usize }));
        }
        self.pending_in.insert(id, place);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending_in.remove(&id);
        let place = place_of(from);
        let incoming = || self.standing.values().filter_map(|(_, place)| *place);
        check("connections that others opened", MAX_INCOMING, incoming().count())?;
        let same = incoming().filter(|other| *other == place).count();
        check("connections from one address", MAX_INCOMING_FROM, same)?;
        self.check_standing(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        check("dials under way", MAX_PENDING_OUTGOING, self.pending_out.len())?;
        self.pending_out.insert(id);
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending_out.remove(&id);
        self.check_standing(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                let place = match established.endpoint {
                    ConnectedPoint::Listener { send_back_addr, .. } => Some(place_of(send_back_addr)),
                    ConnectedPoint::Dialer { .. } => None,
                };
                self.standing.insert(established.connection_id, (established.peer_id, place));
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.standing.remove(&closed.connection_id);
            }
            FromSwarm::DialFailure(failure) => {
                self.pending_out.remove(&failure.connection_id);
            }
            FromSwarm::ListenFailure(failure) => {
                // Where it was denied after its handshake, this one's own limits were not asked.
                let place = self.pending_in.remove(&failure.connection_id);
                if let Some(place) = place.filter(|_| is_of_blocked_peer(failure.error)) {
                    self.was_in_vain(place);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use libp2p::swarm::behaviour::ListenFailure;

    use super::*;

    fn arrive(gate: &mut Gate, id: usize, from: &str) -> bool {
        let (here, from) = ("/ip4/127.0.0.1/tcp/1".parse().expect("valid"), from.parse().expect("valid"));
        gate.handle_pending_inbound_connection(ConnectionId::new_unchecked(id), &here, &from).is_ok()
    }

    #[test]
    fn handshakes_from_one_address_leave_room_for_those_from_others() {
        let mut gate = Gate::new();
        let taken = (0..500).filter(|id| arrive(&mut gate, *id, &format!("/ip4/192.0.2.1/tcp/{}", id + 1))).count();
        assert_eq!(taken, MAX_PENDING_FROM);
        assert!(arrive(&mut gate, 1_000, "/ip4/192.0.2.2/tcp/1"));
        assert!(!arrive(&mut gate, 1_001, "/ip6/::ffff:192.0.2.1/tcp/1"), "the same address, written otherwise");
        for id in 2_000..2_000 + MAX_PENDING_FROM {
            assert!(arrive(&mut gate, id, &format!("/ip6/2001:db8::{id}/tcp/1")));
        }
        assert!(!arrive(&mut gate, 3_000, "/ip6/2001:db8::ffff:1/tcp/1"), "one /64 is one place");
        assert!(arrive(&mut gate, 3_001, "/ip6/2001:db8:0:1::1/tcp/1"));
    }

    #[test]
    fn one_address_cannot_open_connections_without_end() {
        let mut gate = Gate::new();
        let mut opened = 0;
        for id in 0..2_000 {
            opened += usize::from(arrive(&mut gate, id, "/ip4/192.0.2.1/udp/1/quic-v1"));
            gate.pending_in.clear();
        }
        assert!((256..320).contains(&opened), "{opened}");
        assert!(arrive(&mut gate, 5_000, "/ip4/192.0.2.9/tcp/1"));
    }

    #[test]
    fn who_is_kept_away_and_comes_again_and_again_closes_the_door_at_its_address() {
        let mut gate = Gate::new();
        let (here, from) = ("/ip4/127.0.0.1/tcp/1".parse().expect("valid"), "/ip4/192.0.2.1/tcp/1");
        let from: Multiaddr = from.parse().expect("valid");
        let (mut blocked, peer) =
            (allow_block_list::Behaviour::<allow_block_list::BlockedPeers>::default(), PeerId::random());
        blocked.block_peer(peer);
        let mut taken = 0;
        for id in 0..200 {
            if arrive(&mut gate, id, &from.to_string()) {
                let connection_id = ConnectionId::new_unchecked(id);
                let denied = blocked.handle_established_inbound_connection(connection_id, peer, &here, &from);
                let error = ListenError::Denied { cause: denied.err().expect("it is blocked") };
                let (local_addr, send_back_addr, peer_id) = (&here, &from, None);
                let failure = ListenFailure { local_addr, send_back_addr, error: &error, connection_id, peer_id };
                gate.on_swarm_event(FromSwarm::ListenFailure(failure));
                taken += 1;
            }
        }
        assert!((8..12).contains(&taken), "{taken}");
        assert!(arrive(&mut gate, 1_000, "/ip4/192.0.2.2/tcp/1"), "others are not concerned");
        gate.in_vain.clear();
        gate.was_in_vain(place_of(&from));
        let taken = (2_000..2_100).filter(|id| arrive(&mut gate, *id, &from.to_string())).count();
        assert_eq!(taken, MAX_PENDING_FROM_SUSPECT, "and there a few at a time, until it is too much");
    }

    #[test]
    fn the_places_that_are_counted_are_bounded() {
        let mut gate = Gate::new();
        for n in 0..2 * u32::try_from(MAX_PLACES).expect("small") {
            let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
            arrive(&mut gate, n as usize, &format!("/ip4/{ip}/tcp/1"));
            gate.pending_in.clear();
        }
        assert!(gate.openings.len() <= MAX_PLACES);
    }
}
