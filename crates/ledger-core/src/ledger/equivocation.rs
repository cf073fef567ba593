//! Where two signed batches of one place meet: in the pool, among those held, on the chain, off it, in announcements.

use super::{BatchOutcome, Ledger};
use crate::batch::{SignedBatch, SignedBatchHeader, VerifiedBatch};
use crate::block::{Announcement, VerifiedBlock};
use crate::equivocation::BatchEquivocation;
use crate::ids::{BatchId, Sequence, StationId};
use crate::ml_dsa::MlDsaKey;
use crate::overlay::LedgerRead;
use crate::state::{ReadError, equivocation, ml_dsa_key};
use crate::time::Timestamp;

/// What is known at the place of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtPlace {
    /// No batch.
    Nothing,
    /// The same one.
    Same,
    /// Another one: its author equivocated.
    Other,
}

impl<R: LedgerRead> Ledger<R> {
    /// Whether a record on the chain or pending proves that `station` equivocated.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn is_accused(&self, station: &StationId) -> Result<bool, ReadError> {
        /// Pending proofs that are looked at, at most: with a true one behind them it is only told twice.
        const MAX_LOOKED_AT: usize = 4;
        for proof in self.pool.proofs_against(station).take(MAX_LOOKED_AT) {
            if self.convicts(proof)? {
                return Ok(true);
            }
        }
        Ok(equivocation(&self.read, station)?.is_some())
    }

    /// Whether a record with this proof would have an effect in the next block: under `hybrid` not before the introduction
    /// of the accused is on the chain. One that comes earlier proves nothing for good.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn convicts(&self, proof: &BatchEquivocation) -> Result<bool, ReadError> {
        if !self.rules.is_hybrid() {
            return Ok(true);
        }
        let key = ml_dsa_key(&self.read, &proof.station())?;
        Ok(key.is_some_and(|key| proof.is_signed_under(&self.rules, &key)))
    }

    /// Two headers of one place met: if they prove something, the proof waits to be taken. Under `hybrid` they must be
    /// signed with the key of that log as known here.
    fn meet(&mut self, one: SignedBatchHeader, other: SignedBatchHeader) -> Result<(), ReadError> {
        let station = one.header.station;
        if !self.evidence.wants(&station) {
            return Ok(());
        }
        let Ok(proof) = BatchEquivocation::new(&self.rules, one, other) else { return Ok(()) };
        self.judge(proof)
    }

    /// Keeps a pair as a proof, or until its log's key is known here, or not at all where that key did not sign both.
    fn judge(&mut self, proof: BatchEquivocation) -> Result<(), ReadError> {
        if !self.rules.is_hybrid() {
            self.evidence.prove(proof);
            return Ok(());
        }
        match self.known_key(&proof.station())? {
            Some(key) if proof.is_signed_under(&self.rules, &key) => self.evidence.prove(proof),
            Some(_) => {}
            None => self.evidence.suspect(proof),
        }
        Ok(())
    }

    /// Judges what met before the log's key was known here.
    fn judge_suspicions(&mut self) -> Result<(), ReadError> {
        for proof in self.evidence.take_suspicions() {
            self.judge(proof)?;
        }
        Ok(())
    }

    /// The ML-DSA key by which this station judges what is said to be of `station`: its own of itself.
    fn known_key(&self, station: &StationId) -> Result<Option<MlDsaKey>, ReadError> {
        if self.rules.is_hybrid() && *station == self.own.station() {
            return Ok(Some(self.own.key().ml_dsa_key().clone()));
        }
        self.log_key(station)
    }

    /// Remembers a header to compare later ones with, unless its ML-DSA signature is known to be another's.
    pub(super) fn see(&mut self, header: SignedBatchHeader) -> Result<(), ReadError> {
        let key = self.known_key(&header.header.station)?;
        if key.is_none_or(|key| header.is_signed_under(&self.rules, &key)) {
            self.evidence.see(header);
        }
        Ok(())
    }

    /// Takes note of a batch of this station's own log that it had not signed here.
    fn note_foreign(&mut self, batch: &VerifiedBatch) -> Result<(), ReadError> {
        if self.is_signed(batch)? == Some(true) {
            self.evidence.note_foreign(batch.header().created_at);
        }
        Ok(())
    }

    /// The equivocations found since this was last asked, one of each station at most.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn take_proofs(&mut self) -> Result<Vec<BatchEquivocation>, ReadError> {
        self.judge_suspicions()?;
        Ok(self.evidence.take_proofs())
    }

    /// When the newest batch was signed, as it says, that came since this was last asked, is of this station's own log
    /// and was not signed here.
    pub fn take_foreign(&mut self) -> Option<Timestamp> {
        self.evidence.take_foreign()
    }

    /// A batch of a place that is taken: known, or its author equivocated. Before it is believed it is checked; not
    /// where nothing is left to be proven.
    pub(super) fn compare_taken(&mut self, batch: SignedBatch) -> Result<BatchOutcome, ReadError> {
        let station = batch.header.station;
        let id = batch.id(&self.rules);
        if self.is_settled(&station, &id)? {
            return Ok(BatchOutcome::Known);
        }
        match batch.verify(&self.rules) {
            Ok(batch) => Ok(self.outcome_at_taken_place(&batch)?),
            Err(error) => Ok(BatchOutcome::Invalid(error)),
        }
    }

    /// Whether comparing a batch at a taken place cannot prove anything.
    pub(super) fn is_settled(&self, station: &StationId, id: &BatchId) -> Result<bool, ReadError> {
        let is_newest = self.chain_end(station)?.last == *id;
        Ok(is_newest || self.pool.by_id(id).is_some() || self.is_accused(station)?)
    }

    pub(super) fn outcome_at_taken_place(&mut self, batch: &VerifiedBatch) -> Result<BatchOutcome, ReadError> {
        Ok(match self.compare(batch)? {
            AtPlace::Other => BatchOutcome::Taken,
            AtPlace::Nothing | AtPlace::Same => BatchOutcome::Known,
        })
    }

    /// Compares a batch with those that wait or were seen.
    pub(super) fn compare_with_waiting(&mut self, batch: &VerifiedBatch) -> Result<(), ReadError> {
        let (station, sequence) = batch.signed().place();
        match self.waiting_otherwise(&station, sequence, batch.id()) {
            Some(other) => self.meet(other, batch.signed_header()),
            None => Ok(()),
        }
    }

    /// A batch with another id at a place, of those that wait or were seen.
    fn waiting_otherwise(&self, station: &StationId, sequence: Sequence, id: BatchId) -> Option<SignedBatchHeader> {
        let waiting = [self.pool.batch(station, sequence), self.held.get(station, sequence)];
        let waiting = waiting.into_iter().flatten().find(|known| known.id() != id).map(VerifiedBatch::signed_header);
        let seen = || self.evidence.seen(station, sequence).filter(|known| known.id(&self.rules) != id).cloned();
        waiting.or_else(seen)
    }

    /// Compares a batch with all that is known, the chain included.
    fn compare(&mut self, batch: &VerifiedBatch) -> Result<AtPlace, ReadError> {
        let (station, sequence) = batch.signed().place();
        let known = self.compare_header(&batch.signed_header(), batch.id())?;
        let is_new =
            known != AtPlace::Same && self.pool.batch(&station, sequence).map(VerifiedBatch::id) != Some(batch.id());
        if station == self.own.station() && is_new {
            self.note_foreign(batch)?;
        }
        Ok(known)
    }

    fn compare_header(&mut self, header: &SignedBatchHeader, id: BatchId) -> Result<AtPlace, ReadError> {
        let (station, sequence) = header.place();
        let is_below_end = sequence < self.chain_end(&station)?.next;
        let on_chain = if is_below_end { self.read.batch_at(&station, sequence)? } else { None };
        let other_on_chain = on_chain.as_ref().filter(|known| known.id() != id).map(VerifiedBatch::signed_header);
        let other = other_on_chain.or_else(|| self.waiting_otherwise(&station, sequence, id));
        if let Some(other) = other {
            self.meet(other, header.clone())?;
            return Ok(AtPlace::Other);
        }
        let is_same = on_chain.is_some() || self.pool.by_id(&id).is_some();
        Ok(if is_same { AtPlace::Same } else { AtPlace::Nothing })
    }

    /// The batches of a block that extends the head: each is the next of its log there, so only what waits can differ.
    pub(super) fn compare_next(&mut self, block: &VerifiedBlock) -> Result<(), ReadError> {
        for batch in block.batches() {
            self.compare_with_waiting(batch)?;
            if batch.station() == self.own.station() && self.pool.by_id(&batch.id()).is_none() {
                self.note_foreign(batch)?;
            }
        }
        Ok(())
    }

    /// The batches of a block off the best chain, or of one that does not fit there. Those that are nowhere else are
    /// remembered, for they may meet another one later.
    pub(super) fn compare_off_chain(&mut self, block: &VerifiedBlock) -> Result<(), ReadError> {
        for batch in block.batches() {
            if self.compare(batch)? == AtPlace::Nothing {
                self.see(batch.signed_header())?;
            }
        }
        Ok(())
    }

    /// Compares the introduction in an announcement that was checked with what is known of its station's first batch.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn compare_introduction(&mut self, announced: &Announcement) -> Result<(), ReadError> {
        let Some((header, signature)) = &announced.introduction else { return Ok(()) };
        let header = SignedBatchHeader { header: header.clone(), signature: signature.clone() };
        let id = header.id(&self.rules);
        if self.compare_header(&header, id)? == AtPlace::Nothing {
            self.see(header)?;
        }
        Ok(())
    }
}
