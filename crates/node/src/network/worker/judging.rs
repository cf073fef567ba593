//! Gossip on its way to a verdict, and what verdicts say about who sent it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use libp2p::gossipsub::{self, MessageId};
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::limits::MAX_GOSSIP_BYTES;

use super::super::event::{MessageRef, Misconduct, NetworkEvent, Verdict};
use super::super::gossip;
use super::super::links::Links;
use super::super::names::{peer_of, station_of};
use super::Worker;

/// Bytes of messages that wait for their verdict, at most, over all peers. gossipsub keeps each a second time.
const MAX_UNJUDGED_BYTES: usize = 16 * 1024 * 1024;

/// How long a verdict is waited for: twice as long as it counts.
const UNJUDGED_FOR: Duration = Duration::from_secs(10);

/// Messages that wait for their verdict.
#[derive(Debug, Default)]
pub(super) struct Unjudged {
    messages: HashMap<MessageId, (StationId, usize, Instant)>,
    bytes: usize,
}

impl Unjudged {
    /// Takes note of a message; false where too much waits already, of its sender or in all.
    fn insert(&mut self, id: MessageId, from: StationId, bytes: usize, now: Instant, links: &mut Links) -> bool {
        let fits = self.bytes + bytes <= MAX_UNJUDGED_BYTES
            && links.get_mut(from).is_some_and(|link| link.conduct().gossiped(bytes));
        if fits {
            self.bytes += bytes;
            self.messages.insert(id, (from, bytes, now));
        }
        fits
    }

    fn remove(&mut self, id: &MessageId, links: &mut Links) {
        if let Some((from, bytes, _)) = self.messages.remove(id) {
            self.bytes -= bytes;
            if let Some(link) = links.get_mut(from) {
                link.conduct().judged(bytes);
            }
        }
    }

    /// Waits no longer for verdicts that count no more.
    pub(super) fn expire(&mut self, now: Instant, links: &mut Links) {
        let is_late = |since: &Instant| now.saturating_duration_since(*since) >= UNJUDGED_FOR;
        let late: Vec<MessageId> =
            self.messages.iter().filter(|(_, (_, _, since))| is_late(since)).map(|(id, _)| id.clone()).collect();
        for id in late {
            self.remove(&id, links);
        }
    }
}

impl Worker {
    pub(super) fn on_gossip_message(&mut self, message_ref: MessageRef, message: gossipsub::Message) {
        let (Some(source), Some(topic)) = (station_of(&message_ref.from), self.names.topic_of(&message.topic)) else {
            return self.pass_judgement(&message_ref, Verdict::Ignore);
        };
        if message.data.len() > MAX_GOSSIP_BYTES {
            return self.pass_judgement(&message_ref, Verdict::Reject);
        }
        if !self.confirm(source) {
            return self.pass_judgement(&message_ref, Verdict::Ignore);
        }
        let (id, bytes) = (message_ref.id.clone(), message.data.len());
        let is_taken = self.unjudged.insert(id, source, bytes, Instant::now(), &mut self.links);
        let event = NetworkEvent::Gossip { source, message: message_ref.clone(), topic, data: message.data };
        if !(is_taken && self.outbox.offer(event)) {
            self.leave_out(&message_ref);
        }
    }

    /// Nobody looks at a message: it is not forwarded, and that is nobody's fault.
    pub(super) fn leave_out(&mut self, message: &MessageRef) {
        self.dropped_gossip.fetch_add(1, Ordering::Relaxed);
        self.on_verdict(message, Verdict::Unseen);
    }

    /// The owner has judged a message.
    pub(super) fn on_verdict(&mut self, message: &MessageRef, verdict: Verdict) {
        self.unjudged.remove(&message.id, &mut self.links);
        self.pass_judgement(message, verdict);
        let Some(source) = station_of(&message.from).filter(|_| verdict == Verdict::Ignore) else { return };
        let now = Instant::now();
        if self.links.get_mut(source).is_some_and(|link| !link.conduct().sent_useless(now)) {
            self.leave(source, Misconduct::UselessGossip);
        }
    }

    /// Tells gossip what becomes of a message.
    fn pass_judgement(&mut self, message: &MessageRef, verdict: Verdict) {
        let acceptance = gossip::acceptance(verdict);
        let router = &mut self.swarm.behaviour_mut().gossip.router;
        if !router.report_message_validation_result(&message.id, &message.from, acceptance) {
            tracing::debug!(id = %message.id, "a verdict came too late to forward the message");
        }
    }

    /// Parts with peers whose score has been too low for a while.
    pub(super) fn leave_low_scores(&mut self, now: Instant) {
        for station in self.links.stations() {
            let score = self.swarm.behaviour().gossip.router.peer_score(&peer_of(station)).unwrap_or(0.0);
            if self.links.get_mut(station).is_some_and(|link| !link.conduct().scored(score, now)) {
                self.leave(station, Misconduct::GossipScore);
            }
        }
    }
}
