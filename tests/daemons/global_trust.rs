//! Global trust on real daemons: every station gives the same answer at the same head, and colluders do not decide what
//! it is.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use qfzz_tests::harness::{
    Daemon, Dice, Duty, Follower, Recipe, beside_others, found_together, millionths, synced, wait_for,
    wait_for_one_head,
};
use serde_json::{Value, json};

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

const POLICIES: [&str; 4] = ["mean", "median", "eigentrust", "anchored"];

/// Connected stations, the first of which are its founders; they mine only when asked.
struct Federation {
    stations: Vec<Daemon>,
    ids: Vec<String>,
    /// Tells who was drawn to check what.
    follower: Follower,
    /// Records said since the last block.
    pending: u64,
}

impl Federation {
    fn of(stations: usize, founders: usize, flags: &[&str]) -> Self {
        let recipe = |number: usize| Recipe::new(&format!("station_{number}"));
        let named = (1..founders).map(recipe).collect();
        let (first, mut others) = found_together(recipe(0), named, "judged", flags);
        others.extend((founders..stations).map(|number| recipe(number).join(&first.address())));
        let follower = Follower::new(&first);
        let stations: Vec<Daemon> = std::iter::once(first).chain(others).collect();
        for station in &stations {
            wait_for(&format!("{} is synced", station.name()), PATIENCE, || synced(station));
        }
        let ids = stations.iter().map(Daemon::station).collect();
        Self { stations, ids, follower, pending: 0 }
    }

    /// Posts `records` to a station, and returns their ids.
    fn say(&mut self, who: usize, records: &[Value]) -> Vec<String> {
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        let answer = self.stations[who].api().try_post_lines("/v1/records/bulk", &lines).expect("it answers");
        let receipts = answer.body.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let id =
            |receipt: Value| receipt["record_id"].as_str().unwrap_or_else(|| panic!("refused: {receipt}")).to_owned();
        let ids: Vec<String> = receipts.map(id).collect();
        assert_eq!((answer.status, ids.len()), (200, records.len()));
        self.pending += ids.len() as u64;
        ids
    }

    /// Has a station make a block of all that was said, and waits until all have it; whom it draws.
    fn mine(&mut self, producer: usize) -> Vec<Duty> {
        let producer = &self.stations[producer];
        wait_for("what was said has reached the producer", PATIENCE, || {
            let chain = producer.api().get("/v1/chain");
            if chain["pending_records"] == self.pending { Ok(()) } else { Err(chain.to_string()) }
        });
        producer.api().mine().expect("records are pending");
        self.pending = 0;
        wait_for_one_head(&self.stations.iter().collect::<Vec<_>>());
        self.follower.follow(&self.stations[0])
    }

    /// The number of the station with an id.
    fn number(&self, id: &str) -> usize {
        self.ids.iter().position(|it| it == id).expect("it is one of them")
    }
}

fn testimony(record_id: &str, agrees: bool) -> Value {
    json!({"kind": "testimony", "record_id": record_id, "answer": if agrees { "agree" } else { "contest" }})
}

fn judgement(content: &str, says_good: bool) -> Value {
    let kind = if says_good { "content_verified" } else { "content_reported" };
    json!({"kind": kind, "content_id": content, "creator_id": "artist"})
}

/// Subjects of the test below, by kind.
const USERS: u64 = 180;
const CONTENTS: u64 = 220;
const CREATORS: u64 = 20;
const DATASETS: u64 = 80;

/// The queries for all of them.
fn subjects() -> Vec<String> {
    let users = (0..USERS).map(|number| format!("kind=user&id=user_{number}"));
    let contents = (0..CONTENTS)
        .map(|number| format!("kind=content&id=content_{number}&creator_id=creator_{}", number % CREATORS));
    let creators = (0..CREATORS).map(|number| format!("kind=creator&id=creator_{number}"));
    let datasets = (0..DATASETS).map(|number| format!("kind=dataset&id=dataset_{number}"));
    users.chain(contents).chain(creators).chain(datasets).collect()
}

fn sha256(number: u64) -> String {
    format!("{number:064x}")
}

/// What a station says of some subject: mostly that those with even numbers are good, now and then the opposite.
fn claim(dice: &mut Dice, often_wrong: bool) -> Value {
    let is_wrong = dice.below(if often_wrong { 2 } else { 10 }) == 0;
    match dice.below(6) {
        0 | 1 => json!({"kind": "user_action", "user_id": format!("user_{}", dice.below(USERS)),
            "action": dice.pick(&["interaction", "rating", "fraud"]), "target": "dj"}),
        2 => {
            let number = dice.below(DATASETS);
            let found = sha256(if number.is_multiple_of(2) == is_wrong { number + 1 } else { number });
            json!({"kind": "dataset_verified", "dataset_id": format!("dataset_{number}"), "sha256": found})
        }
        3 => {
            let number = dice.below(DATASETS);
            let rating = if number.is_multiple_of(2) == is_wrong { dice.below(50) } else { 50 + dice.below(51) };
            json!({"kind": "dataset_rated", "dataset_id": format!("dataset_{number}"), "rating": rating as f64 / 100.0})
        }
        _ => {
            let number = dice.below(CONTENTS);
            let mut said = judgement(&format!("content_{number}"), number.is_multiple_of(2) != is_wrong);
            said["creator_id"] = format!("creator_{}", number % CREATORS).into();
            said
        }
    }
}

/// The answers of a station to all `queries`, under every policy.
fn answers(station: &Daemon, queries: &[String]) -> Vec<Value> {
    let asked = queries.iter().flat_map(|query| POLICIES.map(|policy| format!("{query}&policy={policy}")));
    asked.map(|query| station.api().get(&format!("/v1/trust/global?{query}"))).collect()
}

/// The same without what a station knows beyond its head: what is pending, and the newest batches.
fn at_the_head(mut answer: Value) -> Value {
    let shown = answer.as_object_mut().expect("an object");
    shown.remove("pending").expect("it is shown");
    for voice in shown["stations"].as_array_mut().expect("an array") {
        voice.as_object_mut().expect("an object").remove("head").expect("it is shown");
    }
    answer
}

#[test]
fn five_stations_give_one_answer_about_500_subjects_under_every_policy_whatever_is_pending() {
    let _turn = beside_others();
    let mut dice = Dice::from_environment(5);
    let mut federation = Federation::of(4, 2, &["--action", "fraud=-0.2"]);
    let registered: Vec<Value> = (0..DATASETS)
        .map(|number| {
            json!({"kind": "dataset_registered", "dataset_id": format!("dataset_{number}"), "name": "n",
                "license": "MIT", "quality": 0.9, "sha256": sha256(number)})
        })
        .collect();
    federation.say(0, &registered);
    federation.mine(0);
    let (mut duties, mut answered): (Vec<Duty>, usize) = (Vec::new(), 0);
    for round in 0..6 {
        for who in 0..4 {
            let mut records: Vec<Value> = (0..120).map(|_| claim(&mut dice, who == 3)).collect();
            let mine = duties.iter().filter(|duty| federation.number(&duty.juror) == who);
            records.extend(mine.map(|duty| testimony(&duty.record_id, dice.below(4) != 0)));
            answered += records.len() - 120;
            federation.say(who, &records);
        }
        duties = federation.mine(round % 4);
    }
    assert!(answered > 50, "jurors have something to say: {answered}");

    // The fifth knows all of it from a sync only.
    let late = Recipe::new("late").join(&federation.stations[1].address());
    wait_for_one_head(&[&federation.stations[0], &late]);
    federation.stations.push(late);
    // What waits for a block is known to some earlier than to others.
    for who in 0..4 {
        let records: Vec<Value> = (0..50).map(|_| claim(&mut dice, false)).collect();
        federation.say(who, &records);
    }
    let mut queries = subjects();
    assert_eq!(queries.len(), 500);
    let some = format!("&nodes={},{}", federation.ids[1], federation.ids[3]);
    queries.extend(subjects().iter().step_by(10).map(|query| format!("{query}{some}")));
    let of_each: Vec<Vec<Value>> = thread::scope(|scope| {
        let asked = federation.stations.iter().map(|station| scope.spawn(|| answers(station, &queries)));
        let asked: Vec<_> = asked.collect();
        asked.into_iter().map(|asked| asked.join().expect("it answers")).collect()
    });
    let of_each: Vec<Vec<Value>> =
        of_each.into_iter().map(|answers| answers.into_iter().map(at_the_head).collect()).collect();
    for (station, of_one) in federation.stations.iter().zip(&of_each) {
        for (found, expected) in of_one.iter().zip(&of_each[0]) {
            assert_eq!(found, expected, "{} beside {}", station.name(), federation.stations[0].name());
        }
    }
    // All of it is worth comparing: policies differ, jurors have spoken, stations weigh differently.
    let all = &of_each[0];
    assert_eq!(all.len(), 550 * POLICIES.len());
    let count = |what: &dyn Fn(&Value) -> bool| all.iter().filter(|answer| what(answer)).count();
    assert!(count(&|answer| answer["stations"].as_array().is_some_and(|voices| voices.len() > 1)) > 1_500);
    let judged = count(&|answer| !answer["jury"].is_null());
    println!("{answered} answers of jurors, about {judged} of the subjects that were asked for");
    assert!(judged > 10);
    let differ = all.chunks(POLICIES.len()).filter(|of_one| {
        let scores: BTreeSet<i64> = of_one.iter().map(|answer| millionths(&answer["score"])).collect();
        scores.len() == POLICIES.len()
    });
    assert!(differ.count() > 200);
}

/// Of seven stations the first three are founders, and the last two collude.
const FOUNDERS: usize = 3;
const COLLUDERS: [usize; 2] = [5, 6];

/// The one honest station that has judged what the colluders lie about.
const WITNESS: usize = 3;

/// Tracks that are judged in each round, each by two of three stations; every second one is good.
const TRACKS: usize = 12;

/// What the colluders lie about: a bad track and a good one.
const TARGETS: [&str; 2] = ["promoted", "slandered"];

fn is_good(content: &str) -> bool {
    match content.strip_prefix("track_") {
        Some(number) => number.parse::<usize>().expect("a number").is_multiple_of(2),
        None => content == "slandered",
    }
}

/// What a station finds when it listens, or says that it does.
fn finds_good(who: usize, content: &str) -> bool {
    is_good(content) != (COLLUDERS.contains(&who) && TARGETS.contains(&content))
}

/// What a station says of the tracks of a round that it listens to.
fn judgements(who: usize, round: usize) -> Vec<Value> {
    let heard = (round * TRACKS..(round + 1) * TRACKS).filter(|number| !(number + who).is_multiple_of(3));
    let tracks = heard.map(|number| format!("track_{number}"));
    tracks.map(|track| judgement(&track, finds_good(who, &track))).collect()
}

/// The federation, and how many records honest stations have written.
struct Besieged {
    federation: Federation,
    honest_records: usize,
}

impl Besieged {
    fn say(&mut self, who: usize, records: &[Value]) -> Vec<String> {
        self.honest_records += if COLLUDERS.contains(&who) { 0 } else { records.len() };
        self.federation.say(who, records)
    }

    /// Everybody who was drawn answers, and a block takes it, with whatever else was said.
    fn answer_and_mine(&mut self, duties: &[Duty]) -> Vec<Duty> {
        for duty in duties {
            let who = self.federation.number(&duty.juror);
            let content = duty.record["content_id"].as_str().expect("all records are about contents");
            let agrees = finds_good(who, content) == (duty.record["kind"] == "content_verified");
            self.say(who, &[testimony(&duty.record_id, agrees)]);
        }
        self.federation.mine(0)
    }

    /// What all seven answer about a content.
    fn answer(&self, content: &str, policy: &str) -> Value {
        let query = format!("/v1/trust/global?kind=content&id={content}&creator_id=artist&policy={policy}");
        let answers: Vec<Value> = self.federation.stations.iter().map(|it| it.api().get(&query)).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        answers[0].clone()
    }

    fn score(&self, content: &str, policy: &str) -> i64 {
        millionths(&self.answer(content, policy)["score"])
    }
}

/// The attack called stealth: the two do honest work first, so that their word weighs something, and then lie about few
/// things, which founders have not judged. Honest stations do what they are there for: each judges what it hears, one
/// disputes what contradicts it, and whoever is drawn answers.
#[test]
fn two_of_seven_stations_collude_and_within_200_honest_records_global_trust_knows_better_than_the_mean() {
    let _turn = beside_others();
    let mut all = Besieged { federation: Federation::of(7, FOUNDERS, &[]), honest_records: 0 };
    let (mut duties, mut lies): (Vec<Duty>, Vec<String>) = (Vec::new(), Vec::new());
    for round in 0..4 {
        for who in FOUNDERS..7 {
            let (mut records, is_colluder) = (judgements(who, round), COLLUDERS.contains(&who));
            let of_tracks = records.len();
            match round {
                1 if is_colluder => {
                    records.extend(TARGETS.iter().flat_map(|it| vec![judgement(it, finds_good(who, it)); 4]));
                }
                1 if who == WITNESS => records.extend(TARGETS.map(|it| judgement(it, finds_good(who, it)))),
                // One a block is drawn before all others.
                2 | 3 if who == WITNESS => records.push(testimony(&lies[round - 2], false)),
                _ => {}
            }
            let ids = all.say(who, &records);
            if is_colluder && round == 1 {
                lies = vec![ids[of_tracks].clone(), ids[of_tracks + 4].clone()];
            }
        }
        duties = all.answer_and_mine(&duties);
        // Founders judge what the others have said on the chain already: so these gain weight where they agree.
        for who in 0..FOUNDERS {
            all.say(who, &judgements(who, round));
        }
        duties = all.answer_and_mine(&duties);
        if round == 0 {
            let answer = all.answer("track_0", "anchored");
            let weights = answer["stations"].as_array().expect("an array").iter().map(|it| millionths(&it["weight"]));
            assert!(weights.min() > Some(500_000), "everybody has earned weight: {answer}");
        }
    }
    if !duties.is_empty() {
        all.answer_and_mine(&duties);
    }

    let [promoted, slandered] = TARGETS;
    assert!(all.honest_records <= 200, "{}", all.honest_records);
    let [bad, good] = TARGETS.map(|target| all.score(target, "anchored"));
    println!("after {} honest records: {bad} of the bad track, {good} of the good one", all.honest_records);
    assert!(all.score(promoted, "anchored") < 400_000, "{}", all.answer(promoted, "anchored"));
    assert!(all.score(slandered, "anchored") > 600_000, "{}", all.answer(slandered, "anchored"));
    assert!(all.score(promoted, "mean") > 600_000 && all.score(slandered, "mean") < 400_000);
    // And honest work is not mistaken for lies.
    let mut audited = 0;
    for number in 0..4 * TRACKS {
        let (track, policy) = (format!("track_{number}"), "anchored");
        let score = all.score(&track, policy);
        assert!(if is_good(&track) { score > 600_000 } else { score < 400_000 }, "{}", all.answer(&track, policy));
        audited += usize::from(!all.answer(&track, policy)["jury"].is_null());
    }
    assert!(audited > 0, "jurors check what is true as well");
}
