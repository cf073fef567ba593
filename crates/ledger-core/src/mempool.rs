//! Batches that are not on the chain yet: for each station what follows its last batch there, linked by `previous`.
//!
//! The station's own batches are outside the limits. A full pool drops the highest sequence of the station with most
//! pending bytes, so no log ever gets a hole (protocol, section 4).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::batch::VerifiedBatch;
use crate::codec::{Decode, Encode, encode};
use crate::crypto::{Tag, TaggedHash};
use crate::federation::{Limits, Rules};
use crate::ids::{BatchId, Sequence, StationId};
use crate::limits::{MAX_PENDING_BYTES, MAX_PENDING_PER_STATION};
use crate::record::Subject;
use crate::state::PendingRecord;
use crate::time::Timestamp;

/// Where a station's log goes on after the chain: the next sequence, and the batch that it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogEnd {
    /// The sequence expected next.
    pub next: Sequence,
    /// The batch before it; zeros for sequence 0.
    pub last: BatchId,
}

impl LogEnd {
    /// A log without batches.
    pub const EMPTY: Self = Self { next: Sequence::ZERO, last: BatchId::ZERO };
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It waits for a block now.
    Added,
    /// It waits already.
    Known,
    /// The place is taken: by a batch on the chain, or by another one in the pool. The first stands.
    Taken,
    /// Batches from this sequence on are missing before it.
    Gap {
        /// The first one missing.
        from: Sequence,
    },
    /// It does not name the batch before it.
    Unlinked,
    /// The pool is full, and this was the first to go.
    Full,
}

#[derive(Clone, Debug)]
struct Log {
    batches: VecDeque<VerifiedBatch>,
    /// When the pool first held a batch of this station: the order of stations.
    arrival: u64,
    /// When each batch came, beside `batches`.
    since: VecDeque<Timestamp>,
    bytes: usize,
    /// Whether the station has a batch on the chain.
    is_on_chain: bool,
}

/// The pool. See the module.
#[derive(Clone, Debug)]
pub struct Mempool {
    own: StationId,
    logs: HashMap<StationId, Log>,
    ids: HashMap<BatchId, (StationId, Sequence)>,
    subjects: HashMap<Subject, BTreeSet<(StationId, Sequence, u16)>>,
    arrivals: u64,
    records: u64,
    others_bytes: usize,
    newcomers_bytes: usize,
}

impl Mempool {
    /// An empty pool of the station `own`.
    pub fn new(own: StationId) -> Self {
        Self {
            own,
            logs: HashMap::new(),
            ids: HashMap::new(),
            subjects: HashMap::new(),
            arrivals: 0,
            records: 0,
            others_bytes: 0,
            newcomers_bytes: 0,
        }
    }

    /// Records that wait for a block.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Batches that wait for a block.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no batch waits.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Batches of one station that wait.
    pub fn len_of(&self, station: &StationId) -> usize {
        self.logs.get(station).map_or(0, |log| log.batches.len())
    }

    /// When the oldest batch with records came; `None` if none waits.
    pub fn oldest(&self) -> Option<Timestamp> {
        // A log's batches come in order, so its first one with records is its oldest.
        let first = |log: &Log| {
            let mut batches = log.batches.iter().zip(&log.since);
            batches.find(|(batch, _)| !batch.records().is_empty()).map(|(_, since)| *since)
        };
        self.logs.values().filter_map(first).min()
    }

    /// Where a station's log ends with what waits; `None` if nothing of it waits.
    pub fn log_end(&self, station: &StationId) -> Option<LogEnd> {
        let last = self.logs.get(station)?.batches.back()?;
        Some(LogEnd { next: last.sequence().next()?, last: last.id() })
    }

    /// A batch by its place.
    pub fn batch(&self, station: &StationId, sequence: Sequence) -> Option<&VerifiedBatch> {
        let batches = &self.logs.get(station)?.batches;
        let index = sequence.get().checked_sub(batches.front()?.sequence().get())?;
        batches.get(usize::try_from(index).ok()?)
    }

    /// A batch by its id.
    pub fn by_id(&self, id: &BatchId) -> Option<&VerifiedBatch> {
        let (station, sequence) = self.ids.get(id)?;
        self.batch(station, *sequence)
    }

    /// Stations with batches that wait, each with its last one, in order of their ids.
    pub fn log_ends(&self) -> BTreeMap<StationId, LogEnd> {
        self.logs.keys().filter_map(|station| Some((*station, self.log_end(station)?))).collect()
    }

    /// A digest of what waits: stations in order of their ids, each with where its log ends. Two pools with the same
    /// digest hold the same.
    pub fn digest(&self, rules: &Rules) -> [u8; 32] {
        let hash = TaggedHash::new(Tag::Pending, &rules.federation(), &[]);
        let ends = self.log_ends();
        let encoded: Vec<u8> = ends.iter().flat_map(|(station, end)| encode(&(*station, end.next, end.last))).collect();
        hash.hash(&[&encoded])
    }

    /// What waits of one station from `from` on, in order.
    pub fn log_from(&self, station: &StationId, from: Sequence) -> impl Iterator<Item = &VerifiedBatch> {
        let batches = self.logs.get(station).map(|log| log.batches.iter()).into_iter().flatten();
        batches.skip_while(move |batch| batch.sequence() < from)
    }

    /// Takes in a batch. `chain` is where the station's log ends on the chain.
    pub fn insert(&mut self, batch: VerifiedBatch, chain: LogEnd, now: Timestamp) -> Inserted {
        let station = batch.station();
        let LogEnd { next, last } = self.log_end(&station).unwrap_or(chain);
        if self.ids.contains_key(&batch.id()) {
            return Inserted::Known;
        }
        if batch.sequence() < next {
            return Inserted::Taken;
        }
        if batch.sequence() > next {
            return Inserted::Gap { from: next };
        }
        if batch.header().previous != last {
            return Inserted::Unlinked;
        }
        let id = batch.id();
        self.push(batch, chain, now);
        if station != self.own {
            self.shrink();
        }
        if self.ids.contains_key(&id) { Inserted::Added } else { Inserted::Full }
    }

    fn push(&mut self, batch: VerifiedBatch, chain: LogEnd, since: Timestamp) {
        let (station, sequence) = batch.signed().place();
        let is_on_chain = chain.next > Sequence::ZERO;
        self.ids.insert(batch.id(), (station, sequence));
        self.records += batch.records().len() as u64;
        for (subject, index) in subjects_of(&batch) {
            self.subjects.entry(subject).or_default().insert((station, sequence, index));
        }
        self.count_bytes(&station, is_on_chain, |bytes| *bytes += batch.encoded_len());
        let log = self.logs.entry(station).or_insert_with(|| {
            self.arrivals += 1;
            let arrival = self.arrivals;
            Log { batches: VecDeque::new(), since: VecDeque::new(), arrival, bytes: 0, is_on_chain }
        });
        log.bytes += batch.encoded_len();
        log.batches.push_back(batch);
        log.since.push_back(since);
    }

    fn count_bytes(&mut self, station: &StationId, is_on_chain: bool, count: impl Fn(&mut usize)) {
        if *station != self.own {
            count(&mut self.others_bytes);
            if !is_on_chain {
                count(&mut self.newcomers_bytes);
            }
        }
    }

    /// Takes a whole log out; its place in the order of stations with it.
    fn take_log(&mut self, station: &StationId) -> Option<Log> {
        let log = self.logs.remove(station)?;
        for batch in &log.batches {
            self.forget(batch, log.is_on_chain);
        }
        Some(log)
    }

    fn forget(&mut self, batch: &VerifiedBatch, is_on_chain: bool) {
        let (station, sequence) = batch.signed().place();
        self.ids.remove(&batch.id());
        self.records -= batch.records().len() as u64;
        self.count_bytes(&station, is_on_chain, |bytes| *bytes -= batch.encoded_len());
        for (subject, index) in subjects_of(batch) {
            if let Some(places) = self.subjects.get_mut(&subject) {
                places.remove(&(station, sequence, index));
                if places.is_empty() {
                    self.subjects.remove(&subject);
                }
            }
        }
    }

    /// Drops the highest sequence of the station with most pending bytes until all limits hold.
    fn shrink(&mut self) {
        let own = self.own;
        let others = |log: &(&StationId, &Log)| *log.0 != own;
        loop {
            let over = self.logs.iter().filter(others).find(|(_, log)| log.batches.len() > MAX_PENDING_PER_STATION);
            let biggest = |newcomers_only: bool| {
                let candidates = self.logs.iter().filter(others).filter(|(_, log)| !newcomers_only || !log.is_on_chain);
                candidates.max_by_key(|(station, log)| (log.bytes, **station)).map(|(station, _)| *station)
            };
            let victim = if let Some((station, _)) = over {
                Some(*station)
            } else if self.newcomers_bytes > MAX_PENDING_BYTES / 4 {
                biggest(true)
            } else if self.others_bytes > MAX_PENDING_BYTES {
                biggest(false)
            } else {
                None
            };
            let Some(station) = victim else { return };
            self.pop(&station);
        }
    }

    fn pop(&mut self, station: &StationId) {
        let Some(log) = self.logs.get_mut(station) else { return };
        log.since.pop_back();
        let Some(batch) = log.batches.pop_back() else { return };
        log.bytes -= batch.encoded_len();
        let (is_on_chain, is_empty) = (log.is_on_chain, log.batches.is_empty());
        if is_empty {
            self.logs.remove(station);
        }
        self.forget(&batch, is_on_chain);
    }

    /// After a change of head: keeps of one station what follows its last batch on the chain. `reverted` are its
    /// batches that left the chain, in order. Returns what no longer links.
    pub fn reconcile(
        &mut self,
        station: &StationId,
        chain: LogEnd,
        reverted: Vec<VerifiedBatch>,
        now: Timestamp,
    ) -> Vec<VerifiedBatch> {
        if reverted.is_empty() && self.advance(station, chain) {
            return Vec::new();
        }
        let (arrival, waiting) = match self.take_log(station) {
            Some(log) => (Some(log.arrival), log.batches.into_iter().zip(log.since).collect()),
            None => (None, Vec::new()),
        };
        let mut end = chain;
        let mut dropped = Vec::new();
        for (batch, since) in reverted.into_iter().map(|batch| (batch, now)).chain(waiting) {
            let links = batch.sequence() == end.next && batch.header().previous == end.last;
            match batch.sequence().next() {
                Some(next) if links => {
                    end = LogEnd { next, last: batch.id() };
                    self.push(batch, chain, since);
                }
                _ if batch.sequence() >= chain.next => dropped.push(batch),
                _ => {}
            }
        }
        if let (Some(arrival), Some(log)) = (arrival, self.logs.get_mut(station)) {
            log.arrival = arrival;
        }
        if *station != self.own {
            self.shrink();
        }
        dropped
    }

    /// Takes out what is on the chain now. False where more than that has to be done: what is left doesn't link, or
    /// the station is no newcomer any more.
    fn advance(&mut self, station: &StationId, chain: LogEnd) -> bool {
        let is_confirmed = |log: &Log| log.batches.front().is_some_and(|batch| batch.sequence() < chain.next);
        match self.logs.get(station) {
            None => return true,
            Some(log) if !log.is_on_chain => return false,
            Some(_) => {}
        }
        while let Some(log) = self.logs.get_mut(station).filter(|log| is_confirmed(log)) {
            log.since.pop_front();
            let Some(batch) = log.batches.pop_front() else { break };
            log.bytes -= batch.encoded_len();
            self.forget(&batch, true);
        }
        let Some(front) = self.logs.get(station).map(|log| log.batches.front()) else { return true };
        match front {
            None => {
                self.logs.remove(station);
                true
            }
            Some(front) => front.sequence() == chain.next && front.header().previous == chain.last,
        }
    }

    /// Stations by arrival of their first pending batch, then by id.
    fn stations(&self) -> Vec<(&StationId, &Log)> {
        let mut stations: Vec<_> = self.logs.iter().collect();
        stations.sort_unstable_by_key(|(station, log)| (log.arrival, **station));
        stations
    }

    /// All batches in pool order: round r takes each station's r-th.
    pub fn in_order(&self) -> impl Iterator<Item = &VerifiedBatch> {
        let stations = self.stations();
        let rounds = stations.iter().map(|(_, log)| log.batches.len()).max().unwrap_or(0);
        let logs: Vec<&Log> = stations.into_iter().map(|(_, log)| log).collect();
        (0..rounds).flat_map(move |round| logs.clone().into_iter().filter_map(move |log| log.batches.get(round)))
    }

    /// The records about `subject`, in pool order.
    pub fn records_about(&self, subject: &Subject) -> Vec<PendingRecord<'_>> {
        let Some(places) = self.subjects.get(subject) else { return Vec::new() };
        let mut found: Vec<_> = places
            .iter()
            .filter_map(|(station, sequence, index)| {
                let log = self.logs.get(station)?;
                let batch = self.batch(station, *sequence)?;
                let round = sequence.get() - log.batches.front()?.sequence().get();
                let record = batch.records().get(usize::from(*index))?;
                let pending = PendingRecord { batch: batch.header(), index: *index, record };
                Some(((round, log.arrival, *station, *index), pending))
            })
            .collect();
        found.sort_unstable_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, record)| record).collect()
    }

    /// The batches of the next block, in order: `first` (the producer's introduction) before all, then pool order.
    ///
    /// When one doesn't fit or is dated after `latest`, its station's later ones are skipped too; new stations take at
    /// most a quarter while batches of others wait.
    pub fn select(&self, limits: &Limits, first: Option<&VerifiedBatch>, latest: Timestamp) -> Vec<VerifiedBatch> {
        let mut selection = Selection::new(limits);
        if let Some(first) = first {
            selection.push(first);
        }
        let mut deferred = Vec::new();
        for batch in self.in_order().filter(|batch| first != Some(*batch)) {
            let station = batch.station();
            let is_newcomer = self.logs.get(&station).is_some_and(|log| !log.is_on_chain);
            if batch.header().created_at > latest {
                selection.skipped.insert(station);
            } else if is_newcomer && selection.newcomers_bytes + batch.encoded_len() > limits.body_bytes as usize / 4 {
                deferred.push(batch);
                selection.skipped.insert(station);
            } else if selection.offer(batch) && is_newcomer {
                selection.newcomers_bytes += batch.encoded_len();
            } else if selection.skipped.contains(&station) && is_newcomer {
                deferred.push(batch);
            }
        }
        // What is left of the block when no batch of others waits.
        let others_wait =
            selection.skipped.iter().any(|station| self.logs.get(station).is_some_and(|log| log.is_on_chain));
        if !others_wait {
            selection.skipped.clear();
            for batch in deferred {
                if batch.header().created_at > latest {
                    selection.skipped.insert(batch.station());
                } else {
                    selection.offer(batch);
                }
            }
        }
        selection.batches
    }
}

/// A block's body while it is being put together.
struct Selection<'a> {
    limits: &'a Limits,
    batches: Vec<VerifiedBatch>,
    bytes: usize,
    newcomers_bytes: usize,
    skipped: HashSet<StationId>,
}

impl<'a> Selection<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, batches: Vec::new(), bytes: 0, newcomers_bytes: 0, skipped: HashSet::new() }
    }

    fn push(&mut self, batch: &VerifiedBatch) {
        self.bytes += batch.encoded_len();
        self.batches.push(batch.clone());
    }

    /// Takes the batch unless it doesn't fit or an earlier one of its station was skipped.
    fn offer(&mut self, batch: &VerifiedBatch) -> bool {
        let fits = self.batches.len() < self.limits.block_batches as usize
            && self.bytes + batch.encoded_len() <= self.limits.body_bytes as usize;
        let station = batch.station();
        if !fits || self.skipped.contains(&station) {
            self.skipped.insert(station);
            return false;
        }
        self.push(batch);
        true
    }
}

/// What each record of a batch is about; content records are about their creator, too.
fn subjects_of(batch: &VerifiedBatch) -> impl Iterator<Item = (Subject, u16)> {
    (0..).zip(batch.records()).flat_map(|(index, record)| {
        let subject = record.subject();
        let creator = match &subject {
            Subject::Content { creator_id, .. } => Some(Subject::Creator(creator_id.clone())),
            Subject::User(_) | Subject::Creator(_) => None,
        };
        std::iter::once(subject).chain(creator).map(move |subject| (subject, index))
    })
}
