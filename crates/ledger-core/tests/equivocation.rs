//! Two signed batches of one place: what proves it, where the ledger notices it, and what follows.

use std::sync::Arc;

use qfzz_ledger_core::batch::{BatchError, SignedBatch, SignedBatchHeader, VerifiedBatch};
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::codec::{CodecError, decode, encode, encoded_len};
use qfzz_ledger_core::equivocation::{BatchEquivocation, EquivocationError};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Name, Sequence};
use qfzz_ledger_core::ledger::{BatchOutcome, Ledger};
use qfzz_ledger_core::limits::{MAX_CLOCK_SKEW_MS, MAX_PROOFS_PER_BATCH, MIN_BATCH_BYTES};
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::record::{Record, RecordError};
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::testing::{Author, at, interaction, ledger, own_log, proof, rules, rules_with, verified};

/// Later than any block here.
const NOW: i64 = 1_000_000;

/// Two batches that test station 2 signs for its second place, after its first.
fn liar(rules: &Arc<Rules>) -> (VerifiedBatch, [VerifiedBatch; 2], Author) {
    let mut author = Author::new(rules, 2);
    let first = author.batch(at(0), vec![interaction("a")]);
    let pair = author.equivocate(at(0), [vec![interaction("b")], vec![interaction("c")]]);
    (first, pair, author)
}

/// A record with these two headers, right or wrong: as a stranger may send it.
fn record_of(first: SignedBatchHeader, second: SignedBatchHeader) -> Record {
    let proof: BatchEquivocation = decode(&encode(&(first, second)), 4_096).expect("two signed headers");
    Record::BatchEquivocation(Box::new(proof))
}

#[test]
fn only_two_signed_batches_of_one_place_in_order_of_their_ids_are_a_proof() {
    let rules = rules();
    let (zeroth, [one, other], mut author) = liar(&rules);
    let record = proof(&rules, &one, &other);
    assert_eq!(record, proof(&rules, &other, &one), "a pair has one encoding");
    let Record::BatchEquivocation(right) = &record else { panic!("a proof") };
    let [low, high] = right.headers().map(Clone::clone);
    assert!(low.id(&rules) < high.id(&rules));
    assert_eq!((right.station(), right.sequence()), (author.station(), Sequence::new(1)));

    let later = author.batch(at(1), vec![interaction("d")]).signed_header();
    let stranger = Author::new(&rules, 3);
    let of_stranger = stranger.clone().batch(at(0), vec![interaction("a")]).signed_header();
    let foreign_rules = rules_with(|parameters| parameters.name = Name::new("another").expect("a name"));
    let (_, [foreign, _], _) = liar(&foreign_rules);
    let unsigned = |mut it: SignedBatchHeader| {
        it.header.created_at = at(7);
        it
    };
    let introducing = |mut it: SignedBatchHeader| {
        it.header.introduction = zeroth.header().introduction.clone();
        it
    };
    use EquivocationError::{Introduction, Order, Places, Signature};
    let wrong = [
        ("another sequence", (low.clone(), later), Places),
        ("another station", (zeroth.signed_header(), of_stranger), Places),
        ("one batch twice", (low.clone(), low.clone()), Order),
        ("the higher id first", (high.clone(), low.clone()), Order),
        ("an introduction where there is none", in_order(&rules, low.clone(), introducing(high.clone())), Introduction),
        ("a header that was not signed", in_order(&rules, low.clone(), unsigned(high)), Signature),
        ("a header of another federation", in_order(&rules, low, foreign.signed_header()), Signature),
    ];
    for (what, (first, second), expected) in wrong {
        let record = record_of(first, second);
        assert_eq!(record.check(&rules), Err(RecordError::Equivocation(expected)), "{what}");
        let batch = stranger.clone().batch(at(0), vec![verified("t", "c"), record]);
        let refused = batch.signed().clone().verify(&rules).expect_err(what);
        assert!(matches!(&refused, BatchError::Record { id, .. } if id.index == 1), "{what}: {refused}");
        assert_eq!(refused.severity(), Severity::Peer, "{what}");
    }
    let batch = stranger.clone().batch(at(0), vec![record]);
    assert_eq!(batch.signed().clone().verify(&rules), Ok(batch));
}

fn in_order(rules: &Rules, one: SignedBatchHeader, other: SignedBatchHeader) -> (SignedBatchHeader, SignedBatchHeader) {
    if one.id(rules) < other.id(rules) { (one, other) } else { (other, one) }
}

#[test]
fn a_batch_holds_sixteen_proofs_and_no_more() {
    let rules = rules();
    let mut introduced = Author::new(&rules, 2);
    let [one, other] = introduced.equivocate(at(0), [vec![], vec![interaction("a")]]);
    let record = proof(&rules, &one, &other);
    assert!(encoded_len(&record) * MAX_PROOFS_PER_BATCH < MIN_BATCH_BYTES as usize + 4_096, "{}", encoded_len(&record));
    let mut author = Author::new(&rules, 3);
    author.batch(at(0), vec![]);
    let full = author.clone().batch(at(0), vec![record.clone(); MAX_PROOFS_PER_BATCH]);
    assert!(full.signed().clone().verify(&rules).is_ok());
    let over = author.batch(at(0), vec![record.clone(); MAX_PROOFS_PER_BATCH + 1]);
    let refused = over.signed().clone().verify(&rules).expect_err("17 proofs");
    assert!(matches!(refused, BatchError::Proofs { found: 17, .. }), "{refused}");

    let signed = own_log(&rules, 4).sign(&rules, LogEnd::EMPTY, BlockHash::ZERO, at(0), vec![record; 40]);
    let counts: Vec<usize> = signed.iter().map(|batch| batch.records().len()).collect();
    assert_eq!(counts, [16, 16, 8], "the own station keeps to it");
    for batch in signed {
        assert!(batch.signed().clone().verify(&rules).is_ok());
    }
}

#[test]
fn kinds_of_later_versions_are_nobodys_fault() {
    for tag in [9, 12, u32::MAX] {
        let refused = decode::<Record>(&tag.to_le_bytes(), 64);
        assert_eq!(refused, Err(CodecError::UnknownTag { tag }));
        assert_eq!(refused.map_err(|error| BatchError::Codec(error).severity()), Err(Severity::Later));
    }
}

/// A ledger of test station 1, and what it was told so far.
struct Listener {
    rules: Arc<Rules>,
    ledger: Ledger<MemoryStore>,
    store: MemoryStore,
}

impl Listener {
    fn new(rules: &Arc<Rules>) -> Self {
        let (ledger, store) = ledger(rules, 1);
        Self { rules: Arc::clone(rules), ledger, store }
    }

    fn hear(&mut self, batch: &VerifiedBatch) -> BatchOutcome {
        self.ledger.add_batch(batch.signed().clone(), at(NOW)).expect("memory can be read")
    }

    fn take(&mut self, blocks: &[&VerifiedBlock]) {
        let blocks = blocks.iter().map(|block| (*block).clone()).collect();
        let outcome = self.ledger.add_blocks(blocks, at(NOW)).expect("memory can be read");
        for transition in outcome.transitions {
            self.store.apply(&transition);
            self.ledger.committed(transition.number);
        }
    }

    /// That `pair` was found to be of one place, and nothing else was.
    #[track_caller]
    fn found(&mut self, pair: &[VerifiedBatch; 2]) {
        let found: Vec<Record> = self
            .ledger
            .take_proofs()
            .expect("memory can be read")
            .into_iter()
            .map(|it| Record::BatchEquivocation(Box::new(it)))
            .collect();
        assert_eq!(found, [proof(&self.rules, &pair[0], &pair[1])]);
        assert!(self.ledger.take_proofs().expect("memory can be read").is_empty(), "each is told of once");
    }
}

/// A block of test station `producer` on `parent` that introduces it and holds `body`.
fn block(
    rules: &Arc<Rules>,
    producer: u8,
    parent: (Height, BlockHash),
    millis: i64,
    body: &[&VerifiedBatch],
) -> VerifiedBlock {
    let mut author = Author::new(rules, producer);
    let introduction = author.batch(at(0), vec![]);
    let body = [introduction].into_iter().chain(body.iter().map(|batch| (*batch).clone())).collect();
    author.block(parent, 0, at(millis), body)
}

#[test]
fn two_batches_of_one_place_are_noticed_wherever_they_meet() {
    let rules = rules();
    let genesis = (Height::ZERO, rules.genesis_hash());
    let (zeroth, pair, author) = liar(&rules);
    let [one, other] = &pair;

    let mut pooled = Listener::new(&rules);
    pooled.hear(&zeroth);
    pooled.hear(one);
    assert_eq!(pooled.hear(other), BatchOutcome::Taken, "the first stands");
    assert_eq!(pooled.ledger.pool().batch(&author.station(), Sequence::new(1)), Some(one));
    pooled.found(&pair);

    let mut held = Listener::new(&rules);
    assert!(matches!(held.hear(one), BatchOutcome::Gap { .. }));
    assert!(matches!(held.hear(other), BatchOutcome::Gap { .. }));
    held.found(&pair);

    let first = block(&rules, 3, genesis, 1, &[&zeroth, one]);
    let mut confirmed = Listener::new(&rules);
    confirmed.take(&[&first]);
    assert_eq!(confirmed.hear(one), BatchOutcome::Known);
    assert_eq!(confirmed.hear(other), BatchOutcome::Taken);
    confirmed.found(&pair);

    let mut overtaken = Listener::new(&rules);
    overtaken.hear(&zeroth);
    overtaken.hear(other);
    overtaken.take(&[&first]);
    overtaken.found(&pair);

    // Off the best chain, before and after the chain reaches that place.
    let rival = block(&rules, 4, genesis, 2, &[&zeroth, other]);
    for order in [[&first, &rival], [&rival, &first]] {
        let mut forked = Listener::new(&rules);
        forked.take(&order);
        forked.found(&pair);
    }
    let empty = block(&rules, 5, genesis, 1, &[]);
    let next = block(&rules, 6, (empty.index(), empty.hash()), 2, &[]);
    let mut seen = Listener::new(&rules);
    seen.take(&[&empty, &next, &rival]);
    assert!(seen.ledger.take_proofs().expect("memory can be read").is_empty());
    seen.hear(&zeroth);
    assert!(matches!(seen.hear(one), BatchOutcome::Added { .. }));
    seen.found(&pair);

    // In a block that does not fit the chain.
    let misfit = block(&rules, 4, (first.index(), first.hash()), 2, &[other]);
    let mut refusing = Listener::new(&rules);
    refusing.take(&[&first, &misfit]);
    assert_eq!(refusing.ledger.chain().head(), first.hash());
    refusing.found(&pair);
}

#[test]
fn a_second_introduction_in_an_announcement_is_noticed() {
    let rules = rules();
    let mut author = Author::new(&rules, 2);
    let pair = author.equivocate(at(0), [vec![], vec![interaction("a")]]);
    let announced = author.block((Height::ZERO, rules.genesis_hash()), 0, at(1), vec![pair[1].clone()]).announcement();
    for is_known_first in [true, false] {
        let mut listener = Listener::new(&rules);
        if is_known_first {
            listener.hear(&pair[0]);
        }
        listener.ledger.check_announcement(&announced, at(NOW)).expect("a valid announcement");
        listener.ledger.compare_introduction(&announced).expect("memory can be read");
        if !is_known_first {
            listener.hear(&pair[0]);
        }
        listener.found(&pair);
    }
}

#[test]
fn what_is_not_signed_by_its_author_is_invalid_also_at_a_place_that_is_taken() {
    let rules = rules();
    let (zeroth, [one, other], _) = liar(&rules);
    let mut listener = Listener::new(&rules);
    listener.hear(&zeroth);
    listener.hear(&one);
    let forged = SignedBatch { signature: one.signed().signature.clone(), ..other.signed().clone() };
    let outcome = listener.ledger.add_batch(forged, at(NOW)).expect("memory can be read");
    assert!(matches!(outcome, BatchOutcome::Invalid(BatchError::Signature { .. })), "{outcome:?}");
    assert!(listener.ledger.take_proofs().expect("memory can be read").is_empty());
}

#[test]
fn once_it_is_proven_nothing_more_is_looked_for() {
    let rules = rules();
    let (zeroth, [one, other], mut author) = liar(&rules);
    let mut witness = Author::new(&rules, 3);
    let accusing = witness.batch(at(0), vec![proof(&rules, &one, &other)]);
    let mut listener = Listener::new(&rules);
    for batch in [&zeroth, &one, &accusing] {
        assert!(matches!(listener.hear(batch), BatchOutcome::Added { .. }));
    }
    assert_eq!(listener.ledger.is_accused(&author.station()), Ok(true), "a pending proof counts");
    assert_eq!(listener.hear(&other), BatchOutcome::Known);
    let next = author.batch(at(1), vec![interaction("d")]);
    assert!(matches!(listener.hear(&next), BatchOutcome::Added { .. }), "its log goes on being valid");
    let body = vec![accusing, zeroth, one];
    let mined = witness.block((Height::ZERO, rules.genesis_hash()), 0, at(1), body);
    listener.take(&[&mined]);
    assert_eq!(listener.ledger.is_accused(&author.station()), Ok(true));
    assert!(!listener.ledger.pool().accuses(&author.station()));
    assert!(listener.ledger.take_proofs().expect("memory can be read").is_empty());
}

#[test]
fn a_batch_of_the_own_log_that_was_not_signed_here_is_noticed() {
    let rules = rules();
    let mut twin = Author::new(&rules, 1);
    let mut listener = Listener::new(&rules);
    let signed = listener.ledger.sign(vec![interaction("a")], at(0)).expect("memory can be read");
    let own = signed.expect("a record was given").own_batches.remove(0);
    assert_eq!(listener.hear(&own), BatchOutcome::Known);
    assert_eq!(listener.ledger.take_foreign(), None, "it was signed here");

    // Another daemon with this key, at the same place, then in a block.
    let second = twin.batch(at(NOW + MAX_CLOCK_SKEW_MS), vec![interaction("b")]);
    assert_eq!(listener.hear(&second), BatchOutcome::Taken);
    assert_eq!(listener.ledger.take_foreign(), Some(at(NOW + MAX_CLOCK_SKEW_MS)));
    listener.found(&[own, second]);
    let mut elsewhere = Listener::new(&rules);
    let first = Author::new(&rules, 1).batch(at(5), vec![interaction("b")]);
    elsewhere.take(&[&block(&rules, 3, (Height::ZERO, rules.genesis_hash()), 6, &[&first])]);
    assert_eq!(elsewhere.ledger.take_foreign(), Some(at(5)));
    assert_eq!(elsewhere.ledger.take_foreign(), None);
}
