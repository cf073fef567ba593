//! The guide's figures, through the facade and through two stations' ledgers.

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::dataset::DatasetRegistered;
use qfzz_ledger_core::ids::{ContentHash, Height, Id, Sequence};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::network::{BlockchainTrustNetwork, NetworkError};
use qfzz_ledger_core::record::{Record, Subject};
use qfzz_ledger_core::score::{Band, Score};
use qfzz_ledger_core::state::{OpinionDetail, Trust, opinion_of, opinions};
use qfzz_ledger_core::testing::{
    Author, added, at, dataset_registered, dataset_verified, interaction, ledger, reported, rules, station, verified,
};

fn score(text: &str) -> Score {
    text.parse().expect("a score")
}

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn network() -> BlockchainTrustNetwork {
    BlockchainTrustNetwork::new(1, [7; 32], at(0)).expect("a difficulty in range")
}

#[test]
fn a_new_user_has_a_half_and_gains_with_each_action() {
    let mut network = network();
    let user = |network: &BlockchainTrustNetwork| network.get_user_trust("user_001").expect("a valid id");
    assert_eq!((user(&network).score, user(&network).actions), (Score::HALF, 0));
    let mut expected = 500_000;
    let gains = [("interaction", 10_000), ("rating", 30_000), ("verification", 20_000), ("connection", 50_000)];
    for (action, gain) in gains.into_iter().chain([("dataset_verification", 0)]) {
        network.add_user_action("user_001", action, "", at(1)).expect("in the table");
        expected += gain;
        assert_eq!(user(&network).score.millionths(), expected, "{action} counts at once");
        assert_eq!(user(&network).confirmed_score, Score::HALF, "and is confirmed when mined");
    }
    network.mine_pending_records(at(2)).expect("memory can be read").expect("records are pending");
    assert_eq!((user(&network).score, user(&network).confirmed_score), (score("0.61"), score("0.61")));
    let unknown = network.add_user_action("user_001", "bribery", "", at(3));
    assert!(matches!(unknown, Err(NetworkError::Record(_))), "{unknown:?}");
}

#[test]
fn interaction_and_rating_make_0_54_and_a_score_never_passes_one() {
    let mut network = network();
    network.add_user_action("user_001", "interaction", "dj", at(1)).expect("in the table");
    network.add_user_action("user_001", "rating", "dataset_001", at(1)).expect("in the table");
    let user = network.get_user_trust("user_001").expect("a valid id");
    assert_eq!((user.score, user.score.band()), (score("0.54"), Band::Neutral));
    for _ in 0..10 {
        network.add_user_action("user_001", "connection", "", at(1)).expect("in the table");
    }
    assert_eq!(network.get_user_trust("user_001").map(|it| it.score), Ok(Score::ONE));
    network.mine_pending_records(at(2)).expect("memory can be read");
    assert_eq!(network.get_user_trust("user_001").map(|it| it.confirmed_score), Ok(Score::ONE));
}

#[test]
fn content_verified_four_of_five_times_has_0_74() {
    let mut network = network();
    network.add_trust_record("track", "maker", score("0.6"), at(1)).expect("valid ids");
    assert_eq!(network.get_trust_score("track", "maker"), Ok(score("0.6")), "its initial score at first");
    for _ in 0..4 {
        network.verify_content("track", "maker", at(1)).expect("valid ids");
    }
    assert_eq!(network.get_trust_score("track", "maker"), Ok(score("0.9")));
    network.report_content("track", "maker", at(1)).expect("valid ids");
    assert_eq!(network.get_trust_score("track", "maker"), Ok(score("0.74")));
    network.mine_pending_records(at(2)).expect("memory can be read");
    let record = network.get_trust_record("track", "maker").expect("valid ids").expect("known");
    assert_eq!((record.verifications, record.reports, record.confirmed_score), (4, 1, score("0.74")));
    assert_eq!(record.initial_score, score("0.6"));
}

#[test]
fn what_is_unknown_has_a_half() {
    let network = network();
    assert_eq!(network.get_trust_score("no", "body"), Ok(Score::HALF));
    assert_eq!(network.get_trust_record("no", "body"), Ok(None));
    assert_eq!(network.get_creator_trust("nobody"), Ok(Score::HALF));
    assert_eq!(network.get_user_trust("nobody").map(|it| it.score), Ok(Score::HALF));
    assert!(matches!(network.get_user_trust(""), Err(NetworkError::Id(_))));
}

#[test]
fn a_creator_has_the_mean_of_its_contents_rounded_down() {
    let mut network = network();
    for (track, initial) in [("a", "0.5"), ("b", "0.7"), ("c", "0.700001")] {
        network.add_trust_record(track, "maker", score(initial), at(1)).expect("valid ids");
    }
    assert_eq!(network.get_creator_trust("maker"), Ok(score("0.633333")));
    network.verify_content("a", "maker", at(1)).expect("valid ids");
    network.verify_content("d", "maker", at(1)).expect("valid ids");
    network.report_content("d", "maker", at(1)).expect("valid ids");
    // 0.9, 0.7, 0.700001 and 0.5.
    assert_eq!(network.get_creator_trust("maker"), Ok(score("0.7")));
    network.mine_pending_records(at(2)).expect("memory can be read");
    assert_eq!(network.get_creator_trust("maker"), Ok(score("0.7")));
}

#[test]
fn the_chain_of_the_facade_verifies_until_it_is_touched() {
    let mut network = network();
    for number in 0..3 {
        network.add_user_action("user", "rating", &format!("{number}"), at(number)).expect("in the table");
        let block = network.mine_pending_records(at(number)).expect("memory can be read").expect("a record");
        let latest = network.get_latest_block().expect("memory can be read");
        assert_eq!((latest.hash(), latest.records().count() as u64), (block.hash(), block.record_count()));
        assert_eq!(network.get_block(number as u64 + 1), Ok(Some(latest)));
    }
    assert_eq!((network.get_chain_length(), network.is_chain_valid(), network.get_block(9)), (4, true, Ok(None)));
    let genesis = network.get_block(0).expect("memory can be read").expect("there is one");
    assert_eq!((genesis.index().get(), genesis.previous_hash(), genesis.records().count()), (0, None, 0));
    let first = network.get_block(1).expect("memory can be read").expect("there is one");
    assert_eq!(first.previous_hash(), Some(genesis.hash()));
    let stats = network.get_chain_stats().expect("memory can be read");
    assert_eq!((stats.chain_length, stats.pending_records, stats.chain_valid), (4, 0, true));
    let statistics = network.get_statistics().expect("memory can be read");
    assert_eq!((statistics.total_records, statistics.pending_records, statistics.difficulty), (3, 0, 1));
    assert_eq!((statistics.total_users, statistics.indexed_records, statistics.is_valid), (1, 0, true));
    let rules = network.ledger().rules();
    let mut blocks = network.export_chain().expect("memory can be read");
    let mut verifier = qfzz_ledger_core::verify::Verifier::from_genesis(rules);
    assert!(verifier.next(blocks[0].clone()).is_ok());
    blocks[1].sealed.header.timestamp = at(9);
    let fault = verifier.next(blocks[1].clone()).expect_err("touched");
    assert_eq!(fault.height, Height::new(2));
    assert!(verifier.next(blocks[2].clone()).is_err(), "nor does what follows fit");
    assert!(matches!(
        BlockchainTrustNetwork::new(9, [7; 32], at(0)).err(),
        Some(NetworkError::Difficulty { found: 9 })
    ));
}

/// Commits what each batch or block changed.
fn give(ledger: &mut Ledger<MemoryStore>, store: &MemoryStore, block: qfzz_ledger_core::block::VerifiedBlock) {
    let outcome = ledger.add_blocks(vec![block], at(1_000)).expect("memory can be read");
    assert_eq!(outcome.refused, None);
    for transition in outcome.transitions {
        store.apply(&transition);
        ledger.committed(transition.number);
    }
}

#[test]
fn each_station_has_its_own_opinion_and_the_ledger_counts_all() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let (mut two, mut three) = (Author::new(&rules, 2), Author::new(&rules, 3));
    let of_two = vec![verified("track", "maker"), added("track", "maker", 200_000), interaction("u")];
    let of_three = vec![added("track", "maker", 900_000), reported("track", "maker"), interaction("u")];
    let body = vec![two.batch(at(5), of_two), three.batch(at(6), of_three)];
    let block = two.block((Height::ZERO, rules.genesis_hash()), 0, at(10), body);
    give(&mut ledger, &store, block.clone());
    // Station 3 adds it again: the score that it gave changes, the ledger keeps that of the first to add it.
    let body =
        vec![three.batch(at(7), vec![added("track", "maker", 800_000)]), two.batch(at(8), vec![interaction("u")])];
    give(&mut ledger, &store, two.block((block.index(), block.hash()), 1, at(20), body));

    let subject = Subject::Content { creator_id: id("maker"), content_id: id("track") };
    let content = Trust::new(&rules, ledger.read()).content(&subject, []).expect("memory can be read");
    assert_eq!((content.score, content.initial_score), (Score::HALF, score("0.2")));
    assert_eq!((content.verifications, content.reports), (1, 1));
    let (who, place) = content.added.expect("added");
    assert_eq!((who, place.sequence.get(), place.index), (station(2), 0, 1));
    let all = opinions(&rules, ledger.read(), &subject).expect("memory can be read").heard;
    let shown: Vec<_> = all.iter().map(|it| (it.station, it.score, it.evidence)).collect();
    assert_eq!(shown, [(station(2), score("0.9"), 1), (station(3), score("0.1"), 1)]);
    let OpinionDetail::Content(detail) = &all[1].detail else { panic!("a content") };
    assert_eq!((detail.initial_score, detail.added.map(|it| it.sequence.get())), (score("0.8"), Some(1)));

    let user = Subject::User(id("u"));
    let of = |number| opinion_of(ledger.read(), &user, &station(number)).expect("memory can be read");
    assert_eq!(of(2).map(|it| (it.score, it.evidence)), Some((score("0.52"), 2)));
    assert_eq!(of(3).map(|it| (it.score, it.evidence)), Some((score("0.51"), 1)));
    assert_eq!((of(1), of(9)), (None, None));
    let all = Trust::new(&rules, ledger.read()).user(&id("u"), []).expect("memory can be read");
    assert_eq!((all.score, all.actions), (score("0.53"), 3));
}

#[test]
fn a_stations_own_opinion_counts_what_it_has_pending_and_nobody_elses() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let say = |ledger: &mut Ledger<MemoryStore>, records| {
        let signed = ledger.sign(records, at(0)).expect("memory can be read").expect("signed");
        store.apply(&signed);
        ledger.committed(signed.number);
    };
    say(&mut ledger, vec![interaction("u"), verified("t", "c")]);
    let batch = ledger.pool().batch(&station(1), Sequence::ZERO).expect("it was signed").clone();
    let block = Author::new(&rules, 1).block((Height::ZERO, rules.genesis_hash()), 0, at(1), vec![batch]);
    give(&mut ledger, &store, block);
    let other = Author::new(&rules, 2).batch(at(0), vec![interaction("u"), reported("t", "c"), interaction("v")]);
    ledger.add_batch(other.signed().clone(), at(1)).expect("memory can be read");
    say(&mut ledger, vec![interaction("u"), reported("t", "c"), reported("other", "c")]);

    let content = Subject::Content { creator_id: id("c"), content_id: id("t") };
    for (subject, on_chain, own) in [
        (Subject::User(id("u")), ("0.51", 1), ("0.52", 2)),
        (content, ("0.9", 1), ("0.5", 2)),
        (Subject::Creator(id("c")), ("0.9", 1), ("0.3", 3)),
    ] {
        let found = opinion_of(ledger.read(), &subject, &station(1)).expect("memory can be read");
        assert_eq!(found.map(|it| (it.score, it.evidence)), Some((score(on_chain.0), on_chain.1)));
        let found = ledger.own_opinion(&subject).expect("memory can be read");
        assert_eq!(found.map(|it| (it.score, it.evidence)), Some((score(own.0), own.1)));
    }
    assert_eq!(ledger.own_opinion(&Subject::User(id("v"))), Ok(None), "that is the other's alone");
}

#[test]
fn a_dataset_is_registered_verified_and_rated_as_in_the_guide() {
    let mut network = network();
    let Record::DatasetRegistered(dataset) = dataset_registered("ds_001", 1) else { panic!("a dataset") };
    let bytes = |byte| ContentHash::from_bytes([byte; 32]);
    assert_eq!(network.verify_dataset_blockchain("ds_001", bytes(1), at(1)), Ok(false), "it is unknown");
    assert_eq!(network.register_dataset(DatasetRegistered::clone(&dataset), at(1)), Ok(true));
    assert_eq!(network.register_dataset(*dataset, at(1)), Ok(false), "it is registered");
    assert_eq!(network.verify_dataset_blockchain("ds_001", bytes(2), at(2)), Ok(false), "another file");
    assert_eq!(network.verify_dataset_blockchain("ds_001", bytes(1), at(2)), Ok(true));
    assert_eq!(network.rate_dataset("ds_001", score("0.8"), "user_001", at(3)), Ok(true));
    assert_eq!(network.rate_dataset("ds_002", score("0.8"), "user_001", at(3)), Ok(false), "it is unknown");
    let found = network.get_dataset("ds_001").expect("a valid id");
    assert_eq!((found.evidence.verifications, found.evidence.rating()), (1, Some(score("0.8"))));
    assert_eq!(network.get_user_trust("user_001").map(|it| it.score), Ok(score("0.53")));
    let system = network.get_user_trust("system").expect("a valid id");
    assert_eq!((system.score, system.actions), (Score::HALF, 1), "no change for system actions");
    assert_eq!(network.can_submit_dataset("user_001", score("0.7")), Ok(false));
    assert_eq!(network.can_submit_dataset("user_001", score("0.53")), Ok(true));
}

#[test]
fn opinions_of_many_stations_lie_in_values_of_at_most_4_kib() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let mut parent = (Height::ZERO, rules.genesis_hash());
    for number in 2..=140 {
        let mut author = Author::new(&rules, number);
        let mut records = vec![verified("track", "maker"), added("track", "maker", 1), interaction("u")];
        records.extend([dataset_registered("d", 1), dataset_verified("d", 1)]);
        let body = vec![author.batch(at(0), records)];
        let block = author.block(parent, 0, at(i64::from(number)), body);
        parent = (block.index(), block.hash());
        give(&mut ledger, &store, block);
    }
    let longest = store.state().values().flatten().map(|value| encode(value).len()).max();
    assert!(longest.is_some_and(|bytes| bytes > 1_000 && bytes <= 4_096), "{longest:?}");
    for subject in [Subject::User(id("u")), Subject::Creator(id("maker")), Subject::Dataset(id("d"))] {
        let all = opinions(&rules, ledger.read(), &subject).expect("memory can be read").heard;
        let stations: Vec<_> = all.iter().map(|it| it.station).collect();
        assert_eq!(stations, (2..=140).map(station).collect::<Vec<_>>(), "in order of first appearance");
    }
}
