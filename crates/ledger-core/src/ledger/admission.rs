//! Who is admitted at the head, and what becomes of what waits when that changes.

use super::Ledger;
use crate::batch::VerifiedBatch;
use crate::ids::{Sequence, StationId};
use crate::ml_dsa::MlDsaKey;
use crate::overlay::LedgerRead;
use crate::state::{Key, ReadError, Standing, Writes, expected_key_hash, ml_dsa_key, standing};

impl<R: LedgerRead> Ledger<R> {
    /// Where a station stands at the head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn standing(&self, station: &StationId) -> Result<Standing, ReadError> {
        standing(&self.rules, &self.read, station)
    }

    /// Whether a station may publish and produce by the state at the head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn is_admitted(&self, station: &StationId) -> Result<bool, ReadError> {
        let is_fit = *station != self.own.station() || self.own_key_fits()?;
        Ok(is_fit && self.standing(station)? == Standing::Admitted)
    }

    /// Whether this station may introduce itself with the ML-DSA key that it has, or did.
    fn own_key_fits(&self) -> Result<bool, ReadError> {
        if !self.rules.is_hybrid() {
            return Ok(true);
        }
        let (own, key) = (self.own.station(), self.own.key().ml_dsa_key());
        match ml_dsa_key(&self.read, &own)? {
            Some(introduced) => Ok(introduced == *key),
            None => self.key_fits(&own, key),
        }
    }

    /// Whether a station may introduce itself with this key by the state at the head.
    pub(super) fn key_fits(&self, station: &StationId, key: &MlDsaKey) -> Result<bool, ReadError> {
        let expected = expected_key_hash(&self.rules, &self.read, station)?;
        Ok(expected.is_none_or(|expected| key.hash() == expected))
    }

    /// The ML-DSA key of a station's log as it stands here, with what is pending; `None` where nothing of it is known,
    /// and where stations sign without one.
    ///
    /// Each batch names the one before it, so what links to a log leads to its introduction, and to that key alone.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn log_key(&self, station: &StationId) -> Result<Option<MlDsaKey>, ReadError> {
        if !self.rules.is_hybrid() {
            return Ok(None);
        }
        let pending = || self.pool.batch(station, Sequence::ZERO).and_then(VerifiedBatch::introduced_key);
        Ok(ml_dsa_key(&self.read, station)?.or_else(pending))
    }

    /// Whether the ML-DSA part of a batch's signature is of its log's key, an introduction's of its own; `None` where
    /// that is not known here. Always true where stations sign without one.
    pub(super) fn is_signed(&self, batch: &VerifiedBatch) -> Result<Option<bool>, ReadError> {
        if !self.rules.is_hybrid() {
            return Ok(Some(true));
        }
        if batch.station() == self.own.station() {
            return Ok(Some(batch.is_signed_under(&self.rules, self.own.key().ml_dsa_key())));
        }
        if batch.sequence() == Sequence::ZERO {
            return Ok(Some(true));
        }
        Ok(self.log_key(&batch.station())?.map(|key| batch.is_signed_under(&self.rules, &key)))
    }

    fn pending_introduction_fits(&self, station: &StationId) -> Result<bool, ReadError> {
        match self.pool.batch(station, Sequence::ZERO).and_then(VerifiedBatch::introduced_key) {
            Some(key) => self.key_fits(station, &key),
            None => Ok(true),
        }
    }

    /// After a change of head with these writes, a reorganisation or not: takes out of the pool what is of stations that
    /// are not admitted any more, or not with their key, but for this station's own, and returns it.
    pub(super) fn leave_out(
        &mut self,
        writes: &Writes,
        is_reorganisation: bool,
    ) -> Result<Vec<VerifiedBatch>, ReadError> {
        // Where the state was made anew, what it lost is not among the writes.
        let may_change = is_reorganisation || writes.keys().any(|key| matches!(key, Key::Admission(_)));
        if !(self.rules.has_roster() && may_change) {
            return Ok(Vec::new());
        }
        let mut left_out = Vec::new();
        for station in self.pool.stations() {
            let may_stay = self.is_admitted(&station)? && self.pending_introduction_fits(&station)?;
            if station != self.own.station() && !may_stay {
                left_out.extend(self.pool.remove(&station));
            }
        }
        Ok(left_out)
    }
}
