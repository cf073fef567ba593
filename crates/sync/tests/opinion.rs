//! Live opinions: what a station answers, which answers count, and what an answer about many makes of them.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::station::{Clock, Station};
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{FederationId, Id, Sequence, StationId};
use qfzz_ledger_core::limits::MAX_CLOCK_SKEW_MS;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::testing::{Author, at, interaction, key, proof, reported, rules, rules_with, station, verified};
use qfzz_sync::global_trust::{
    GlobalTrust, Live, Policy, Why, get_global_trust, get_live_global_trust, policy_weights,
};
use qfzz_sync::opinion::{Asked, LiveOpinion, Nonce, Question, SignedOpinion, Unanswered};

const NONCE: Nonce = Nonce::from_bytes([7; 16]);

fn user(name: &str) -> Subject {
    Subject::User(Id::new(name).expect("an id"))
}

fn score(text: &str) -> Score {
    text.parse().expect("a score")
}

fn question(subject: &Subject) -> Question {
    Question { subject: subject.clone(), nonce: NONCE }
}

/// What a station says of a subject, now.
fn said(at: &Station, subject: &Subject) -> LiveOpinion {
    LiveOpinion::of(&at.ledger(), question(subject), at.clock().now()).expect("the store is in memory")
}

/// A good answer of station 2 to a question about `u`, and the question.
fn good() -> (Arc<Rules>, Asked, LiveOpinion) {
    let rules = rules();
    let asked = Asked { station: station(2), question: question(&user("u")), next: Sequence::new(4) };
    let opinion = LiveOpinion {
        federation: rules.federation(),
        station: station(2),
        subject: user("u"),
        score: score("0.6"),
        evidence: 3,
        next: Sequence::new(4),
        nonce: NONCE,
        said_at: at(1_000),
    };
    (rules, asked, opinion)
}

#[test]
fn an_answer_counts_only_if_it_is_of_the_station_asked_about_the_subject_fresh_and_no_older_than_the_chain() {
    let (rules, asked, good) = good();
    let check = |answer: SignedOpinion| asked.check(&rules, answer, at(1_000));
    assert_eq!(check(good.clone().sign(&key(2))), Ok(good.clone()));
    let changed = |change: &dyn Fn(&mut LiveOpinion)| {
        let mut opinion = good.clone();
        change(&mut opinion);
        check(opinion.sign(&key(2)))
    };
    let later = |millis: i64| changed(&|it| it.said_at = at(1_000 + millis)).err();
    let all = [
        (changed(&|it| it.federation = FederationId::from_bytes([3; 32])).err(), Unanswered::OtherFederation),
        (changed(&|it| it.station = station(3)).err(), Unanswered::OtherStation),
        (changed(&|it| it.subject = user("v")).err(), Unanswered::OtherSubject),
        (changed(&|it| it.subject = Subject::Creator(Id::new("u").expect("an id"))).err(), Unanswered::OtherSubject),
        (changed(&|it| it.nonce = Nonce::from_bytes([8; 16])).err(), Unanswered::OtherNonce),
        (changed(&|it| it.next = Sequence::new(3)).err(), Unanswered::Behind),
        (later(MAX_CLOCK_SKEW_MS + 1), Unanswered::OtherTime),
        (later(-MAX_CLOCK_SKEW_MS - 1), Unanswered::OtherTime),
    ];
    for (found, expected) in all {
        assert_eq!(found, Some(expected));
    }
    for fine in [later(MAX_CLOCK_SKEW_MS), later(-MAX_CLOCK_SKEW_MS)] {
        assert_eq!(fine, None, "clocks may differ that far");
    }
    assert_eq!(
        changed(&|it| it.next = Sequence::new(9)).map(|it| it.next),
        Ok(Sequence::new(9)),
        "it has pending ones"
    );
}

#[test]
fn an_answer_counts_only_with_the_signature_of_the_station_asked_over_all_of_it() {
    let (rules, asked, good) = good();
    let check = |opinion: &LiveOpinion, signature: Signature| {
        asked.check(&rules, SignedOpinion { opinion: opinion.clone(), signature }, at(1_000))
    };
    let signature = good.clone().sign(&key(2)).signature;
    let others = good.clone().sign(&key(3)).signature;
    let garbled = |at: usize| {
        let mut bytes = signature.as_bytes().to_vec();
        bytes[at] ^= 1;
        Signature::from_bytes(bytes)
    };
    let longer = Signature::from_bytes([signature.as_bytes(), &[0]].concat());
    for wrong in [others, garbled(0), garbled(63), longer, Signature::none()] {
        assert_eq!(check(&good, wrong), Err(Unanswered::WrongSignature));
    }
    // What is not compared with anything is covered by the signature, too.
    for changed in [
        LiveOpinion { score: score("1"), ..good.clone() },
        LiveOpinion { evidence: 4, ..good.clone() },
        LiveOpinion { next: Sequence::new(5), ..good.clone() },
        LiveOpinion { said_at: at(1_001), ..good.clone() },
    ] {
        assert_eq!(check(&changed, signature.clone()), Err(Unanswered::WrongSignature), "{changed:?}");
    }
    // Said in another federation it would name that one; a signature made there does not hold here either.
    let elsewhere = rules_with(|it| it.created_at = at(-1)).federation();
    let made_there = LiveOpinion { federation: elsewhere, ..good.clone() }.sign(&key(2)).signature;
    assert_eq!(check(&good, made_there), Err(Unanswered::WrongSignature));
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    use Unanswered::*;
    let late = [NotConnected, NotAsked, Equivocation, Late, Busy, NoAnswer, OtherTime, Overtaken];
    let bad = [Unreadable, OtherFederation, OtherStation, OtherSubject, OtherNonce, Behind, WrongSignature];
    assert!(late.iter().all(|why| !why.is_fault()) && bad.iter().all(|why| why.is_fault()));
    let names: BTreeSet<&str> = late.iter().chain(&bad).map(|why| why.as_str()).collect();
    assert_eq!(names.len(), late.len() + bad.len());
}

#[test]
fn a_station_says_what_its_own_records_say_those_that_wait_for_a_block_included() {
    let (rules, clock) = (rules(), Clock::default());
    let [one, two] = [1, 2].map(|number| Station::new(&rules, number, &clock));
    let first = said(&one, &user("u"));
    assert_eq!((first.score, first.evidence, first.next), (Score::HALF, 0, Sequence::ZERO), "it never spoke");
    one.say(vec![interaction("u"), verified("t", "c")]);
    one.mine();
    one.say(vec![interaction("u"), reported("t", "c")]);
    two.say(vec![interaction("u")]);
    one.hear(two.pending());
    let now = said(&one, &user("u"));
    assert_eq!((now.score, now.evidence, now.next), (score("0.52"), 2, Sequence::new(2)));
    assert_eq!((now.federation, now.station, now.nonce), (rules.federation(), one.id(), NONCE));
    let content =
        Subject::Content { creator_id: Id::new("c").expect("an id"), content_id: Id::new("t").expect("an id") };
    assert_eq!((said(&one, &content).score, said(&one, &content).evidence), (Score::HALF, 2));
    let asked = Asked { station: one.id(), question: question(&user("u")), next: Sequence::new(1) };
    assert_eq!(asked.check(&rules, now.clone().sign(&key(1)), clock.now()), Ok(now));
}

fn answer(
    rules: &Rules,
    at: &Station,
    policy: Policy,
    subject: &Subject,
    nodes: Option<&BTreeSet<StationId>>,
    live: &Live,
) -> GlobalTrust {
    let ledger = at.ledger();
    let weights = policy_weights(rules, ledger.read(), policy).expect("the store is in memory");
    let answer = get_live_global_trust(rules, ledger.read(), &weights, subject, nodes, live);
    answer.expect("the store is in memory")
}

#[test]
fn a_live_opinion_stands_in_the_place_of_the_chains_and_weights_stay() {
    let rules = rules_with(|parameters| parameters.add_founder(station(2), None));
    let (clock, subject) = (Clock::default(), user("u"));
    let [one, two] = [1, 2].map(|number| Station::new(&rules, number, &clock));
    one.say(vec![interaction("u")]);
    two.say(vec![interaction("u"); 2]);
    one.hear(two.pending());
    one.mine();
    let ask =
        |nodes: Option<&BTreeSet<StationId>>, live: &Live| answer(&rules, &one, Policy::Mean, &subject, nodes, live);
    let none = Live::new();
    assert_eq!(ask(None, &none).score, score("0.515"));
    let plain = {
        let ledger = one.ledger();
        let weights = policy_weights(&rules, ledger.read(), Policy::Mean).expect("the store is in memory");
        get_global_trust(&rules, ledger.read(), &weights, &subject, None)
    };
    assert_eq!(plain, Ok(ask(None, &none)));
    // The second says more by now, and nobody else has heard it.
    let more = LiveOpinion { score: score("0.59"), evidence: 9, ..said(&two, &subject) };
    let live = Live::from([(two.id(), more)]);
    let both = BTreeSet::from([one.id(), two.id()]);
    for nodes in [None, Some(&both)] {
        let found = ask(nodes, &live);
        assert_eq!((found.score, found.coverage), (score("0.55"), Score::ONE));
        let voice = found.voices.iter().find(|voice| voice.station == two.id()).expect("it is listed");
        assert_eq!((voice.score, voice.evidence, voice.weight), (score("0.59"), 9, Score::ONE));
    }
    // One that says that it knows nothing has no voice; who is asked stays the same.
    let nothing = LiveOpinion { score: Score::ONE, evidence: 0, ..said(&two, &subject) };
    let found = ask(Some(&both), &Live::from([(two.id(), nothing)]));
    assert_eq!((found.score, found.coverage), (score("0.51"), Score::HALF));
    assert!(found.voices.iter().any(|voice| voice.station == two.id() && voice.why == Why::NoOpinion));

    // A station without a batch on the chain weighs nothing, whatever it says; an equivocator is not heard.
    let stranger =
        |number| LiveOpinion { station: station(number), score: Score::ONE, evidence: 9, ..said(&two, &subject) };
    let named = BTreeSet::from([one.id(), station(9)]);
    let live = Live::from([(station(9), stranger(9))]);
    let found = answer(&rules, &one, Policy::Anchored, &subject, Some(&named), &live);
    let alone = answer(&rules, &one, Policy::Anchored, &subject, Some(&named), &none);
    assert_eq!((found.score, found.coverage, found.confidence), (alone.score, alone.coverage, alone.confidence));
    assert!(found.voices.iter().any(|voice| voice.station == station(9) && voice.why == Why::Unproven));
    let [batch, other] = Author::new(&rules, 2).equivocate(at(0), [vec![], vec![interaction("x")]]);
    one.say(vec![proof(&rules, &batch, &other)]);
    one.mine();
    let live = Live::from([(two.id(), stranger(2))]);
    assert_eq!(ask(Some(&both), &live).score, score("0.51"));
    assert_eq!(ask(None, &live).score, score("0.51"));
}
