//! Every encoding and every tagged hash, frozen: `golden/vectors.txt` holds the values, `golden/check.py` makes them
//! again from the protocol's text, with nothing but Python's standard library.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use qfzz_ledger_core::batch::{BatchHeader, Introduction, SignedBatch, SignedBatchHeader, VerifiedBatch};
use qfzz_ledger_core::block::{SealedHeader, VerifiedBlock, batches_root};
use qfzz_ledger_core::codec::{Encode, encode};
use qfzz_ledger_core::crypto::{Signature, Tag, TaggedHash};
use qfzz_ledger_core::dataset::DatasetRules;
use qfzz_ledger_core::equivocation::BatchEquivocation;
use qfzz_ledger_core::federation::{Admission, Finality, Genesis, Parameters, Rules, SignatureScheme};
use qfzz_ledger_core::header::{BLOCK_VERSION, BlockHeader, Difficulty};
use qfzz_ledger_core::ids::{BatchId, BlockHash, FederationId, Height, Id, Name, Reason, RecordId, Sequence, Target};
use qfzz_ledger_core::mempool::{Inserted, LogEnd, Mempool};
use qfzz_ledger_core::merkle::InclusionProof;
use qfzz_ledger_core::ml_dsa::{ML_DSA_KEY_BYTES, MlDsaKey};
use qfzz_ledger_core::pow::NonceSearch;
use qfzz_ledger_core::record::{ContentAdded, Metadata, Record, StationAdmitted, StationExpelled, Subject, UserAction};
use qfzz_ledger_core::reveal::RevealStep;
use qfzz_ledger_core::score::{Delta, Score};
use qfzz_ledger_core::state::Key;
use qfzz_ledger_core::testimony::Answer;
use qfzz_ledger_core::testing::{
    at, dataset_rated, dataset_registered, dataset_verified, key, own_log, proof, reported, station, testimony,
    verified,
};
use qfzz_ledger_core::verify::Verifier;

const FROZEN: &str = include_str!("golden/vectors.txt");

/// A second signature of station 1 over the hash of its first batch here. An honest station never makes one, for its
/// signatures are deterministic; check.py does, with another nonce.
const SECOND_SIGNATURE: &str = "17b9cd85f5330bda6dc56b874164342cd837af59912dd2cc436692c25f244647\
    8421f48dd08f058df135f33a2f77c999ae5edc132e93879526dfe76371821503";

/// The named values, in order.
#[derive(Default)]
struct Vectors(Vec<(String, String)>);

impl Vectors {
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.0.push((name.to_owned(), hex::encode(bytes)));
    }

    fn encoded<T: Encode>(&mut self, name: &str, value: &T) {
        self.bytes(name, &encode(value));
    }

    fn shown(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push((name.to_owned(), value.to_string()));
    }
}

fn introduction(rules: &Rules, number: u8) -> Introduction {
    Introduction {
        name: Name::new(format!("station {number}")).expect("a name"),
        reveal_commitment: own_log(rules, number).reveals().commitment(),
        ml_dsa_key: None,
    }
}

fn records() -> Vec<Record> {
    let id = |text: &str| Id::new(text).expect("an id");
    vec![
        Record::UserAction(UserAction {
            user_id: id("käthe"),
            action: id("late"),
            target: Target::new("").expect("may be empty"),
            trust_delta: Delta::from_millionths(-50_000).expect("in range"),
            timestamp: at(-86_400_000),
        }),
        Record::ContentAdded(ContentAdded {
            content_id: id("track"),
            creator_id: id("maker"),
            initial_score: Score::from_millionths(700_000).expect("in range"),
            metadata: Metadata::new("{\"title\":\"Ω\"}").expect("short"),
        }),
        verified("track", "maker"),
        reported("other", "maker"),
    ]
}

fn sealed(
    rules: &Rules,
    number: u8,
    parent: (u64, BlockHash),
    reveal: [u8; 32],
    body: &[VerifiedBatch],
) -> SealedHeader {
    let header = BlockHeader {
        version: BLOCK_VERSION,
        difficulty: rules.parameters().difficulty,
        index: Height::new(parent.0 + 1),
        previous: parent.1,
        merkle_root: batches_root(body),
        batch_count: u32::try_from(body.len()).expect("few"),
        body_bytes: u32::try_from(body.iter().map(VerifiedBatch::encoded_len).sum::<usize>()).expect("few"),
        timestamp: at(5_000 * (parent.0 as i64 + 1)),
        producer: station(number),
        reveal,
        nonce: 0,
    };
    let mut search = NonceSearch::new(&rules.federation(), header);
    let (header, _) = search.run(1 << 20).expect("difficulty 2 takes 256 attempts on average");
    SealedHeader::seal(rules, &key(number), header)
}

fn batch_vectors(vectors: &mut Vectors, rules: &Rules, name: &str, batch: &VerifiedBatch) {
    let header = encode(batch.header());
    vectors.bytes(&format!("{name}.header"), &header);
    let hash = rules.batch_hash(&header);
    vectors.bytes(&format!("{name}.hash"), &hash);
    vectors.bytes(&format!("{name}.signature"), batch.signed().signature.as_bytes());
    vectors.shown(&format!("{name}.id"), batch.id());
    for (index, hash) in batch.record_hashes(rules).iter().enumerate() {
        vectors.shown(&format!("{name}.record_hash.{index}"), hash);
    }
    vectors.encoded(&format!("{name}.signed"), batch.signed());
}

fn block_vectors(vectors: &mut Vectors, rules: &Rules, name: &str, block: &VerifiedBlock, parent_draw: &[u8; 32]) {
    let header = block.header();
    vectors.encoded(&format!("{name}.header"), header);
    vectors.shown(&format!("{name}.hash"), block.hash());
    vectors.bytes(&format!("{name}.seal_digest"), &rules.seal_digest(&block.hash()));
    vectors.encoded(&format!("{name}.sealed"), block.sealed());
    vectors.encoded(&format!("{name}.announcement"), &block.announcement());
    vectors.encoded(&format!("{name}.signed"), &block.to_signed());
    vectors.bytes(&format!("{name}.rank"), &rules.rank(&header.previous, &header.producer));
    vectors.bytes(&format!("{name}.draw"), &rules.draw(parent_draw, &header.reveal));
}

fn vectors() -> Vectors {
    let mut vectors = Vectors::default();
    let id = |text: &str| Id::new(text).expect("an id");
    for number in [1, 2] {
        vectors.bytes(&format!("station.{number}"), station(number).as_bytes());
        vectors.shown(&format!("station.{number}.shown"), station(number));
    }

    let mut parameters = Parameters::new(Name::new("golden").expect("a name"), station(1), at(0));
    // A federation keeps the rules in its genesis, whatever the defaults became since.
    let licenses = ["CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-SA-4.0", "CC0-1.0", "MIT", "PDDL-1.0"];
    parameters.datasets = DatasetRules { licenses: licenses.map(id).to_vec(), min_quality: Score::ZERO };
    parameters.set_action(id("late"), Delta::from_millionths(-50_000).expect("in range"));
    vectors.encoded("parameters", &parameters);
    let mut others = parameters.clone();
    others.difficulty = Difficulty::new(8).expect("in range");
    others.signatures = SignatureScheme::Hybrid;
    others.admission = Admission::Roster;
    others.finality = Finality::On;
    others.founders[0].ml_dsa_key_hash = Some([7; 32]);
    others.add_founder(station(2), None);
    vectors.encoded("parameters.others", &others);
    let genesis = Genesis::mine(parameters).expect("valid parameters");
    vectors.bytes("genesis", &genesis.encode());
    vectors.bytes("genesis.root", &genesis.header().merkle_root);
    vectors.encoded("genesis.header", &genesis.header());
    vectors.shown("genesis.id", genesis.id());
    let rules = Rules::new(genesis).expect("a mined genesis");
    vectors.encoded("genesis.sealed", &SealedHeader::genesis(&rules));

    for (kind, record) in records().iter().enumerate() {
        vectors.encoded(&format!("record.{kind}"), record);
    }
    vectors.encoded("record_id", &RecordId { station: station(1), sequence: Sequence::new(17), index: 3 });

    let (one, two) = (introduction(&rules, 1), introduction(&rules, 2));
    vectors.encoded("introduction.1", &one);
    vectors.encoded("introduction.hybrid", &Introduction { ml_dsa_key: Some(vec![1, 2, 3]), ..one.clone() });
    let first_place = (Sequence::ZERO, BatchId::ZERO);
    let genesis_hash = rules.genesis_hash();
    let a0 = SignedBatch::sign(&rules, &key(1), first_place, genesis_hash, at(1_000), Some(one), vec![]);
    let a1 = SignedBatch::sign(&rules, &key(1), (Sequence::new(1), a0.id()), genesis_hash, at(2_000), None, records());
    let b0_records = vec![verified("track", "maker")];
    let b0 = SignedBatch::sign(&rules, &key(2), first_place, BlockHash::ZERO, at(3_000), Some(two), b0_records);
    batch_vectors(&mut vectors, &rules, "a0", &a0);
    batch_vectors(&mut vectors, &rules, "a1", &a1);
    batch_vectors(&mut vectors, &rules, "b0", &b0);
    let hybrid = BatchHeader {
        introduction: Some(Introduction { ml_dsa_key: Some(vec![1, 2, 3]), ..introduction(&rules, 1) }),
        ..a0.header().clone()
    };
    vectors.encoded("a0.header.hybrid", &hybrid);
    let leaves: Vec<[u8; 32]> = a1.record_hashes(&rules).iter().map(|hash| *hash.as_bytes()).collect();
    vectors.encoded("a1.proof.2", &InclusionProof::new(&leaves, 2).expect("the record exists"));

    let mut pool = Mempool::new(station(9));
    for batch in [&a0, &a1, &b0] {
        assert_eq!(pool.insert(batch.clone(), LogEnd::EMPTY, at(0)), Inserted::Added);
    }
    vectors.bytes("pending.digest", &pool.digest(&rules));

    let reveals = |number: u8| own_log(&rules, number).reveals().clone();
    let reveal = reveals(1).reveal(0, &reveals(1).commitment()).expect("1,000 steps");
    vectors.bytes("reveal.1", &reveal);
    vectors.bytes("reveal.1.opens", &RevealStep::new(&rules.federation(), &station(1)).of(&reveal));
    let body = vec![a0, a1, b0.clone()];
    let sealed_1 = sealed(&rules, 1, (0, genesis_hash), reveal, &body);
    let block_1 = VerifiedBlock::assemble(&rules, sealed_1, body).expect("a valid block");
    block_vectors(&mut vectors, &rules, "block.1", &block_1, genesis_hash.as_bytes());

    let reveal = reveals(2).reveal(0, &reveals(2).commitment()).expect("1,000 steps");
    vectors.bytes("reveal.2", &reveal);
    let b1_records = vec![reported("track", "maker")];
    let b1 =
        SignedBatch::sign(&rules, &key(2), (Sequence::new(1), b0.id()), block_1.hash(), at(6_000), None, b1_records);
    let sealed_2 = sealed(&rules, 2, (1, block_1.hash()), reveal, std::slice::from_ref(&b1));
    let block_2 = VerifiedBlock::assemble(&rules, sealed_2, vec![b1.clone()]).expect("a valid block");
    let draw = rules.draw(genesis_hash.as_bytes(), &block_1.header().reveal);
    block_vectors(&mut vectors, &rules, "block.2", &block_2, &draw);

    let mut chain = Verifier::from_genesis(&rules);
    for block in [&block_1, &block_2] {
        chain.next(block.to_signed()).expect("a valid chain");
    }
    for (number, (key, value)) in chain.state().iter().enumerate() {
        vectors.encoded(&format!("state.{number:02}.key"), key);
        vectors.encoded(&format!("state.{number:02}.value"), value.as_ref().expect("present"));
    }
    let (chain, block_3) = equivocation_vectors(&mut vectors, &rules, chain, [&block_1, &block_2]);
    dataset_vectors(&mut vectors, &rules, chain, &block_3);
    admission_vectors(&mut vectors);
    for (name, answer) in [("record.7", Answer::Agree), ("record.7.contest", Answer::Contest)] {
        vectors.encoded(name, &testimony(&rules, &b0, 0, answer));
    }
    vectors
}

/// Both stations equivocate: station 1 by a second signature under its introduction, station 2 by another second batch.
/// Station 1 proves it of station 2.
fn equivocation_vectors<'r>(
    vectors: &mut Vectors,
    rules: &'r Rules,
    mut chain: Verifier<'r>,
    blocks: [&VerifiedBlock; 2],
) -> (Verifier<'r>, VerifiedBlock) {
    let [a0, a1, b0] = blocks[0].batches() else { panic!("three batches") };
    let b1 = &blocks[1].batches()[0];
    let second = Signature::from_bytes(hex::decode(SECOND_SIGNATURE).expect("hex"));
    let second = SignedBatchHeader { signature: second, ..a0.signed_header() };
    let of_signatures = BatchEquivocation::new(rules, a0.signed_header(), second).expect("both verify");
    vectors.encoded("record.8.signatures", &Record::BatchEquivocation(Box::new(of_signatures)));

    let place = (Sequence::new(1), b0.id());
    let records = vec![verified("track", "maker")];
    let other = SignedBatch::sign(rules, &key(2), place, blocks[0].hash(), at(6_000), None, records);
    let record = proof(rules, b1, &other);
    vectors.encoded("record.8", &record);
    let place = (Sequence::new(2), a1.id());
    let a2 = SignedBatch::sign(rules, &key(1), place, blocks[1].hash(), at(7_000), None, vec![record]);
    batch_vectors(vectors, rules, "a2", &a2);
    let reveals = own_log(rules, 1).reveals().clone();
    let reveal = reveals.reveal(1, &blocks[0].header().reveal).expect("1,000 steps");
    let sealed_3 = sealed(rules, 1, (2, blocks[1].hash()), reveal, std::slice::from_ref(&a2));
    let block_3 = VerifiedBlock::assemble(rules, sealed_3, vec![a2]).expect("a valid block");
    chain.next(block_3.to_signed()).expect("a valid chain");
    for (name, key) in [("equivocation", Key::Equivocation(station(2))), ("equivocators", Key::Equivocators)] {
        vectors.encoded(&format!("state.{name}.key"), &key);
        let value = chain.state().get(&key).and_then(Option::as_ref);
        vectors.encoded(&format!("state.{name}.value"), value.expect("the proof was applied"));
    }
    (chain, block_3)
}

/// Station 1 registers a dataset, twice; finds its SHA-256, and another one; rates it, and one that is unknown.
fn dataset_vectors(vectors: &mut Vectors, rules: &Rules, mut chain: Verifier<'_>, block_3: &VerifiedBlock) {
    vectors.encoded("dataset_rules", &DatasetRules::default());
    let records = vec![
        dataset_registered("ds_001", 0xab),
        dataset_verified("ds_001", 0xab),
        dataset_rated("ds_001", 800_000),
        dataset_registered("ds_001", 0xcd),
        dataset_verified("ds_001", 0xcd),
        dataset_rated("ds_002", 800_000),
    ];
    for (kind, record) in (4..).zip(&records[..3]) {
        vectors.encoded(&format!("record.{kind}"), record);
    }
    let a2 = &block_3.batches()[0];
    let place = (Sequence::new(3), a2.id());
    let a3 = SignedBatch::sign(rules, &key(1), place, block_3.hash(), at(8_000), None, records);
    batch_vectors(vectors, rules, "a3", &a3);
    let reveal = own_log(rules, 1).reveals().reveal(2, &block_3.header().reveal).expect("1,000 steps");
    let sealed_4 = sealed(rules, 1, (3, block_3.hash()), reveal, std::slice::from_ref(&a3));
    let block_4 = VerifiedBlock::assemble(rules, sealed_4, vec![a3]).expect("a valid block");
    chain.next(block_4.to_signed()).expect("a valid chain");
    let subject = Subject::Dataset(Id::new("ds_001").expect("an id"));
    for (name, key) in [
        ("dataset", Key::Subject(subject.clone(), 0)),
        ("dataset_opinions", Key::Subject(subject, 1)),
        ("datasets", Key::Datasets),
        ("dataset_number", Key::DatasetNumber(0)),
    ] {
        vectors.encoded(&format!("state.{name}.key"), &key);
        let value = chain.state().get(&key).and_then(Option::as_ref);
        vectors.encoded(&format!("state.{name}.value"), value.expect("the dataset was registered"));
    }
}

/// Station 1 founds a federation with a roster, admits station 2 and has it expelled; then it admits station 3.
fn admission_vectors(vectors: &mut Vectors) {
    let mut parameters = Parameters::new(Name::new("golden").expect("a name"), station(1), at(0));
    parameters.admission = Admission::Roster;
    let rules = Rules::new(Genesis::mine(parameters).expect("valid parameters")).expect("a mined genesis");
    let reason = |text: &str| Reason::new(text).expect("a reason");
    let admitted = |number: u8, why: &str| {
        let (station, reason) = (station(number), reason(why));
        Record::StationAdmitted(StationAdmitted { station, reason, ml_dsa_key_hash: None })
    };
    let expelled = Record::StationExpelled(StationExpelled { station: station(2), reason: reason("") });
    let records = vec![admitted(2, "from Zürich"), expelled, admitted(3, "")];
    vectors.encoded("record.10", &records[0]);
    vectors.encoded("record.11", &records[1]);
    let hybrid = StationAdmitted { station: station(2), reason: reason("x"), ml_dsa_key_hash: Some([7; 32]) };
    vectors.encoded("record.10.hybrid", &Record::StationAdmitted(hybrid));
    let ml_dsa_key = MlDsaKey::from_bytes(&[7; ML_DSA_KEY_BYTES]).expect("the length of a key");
    vectors.encoded("ml_dsa.key_hash", &ml_dsa_key.hash());
    let seed = TaggedHash::new(Tag::MlDsaSeed, &FederationId::ZERO, &[station(1).as_bytes()]).hash(&[&[1; 32]]);
    vectors.encoded("ml_dsa.seed", &seed);
    let (introduction, reveals) = (introduction(&rules, 1), own_log(&rules, 1).reveals().clone());
    let (place, genesis) = ((Sequence::ZERO, BatchId::ZERO), rules.genesis_hash());
    let batch = SignedBatch::sign(&rules, &key(1), place, genesis, at(1_000), Some(introduction), records);
    let reveal = reveals.reveal(0, &reveals.commitment()).expect("1,000 steps");
    let sealed = sealed(&rules, 1, (0, genesis), reveal, std::slice::from_ref(&batch));
    let block = VerifiedBlock::assemble(&rules, sealed, vec![batch]).expect("a valid block");
    let mut chain = Verifier::from_genesis(&rules);
    chain.next(block.to_signed()).expect("a valid chain");
    let keys = [
        ("expelled", Key::Admission(station(2))),
        ("admitted", Key::Admission(station(3))),
        ("roster.0", Key::RosterPlace(0)),
        ("roster", Key::RosterLen),
    ];
    for (name, key) in keys {
        vectors.encoded(&format!("state.{name}.key"), &key);
        let value = chain.state().get(&key).and_then(Option::as_ref);
        vectors.encoded(&format!("state.{name}.value"), value.expect("the founder's word was applied"));
    }
}

#[test]
fn no_encoding_and_no_hash_has_changed() {
    let frozen: BTreeMap<&str, &str> =
        FROZEN.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect();
    let made = vectors();
    let mut text = String::new();
    for (name, value) in &made.0 {
        writeln!(text, "{name} {value}").expect("writing to a string");
    }
    let copy = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("vectors.txt");
    std::fs::write(&copy, text).expect("the target directory can be written");
    for (name, value) in &made.0 {
        assert_eq!(
            frozen.get(&name[..]),
            Some(&&value[..]),
            "{name} changed; all values as made now: {}",
            copy.display()
        );
    }
    assert_eq!(frozen.len(), made.0.len(), "vectors.txt holds values that are not made any more");
}

#[test]
fn python_makes_the_same_values_from_the_protocols_text() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let run = Command::new("python3").arg(golden.join("check.py")).arg(golden.join("vectors.txt")).output();
    let run = run.expect("python3 is installed");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    let expected = format!("{} values agree\n", vectors().0.len());
    assert_eq!(said, expected, "check.py has to make every value");
}
