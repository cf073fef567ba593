//! Stations that are asked at once for their opinions: those that answer, one that is stopped, one that lies, and one that
//! is asked too much.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{FederationId, Id, Sequence, StationId};
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::testing::{Author, at, interaction, key, station};
use qfzz_ledger_core::time::Timestamp;
use qfzz_node::QfzzNode;
use qfzz_node::config::Config;
use qfzz_node::data_dir::DataDir;
use qfzz_node::identity::Identity;
use qfzz_sync::message::{Request, Response};
use qfzz_sync::opinion::{Asked, LiveOpinion, Nonce, Question, SignedOpinion};
use qfzz_tests::harness::{
    Daemon, Ledgerless, Recipe, beside_others, millionths, rules_of, synced, wait_for, wait_for_one_head,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a station may take to answer, and all of them.
const EACH: Duration = Duration::from_secs(3);
const ALL: Duration = Duration::from_secs(5);

const GLOBAL: &str = "/v1/trust/global?kind=user&id=u&policy=mean";
const LIVE: &str = "/v1/trust/global?kind=user&id=u&policy=mean&live=true";

fn user_action(action: &str) -> Value {
    json!({ "kind": "user_action", "user_id": "u", "action": action })
}

/// Waits until all have one head, and somebody to talk to.
fn agree(daemons: &[&Daemon]) {
    for daemon in daemons {
        wait_for("it has a peer and has caught up", PATIENCE, || synced(daemon));
    }
    wait_for_one_head(daemons);
}

fn voice(answer: &Value, station: &str) -> Value {
    let voices = answer["stations"].as_array().expect("an array");
    voices.iter().find(|voice| voice["station_id"] == station).cloned().unwrap_or_else(|| panic!("{station}: {answer}"))
}

/// Whether a station answered, and if not, why not.
fn told(answer: &Value, station: &str) -> (bool, Option<String>) {
    let voice = voice(answer, station);
    let listed = answer["unanswered"].as_array().expect("an array");
    let why = listed.iter().find(|it| it["station_id"] == station).map(|it| it["why"].clone());
    // Who is not connected was asked only where it is named.
    assert!(why.as_ref().is_none_or(|why| voice["unanswered"] == *why), "{answer}");
    (voice["answered"] == true, voice["unanswered"].as_str().map(str::to_owned))
}

fn unheard(why: &str) -> (bool, Option<String>) {
    (false, Some(why.to_owned()))
}

#[test]
fn a_live_answer_counts_what_is_pending_and_a_stopped_station_is_waited_for_three_seconds() {
    let _turn = beside_others();
    let recipe = |name: &str| Recipe::new(name).set("sync.interval", "1s");
    let one = recipe("one").found("Live Radio", &[]);
    let two = recipe("two").join(&one.address());
    let mut three = recipe("three").join(&one.address());
    agree(&[&one, &two, &three]);
    let ids = [&one, &two, &three].map(Daemon::station);
    two.api().record(&user_action("interaction"));
    three.api().record(&user_action("rating"));
    wait_for("both records are pending at the first", PATIENCE, || {
        let pending = one.api().get(GLOBAL)["pending"].clone();
        if pending == 2 { Ok(()) } else { Err(pending.to_string()) }
    });
    one.api().mine().expect("records are pending");
    agree(&[&one, &two, &three]);
    two.api().record(&user_action("interaction"));

    // Without `live` all give the same, and what waits for a block is in no opinion.
    for daemon in [&one, &two, &three] {
        let answer = daemon.api().get(GLOBAL);
        assert_eq!(millionths(&answer["score"]), 520_000, "{answer}");
        assert_eq!((&answer["live"], &answer["includes_pending"]), (&json!(false), &json!(false)));
        assert!(ids[1..].iter().all(|id| told(&answer, id) == (true, None)), "{answer}");
    }
    let answer = one.api().get(LIVE);
    assert_eq!(millionths(&answer["score"]), 525_000, "{answer}");
    assert_eq!((&answer["live"], &answer["includes_pending"]), (&json!(true), &json!(true)));
    assert_eq!(millionths(&voice(&answer, &ids[1])["score"]), 520_000);
    assert_eq!(voice(&answer, &ids[1])["evidence"], 2);
    assert!(ids[1..].iter().all(|id| told(&answer, id) == (true, None)), "{answer}");
    // A station that is named answers for itself, too; one that nobody knows cannot be asked.
    let nodes = format!("{LIVE}&nodes={},{},{}", ids[1], ids[2], station(99));
    let own = two.api().get(&nodes);
    assert_eq!(told(&own, &ids[1]), (true, None), "{own}");
    assert_eq!(millionths(&voice(&own, &ids[1])["score"]), 520_000);
    assert_eq!(told(&own, &station(99).to_string()), unheard("not_connected"), "{own}");

    kill_process(Pid::from_raw(three.pid() as i32).expect("a process"), Signal::STOP).expect("it can be stopped");
    let asked = Instant::now();
    let answer = one.api().get(LIVE);
    let took = asked.elapsed();
    assert!(EACH <= took && took < ALL, "{took:?}");
    assert_eq!((told(&answer, &ids[1]), told(&answer, &ids[2])), ((true, None), unheard("late")), "{answer}");
    assert_eq!(millionths(&voice(&answer, &ids[2])["score"]), 530_000, "its opinion at the head stands");
    assert_eq!(millionths(&answer["score"]), 525_000, "{answer}");
    let shown =
        one.qfzz(&["trust", "user", "u", "--global", "--policy", "mean", "--live", "--explain"]).exits(0).stdout;
    let short = &ids[2][ids[2].len() - 8..];
    assert!(shown.contains("this station's alone") && shown.contains("no answer within 3 s"), "{shown}");
    assert!(shown.contains(short) && shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert!(one.said("stderr").contains(&ids[2]), "the log names it");

    three.kill();
    wait_for("the first has noticed that the third is gone", PATIENCE, || {
        let answer = one.api().get(LIVE);
        if told(&answer, &ids[2]) == unheard("not_connected") { Ok(()) } else { Err(answer.to_string()) }
    });
    assert_eq!(millionths(&one.api().get(LIVE)["score"]), 525_000);
    assert_eq!(millionths(&one.api().get(GLOBAL)["score"]), 520_000);
}

/// What the liar does with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    Late,
    Garbled,
    SignedByAnother,
    AnothersName,
    AnotherSubject,
    Replayed,
    AnotherFederation,
    Behind,
    FromTheFuture,
    NoOpinion,
    Unreadable,
}

/// Station 66, which is on the chain with one batch, and lies.
struct Liar {
    lie: Lie,
    rules: Arc<Rules>,
    /// Its first good answer.
    first: Option<SignedOpinion>,
}

fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    Timestamp::from_millis(now as i64).expect("before the year 10000")
}

impl Liar {
    fn says(&mut self, question: Question) -> (Duration, Response) {
        let good = LiveOpinion {
            federation: self.rules.federation(),
            station: station(66),
            subject: question.subject,
            score: Score::ONE,
            evidence: 9,
            next: Sequence::new(5),
            nonce: question.nonce,
            said_at: now(),
        };
        let said = |opinion: LiveOpinion, number: u8| Response::Opinion(opinion.sign(&key(number)));
        let at_once = |response| (Duration::ZERO, response);
        match self.lie {
            Lie::None => {
                let signed = good.sign(&key(66));
                self.first.get_or_insert_with(|| signed.clone());
                at_once(Response::Opinion(signed))
            }
            Lie::Late => (EACH + Duration::from_millis(500), said(good, 66)),
            Lie::Garbled => {
                let SignedOpinion { opinion, signature } = good.sign(&key(66));
                let mut bytes = signature.as_bytes().to_vec();
                bytes[40] ^= 1;
                at_once(Response::Opinion(SignedOpinion { opinion, signature: Signature::from_bytes(bytes) }))
            }
            Lie::SignedByAnother => at_once(said(good, 67)),
            Lie::AnothersName => at_once(said(LiveOpinion { station: station(67), ..good }, 67)),
            Lie::AnotherSubject => {
                let subject = Subject::User(Id::new("v").expect("an id"));
                at_once(said(LiveOpinion { subject, ..good }, 66))
            }
            Lie::Replayed => at_once(Response::Opinion(self.first.clone().expect("it was asked before"))),
            Lie::AnotherFederation => {
                at_once(said(LiveOpinion { federation: FederationId::from_bytes([1; 32]), ..good }, 66))
            }
            Lie::Behind => at_once(said(LiveOpinion { next: Sequence::ZERO, ..good }, 66)),
            Lie::FromTheFuture => {
                at_once(said(LiveOpinion { said_at: good.said_at.saturating_add(200_000), ..good }, 66))
            }
            Lie::NoOpinion => at_once(Response::Unknown),
            Lie::Unreadable => at_once(Response::Pending(Vec::new())),
        }
    }
}

#[test]
fn a_station_that_answers_late_or_falsely_is_named_and_ignored() {
    let _turn = beside_others();
    let honest = Recipe::new("honest").found("Truthful Radio", &[]);
    let rules = rules_of(&honest);
    let liar = Arc::new(Mutex::new(Liar { lie: Lie::None, rules: Arc::clone(&rules), first: None }));
    let says = Arc::clone(&liar);
    let says = Box::new(move |question| says.lock().expect("no test panics while it holds this").says(question));
    let peer = Ledgerless::start_saying(&rules, 66, says);
    assert_eq!(peer.station(), station(66));
    assert!(peer.dial(&honest.address()), "the daemon answers");
    let batch = Author::new(&rules, 66).batch(at(0), vec![interaction("u")]);
    wait_for("the daemon listens to the liar", PATIENCE, || peer.publish(encode(batch.signed())));
    let (first, _) = wait_for("the liar's record is on the chain", PATIENCE, || {
        honest.api().mine();
        let answer = honest.api().get(LIVE);
        if answer["stations"].as_array().is_some_and(|it| it.len() == 1) { Ok(answer) } else { Err(answer.to_string()) }
    });
    let id = peer.station().to_string();
    assert_eq!(
        (told(&first, &id), millionths(&first["score"])),
        ((true, None), 1_000_000),
        "what it says counts: {first}"
    );

    for (lie, why) in [
        (Lie::Garbled, "wrong_signature"),
        (Lie::SignedByAnother, "wrong_signature"),
        (Lie::AnothersName, "other_station"),
        (Lie::AnotherSubject, "other_subject"),
        (Lie::Replayed, "replayed_nonce"),
        (Lie::AnotherFederation, "other_federation"),
        (Lie::Behind, "behind"),
        (Lie::FromTheFuture, "other_time"),
        (Lie::NoOpinion, "no_answer"),
        (Lie::Unreadable, "unreadable"),
        (Lie::Late, "late"),
    ] {
        liar.lock().expect("no test panics while it holds this").lie = lie;
        let answer = honest.api().get(LIVE);
        assert_eq!(told(&answer, &id), unheard(why), "{lie:?}: {answer}");
        assert_eq!(millionths(&voice(&answer, &id)["score"]), 510_000, "its opinion at the head stands");
        assert_eq!(millionths(&answer["score"]), 510_000, "{lie:?}: {answer}");
        assert!(honest.said("stderr").contains(&format!(": {why}")), "{lie:?} is in the log");
    }
    liar.lock().expect("no test panics while it holds this").lie = Lie::None;
    let again = honest.api().get(LIVE);
    assert_eq!((told(&again, &id), millionths(&again["score"])), ((true, None), 1_000_000), "it is asked as before");
    let status = honest.api().get("/v1/status");
    assert_eq!((&status["peers"], &status["banned_total"]), (&json!(1), &json!(0)), "nobody parts with it: {status}");
}

#[test]
fn who_floods_a_station_with_questions_is_told_that_it_is_busy_and_others_get_their_answers() {
    let _turn = beside_others();
    let daemon = Recipe::new("flooded").found("Busy Radio", &[]);
    let friend = Recipe::new("friend").join(&daemon.address());
    daemon.api().record(&user_action("interaction"));
    daemon.api().mine().expect("a record is pending");
    daemon.api().record(&user_action("rating"));
    agree(&[&daemon, &friend]);
    let rules = rules_of(&daemon);
    let flooder = Ledgerless::start(&rules, 70);
    assert!(flooder.dial(&daemon.address()), "the daemon answers");
    let id = daemon.station();
    let to: StationId = id.parse().expect("a station's id");

    let subject = Subject::User(Id::new("u").expect("an id"));
    let (begun, mut given, mut busy) = (Instant::now(), 0, 0);
    for number in 0..200u8 {
        let question = Question { subject: subject.clone(), nonce: Nonce::from_bytes([number; 16]) };
        match flooder.ask(to, &Request::Opinion(question.clone())).expect("it answers") {
            Response::Opinion(answer) => {
                given += 1;
                let asked = Asked { station: to, question, next: Sequence::new(1) };
                let said = asked.check(&rules, answer, now()).expect("a good answer");
                assert_eq!((said.score.to_string().as_str(), said.evidence), ("0.54", 2), "what is pending counts");
            }
            Response::Busy => busy += 1,
            other => panic!("{other:?}"),
        }
        if number % 50 == 49 {
            let answer = friend.api().get(&format!("{LIVE}&nodes={id}"));
            assert_eq!((told(&answer, &id), millionths(&answer["score"])), ((true, None), 540_000), "{answer}");
        }
    }
    let most = 5 + begun.elapsed().as_millis() * 5 / 1_000 + 1;
    assert!(given >= 5 && given as u128 <= most && busy > 0, "{given} given, at most {most}; {busy} busy");
    println!("{given} given, {busy} busy in {:.1?}", begun.elapsed());
    assert_eq!(daemon.api().get("/v1/status")["banned_total"], 0);
}

#[test]
fn a_program_that_runs_a_station_itself_asks_by_the_guides_name() {
    let _turn = beside_others();
    let daemon = Recipe::new("daemon").set("sync.interval", "1s").found("Guided Radio", &[]);
    let one = daemon.api().record(&user_action("interaction"));
    daemon.api().mine().expect("a record is pending");
    daemon.api().record(&user_action("rating"));
    let daemons: StationId =
        one.split('.').next().and_then(|id| id.parse().ok()).expect("a record id begins with its station");

    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let _within = runtime.enter();
    let dir = DataDir::new(home.path().join("data"));
    dir.create().expect("the directory can be made");
    let identity = Identity::generate().expect("there is randomness");
    identity.store(&dir).expect("the key can be written");
    let mut config = Config::default();
    config.network.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a multiaddress")];
    config.network.join = vec![daemon.address().parse().expect("a multiaddress")];
    config.api.listen = "127.0.0.1:0".parse().expect("an address");
    config.quantum.enabled = false;
    let node = runtime.block_on(QfzzNode::start(config, dir.lock().expect("nobody holds it"), identity));
    let node = node.expect("it starts");

    let (subject, stations) = (Subject::User(Id::new("u").expect("an id")), [daemons]);
    let score = |text: &str| text.parse::<Score>().expect("a score");
    wait_for("the chain has come", PATIENCE, || {
        let answer = runtime.block_on(node.get_global_trust(&subject, &stations)).map_err(|error| error.to_string())?;
        let voice = answer.combined.voices.first().map(|voice| (voice.score, voice.evidence));
        if voice == Some((score("0.51"), 1)) { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    let answer = runtime.block_on(node.get_live_global_trust(&subject, &stations)).expect("it is a member");
    let voice = answer.combined.voices.first().expect("it is named");
    assert_eq!((voice.station, voice.score, voice.evidence), (daemons, score("0.54"), 2));
    assert!(answer.live.is_some_and(|live| live.answered.contains(&daemons) && live.unanswered.is_empty()));
    runtime.block_on(node.stop());
}
