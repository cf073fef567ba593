//! Equivocations that were found, and the records that prove them: one against each station, written by this one of its
//! own accord unless another has.

use std::collections::BTreeMap;

use qfzz_ledger_core::equivocation::BatchEquivocation;
use qfzz_ledger_core::ids::{Sequence, StationId};
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::{ReadError, equivocation};
use qfzz_ledger_core::time::Timestamp;

use super::State;
use super::clients::record_events;
use crate::service::effect::{Effect, Event};

/// Proofs that are remembered, at most; what is found beyond that shows again where the two batches meet again.
const MAX_PROOFS: usize = 64;

/// Between two looks whether what was found still has to be proven, in milliseconds.
const LOOK_EVERY_MS: i64 = 1_000;

#[derive(Default)]
pub(super) struct Accusing {
    /// What was found of other stations. It stays when a proof is on the chain: under `hybrid` a reorganisation may put
    /// that before the introduction of the accused, and then it has no effect.
    proofs: BTreeMap<StationId, BatchEquivocation>,
    looked_at: Option<Timestamp>,
    /// The place that this station's own key signed twice, if that was found.
    own: Option<Sequence>,
}

impl<R: LedgerRead> State<R> {
    /// The place in its own log that this station's key signed twice, if that was found since the start.
    pub const fn own_equivocation(&self) -> Option<Sequence> {
        self.accusing.own
    }

    /// Takes up what the ledger found, and proves what nobody has proven yet.
    pub(super) fn accuse(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), ReadError> {
        let mut is_new = false;
        for proof in self.ledger.take_proofs()? {
            let (station, sequence) = (proof.station(), proof.sequence());
            if station == self.ledger.own().station() {
                if self.accusing.own.replace(sequence).is_none() {
                    effects.push(Effect::Event(Event::Equivocation { station, sequence }));
                }
            } else if !self.accusing.proofs.contains_key(&station) && self.has_room()? {
                effects.push(Effect::Event(Event::Equivocation { station, sequence }));
                self.accusing.proofs.insert(station, proof);
                is_new = true;
            }
        }
        let is_due = self.accusing.looked_at.is_none_or(|at| now.since(at) >= LOOK_EVERY_MS || now < at);
        if self.accusing.proofs.is_empty() || !(is_new || is_due) || !self.signing.may_sign() {
            return Ok(());
        }
        self.accusing.looked_at = Some(now);
        let mut records = Vec::new();
        for (station, proof) in &self.accusing.proofs {
            if !self.ledger.is_accused(station)? && self.ledger.convicts(proof)? {
                records.push(Record::BatchEquivocation(Box::new(proof.clone())));
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let Some(transition) = self.ledger.sign(records, now)? else { return Ok(()) };
        let batches = transition.own_batches.clone();
        effects.push(Effect::Persist(Box::new(transition)));
        effects.extend(batches.iter().cloned().map(Effect::PublishBatch));
        effects.extend(record_events(&batches));
        Ok(())
    }

    /// Whether one more proof can be remembered; one that is on the chain makes room for it.
    fn has_room(&mut self) -> Result<bool, ReadError> {
        if self.accusing.proofs.len() < MAX_PROOFS {
            return Ok(true);
        }
        for station in self.accusing.proofs.keys() {
            if equivocation(self.ledger.read(), station)?.is_some() {
                let station = *station;
                self.accusing.proofs.remove(&station);
                return Ok(true);
            }
        }
        Ok(false)
    }
}
