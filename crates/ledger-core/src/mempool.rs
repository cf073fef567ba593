//! Batches that are not on the chain yet: for each station what follows its last batch there, linked by `previous`.
//!
//! The station's own batches are outside the limits. A full pool drops the highest sequence of the station with most
//! pending bytes, so no log ever gets a hole (protocol, section 4).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::OnceLock;

use crate::batch::VerifiedBatch;
use crate::codec::{Decode, Encode, encode_onto};
use crate::crypto::{Tag, TaggedHash};
use crate::equivocation::BatchEquivocation;
use crate::federation::{Limits, Rules};
use crate::ids::{BatchId, Sequence, StationId};
use crate::limits::{MAX_PENDING_BYTES, MAX_PENDING_PER_STATION};
use crate::record::{Record, Subject};
use crate::selection::{Offered, Selection, Share};
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

/// A batch that waits.
#[derive(Clone, Debug)]
struct Waiting {
    batch: VerifiedBatch,
    /// Counts the batches as they come: that of a log's first one is the order of stations.
    arrival: u64,
    /// When it came.
    since: Timestamp,
}

/// What waits of one station; never empty while it is in the pool.
#[derive(Clone, Debug)]
struct Log {
    /// Its name in the index of subjects: the arrival of the batch that it began with.
    number: u64,
    batches: VecDeque<Waiting>,
    bytes: usize,
    /// When its first batch with records came.
    oldest: Option<Timestamp>,
    /// Whether the station has a batch on the chain.
    is_on_chain: bool,
}

impl Log {
    /// Where it ends.
    fn end(&self) -> Option<LogEnd> {
        let last = &self.batches.back()?.batch;
        Some(LogEnd { next: last.sequence().next()?, last: last.id() })
    }

    fn arrival(&self) -> u64 {
        self.batches.front().map_or(0, |waiting| waiting.arrival)
    }

    /// A log's batches come in order, so its first one with records is its oldest.
    fn first_with_records(&self) -> Option<Timestamp> {
        let mut batches = self.batches.iter();
        batches.find(|waiting| !waiting.batch.records().is_empty()).map(|waiting| waiting.since)
    }
}

/// Where a record about a subject waits: a hash of the subject, the log's number, the batch, the index in it.
///
/// 24 bytes, because there are as many as records: with whole subjects and ids each record cost half a kilobyte more.
/// The hash is keyed anew in each pool, so nobody can choose subjects that share one, and who looks one up compares.
type Mention = (u64, u64, Sequence, u16);

/// The pool. See the module.
#[derive(Clone, Debug)]
pub struct Mempool {
    own: StationId,
    logs: BTreeMap<StationId, Log>,
    /// Whose log has a number.
    numbers: HashMap<u64, StationId>,
    ids: HashMap<BatchId, (StationId, Sequence)>,
    subjects: BTreeSet<Mention>,
    hasher: RandomState,
    /// Where registrations of datasets wait: the log's number, the batch, the index in it.
    registrations: BTreeSet<(u64, Sequence, u16)>,
    /// Stations that pending records prove to have equivocated, each with the place of the record.
    accused: BTreeSet<(StationId, StationId, Sequence, u16)>,
    /// Logs with records by when the first of them came.
    by_age: BTreeSet<(Timestamp, StationId)>,
    /// Kept until something changes: every peer asks for it, again and again.
    digest: OnceLock<[u8; 32]>,
    arrivals: u64,
    records: u64,
    /// Other stations by whether they are on the chain, then by their pending bytes: the last is the first to give way.
    by_size: BTreeSet<(bool, usize, StationId)>,
    others_bytes: usize,
    newcomers_bytes: usize,
}

impl Mempool {
    /// An empty pool of the station `own`.
    pub fn new(own: StationId) -> Self {
        Self {
            own,
            logs: BTreeMap::new(),
            numbers: HashMap::new(),
            ids: HashMap::new(),
            subjects: BTreeSet::new(),
            hasher: RandomState::new(),
            registrations: BTreeSet::new(),
            accused: BTreeSet::new(),
            by_age: BTreeSet::new(),
            digest: OnceLock::new(),
            arrivals: 0,
            records: 0,
            by_size: BTreeSet::new(),
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

    /// Bytes of their encodings.
    pub fn bytes(&self) -> u64 {
        self.logs.values().map(|log| log.bytes as u64).sum()
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
        self.by_age.first().map(|(since, _)| *since)
    }

    /// Where a station's log ends with what waits; `None` if nothing of it waits.
    pub fn log_end(&self, station: &StationId) -> Option<LogEnd> {
        self.logs.get(station)?.end()
    }

    /// A batch by its place.
    pub fn batch(&self, station: &StationId, sequence: Sequence) -> Option<&VerifiedBatch> {
        let batches = &self.logs.get(station)?.batches;
        let index = sequence.get().checked_sub(batches.front()?.batch.sequence().get())?;
        batches.get(usize::try_from(index).ok()?).map(|waiting| &waiting.batch)
    }

    /// A batch by its id.
    pub fn by_id(&self, id: &BatchId) -> Option<&VerifiedBatch> {
        let (station, sequence) = self.ids.get(id)?;
        self.batch(station, *sequence)
    }

    /// Whether a record that waits proves that `station` equivocated; under `hybrid`, by the Ed25519 parts alone.
    pub fn accuses(&self, station: &StationId) -> bool {
        self.proofs_against(station).next().is_some()
    }

    /// The proofs that wait which are about `station`.
    pub fn proofs_against(&self, station: &StationId) -> impl Iterator<Item = &BatchEquivocation> {
        let first = (*station, StationId::ZERO, Sequence::ZERO, 0);
        let places = self.accused.range(first..).take_while(move |(accused, ..)| *accused == first.0);
        places.filter_map(|(_, author, sequence, index)| {
            self.batch(author, *sequence)?.records().get(usize::from(*index))?.proof()
        })
    }

    /// Stations after `after` with batches that wait, in order of their ids, each with where its log ends.
    pub fn log_ends(&self, after: Option<StationId>) -> impl Iterator<Item = (StationId, LogEnd)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let logs = self.logs.range((after, Bound::Unbounded));
        logs.filter_map(|(station, log)| Some((*station, log.end()?)))
    }

    /// A digest of what waits: stations in order of their ids, each with where its log ends. Two pools with the same
    /// digest hold the same.
    pub fn digest(&self, rules: &Rules) -> [u8; 32] {
        *self.digest.get_or_init(|| {
            let hash = TaggedHash::new(Tag::Pending, &rules.federation(), &[]);
            let mut encoded = Vec::new();
            self.log_ends(None).for_each(|(station, end)| encode_onto(&(station, end.next, end.last), &mut encoded));
            hash.hash(&[&encoded])
        })
    }

    /// What waits of one station from `from` on, in order.
    pub fn log_from(&self, station: &StationId, from: Sequence) -> impl Iterator<Item = &VerifiedBatch> {
        let rest = self.logs.get(station).map(|log| {
            let first = log.batches.front().map_or(from, |waiting| waiting.batch.sequence());
            let skipped = usize::try_from(from.get().saturating_sub(first.get())).unwrap_or(usize::MAX);
            log.batches.range(skipped.min(log.batches.len())..)
        });
        rest.into_iter().flatten().map(|waiting| &waiting.batch)
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
        let arrival = self.next_arrival();
        self.push(Waiting { batch, arrival, since: now }, chain);
        self.shrink(&station);
        if self.ids.contains_key(&id) { Inserted::Added } else { Inserted::Full }
    }

    fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn push(&mut self, waiting: Waiting, chain: LogEnd) {
        let batch = &waiting.batch;
        let ((station, sequence), bytes) = (batch.signed().place(), batch.encoded_len());
        self.ids.insert(batch.id(), (station, sequence));
        self.records += batch.records().len() as u64;
        self.accused.extend(accusations_in(batch));
        let is_on_chain = chain.next > Sequence::ZERO;
        let number = self.logs.get(&station).map_or(waiting.arrival, |log| log.number);
        for (subject, index) in subjects_of(batch) {
            self.subjects.insert((self.hasher.hash_one(&subject), number, sequence, index));
        }
        self.registrations.extend(registrations_of(batch).map(|index| (number, sequence, index)));
        self.numbers.insert(number, station);
        let new = Log { number, batches: VecDeque::new(), bytes: 0, oldest: None, is_on_chain };
        let log = self.logs.entry(station).or_insert(new);
        log.batches.push_back(waiting);
        let before = log.bytes;
        log.bytes += bytes;
        self.resize(&station, is_on_chain, before, before + bytes);
        self.sort_by_age(&station);
    }

    /// After a change of a log: sorts it in by its age.
    fn sort_by_age(&mut self, station: &StationId) {
        self.digest = OnceLock::new();
        let Some(log) = self.logs.get_mut(station) else { return };
        let now = log.first_with_records();
        let before = std::mem::replace(&mut log.oldest, now);
        if now != before {
            before.map(|since| self.by_age.remove(&(since, *station)));
            self.by_age.extend(now.map(|since| (since, *station)));
        }
    }

    /// Counts a change of a station's pending bytes; the own station's are outside the limits.
    fn resize(&mut self, station: &StationId, is_on_chain: bool, before: usize, now: usize) {
        if *station == self.own {
            return;
        }
        self.by_size.remove(&(is_on_chain, before, *station));
        if now > 0 {
            self.by_size.insert((is_on_chain, now, *station));
        }
        self.others_bytes = self.others_bytes + now - before;
        if !is_on_chain {
            self.newcomers_bytes = self.newcomers_bytes + now - before;
        }
    }

    /// Takes a whole log out.
    fn take_log(&mut self, station: &StationId) -> VecDeque<Waiting> {
        let Some(log) = self.remove_log(station) else { return VecDeque::new() };
        self.resize(station, log.is_on_chain, log.bytes, 0);
        log.batches.iter().for_each(|waiting| self.forget(&waiting.batch, log.number));
        log.batches
    }

    /// Takes out what waits of one station, in order.
    pub fn remove(&mut self, station: &StationId) -> Vec<VerifiedBatch> {
        self.take_log(station).into_iter().map(|waiting| waiting.batch).collect()
    }

    /// Stations with batches that wait, in order of their ids.
    pub fn stations(&self) -> Vec<StationId> {
        self.logs.keys().copied().collect()
    }

    fn remove_log(&mut self, station: &StationId) -> Option<Log> {
        self.digest = OnceLock::new();
        let log = self.logs.remove(station)?;
        self.numbers.remove(&log.number);
        log.oldest.map(|since| self.by_age.remove(&(since, *station)));
        Some(log)
    }

    /// Takes the first or the last batch of a log out.
    fn take(&mut self, station: &StationId, end: impl FnOnce(&mut VecDeque<Waiting>) -> Option<Waiting>) {
        let Some(log) = self.logs.get_mut(station) else { return };
        let Some(Waiting { batch, .. }) = end(&mut log.batches) else { return };
        let (before, is_on_chain, number) = (log.bytes, log.is_on_chain, log.number);
        log.bytes -= batch.encoded_len();
        if log.batches.is_empty() {
            self.remove_log(station);
        } else {
            self.sort_by_age(station);
        }
        self.resize(station, is_on_chain, before, before - batch.encoded_len());
        self.forget(&batch, number);
    }

    /// Takes a batch of the log with this number out of the indexes.
    fn forget(&mut self, batch: &VerifiedBatch, number: u64) {
        self.ids.remove(&batch.id());
        self.records -= batch.records().len() as u64;
        for (subject, index) in subjects_of(batch) {
            self.subjects.remove(&(self.hasher.hash_one(&subject), number, batch.sequence(), index));
        }
        for index in registrations_of(batch) {
            self.registrations.remove(&(number, batch.sequence(), index));
        }
        for accusation in accusations_in(batch) {
            self.accused.remove(&accusation);
        }
    }

    /// After batches of `station` came in: drops the highest sequence of the station with most pending bytes until
    /// all limits hold.
    fn shrink(&mut self, station: &StationId) {
        if *station == self.own {
            return;
        }
        loop {
            let biggest_newcomer = || self.by_size.range(..(true, 0, StationId::ZERO)).next_back();
            let biggest =
                || biggest_newcomer().into_iter().chain(self.by_size.last()).max_by_key(|(_, size, who)| (size, who));
            let victim = if self.len_of(station) > MAX_PENDING_PER_STATION {
                Some(*station)
            } else if self.newcomers_bytes > MAX_PENDING_BYTES / 4 {
                biggest_newcomer().map(|(_, _, who)| *who)
            } else if self.others_bytes > MAX_PENDING_BYTES {
                biggest().map(|(_, _, who)| *who)
            } else {
                None
            };
            let Some(victim) = victim else { return };
            self.take(&victim, VecDeque::pop_back);
        }
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
        let waiting = self.take_log(station);
        // What was reverted stands before the rest, so it keeps its station's place and age.
        let (arrival, since) = match waiting.front() {
            Some(first) => (first.arrival, first.since),
            None => (self.next_arrival(), now),
        };
        let reverted = reverted.into_iter().map(|batch| Waiting { batch, arrival, since });
        let mut end = chain;
        let mut dropped = Vec::new();
        for waiting in reverted.chain(waiting) {
            let batch = &waiting.batch;
            let links = batch.sequence() == end.next && batch.header().previous == end.last;
            match batch.sequence().next() {
                Some(next) if links => {
                    end = LogEnd { next, last: batch.id() };
                    self.push(waiting, chain);
                }
                _ if batch.sequence() >= chain.next => dropped.push(waiting.batch),
                _ => {}
            }
        }
        self.shrink(station);
        dropped
    }

    /// Takes out what is on the chain now. False where more than that has to be done: what is left doesn't link, or
    /// the station is no newcomer any more.
    fn advance(&mut self, station: &StationId, chain: LogEnd) -> bool {
        loop {
            let Some(log) = self.logs.get(station) else { return true };
            let Some(Waiting { batch, .. }) = log.batches.front() else { return true };
            if !log.is_on_chain || batch.sequence() >= chain.next {
                return log.is_on_chain && batch.sequence() == chain.next && batch.header().previous == chain.last;
            }
            self.take(station, VecDeque::pop_front);
        }
    }

    /// All batches in pool order: round r takes each station's r-th, stations by arrival of their first pending batch,
    /// then by id.
    pub fn in_order(&self) -> impl Iterator<Item = &VerifiedBatch> {
        let mut stations: Vec<_> = self.logs.iter().collect();
        stations.sort_unstable_by_key(|(station, log)| (log.arrival(), **station));
        let mut turns: VecDeque<_> = stations.into_iter().map(|(_, log)| log.batches.iter()).collect();
        std::iter::from_fn(move || {
            loop {
                let mut turn = turns.pop_front()?;
                if let Some(waiting) = turn.next() {
                    turns.push_back(turn);
                    return Some(&waiting.batch);
                }
            }
        })
    }

    /// The records about `subject`, in pool order.
    pub fn records_about(&self, subject: &Subject) -> Vec<PendingRecord<'_>> {
        let hash = self.hasher.hash_one(subject);
        let mentions = self.subjects.range((hash, 0, Sequence::ZERO, 0)..).take_while(|(other, ..)| *other == hash);
        let mut found: Vec<_> = mentions
            .filter_map(|(_, number, sequence, index)| {
                let station = self.numbers.get(number)?;
                let log = self.logs.get(station)?;
                let batch = self.batch(station, *sequence)?;
                let round = sequence.get() - log.batches.front()?.batch.sequence().get();
                let record = batch.records().get(usize::from(*index)).filter(|record| is_about(record, subject))?;
                let pending = PendingRecord { batch: batch.header(), index: *index, record };
                Some(((round, log.arrival(), *station, *index), pending))
            })
            .collect();
        found.sort_unstable_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, record)| record).collect()
    }

    /// One station's records about `subject`, in the order of its log.
    pub fn records_of(&self, station: &StationId, subject: &Subject) -> Vec<PendingRecord<'_>> {
        let Some(log) = self.logs.get(station) else { return Vec::new() };
        let (hash, number) = (self.hasher.hash_one(subject), log.number);
        let of_log = (hash, number, Sequence::ZERO, 0)..=(hash, number, Sequence::new(u64::MAX), u16::MAX);
        let found = self.subjects.range(of_log).filter_map(|(_, _, sequence, index)| {
            let batch = self.batch(station, *sequence)?;
            let record = batch.records().get(usize::from(*index)).filter(|record| is_about(record, subject))?;
            Some(PendingRecord { batch: batch.header(), index: *index, record })
        });
        found.collect()
    }

    /// How many registrations of datasets wait.
    pub fn registration_count(&self) -> usize {
        self.registrations.len()
    }

    /// The registrations of datasets that wait from the `first` on, logs by arrival, each with its batch and its index
    /// there.
    pub fn registrations_from(&self, first: usize) -> impl Iterator<Item = (&VerifiedBatch, u16)> {
        self.registrations
            .iter()
            .skip(first)
            .filter_map(|(number, sequence, index)| Some((self.batch(self.numbers.get(number)?, *sequence)?, *index)))
    }

    /// The batches of the next block, in order: `first` (the producer's introduction) before all, then pool order.
    ///
    /// When one doesn't fit or is dated after `latest`, its station's later ones are skipped too; new stations take at
    /// most a quarter (of the bytes and of the batches) while batches of others wait. Nothing where `first` is dated
    /// after `latest`.
    pub fn select(&self, limits: &Limits, first: Option<&VerifiedBatch>, latest: Timestamp) -> Vec<VerifiedBatch> {
        let mut selection = Selection::new(limits, latest);
        if let Some(first) = first
            && selection.offer(first) != Offered::Taken
        {
            return Vec::new();
        }
        let mut newcomers = Share::quarter(limits);
        let mut deferred = Vec::new();
        let mut deferred_stations = HashSet::new();
        let mut others_wait = false;
        for batch in self.in_order().filter(|batch| first != Some(*batch)) {
            if selection.is_full() {
                break;
            }
            let station = batch.station();
            let is_newcomer = self.logs.get(&station).is_some_and(|log| !log.is_on_chain);
            if is_newcomer && (deferred_stations.contains(&station) || !newcomers.has_room_for(batch)) {
                deferred_stations.insert(station);
                deferred.push(batch);
                continue;
            }
            match selection.offer(batch) {
                Offered::Taken if is_newcomer => newcomers.take(batch),
                Offered::NoRoom if !is_newcomer => others_wait = true,
                Offered::Taken | Offered::NoRoom | Offered::Skipped => {}
            }
        }
        if !others_wait {
            for batch in deferred {
                selection.offer(batch);
            }
        }
        selection.into_batches()
    }
}

/// What each record of a batch is about.
fn subjects_of(batch: &VerifiedBatch) -> impl Iterator<Item = (Subject, u16)> {
    (0..).zip(batch.records()).flat_map(|(index, record)| subjects(record).map(move |subject| (subject, index)))
}

/// What a record is about; content records are about their creator, too.
fn subjects(record: &Record) -> impl Iterator<Item = Subject> {
    let subject = record.subject();
    let creator = match &subject {
        Some(Subject::Content { creator_id, .. }) => Some(Subject::Creator(creator_id.clone())),
        Some(Subject::User(_) | Subject::Creator(_) | Subject::Dataset(_)) | None => None,
    };
    subject.into_iter().chain(creator)
}

fn is_about(record: &Record, subject: &Subject) -> bool {
    subjects(record).any(|other| other == *subject)
}

/// The indexes of a batch's records that register a dataset.
fn registrations_of(batch: &VerifiedBatch) -> impl Iterator<Item = u16> {
    let all = (0..).zip(batch.records());
    all.filter(|(_, record)| matches!(record, Record::DatasetRegistered(_))).map(|(index, _)| index)
}

/// The stations that a batch's records prove to have equivocated, each with the record's place.
fn accusations_in(batch: &VerifiedBatch) -> impl Iterator<Item = (StationId, StationId, Sequence, u16)> {
    let (author, sequence) = batch.signed().place();
    let records = (0..).zip(batch.records());
    records.filter_map(move |(index, record)| Some((record.proof()?.station(), author, sequence, index)))
}
