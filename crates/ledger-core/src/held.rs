//! Batches that cannot be taken in yet: their predecessor is missing, or they are dated ahead of the local clock.

use std::collections::{BTreeMap, HashMap};

use crate::batch::VerifiedBatch;
use crate::ids::{Sequence, StationId};
use crate::limits::{HELD_FOR_MS, MAX_HELD, MAX_HELD_PER_STATION};
use crate::time::Timestamp;

/// At most 16 batches a station, 256 in all, for 300 s.
#[derive(Clone, Debug, Default)]
pub struct Held {
    by_station: HashMap<StationId, BTreeMap<Sequence, (VerifiedBatch, Timestamp)>>,
    count: usize,
}

impl Held {
    /// Keeps a batch; over a limit, the one that waits longest for its turn (the highest sequence) is not kept.
    pub fn insert(&mut self, batch: VerifiedBatch, now: Timestamp) {
        self.expire(now);
        let log = self.by_station.entry(batch.station()).or_default();
        if log.contains_key(&batch.sequence()) || (self.count >= MAX_HELD && log.is_empty()) {
            self.forget_empty();
            return;
        }
        log.insert(batch.sequence(), (batch, now));
        self.count += 1;
        if log.len() > MAX_HELD_PER_STATION || self.count > MAX_HELD {
            log.pop_last();
            self.count -= 1;
        }
    }

    /// A station's batch at `sequence`.
    pub fn get(&self, station: &StationId, sequence: Sequence) -> Option<&VerifiedBatch> {
        self.by_station.get(station)?.get(&sequence).map(|(batch, _)| batch)
    }

    /// Takes out a station's batch at `sequence`.
    pub fn take(&mut self, station: &StationId, sequence: Sequence) -> Option<VerifiedBatch> {
        let (batch, _) = self.by_station.get_mut(station)?.remove(&sequence)?;
        self.count -= 1;
        self.forget_empty();
        Some(batch)
    }

    /// Takes out everything, to be tried again; in order of station and sequence.
    pub fn take_all(&mut self) -> Vec<(VerifiedBatch, Timestamp)> {
        self.count = 0;
        let mut all: Vec<_> = std::mem::take(&mut self.by_station).into_iter().collect();
        all.sort_unstable_by_key(|(station, _)| *station);
        all.into_iter().flat_map(|(_, log)| log.into_values()).collect()
    }

    /// Puts back what was taken out and still waits, with the time since when.
    pub fn put_back(&mut self, batch: VerifiedBatch, since: Timestamp) {
        self.insert(batch, since);
    }

    /// Drops what has waited for 300 s.
    pub fn expire(&mut self, now: Timestamp) {
        for log in self.by_station.values_mut() {
            log.retain(|_, (_, since)| now.since(*since) < HELD_FOR_MS);
        }
        self.forget_empty();
        self.count = self.by_station.values().map(BTreeMap::len).sum();
    }

    fn forget_empty(&mut self) {
        self.by_station.retain(|_, log| !log.is_empty());
    }

    /// Batches that wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
