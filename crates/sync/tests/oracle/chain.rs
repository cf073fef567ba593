//! A chain made of real records, batches and blocks, with what was said on it in the words of the reference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, ContentHash, Height, Id, RecordHash, StationId};
use qfzz_ledger_core::record::{Record, Subject};
use qfzz_ledger_core::state::{Connected, Disputed, RecordPlace, Undo, Writes};
use qfzz_ledger_core::testing::{Author, Blocks, at, connect};
use serde_json::{Value, json};

/// What every dataset here is registered with, as [`dataset_registered`](qfzz_ledger_core::testing::dataset_registered)
/// does with this byte.
pub(crate) const REGISTERED: u8 = 1;

pub(crate) fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

/// A station as the reference names it: so names have the order of ids.
pub(crate) fn name(station: &StationId) -> String {
    hex(station.as_bytes())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn subject_json(subject: &Subject) -> Value {
    match subject {
        Subject::User(user) => json!(["user", user.as_str()]),
        Subject::Content { creator_id, content_id } => json!(["content", creator_id.as_str(), content_id.as_str()]),
        Subject::Creator(creator) => json!(["creator", creator.as_str()]),
        Subject::Dataset(dataset) => json!(["dataset", dataset.as_str()]),
    }
}

/// A record on the chain.
#[derive(Clone)]
pub(crate) struct Said {
    pub(crate) station: StationId,
    pub(crate) height: u64,
    pub(crate) record: Disputed,
    /// Whether a juror could check it.
    pub(crate) is_claim: bool,
    pub(crate) batch: VerifiedBatch,
}

/// What was said on a branch, kept apart from the ledger's state.
#[derive(Clone, Default)]
pub(crate) struct Told {
    pub(crate) records: Vec<Value>,
    pub(crate) testimonies: Vec<Value>,
    pub(crate) equivocators: BTreeSet<StationId>,
    pub(crate) authors: BTreeSet<StationId>,
    pub(crate) said: BTreeMap<RecordHash, Said>,
    numbers: BTreeMap<StationId, u32>,
    /// Who was drawn to check which record, until when, and whether it has answered.
    pub(crate) duties: BTreeMap<(RecordHash, StationId), (u64, bool)>,
    /// Undrawn testimonies of the newest block: author, and the record named.
    pub(crate) undrawn: Vec<(StationId, RecordHash)>,
}

/// What takes a block back.
struct Undone {
    undo: Undo,
    block: VerifiedBlock,
    authors: BTreeMap<u8, Author>,
    told: Told,
    head: (Height, BlockHash),
}

pub(crate) struct Chain {
    pub(crate) rules: Arc<Rules>,
    base: Writes,
    pub(crate) state: Writes,
    blocks: Blocks,
    pub(crate) authors: BTreeMap<u8, Author>,
    pub(crate) told: Told,
    pub(crate) head: (Height, BlockHash),
    below: Vec<Undone>,
    /// Who makes the blocks.
    producer: u8,
}

impl Chain {
    /// Nothing but `base`, which no block made.
    pub(crate) fn new(rules: &Arc<Rules>, authors: BTreeMap<u8, Author>, producer: u8, base: Writes) -> Self {
        let head = (Height::ZERO, rules.genesis_hash());
        let (blocks, told, below) = (Blocks::default(), Told::default(), Vec::new());
        Self { rules: Arc::clone(rules), state: base.clone(), base, blocks, authors, told, head, below, producer }
    }

    pub(crate) fn height(&self) -> u64 {
        self.head.0.get()
    }

    /// The block at a height, genesis included.
    pub(crate) fn hash_at(&self, height: u64) -> BlockHash {
        match self.below.get(usize::try_from(height).expect("few")) {
            Some(above) => above.head.1,
            None => self.head.1,
        }
    }

    /// Signs a batch of the next block by an author that has seen the block at a height; none at all if it is above.
    pub(crate) fn sign(&mut self, who: u8, seen: u64, records: Vec<Record>) -> VerifiedBatch {
        let seen = if seen > self.height() { BlockHash::ZERO } else { self.hash_at(seen) };
        let now = at(self.head.0.get() as i64 + 1);
        self.authors.get_mut(&who).expect("an author").batch_seeing(seen, now, records)
    }

    /// Connects a block.
    pub(crate) fn push(&mut self, batches: Vec<VerifiedBatch>, authors_before: BTreeMap<u8, Author>) -> Connected {
        let now = at(self.head.0.get() as i64 + 1);
        let block = self.authors[&self.producer].block(self.head, self.height(), now, batches);
        let made = connect(&self.rules, &self.state, &self.blocks, &block).expect("it fits");
        let undone = Undone {
            undo: made.undo.clone(),
            block: block.clone(),
            authors: authors_before,
            told: self.told.clone(),
            head: self.head,
        };
        self.below.push(undone);
        apply(&mut self.state, made.writes.clone());
        self.head = (block.header().index, block.hash());
        self.blocks.add(block.clone());
        self.tell(&block, &made);
        made
    }

    /// Takes the newest block back.
    pub(crate) fn pop(&mut self) {
        let Undone { undo, authors, told, head, .. } = self.below.pop().expect("a block");
        apply(&mut self.state, undo);
        (self.authors, self.told, self.head) = (authors, told, head);
    }

    /// The state that follows from the branch's blocks alone.
    pub(crate) fn replayed(&self) -> Writes {
        let mut state = self.base.clone();
        for Undone { block, .. } in &self.below {
            let made = connect(&self.rules, &state, &self.blocks, block).expect("it fitted before");
            apply(&mut state, made.writes);
        }
        state
    }

    /// Takes note of what a block says.
    fn tell(&mut self, block: &VerifiedBlock, made: &Connected) {
        let height = block.header().index.get();
        self.told.undrawn.clear();
        for batch in block.batches() {
            let (station, seen) = (batch.station(), batch.header().seen);
            let next = self.told.numbers.len() as u32;
            let number = *self.told.numbers.entry(station).or_insert(next);
            self.told.authors.insert(station);
            let seen = (0..height).find(|height| self.hash_at(*height) == seen).map_or(-1, |height| height as i64);
            for ((index, record), hash) in (0..).zip(batch.records()).zip(batch.record_hashes(&self.rules)) {
                let place = RecordPlace { station: number, sequence: batch.sequence(), index };
                self.tell_record(batch, record, place, hash, (height, seen));
            }
        }
        for audit in &made.audits {
            let found = self.told.said.values().find(|said| said.record.place == audit.place);
            let hash = found.expect("what is drawn was said").record.hash;
            for juror in &audit.jurors {
                self.told.duties.insert((hash, *juror), (height + 1_024, false));
            }
        }
    }

    fn tell_record(
        &mut self,
        batch: &VerifiedBatch,
        record: &Record,
        place: RecordPlace,
        hash: RecordHash,
        (height, seen): (u64, i64),
    ) {
        let (station, told) = (batch.station(), &mut self.told);
        let mut value = json!({ "id": hash.to_string(), "station": name(&station), "kind": record.kind(),
            "height": height, "seen": seen });
        let registered = ContentHash::from_bytes([REGISTERED; 32]);
        // 1 where it speaks well, -1 where it does not, 0 where there is nothing to check.
        let direction = match record {
            Record::UserAction(action) => {
                value["delta"] = action.trust_delta.millionths().into();
                action.trust_delta.millionths().signum()
            }
            Record::ContentAdded(added) => {
                value["initial_score"] = added.initial_score.millionths().into();
                0
            }
            Record::ContentVerified(_) => 1,
            Record::ContentReported(_) => -1,
            Record::DatasetRegistered(_) => 0,
            Record::DatasetVerified(verified) => {
                value["matches"] = (verified.sha256 == registered).into();
                if verified.sha256 == registered { 1 } else { -1 }
            }
            Record::DatasetRated(rated) => {
                value["rating"] = rated.rating.millionths().into();
                if rated.rating.millionths() >= 500_000 { 1 } else { -1 }
            }
            Record::Testimony(testimony) => {
                let duty = told.duties.get_mut(&(testimony.hash, station));
                let drawn = match duty.filter(|(until, _)| *until >= height) {
                    Some((_, has_answered)) => !std::mem::replace(has_answered, true),
                    None => {
                        told.undrawn.push((station, testimony.hash));
                        false
                    }
                };
                if told.said.contains_key(&testimony.hash) {
                    told.testimonies.push(json!({ "station": name(&station), "record": testimony.hash.to_string(),
                        "answer": testimony.answer.as_str(), "drawn": drawn }));
                }
                return;
            }
            Record::BatchEquivocation(proof) => {
                told.equivocators.insert(proof.station());
                return;
            }
            Record::StationAdmitted(_) | Record::StationExpelled(_) => return,
        };
        let subject = record.subject().expect("it is about one");
        value["subject"] = subject_json(&subject);
        told.records.push(value);
        let record = Disputed { place, hash, subject, is_positive: direction > 0 };
        let said = Said { station, height, record, is_claim: direction != 0, batch: batch.clone() };
        told.said.insert(hash, said);
    }
}

fn apply(state: &mut Writes, changes: Writes) {
    for (key, value) in changes {
        match value {
            Some(value) => state.insert(key, Some(value)),
            None => state.remove(&key),
        };
    }
}
