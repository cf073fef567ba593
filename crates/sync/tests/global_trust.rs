//! Global trust against the federation's reference, and the edges of its answers.
//!
//! This version has users, contents and creators as subjects and the policy `mean`. Every query of every scenario is
//! about one of these and is checked.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::station::{Clock, Station};
use qfzz_ledger_core::batch::{Introduction, SignedBatch};
use qfzz_ledger_core::crypto::StationKey;
use qfzz_ledger_core::federation::{Founder, Rules};
use qfzz_ledger_core::ids::{BatchId, Id, Name, Sequence, StationId, Target};
use qfzz_ledger_core::record::{Record, Subject, UserAction};
use qfzz_ledger_core::score::{Delta, Score};
use qfzz_ledger_core::testing::{
    Author, added, at, interaction, proof, reported, rules, rules_with, station, verified,
};
use qfzz_sync::global_trust::{GlobalTrust, MAX_LISTED, Policy, Why, get_global_trust};
use serde_json::Value;

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn user(name: &str) -> Subject {
    Subject::User(id(name))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

/// The names in a list that a scenario may leave out.
fn names(value: Option<&Value>) -> BTreeSet<String> {
    let list = value.map(|value| value.as_array().expect("a list").clone()).unwrap_or_default();
    list.iter().map(|name| text(name).to_owned()).collect()
}

fn subject(value: &Value) -> Subject {
    let parts: Vec<&str> = value.as_array().expect("a list").iter().map(text).collect();
    match parts[..] {
        ["user", user] => Subject::User(id(user)),
        ["content", creator, content] => Subject::Content { creator_id: id(creator), content_id: id(content) },
        ["creator", creator] => Subject::Creator(id(creator)),
        _ => panic!("this version has no subject {value}"),
    }
}

fn record(rules: &Rules, value: &Value) -> Record {
    match (text(&value["kind"]), subject(&value["subject"])) {
        ("user_action", Subject::User(user_id)) => {
            let delta = i32::try_from(value["delta"].as_i64().expect("a number")).expect("in range");
            let trust_delta = Delta::from_millionths(delta).expect("in range");
            let named = rules.actions().iter().find(|(_, delta)| **delta == trust_delta);
            let action = named.expect("the table has an action of this delta").0.clone();
            let target = Target::new("").expect("may be empty");
            Record::UserAction(UserAction { user_id, action, target, trust_delta, timestamp: at(0) })
        }
        (kind, Subject::Content { creator_id, content_id }) => {
            let (content, creator) = (content_id.as_str(), creator_id.as_str());
            match kind {
                "content_verified" => verified(content, creator),
                "content_reported" => reported(content, creator),
                "content_added" => {
                    let score = value.get("initial_score").map_or(500_000, number);
                    added(content, creator, u32::try_from(score).expect("in range"))
                }
                _ => panic!("this version has no record {kind}"),
            }
        }
        (kind, subject) => panic!("{kind} about {subject:?}"),
    }
}

/// A scenario on a real chain: every station signs its records, the first one mines what a height has.
struct World {
    rules: Arc<Rules>,
    ids: BTreeMap<String, StationId>,
    miner: Station,
}

impl World {
    fn new(scenario: &Value) -> Self {
        let equivocators = names(scenario.get("equivocators"));
        let founders = names(scenario.get("founders"));
        let no_records = Vec::new();
        let records = scenario.get("records").map_or(&no_records, |value| value.as_array().expect("a list"));
        let authors = records.iter().map(|record| text(&record["station"]).to_owned());
        let mut all = names(scenario.get("stations"));
        all.extend(authors.chain(founders.iter().cloned()));
        let ids: BTreeMap<String, StationId> = (1..).zip(&all).map(|(at, name)| (name.clone(), station(at))).collect();

        let rules = rules_with(|parameters| {
            // Genesis needs one; where the scenario has none it is a station that never says anything.
            parameters.founders = if founders.is_empty() { vec![founder(station(200))] } else { Vec::new() };
            parameters.founders.extend(founders.iter().map(|name| founder(ids[name])));
            parameters.founders.sort_by_key(|founder| founder.station);
        });
        let clock = Clock::default();
        let stations: BTreeMap<&String, Station> =
            (1..).zip(&all).map(|(at, name)| (name, Station::new(&rules, at, &clock))).collect();
        let silent = Station::new(&rules, 201, &clock);
        let honest = stations.iter().find(|(name, _)| !equivocators.contains(**name)).map(|(_, station)| station);
        let miner = honest.unwrap_or(&silent).clone();
        for (name, station) in &stations {
            if !records.iter().any(|record| text(&record["station"]) == **name) {
                station.say(Vec::new());
            }
        }
        let heights: BTreeSet<u64> = records.iter().map(|record| number(&record["height"])).collect();
        for height in heights {
            for (name, station) in &stations {
                let own = records.iter().filter(|it| text(&it["station"]) == **name && number(&it["height"]) == height);
                let own: Vec<Record> = own.map(|value| record(&rules, value)).collect();
                if !own.is_empty() {
                    station.say(own);
                }
                if station.id() != miner.id() {
                    miner.hear(station.pending());
                }
            }
            let block = miner.mine();
            for station in stations.values().filter(|station| station.id() != miner.id()) {
                station.take(std::slice::from_ref(&block));
            }
        }
        let (of_name, mut proofs) = (|name: &String| (1..).zip(&all).find(|(_, it)| *it == name), Vec::new());
        for (number, _) in equivocators.iter().filter_map(of_name) {
            let [one, other] = Author::new(&rules, number).equivocate(at(0), [vec![], vec![interaction("u")]]);
            proofs.push(proof(&rules, &one, &other));
        }
        if !proofs.is_empty() {
            miner.say(proofs);
            miner.mine();
        }
        Self { rules, ids, miner }
    }

    fn ask(&self, query: &Value) -> GlobalTrust {
        let unknown = station(199);
        let id = |name: &Value| self.ids.get(text(name)).copied().unwrap_or(unknown);
        let nodes = query.get("nodes").map(|nodes| nodes.as_array().expect("a list").iter().map(id).collect());
        ask(&self.rules, &self.miner, &subject(&query["subject"]), nodes)
    }
}

fn founder(station: StationId) -> Founder {
    Founder { station, ml_dsa_key_hash: None }
}

fn ask(rules: &Rules, at: &Station, subject: &Subject, nodes: Option<BTreeSet<StationId>>) -> GlobalTrust {
    let ledger = at.ledger();
    let answer = get_global_trust(rules, ledger.read(), subject, Policy::Mean, nodes.as_ref());
    answer.expect("the store is in memory")
}

#[test]
fn mean_gives_the_references_integers_in_every_query_of_every_scenario() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let files =
        std::fs::read_dir(directory).expect("the scenarios are here").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    files.sort();
    let mut queries = 0;
    for file in &files {
        let case: Value = serde_json::from_slice(&std::fs::read(file).expect("readable")).expect("JSON");
        let world = World::new(&case["scenario"]);
        for expected in case["expected"]["answers"].as_array().expect("a list") {
            let (answer, mean) = (world.ask(expected), &expected["mean"]);
            let about = format!("{}: {} of {}", file.display(), expected["subject"], expected["nodes"]);
            assert_eq!(mean["policy"], answer.policy.as_str(), "{about}");
            let found = [answer.score, answer.coverage, answer.confidence].map(|it| u64::from(it.millionths()));
            assert_eq!(found, ["score", "coverage", "confidence"].map(|it| number(&mean[it])), "{about}");

            let voices = answer.voices.iter().filter(|voice| voice.why == Why::Counted);
            let voices: BTreeMap<StationId, [u64; 3]> = voices
                .map(|it| (it.station, [it.score.millionths().into(), it.evidence, it.weight.millionths().into()]))
                .collect();
            let expected = mean["stations"].as_array().expect("a list").iter();
            let expected: BTreeMap<StationId, [u64; 3]> = expected
                .inspect(|it| assert_eq!(it["why"], Why::Counted.as_str()))
                .map(|it| {
                    (world.ids[text(&it["station"])], ["score", "evidence", "weight"].map(|key| number(&it[key])))
                })
                .collect();
            assert_eq!(voices, expected, "{about}");
            assert_eq!(answer.more, 0);
            queries += 1;
        }
    }
    assert_eq!((files.len(), queries), (11, 31), "all scenarios, all queries");
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
