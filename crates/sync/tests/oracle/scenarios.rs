//! The reference's own scenarios, on real chains.
//!
//! Three things no chain can be made to say: that a juror was drawn (the reference takes it as given), a draw with a given
//! value, and records with given hashes. A duty is then written into the state before its answer, and records are drawn
//! from a list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::federation::{Admission, Founder, Rules};
use qfzz_ledger_core::ids::{RecordHash, Sequence, StationId, Target};
use qfzz_ledger_core::record::{Record, Subject, UserAction};
use qfzz_ledger_core::score::Delta;
use qfzz_ledger_core::state::{Disputed, RecordPlace, Writes, asked, draw_among, station_state};
use qfzz_ledger_core::testimony::{Answer, Testimony};
use qfzz_ledger_core::testing::{
    Author, added, admits, at, expels, interaction, proof, reported, rules_with, station, verified,
};
use serde_json::{Value, json};

use crate::chain::{Chain, id};
use crate::shown::{Asked, audits};

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn list(value: Option<&Value>) -> Vec<Value> {
    value.map(|value| value.as_array().expect("a list").clone()).unwrap_or_default()
}

fn names(value: Option<&Value>) -> BTreeSet<String> {
    list(value).iter().map(|name| text(name).to_owned()).collect()
}

fn subject(value: &Value) -> Subject {
    let parts: Vec<&str> = value.as_array().expect("a list").iter().map(text).collect();
    match parts[..] {
        ["user", user] => Subject::User(id(user)),
        ["content", creator, content] => Subject::Content { creator_id: id(creator), content_id: id(content) },
        ["creator", creator] => Subject::Creator(id(creator)),
        ["dataset", dataset] => Subject::Dataset(id(dataset)),
        _ => panic!("no subject: {value}"),
    }
}

fn action_of(delta: i64) -> String {
    format!("moves {delta}")
}

fn record(value: &Value) -> Record {
    match (text(&value["kind"]), subject(&value["subject"])) {
        ("user_action", Subject::User(user_id)) => {
            let delta = value["delta"].as_i64().expect("a number");
            let trust_delta = Delta::from_millionths(delta as i32).expect("in range");
            let (action, target) = (id(&action_of(delta)), Target::new("").expect("may be empty"));
            Record::UserAction(UserAction { user_id, action, target, trust_delta, timestamp: at(0) })
        }
        ("content_verified", Subject::Content { creator_id, content_id }) => {
            verified(content_id.as_str(), creator_id.as_str())
        }
        ("content_reported", Subject::Content { creator_id, content_id }) => {
            reported(content_id.as_str(), creator_id.as_str())
        }
        ("content_added", Subject::Content { creator_id, content_id }) => {
            let score = value.get("initial_score").map_or(500_000, |score| score.as_u64().expect("a number"));
            added(content_id.as_str(), creator_id.as_str(), score as u32)
        }
        (kind, subject) => panic!("{kind} about {subject:?}"),
    }
}

fn is_positive(value: &Value) -> bool {
    match text(&value["kind"]) {
        "user_action" => value["delta"].as_i64() > Some(0),
        kind => kind == "content_verified",
    }
}

/// A scenario's chain, and which test station stands for which name, in the same order.
struct World {
    chain: Chain,
    numbers: BTreeMap<String, u8>,
    /// Where each record of the scenario stands.
    placed: BTreeMap<String, (VerifiedBatch, u16)>,
}

impl World {
    fn new(scenario: &Value) -> Self {
        let (founders, bad) = (names(scenario.get("founders")), names(scenario.get("equivocators")));
        let records = list(scenario.get("records"));
        let mut all = names(scenario.get("stations"));
        all.extend(founders.iter().cloned());
        all.extend(records.iter().map(|record| text(&record["station"]).to_owned()));
        // Names are in the order of ids, on which draws rest.
        let mut numbers: Vec<u8> = (1..=all.len() as u8).collect();
        numbers.sort_by_key(|number| station(*number));
        let numbers: BTreeMap<String, u8> = all.iter().cloned().zip(numbers).collect();
        let has_roster = scenario.get("admission").is_some_and(|it| it == "roster");
        let vouched = scenario.get("vouched").map_or_else(|| all.clone(), |it| names(Some(it)));

        // Genesis needs a founder. Where the scenario has none it accuses itself before anything is asked.
        let nobody = 200;
        let rules = rules_with(|parameters| {
            let of = |number: u8| Founder { station: station(number), ml_dsa_key_hash: None };
            parameters.founders = founders.iter().map(|name| of(numbers[name])).collect();
            if founders.is_empty() {
                parameters.founders.push(of(nobody));
            }
            parameters.founders.sort_by_key(|founder| founder.station);
            parameters.admission = if has_roster { Admission::Roster } else { Admission::Open };
            for delta in records.iter().filter_map(|record| record["delta"].as_i64()) {
                parameters.set_action(id(&action_of(delta)), Delta::from_millionths(delta as i32).expect("in range"));
            }
        });
        let all_numbers = numbers.values().copied().chain([nobody]);
        let authors: BTreeMap<u8, Author> = all_numbers.map(|number| (number, Author::new(&rules, number))).collect();
        let producer = founders.iter().find(|name| !bad.contains(*name)).map_or(nobody, |name| numbers[name]);
        let chain = Chain::new(&rules, authors, producer, Writes::new());
        let mut world = Self { chain, numbers, placed: BTreeMap::new() };

        let last = records.iter().map(|record| record["height"].as_u64().expect("a number")).max().unwrap_or(1);
        for height in 1..=last {
            let before = world.chain.authors.clone();
            let mut batches = Vec::new();
            let numbers = world.numbers.clone();
            let mut ordered: Vec<(&String, &u8)> = numbers.iter().collect();
            ordered.sort_by_key(|(_, number)| **number != producer);
            for (name, number) in ordered {
                let said: Vec<&Value> =
                    records.iter().filter(|it| text(&it["station"]) == name && it["height"] == height).collect();
                let mut own: Vec<Record> = said.iter().map(|value| record(value)).collect();
                if height == 1 && has_roster && founders.contains(name) {
                    // Every founder vouches for those that are vouched; one admits the others.
                    let newcomers = all.iter().filter(|it| !founders.contains(*it));
                    let newcomers = newcomers.filter(|it| vouched.contains(*it) || *number == producer);
                    own.extend(newcomers.map(|it| admits(station(numbers[it]))));
                }
                let is_introduced = height == 1 && (!has_roster || founders.contains(name));
                if own.is_empty() && !is_introduced {
                    continue;
                }
                let seen = said.iter().find_map(|value| value["seen"].as_u64()).unwrap_or(height - 1);
                let batch = world.chain.sign(*number, seen, own);
                for (index, value) in (0..).zip(&said) {
                    if let Some(id) = value.get("id") {
                        world.placed.insert(text(id).to_owned(), (batch.clone(), index));
                    }
                }
                batches.push(batch);
            }
            if producer == nobody && height == 1 {
                let [one, other] =
                    world.chain.authors[&nobody].clone().equivocate(at(0), [vec![], vec![interaction("u")]]);
                let accusation = proof(&rules, &one, &other);
                batches.insert(0, world.chain.sign(nobody, 0, vec![accusation]));
            }
            world.chain.push(batches, before);
        }
        world.testify(scenario);
        let mut words = world.accusations(&rules, &bad);
        if has_roster && founders.len() == 1 {
            // One founder's word vouches: who is admitted by the scenario's word alone is expelled in the end.
            let strangers = all.iter().filter(|it| !vouched.contains(*it) && !founders.contains(*it));
            words.extend(strangers.map(|it| expels(station(world.numbers[it]))));
        }
        if !words.is_empty() {
            let (before, height) = (world.chain.authors.clone(), world.chain.height());
            let batch = world.chain.sign(producer, height, words);
            world.chain.push(vec![batch], before);
        }
        world
    }

    /// Who was drawn by the scenario's word is asked, and answers.
    fn testify(&mut self, scenario: &Value) {
        let testimonies = list(scenario.get("testimonies"));
        if testimonies.is_empty() {
            return;
        }
        let of: BTreeMap<String, Value> = list(scenario.get("records"))
            .into_iter()
            .filter_map(|record| Some((text(record.get("id")?).to_owned(), record)))
            .collect();
        let mut drawn: BTreeMap<String, Vec<StationId>> = BTreeMap::new();
        let mut said: BTreeMap<u8, Vec<Record>> = BTreeMap::new();
        for it in &testimonies {
            let (record, who) = (text(&it["record"]).to_owned(), self.numbers[text(&it["station"])]);
            if it.get("drawn").is_none_or(|drawn| drawn == true) {
                drawn.entry(record.clone()).or_default().push(station(who));
            }
            let (batch, index) = &self.placed[&record];
            let hash = batch.record_hashes(&self.chain.rules)[usize::from(*index)];
            let answer: Answer = text(&it["answer"]).parse().expect("an answer");
            let testimony = Testimony { record: batch.record_id(*index), hash, answer };
            said.entry(who).or_default().push(Record::Testimony(Box::new(testimony)));
        }
        for (record, jurors) in drawn {
            let (batch, index) = &self.placed[&record];
            let author = station_state(&self.chain.state, &batch.station()).expect("memory can be read");
            let number = author.expect("it is on the chain").number;
            let place = RecordPlace { station: number, sequence: batch.sequence(), index: *index };
            let hash = batch.record_hashes(&self.chain.rules)[usize::from(*index)];
            let (subject, is_positive) = (subject(&of[&record]["subject"]), is_positive(&of[&record]));
            let (key, value) = asked(&Disputed { place, hash, subject, is_positive }, &jurors);
            self.chain.state.insert(key, value);
        }
        let (before, height) = (self.chain.authors.clone(), self.chain.height());
        let batches = said.into_iter().map(|(who, records)| self.chain.sign(who, height, records)).collect();
        self.chain.push(batches, before);
    }

    fn accusations(&self, rules: &Arc<Rules>, bad: &BTreeSet<String>) -> Vec<Record> {
        let accuse = |name: &String| {
            let mut author = Author::new(rules, self.numbers[name]);
            let [one, other] = author.equivocate(at(0), [vec![], vec![interaction("u")]]);
            proof(rules, &one, &other)
        };
        bad.iter().map(accuse).collect()
    }

    /// The scenario's draw: records by their hashes there, of no chain.
    fn draw(&self, scenario: &Value, name: &impl Fn(&StationId) -> String) -> Value {
        let draw = &scenario["draw"];
        let records = list(scenario.get("records"));
        let listed = |value: Option<&Value>| -> Vec<(StationId, Disputed)> {
            let of = |id: &Value| {
                let at = records.iter().position(|record| record.get("id") == Some(id)).expect("it is a record");
                let author = station(self.numbers[text(&records[at]["station"])]);
                let state = station_state(&self.chain.state, &author).expect("memory can be read");
                let number = state.expect("it is on the chain").number;
                let place = RecordPlace { station: number, sequence: Sequence::new(at as u64), index: 0 };
                let (subject, hash) =
                    (subject(&records[at]["subject"]), text(id).parse::<RecordHash>().expect("a hash"));
                (author, Disputed { place, hash, subject, is_positive: is_positive(&records[at]) })
            };
            list(value).iter().map(of).collect()
        };
        let value = text(&draw["block_hash"]).parse::<RecordHash>().expect("a hash");
        let credit = draw["credit"].as_u64().expect("a number") as u32;
        let (disputed, of_parent) = (listed(draw.get("disputed")), listed(draw.get("records")));
        let found = draw_among(&self.chain.rules, &self.chain.state, value.as_bytes(), credit, disputed, of_parent);
        let (drawn, left) = found.expect("memory can be read");
        audits(&drawn, left, |audit| text(&records[audit.place.sequence.get() as usize]["id"]).to_owned(), name)
    }
}

#[test]
fn every_scenario_of_the_reference_gives_its_integers_under_every_policy() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let files = std::fs::read_dir(directory).expect("the scenarios are here").map(|it| it.expect("readable").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    files.sort();
    let mut queries = 0;
    for file in &files {
        let case: Value = serde_json::from_slice(&std::fs::read(file).expect("readable")).expect("JSON");
        let (scenario, world) = (&case["scenario"], World::new(&case["scenario"]));
        let by_id: BTreeMap<StationId, &String> =
            world.numbers.iter().map(|(name, number)| (station(*number), name)).collect();
        let name = |station: &StationId| by_id[station].clone();
        let asked = Asked::new(&world.chain.rules, &world.chain.state);
        let unknown = station(199);
        let answers: Vec<Value> = list(scenario.get("queries"))
            .iter()
            .map(|query| {
                let of = |name: &Value| world.numbers.get(text(name)).map_or(unknown, |number| station(*number));
                let nodes: Option<BTreeSet<StationId>> =
                    query.get("nodes").map(|nodes| list(Some(nodes)).iter().map(of).collect());
                let mut row = asked.answer(&subject(&query["subject"]), nodes.as_ref(), &name);
                row.extend(query.get("nodes").map(|nodes| ("nodes".to_owned(), nodes.clone())));
                Value::Object(row)
            })
            .collect();
        queries += answers.len();
        let mut found = json!({ "weights": asked.weights(&name), "answers": answers });
        if scenario.get("draw").is_some() {
            found["draw"] = world.draw(scenario, &name);
        }
        assert_eq!(found, case["expected"], "{}", file.display());
    }
    assert_eq!((files.len(), queries), (11, 31), "all scenarios, all queries");
}
