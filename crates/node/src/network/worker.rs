//! The task that owns the swarm: carries out commands, and turns what libp2p reports into events.

mod asking;
mod dials;
mod judging;
mod swarm_events;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::request_response::{InboundRequestId, OutboundRequestId, ResponseChannel};
use libp2p::swarm::ConnectionId;
use libp2p::{Swarm, gossipsub};
use qfzz_ledger_core::ids::{FederationId, StationId};
use qfzz_ledger_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::address_book::AddressBook;
use super::behaviour::Behaviour;
use super::event::{Misconduct, NetworkEvent, Outbox, Room, Topic, Untaken};
use super::handle::{Command, NetworkHandle};
use super::links::Links;
use super::names::{Names, peer_of, station_of};
use super::peers::Peers;
use super::{COMMAND_CAPACITY, EVENT_CAPACITY, NetworkConfig};
use crate::rate::{Bucket, Rate};

use asking::Asking;
use dials::{Dial, Waiter};
use judging::Unjudged;

/// How often it is seen to what is due: dials, overdue peers, the address book.
const TICK: Duration = Duration::from_millis(200);

/// How long `stop` waits for answers under way, and then for connections to close, at most.
const DRAIN: Duration = Duration::from_millis(500);

/// Between the last answer or message and the closing of connections. A peer that reads both at once drops the stream
/// with the connection, unread.
const LINGER: Duration = Duration::from_millis(100);

/// How often the log tells that stations come and go: strangers with ever new keys must not fill it.
const TOLD: Rate = Rate::per_minute(200, 60);

/// An answer with the room that it takes, or that there will be none; who asked, the request where its leaving is
/// waited for, and the stream.
type Answer = (StationId, Option<InboundRequestId>, ResponseChannel<Vec<u8>>, Option<(Vec<u8>, Option<Room>)>);

struct Worker {
    swarm: Swarm<Behaviour>,
    names: Names,
    station: StationId,
    federation: FederationId,
    genesis: Vec<u8>,
    commands: mpsc::Receiver<Command>,
    outbox: Outbox,
    dropped_gossip: Arc<AtomicU64>,
    peers: Peers,
    links: Links,
    dials: HashMap<ConnectionId, Dial>,
    waiters: HashMap<StationId, Vec<Waiter>>,
    /// Our requests under way.
    requests: HashMap<OutboundRequestId, Asking>,
    /// Requests of peers that the owner has yet to answer.
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Requests of peers whose answer has yet to leave, with the room that it takes.
    answering: HashMap<InboundRequestId, Option<Room>>,
    untaken: Untaken,
    unjudged: Unjudged,
    /// How often it may yet be told that stations come and go.
    told: Bucket,
    started: Instant,
    /// New stations came, so others may be found through them.
    discovery_due: bool,
    /// Connections end because we do.
    is_ending: bool,
    book: AddressBook,
    /// Whether the book holds those who called us, too.
    remembers_callers: Arc<AtomicBool>,
}

/// Starts the task.
pub(super) fn spawn(
    swarm: Swarm<Behaviour>,
    names: Names,
    config: NetworkConfig,
) -> (NetworkHandle, mpsc::Receiver<NetworkEvent>) {
    let (commands, receiver) = mpsc::channel(COMMAND_CAPACITY);
    let (events, event_receiver) = mpsc::channel(EVENT_CAPACITY);
    let dropped_gossip = Arc::new(AtomicU64::new(0));
    let station = station_of(swarm.local_peer_id()).expect("our key is Ed25519");
    let (book, known) = AddressBook::open(config.address_book, config.federation, Instant::now());
    let worker = Worker {
        swarm,
        names,
        station,
        federation: config.federation,
        genesis: config.genesis,
        commands: receiver,
        outbox: Outbox::new(events),
        dropped_gossip: Arc::clone(&dropped_gossip),
        peers: Peers::new(
            station,
            known,
            config.join,
            config.remembers_callers.load(Ordering::Acquire),
            Instant::now(),
        ),
        links: Links::default(),
        dials: HashMap::new(),
        waiters: HashMap::new(),
        requests: HashMap::new(),
        answers: FuturesUnordered::new(),
        answering: HashMap::new(),
        untaken: Untaken::default(),
        unjudged: Unjudged::default(),
        told: Bucket::full(TOLD, 0),
        started: Instant::now(),
        discovery_due: false,
        is_ending: false,
        book,
        remembers_callers: config.remembers_callers,
    };
    tokio::spawn(worker.run());
    (NetworkHandle { station, commands, dropped_gossip }, event_receiver)
}

impl Worker {
    async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopped = loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::Stop { respond_to }) => break Some(respond_to),
                    Some(command) => self.on_command(command),
                    None => break None,
                },
                Some(answer) = self.answers.next() => self.on_answer(answer),
                () = self.outbox.flush(), if self.outbox.is_waiting() => {}
                _ = tick.tick() => {
                    if self.outbox.is_closed() {
                        break None;
                    }
                    self.on_tick();
                }
            }
        };
        self.drain().await;
        let Self { swarm, mut peers, mut book, remembers_callers, .. } = self;
        drop(swarm);
        book.close(peers.changed_book(remembers_callers.load(Ordering::Acquire))).await;
        if let Some(respond_to) = stopped {
            // Whoever asked may have left meanwhile.
            let _ = respond_to.send(());
        }
    }

    fn on_command(&mut self, command: Command) {
        // Replies may find that whoever asked has left: then nobody misses them.
        match command {
            Command::Publish { topic, data } => self.on_publish(topic, data),
            Command::Verdict { message, verdict } => self.on_verdict(&message, verdict),
            Command::LeaveOut { message } => self.leave_out(&message),
            Command::Request { peer, data, respond_to } => self.on_request(peer, data, respond_to),
            Command::Dial { address, respond_to } => self.on_dial(address, respond_to),
            Command::Disconnect { peer, reason, respond_to } => {
                tracing::info!(%peer, %reason, "disconnecting a station");
                self.peers.pause(peer, Instant::now());
                self.disconnect(peer);
                let _ = respond_to.send(());
            }
            Command::Block { peer, respond_to } => {
                self.on_block(peer);
                let _ = respond_to.send(());
            }
            Command::Unblock { peer, respond_to } => {
                self.swarm.behaviour_mut().blocked.unblock_peer(peer_of(peer));
                self.peers.unblock(peer, Instant::now());
                let _ = respond_to.send(());
            }
            Command::Peers { respond_to } => {
                let _ = respond_to.send(self.links.peers());
            }
            Command::JoinTroubles { respond_to } => {
                let _ = respond_to.send(self.peers.join_troubles());
            }
            Command::Listeners { respond_to } => {
                let _ = respond_to.send(self.swarm.listeners().cloned().collect());
            }
            Command::Stop { .. } => unreachable!("the loop in `run` takes it"),
        }
    }

    fn on_publish(&mut self, topic: Topic, data: Vec<u8>) {
        let topic = self.names.topic(topic).clone();
        match self.swarm.behaviour_mut().gossip.router.publish(topic, data) {
            Ok(_)
            | Err(gossipsub::PublishError::NoPeersSubscribedToTopic)
            | Err(gossipsub::PublishError::Duplicate) => {}
            Err(error) => tracing::warn!(%error, "a message was not published; sync will carry it"),
        }
    }

    fn on_answer(&mut self, (station, id, channel, answer): Answer) {
        if let Some(link) = self.links.get_mut(station) {
            link.conduct().answered();
        }
        match (answer, id) {
            (Some((answer, room)), Some(id)) => {
                self.answering.insert(id, room);
                if self.swarm.behaviour_mut().sync.send_response(channel, answer).is_err() {
                    self.answering.remove(&id);
                }
            }
            // An error means that the newcomer has left.
            (Some((answer, _)), None) => drop(self.swarm.behaviour_mut().invite.send_response(channel, answer)),
            // Dropping the channel closes the stream.
            (None, id) => {
                id.map(|id| self.answering.remove(&id));
                drop(channel);
            }
        }
    }

    fn on_block(&mut self, station: StationId) {
        let peer = peer_of(station);
        let oldest = self.peers.block(station);
        let behaviour = self.swarm.behaviour_mut();
        behaviour.blocked.block_peer(peer);
        behaviour.kad.remove_peer(&peer);
        if let Some(oldest) = oldest {
            behaviour.blocked.unblock_peer(peer_of(oldest));
        }
    }

    /// Whether the log may tell one more thing about a station that comes or goes.
    fn may_tell(&mut self) -> bool {
        let now = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.told.spend(1, now)
    }

    /// Parts with a peer for what it did, once.
    fn leave(&mut self, station: StationId, what: Misconduct) {
        let Some(link) = self.links.get_mut(station) else { return };
        if std::mem::replace(&mut link.conduct().is_left, true) {
            return;
        }
        tracing::debug!(peer = %station, "parting with a peer: it {what}");
        if !self.outbox.push_if_few(NetworkEvent::Misconduct { peer: station, what }) {
            tracing::debug!(peer = %station, "nobody has time to hear of it");
        }
        self.peers.pause(station, Instant::now());
        self.disconnect(station);
    }

    fn disconnect(&mut self, station: StationId) {
        let peer = peer_of(station);
        // Or kad would dial it again at once.
        self.swarm.behaviour_mut().kad.remove_peer(&peer);
        if self.swarm.disconnect_peer_id(peer).is_err() {
            tracing::debug!(peer = %station, "a station to disconnect is gone already");
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        for station in self.links.overdue(now) {
            tracing::debug!(peer = %station, "disconnecting a peer that is not of our federation");
            self.disconnect(station);
        }
        self.leave_low_scores(now);
        self.unjudged.expire(now, &mut self.links);
        self.give_up_on_silent_peers(now);
        self.dial_what_is_due(now);
        if std::mem::take(&mut self.discovery_due)
            && let Err(error) = self.swarm.behaviour_mut().kad.bootstrap()
        {
            tracing::debug!(%error, "nobody to ask for other stations");
        }
        let remembers_callers = self.remembers_callers.load(Ordering::Acquire);
        self.book.save_if_due(now, || self.peers.changed_book(remembers_callers));
    }

    /// Lets answers and messages under way leave, then closes all connections.
    async fn drain(&mut self) {
        self.is_ending = true;
        self.serve_until(DRAIN, |worker| worker.answering.is_empty()).await;
        if !self.links.is_empty() {
            self.serve_until(LINGER, |_| false).await;
        }
        for station in self.links.stations() {
            // An error means that it is gone already, which is what we want.
            let _ = self.swarm.disconnect_peer_id(peer_of(station));
        }
        self.serve_until(DRAIN, |worker| worker.links.is_empty()).await;
    }

    /// Keeps the swarm going, without commands, until it is `done` or the time is up.
    async fn serve_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) {
        let time_is_up = tokio::time::sleep(time);
        tokio::pin!(time_is_up);
        while !done(self) {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(answer) = self.answers.next() => self.on_answer(answer),
                () = &mut time_is_up => return,
            }
        }
    }
}

/// The time of day.
fn wall_clock() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    i64::try_from(millis).ok().and_then(|millis| Timestamp::from_millis(millis).ok()).unwrap_or(Timestamp::EPOCH)
}

/// Anything from 0 to 65,535, so that stations do not keep step.
fn jitter() -> u16 {
    // Without randomness they keep step; the longer waits of the one with the higher id still part them.
    getrandom::u32().map_or(0, |random| (random & 0xffff) as u16)
}
