//! Federations with the scheme `hybrid` on real daemons: what stations find out about each other, as those of an `ed25519`
//! one do. Every case of it is in `equivocation.rs`, `duties.rs` and `live.rs`.

use std::time::Duration;

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::testing::{Author, at, interaction};
use qfzz_tests::harness::{
    Daemon, Ledgerless, Recipe, beside_others, found_together, millionths, rules_of, station_seen_by, wait_for,
    wait_for_one_head,
};
use serde_json::{Value, json};

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

const HYBRID: [&str; 2] = ["--signatures", "hybrid"];

/// What waits for a block is mined by `miner`, and all have that block.
fn mine(miner: &Daemon, all: &[&Daemon]) {
    miner.api().mine().expect("something is pending");
    wait_for_one_head(all);
}

fn voice(answer: &Value, station: &str) -> Value {
    let voices = answer["stations"].as_array().expect("an array");
    voices.iter().find(|voice| voice["station_id"] == station).cloned().unwrap_or_else(|| panic!("{station}: {answer}"))
}

#[test]
fn a_station_that_signs_a_place_twice_is_proven_to_and_has_no_voice_any_more() {
    let _turn = beside_others();
    let recipe = |name: &str| Recipe::new(name).set("sync.interval", "1s");
    let first = recipe("first").found("liars", &HYBRID);
    let second = recipe("second").join(&first.address());
    first.api().record(&json!({"kind": "user_action", "user_id": "victim", "action": "interaction"}));
    mine(&first, &[&first, &second]);

    let rules = rules_of(&first);
    let mut liar = Author::new(&rules, 66);
    let id = liar.station().to_string();
    let introduction = liar.batch(at(0), vec![interaction("victim"); 3]);
    let pair = liar.equivocate(at(1), [vec![interaction("one")], vec![interaction("other")]]);
    // Each of the two daemons hears one of the two batches first.
    let peers = [(77, &first), (78, &second)].map(|(seed, daemon)| {
        let peer = Ledgerless::start(&rules, seed);
        assert!(peer.dial(&daemon.address()), "the daemon answers");
        peer
    });
    for (peer, batch) in peers.iter().zip(&pair) {
        for batch in [&introduction, batch] {
            wait_for("somebody listens", PATIENCE, || peer.publish(encode(batch.signed())));
        }
    }
    let (proof, _) = wait_for("one proof is known to both", PATIENCE, || {
        first.api().mine();
        let proven = [&first, &second].map(|daemon| station_seen_by(daemon, &id)["equivocation"].clone());
        match &proven {
            [Value::String(one), Value::String(other)] if one == other => Ok(one.clone()),
            _ => Err(format!("{proven:?}")),
        }
    });
    wait_for("the proof is on the chain of both", PATIENCE, || {
        first.api().mine();
        let shown = [&first, &second].map(|daemon| daemon.api().get(&format!("/v1/records/{proof}"))["status"].clone());
        if shown.iter().all(|status| *status == "confirmed") { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    wait_for_one_head(&[&first, &second]);
    for daemon in [&first, &second] {
        assert_eq!(station_seen_by(daemon, &id)["equivocated"], true);
        let global = daemon.api().get("/v1/trust/global?kind=user&id=victim&policy=mean");
        assert_eq!(millionths(&global["score"]), 510_000, "the first one's word alone: {global}");
        let voice = voice(&global, &id);
        assert_eq!((&voice["weight"], &voice["why"]), (&json!(0), &json!("equivocation")), "{voice}");
        // With the proof's four signatures.
        daemon.qfzz(&["chain", "verify"]).exits(0);
    }
}

#[test]
fn jurors_contest_a_record_and_stations_that_are_asked_answer_with_what_is_pending() {
    let _turn = beside_others();
    let recipe = |name: &str| Recipe::new(name).set("sync.interval", "1s");
    let (author, jurors) = found_together(recipe("author"), vec![recipe("one"), recipe("other")], "jury", &HYBRID);
    let [one, other] = &jurors[..] else { panic!("two were named") };
    let all = [&author, one, other];
    let content = |kind: &str, id: &str| json!({"kind": kind, "content_id": id, "creator_id": "maker"});
    let says = |records: &[Value]| {
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        let answer = author.api().try_post_lines("/v1/records/bulk", &lines.join("\n")).expect("it answers");
        assert!(answer.body.lines().all(|line| line.contains("record_id")), "{}", answer.body);
        mine(&author, &all);
    };
    // What pays for the draw, the claim, and the block after it, which draws.
    says(&vec![content("content_verified", "filler"); 100]);
    let bad = author.api().record(&content("content_verified", "bad"));
    mine(&author, &all);
    says(&[content("content_added", "nothing to check")]);
    let (global, live) = ("/v1/trust/global?kind=content&id=bad&creator_id=maker", "&live=true");
    let accused = author.station();
    let before = millionths(&voice(&author.api().get(global), &accused)["weight"]);
    for juror in [one, other] {
        let duties = juror.api().get("/v1/duties");
        let duty = duties.as_array().expect("an array").iter().find(|duty| duty["record_id"] == *bad);
        assert_eq!(duty.map(|duty| &duty["answered"]), Some(&json!(false)), "{}: {duties}", juror.name());
        let told = juror.qfzz(&["--json", "testify", &bad, "contest"]).exits(0).json();
        let id = told["record_id"].as_str().expect("an id");
        wait_for("the testimony is pending at the author", PATIENCE, || {
            let answer = author.api().try_get(&format!("/v1/records/{id}")).expect("it lives");
            if answer.status == 200 { Ok(()) } else { Err(answer.body) }
        });
    }
    mine(&author, &all);
    for daemon in all {
        let answer = daemon.api().get(global);
        assert_eq!((&answer["jury"]["score"], &answer["jury"]["evidence"]), (&json!(0.1), &json!(2)), "{answer}");
        let after = millionths(&voice(&answer, &accused)["weight"]);
        assert!(after < before, "a verdict against its record costs weight: {before} before, {answer}");
    }

    // Who is asked at once counts what waits for a block there; each answer is signed.
    one.api().record(&content("content_reported", "bad"));
    let asked = [one.station(), accused];
    // The two jurors know each other by the author alone, and meet when they will.
    wait_for("the jurors are connected", PATIENCE, || {
        let peers = other.api().get("/v1/peers").to_string();
        if peers.contains(&one.station()) { Ok(()) } else { Err(peers) }
    });
    let answer = other.api().get(&format!("{global}{live}&nodes={}", asked.join(",")));
    for station in &asked {
        assert_eq!(voice(&answer, station)["answered"], true, "{answer}");
    }
    assert_eq!((&answer["live"], &answer["includes_pending"]), (&json!(true), &json!(true)), "{answer}");
    let [said, author_said] = asked.map(|station| voice(&answer, &station));
    assert_eq!((&said["evidence"], millionths(&said["score"])), (&json!(1), 100_000), "{answer}");
    assert_eq!(millionths(&author_said["score"]), 900_000, "{answer}");
    let shown = other.qfzz(&["trust", "content", "bad", "maker", "--global", "--live"]).exits(0).stdout;
    assert!(shown.contains("this station's alone"), "{shown}");
    assert_eq!(other.api().get(global)["includes_pending"], false);
    other.qfzz(&["chain", "verify"]).exits(0);
}
