//! `qfzz doctor`: what it finds, what it repairs, and what it never removes.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use qfzz_tests::harness::{Daemon, Recipe, beside_others};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A founder without others, stopped, whose ports are free; and the ids of its records, one a batch, all pending.
fn stopped(records: usize) -> (Daemon, Vec<String>) {
    let recipe = Recipe::new("patient").set("network.listen", "/ip4/127.0.0.1/tcp/0").set("api.listen", "127.0.0.1:0");
    let mut station = recipe.found("clinic", &[]);
    let content = |id: String| json!({ "kind": "content_verified", "content_id": id, "creator_id": "a" });
    station.api().record(&content("mined".to_owned()));
    station.api().mine().expect("a record is pending");
    let ids = (0..records).map(|number| station.api().record(&content(format!("content-{number}")))).collect();
    stop(&mut station);
    (station, ids)
}

fn stop(station: &mut Daemon) {
    assert_eq!(station.signal(Signal::TERM, Duration::from_secs(5)).0.code(), Some(0));
}

/// Flips a bit where `text` stands in the journal.
fn damage(dir: &Path, text: &str) {
    let path = dir.join("journal/00000001.log");
    let bytes = fs::read(&path).expect("the journal is there");
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("it stands there");
    let file = fs::File::options().write(true).open(&path).expect("the journal can be written");
    file.write_all_at(&[bytes[at] ^ 1], at as u64).expect("the journal can be written");
}

fn problems(found: &Value) -> Vec<&Value> {
    let checks = found["checks"].as_array().expect("checks are an array");
    checks.iter().filter(|check| check["ok"] == false).collect()
}

#[test]
fn a_sound_station_has_no_problems_and_a_running_one_says_so() {
    let _turn = beside_others();
    let (mut station, _) = stopped(2);
    let found = station.qfzz(&["doctor", "--json"]).exits(0).json();
    assert_eq!((&found["ok"], &found["daemon"], &found["repaired"]), (&json!(true), &Value::Null, &json!([])));
    let names: Vec<&str> =
        found["checks"].as_array().expect("an array").iter().filter_map(|it| it["check"].as_str()).collect();
    for name in [
        "data directory",
        "key",
        "settings",
        "genesis",
        "journal",
        "own log",
        "chain",
        "view",
        "side blocks",
        "api port",
        "libp2p port",
        "clock",
        "disk",
        "api token",
        "open files",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    station.start();
    let running = station.qfzz(&["doctor", "--json"]).exits(0).json();
    assert_eq!(running["daemon"], station.pid());
    let refused = station.qfzz(&["doctor", "--repair"]).exits(1);
    assert!(refused.stderr.contains(&station.pid().to_string()), "{refused:?}");
}

#[test]
fn permissions_token_and_key_are_put_right() {
    let _turn = beside_others();
    let (mut station, ids) = stopped(2);
    let dir = station.data_dir().to_owned();
    let mode = |name: &str, mode| fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).expect("ours");
    mode("", 0o755);
    mode("key", 0o644);
    let key = fs::read(dir.join("key.copy")).expect("there is a copy");
    fs::write(dir.join("key"), "not a key").expect("ours");
    fs::write(dir.join("api.token"), "short").expect("ours");
    let sick = station.qfzz(&["doctor"]).exits(1);
    for problem in ["data directory: ", "secrets: ", "key: ", "api token: "] {
        assert!(sick.stdout.contains(&format!("PROBLEM  {problem}")), "{problem}{}", sick.stdout);
    }
    let first = sick.stdout.lines().next().expect("it says something");
    assert!(first.starts_with("PROBLEM"), "the problem comes first: {first}");
    assert_eq!(sick.stdout.matches("  remedy ").count(), sick.stdout.matches("PROBLEM  ").count());
    let well = station.qfzz(&["doctor", "--repair", "--json"]).exits(0).json();
    assert!(well["repaired"].as_array().is_some_and(|done| done.len() >= 3), "{well}");
    assert_eq!(fs::read(dir.join("key")).expect("there"), key);
    station.start();
    for id in &ids {
        assert_eq!(station.api().get(&format!("/v1/records/{id}"))["status"], "pending");
    }
}

#[test]
fn a_genesis_file_that_is_damaged_or_lost_is_told_of_and_written_again_only_where_that_is_asked_for() {
    let _turn = beside_others();
    let (station, _) = stopped(1);
    let file = station.data_dir().join("genesis");
    let whole = fs::read(&file).expect("there");
    let flipped: Vec<u8> = whole.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 20)).collect();
    for damaged in [Some(flipped), None] {
        match &damaged {
            Some(bytes) => fs::write(&file, bytes).expect("ours"),
            None => fs::remove_file(&file).expect("ours"),
        }
        let sick = station.qfzz(&["doctor"]).exits(1);
        assert!(sick.stdout.contains("PROBLEM  genesis: the file is lost or damaged"), "{}", sick.stdout);
        assert_eq!(fs::read(&file).ok(), damaged, "doctor alone changes nothing");
        station.qfzz(&["doctor", "--repair"]).exits(0);
        assert_eq!(fs::read(&file).expect("there again"), whole);
    }
}

#[test]
fn a_station_that_finds_its_chain_damaged_says_so_and_adds_nothing_to_it() {
    let _turn = beside_others();
    let (mut station, _) = stopped(0);
    let dir = station.data_dir().to_owned();
    station.start();
    station.qfzz(&["chain", "verify"]).exits(0);
    damage(&dir, "mined");
    let found = station.qfzz(&["chain", "verify"]).exits(5);
    assert!(found.stderr.contains("damaged"), "{found:?}");
    let (status, _) = station.wait_end(Duration::from_secs(5));
    assert_eq!(status.code(), Some(1));
    let said = station.said("stderr");
    assert!(said.contains("does not verify") && said.contains("doctor --repair"), "{said}");
    // Put right, it is whole again.
    damage(&dir, "lined");
    station.start();
    station.qfzz(&["chain", "verify"]).exits(0);
}

#[test]
fn what_nobody_has_any_more_is_named_and_given_up_only_when_asked() {
    let _turn = beside_others();
    let (mut station, ids) = stopped(4);
    let dir = station.data_dir().to_owned();
    let lost = &ids[1];
    damage(&dir, "content-1");
    assert!(station.try_start().is_err(), "nobody is known who could give it");
    let said = station.said("stderr");
    assert!(said.contains("00000001.log") && said.contains("byte") && said.contains("doctor --repair"), "{said}");
    let found = station.qfzz(&["doctor", "--json"]).exits(1).json();
    let found = problems(&found);
    let detail = found[0]["detail"].as_str().expect("a text");
    assert!(detail.contains("00000001.log") && detail.contains("an own batch"), "{found:?}");
    assert!(!dir.join("journal.damaged-1").exists(), "only a repair changes anything");

    let refused = station.qfzz(&["doctor", "--repair"]).exits(1);
    assert!(refused.stdout.contains("own batch") && refused.stdout.contains("--accept-loss"), "{}", refused.stdout);
    let before = fs::read(dir.join("journal.damaged-1/00000001.log")).expect("it is set aside");
    assert!(station.try_start().is_err(), "it must not sign that place again by itself");
    let said = station.said("stderr");
    assert!(said.contains("own batch") && said.contains("--accept-loss"), "{said}");
    let given_up = station.qfzz(&["doctor", "--repair", "--accept-loss"]).exits(0);
    assert!(given_up.stdout.contains("REPAIRED given up"), "{}", given_up.stdout);
    station.qfzz(&["doctor"]).exits(0);

    station.start();
    assert_eq!(station.api().get(&format!("/v1/records/{}", ids[0]))["status"], "pending");
    assert_eq!(station.api().try_get(&format!("/v1/records/{lost}")).expect("it lives").status, 404);
    let again = station.api().record(&json!({ "kind": "content_verified", "content_id": "again", "creator_id": "a" }));
    station.api().mine().expect("records are pending");
    assert_eq!(station.api().get(&format!("/v1/records/{again}"))["status"], "confirmed");
    station.qfzz(&["chain", "verify"]).exits(0);
    let kept = fs::read(dir.join("journal.damaged-1/00000001.log")).expect("what was signed is still there");
    assert!(kept == before && kept.windows(9).any(|window| window == b"content-3"));
}
