//! Federations with the scheme `hybrid`: both parts of every signature must verify, and which key the second one is of.

use std::collections::HashMap;
use std::sync::Arc;

use qfzz_ledger_core::batch::{BatchError, BatchHeader, Introduction, SignedBatch, SignedBatchHeader, VerifiedBatch};
use qfzz_ledger_core::block::{BlockError, MAX_BLOCK_BYTES, SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::codec::{decode, encode};
use qfzz_ledger_core::crypto::{ED25519_SIGNATURE_BYTES, Signature, SignatureScheme, StationKey};
use qfzz_ledger_core::equivocation::BatchEquivocation;
use qfzz_ledger_core::federation::{Admission, Rules};
use qfzz_ledger_core::ids::{BlockHash, Height, Name, Sequence, StationId};
use qfzz_ledger_core::ledger::{BatchOutcome, BlockRefusal, Ledger, NoBlock};
use qfzz_ledger_core::limits::{MAX_BATCH_BYTES, MAX_GOSSIP_BYTES};
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::ml_dsa::{ML_DSA_KEY_BYTES, MlDsaKey};
use qfzz_ledger_core::proof::{ProofError, RecordProof};
use qfzz_ledger_core::record::{Record, RecordError, StationAdmitted};
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::{ConnectError, Standing, equivocation, is_vouched, ml_dsa_key};
use qfzz_ledger_core::testing::{
    Author, admits, at, expels, interaction, key, ledger, own_log, proof, rules, rules_hybrid, station,
};
use qfzz_ledger_core::verify::Verifier;

/// Later than any block here.
const NOW: i64 = 1_000_000;

fn open() -> Arc<Rules> {
    rules_hybrid(|_| {})
}

fn roster(founders: u8) -> Arc<Rules> {
    rules_hybrid(|parameters| {
        parameters.admission = Admission::Roster;
        (2..=founders).for_each(|number| parameters.add_founder(station(number), None));
    })
}

/// The ledger of a test station, and its store.
struct Listener {
    rules: Arc<Rules>,
    ledger: Ledger<MemoryStore>,
    store: MemoryStore,
}

impl Listener {
    fn new(rules: &Arc<Rules>, number: u8) -> Self {
        let (ledger, store) = ledger(rules, number);
        Self { rules: Arc::clone(rules), ledger, store }
    }

    fn hear(&mut self, batch: &SignedBatch) -> BatchOutcome {
        self.ledger.add_batch(batch.clone(), at(NOW)).expect("memory can be read")
    }

    /// Takes in a block as somebody sent it; what was wrong with it.
    fn take(&mut self, block: &VerifiedBlock) -> Option<BlockRefusal> {
        // What was found out about signatures does not travel.
        let block = block.to_signed().verify(&self.rules, &HashMap::new()).expect("valid by itself");
        let outcome = self.ledger.add_blocks(vec![block], at(NOW)).expect("memory can be read");
        for transition in outcome.transitions {
            self.store.apply(&transition);
            self.ledger.committed(transition.number);
        }
        outcome.refused.map(|(_, refusal)| refusal)
    }

    fn head(&self) -> BlockHash {
        self.ledger.chain().head()
    }

    fn convicted(&self, station: &StationId) -> bool {
        equivocation(self.ledger.read(), station).expect("memory can be read").is_some()
    }
}

fn genesis(rules: &Rules) -> (Height, BlockHash) {
    (Height::ZERO, rules.genesis_hash())
}

fn tip(block: &VerifiedBlock) -> (Height, BlockHash) {
    (block.index(), block.hash())
}

/// The two parts of a signature.
fn parts(signature: &Signature) -> (&[u8], &[u8]) {
    signature.as_bytes().split_at(ED25519_SIGNATURE_BYTES)
}

fn joined(parts: &[&[u8]]) -> Signature {
    Signature::from_bytes(parts.concat())
}

/// What may stand in the place of `good`, but not be taken: with a name for each, whether its length is the scheme's and
/// whether its Ed25519 part is good.
fn spoilt(good: &Signature, other: &Signature) -> Vec<(&'static str, Signature, bool, bool)> {
    let ((ed25519, ml_dsa), (other_ed25519, other_ml_dsa)) = (parts(good), parts(other));
    let flipped = |at: usize| {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] ^= 1;
        Signature::from_bytes(bytes)
    };
    vec![
        ("nothing", Signature::none(), false, false),
        ("the Ed25519 part alone", joined(&[ed25519]), false, true),
        ("the ML-DSA part alone", joined(&[ml_dsa]), false, false),
        ("one byte less", joined(&[ed25519, &ml_dsa[1..]]), false, true),
        ("one byte more", joined(&[ed25519, ml_dsa, &[0]]), false, true),
        ("both parts, swapped", joined(&[ml_dsa, ed25519]), true, false),
        ("the Ed25519 part of another", joined(&[other_ed25519, ml_dsa]), true, false),
        ("a bit of the Ed25519 part", flipped(5), true, false),
        ("zeros for the Ed25519 part", joined(&[&[0; ED25519_SIGNATURE_BYTES], ml_dsa]), true, false),
        ("the ML-DSA part of another", joined(&[ed25519, other_ml_dsa]), true, true),
        ("a bit of the ML-DSA part", flipped(ED25519_SIGNATURE_BYTES + 5), true, true),
        ("the last bit of the ML-DSA part", flipped(good.as_bytes().len() - 1), true, true),
        ("zeros for the ML-DSA part", joined(&[ed25519, &vec![0; ml_dsa.len()]]), true, true),
    ]
}

#[test]
fn an_introduction_is_refused_by_itself_where_either_part_of_its_signature_is_not_good() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let good = author.batch(at(0), vec![interaction("a")]);
    let other = Author::new(&rules, 3).batch(at(0), vec![interaction("a")]);
    assert_eq!(good.signed().clone().verify(&rules).as_ref(), Ok(&good));
    let (station, sequence) = good.signed().place();
    for (what, signature, has_length, has_ed25519) in spoilt(&good.signed().signature, &other.signed().signature) {
        let bytes = signature.as_bytes().len();
        let expected = match (has_length, has_ed25519) {
            (false, _) => BatchError::SignatureLength { station, sequence, bytes, expected: 3_373 },
            (true, false) => BatchError::Signature { station, sequence },
            (true, true) => BatchError::MlDsaSignature { station, sequence },
        };
        let batch = SignedBatch { signature, ..good.signed().clone() };
        assert_eq!(batch.verify(&rules), Err(expected.clone()), "{what}");
        assert_eq!(expected.severity(), Severity::Peer);
    }
}

#[test]
fn a_later_batch_is_refused_by_itself_or_by_its_log_and_in_a_block() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let mut elsewhere = author.clone();
    let good = author.batch(at(0), vec![interaction("a")]);
    let other = elsewhere.batch(at(1), vec![interaction("b")]);
    let (station, sequence) = good.signed().place();
    let mut listener = Listener::new(&rules, 1);
    assert!(matches!(listener.hear(introduction.signed()), BatchOutcome::Added { .. }));
    for (what, signature, has_length, has_ed25519) in spoilt(&good.signed().signature, &other.signed().signature) {
        let bytes = signature.as_bytes().len();
        let batch = SignedBatch { signature, ..good.signed().clone() };
        let expected = match (has_length, has_ed25519) {
            (false, _) => BatchError::SignatureLength { station, sequence, bytes, expected: 3_373 },
            (true, false) => BatchError::Signature { station, sequence },
            (true, true) => BatchError::MlDsaSignature { station, sequence },
        };
        assert_eq!(listener.hear(&batch), BatchOutcome::Invalid(expected.clone()), "{what}");
        let Ok(batch) = batch.verify(&rules) else {
            assert!(!(has_length && has_ed25519), "{what}: its key is not known to itself");
            continue;
        };
        let block = author.block(genesis(&rules), 0, at(1), vec![introduction.clone(), batch.clone()]);
        let mut elsewhere = Listener::new(&rules, 1);
        let refused = ConnectError::Signature { block: block.hash(), station, sequence };
        assert_eq!(elsewhere.take(&block), Some(refused.into()), "{what}");
        assert!(elsewhere.ledger.chain().is_invalid(&block.hash()), "the block names that very batch");
    }
    assert!(matches!(listener.hear(good.signed()), BatchOutcome::Added { .. }));
    assert!(listener.ledger.take_proofs().expect("memory can be read").is_empty(), "anybody can spoil a signature");
    let block = author.block(genesis(&rules), 0, at(1), vec![introduction, good]);
    assert_eq!(listener.take(&block), None);
    let known = ml_dsa_key(listener.ledger.read(), &station).expect("memory can be read");
    assert_eq!(known.as_ref(), Some(key(2).ml_dsa_key()));
}

#[test]
fn a_seal_is_refused_where_either_part_is_not_good_and_the_block_is_taken_with_the_good_one() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let first = author.block(genesis(&rules), 0, at(1), vec![author.clone().batch(at(0), vec![interaction("a")])]);
    author.batch(at(0), vec![interaction("a")]);
    let batch = author.batch(at(0), vec![interaction("b")]);
    let second = author.block(tip(&first), 1, at(2), vec![batch]);
    let mut listener = Listener::new(&rules, 1);
    for block in [&first, &second] {
        let other = if block == &first { &second } else { &first };
        for (what, seal, has_length, has_ed25519) in spoilt(&block.sealed().seal, &other.sealed().seal) {
            let sealed = SealedHeader { header: block.header().clone(), seal };
            let signed = SignedBlock { sealed, batches: block.to_signed().batches };
            let verified = signed.verify(&rules, &HashMap::new());
            if !(has_length && has_ed25519) {
                let expected = BlockError::Seal { index: block.index(), hash: block.hash() };
                assert_eq!(verified, Err(expected), "{what}");
                continue;
            }
            let verified = verified.expect("only the parent's state, or the body, has the key");
            let refused = ConnectError::Seal { block: block.hash(), producer: author.station() };
            let announced = listener.ledger.check_announcement(&verified.announcement(), at(NOW));
            assert_eq!(announced, Err(refused.clone().into()), "{what}, announced");
            assert_eq!(listener.take(&verified), Some(refused.into()), "{what}");
            assert!(!listener.ledger.chain().is_invalid(&block.hash()), "its hash does not cover the seal");
        }
        assert_eq!(listener.ledger.check_announcement(&block.announcement(), at(NOW)), Ok(block.hash()));
        assert_eq!(listener.take(block), None);
        assert_eq!(listener.head(), block.hash());
    }
}

#[test]
fn a_bad_seal_on_a_branch_that_becomes_better_is_fetched_again_and_blames_nobody_else() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let one = author.batch(at(0), vec![interaction("a")]);
    let two = author.batch(at(0), vec![interaction("b")]);
    let low = author.block(genesis(&rules), 0, at(1), vec![one]);
    let high = author.block(tip(&low), 1, at(2), vec![two]);
    // On equal work it stands before the other.
    let rank = |number: u8| rules.rank(&rules.genesis_hash(), &station(number));
    let first = (3..100).find(|number| rank(*number) < rank(2)).expect("one of many");
    let mut rival = Author::new(&rules, first);
    let body = vec![rival.batch(at(0), vec![interaction("c")])];
    let rival = rival.block(genesis(&rules), 0, at(1), body);
    let mut listener = Listener::new(&rules, 1);
    assert_eq!(listener.take(&rival), None);
    let (ed25519, _) = parts(&low.sealed().seal);
    let seal = joined(&[ed25519, parts(&high.sealed().seal).1]);
    let spoilt = SealedHeader { header: low.header().clone(), seal };
    let spoilt = VerifiedBlock::assemble(&rules, spoilt, low.batches().to_vec()).expect("valid by itself");
    assert_eq!(listener.take(&spoilt), None, "off the best chain nothing says which key it is of");
    assert!(listener.ledger.chain().contains(&low.hash()));
    let refused = listener.take(&high);
    assert!(refused.as_ref().is_some_and(|refusal| refusal.severity() == Severity::Later), "{refused:?}");
    assert_eq!(listener.head(), rival.hash());
    for block in [&low, &high] {
        assert!(!listener.ledger.chain().contains(&block.hash()));
        assert_eq!(listener.take(block), None);
    }
    assert_eq!(listener.head(), high.hash());
}

/// An introduction of `author`'s station that holds and signs with the ML-DSA key of `second`: what somebody signs who
/// broke Ed25519, or somebody with two keys.
fn introduced_with(rules: &Rules, author: &StationKey, second: &StationKey, name: &str) -> VerifiedBatch {
    let introduction = Introduction {
        name: Name::new(name).expect("a name"),
        reveal_commitment: [0; 32],
        ml_dsa_key: Some(second.ml_dsa_key().as_bytes().to_vec()),
    };
    let header = BatchHeader { introduction: Some(introduction), ..empty_header(author) };
    signed_by(rules, author, second, header).verify(rules).expect("valid by itself")
}

fn empty_header(author: &StationKey) -> BatchHeader {
    BatchHeader {
        station: author.station(),
        sequence: Sequence::ZERO,
        previous: LogEnd::EMPTY.last,
        seen: BlockHash::ZERO,
        created_at: at(0),
        record_count: 0,
        records_root: [0; 32],
        introduction: None,
    }
}

/// Signed by the Ed25519 key of one and the ML-DSA key of the other.
fn signed_by(rules: &Rules, author: &StationKey, second: &StationKey, header: BatchHeader) -> SignedBatch {
    let digest = header.hash(rules);
    let [one, other] = [author, second].map(|key| key.sign(SignatureScheme::Hybrid, &digest));
    SignedBatch { signature: joined(&[parts(&one).0, parts(&other).1]), header, records: vec![] }
}

#[test]
fn an_introduction_holds_a_key_exactly_under_hybrid_and_a_founders_is_the_one_in_genesis() {
    let hybrid = open();
    let with = |rules: &Rules, number: u8, ml_dsa_key: Option<Vec<u8>>| {
        let introduction =
            Introduction { name: Name::new("x").expect("a name"), reveal_commitment: [0; 32], ml_dsa_key };
        let header = BatchHeader { introduction: Some(introduction), ..empty_header(&key(number)) };
        let signature = key(number).sign(rules.scheme(), &header.hash(rules));
        SignedBatch { header, signature, records: vec![] }.verify(rules)
    };
    let own = |number: u8| Some(key(number).ml_dsa_key().as_bytes().to_vec());
    let refused = |number: u8| Err(BatchError::Introduction { station: station(number), sequence: Sequence::ZERO });
    assert!(with(&hybrid, 2, own(2)).is_ok());
    assert_eq!(with(&hybrid, 2, None), refused(2));
    for length in [0, 3, ML_DSA_KEY_BYTES - 1, ML_DSA_KEY_BYTES + 1] {
        assert_eq!(with(&hybrid, 2, Some(vec![1; length])), refused(2), "{length}");
    }
    assert_eq!(with(&rules(), 2, own(2)), refused(2), "under ed25519");
    assert!(with(&rules(), 2, None).is_ok());
    assert!(with(&hybrid, 1, own(1)).is_ok(), "the founder");
    assert_eq!(with(&hybrid, 1, own(2)), refused(1), "genesis names another key");
    let unsigned = BatchError::MlDsaSignature { station: station(2), sequence: Sequence::ZERO };
    assert_eq!(with(&hybrid, 2, own(3)), Err(unsigned), "it is signed with another key than it holds");
}

#[test]
fn an_own_log_introduces_itself_with_its_key_and_fills_batches_to_the_limit() {
    let rules = open();
    let records: Vec<Record> = (0..600).map(|number| interaction(&format!("{number:0>100}"))).collect();
    let batches = own_log(&rules, 2).sign(&rules, LogEnd::EMPTY, BlockHash::ZERO, at(0), records);
    assert_eq!(batches[0].introduced_key().as_ref(), Some(key(2).ml_dsa_key()));
    assert_eq!(batches.iter().map(|batch| batch.records().len()).sum::<usize>(), 600);
    for batch in &batches {
        assert!(batch.encoded_len() <= MAX_BATCH_BYTES as usize, "{}", batch.encoded_len());
        assert_eq!(batch.signed().clone().verify(&rules).as_ref(), Ok(batch));
        assert!(batch.is_signed_under(&rules, key(2).ml_dsa_key()));
        assert!(!batch.is_signed_under(&rules, key(3).ml_dsa_key()));
    }
}

#[test]
fn the_largest_announcement_fits_gossip_and_the_largest_block_its_limit() {
    let rules = open();
    let long = Name::new("x".repeat(64)).expect("a name");
    let introduction = introduced_with(&rules, &key(2), &key(2), long.as_str());
    let block = Author::new(&rules, 2);
    let mut header = block.header(genesis(&rules), 0, at(1), std::slice::from_ref(&introduction));
    header.batch_count = 1_536;
    let sealed = SealedHeader::seal(&rules, &key(2), header);
    let announced = qfzz_ledger_core::block::Announcement {
        sealed: sealed.clone(),
        introduction: Some((introduction.header().clone(), introduction.signed().signature.clone())),
        batch_ids: vec![introduction.id(); 1_536],
    };
    assert!(encode(&announced).len() < MAX_GOSSIP_BYTES, "{}", encode(&announced).len());
    let overhead = encode(&sealed).len() + 8;
    assert!(rules.limits().body_bytes as usize + overhead <= MAX_BLOCK_BYTES, "{overhead}");
}

#[test]
fn a_proof_convicts_only_with_both_parts_of_both_signatures() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let [one, other] = author.equivocate(at(0), [vec![interaction("b")], vec![interaction("c")]]);
    // Anybody can make this of a batch that went by.
    let garbled = SignedBatchHeader {
        signature: joined(&[parts(&one.signed().signature).0, parts(&introduction.signed().signature).1]),
        ..one.signed_header()
    };
    let garbled = BatchEquivocation::new(&rules, one.signed_header(), garbled).expect("its Ed25519 parts verify");
    // And this, once Ed25519 is broken.
    let forged = introduced_with(&rules, &key(2), &key(7), "forged");
    let [low, high] = [introduction.signed_header(), forged.signed_header()];
    let two_keys = BatchEquivocation::new(&rules, low, high).expect("valid by itself");
    let record = |proof: &BatchEquivocation| Record::BatchEquivocation(Box::new(proof.clone()));
    let twice = introduced_with(&rules, &key(2), &key(2), "twice");
    let of_introductions = proof(&rules, &introduction, &twice);
    let cases = [
        ("the ML-DSA part of another batch", record(&garbled), false),
        ("an introduction with another key", record(&two_keys), false),
        ("two batches", proof(&rules, &one, &other), true),
        ("two introductions with one key", of_introductions, true),
    ];
    for (what, accusation, is_convicted) in cases {
        assert_eq!(accusation.check(&rules), Ok(()), "{what}: valid by itself");
        let mut witness = Author::new(&rules, 3);
        let mut listener = Listener::new(&rules, 1);
        let too_early = vec![witness.batch(at(0), vec![accusation.clone()])];
        let first = witness.block(genesis(&rules), 0, at(1), too_early);
        assert_eq!(listener.take(&first), None);
        assert!(!listener.convicted(&station(2)), "{what}: its key is not known yet");
        let body = vec![introduction.clone(), one.clone()];
        let second = witness.block(tip(&first), 1, at(2), body);
        assert_eq!(listener.take(&second), None);
        let accusing = witness.batch(at(0), vec![accusation.clone()]);
        assert!(matches!(listener.hear(accusing.signed()), BatchOutcome::Added { .. }));
        assert_eq!(listener.ledger.is_accused(&station(2)), Ok(is_convicted), "{what}: pending");
        let third = witness.block(tip(&second), 2, at(3), vec![accusing]);
        assert_eq!(listener.take(&third), None);
        assert_eq!(listener.convicted(&station(2)), is_convicted, "{what}");
    }
}

#[test]
fn the_ledger_finds_what_convicts_and_nothing_else() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let [one, other] = author.equivocate(at(0), [vec![interaction("b")], vec![interaction("c")]]);
    let mut listener = Listener::new(&rules, 1);
    listener.hear(introduction.signed());
    listener.hear(one.signed());
    let spoilt = joined(&[parts(&other.signed().signature).0, parts(&one.signed().signature).1]);
    let spoilt = SignedBatch { signature: spoilt, ..other.signed().clone() };
    assert_eq!(listener.hear(&spoilt), BatchOutcome::Taken);
    assert_eq!(listener.hear(introduced_with(&rules, &key(2), &key(7), "forged").signed()), BatchOutcome::Taken);
    assert!(listener.ledger.take_proofs().expect("memory can be read").is_empty());
    assert_eq!(listener.hear(other.signed()), BatchOutcome::Taken);
    let found = listener.ledger.take_proofs().expect("memory can be read");
    assert_eq!(found.iter().map(|proof| proof.station()).collect::<Vec<_>>(), [station(2)]);
    let block = author.block(genesis(&rules), 0, at(1), vec![introduction, one]);
    assert_eq!(listener.take(&block), None);
    assert_eq!(listener.ledger.convicts(&found[0]), Ok(true));
}

#[test]
fn two_batches_that_met_before_their_log_was_known_convict_once_it_is() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let [one, other] = author.equivocate(at(0), [vec![interaction("b")], vec![interaction("c")]]);
    let spoilt = joined(&[parts(&other.signed().signature).0, parts(&introduction.signed().signature).1]);
    let spoilt = SignedBatch { signature: spoilt, ..other.signed().clone() };
    for (second, is_found) in [(&spoilt, false), (other.signed(), true)] {
        let mut listener = Listener::new(&rules, 1);
        for batch in [one.signed(), second] {
            assert!(matches!(listener.hear(batch), BatchOutcome::Gap { .. }));
        }
        assert!(listener.ledger.take_proofs().expect("memory can be read").is_empty(), "nobody knows the key");
        listener.hear(introduction.signed());
        assert_eq!(!listener.ledger.take_proofs().expect("memory can be read").is_empty(), is_found);
    }
}

#[test]
fn what_others_sign_in_the_own_name_without_the_own_key_is_no_second_daemon() {
    let rules = open();
    let mut listener = Listener::new(&rules, 2);
    let forged = introduced_with(&rules, &key(2), &key(7), "forged");
    assert_eq!(listener.hear(forged.signed()), BatchOutcome::Unlinked);
    let signed = listener.ledger.sign(vec![interaction("a")], at(0)).expect("memory can be read");
    assert!(signed.is_some());
    assert_eq!(listener.hear(forged.signed()), BatchOutcome::Taken);
    assert_eq!(
        (listener.ledger.take_foreign(), listener.ledger.take_proofs().expect("memory can be read")),
        (None, vec![])
    );
    let twin = Author::new(&rules, 2).batch(at(5), vec![interaction("b")]);
    assert_eq!(listener.hear(twin.signed()), BatchOutcome::Taken);
    assert_eq!(listener.ledger.take_foreign(), Some(at(5)));
}

#[test]
fn a_batch_that_waits_for_its_log_is_checked_when_that_comes() {
    let rules = open();
    let mut author = Author::new(&rules, 2);
    let introduction = author.batch(at(0), vec![]);
    let batches: Vec<VerifiedBatch> = (0..3).map(|_| author.batch(at(0), vec![interaction("a")])).collect();
    let (ed25519, _) = parts(&batches[1].signed().signature);
    let garbled = joined(&[ed25519, parts(&batches[0].signed().signature).1]);
    let garbled = SignedBatch { signature: garbled, ..batches[1].signed().clone() };
    let mut listener = Listener::new(&rules, 1);
    assert!(matches!(listener.hear(&garbled), BatchOutcome::Gap { .. }), "nothing is known of that log");
    listener.hear(introduction.signed());
    let added = listener.hear(batches[0].signed());
    assert!(matches!(&added, BatchOutcome::Added { batches, .. } if batches.len() == 1), "{added:?}");
    assert!(matches!(listener.hear(batches[1].signed()), BatchOutcome::Added { .. }));
    // Once the log is known, what is ahead of it must be of its key.
    let later: Vec<VerifiedBatch> = (0..2).map(|_| author.batch(at(0), vec![interaction("a")])).collect();
    let ahead = joined(&[parts(&later[1].signed().signature).0, parts(&later[0].signed().signature).1]);
    assert_eq!(listener.hear(&SignedBatch { signature: ahead, ..later[1].signed().clone() }), BatchOutcome::Unlinked);
    assert!(matches!(listener.hear(later[1].signed()), BatchOutcome::Gap { .. }));
}

fn admits_with(station: StationId, key_hash: [u8; 32]) -> Record {
    let Record::StationAdmitted(it) = admits(station) else { panic!("an admission") };
    Record::StationAdmitted(StationAdmitted { ml_dsa_key_hash: Some(key_hash), ..it })
}

/// A roster with a chain that founder 1 produces.
struct Roster {
    listener: Listener,
    authors: Vec<Author>,
    last: (Height, BlockHash),
    produced: u64,
}

impl Roster {
    fn new(founders: u8) -> Self {
        let rules = roster(founders);
        let authors: Vec<Author> = (0..=8).map(|number| Author::new(&rules, number)).collect();
        let mut made = Self { last: genesis(&rules), listener: Listener::new(&rules, 8), authors, produced: 0 };
        let introductions = (1..=founders).map(|number| made.authors[usize::from(number)].batch(at(0), vec![]));
        let introductions = introductions.collect();
        assert_eq!(made.mine(introductions), None);
        made
    }

    fn mine(&mut self, body: Vec<VerifiedBatch>) -> Option<BlockRefusal> {
        let timestamp = at(10 + i64::try_from(self.last.0.get()).expect("few"));
        let block = self.authors[1].block(self.last, self.produced, timestamp, body);
        let refused = self.listener.take(&block);
        if refused.is_none() {
            (self.last, self.produced) = (tip(&block), self.produced + 1);
        }
        refused
    }

    fn say(&mut self, founder: usize, record: Record) {
        let batch = self.authors[founder].batch(at(0), vec![record]);
        assert_eq!(self.mine(vec![batch]), None);
    }

    fn standing(&self, number: u8) -> Standing {
        self.listener.ledger.standing(&station(number)).expect("memory can be read")
    }

    fn is_vouched(&self, number: u8) -> bool {
        let ledger = &self.listener.ledger;
        is_vouched(ledger.rules(), ledger.read(), &station(number)).expect("memory can be read")
    }
}

#[test]
fn a_station_introduces_itself_with_the_key_that_it_was_admitted_with() {
    let mut chain = Roster::new(2);
    assert_eq!(admits(station(5)).check(&chain.listener.rules), Err(RecordError::KeyHash));
    let right = key(5).ml_dsa_key().hash();
    chain.say(1, admits_with(station(5), right));
    chain.say(2, admits_with(station(5), [7; 32]));
    assert!(!chain.is_vouched(5), "a word with another key has no effect");
    chain.say(2, admits_with(station(5), right));
    assert!(chain.is_vouched(5));
    let forged = introduced_with(&chain.listener.rules, &key(5), &key(6), "forged");
    assert_eq!(chain.listener.hear(forged.signed()), BatchOutcome::NotAdmitted);
    let refused = chain.mine(vec![forged]);
    assert!(
        matches!(&refused, Some(BlockRefusal::Connect(ConnectError::KeyHash { station: it, .. })) if *it == station(5)),
        "{refused:?}"
    );
    let introduction = chain.authors[5].batch(at(0), vec![interaction("a")]);
    assert!(matches!(chain.listener.hear(introduction.signed()), BatchOutcome::Added { .. }));
    assert_eq!(chain.mine(vec![introduction]), None);
    chain.say(1, admits_with(station(5), [9; 32]));
    assert_eq!(chain.standing(5), Standing::Admitted, "its key is the one that it introduced itself with, for good");
}

#[test]
fn a_wrong_key_hash_is_mended_by_expelling_and_admitting_again() {
    let mut chain = Roster::new(2);
    let mut own = Listener::new(&chain.listener.rules, 5);
    chain.say(1, admits_with(station(5), [7; 32]));
    assert_eq!(chain.standing(5), Standing::Admitted);
    let introduction = chain.authors[5].batch(at(0), vec![interaction("a")]);
    assert_eq!(chain.listener.hear(introduction.signed()), BatchOutcome::NotAdmitted);
    for founder in [1, 2] {
        chain.say(founder, expels(station(5)));
    }
    for founder in [1, 2] {
        chain.say(founder, admits_with(station(5), key(5).ml_dsa_key().hash()));
    }
    assert!(matches!(chain.listener.hear(introduction.signed()), BatchOutcome::Added { .. }));
    assert_eq!(chain.mine(vec![introduction]), None);
    // The station itself knows when it was admitted with another key.
    let rules = Arc::clone(&own.rules);
    let mut founder = Author::new(&rules, 1);
    let batch = founder.batch(at(0), vec![admits_with(station(5), [7; 32])]);
    let block = founder.block(genesis(&rules), 0, at(1), vec![batch]);
    assert_eq!(own.take(&block), None);
    let signed = own.ledger.sign(vec![interaction("a")], at(0)).expect("memory can be read");
    assert!(signed.is_some());
    let (_, template) = own.ledger.template(at(NOW)).expect("memory can be read");
    assert_eq!(template, Err(NoBlock::NotAdmitted));
}

#[test]
fn a_pending_introduction_gives_way_when_its_station_is_admitted_with_another_key() {
    let mut chain = Roster::new(1);
    chain.say(1, admits_with(station(5), key(5).ml_dsa_key().hash()));
    let introduction = chain.authors[5].batch(at(0), vec![interaction("a")]);
    assert!(matches!(chain.listener.hear(introduction.signed()), BatchOutcome::Added { .. }));
    chain.say(1, expels(station(5)));
    assert_eq!(chain.listener.ledger.pool().len(), 0);
    chain.say(1, admits_with(station(5), [7; 32]));
    assert_eq!(chain.listener.hear(introduction.signed()), BatchOutcome::NotAdmitted);
}

#[test]
fn a_reorganisation_takes_back_which_key_a_station_has() {
    let rules = open();
    let mut listener = Listener::new(&rules, 1);
    let mut author = Author::new(&rules, 3);
    let body = vec![author.batch(at(0), vec![]), introduced_with(&rules, &key(2), &key(7), "two keys")];
    let short = author.block(genesis(&rules), 0, at(1), body);
    assert_eq!(listener.take(&short), None);
    let known = |listener: &Listener| ml_dsa_key(listener.ledger.read(), &station(2)).expect("memory can be read");
    assert_eq!(known(&listener).as_ref(), Some(key(7).ml_dsa_key()));
    let mut own = Author::new(&rules, 2);
    let low = own.block(genesis(&rules), 0, at(1), vec![own.clone().batch(at(0), vec![interaction("a")])]);
    own.batch(at(0), vec![interaction("a")]);
    let batch = own.batch(at(0), vec![interaction("b")]);
    let high = own.block(tip(&low), 1, at(2), vec![batch]);
    for block in [&low, &high] {
        assert_eq!(listener.take(block), None);
    }
    assert_eq!(listener.head(), high.hash());
    assert_eq!(known(&listener).as_ref(), Some(key(2).ml_dsa_key()));
    let mut verifier = Verifier::from_genesis(&rules);
    for block in [&low, &high] {
        verifier.next(block.to_signed()).expect("the chain verifies from genesis on");
    }
}

#[test]
fn a_proof_of_a_record_holds_with_both_keys_and_no_others() {
    let rules = open();
    let (mut founder, mut other) = (Author::new(&rules, 1), Author::new(&rules, 2));
    let introduction = founder.batch(at(0), vec![]);
    let record = other.batch(at(0), vec![interaction("a")]);
    let block = founder.block(genesis(&rules), 0, at(1), vec![introduction, record.clone()]);
    let keys = [2, 1].map(|number| Some(key(number).ml_dsa_key().clone()));
    let id = record.record_id(0);
    let of = |keys: [Option<MlDsaKey>; 2]| RecordProof::in_block(&rules, &block, &id, keys).expect("it is there");
    assert_eq!(of(keys.clone()).verify(Some(rules.federation())).map(|proven| proven.record), Ok(id));
    let [author, producer] = keys;
    let missing = |number: u8| Err(ProofError::Key { station: station(number) });
    assert_eq!(of([None, producer.clone()]).verify(None), missing(2));
    assert_eq!(of([author.clone(), None]).verify(None), missing(1));
    assert_eq!(of([producer.clone(), producer.clone()]).verify(None), missing(2), "its introduction holds another");
    assert_eq!(of([author.clone(), author.clone()]).verify(None), missing(1), "genesis names another");
    let mut garbled = of([author.clone(), producer.clone()]);
    let part = garbled.block.as_mut().expect("it is in a block");
    let (ed25519, _) = parts(&part.sealed.seal);
    part.sealed.seal = joined(&[ed25519, parts(&record.signed().signature).1]);
    assert_eq!(garbled.verify(None), Err(ProofError::MlDsaSignature { station: station(1) }));
    let later = other.batch(at(0), vec![interaction("b")]);
    let pending = |key: Option<MlDsaKey>| RecordProof::of_pending(&rules, &later, 0, key).expect("it is there");
    assert!(pending(author).verify(None).is_ok());
    assert_eq!(pending(producer).verify(None), Err(ProofError::MlDsaSignature { station: station(2) }));
}

#[test]
fn what_is_stored_and_read_again_keeps_its_bytes() {
    let rules = open();
    let batch = Author::new(&rules, 2).batch(at(0), vec![interaction("a")]);
    let bytes = encode(batch.signed());
    assert_eq!(decode::<SignedBatch>(&bytes, MAX_BATCH_BYTES as usize).as_ref(), Ok(batch.signed()));
}
