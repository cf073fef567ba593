//! Two batches of one place: a hostile station that signs them, and stations that are kept from signing them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qfzz_ledger_core::batch::{BatchHeader, SignedBatchHeader, VerifiedBatch};
use qfzz_ledger_core::codec::{decode, encode};
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::equivocation::BatchEquivocation;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::testing::{Author, at, interaction};
use qfzz_tests::harness::{
    Answer, Daemon, Ledgerless, Recipe, beside_others, rules_of, station_seen_by, wait_for, wait_for_one_head,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

/// Within which a client is told why nothing is signed.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// A hostile station, connected with one daemon under a key of its own.
struct Hostile(Ledgerless);

impl Hostile {
    fn meet(rules: &Arc<Rules>, seed: u8, daemon: &Daemon) -> Self {
        let hostile = Ledgerless::start(rules, seed);
        assert!(hostile.dial(&daemon.address()), "the daemon answers");
        let station = hostile.station().to_string();
        wait_for("the daemon knows the hostile station", PATIENCE, || {
            let peers = daemon.api().get("/v1/peers").to_string();
            if peers.contains(&station) { Ok(()) } else { Err(peers) }
        });
        Self(hostile)
    }

    /// Gossips a batch, once somebody listens.
    fn publish(&self, batch: &VerifiedBatch) {
        wait_for("somebody listens to the hostile station", PATIENCE, || self.0.publish(encode(batch.signed())));
    }
}

fn user_action(user: &str) -> Value {
    json!({ "kind": "user_action", "user_id": user, "action": "interaction" })
}

/// Posts a record and demands that it is refused: status and code.
#[track_caller]
fn refused(daemon: &Daemon) -> (u16, String) {
    let answer = daemon.api().try_post("/v1/records", &user_action("refused")).expect("the daemon lives");
    (answer.status, answer.json()["code"].as_str().unwrap_or_else(|| panic!("no code: {answer:?}")).to_owned())
}

/// The sequence of a record's batch.
fn sequence(record_id: &str) -> u64 {
    record_id.rsplit('.').nth(1).and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{record_id} is no record id"))
}

fn problems(daemon: &Daemon) -> String {
    daemon.api().get("/v1/status")["problems"].to_string()
}

/// That no station in the eyes of these daemons equivocated, on the chain or off it.
#[track_caller]
fn nobody_equivocated(daemons: &[&Daemon]) {
    for daemon in daemons {
        let stations = daemon.api().get("/v1/stations");
        for station in stations.as_array().expect("an array") {
            assert_eq!(station["equivocated"], false, "{}: {station}", daemon.name());
        }
        assert!(!daemon.said("stderr").contains("signed two batches"), "{} met two batches", daemon.name());
        assert!(!problems(daemon).contains("signed two batches"), "{}", problems(daemon));
    }
}

#[test]
fn a_station_that_signs_a_place_twice_is_proven_to_everywhere_and_has_no_voice_any_more() {
    let _turn = beside_others();
    let recipe = |name: &str| Recipe::new(name).set("sync.interval", "1s");
    let first = recipe("first").found("liars", &[]);
    let second = recipe("second").join(&first.address());
    let rules = rules_of(&first);
    first.api().record(&user_action("victim"));
    first.api().mine().expect("a record is pending");
    wait_for_one_head(&[&first, &second]);

    let mut liar = Author::new(&rules, 66);
    let id = liar.station().to_string();
    let introduction = liar.batch(at(0), vec![interaction("victim"); 3]);
    let pair = liar.equivocate(at(1), [vec![interaction("one")], vec![interaction("other")]]);
    let hostile = [Hostile::meet(&rules, 77, &first), Hostile::meet(&rules, 78, &second)];
    for (hostile, batch) in hostile.iter().zip(&pair) {
        hostile.publish(&introduction);
        hostile.publish(batch);
    }
    wait_for("the introduction is pending at the second", PATIENCE, || {
        let answer = second.api().try_get(&format!("/v1/records/{id}.1.0")).expect("it lives");
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    });
    // Whoever meets the other batch writes the proof, and no mining is needed for that.
    let (proof, _) = wait_for("a proof is pending or on the chain of both", PATIENCE, || {
        first.api().mine();
        let proven = [&first, &second].map(|daemon| station_seen_by(daemon, &id)["equivocation"].clone());
        match &proven {
            [Value::String(one), Value::String(other)] if one == other => Ok(one.clone()),
            _ => Err(format!("{proven:?}")),
        }
    });
    wait_for_one_head(&[&first, &second]);
    for daemon in [&first, &second] {
        let entry = station_seen_by(daemon, &id);
        assert_eq!(entry["equivocated"], true, "{entry}");
        let record = daemon.api().get(&format!("/v1/records/{proof}"));
        assert_eq!(record["status"], "confirmed");
        verify_shown(&rules, &record["record"], &pair);
        let opinion = daemon.api().get(&format!("/v1/trust/users/victim?station={id}"));
        assert_eq!((&opinion["score"], &opinion["evidence"]), (&json!(0.5), &json!(0)), "{opinion}");
        assert_eq!(opinion["why"], "equivocation", "{opinion}");
        let global = daemon.api().get("/v1/trust/global?kind=user&id=victim&policy=mean");
        assert_eq!(global["score"], json!(0.51), "{global}");
        let voices = global["stations"].as_array().expect("an array");
        let voice = voices.iter().find(|it| it["station_id"] == id.as_str()).expect("it is listed");
        assert_eq!((&voice["weight"], &voice["why"]), (&json!(0), &json!("equivocation")), "{voice}");
        let shown = daemon.qfzz(&["status"]).exits(0).stdout;
        assert!(shown.contains("1 station has signed two batches with one sequence"), "{shown}");
        let exported = daemon.api().try_get("/v1/chain/export").expect("it lives").body;
        assert!(exported.contains("\"batch_equivocation\"") && exported.contains(&proof));
        daemon.qfzz(&["chain", "verify"]).exits(0);
        // Passing such a batch on was no fault.
        assert_eq!(daemon.api().get("/v1/status")["banned_total"], 0);
    }
    // Whoever wrote the proof has told so.
    let author = proof.split('.').next().expect("a record id begins with its station");
    let finder = if first.station() == author { &first } else { &second };
    finder.api().events(Some(0)).expect("equivocation", &id, PATIENCE);
    assert!(finder.said("stderr").contains("signed two batches with one sequence"));
    let posted = first.api().try_post("/v1/records", &json!({ "kind": "batch_equivocation" })).expect("it lives");
    assert_eq!((posted.status, &posted.json()["code"]), (422, &json!("kind_of_the_node")));

    forged(&rules, &hostile[0], &first, &pair);
}

/// That what is shown of a proof is enough to verify it again.
fn verify_shown(rules: &Rules, record: &Value, pair: &[VerifiedBatch; 2]) {
    assert_eq!((&record["kind"], &record["sequence"]), (&json!("batch_equivocation"), &json!(1)));
    assert_eq!(record["accused_id"], pair[0].station().to_string());
    let bytes = |value: &Value| hex::decode(value.as_str().expect("hex")).expect("hex");
    let headers = [0, 1].map(|number| {
        let shown = &record["batches"][number];
        let header: BatchHeader = decode(&bytes(&shown["header"]), 1_024).expect("an encoded header");
        let signed = SignedBatchHeader { header, signature: Signature::from_bytes(bytes(&shown["signature"])) };
        assert_eq!(shown["batch_id"], signed.id(rules).to_string());
        signed
    });
    let [one, other] = headers;
    let expected = BatchEquivocation::new(rules, pair[0].signed_header(), pair[1].signed_header());
    assert_eq!(BatchEquivocation::new(rules, one, other), expected);
}

/// A proof whose second signature is another batch's costs whoever sends it the connection.
fn forged(rules: &Arc<Rules>, hostile: &Hostile, daemon: &Daemon, pair: &[VerifiedBatch; 2]) {
    let mut headers = pair.clone().map(|batch| batch.signed_header());
    headers[1].signature = headers[0].signature.clone();
    headers.sort_by_key(|header| header.id(rules));
    let [first, second] = headers;
    let forged = decode(&encode(&(first, second)), 4_096).expect("two signed headers");
    let batch = Author::new(rules, 67).batch(at(0), vec![Record::BatchEquivocation(Box::new(forged))]);
    hostile.publish(&batch);
    wait_for("the sender of a forged proof is gone", PATIENCE, || {
        let banned = daemon.api().get("/v1/status")["banned"].to_string();
        if banned.contains("proves no equivocation") { Ok(()) } else { Err(banned) }
    });
}

/// Removes the store of a station that does not run.
fn lose_store(station: &Daemon) {
    for part in ["journal", "view", "side"] {
        fs::remove_dir_all(station.data_dir().join(part)).expect("an own directory");
    }
    fs::remove_file(station.data_dir().join("journal.mark")).expect("an own file");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it has a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

#[test]
fn a_restored_backup_and_a_lost_store_take_over_the_own_log_before_they_sign() {
    let _turn = beside_others();
    let recipe = |name: &str| Recipe::new(name).set("sync.interval", "1s");
    let mut other = recipe("other").found("backups", &[]);
    let mut station = recipe("station").join(&other.address());
    let backup = tempfile::tempdir().expect("a temporary directory can be made");
    let mut last = sequence(&station.api().record(&user_action("before")));
    station.signal(Signal::TERM, PATIENCE);
    copy(station.data_dir(), &backup.path().join("data"));
    station.start();
    // What the backup lacks is partly on the chain and partly pending.
    for number in 0..6 {
        last = sequence(&station.api().record(&user_action(&format!("newer-{number}"))));
        if number == 3 {
            wait_for("the other station has them", PATIENCE, || {
                let pending = other.api().get("/v1/chain")["pending_records"].as_u64().expect("a number");
                if pending >= 5 { Ok(()) } else { Err(pending.to_string()) }
            });
            other.api().mine().expect("records are pending");
        }
    }
    wait_for("the other station has the rest", PATIENCE, || {
        let pending = other.api().get("/v1/chain")["pending_records"].as_u64().expect("a number");
        if pending >= 2 { Ok(()) } else { Err(pending.to_string()) }
    });

    // An older copy takes the place of the data directory.
    station.kill();
    fs::remove_dir_all(station.data_dir()).expect("an own directory");
    copy(&backup.path().join("data"), station.data_dir());
    station.start();
    let next = sequence(&station.api().record(&user_action("after-backup")));
    assert_eq!(next, last + 1, "it signs after what its peer has");
    nobody_equivocated(&[&station, &other]);

    // The store is gone, the key is there; and nobody who knows the log.
    wait_for("the other station has that, too", PATIENCE, || {
        let id = format!("{}.{next}.0", station.station());
        let answer = other.api().try_get(&format!("/v1/records/{id}")).expect("it lives");
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    });
    // What is in the memory of a peer alone is gone with that peer's power; what is on the chain is not.
    other.api().mine().expect("records are pending");
    station.kill();
    lose_store(&station);
    other.signal(Signal::TERM, PATIENCE);
    station.start();
    let asked = Instant::now();
    assert_eq!(refused(&station), (503, "log_unknown".to_owned()));
    println!("without a peer a client was told after {:?}", asked.elapsed());
    assert!(asked.elapsed() < TOLD_WITHIN, "{:?}", asked.elapsed());
    assert!(problems(&station).contains("told of this station's log"), "{}", problems(&station));
    other.start();
    let (id, _) = wait_for("it signs again", PATIENCE, || {
        let answer = station.api().try_post("/v1/records", &user_action("after-loss")).expect("it lives");
        created(&answer)
    });
    assert_eq!(sequence(&id), next + 1);
    wait_for("everything is pending at the other station", PATIENCE, || {
        let answer = other.api().try_get(&format!("/v1/records/{id}")).expect("it lives");
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    });
    other.api().mine().expect("records are pending");
    wait_for_one_head(&[&station, &other]);
    nobody_equivocated(&[&station, &other]);
    let of_station = station_seen_by(&other, &station.station());
    assert_eq!(of_station["batches"], next + 2, "no place was left out");
}

/// How many syncs have ended.
fn syncs(daemon: &Daemon) -> u64 {
    let text = daemon.api().try_get("/metrics").expect("it answers").body;
    let counts = text
        .lines()
        .filter(|line| line.starts_with("qfzz_syncs_total{outcome=\"done\"}"))
        .filter_map(|line| line.rsplit(' ').next());
    counts.map(|count| count.parse::<u64>().expect("a number")).sum()
}

#[test]
fn without_store_and_address_book_a_strangers_word_lets_nobody_sign_neither_at_once_nor_after_a_restart() {
    let _turn = beside_others();
    let recipe = |name: &str| Recipe::new(name).set("sync.interval", "1s");
    let mut founder = recipe("founder").found("strangers", &[]);
    let mut station = recipe("station").join(&founder.address());
    let stranger = recipe("stranger").join(&founder.address());
    let last = sequence(&station.api().record(&user_action("before")));
    wait_for("the founder has it", PATIENCE, || {
        let pending = founder.api().get("/v1/chain")["pending_records"].as_u64().expect("a number");
        if pending >= 1 { Ok(()) } else { Err(pending.to_string()) }
    });
    founder.api().mine().expect("a record is pending");
    station.kill();
    founder.signal(Signal::TERM, PATIENCE);
    lose_store(&station);
    fs::remove_file(station.data_dir().join("peers")).expect("an own file");
    for _ in ["at once", "after a restart"] {
        station.start();
        stranger.qfzz(&["join", &station.address()]).exits(0);
        wait_for("two syncs with the stranger", PATIENCE, || match syncs(&station) {
            2.. => Ok(()),
            count => Err(count.to_string()),
        });
        assert_eq!(refused(&station), (503, "log_unknown".to_owned()));
        station.signal(Signal::TERM, PATIENCE);
    }
    station.start();
    founder.start();
    let (id, _) = wait_for("it signs when the founder is back", PATIENCE, || {
        created(&station.api().try_post("/v1/records", &user_action("after")).expect("it lives"))
    });
    assert_eq!(sequence(&id), last + 1);
    nobody_equivocated(&[&station, &founder]);
}

fn created(answer: &Answer) -> Result<String, String> {
    match answer.status {
        201 => Ok(answer.json()["record_id"].as_str().expect("an id").to_owned()),
        _ => Err(answer.body.clone()),
    }
}

#[test]
fn of_two_daemons_with_one_key_the_later_one_signs_nothing_and_says_why() {
    let _turn = beside_others();
    let recipe = |name: &str| Recipe::new(name).set("sync.interval", "1s");
    let third = recipe("third").found("twins", &[]);
    let mut earlier = recipe("earlier").join(&third.address());
    earlier.api().record(&user_action("before"));
    earlier.signal(Signal::TERM, PATIENCE);
    let copied = tempfile::tempdir().expect("a temporary directory can be made");
    copy(earlier.data_dir(), &copied.path().join("data"));
    earlier.start();
    let (first, _) = wait_for("the earlier one signs", PATIENCE, || {
        created(&earlier.api().try_post("/v1/records", &user_action("alone")).expect("it lives"))
    });
    let mut acknowledged = vec![first];
    wait_for("a peer has heard that the earlier one is alive", PATIENCE, || {
        let reports = earlier.api().post("/v1/sync", &json!({})).json();
        if reports[0]["fault"].is_null() && reports[0]["peer"].is_string() { Ok(()) } else { Err(reports.to_string()) }
    });

    let mut later = recipe("later").at(copied.path().join("data")).prepare();
    later.start();
    let asked = Instant::now();
    // First at the copy, then at the original, and the other way round.
    for round in 0..4 {
        let (status, code) = refused(&later);
        assert!(matches!(code.as_str(), "log_unknown" | "another_daemon_seen" | "another_daemon"), "{status} {code}");
        let record = user_action(&format!("round-{round}"));
        acknowledged.push(earlier.api().record(&record));
        acknowledged.push(earlier.api().record(&record));
    }
    wait_for("the later one knows of the earlier one", PATIENCE, || {
        let (status, code) = refused(&later);
        if (status, &code[..]) == (409, "another_daemon") { Ok(()) } else { Err(code) }
    });
    println!("the later one knew of the earlier one {:?} after its start", asked.elapsed());
    assert!(problems(&later).contains("started earlier: this one signs nothing"), "{}", problems(&later));
    assert!(later.said("stderr").contains("another daemon signs with this station's key"));
    let mined = later.api().try_post("/v1/mine", &json!({})).expect("it lives");
    assert_eq!((mined.status, &mined.json()["code"]), (409, &json!("another_daemon")));
    let command = later.qfzz(&["record", "user_001", "interaction"]).exits(1);
    assert!(command.stderr.contains("another daemon"), "{command:?}");
    wait_for("the earlier one warns", PATIENCE, || {
        let problems = problems(&earlier);
        if problems.contains("another daemon was started with this station's key") { Ok(()) } else { Err(problems) }
    });
    acknowledged.push(earlier.api().record(&user_action("it goes on")));
    // Reads go on at both.
    later.api().get("/v1/chain");

    let sequences: Vec<u64> = acknowledged.iter().map(|id| sequence(id)).collect();
    assert!(sequences.is_sorted_by(|one, other| one < other), "{sequences:?}");
    let last = acknowledged.last().expect("some").clone();
    wait_for("the third has everything", PATIENCE, || {
        let answer = third.api().try_get(&format!("/v1/records/{last}")).expect("it lives");
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    });
    third.api().mine().expect("records are pending");
    wait_for_one_head(&[&third, &earlier, &later]);
    for id in &acknowledged {
        assert_eq!(third.api().get(&format!("/v1/records/{id}"))["status"], "confirmed");
    }
    nobody_equivocated(&[&third, &earlier, &later]);
}
