//! What a ledger has seen of batches beside those that it holds: headers to compare later ones with, and what came of
//! comparing.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::batch_header::SignedBatchHeader;
use crate::equivocation::BatchEquivocation;
use crate::ids::{Sequence, StationId};
use crate::time::Timestamp;

/// Headers that are remembered, at most; the oldest are forgotten first. About 300 bytes each.
const MAX_SEEN: usize = 1_024;

/// Proofs that wait to be taken, at most one a station; beyond that, later ones are left out.
const MAX_PROOFS: usize = 64;

/// A place in a station's log.
type Place = (StationId, Sequence);

/// Evidence of equivocation. In memory only: what is lost with it shows again where the two batches meet again.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Headers whose signature was checked, of batches that are neither on the best chain nor wait for it.
    seen: HashMap<Place, SignedBatchHeader>,
    order: VecDeque<Place>,
    proofs: BTreeMap<StationId, BatchEquivocation>,
    /// Pairs whose ML-DSA parts cannot be judged yet, for their log's key is not known; the oldest go first.
    suspicions: VecDeque<BatchEquivocation>,
    /// The date of the newest batch of this station's own log that it was sent and had not signed.
    foreign: Option<Timestamp>,
}

impl Evidence {
    /// Remembers a signed header; the first one at a place stays.
    pub fn see(&mut self, header: SignedBatchHeader) {
        let place = header.place();
        if self.seen.contains_key(&place) {
            return;
        }
        self.seen.insert(place, header);
        self.order.push_back(place);
        if self.order.len() > MAX_SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }

    /// The header that is remembered at a place.
    pub fn seen(&self, station: &StationId, sequence: Sequence) -> Option<&SignedBatchHeader> {
        self.seen.get(&(*station, sequence))
    }

    /// Whether a proof against `station` would be kept.
    pub fn wants(&self, station: &StationId) -> bool {
        !self.proofs.contains_key(station) && self.proofs.len() < MAX_PROOFS
    }

    /// Keeps a proof that was found until it is taken.
    pub fn prove(&mut self, proof: BatchEquivocation) {
        if self.wants(&proof.station()) {
            self.proofs.insert(proof.station(), proof);
        }
    }

    /// Keeps a pair until its log's key is known.
    pub fn suspect(&mut self, proof: BatchEquivocation) {
        self.suspicions.push_back(proof);
        if self.suspicions.len() > MAX_PROOFS {
            self.suspicions.pop_front();
        }
    }

    /// The pairs that are kept so.
    pub fn take_suspicions(&mut self) -> VecDeque<BatchEquivocation> {
        std::mem::take(&mut self.suspicions)
    }

    /// The proofs found since this was last asked, in order of their stations.
    pub fn take_proofs(&mut self) -> Vec<BatchEquivocation> {
        std::mem::take(&mut self.proofs).into_values().collect()
    }

    /// Takes note of a batch of this station's own log, signed at `created_at`, that it had not signed.
    pub fn note_foreign(&mut self, created_at: Timestamp) {
        self.foreign = self.foreign.max(Some(created_at));
    }

    /// The date of the newest such batch since this was last asked.
    pub fn take_foreign(&mut self) -> Option<Timestamp> {
        self.foreign.take()
    }
}
