//! `qfzz init`, `config` and the errors of usage: what needs no daemon.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use qfzz_ledger_core::federation::{Genesis, Rules, SignatureScheme};
use support::{qfzz, run, ticket};

const OTHER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

fn modes(dir: &Path) -> BTreeMap<String, u32> {
    let entries = std::fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry"));
    let mode = |entry: &std::fs::DirEntry| entry.metadata().expect("there").permissions().mode() & 0o777;
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), mode(&entry))).collect()
}

#[test]
fn init_founds_a_federation_and_keeps_its_secrets_private() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("deep").join("station");
    let arguments = [
        "--json",
        "init",
        "--name",
        "Radio 1",
        "--new-federation",
        "Test",
        "--difficulty",
        "1",
        "--action",
        "upload=-0.02",
        "--founder",
        OTHER,
        "--yes",
    ];
    let made = run(&dir, &arguments).expect(0).json();
    let expected = [
        ("api.token", 0o600),
        ("genesis", 0o644),
        ("key", 0o600),
        ("key.copy", 0o600),
        ("lock", 0o644),
        ("qfzz.toml", 0o644),
    ];
    assert_eq!(modes(&dir), expected.map(|(name, mode)| (name.to_owned(), mode)).into());
    assert_eq!(std::fs::metadata(&dir).expect("there").permissions().mode() & 0o777, 0o700);

    let genesis = Genesis::decode(&std::fs::read(dir.join("genesis")).expect("read")).expect("a genesis");
    let rules = Rules::new(genesis).expect("valid");
    let parameters = rules.parameters();
    assert_eq!((made["federation"].as_str(), parameters.name.as_str()), (Some("Test"), "Test"));
    assert_eq!(made["federation_id"], rules.federation().to_string());
    assert_eq!(parameters.difficulty.digits(), 1);
    let mut founders: Vec<String> = parameters.founders.iter().map(|founder| founder.station.to_string()).collect();
    let mut named = vec![OTHER.to_owned(), made["station_id"].as_str().expect("an id").to_owned()];
    founders.sort();
    named.sort();
    assert_eq!(founders, named);
    let actions: Vec<String> = rules.actions().iter().map(|(name, delta)| format!("{name}={delta}")).collect();
    let guides = ["connection=0.05", "dataset_verification=0", "interaction=0.01", "rating=0.03"];
    assert_eq!(actions, [&guides[..], &["upload=-0.02", "verification=0.02"]].concat());
}

#[test]
fn init_never_overwrites_and_names_what_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), &["init"]).expect(0);
    let key = std::fs::read(dir.path().join("key")).expect("read");
    let again = run(dir.path(), &["init", "--name", "other"]).expect(1);
    assert!(again.stderr.contains("key, key.copy, genesis, qfzz.toml"), "{again:?}");
    assert!(again.stdout.is_empty());
    assert_eq!(std::fs::read(dir.path().join("key")).expect("read"), key);
}

#[test]
fn a_station_that_is_to_join_has_no_genesis_and_remembers_whom() {
    let dir = tempfile::tempdir().expect("a directory");
    let ticket = ticket();
    let made =
        run(dir.path(), &["--json", "init", "--join", "/ip4/127.0.0.1/tcp/4811", "--join", &ticket]).expect(0).json();
    assert!(made["federation_id"].is_null());
    assert!(!dir.path().join("genesis").exists());
    let settings = run(dir.path(), &["config", "show", "--json"]).expect(0).json();
    assert_eq!(settings["network"]["join"], serde_json::json!(["/ip4/127.0.0.1/tcp/4811", ticket]));
}

#[test]
fn what_this_version_has_not_got_is_refused_by_name_before_anything_is_written() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("station");
    let refused = run(&dir, &["init", "--finality", "on"]).expect(2);
    assert!(refused.stderr.contains("this version") && refused.stderr.contains("finality"), "{refused:?}");
    assert!(!dir.exists());
}

#[test]
fn a_hybrid_federation_names_each_founder_with_the_hash_of_its_key() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (first, second) = (temporary.path().join("first"), temporary.path().join("second"));
    let other = run(&second, &["--json", "init"]).expect(0).json();
    let text = |member: &str| other[member].as_str().expect("a text").to_owned();
    let (id, hash) = (text("station_id"), text("ml_dsa_key_hash"));
    let [named, short] = [format!("{id}:{hash}"), format!("{id}:{}", &hash[1..])];
    for (arguments, remedy) in [
        (&["init", "--signatures", "hybrid", "--founder", &id][..], "PEER_ID:KEY_HASH"),
        (&["init", "--founder", &named], "--signatures hybrid"),
        (&["init", "--signatures", "hybrid", "--founder", &short], "64 hex digits"),
        (&["init", "--signatures", "slh"], "--signatures"),
    ] {
        let refused = run(&first, arguments).expect(2);
        assert!(refused.stderr.contains(remedy), "{refused:?}");
    }
    assert!(!first.exists());
    let made = run(&first, &["--json", "init", "--signatures", "hybrid", "--founder", &named]).expect(0).json();
    let genesis = std::fs::read(first.join("genesis")).expect("written");
    let parameters = Genesis::decode(&genesis).expect("a genesis").parameters;
    assert_eq!(parameters.signatures, SignatureScheme::Hybrid);
    let founders = parameters.founders.iter().map(|founder| {
        let hash = founder.ml_dsa_key_hash.map(hex::encode).expect("it is named with its key");
        (founder.station.to_string(), hash)
    });
    let own = (made["station_id"].as_str(), made["ml_dsa_key_hash"].as_str());
    let own = (own.0.expect("a text").to_owned(), own.1.expect("a text").to_owned());
    assert_eq!(founders.collect::<BTreeSet<_>>(), BTreeSet::from([own, (id, hash)]));
}

#[test]
fn wrong_usage_exits_2_and_names_the_field() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("station");
    let long = "x".repeat(129);
    for (arguments, field) in [
        (&["init", "--difficulty", "9"][..], "--difficulty"),
        (&["init", "--difficulty", "0"], "--difficulty"),
        (&["init", "--action", "upload"], "--action"),
        (&["init", "--action", "upload=2"], "--action"),
        (&["init", "--founder", "me"], "--founder"),
        (&["init", "--name", "a\nb"], "--name"),
        (&["init", "--join", "127.0.0.1:4811"], "--join"),
        (&["init", "--join", "/ip4/192.0.2.1/tcp/1", "--new-federation", "X"], "--new-federation"),
        (&["run", "--api-listen", "4810"], "--api-listen"),
        (&["run", "--listen", "0.0.0.0:1"], "--listen"),
        (&["record", "", "rating"], "USER"),
        (&["record", &long, "rating"], "USER"),
        (&["record", "user", "rat\u{7}ing"], "ACTION"),
        (&["record", "user"], "ACTION"),
        (&["record", "user", "rating", "--delta", "NaN"], "--delta"),
        (&["record", "user", "rating", "--delta", "-1.2"], "--delta"),
        (&["record", "user", "rating", "--timestamp", "yesterday"], "--timestamp"),
        (&["record", "user", "rating", "--from", "-"], "--from"),
        (&["content", "add", "c", "a", "--score", "1.2"], "--score"),
        (&["content", "add", "c", "a", "--score", "0.1234567"], "--score"),
        (&["content", "add", "c", "a", "--metadata", "[]"], "--metadata"),
        (&["content", "verify", "c", "a", "--times", "0"], "--times"),
        (&["content", "verify", "c"], "CREATOR"),
        (&["trust", "user", "u", "--station", "x"], "--station"),
        (&["trust", "user", "u", "--nodes", OTHER], "--global"),
        (&["trust", "user", "u", "--global", "--policy", "loudest"], "--policy"),
        (&["trust", "user", "u", "--at-least", "high"], "--at-least"),
        (&["chain", "block", "first"], "INDEX_OR_HASH"),
        (&["demo", "--stations", "21"], "--stations"),
        (&["doctor", "--accept-loss"], "--repair"),
        (&["--api", "https://x", "status"], "--api"),
    ] {
        let refused = run(&dir, arguments).expect(2);
        assert!(refused.stderr.contains(field), "{arguments:?}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{arguments:?}: {refused:?}");
    }
    assert!(!dir.exists());
}

#[test]
fn unknown_settings_are_all_reported_before_the_daemon_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("qfzz.toml"), "[api]\nlisen = 'x'\n[mining]\nintervall = '1h'\n").expect("written");
    for arguments in [&["run"][..], &["config", "check"], &["config", "show"]] {
        let refused = run(dir.path(), arguments).expect(2);
        for part in [
            "`api.lisen`",
            "did you mean `api.listen`?",
            "`mining.intervall`",
            "did you mean `mining.interval`?",
            "qfzz.toml",
        ] {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
    }
    assert_eq!(modes(dir.path()).keys().collect::<Vec<_>>(), ["qfzz.toml"]);
    let refused = qfzz(tempfile::tempdir().expect("a directory").path())
        .env("QFZZ_MINING_INTERVALL", "1h")
        .args(["config", "check"])
        .output()
        .expect("started");
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn settings_are_shown_nested_with_where_they_were_set() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = qfzz(dir.path())
        .env("QFZZ_API_LISTEN", "127.0.0.1:0")
        .args(["--json", "config", "show", "--origin"])
        .output()
        .expect("started");
    let settings = support::Ran::from(output).expect(0).json();
    assert_eq!(settings["api"]["listen"], serde_json::json!({ "value": "127.0.0.1:0", "origin": "QFZZ_API_LISTEN" }));
    assert_eq!(settings["sync"]["interval"]["origin"], "default");
    run(dir.path(), &["config", "check"]).expect(0);
}

#[test]
fn a_directory_with_a_history_but_no_key_is_not_made_another_station() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("journal")).expect("created");
    let refused = run(dir.path(), &["run"]).expect(1);
    assert!(refused.stderr.contains("journal") && refused.stderr.contains("no key"), "{refused:?}");
    assert!(!dir.path().join("key").exists());
}

#[test]
fn a_damaged_key_stops_the_daemon_with_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), &["init"]).expect(0);
    for name in ["key", "key.copy"] {
        std::fs::write(dir.path().join(name), "00").expect("written");
    }
    let refused = run(dir.path(), &["run"]).expect(1);
    assert!(refused.stderr.contains("key is damaged") && refused.stderr.contains("backup"), "{refused:?}");
}

#[test]
fn a_second_daemon_on_a_directory_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().expect("a directory");
    run(dir.path(), &["init"]).expect(0);
    // This process plays the first daemon.
    let locked = qfzz_node::data_dir::DataDir::new(dir.path()).lock().expect("free");
    let refused = run(dir.path(), &["run"]).expect(1);
    assert!(refused.stderr.contains(&format!("pid {}", std::process::id())), "{refused:?}");
    drop(locked);
}
