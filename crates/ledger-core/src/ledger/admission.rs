//! Who is admitted at the head, and what becomes of what waits when that changes.

use super::Ledger;
use crate::batch::VerifiedBatch;
use crate::ids::StationId;
use crate::overlay::LedgerRead;
use crate::state::{Key, ReadError, Standing, Writes, standing};

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
        Ok(self.standing(station)? == Standing::Admitted)
    }

    /// After a change of head with these writes, a reorganisation or not: takes out of the pool what is of stations that are not admitted any
    /// more, but for this station's own, and returns it.
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
            if station != self.own.station() && !self.is_admitted(&station)? {
                left_out.extend(self.pool.remove(&station));
            }
        }
        Ok(left_out)
    }
}
