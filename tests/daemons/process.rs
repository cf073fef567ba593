//! A daemon as a process: what it prints, how it ends, and who else may use its directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use qfzz_tests::harness::{Recipe, alone, beside_others, wait_for};
use rustix::process::Signal;
use serde_json::json;

/// Within which a daemon ends that was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn it_says_who_it_is_and_where_and_keeps_its_secrets() {
    let _turn = beside_others();
    let station = Recipe::new("radio-one").found("local", &[]);
    let status = station.api().get("/v1/status");
    assert_eq!((&status["name"], &status["federation"]), (&json!("radio-one"), &json!("local")));
    assert_eq!(status["head"]["index"], 0);
    for (what, text) in
        [("station id", station.station()), ("address", station.address()), ("API", station.api().url().to_owned())]
    {
        wait_for(&format!("run prints its {what} {text}"), PATIENCE, || {
            let said = station.said("stdout");
            if said.contains(&text) { Ok(()) } else { Err(said) }
        });
    }
    let ticket = station.api().get("/v1/ticket");
    let ticket = ticket["ticket"].as_str().expect("a ticket is text");
    assert!(station.said("stdout").contains(ticket), "{ticket}");
    let joined = Recipe::new("radio-two").run_joining(ticket);
    assert_eq!(joined.api().get("/v1/status")["federation_id"], status["federation_id"]);

    let mode =
        |name: &str| fs::metadata(station.data_dir().join(name)).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode("api.token"), 0o600);
    let keys = fs::read_dir(station.data_dir()).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let keys: Vec<_> =
        keys.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.contains("key")).collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| mode(key) == 0o600), "{keys:?}");
    station.qfzz(&["init", "--name", "other", "--yes"]).exits(1);
    assert_eq!(station.api().get("/v1/status")["station_id"], status["station_id"]);
}

#[test]
fn asked_to_stop_it_ends_with_zero_within_five_seconds_also_while_clients_hang_on() {
    let _turn = alone();
    let mut station = Recipe::new("stops").found("stops", &[]);
    for signal in [Signal::TERM, Signal::INT] {
        let id = station.api().record(&json!({ "kind": "content_verified", "content_id": "a", "creator_id": "b" }));
        let events = station.api().events(None);
        let (status, elapsed) = station.signal(signal, STOP_LIMIT);
        assert_eq!(status.code(), Some(0), "{signal:?}");
        println!("ended {elapsed:?} after {signal:?}");
        events.expect_end(STOP_LIMIT);
        station.start();
        assert_eq!(station.api().get(&format!("/v1/records/{id}"))["status"], "pending");
    }
}

#[test]
fn a_second_daemon_on_the_directory_is_refused_with_the_pid_of_the_first() {
    let _turn = beside_others();
    let station = Recipe::new("only").found("only", &[]);
    let second = station.qfzz(&["run", "--listen", "/ip4/127.0.0.1/tcp/0", "--api-listen", "127.0.0.1:0"]).exits(1);
    assert!(second.stderr.contains(&station.pid().to_string()), "{second:?}");
    assert_eq!(station.api().try_get("/livez").expect("the first still answers").status, 200);
    station.qfzz(&["status"]).exits(0);
}

#[test]
fn without_a_daemon_commands_say_how_to_start_one() {
    let _turn = beside_others();
    let mut station = Recipe::new("asleep").found("asleep", &[]);
    station.kill();
    for command in [&["status"][..], &["trust", "user", "user_001"], &["record", "user_001", "interaction"], &["mine"]]
    {
        let refused = station.qfzz(command).exits(4);
        assert!(refused.stderr.contains("qfzz run"), "{refused:?}");
    }
}

#[test]
fn an_unknown_key_is_an_error_that_suggests_the_nearest() {
    let _turn = beside_others();
    let station = Recipe::new("misspelt").prepare();
    station.qfzz(&["init", "--name", "misspelt", "--yes"]).exits(0);
    fs::write(station.data_dir().join("qfzz.toml"), "[mining]\nintervall = \"1s\"\n").expect("the file can be written");
    let refused = station.qfzz(&["run", "--listen", "/ip4/127.0.0.1/tcp/0", "--api-listen", "127.0.0.1:0"]).exits(2);
    assert!(refused.stderr.contains("intervall") && refused.stderr.contains("mining.interval"), "{refused:?}");
}

#[test]
fn events_tell_what_happened_and_replay_what_was_missed() {
    let _turn = beside_others();
    let station = Recipe::new("speaks").found("speaks", &[]);
    let events = station.api().events(None);
    let id = station.api().record(&json!({ "kind": "content_verified", "content_id": "a", "creator_id": "b" }));
    events.expect("record", &id, PATIENCE);
    let block = station.api().mine().expect("a record is pending");
    let hash = block["hash"].as_str().expect("a block has a hash");
    events.expect("block", hash, PATIENCE);

    let replayed = station.api().events(Some(0));
    replayed.expect("record", &id, PATIENCE);
    replayed.expect("block", hash, PATIENCE);
}

#[test]
fn a_pending_record_is_mined_by_itself_when_its_interval_is_over() {
    let _turn = beside_others();
    let station =
        Recipe::new("mines").set("mining.enabled", "true").set("mining.interval", "500ms").found("mines", &[]);
    let id = station.api().record(&json!({ "kind": "content_verified", "content_id": "a", "creator_id": "b" }));
    wait_for("the record is confirmed", PATIENCE, || {
        let record = station.api().get(&format!("/v1/records/{id}"));
        if record["status"] == "confirmed" { Ok(()) } else { Err(record.to_string()) }
    });
    assert_eq!(station.api().head().0, 1, "a quiet station mines no empty blocks");
}
