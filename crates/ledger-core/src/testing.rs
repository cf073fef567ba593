//! Builders for tests: stations, federations, records and blocks. Adds, changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::{Introduction, SignedBatch, VerifiedBatch};
use crate::block::{BlockError, SealedHeader, VerifiedBlock, batches_root};
use crate::crypto::StationKey;
use crate::dataset::{DatasetRated, DatasetRegistered, DatasetVerified};
use crate::equivocation::BatchEquivocation;
use crate::federation::{Admission, Genesis, Parameters, Rules, SignatureScheme};
use crate::header::{BLOCK_VERSION, BlockHeader, Difficulty};
use crate::ids::{BlockHash, ContentHash, Height, Id, Label, Name, Reason, Sequence, StationId, Target, Text};
use crate::ledger::{Ledger, Template};
use crate::memory::MemoryStore;
use crate::mempool::LogEnd;
use crate::own_log::OwnLog;
use crate::pow::NonceSearch;
use crate::record::{ContentAdded, ContentRef, Metadata, Record, StationAdmitted, StationExpelled, UserAction};
use crate::reveal::{RevealChain, RevealStep};
use crate::score::{Delta, Score};
use crate::state::{BlockRead, ConnectError, Connected, ReadError, Writes};
use crate::testimony::{Answer, Testimony};
use crate::time::Timestamp;

/// Steps of a test station's reveal chain.
pub const REVEALS: u32 = 1_000;

/// `millis` after 2026-01-01T00:00:00Z.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000).expect("in range").saturating_add(millis)
}

/// The key of test station `number`.
pub fn key(number: u8) -> StationKey {
    StationKey::from_seed([number; 32])
}

/// Test station `number`.
pub fn station(number: u8) -> StationId {
    key(number).station()
}

/// A federation founded by test station 1 at [`at`]`(0)`, at the easiest difficulty.
pub fn rules() -> Arc<Rules> {
    rules_with(|_| {})
}

/// The same with changed parameters.
pub fn rules_with(change: impl FnOnce(&mut Parameters)) -> Arc<Rules> {
    let mut parameters = Parameters::new(Name::new("test").expect("a name"), station(1), at(0));
    parameters.difficulty = Difficulty::new(1).expect("in range");
    change(&mut parameters);
    Arc::new(Rules::new(Genesis::mine(parameters).expect("valid parameters")).expect("a mined genesis"))
}

/// The same with admission by roster, founded by the test stations 1 to `founders`.
pub fn rules_with_roster(founders: u8) -> Arc<Rules> {
    rules_with(|parameters| {
        parameters.admission = Admission::Roster;
        (2..=founders).for_each(|number| parameters.add_founder(station(number), None));
    })
}

/// The same, signing with the scheme `hybrid`; the founders' keys are named.
pub fn rules_hybrid(change: impl FnOnce(&mut Parameters)) -> Arc<Rules> {
    rules_with(|parameters| {
        change(parameters);
        parameters.signatures = SignatureScheme::Hybrid;
        let numbers = (1..=u8::MAX).map(|number| (station(number), number));
        let numbers: HashMap<StationId, u8> = numbers.collect();
        for founder in &mut parameters.founders {
            founder.ml_dsa_key_hash = numbers.get(&founder.station).map(|number| key(*number).ml_dsa_key().hash());
        }
    })
}

/// The own log of test station `number`.
pub fn own_log(rules: &Rules, number: u8) -> OwnLog {
    let key = key(number);
    let secret = key.reveal_secret(&rules.federation());
    let reveals = RevealChain::new(&rules.federation(), &key.station(), secret, REVEALS);
    OwnLog::new(key, Name::new(format!("station {number}")).expect("a name"), reveals)
}

/// The empty ledger of test station `number`, with its store.
pub fn ledger(rules: &Arc<Rules>, number: u8) -> (Ledger<MemoryStore>, MemoryStore) {
    let store = MemoryStore::default();
    let own = own_log(rules, number);
    let ledger = Ledger::open(Arc::clone(rules), store.clone(), own, [], [], [], at(0)).expect("an empty store");
    (ledger, store)
}

/// The user did an interaction.
pub fn interaction(user: &str) -> Record {
    Record::UserAction(UserAction {
        user_id: Id::new(user).expect("an id"),
        action: Id::new("interaction").expect("an id"),
        target: Target::new("dj").expect("a target"),
        trust_delta: Delta::from_millionths(10_000).expect("in range"),
        timestamp: at(0),
    })
}

/// The content was added with a score.
pub fn added(content: &str, creator: &str, score: u32) -> Record {
    Record::ContentAdded(ContentAdded {
        content_id: Id::new(content).expect("an id"),
        creator_id: Id::new(creator).expect("an id"),
        initial_score: Score::from_millionths(score).expect("in range"),
        metadata: Metadata::empty(),
    })
}

fn content(content: &str, creator: &str) -> ContentRef {
    ContentRef { content_id: Id::new(content).expect("an id"), creator_id: Id::new(creator).expect("an id") }
}

/// The content was verified.
pub fn verified(content_id: &str, creator: &str) -> Record {
    Record::ContentVerified(content(content_id, creator))
}

/// The content was reported.
pub fn reported(content_id: &str, creator: &str) -> Record {
    Record::ContentReported(content(content_id, creator))
}

/// The dataset was registered, with 32 times `byte` as SHA-256.
pub fn dataset_registered(dataset: &str, byte: u8) -> Record {
    Record::DatasetRegistered(Box::new(DatasetRegistered {
        dataset_id: Id::new(dataset).expect("an id"),
        name: Id::new("OpenMusic").expect("a name"),
        license: Id::new("CC-BY-4.0").expect("a text"),
        quality: Score::from_millionths(900_000).expect("in range"),
        sha256: ContentHash::from_bytes([byte; 32]),
        size: 1_024,
        description: Text::new("Ω, and others").expect("short"),
        source: Text::new("https://example.org/").expect("short"),
        creator: Label::new("artist_001").expect("short"),
        genre: Label::new("").expect("may be empty"),
        tags: ["ambient", "live"].map(|tag| Id::new(tag).expect("short")).to_vec(),
    }))
}

/// Somebody found 32 times `byte` as the dataset's SHA-256.
pub fn dataset_verified(dataset: &str, byte: u8) -> Record {
    let dataset_id = Id::new(dataset).expect("an id");
    Record::DatasetVerified(DatasetVerified { dataset_id, sha256: ContentHash::from_bytes([byte; 32]) })
}

/// Somebody rated the dataset, in millionths.
pub fn dataset_rated(dataset: &str, rating: u32) -> Record {
    let dataset_id = Id::new(dataset).expect("an id");
    Record::DatasetRated(DatasetRated { dataset_id, rating: Score::from_millionths(rating).expect("in range") })
}

/// A station's answer about the record at `index` of `batch`.
pub fn testimony(rules: &Rules, batch: &VerifiedBatch, index: u16, answer: Answer) -> Record {
    let (record, hash) = (batch.record_id(index), batch.record_hashes(rules)[usize::from(index)]);
    Record::Testimony(Box::new(Testimony { record, hash, answer }))
}

/// A founder admits a station.
pub fn admits(station: StationId) -> Record {
    let reason = Reason::new("").expect("may be empty");
    Record::StationAdmitted(StationAdmitted { station, reason, ml_dsa_key_hash: None })
}

/// A founder wants a station expelled.
pub fn expels(station: StationId) -> Record {
    Record::StationExpelled(StationExpelled { station, reason: Reason::new("spam").expect("a reason") })
}

/// The record that proves with two batches of one place that their author equivocated.
pub fn proof(rules: &Rules, one: &VerifiedBatch, other: &VerifiedBatch) -> Record {
    let proof = BatchEquivocation::new(rules, one.signed_header(), other.signed_header());
    Record::BatchEquivocation(Box::new(proof.expect("two batches of one place")))
}

/// A station that signs whatever it is told: for logs and blocks that no honest station would make. A clone signs a
/// second log.
#[derive(Clone)]
pub struct Author {
    rules: Arc<Rules>,
    key: StationKey,
    introduction: Introduction,
    /// From the secret to the commitment.
    reveals: Arc<[[u8; 32]]>,
    end: LogEnd,
}

impl Author {
    /// Test station `number`, which has signed nothing yet.
    pub fn new(rules: &Arc<Rules>, number: u8) -> Self {
        let key = key(number);
        let step = RevealStep::new(&rules.federation(), &key.station());
        let secret = key.reveal_secret(&rules.federation());
        let values = std::iter::successors(Some(secret), |value| Some(step.of(value)));
        let reveals: Vec<[u8; 32]> = values.take(REVEALS as usize + 1).collect();
        let introduction = Introduction {
            name: Name::new(format!("station {number}")).expect("a name"),
            reveal_commitment: reveals[REVEALS as usize],
            ml_dsa_key: rules.is_hybrid().then(|| key.ml_dsa_key().as_bytes().to_vec()),
        };
        Self { rules: Arc::clone(rules), key, introduction, reveals: reveals.into(), end: LogEnd::EMPTY }
    }

    /// The station.
    pub fn station(&self) -> StationId {
        self.key.station()
    }

    /// Where its log ends.
    pub const fn end(&self) -> LogEnd {
        self.end
    }

    /// Signs `records` as the next batch of its log; the first one introduces it.
    pub fn batch(&mut self, created_at: Timestamp, records: Vec<Record>) -> VerifiedBatch {
        self.batch_seeing(self.rules.genesis_hash(), created_at, records)
    }

    /// The same by an author that has seen another head than genesis.
    pub fn batch_seeing(&mut self, seen: BlockHash, created_at: Timestamp, records: Vec<Record>) -> VerifiedBatch {
        let introduction = (self.end.next == Sequence::ZERO).then(|| self.introduction.clone());
        let place = (self.end.next, self.end.last);
        let batch = SignedBatch::sign(&self.rules, &self.key, place, seen, created_at, introduction, records);
        self.end = LogEnd { next: place.0.next().expect("a short log"), last: batch.id() };
        batch
    }

    /// Signs two batches for the next place of its log, which goes on from the first of them.
    pub fn equivocate(&mut self, created_at: Timestamp, records: [Vec<Record>; 2]) -> [VerifiedBatch; 2] {
        let mut second_log = self.clone();
        let [first, second] = records;
        [self.batch(created_at, first), second_log.batch(created_at, second)]
    }

    /// The header of a block on `parent`, its `produced`-th (from 0) on that branch; without its nonce.
    pub fn header(
        &self,
        parent: (Height, BlockHash),
        produced: u64,
        timestamp: Timestamp,
        body: &[VerifiedBatch],
    ) -> BlockHeader {
        let left = u64::from(REVEALS).checked_sub(produced + 1).expect("fewer blocks than steps");
        let reveal = self.reveals[usize::try_from(left).expect("few steps")];
        let bytes: usize = body.iter().map(VerifiedBatch::encoded_len).sum();
        BlockHeader {
            version: BLOCK_VERSION,
            difficulty: self.rules.parameters().difficulty,
            index: parent.0.next().expect("a short chain"),
            previous: parent.1,
            merkle_root: batches_root(body),
            batch_count: u32::try_from(body.len()).expect("few batches"),
            body_bytes: u32::try_from(bytes).expect("few bytes"),
            timestamp,
            producer: self.station(),
            reveal,
            nonce: 0,
        }
    }

    /// Finds the nonce of `header`, seals it and puts the block together.
    ///
    /// # Errors
    /// [`BlockError`] where the block is not valid by itself.
    pub fn seal(&self, header: BlockHeader, body: Vec<VerifiedBatch>) -> Result<VerifiedBlock, BlockError> {
        let header = solve(&self.rules, &Template { header, batches: Vec::new() });
        VerifiedBlock::assemble(&self.rules, SealedHeader::seal(&self.rules, &self.key, header), body)
    }

    /// A block on `parent` that is valid by itself: see [`Author::header`].
    pub fn block(
        &self,
        parent: (Height, BlockHash),
        produced: u64,
        timestamp: Timestamp,
        body: Vec<VerifiedBatch>,
    ) -> VerifiedBlock {
        self.seal(self.header(parent, produced, timestamp, &body), body).expect("valid by itself")
    }
}

/// Blocks by hash, whatever branch they are on.
#[derive(Clone, Debug, Default)]
pub struct Blocks(HashMap<BlockHash, VerifiedBlock>);

impl Blocks {
    /// Adds a block.
    pub fn add(&mut self, block: VerifiedBlock) {
        self.0.insert(block.hash(), block);
    }
}

impl BlockRead for Blocks {
    fn past_block(&self, hash: &BlockHash) -> Result<VerifiedBlock, ReadError> {
        self.0.get(hash).cloned().ok_or(ReadError::Damaged { what: "a block" })
    }
}

/// [`connect`](crate::state::connect) to a state in memory: made here, it is optimised as this crate is.
///
/// # Errors
/// [`ConnectError`].
pub fn connect(rules: &Rules, state: &Writes, past: &Blocks, block: &VerifiedBlock) -> Result<Connected, ConnectError> {
    crate::state::connect(rules, state, past, block)
}

/// A template's header with its nonce.
pub fn solve(rules: &Rules, template: &Template) -> BlockHeader {
    let mut search = NonceSearch::new(&rules.federation(), template.header.clone());
    std::iter::repeat_with(|| search.run(1 << 16)).find_map(|found| found).expect("endless").0
}
