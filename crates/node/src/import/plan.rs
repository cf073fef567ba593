//! What a file of the original makes: which records, and which of them are there already.

use std::collections::{HashMap, VecDeque};
use std::io::BufRead;

use qfzz_ledger_core::ids::Id;
use qfzz_ledger_core::record::{ContentAdded, ContentRef, Record};
use qfzz_ledger_core::score::Score;
use sha2::{Digest, Sha256};

use super::provenance::{Origin, Place, origin_of};
use crate::legacy::chain;
use crate::legacy::fault::{Fault, Reason, Within};
use crate::legacy::file::{Blocks, Checked, Kind};

/// Records that one file makes, at most: what a plan holds of each takes some hundred bytes.
pub(crate) const MAX_RECORDS: u64 = 1_000_000;

/// Who is named as the creator of an imported document.
const IMPORT: &str = "import";

/// How often a content was verified and reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    verifications: u64,
    reports: u64,
}

/// What a file of the original makes, which was checked as a whole.
#[derive(Debug)]
pub(crate) struct Plan {
    source: [u8; 32],
    kind: Kind,
    blocks: u64,
    head: [u8; 32],
    /// The newest record of each content, which is the one that counts.
    wanted: HashMap<Origin, Counts>,
    /// Of those that this station has in its log already: what is still to come.
    begun: HashMap<Origin, Counts>,
    /// Contents of which something is still to come, while the log is read.
    open: HashMap<(Id, Id), Origin>,
}

/// The newest record of a content, while the file is read.
struct Newest {
    origin: Origin,
    counts: Counts,
}

impl Plan {
    /// Checks a whole file, whose SHA-256 is `source`.
    ///
    /// # Errors
    /// [`Fault`] with the first block that is wrong.
    pub(crate) fn of(input: impl BufRead, source: [u8; 32]) -> Result<Self, Fault> {
        let mut file = Blocks::new(input);
        let mut newest: HashMap<[u8; 32], Newest> = HashMap::new();
        let (mut blocks, mut head, mut kind, mut total) = (0, [0; 32], Kind::Ledger, 0_u64);
        while let Some(checked) = file.next_block()? {
            head = hash_of(&checked);
            if let Checked::Chain(block) = &checked {
                kind = Kind::Chain;
                for (index, record) in block.records.iter().enumerate() {
                    let counts = Counts { verifications: record.verifications, reports: record.reports };
                    let origin = Origin { block_hash: head, record: u32::try_from(index).ok() };
                    let before = newest.insert(content_key(record), Newest { origin, counts });
                    let before = before.map_or(0, |before| size(before.counts));
                    total = (total - before).saturating_add(size(counts));
                    if total > MAX_RECORDS {
                        let reason = Reason::TooMany { within: Within::Record(index), limit: MAX_RECORDS };
                        return Err(Fault { block: blocks, reason });
                    }
                }
            }
            blocks += 1;
        }
        let wanted = newest.into_values().map(|newest| (newest.origin, newest.counts)).collect();
        Ok(Self { source, kind, blocks, head, wanted, begun: HashMap::new(), open: HashMap::new() })
    }

    /// What the file is.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Blocks in the file.
    pub(crate) const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Takes note of a record of this station's own log, which is read from its beginning.
    ///
    /// What was imported once says so itself. It is followed by its verifications and reports; where a crash cut them
    /// off, the rest is still to come.
    pub(crate) fn see(&mut self, record: &Record) {
        match record {
            Record::ContentAdded(added) => {
                let Some(origin) = origin_of(&added.metadata) else { return };
                let is_document = origin == self.document_origin();
                if let Some(counts) = self.wanted.get(&origin).copied().or(is_document.then(Counts::default)) {
                    self.begun.insert(origin, counts);
                    if counts != Counts::default() {
                        self.open.insert((added.creator_id.clone(), added.content_id.clone()), origin);
                    }
                }
            }
            Record::ContentVerified(named) => self.count(named, |counts| &mut counts.verifications),
            Record::ContentReported(named) => self.count(named, |counts| &mut counts.reports),
            Record::UserAction(_)
            | Record::DatasetRegistered(_)
            | Record::DatasetVerified(_)
            | Record::DatasetRated(_)
            | Record::Testimony(_)
            | Record::BatchEquivocation(_)
            | Record::StationAdmitted(_)
            | Record::StationExpelled(_) => {}
        }
    }

    fn count(&mut self, named: &ContentRef, part: impl Fn(&mut Counts) -> &mut u64) {
        if self.open.is_empty() {
            return;
        }
        let key = (named.creator_id.clone(), named.content_id.clone());
        let Some(counts) = self.open.get(&key).and_then(|origin| self.begun.get_mut(origin)) else { return };
        let left = part(counts);
        *left = left.saturating_sub(1);
        if *counts == Counts::default() {
            self.open.remove(&key);
        }
    }

    const fn document_origin(&self) -> Origin {
        Origin { block_hash: self.head, record: None }
    }

    /// The records that are still to come, from the same file again.
    pub(crate) fn records<R: BufRead>(mut self, input: R) -> Records<R> {
        self.open = HashMap::new();
        let mut queue = VecDeque::new();
        let document = self.document_origin();
        if self.kind == Kind::Ledger && !self.begun.contains_key(&document) {
            queue.push_back((self.document(document), 1));
        }
        Records { file: Blocks::new(input), plan: self, block: 0, queue, left_out: 0 }
    }

    /// What a ledger file leaves: a content that is nobody's, so that its hash and the number of its events are kept.
    fn document(&self, origin: Origin) -> Record {
        let place = Place { source: &self.source, block: self.blocks.saturating_sub(1), origin };
        Record::ContentAdded(ContentAdded {
            content_id: Id::new(hex::encode(self.source)).expect("64 hex digits are an id"),
            creator_id: Id::new(IMPORT).expect("a word is an id"),
            initial_score: Score::HALF,
            // Block 0 is the ledger's genesis, and no event.
            metadata: place.document(self.blocks.saturating_sub(1)),
        })
    }
}

fn size(counts: Counts) -> u64 {
    counts.verifications.saturating_add(counts.reports).saturating_add(1)
}

fn hash_of(checked: &Checked) -> [u8; 32] {
    let mut hash = [0; 32];
    hex::decode_to_slice(checked.hash(), &mut hash).expect("it was compared with a hash in hex");
    hash
}

/// Short whatever the ids' lengths, so that a plan's size follows from the number of its contents.
fn content_key(record: &chain::Record) -> [u8; 32] {
    let creator = record.creator_id.as_str();
    Sha256::new()
        .chain_update((creator.len() as u64).to_le_bytes())
        .chain_update(creator)
        .chain_update(record.content_id.as_str())
        .finalize()
        .into()
}

/// The records that a plan makes, in the order of the file.
pub(crate) struct Records<R> {
    file: Blocks<R>,
    plan: Plan,
    block: u64,
    /// Records of the block that was read last, each with how often it comes.
    queue: VecDeque<(Record, u64)>,
    left_out: u64,
}

impl<R: BufRead> Records<R> {
    /// The next records, at most `limit`; none at the end.
    ///
    /// # Errors
    /// [`Fault`] only where the file cannot be read any more.
    pub(crate) fn next(&mut self, limit: usize) -> Result<Vec<Record>, Fault> {
        let mut records = Vec::new();
        while records.len() < limit {
            match self.queue.front_mut() {
                Some((record, times)) if *times > 0 => {
                    records.push(record.clone());
                    *times -= 1;
                }
                Some(_) => drop(self.queue.pop_front()),
                None => match self.file.next_block()? {
                    Some(checked) => self.unfold(&checked),
                    None => break,
                },
            }
        }
        Ok(records)
    }

    /// Records whose metadata could not be held, so far.
    pub(crate) const fn left_out(&self) -> u64 {
        self.left_out
    }

    fn unfold(&mut self, checked: &Checked) {
        let block_hash = hash_of(checked);
        if let Checked::Chain(block) = checked {
            for (index, record) in (0..).zip(&block.records) {
                let origin = Origin { block_hash, record: Some(index) };
                if let Some(counts) = self.plan.wanted.get(&origin).copied() {
                    self.unfold_record(record, origin, counts);
                }
            }
        }
        self.block += 1;
    }

    fn unfold_record(&mut self, record: &chain::Record, origin: Origin, wanted: Counts) {
        let begun = self.plan.begun.get(&origin).copied();
        if begun.is_none() {
            let place = Place { source: &self.plan.source, block: self.block, origin };
            let (metadata, is_left_out) = place.metadata(record);
            self.left_out += u64::from(is_left_out);
            let added = ContentAdded {
                content_id: record.content_id.clone(),
                creator_id: record.creator_id.clone(),
                // What it was added with is not in the file any more once somebody has verified or reported it.
                initial_score: if wanted == Counts::default() { record.score } else { Score::HALF },
                metadata,
            };
            self.queue.push_back((Record::ContentAdded(added), 1));
        }
        let named = ContentRef { content_id: record.content_id.clone(), creator_id: record.creator_id.clone() };
        let Counts { verifications, reports } = begun.unwrap_or(wanted);
        self.queue.push_back((Record::ContentVerified(named.clone()), verifications));
        self.queue.push_back((Record::ContentReported(named), reports));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &str = include_str!("../../tests/legacy/chain.json");
    const LEDGER: &str = include_str!("../../tests/legacy/ledger.json");
    const SOURCE: [u8; 32] = [7; 32];

    fn plan(file: &str) -> Plan {
        Plan::of(file.as_bytes(), SOURCE).expect("it verifies")
    }

    /// All records that are still to come, some at a time.
    fn records(plan: Plan, file: &str) -> Vec<Record> {
        let mut records = plan.records(file.as_bytes());
        let mut all = Vec::new();
        loop {
            let group = records.next(3).expect("it was read before");
            if group.is_empty() {
                return all;
            }
            all.extend(group);
        }
    }

    #[test]
    fn wherever_an_import_was_cut_off_the_rest_is_still_to_come_and_nothing_else() {
        for (file, count) in [(CHAIN, 11), (LEDGER, 1)] {
            let all = records(plan(file), file);
            assert_eq!(all.len(), count);
            for cut in 0..=count {
                let mut plan = plan(file);
                all[..cut].iter().for_each(|record| plan.see(record));
                assert_eq!(records(plan, file), all[cut..], "after {cut}");
            }
        }
    }

    #[test]
    fn records_of_somebody_else_are_no_part_of_an_import() {
        let all = records(plan(CHAIN), CHAIN);
        let mut plan = plan(CHAIN);
        for record in &all {
            let mut other = record.clone();
            if let Record::ContentAdded(added) = &mut other {
                added.metadata = qfzz_ledger_core::record::Metadata::new("{\"imported\":true}").expect("short");
            }
            plan.see(&other);
        }
        assert_eq!(records(plan, CHAIN), all);
    }
}
