//! The edges of global trust's answers: equivocators, silence, unknown stations, long lists. What the numbers are, the
//! tests beside the reference say (`oracle`).

mod common;

use std::collections::BTreeSet;

use common::station::{Clock, Station};
use qfzz_ledger_core::batch::{Introduction, SignedBatch};
use qfzz_ledger_core::crypto::StationKey;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BatchId, Id, Name, Sequence, StationId};
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::testing::{Author, added, at, interaction, proof, rules, rules_with, station};
use qfzz_sync::global_trust::{GlobalTrust, MAX_LISTED, Policy, Why, get_global_trust, policy_weights};

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn user(name: &str) -> Subject {
    Subject::User(id(name))
}

fn ask(rules: &Rules, at: &Station, subject: &Subject, nodes: Option<BTreeSet<StationId>>) -> GlobalTrust {
    let ledger = at.ledger();
    let weights = policy_weights(rules, ledger.read(), Policy::Mean).expect("the store is in memory");
    let answer = get_global_trust(rules, ledger.read(), &weights, subject, nodes.as_ref());
    answer.expect("the store is in memory")
}

#[test]
fn an_equivocator_has_no_voice_and_no_weight_and_is_named() {
    let rules = rules_with(|parameters| parameters.add_founder(station(2), None));
    let (clock, subject) = (Clock::default(), user("u"));
    let [first, liar, newcomer] = [1, 2, 3].map(|number| Station::new(&rules, number, &clock));
    let accuse = |number: u8| {
        let [one, other] = Author::new(&rules, number).equivocate(at(0), [vec![], vec![interaction("x")]]);
        first.say(vec![proof(&rules, &one, &other)]);
        first.mine();
    };
    first.say(vec![interaction("u")]);
    liar.say(vec![interaction("u"), interaction("u"), interaction("u")]);
    first.hear(liar.pending());
    first.mine();
    let score = |text: &str| text.parse::<Score>().expect("a score");
    assert_eq!(ask(&rules, &first, &subject, None).score, score("0.52"));

    accuse(2);
    accuse(2);
    let nodes = BTreeSet::from([first.id(), liar.id()]);
    for nodes in [None, Some(nodes)] {
        let answer = ask(&rules, &first, &subject, nodes);
        assert_eq!((answer.score, answer.coverage), (score("0.51"), Score::ONE));
        let voices: Vec<_> = answer.voices.iter().map(|it| (it.station, it.score, it.weight, it.why)).collect();
        let counted = (first.id(), score("0.51"), Score::ONE, Why::Counted);
        assert_eq!(voices, [counted, (liar.id(), Score::HALF, Score::ZERO, Why::Equivocation)]);
    }
    let alone = ask(&rules, &first, &subject, Some(BTreeSet::from([liar.id()])));
    assert_eq!((alone.score, alone.coverage), (Score::HALF, Score::ZERO));

    // One that has no batch on the chain yet is not asked before it has, nor after.
    accuse(3);
    assert_eq!(ask(&rules, &first, &subject, None).coverage, Score::ONE);
    newcomer.say(vec![interaction("u")]);
    first.hear(newcomer.pending());
    first.mine();
    let answer = ask(&rules, &first, &subject, None);
    assert_eq!((answer.score, answer.coverage, answer.voices.len()), (score("0.51"), Score::ONE, 3));
}

#[test]
fn what_nobody_has_an_opinion_about_is_half_trusted_with_no_confidence() {
    let founder = Station::new(&rules(), 1, &Clock::default());
    let rules = founder.federation_rules();
    founder.say(vec![added("t", "c", 900_000), interaction("u")]);
    let nothing = |answer: GlobalTrust| {
        assert_eq!((answer.score, answer.coverage, answer.confidence), (Score::HALF, Score::ZERO, Score::ZERO));
        answer
    };
    // Pending records are in no opinion.
    nothing(ask(rules, &founder, &user("u"), None));
    founder.mine();
    assert_eq!(ask(rules, &founder, &user("u"), None).coverage, Score::ONE);
    // A content that was only added has a score, but no evidence.
    let content = Subject::Content { creator_id: id("c"), content_id: id("t") };
    assert!(nothing(ask(rules, &founder, &content, None)).voices.is_empty());
    let answer = nothing(ask(rules, &founder, &user("nobody"), Some(BTreeSet::from([founder.id(), station(9)]))));
    let voices: Vec<_> = answer.voices.iter().map(|voice| (voice.station, voice.score, voice.why)).collect();
    let silent = |station, why| (station, Score::HALF, why);
    assert_eq!(voices, [silent(founder.id(), Why::NoOpinion), silent(station(9), Why::UnknownStation)]);
    assert!(nothing(ask(rules, &founder, &user("u"), Some(BTreeSet::new()))).voices.is_empty());
}

#[test]
fn a_founder_that_never_spoke_is_asked_and_one_on_the_chain_is_asked_once() {
    let rules = rules_with(|parameters| parameters.add_founder(station(2), None));
    let (clock, subject) = (Clock::default(), user("u"));
    let [first, stranger] = [1, 3].map(|number| Station::new(&rules, number, &clock));
    first.say(vec![interaction("u")]);
    first.mine();
    assert_eq!(ask(&rules, &first, &subject, None).coverage, Score::HALF);
    stranger.say(Vec::new());
    first.hear(stranger.pending());
    first.say(vec![interaction("u")]);
    first.mine();
    let third = Score::from_millionths(333_333).expect("in range");
    assert_eq!(ask(&rules, &first, &subject, None).coverage, third);
}

#[test]
fn at_most_256_voices_are_listed_and_the_rest_counted() {
    let founder = Station::new(&rules(), 1, &Clock::default());
    let rules = founder.federation_rules();
    let count = MAX_LISTED + 44;
    let batches = (0..count).map(|number| {
        let mut seed = [77; 32];
        seed[..2].copy_from_slice(&(number as u16).to_le_bytes());
        let key = StationKey::from_seed(seed);
        let name = Name::new("one of many").expect("a name");
        let introduction = Introduction { name, reveal_commitment: [0; 32], ml_dsa_key: None };
        let (place, seen) = ((Sequence::ZERO, BatchId::ZERO), rules.genesis_hash());
        SignedBatch::sign(rules, &key, place, seen, at(0), Some(introduction), vec![interaction("u")])
    });
    founder.hear(batches);
    founder.mine();
    let answer = ask(rules, &founder, &user("u"), None);
    assert_eq!((answer.voices.len(), answer.more), (MAX_LISTED, 44));
    assert!(answer.voices.is_sorted_by_key(|voice| voice.station));
    assert_eq!(answer.score, Score::from_millionths(510_000).expect("in range"));
    // The founder has an introduction on the chain and no opinion.
    let coverage = count as u64 * 1_000_000 / (count as u64 + 1);
    assert_eq!(u64::from(answer.coverage.millionths()), coverage);
}
