//! Dials: ours by plan, and those that commands ask for.

use std::io;
use std::time::{Duration, Instant};

use libp2p::swarm;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, allow_block_list, memory_connection_limits};
use qfzz_ledger_core::ids::StationId;
use tokio::sync::oneshot;

use super::super::gate::Refused;
use super::super::handle::DialError;
use super::super::names::{is_dialable, peer_in, peer_of, station_of};
use super::super::peers::{Dialled, Plan};
use super::super::root_cause;
use super::{Worker, jitter};

/// How long a dialled peer may take to say who it is, after [`CONNECT_TIMEOUT`](super::super::CONNECT_TIMEOUT) at most for
/// the connection.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Who waits for the outcome of a dial.
pub(super) type Asked = oneshot::Sender<Result<StationId, DialError>>;

/// Whose dial a connection attempt is.
pub(super) enum Dial {
    /// Ours, by plan.
    Planned(Dialled),
    /// A command's.
    Asked { address: Multiaddr, respond_to: Asked },
}

/// Someone who waits until a connected peer has said who it is.
pub(super) struct Waiter {
    respond_to: Asked,
    until: Instant,
}

impl Worker {
    pub(super) fn on_dial(&mut self, address: Multiaddr, respond_to: Asked) {
        if !is_dialable(&address) {
            return reply(respond_to, Err(DialError::NotDialable { address }));
        }
        let options = match peer_in(&address) {
            Some(peer) => {
                let Some(station) = station_of(&peer) else {
                    return reply(respond_to, Err(DialError::NotDialable { address }));
                };
                if station == self.station {
                    return reply(respond_to, Err(DialError::Ourselves));
                }
                if self.peers.is_blocked(station) {
                    return reply(respond_to, Err(DialError::Blocked));
                }
                self.on_asked_for(station);
                if self.links.get(station).is_some() {
                    return self.wait_for(station, respond_to);
                }
                to_peer(peer, vec![address.clone()], PeerCondition::Always)
            }
            None => to_address(address.clone()),
        };
        self.dial(options, Dial::Asked { address, respond_to });
    }

    fn dial(&mut self, options: DialOpts, dial: Dial) {
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(id, dial);
            }
            Err(error) => self.on_dial_failed(dial, None, error),
        }
    }

    /// Tells how a dial of ours failed. `found` is the peer that the connection led to, where that is known.
    pub(super) fn on_dial_failed(&mut self, dial: Dial, found: Option<StationId>, error: swarm::DialError) {
        match dial {
            Dial::Planned(dialled) => {
                if let (Dialled::Join(number), swarm::DialError::LocalPeerId { address }) = (dialled, &error) {
                    tracing::warn!(%address, "an address to join is our own; it is left out");
                    self.peers.leads_to_ourselves(number);
                }
                tracing::debug!(?dialled, %error, "a dial failed");
                let now = Instant::now();
                self.peers.failed(dialled, now, jitter());
                if let Dialled::Join(number) = dialled
                    && let Some(address) = self.peers.join_address(number).cloned()
                {
                    let why = dial_error(address.clone(), false, error).to_string();
                    if self.peers.join_failed(number, why.clone(), now) {
                        tracing::warn!("the address to join does not work, and is tried again by itself: {why}");
                    }
                }
                if let Dialled::Station(station) = dialled
                    && self.peers.is_lost(station)
                {
                    self.swarm.behaviour_mut().kad.remove_peer(&peer_of(station));
                }
            }
            // Refused perhaps because the other side's dial was faster.
            Dial::Asked { respond_to, .. } if found.is_some_and(|station| self.links.get(station).is_some()) => {
                if let Some(station) = found {
                    self.on_asked_for(station);
                    self.wait_for(station, respond_to);
                }
            }
            Dial::Asked { address, respond_to } => {
                let own = self.swarm.listeners().any(|listener| *listener == address);
                reply(respond_to, Err(dial_error(address, own, error)));
            }
        }
    }

    /// Replies when the connected `station` has said who it is.
    pub(super) fn wait_for(&mut self, station: StationId, respond_to: Asked) {
        if self.links.is_confirmed(station) {
            return reply(respond_to, Ok(station));
        }
        let until = Instant::now() + CONFIRM_TIMEOUT;
        self.waiters.entry(station).or_default().push(Waiter { respond_to, until });
    }

    /// Replies to all who wait for `station`.
    pub(super) fn tell_waiters(&mut self, station: StationId, outcome: impl Fn() -> Result<StationId, DialError>) {
        for waiter in self.waiters.remove(&station).unwrap_or_default() {
            reply(waiter.respond_to, outcome());
        }
    }

    /// Replies to those who wait for a peer that does not say who it is.
    pub(super) fn give_up_on_silent_peers(&mut self, now: Instant) {
        self.waiters.retain(|_, waiters| {
            for waiter in waiters.extract_if(.., |waiter| now >= waiter.until) {
                reply(waiter.respond_to, Err(DialError::Timeout));
            }
            !waiters.is_empty()
        });
    }

    /// Dials the stations and addresses that are due.
    pub(super) fn dial_what_is_due(&mut self, now: Instant) {
        for plan in self.peers.plan(now) {
            let (options, dialled) = match plan {
                Plan::Station { station, addresses } => {
                    let options = to_peer(peer_of(station), addresses, PeerCondition::Disconnected);
                    (options, Dialled::Station(station))
                }
                Plan::Join { number, address } => {
                    let options = match peer_in(&address) {
                        Some(peer) => to_peer(peer, vec![address], PeerCondition::Disconnected),
                        None => to_address(address),
                    };
                    (options, Dialled::Join(number))
                }
            };
            self.dial(options, Dial::Planned(dialled));
        }
    }
}

/// Dials a peer whose id is known, from a new port: over the listening port two simultaneous dials would meet in one
/// TCP connection with two initiators, and fail.
fn to_peer(peer: PeerId, addresses: Vec<Multiaddr>, condition: PeerCondition) -> DialOpts {
    DialOpts::peer_id(peer).condition(condition).addresses(addresses).allocate_new_port().build()
}

/// Dials whoever is at `address`.
fn to_address(address: Multiaddr) -> DialOpts {
    DialOpts::unknown_peer_id().address(address).allocate_new_port().build()
}

/// Replies to a dial; whoever asked may have left.
pub(super) fn reply(respond_to: Asked, outcome: Result<StationId, DialError>) {
    let _ = respond_to.send(outcome);
}

/// What the swarm's error means to who asked for the dial of `address`; `own` if we listen there.
fn dial_error(address: Multiaddr, own: bool, error: swarm::DialError) -> DialError {
    match error {
        swarm::DialError::LocalPeerId { .. } => DialError::Ourselves,
        swarm::DialError::NoAddresses if own => DialError::Ourselves,
        swarm::DialError::NoAddresses => DialError::NotDialable { address },
        swarm::DialError::WrongPeerId { obtained, .. } => {
            match peer_in(&address).and_then(|expected| station_of(&expected)) {
                Some(expected) => DialError::WrongStation { expected, found: obtained.to_string() },
                None => DialError::NotAStation,
            }
        }
        swarm::DialError::Denied { cause } => {
            if cause.downcast_ref::<allow_block_list::Blocked>().is_some() {
                DialError::Blocked
            } else if cause.downcast_ref::<Refused>().is_some()
                || cause.downcast_ref::<memory_connection_limits::MemoryUsageLimitExceeded>().is_some()
            {
                DialError::TooManyConnections
            } else {
                DialError::Unreachable { address, source: io::Error::other(cause) }
            }
        }
        swarm::DialError::Transport(errors) => match errors.into_iter().next_back() {
            Some((_, libp2p::TransportError::Other(source))) => {
                DialError::Unreachable { address, source: root_cause(source) }
            }
            Some((_, libp2p::TransportError::MultiaddrNotSupported(_))) | None => DialError::NotDialable { address },
        },
        swarm::DialError::Aborted | swarm::DialError::DialPeerConditionFalse(_) => DialError::Closed,
    }
}
