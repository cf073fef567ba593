//! What is valid by itself: genesis, batches, records and blocks, rule by rule.

use std::collections::HashMap;
use std::sync::Arc;

use qfzz_ledger_core::batch::{BatchError, BatchHeader, Checked, SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{BlockError, SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::codec::{encode, encoded_len};
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::dataset::{DatasetError, DatasetRegistered, DatasetRules};
use qfzz_ledger_core::federation::{Finality, Genesis, GenesisError, Limits, Parameters, Rules, SignatureScheme};
use qfzz_ledger_core::header::{BlockHeader, Difficulty};
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, Id, Name, RecordId, Sequence};
use qfzz_ledger_core::license::LicenseError;
use qfzz_ledger_core::limits::{MAX_CLOCK_SKEW_MS, MAX_METADATA_BYTES};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::record::{ContentAdded, Metadata, Record, RecordError, UserAction};
use qfzz_ledger_core::score::{Delta, Score};
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::testing::{
    Author, at, dataset_registered, interaction, key, own_log, rules, rules_with, station,
};

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn longest_record() -> Record {
    Record::ContentAdded(ContentAdded {
        content_id: id(&"t".repeat(128)),
        creator_id: id(&"c".repeat(128)),
        initial_score: Score::HALF,
        metadata: Metadata::new("x".repeat(MAX_METADATA_BYTES)).expect("at the limit"),
    })
}

#[test]
fn a_federation_that_this_version_cannot_keep_is_refused_by_name() {
    let mut valid = Parameters::new(Name::new("test").expect("a name"), station(1), at(0));
    valid.difficulty = Difficulty::new(1).expect("in range");
    let not_yet = |feature| GenesisError::NotInThisVersion { feature };
    type Change = fn(&mut Parameters);
    let cases: Vec<(Change, GenesisError)> = vec![
        (|it| it.protocol_version = 2, GenesisError::Version { found: 2 }),
        (|it| it.signatures = SignatureScheme::Hybrid, GenesisError::FounderKeys),
        (|it| it.finality = Finality::On, not_yet("finality")),
        (|it| it.founders.clear(), GenesisError::FounderCount { found: 0 }),
        (
            |it| (1..=65).for_each(|number| it.add_founder(station(number), None)),
            GenesisError::FounderCount { found: 65 },
        ),
        (|it| it.founders.push(it.founders[0].clone()), GenesisError::NotCanonical),
        (|it| it.founders[0].ml_dsa_key_hash = Some([1; 32]), GenesisError::FounderKeys),
        (|it| it.actions.swap(0, 1), GenesisError::NotCanonical),
        (|it| it.datasets.licenses.reverse(), GenesisError::NotCanonical),
        (|it| it.limits.batch_records = 257, GenesisError::Limits),
        (|it| it.limits.batch_records = 0, GenesisError::Limits),
        (|it| it.limits.batch_bytes = 60 * 1024 + 1, GenesisError::Limits),
        (|it| it.limits.batch_bytes = 100, GenesisError::Limits),
        (|it| it.limits.block_batches = 1_537, GenesisError::Limits),
        (|it| it.limits.body_bytes = 1024 * 1024 + 1, GenesisError::Limits),
        (|it| it.limits.body_bytes = it.limits.batch_bytes - 1, GenesisError::Limits),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let mut parameters = valid.clone();
        change(&mut parameters);
        assert_eq!(Genesis::mine(parameters.clone()), Err(expected.clone()), "case {number}");
        let refused = Rules::new(Genesis { parameters, nonce: 0 }).err();
        assert_eq!(refused, Some(expected), "case {number}");
    }
    let genesis = Genesis::mine(valid).expect("valid");
    let unmined = (0..).map(|nonce| Genesis { nonce, ..genesis.clone() });
    let unmined = unmined.take(64).find(|it| it.id().as_bytes()[0] >= 0x10).expect("15 of 16 have no work");
    assert_eq!(Rules::new(unmined).err(), Some(GenesisError::Work));
}

#[test]
fn a_genesis_fits_64_kib_with_its_nonce() {
    let with = |licenses: usize, last: usize| {
        let mut parameters = Parameters::new(Name::new("test").expect("a name"), station(1), at(0));
        parameters.difficulty = Difficulty::new(1).expect("in range");
        parameters.datasets.licenses = (0..licenses).map(|number| id(&format!("{number:0128}"))).collect();
        parameters.datasets.licenses.push(id(&"z".repeat(last)));
        parameters
    };
    let room = 64 * 1024 - 8 - encoded_len(&with(0, 1));
    let (licenses, last) = (room / 136, 1 + room % 136);
    assert!(last <= 128, "the last licence fits an id");
    let genesis = Genesis::mine(with(licenses, last)).expect("just fits");
    assert_eq!(genesis.encode().len(), 64 * 1024);
    assert_eq!(Genesis::decode(&genesis.encode()).as_ref(), Ok(&genesis));
    let bytes = 64 * 1024 - 7;
    assert_eq!(Genesis::mine(with(licenses, last + 1)), Err(GenesisError::TooLong { bytes }));
}

/// Signs a header with a change, whatever it says.
fn signed(rules: &Rules, batch: &VerifiedBatch, change: impl FnOnce(&mut BatchHeader)) -> SignedBatch {
    let mut header = batch.header().clone();
    change(&mut header);
    let signature = key(2).sign(rules.scheme(), &rules.batch_hash(&encode(&header)));
    SignedBatch { header, signature, records: batch.records().to_vec() }
}

#[test]
fn a_batch_is_checked_rule_by_rule() {
    let rules = rules();
    let mut author = Author::new(&rules, 2);
    let first = author.batch(at(0), vec![]);
    let second = author.batch(at(0), vec![interaction("u"), interaction("v")]);
    let (zero, one) = (Sequence::ZERO, Sequence::new(1));
    let who = station(2);
    let refused = |batch: SignedBatch| batch.verify(&rules).expect_err("refused");
    let introduction = |sequence| BatchError::Introduction { station: who, sequence };
    assert_eq!(first.signed().clone().verify(&rules).as_ref(), Ok(&first), "the introduction needs no record");
    assert_eq!(second.signed().clone().verify(&rules).as_ref(), Ok(&second));

    let key_there = |it: &mut BatchHeader| it.introduction.iter_mut().for_each(|it| it.ml_dsa_key = Some(vec![1]));
    assert_eq!(refused(signed(&rules, &first, key_there)), introduction(zero));
    assert_eq!(refused(signed(&rules, &first, |it| it.introduction = None)), introduction(zero));
    assert_eq!(refused(signed(&rules, &first, |it| it.previous = BatchId::from_bytes([1; 32]))), introduction(zero));
    let introduces = first.header().introduction.clone();
    assert_eq!(refused(signed(&rules, &second, |it| it.introduction = introduces)), introduction(one));
    let count = BatchError::Count { station: who, sequence: one, said: 3, found: 2 };
    assert_eq!(refused(signed(&rules, &second, |it| it.record_count = 3)), count);
    let root = BatchError::Root { station: who, sequence: one };
    assert_eq!(refused(signed(&rules, &second, |it| it.records_root = [1; 32])), root);
    let mut swapped = second.signed().clone();
    swapped.records.reverse();
    assert_eq!(refused(swapped), root);
    let length = BatchError::SignatureLength { station: who, sequence: one, bytes: 0, expected: 64 };
    assert_eq!(refused(SignedBatch { signature: Signature::none(), ..second.signed().clone() }), length);
    let signature = BatchError::Signature { station: who, sequence: one };
    let mut other = second.signed().clone();
    other.header.seen = BlockHash::ZERO;
    assert_eq!(refused(other), signature);

    let empty = author.clone().batch(at(0), vec![]);
    let (sequence, bytes) = (empty.sequence(), empty.encoded_len());
    let size = BatchError::Size { station: who, sequence, records: 0, bytes };
    assert_eq!(refused(empty.signed().clone()), size);
    let most = author.clone().batch(at(0), vec![interaction("u"); 256]);
    assert!(most.signed().clone().verify(&rules).is_ok());
    let more = author.clone().batch(at(0), vec![interaction("u"); 257]);
    assert!(matches!(refused(more.signed().clone()), BatchError::Size { records: 257, .. }));
    let long = author.clone().batch(at(0), vec![longest_record(); 14]);
    assert!(matches!(refused(long.signed().clone()), BatchError::Size { records: 14, .. }));
    assert_eq!(refused(long.signed().clone()).severity(), Severity::Peer);
}

#[test]
fn a_user_action_has_the_delta_of_the_table() {
    let rules = rules_with(|it| it.set_action(id("late"), Delta::from_millionths(-50_000).expect("in range")));
    let action = |name: &str, delta: i32| {
        let Record::UserAction(action) = interaction("u") else { panic!("an action") };
        let trust_delta = Delta::from_millionths(delta).expect("in range");
        Record::UserAction(UserAction { action: id(name), trust_delta, ..action })
    };
    let guide = [("interaction", 10_000), ("rating", 30_000), ("verification", 20_000), ("connection", 50_000)];
    for (name, delta) in guide.into_iter().chain([("dataset_verification", 0), ("late", -50_000)]) {
        assert_eq!(action(name, delta).check(&rules), Ok(()));
        let wrong = action(name, delta + 1).check(&rules);
        assert!(matches!(wrong, Err(RecordError::WrongDelta { .. })), "{name}");
    }
    let unknown = RecordError::UnknownAction { action: id("Rating") };
    assert_eq!(action("Rating", 30_000).check(&rules), Err(unknown.clone()));
    let batch = Author::new(&rules, 2).batch(at(0), vec![action("rating", 30_000), action("Rating", 30_000)]);
    let place = RecordId { station: station(2), sequence: Sequence::ZERO, index: 1 };
    let refused = batch.signed().clone().verify(&rules);
    assert_eq!(refused, Err(BatchError::Record { id: place, error: unknown }));
}

#[test]
fn a_dataset_keeps_the_federations_rules() {
    let rules = rules();
    let with = |change: fn(&mut DatasetRegistered)| {
        let Record::DatasetRegistered(mut dataset) = dataset_registered("d", 1) else { panic!("a dataset") };
        change(&mut dataset);
        Record::DatasetRegistered(dataset).check(&rules)
    };
    let quality = |millionths| Score::from_millionths(millionths).expect("in range");
    assert_eq!(with(|it| it.quality = Score::from_millionths(700_000).expect("in range")), Ok(()));
    assert_eq!(with(|it| it.license = id("MIT OR CC-BY-NC-4.0")), Ok(()));
    assert_eq!(with(|it| it.tags = vec![id("t"); 16]), Ok(()));
    let low = DatasetError::Quality { quality: quality(699_999), least: quality(700_000) };
    assert_eq!(with(|it| it.quality = Score::from_millionths(699_999).expect("in range")), Err(low.into()));
    let error = LicenseError::NotAllowed { license: "CC-BY-NC-4.0".to_owned() };
    let unlisted = DatasetError::License { license: id("CC-BY-NC-4.0"), error };
    assert_eq!(with(|it| it.license = id("CC-BY-NC-4.0")), Err(unlisted.into()));
    let malformed = DatasetError::License { license: id("MIT,"), error: LicenseError::Malformed };
    assert_eq!(with(|it| it.license = id("MIT,")), Err(malformed.into()));
    assert_eq!(with(|it| it.tags = vec![id("t"); 17]), Err(DatasetError::Tags { count: 17 }.into()));
    let lenient = rules_with(|it| it.datasets = DatasetRules { licenses: vec![id("X")], min_quality: Score::ZERO });
    let Record::DatasetRegistered(mut dataset) = dataset_registered("d", 1) else { panic!("a dataset") };
    (dataset.license, dataset.quality) = (id("X"), Score::ZERO);
    assert_eq!(Record::DatasetRegistered(dataset).check(&lenient), Ok(()));
}

#[test]
fn a_batch_of_another_federation_does_not_verify() {
    let (here, there) = (rules(), rules_with(|it| it.name = Name::new("there").expect("a name")));
    let batch = Author::new(&there, 2).batch(at(0), vec![interaction("u")]);
    assert!(batch.signed().clone().verify(&there).is_ok());
    let foreign = BatchError::Signature { station: station(2), sequence: Sequence::ZERO };
    assert_eq!(batch.signed().clone().verify(&here), Err(foreign));
    assert_ne!(batch.id(), batch.signed().id(&here));
}

/// A block with a change to its header, mined and sealed again.
struct Maker {
    rules: Arc<Rules>,
    author: Author,
    body: Vec<VerifiedBatch>,
}

impl Maker {
    fn new() -> Self {
        let rules = rules();
        let mut author = Author::new(&rules, 2);
        let body = (0..2).map(|_| author.batch(at(0), vec![interaction("u")])).collect();
        Self { rules, author, body }
    }

    fn make(&self, change: impl FnOnce(&mut BlockHeader)) -> Result<VerifiedBlock, BlockError> {
        let mut header = self.author.header((Height::ZERO, self.rules.genesis_hash()), 0, at(1), &self.body);
        change(&mut header);
        self.author.seal(header, self.body.clone())
    }
}

#[test]
fn a_block_is_checked_rule_by_rule() {
    let maker = Maker::new();
    let index = Height::new(1);
    let good = maker.make(|_| {}).expect("valid by itself");
    let refused = |change: &dyn Fn(&mut BlockHeader)| maker.make(change).expect_err("refused");
    let version = refused(&|it| it.version = 2);
    assert_eq!((&version, version.severity()), (&BlockError::Version { index, version: 2 }, Severity::Later));
    let bytes = u64::from(good.header().body_bytes);
    assert_eq!(refused(&|it| it.batch_count = 1_537), BlockError::Size { index, batches: 1_537, bytes });
    let bytes = 1024 * 1024 + 1;
    assert_eq!(refused(&|it| it.body_bytes = bytes), BlockError::Size { index, batches: 2, bytes: bytes.into() });
    let (found, expected) = (Difficulty::DEFAULT, good.header().difficulty);
    assert_eq!(refused(&|it| it.difficulty = found), BlockError::Difficulty { index, found, expected });
    for change in [
        (|it: &mut BlockHeader| it.merkle_root = [1; 32]) as fn(&mut BlockHeader),
        |it| it.batch_count = 1,
        |it| it.body_bytes -= 1,
    ] {
        assert!(matches!(refused(&change), BlockError::Body { .. }));
    }
    let verify = |sealed: SealedHeader| {
        let batches = good.to_signed().batches;
        SignedBlock { sealed, batches }.verify(&maker.rules, &HashMap::new())
    };
    assert_eq!(verify(good.sealed().clone()).as_ref(), Ok(&good));
    let hash = good.hash();
    let unsealed = SealedHeader { seal: Signature::none(), ..good.sealed().clone() };
    assert_eq!(verify(unsealed), Err(BlockError::Seal { index, hash }));
    let foreign = SealedHeader::seal(&maker.rules, &key(3), good.header().clone());
    assert_eq!(verify(foreign), Err(BlockError::Seal { index, hash }));
    let unmined = (0..64).map(|nonce| BlockHeader { nonce, ..good.header().clone() });
    let unmined = unmined.map(|header| SealedHeader::seal(&maker.rules, &key(2), header));
    let unmined = unmined.into_iter().find(|it| it.hash(&maker.rules).as_bytes()[0] >= 0x10).expect("15 of 16");
    let hash = unmined.hash(&maker.rules);
    assert_eq!(verify(unmined), Err(BlockError::Work { index, hash }));
}

#[test]
fn a_batch_may_be_dated_120_seconds_after_its_block() {
    let rules = rules();
    let mut author = Author::new(&rules, 2);
    let in_time = author.clone().batch(at(1 + MAX_CLOCK_SKEW_MS), vec![]);
    let late = author.batch(at(2 + MAX_CLOCK_SKEW_MS), vec![]);
    let seal = |batch: VerifiedBatch| {
        let header = author.header((Height::ZERO, rules.genesis_hash()), 0, at(1), std::slice::from_ref(&batch));
        author.seal(header, vec![batch])
    };
    assert!(seal(in_time).is_ok());
    assert!(matches!(seal(late), Err(BlockError::BatchTime { .. })));
}

#[test]
fn batches_are_verified_only_once_the_body_is_that_of_the_header() {
    let maker = Maker::new();
    let good = maker.make(|_| {}).expect("valid by itself");
    let mut forged = good.to_signed();
    forged.batches[1].signature = Signature::from_bytes(vec![0; 64]);
    let body = BlockError::Body { index: Height::new(1), hash: good.hash() };
    assert_eq!(forged.verify(&maker.rules, &HashMap::new()), Err(body.clone()));
    let mut swapped = good.to_signed();
    swapped.batches.swap(0, 1);
    assert_eq!(swapped.verify(&maker.rules, &HashMap::new()), Err(body));
    // The id covers the records through their root, which is compared when the batch is verified.
    let mut other_records = good.to_signed();
    other_records.batches[1].records = vec![interaction("x")];
    let error = BatchError::Root { station: station(2), sequence: Sequence::new(1) };
    let expected = BlockError::Batch { index: Height::new(1), error };
    assert_eq!(other_records.verify(&maker.rules, &HashMap::new()), Err(expected));
}

#[test]
fn a_block_read_back_is_the_one_asked_for() {
    let maker = Maker::new();
    let good = maker.make(|_| {}).expect("valid by itself");
    let other = maker.make(|it| it.timestamp = at(2)).expect("valid by itself");
    let batches = good.batches().to_vec();
    let reread = |sealed: &SealedHeader, batches, hash| {
        VerifiedBlock::reread(&maker.rules, sealed.clone(), batches, hash, Checked::Alone)
    };
    assert_eq!(reread(good.sealed(), batches.clone(), good.hash()).as_ref(), Ok(&good));
    assert!(reread(other.sealed(), batches.clone(), good.hash()).is_err());
    assert!(reread(good.sealed(), batches[..1].to_vec(), good.hash()).is_err());
}

#[test]
fn own_batches_keep_within_the_limits_and_hold_all_records_in_order() {
    let smallest = Limits { batch_records: 3, batch_bytes: 8 * 1024, ..Limits::default() };
    for limits in [Limits::default(), smallest] {
        let rules = rules_with(|it| it.limits = limits.clone());
        let own = own_log(&rules, 1);
        let records: Vec<Record> = (0..600)
            .map(|number| if number % 7 == 0 { longest_record() } else { interaction(&format!("u{number}")) })
            .collect();
        let (end, seen) = (LogEnd::EMPTY, rules.genesis_hash());
        let batches = own.sign(&rules, end, seen, at(0), records.clone());
        for (number, batch) in (0..).zip(&batches) {
            assert_eq!(batch.signed().clone().verify(&rules).as_ref(), Ok(batch));
            assert_eq!(batch.sequence(), Sequence::new(number));
            assert!(batch.encoded_len() <= limits.batch_bytes as usize);
        }
        assert!(batches.iter().zip(&batches[1..]).all(|(it, next)| next.header().previous == it.id()));
        let held: Vec<Record> = batches.iter().flat_map(|batch| batch.records().to_vec()).collect();
        assert_eq!(held, records);
        let full = own.sign(&rules, end, seen, at(0), vec![longest_record(); 40]);
        let room = limits.batch_bytes as usize - full[0].encoded_len();
        assert!(room < encoded_len(&longest_record()), "a batch is filled before the next one begins");
    }
    let rules = rules();
    let end = LogEnd { next: Sequence::new(1), last: BatchId::ZERO };
    assert_eq!(own_log(&rules, 1).sign(&rules, end, rules.genesis_hash(), at(0), vec![]), []);
}
