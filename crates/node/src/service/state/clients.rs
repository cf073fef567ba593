//! Clients: records to sign, one transition for all that came while the last one was being written.

use std::collections::VecDeque;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::ReadError;
use qfzz_ledger_core::time::Timestamp;

use super::{NotSigning, State};
use crate::service::effect::{Effect, Event, Receipt, Reply, Token};

/// Records that may wait to be signed; more are refused, not queued.
const MAX_WAITING_RECORDS: usize = 64 * 1_024;

/// Records signed in one transition, at most: 64 full batches, a few MiB in the journal.
const MAX_SIGNED_AT_ONCE: usize = 16 * 1_024;

/// Own pending batches above which the station collects records for a moment before it signs.
const MANY_PENDING: usize = 4_096;

/// That moment, in milliseconds.
const COLLECT_MS: i64 = 20;

/// How long a client waits, in milliseconds, while the station is learning its own log; then it is told so. Longer than
/// a station waits for its peers after its start: usually nobody is turned away.
const PATIENCE_MS: i64 = 8_000;

#[derive(Default)]
pub(super) struct Clients {
    /// With the time when each came.
    waiting: VecDeque<(Token, Vec<Record>, Timestamp)>,
    waiting_records: usize,
    /// The transition that holds what was signed last, until it is on disk.
    in_flight: Option<u64>,
    /// When collecting ends.
    collect_until: Option<Timestamp>,
}

impl Clients {
    pub(super) fn synced(&mut self, number: u64) {
        self.in_flight = self.in_flight.filter(|in_flight| *in_flight > number);
    }

    /// Whose records wait to be signed; they wait no more.
    pub(super) fn take_waiting(&mut self) -> Vec<Token> {
        self.waiting_records = 0;
        self.collect_until = None;
        self.waiting.drain(..).map(|(token, ..)| token).collect()
    }

    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.collect_until.filter(|_| !self.waiting.is_empty() && self.in_flight.is_none())
    }
}

impl<R: LedgerRead> State<R> {
    pub(super) fn on_submit(&mut self, token: Token, records: Vec<Record>, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.clients.waiting_records + records.len() > MAX_WAITING_RECORDS {
            effects.push(Effect::Reply(token, Reply::Overloaded));
            return;
        }
        if self.clients.waiting.is_empty() && self.ledger.pool().len_of(&self.ledger.own().station()) > MANY_PENDING {
            self.clients.collect_until = Some(now.saturating_add(COLLECT_MS));
        }
        self.clients.waiting_records += records.len();
        self.clients.waiting.push_back((token, records, now));
    }

    /// Signs what waits, unless what was signed before is still on its way to the disk: so batches grow under load,
    /// and at rest a batch holds one record and costs no delay.
    pub(super) fn sign_submitted(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), ReadError> {
        if let Some(reason) = self.signing.reason() {
            self.turn_away(reason, now, effects);
            return Ok(());
        }
        let is_collecting = self.clients.collect_until.is_some_and(|until| now < until);
        if self.clients.waiting.is_empty() || self.clients.in_flight.is_some() || is_collecting {
            return Ok(());
        }
        self.clients.collect_until = None;
        let (mut submissions, mut records) = (Vec::new(), Vec::new());
        while let Some((_, next, _)) = self.clients.waiting.front() {
            if !records.is_empty() && records.len() + next.len() > MAX_SIGNED_AT_ONCE {
                break;
            }
            let Some((token, next, _)) = self.clients.waiting.pop_front() else { break };
            self.clients.waiting_records -= next.len();
            submissions.push((token, next.len()));
            records.extend(next);
        }
        let Some(transition) = self.ledger.sign(records, now)? else { return Ok(()) };
        self.clients.in_flight = Some(transition.number);
        let batches = transition.own_batches.clone();
        effects.push(Effect::Persist(Box::new(transition)));
        let mut receipts = self.receipts(&batches).into_iter();
        for (token, count) in submissions {
            effects.push(Effect::Reply(token, Reply::Submitted(receipts.by_ref().take(count).collect())));
        }
        if self.may_publish()? {
            effects.extend(batches.iter().cloned().map(Effect::PublishBatch));
        }
        effects.extend(record_events(&batches));
        Ok(())
    }

    /// Tells those who waited long enough why nothing is signed.
    fn turn_away(&mut self, reason: NotSigning, now: Timestamp, effects: &mut Vec<Effect>) {
        let is_over = |since: Timestamp| now.since(since) >= patience_ms(reason);
        while let Some((token, records, _)) = self.clients.waiting.pop_front_if(|(_, _, since)| is_over(*since)) {
            self.clients.waiting_records -= records.len();
            effects.push(Effect::Reply(token, Reply::NotSigning(reason)));
        }
    }

    fn receipts(&self, batches: &[VerifiedBatch]) -> Vec<Receipt> {
        let rules = self.ledger.rules();
        let of_batch = |batch: &VerifiedBatch| {
            let places = (0..).zip(batch.record_hashes(rules));
            let receipts = places.map(|(index, hash)| Receipt { id: batch.record_id(index), hash, batch: batch.id() });
            receipts.collect::<Vec<_>>()
        };
        batches.iter().flat_map(of_batch).collect()
    }
}

/// How long whoever wants something signed waits, in milliseconds: not at all where it may take minutes.
pub(super) const fn patience_ms(reason: NotSigning) -> i64 {
    match reason {
        NotSigning::LearningLog | NotSigning::LogUnknown => PATIENCE_MS,
        NotSigning::Repairing | NotSigning::AnotherSeen | NotSigning::AnotherDaemon => 0,
    }
}

/// An event for each record of these batches.
pub(super) fn record_events(batches: &[VerifiedBatch]) -> impl Iterator<Item = Effect> {
    batches.iter().flat_map(|batch| {
        (0..batch.header().record_count).map(|index| Effect::Event(Event::Record(batch.record_id(index))))
    })
}
