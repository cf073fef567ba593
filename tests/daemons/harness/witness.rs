//! Remembers what a daemon promised, and holds it to that after every start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::{Acknowledged, Api, Daemon, Replay, millionths};

/// How many clients read at once.
const READERS: usize = 16;

/// Batches that fit into one block. An answer folds onto the chain what one block would take.
const BLOCK_BATCHES: usize = 1_536;

/// How often the whole is looked at again because the daemon mined meanwhile.
const ATTEMPTS: usize = 30;

/// What one station acknowledged, and what its chain held when last looked at.
///
/// It follows one daemon without peers, whose chain only grows.
#[derive(Clone, Default)]
pub struct Witness {
    /// Acknowledged, and not yet seen on the chain.
    unsettled: BTreeMap<(u64, u64), Value>,
    promised: usize,
    /// Acknowledged, and on the chain.
    seen: BTreeMap<(u64, u64), Value>,
    /// The hashes of the blocks already replayed, by index.
    blocks: Vec<String>,
    replay: Replay,
    /// The first sequence of the station's log that is not on the chain.
    next_sequence: u64,
}

impl Witness {
    /// Takes note of what was acknowledged.
    ///
    /// # Panics
    /// If an id was given twice, or is none.
    pub fn promise(&mut self, acknowledged: Vec<Acknowledged>) {
        for Acknowledged { id, record } in acknowledged {
            let place = place(&id);
            assert!(place.0 >= self.next_sequence, "{id} was given again");
            assert!(self.unsettled.insert(place, record).is_none(), "{id} was given twice");
            self.promised += 1;
        }
    }

    /// How many ids were acknowledged so far.
    pub fn promised(&self) -> usize {
        self.promised
    }

    /// Demands of `daemon` that every acknowledged id is found with its content, that each is on the chain or pending
    /// exactly once, that the chain links, and that its trust answers are those of a replay.
    ///
    /// # Panics
    /// Where something is missing or wrong.
    pub fn examine(&mut self, daemon: &Daemon) {
        let station = daemon.station();
        self.find_promised(daemon.api(), &station);
        for _ in 0..ATTEMPTS {
            let before = daemon.api().head();
            self.follow_chain(daemon.api());
            let pending = self.pending(daemon.api(), &station);
            let wrong = self.compare(daemon.api(), &pending);
            let statistics = daemon.api().get("/v1/chain");
            // What was read while a block was connected belongs to two states.
            if daemon.api().head() == before {
                assert!(wrong.is_empty(), "not as a replay says: {wrong:#?}");
                let shown = &statistics["pending_records"];
                assert_eq!(shown.as_u64(), Some(pending.iter().map(|batch| batch.len() as u64).sum()), "{statistics}");
                self.account_for_promised(&pending);
                return;
            }
        }
        panic!("{} mines all the time", daemon.name());
    }

    /// The same promises, with nothing known of the chain: the next look replays all of it.
    ///
    /// # Panics
    /// Never for promises that were examined.
    pub fn forget_chain(self) -> Self {
        let unsettled: BTreeMap<_, _> = self.unsettled.into_iter().chain(self.seen).collect();
        assert_eq!(unsettled.len(), self.promised);
        Self { unsettled, promised: self.promised, ..Self::default() }
    }

    /// Every id that was not yet on the chain is found by itself, with what was posted.
    fn find_promised(&self, api: &Api, station: &str) {
        let wanted: Vec<_> = self.unsettled.iter().collect();
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    while let Some(((sequence, index), posted)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let found = api.get(&format!("/v1/records/{station}.{sequence}.{index}"));
                        assert_same(posted, &found["record"]);
                        assert!(matches!(found["status"].as_str(), Some("pending" | "confirmed" | "final")), "{found}");
                    }
                });
            }
        });
    }

    /// Replays the blocks that are new, after checking that they continue those already seen.
    fn follow_chain(&mut self, api: &Api) {
        let from = self.blocks.len().saturating_sub(1);
        let blocks = api.blocks(from as u64);
        for (block, index) in blocks.iter().zip(from..) {
            let hash = block["hash"].as_str().unwrap_or_else(|| panic!("a block has a hash: {block}"));
            assert_eq!(block["index"].as_u64(), Some(index as u64), "blocks come in order");
            if let Some(seen) = self.blocks.get(index) {
                assert_eq!(seen, hash, "block {index} is another one than before");
                continue;
            }
            if let Some(previous) = self.blocks.last() {
                assert_eq!(
                    block["previous_hash"].as_str(),
                    Some(previous.as_str()),
                    "block {index} links to the one before"
                );
            }
            self.blocks.push(hash.to_owned());
            for record in block["records"].as_array().unwrap_or_else(|| panic!("a block has records: {block}")) {
                let place =
                    place(record["record_id"].as_str().unwrap_or_else(|| panic!("a record has an id: {record}")));
                assert!(place.0 >= self.next_sequence, "batch {} is on the chain twice", place.0);
                if let Some(posted) = self.unsettled.remove(&place) {
                    assert_same(&posted, record);
                    self.seen.insert(place, posted);
                }
                self.replay.apply(record);
            }
            let last = block["records"].as_array().and_then(|records| records.last());
            if let Some(last) = last.and_then(|record| record["record_id"].as_str()) {
                self.next_sequence = place(last).0 + 1;
            }
        }
        assert!(!self.blocks.is_empty(), "a chain has at least genesis");
    }

    /// The station's batches after those on the chain, in order: also those that nobody was told of.
    fn pending(&self, api: &Api, station: &str) -> Vec<Vec<Value>> {
        // What was acknowledged is known already; a batch may also hold records whose clients were not told in time.
        let read = |sequence: u64, index: u64| {
            if let Some(record) = self.unsettled.get(&(sequence, index)) {
                return Some(record.clone());
            }
            let path = format!("/v1/records/{station}.{sequence}.{index}");
            let answer = api.try_get(&path).unwrap_or_else(|error| panic!("GET {path}: {error:?}"));
            (answer.status != 404).then(|| answer.success()["record"].clone())
        };
        let batches = Mutex::new(BTreeMap::new());
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    loop {
                        let sequence = self.next_sequence + next.fetch_add(1, Ordering::Relaxed) as u64;
                        let batch: Vec<Value> = (0..).map_while(|index| read(sequence, index)).collect();
                        // The introduction may be without records; after it an empty place is the log's end.
                        if batch.is_empty() && sequence > 0 {
                            return;
                        }
                        batches.lock().expect("no reader panics while it holds the lock").insert(sequence, batch);
                    }
                });
            }
        });
        batches.into_inner().expect("no reader panics while it holds the lock").into_values().collect()
    }

    /// What the daemon answers otherwise than the replay: at the head, and with what is pending folded on top.
    fn compare(&self, api: &Api, pending: &[Vec<Value>]) -> Vec<String> {
        let mut folded = self.replay.clone();
        pending.iter().take(BLOCK_BATCHES).flatten().for_each(|record| folded.apply(record));
        let mut wrong = Vec::new();
        let mut check = |path: String, confirmed: i64, score: i64| {
            let answer = api.get(&path);
            if (millionths(&answer["confirmed_score"]), millionths(&answer["score"])) != (confirmed, score) {
                wrong.push(format!("{path}: {answer}, but the replay has {confirmed} confirmed and {score}"));
            }
        };
        for (user, score) in folded.users() {
            check(format!("/v1/trust/users/{user}"), self.replay.user(user), score);
        }
        for (content, creator) in folded.contents() {
            let (confirmed, score) = (self.replay.content(content, creator), folded.content(content, creator));
            check(format!("/v1/trust/content?content_id={content}&creator_id={creator}"), confirmed, score);
        }
        for creator in folded.contents().map(|(_, creator)| creator).collect::<BTreeSet<_>>() {
            check(format!("/v1/trust/creators/{creator}"), self.replay.creator(creator), folded.creator(creator));
        }
        wrong
    }

    /// Each acknowledged id is on the chain or pending.
    fn account_for_promised(&self, pending: &[Vec<Value>]) {
        assert_eq!(self.seen.len() + self.unsettled.len(), self.promised);
        let last = self.next_sequence + pending.len() as u64;
        let lost: Vec<_> =
            self.unsettled.keys().filter(|(sequence, _)| !(self.next_sequence..last).contains(sequence)).collect();
        assert!(lost.is_empty(), "neither on the chain nor pending: {lost:?}");
    }
}

/// Sequence and index of a record id.
fn place(id: &str) -> (u64, u64) {
    let mut parts = id.rsplit('.').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(index)), Some(Ok(sequence))) => (sequence, index),
        _ => panic!("{id} is no record id"),
    }
}

/// What was posted is what is shown; the node may have added fields.
#[track_caller]
fn assert_same(posted: &Value, shown: &Value) {
    for (name, value) in posted.as_object().expect("records are objects") {
        let same = match value.as_f64() {
            Some(_) => shown[name].is_number() && millionths(value) == millionths(&shown[name]),
            None => value == &shown[name],
        };
        assert!(same, "{name} of {posted} is shown otherwise: {shown}");
    }
}
