//! What the swarm reports, one handler for each kind.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::FutureExt;
use libp2p::core::ConnectedPoint;
use libp2p::gossipsub;
use libp2p::request_response::{InboundRequestId, Message, ResponseChannel};
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{self, ConnectionError, ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, kad, mdns, ping};
use qfzz_ledger_core::ids::StationId;
use tokio::sync::oneshot;

use super::super::behaviour::BehaviourEvent;
use super::super::event::{MessageRef, Misconduct, NetworkEvent, Responder};
use super::super::handle::{DialError, Direction};
use super::super::links::Closed;
use super::super::muxer::is_too_many_streams;
use super::super::names::{Introduction, is_dialable, is_loopback, name_in, peer_of, station_of, without_peer};
use super::super::peers::Federation;
use super::super::session::{self, FrameError, RequestFrame};
use super::super::watch;
use super::super::{MAX_ADDRESSES, MAX_MDNS_ADDRESSES};
use super::dials::{Dial, reply};
use super::{Worker, jitter, wall_clock};
use crate::invitations::Shown;

/// Requests of peers that may wait for the owner's answer, at most; more are refused. They hold 64 KiB each.
const MAX_UNANSWERED: usize = 256;

/// Listening addresses that are read of one peer, at most.
const MAX_TOLD_ADDRESSES: usize = 16;

impl Worker {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                if let (Some(ConnectionError::IO(error)), Some(station)) = (&cause, station_of(&peer_id))
                    && is_too_many_streams(error)
                {
                    self.leave(station, Misconduct::StreamFlood);
                }
                self.on_closed(peer_id, connection_id, cause.as_ref());
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_outgoing_error(connection_id, peer_id, error);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening");
                self.outbox.push(NetworkEvent::Listening(address));
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener has trouble"),
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::error!(?addresses, %error, "no longer listening");
            }
            // Others are either of no consequence here, or followed by one of the above.
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, connection_id, info }) => {
                if let Some(station) = station_of(&peer_id) {
                    self.on_identified(station, connection_id, info);
                }
            }
            BehaviourEvent::Identify(_) => {}
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Mdns(event) => self.on_mdns(event),
            BehaviourEvent::Gossip(watch::Event::Gossip(event)) => self.on_gossip(event),
            BehaviourEvent::Gossip(watch::Event::Misconduct(peer, what)) => {
                if let Some(station) = station_of(&peer) {
                    self.leave(station, what);
                }
            }
            BehaviourEvent::Sync(event) => self.on_session(event),
            BehaviourEvent::Genesis(event) => self.on_genesis(event),
            BehaviourEvent::Invite(event) => self.on_invite(event),
            // The limits report nothing: their event types have no value.
        }
    }

    fn on_established(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let dial = self.dials.remove(&connection);
        let Some(station) = station_of(&peer) else {
            // No station has such a key. An error would mean that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
            if let Some(Dial::Asked { respond_to, .. }) = dial {
                reply(respond_to, Err(DialError::NotAStation));
            } else if let Some(Dial::Planned(dialled)) = dial {
                self.peers.failed(dialled, Instant::now(), jitter());
            }
            return;
        };
        let (address, direction) = match endpoint {
            ConnectedPoint::Dialer { address, .. } => (address.clone(), Direction::Outbound),
            ConnectedPoint::Listener { send_back_addr, .. } => (send_back_addr.clone(), Direction::Inbound),
        };
        self.links.opened(station, connection, without_peer(address), direction, Instant::now());
        if dial.is_some() && self.links.is_confirmed(station) {
            // One connection is enough. The other side cannot be closing the other one: it was complete before this.
            self.swarm.close_connection(connection);
        }
        match dial {
            Some(Dial::Planned(dialled)) => self.peers.answered(dialled, station),
            Some(Dial::Asked { respond_to, .. }) => {
                self.peers.asked_for(station);
                self.wait_for(station, respond_to);
            }
            None => return,
        }
        self.tell_if_familiar(station);
    }

    fn on_closed(&mut self, peer: PeerId, connection: ConnectionId, cause: Option<&ConnectionError>) {
        let Some(station) = station_of(&peer) else { return };
        let now = Instant::now();
        let stood = match self.links.closed(station, connection, now) {
            Closed::Others => return,
            Closed::Replaced => {
                tracing::debug!(peer = %station, "starting afresh with a station that had restarted");
                // An error means that it is gone already.
                let _ = self.swarm.disconnect_peer_id(peer);
                return;
            }
            Closed::Last { stood } => stood,
        };
        self.peers.disconnected(station, stood, now, wall_clock(), jitter());
        let foreign = self.peers.foreign_federation(station).cloned();
        self.tell_waiters(station, || Err(foreign.clone().map_or(DialError::Closed, |f| foreign_error(station, f))));
        if stood.is_some() {
            if self.may_tell() {
                let others = self.links.peers().len();
                let cause = cause.map_or_else(|| "closed".to_owned(), ToString::to_string);
                tracing::info!(peer = %station, %cause, others, "a station disconnected");
                if others == 0 && !self.is_ending {
                    tracing::warn!(
                        "no other station is connected now: records and mining go on, and the others are called again"
                    );
                }
            }
            self.outbox.push(NetworkEvent::Disconnected { peer: station });
        }
    }

    fn on_outgoing_error(&mut self, connection: ConnectionId, peer: Option<PeerId>, error: swarm::DialError) {
        let station = peer.and_then(|peer| station_of(&peer));
        match (self.dials.remove(&connection), station) {
            (Some(dial), _) => self.on_dial_failed(dial, station, error),
            // A dial of kad's: others told it of this station, so we try it ourselves, and only then give up on it.
            (None, Some(station)) => {
                if let swarm::DialError::Transport(errors) = error {
                    let addresses = errors.into_iter().map(|(address, _)| address).filter(is_dialable).collect();
                    self.peers.heard_of(station, addresses, Instant::now());
                }
            }
            (None, None) => {}
        }
    }

    fn on_identified(&mut self, station: StationId, connection: ConnectionId, info: identify::Info) {
        let federation = match Introduction::read(&info.protocol_version) {
            Introduction::Member { federation, .. } if federation == self.federation => {
                if self.confirm(station) {
                    self.learn_addresses(station, connection, info);
                }
                return;
            }
            Introduction::Member { federation, name } => Some((federation, name)),
            // It fetches our genesis and leaves.
            Introduction::Newcomer => return,
            Introduction::Stranger => None,
        };
        self.on_foreign(station, federation);
    }

    fn on_foreign(&mut self, station: StationId, federation: Federation) {
        let now = Instant::now();
        if let Some(link) = self.links.get_mut(station) {
            link.is_foreign(now);
        }
        self.tell_waiters(station, || Err(foreign_error(station, federation.clone())));
        if self.peers.is_foreign(station, federation.clone(), now) {
            tracing::debug!(peer = %station, ?federation, "a peer is not of our federation");
            // Lost where many wait: it is only told.
            let _ = self.outbox.push_if_few(NetworkEvent::OtherFederation { peer: station, federation });
        }
    }

    /// The operator asked for a station, which may be here already.
    pub(super) fn on_asked_for(&mut self, station: StationId) {
        self.peers.asked_for(station);
        self.tell_if_familiar(station);
    }

    /// Tells it of a confirmed station: it may have called us before we found it.
    fn tell_if_familiar(&mut self, station: StationId) {
        if self.links.is_confirmed(station) && self.peers.is_familiar(station) {
            self.outbox.push(NetworkEvent::Familiar { peer: station });
        }
    }

    /// `station` has shown that it is of our federation, by its introduction or by speaking our protocols. Returns
    /// whether that is so, and it is still here.
    pub(super) fn confirm(&mut self, station: StationId) -> bool {
        let (now, wall) = (Instant::now(), wall_clock());
        let Some(link) = self.links.get_mut(station).filter(|link| !link.is_left()) else { return false };
        if !link.confirm(now, wall) {
            return link.is_confirmed();
        }
        let address = link.address().clone();
        let subscribed = link.tell_subscription();
        if self.may_tell() {
            tracing::info!(peer = %station, %address, "a station connected");
        }
        self.peers.confirmed(station, now, wall);
        self.outbox.push(NetworkEvent::Connected { peer: station, address });
        self.tell_if_familiar(station);
        if subscribed {
            self.outbox.push(NetworkEvent::Subscribed { peer: station });
        }
        self.tell_waiters(station, || Ok(station));
        true
    }

    /// Keeps where `station` can be dialled, and looks for others through it.
    fn learn_addresses(&mut self, station: StationId, connection: ConnectionId, info: identify::Info) {
        let Some(link) = self.links.get(station) else { return };
        let same_machine = is_loopback(link.address());
        let told = info.listen_addrs.into_iter().take(MAX_TOLD_ADDRESSES);
        let told = told.filter(|address| is_dialable(address) && (same_machine || !is_loopback(address)));
        let told: Vec<Multiaddr> = told.map(without_peer).collect();
        let dialled = link.dialled_address(connection).cloned();
        if let Some(link) = self.links.get_mut(station) {
            link.told(name_in(&info.agent_version), told.clone());
        }
        let addresses: Vec<Multiaddr> = dialled.into_iter().chain(told).collect();
        if info.protocols.contains(&self.names.kad) {
            // Afresh: a peer may tell of other addresses as often as it likes, and kad forgets none.
            let (kad, peer) = (&mut self.swarm.behaviour_mut().kad, peer_of(station));
            kad.remove_peer(&peer);
            for address in addresses.iter().take(MAX_ADDRESSES) {
                kad.add_address(&peer, address.clone());
            }
            self.discovery_due = true;
        }
        self.peers.reachable_at(station, addresses);
    }

    fn on_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(round_trip) => {
                if let Some(link) = station_of(&event.peer).and_then(|station| self.links.get_mut(station)) {
                    link.pinged(round_trip);
                }
            }
            Err(ping::Failure::Timeout) => {
                // The other end is gone without a word; TCP itself would notice minutes later.
                tracing::debug!(peer = %event.peer, "closing a dead connection");
                self.swarm.close_connection(event.connection);
            }
            Err(error) => tracing::debug!(peer = %event.peer, %error, "a ping failed"),
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        if let kad::Event::RoutingUpdated { peer, addresses, is_new_peer: true, .. } = event
            && let Some(station) = station_of(&peer)
        {
            let addresses = addresses.iter().filter(|address| is_dialable(address)).cloned().collect();
            self.peers.heard_of(station, addresses, Instant::now());
        }
    }

    /// Somebody on the local network speaks libp2p; whether of our federation shows when it is connected.
    fn on_mdns(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(discovered) = event else { return };
        let mut heard: BTreeMap<StationId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in discovered {
            if let Some(station) = station_of(&peer).filter(|_| is_dialable(&address) && !is_loopback(&address)) {
                heard.entry(station).or_default().push(address);
            }
        }
        for (station, addresses) in heard {
            tracing::debug!(peer = %station, ?addresses, "mDNS tells of a station");
            self.peers.heard_of(station, addresses, Instant::now());
        }
        let mdns = &mut self.swarm.behaviour_mut().mdns;
        if mdns.as_ref().is_some_and(|mdns| mdns.discovered_nodes().len() > MAX_MDNS_ADDRESSES) {
            tracing::warn!("somebody floods mDNS with addresses: it is turned off until the next start");
            *mdns = Toggle::from(None);
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let message_ref = MessageRef { id: message_id, from: propagation_source };
                self.on_gossip_message(message_ref, message);
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                if let (Some(station), Some(topic)) = (station_of(&peer_id), self.names.topic_of(&topic))
                    && let Some(link) = self.links.get_mut(station)
                {
                    link.subscribed(topic);
                    if link.tell_subscription() {
                        self.outbox.push(NetworkEvent::Subscribed { peer: station });
                    }
                }
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                if let (Some(station), Some(topic)) = (station_of(&peer_id), self.names.topic_of(&topic))
                    && let Some(link) = self.links.get_mut(station)
                {
                    link.unsubscribed(topic);
                }
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "a peer takes gossip slowly; sync will bring what it misses");
            }
            gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    fn on_session(&mut self, event: session::Event) {
        match event {
            session::Event::Message { peer, message: Message::Request { request_id, request, channel }, .. } => {
                if let Some(station) = station_of(&peer) {
                    self.on_inbound_request(station, request_id, request, channel);
                }
            }
            session::Event::Message { message: Message::Response { request_id, response }, .. } => {
                if let Some(asking) = self.requests.remove(&request_id) {
                    asking.end(Ok(response));
                }
            }
            session::Event::OutboundFailure { connection_id, request_id, error, .. } => {
                self.on_request_failed(request_id, connection_id, session::failure(error));
            }
            session::Event::InboundFailure { peer, request_id, error, .. } => {
                self.answering.remove(&request_id);
                tracing::debug!(%peer, %error, "a request was not answered");
            }
            session::Event::ResponseSent { request_id, .. } => {
                self.answering.remove(&request_id);
            }
        }
    }

    /// Hands a request to the owner. Where it is refused, dropping `channel` closes the stream.
    fn on_inbound_request(
        &mut self,
        station: StationId,
        id: InboundRequestId,
        request: RequestFrame,
        channel: ResponseChannel<Vec<u8>>,
    ) {
        if !self.confirm(station) {
            return;
        }
        let data = match request {
            Ok(data) => data,
            Err(error) => return self.leave(station, Misconduct::MalformedRequest(error)),
        };
        let has_room = self.answers.len() < MAX_UNANSWERED;
        if !(has_room && self.links.get_mut(station).is_some_and(|link| link.conduct().asked())) {
            tracing::debug!(peer = %station, "too many requests are waiting; one is refused");
            return;
        }
        let (respond, answer) = oneshot::channel();
        self.answering.insert(id, None);
        self.answers.push(answer.map(move |answer| (station, Some(id), channel, answer.ok())).boxed());
        let respond = Responder { answer: respond, peer: station, untaken: self.untaken.clone() };
        self.outbox.push(NetworkEvent::Request { peer: station, data, respond });
    }

    fn on_genesis(&mut self, event: session::Event) {
        let session::Event::Message { peer, message: Message::Request { request, channel, .. }, .. } = event else {
            return;
        };
        let Some(station) = station_of(&peer) else { return };
        if let Err(error) = request {
            return self.leave(station, Misconduct::MalformedRequest(error));
        }
        let now = Instant::now();
        if self.links.get_mut(station).is_some_and(|link| !link.conduct().asked_for_genesis(now)) {
            return self.leave(station, Misconduct::GenesisFlood);
        }
        // An error means that the newcomer has left.
        let _ = self.swarm.behaviour_mut().genesis.send_response(channel, self.genesis.clone());
    }
}

impl Worker {
    /// Hands an invitation to the owner, from whoever shows it.
    fn on_invite(&mut self, event: session::Event) {
        let session::Event::Message { peer, message: Message::Request { request, channel, .. }, .. } = event else {
            return;
        };
        let Some(station) = station_of(&peer) else { return };
        let shown = match request {
            Ok(data) => <[u8; Shown::BYTES]>::try_from(data).map(Shown::read).map_err(|_| FrameError::Truncated),
            Err(error) => Err(error),
        };
        let shown = match shown {
            Ok(shown) => shown,
            Err(error) => return self.leave(station, Misconduct::MalformedRequest(error)),
        };
        let now = Instant::now();
        if self.links.get_mut(station).is_some_and(|link| !link.conduct().showed_invitation(now)) {
            return self.leave(station, Misconduct::InvitationFlood);
        }
        let has_room = self.answers.len() < MAX_UNANSWERED;
        if !(has_room && self.links.get_mut(station).is_some_and(|link| link.conduct().asked())) {
            return;
        }
        let (respond, answer) = oneshot::channel();
        self.answers.push(answer.map(move |answer| (station, None, channel, answer.ok())).boxed());
        let respond = Responder { answer: respond, peer: station, untaken: self.untaken.clone() };
        self.outbox.push(NetworkEvent::Invitation { peer: station, shown, respond });
    }
}

/// The outcome of a dial that led to a peer of another federation, or of none.
fn foreign_error(station: StationId, federation: Federation) -> DialError {
    match federation {
        Some((id, name)) => DialError::OtherFederation { station, name, id },
        None => DialError::NotAStation,
    }
}
