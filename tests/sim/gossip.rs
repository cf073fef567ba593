//! Gossip: what a station publishes or accepts goes to everybody whose subscription it knows, once.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::limits::MAX_GOSSIP_BYTES;
use qfzz_node::service::effect::{Input, MessageToken};
use sha2::{Digest, Sha256};

use crate::trace::Short;
use crate::world::{Event, World};

/// How long a message is remembered, in milliseconds: as gossipsub does.
const SEEN_MS: i64 = 60_000;

/// How long a message can be passed on, in milliseconds: what gossipsub keeps for that.
const PASSED_ON_MS: i64 = 5_000;

/// How much longer a straggling message takes, in milliseconds, at most.
const STRAGGLING_MS: i64 = 4_000;

/// The two topics.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Topic {
    Batches,
    Blocks,
}

/// A message as it travels.
pub(crate) struct Message {
    topic: Topic,
    id: [u8; 32],
    data: Vec<u8>,
}

struct Owed {
    message: Arc<Message>,
    from: usize,
    since: i64,
}

/// What a running station knows of messages.
#[derive(Default)]
pub(crate) struct Gossip {
    seen: HashSet<[u8; 32]>,
    order: VecDeque<(i64, [u8; 32])>,
    owed: BTreeMap<MessageToken, Owed>,
}

impl Gossip {
    /// Whether a message is new; it is not any more.
    fn is_new(&mut self, id: [u8; 32], now: i64) -> bool {
        while let Some((_, oldest)) = self.order.pop_front_if(|(since, _)| now - *since > SEEN_MS) {
            self.seen.remove(&oldest);
        }
        let is_new = self.seen.insert(id);
        if is_new {
            self.order.push_back((now, id));
        }
        is_new
    }
}

impl World {
    pub(crate) fn publish_batch(&mut self, number: usize, batch: &VerifiedBatch) {
        let sequence = batch.sequence();
        let data = encode(batch.signed());
        let Some(station) = self.numbers.get(&batch.station()).copied() else {
            return self.publish(number, Topic::Batches, data, format_args!("batch {sequence} of the liar"));
        };
        if let Err(broken) = self.clients.leaves(batch) {
            self.fail(format_args!("s{number} {broken}"));
        }
        self.publish(number, Topic::Batches, data, format_args!("batch s{station}.{sequence}"));
    }

    pub(crate) fn publish_block(&mut self, number: usize, block: &VerifiedBlock) {
        self.clients.announced(block.hash());
        let (index, hash) = (block.index(), block.hash());
        let what = format_args!("block {index} {}", Short(hash.as_bytes()));
        self.publish(number, Topic::Blocks, encode(&block.announcement()), what);
    }

    fn publish(&mut self, number: usize, topic: Topic, data: Vec<u8>, what: std::fmt::Arguments<'_>) {
        let id: [u8; 32] = Sha256::digest(&data).into();
        if data.len() > MAX_GOSSIP_BYTES {
            self.fail(format_args!("s{number} publishes {} bytes", data.len()));
        }
        let now = self.now;
        let is_new = self.stations[number].running.as_mut().is_some_and(|running| running.gossip.is_new(id, now));
        if is_new {
            self.line(format_args!("s{number} publishes {what} as {}", Short(&id)));
            self.spread(number, None, &Arc::new(Message { topic, id, data }));
        }
    }

    fn spread(&mut self, number: usize, but: Option<usize>, message: &Arc<Message>) {
        for to in self.links.gossips_with(number) {
            if Some(to) != but {
                let Some(epoch) = self.links.get(number, to).map(|link| link.epoch) else { continue };
                for delay in self.transmit(number, to) {
                    let message = Arc::clone(message);
                    self.after(delay, Event::Gossip { from: number, to, epoch, message });
                }
            }
        }
    }

    /// How long each copy of a message takes that is sent now: none if it is lost.
    pub(crate) fn transmit(&mut self, from: usize, to: usize) -> Vec<i64> {
        self.totals.messages += 1;
        let is_quiet = self.is_quiet();
        let (scenario, network) = (&self.scenario, &mut self.network);
        if self.links.is_mute(from, to) || (network.percent(scenario.loss) && !is_quiet) {
            self.totals.lost += 1;
            return Vec::new();
        }
        let mut copies = 1;
        if network.percent(scenario.duplication) {
            self.totals.duplicated += 1;
            copies = 2;
        }
        let mut delay = || {
            let straggles = if network.percent(scenario.stragglers) { network.between(0, STRAGGLING_MS) } else { 0 };
            network.between(scenario.delay_ms.0, scenario.delay_ms.1) + straggles
        };
        (0..copies).map(|_| delay()).collect()
    }

    /// Whether what was sent in this epoch of a link arrives.
    pub(crate) fn arrives(&mut self, from: usize, to: usize, epoch: u64) -> bool {
        let arrives = self.links.connected(from, to) == Some(epoch);
        self.totals.lost += u64::from(!arrives);
        arrives
    }

    pub(crate) fn on_gossip(&mut self, from: usize, to: usize, epoch: u64, message: &Arc<Message>) {
        let (now, token) = (self.now, self.clients.next_token());
        if !self.arrives(from, to, epoch) {
            return;
        }
        let Some(running) = &mut self.stations[to].running else { return };
        if !running.gossip.is_new(message.id, now) {
            return;
        }
        running.gossip.owed.insert(token, Owed { message: Arc::clone(message), from, since: now });
        self.line(format_args!("s{to} hears {} from s{from}", Short(&message.id)));
        let (from, data) = (self.stations[from].id, message.data.clone());
        self.input(
            to,
            match message.topic {
                Topic::Batches => Input::GossipBatch { message: token, from, data },
                Topic::Blocks => Input::GossipBlock { message: token, from, data },
            },
        );
    }

    /// A station hears a batch, from one of its neighbours as it seems; false if it is down or alone.
    pub(crate) fn hear_from_outside(&mut self, to: usize, batch: &VerifiedBatch) -> bool {
        let (now, token) = (self.now, self.clients.next_token());
        let Some(from) = self.links.gossips_with(to).first().copied() else { return false };
        let Some(running) = &mut self.stations[to].running else { return false };
        let data = encode(batch.signed());
        let id: [u8; 32] = Sha256::digest(&data).into();
        if running.gossip.is_new(id, now) {
            let message = Arc::new(Message { topic: Topic::Batches, id, data: data.clone() });
            running.gossip.owed.insert(token, Owed { message, from, since: now });
            let from = self.stations[from].id;
            self.input(to, Input::GossipBatch { message: token, from, data });
        }
        true
    }

    /// The message was accepted: others hear of it from here.
    pub(crate) fn pass_on(&mut self, number: usize, token: MessageToken) {
        let running = self.stations[number].running.as_mut();
        let Some(owed) = running.and_then(|running| running.gossip.owed.remove(&token)) else { return };
        if self.now - owed.since <= PASSED_ON_MS {
            self.spread(number, Some(owed.from), &owed.message);
        }
    }

    pub(crate) fn on_connected(&mut self, link: (usize, usize), epoch: u64) {
        let Some(known) = self.links.get_mut(link.0, link.1).filter(|known| known.is_open && known.epoch == epoch)
        else {
            return;
        };
        known.is_told = true;
        self.line(format_args!("s{} and s{} are connected", link.0, link.1));
        for (side, (station, peer)) in [link, (link.1, link.0)].into_iter().enumerate() {
            self.input(station, Input::Connected(self.stations[peer].id));
            self.input(station, Input::Familiar(self.stations[peer].id));
            let delay = self.network.between(1, 300);
            self.after(delay, Event::Subscribed { link, side, epoch });
        }
    }

    pub(crate) fn on_subscribed(&mut self, link: (usize, usize), side: usize, epoch: u64) {
        let Some(known) = self.links.get_mut(link.0, link.1).filter(|known| known.is_open && known.epoch == epoch)
        else {
            return;
        };
        known.is_subscribed[side] = true;
        let (station, peer) = if side == 0 { link } else { (link.1, link.0) };
        self.line(format_args!("s{station} knows that s{peer} listens"));
        self.input(station, Input::Subscribed(self.stations[peer].id));
    }

    pub(crate) fn on_disconnected(&mut self, station: usize, life: u32, peer: usize) {
        if self.lives(station, life) {
            self.line(format_args!("s{station} is disconnected from s{peer}"));
            self.break_off(station, peer);
            self.input(station, Input::Disconnected(self.stations[peer].id));
        }
    }
}
