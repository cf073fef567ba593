//! What an operator sees: one screen, logs, results for programs, exit codes, and what a slip is answered with.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use qfzz_tests::harness::{Daemon, Finished, Recipe, beside_others, qfzz, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(20);

/// Within which stations find each other again after a restart.
const FOUND_AGAIN: Duration = Duration::from_secs(15);

/// Nobody has this key.
const STRANGER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

/// A place of a record that nobody has.
const RECORD: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X.17.3";

fn wait_for_peers(station: &Daemon, count: u64, deadline: Duration) {
    wait_for(&format!("{} has {count} peers", station.name()), deadline, || {
        let status = station.api().get("/v1/status");
        if status["peers"] == count && status["synced"] == true { Ok(()) } else { Err(status.to_string()) }
    });
}

/// The names that stand before the colons of a screen, in order.
fn labels(screen: &str) -> Vec<&str> {
    screen.lines().filter_map(|line| line.split_once(':')).map(|(label, _)| label).collect()
}

/// What stands behind `label` on a screen.
#[track_caller]
fn value<'a>(screen: &'a str, label: &str) -> &'a str {
    let found = screen.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no `{label}` in:\n{screen}")).trim()
}

#[test]
fn status_and_peers_are_one_screen_each_with_the_problem_and_its_remedy_first() {
    let _turn = beside_others();
    let north = Recipe::new("north").found("Harbour Radio", &[]);
    let mut south = Recipe::new("south").join(&north.address());
    wait_for_peers(&north, 1, PATIENCE);
    let id = north.qfzz(&["record", "user_001", "interaction"]).exits(0).stdout;
    north.qfzz(&["mine"]).exits(0);
    north.qfzz(&["content", "verify", "track_001", "artist_001"]).exits(0);

    let screen = north.qfzz(&["status"]).exits(0).stdout;
    let order = [
        "station",
        "federation",
        "signatures",
        "key hash",
        "head",
        "records",
        "pending",
        "peers",
        "mining",
        "disk",
        "uptime",
        "version",
        "listens on",
    ];
    assert_eq!(labels(&screen), order, "{screen}");
    assert_eq!(value(&screen, "station"), format!("{} (north)", north.station()));
    let status = north.api().get("/v1/status");
    let federation = status["federation_id"].as_str().expect("it has one");
    assert_eq!(value(&screen, "federation"), format!("{federation} (Harbour Radio)"));
    let head = status["head"]["hash"].as_str().expect("a hash");
    assert_eq!(value(&screen, "head"), format!("1 {}", &head[..12]));
    for (label, expected) in [
        ("records", "1 on the chain"),
        ("pending", "1 record"),
        ("peers", "1 connected, caught up"),
        ("mining", "only when asked: qfzz mine"),
    ] {
        assert_eq!(value(&screen, label), expected, "{screen}");
    }
    assert!(value(&screen, "disk").contains("iB of data, ") && value(&screen, "disk").ends_with("iB free"), "{screen}");
    assert!(value(&screen, "uptime").ends_with(" s"), "{screen}");

    let table = north.qfzz(&["peers"]).exits(0).stdout;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["PEER", "NAME", "HEAD", "SINCE", "ADDRESS"]);
    assert!(rows.len() == 2 && rows[1][0] == south.station(), "{table}");

    // What a screen shows short is understood as it stands, and what a block shows of a record is whole.
    let block = north.qfzz(&["chain", "block", &head[..12]]).exits(0).stdout;
    assert_eq!(value(&block, "hash"), head);
    assert!(block.lines().any(|line| line.trim_end().ends_with(id.trim())), "{id} whole in:\n{block}");
    assert_eq!(north.qfzz(&["chain", "block", "latest"]).exits(0).stdout, block);
    assert_eq!(north.qfzz(&["chain", "latest"]).exits(0).stdout, block);

    south.kill();
    wait_for("north misses south", PATIENCE, || {
        let screen = north.qfzz(&["status"]).exits(0).stdout;
        let is_told = screen.starts_with("PROBLEM  no other station is connected") && {
            let remedy = screen.lines().nth(1).unwrap_or_default();
            remedy.starts_with("  remedy ") && remedy.contains("qfzz join")
        };
        if is_told && value(&screen, "peers") == "none connected" { Ok(()) } else { Err(screen) }
    });
    let lonely = north.qfzz(&["peers"]).exits(0).stdout;
    assert!(lonely.starts_with("PROBLEM  no other station is connected\n  remedy "), "{lonely}");
    println!("{screen}\n{table}\n{lonely}");
}

/// What is behind `command` when it is asked for JSON: exactly one value on standard output.
#[track_caller]
fn json_of(station: &Daemon, command: &[&str], input: &str) -> Value {
    let arguments = [&["--json"], command].concat();
    station.qfzz_reading(&arguments, input).exits(0).json()
}

#[test]
fn every_command_prints_one_json_value_and_nothing_else_when_asked_to() {
    let _turn = beside_others();
    let north = Recipe::new("north").found("everything", &[]);
    let south = Recipe::new("south").join(&north.address());
    wait_for_peers(&south, 1, PATIENCE);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let place = |name: &str| elsewhere.path().join(name).to_str().expect("UTF-8").to_owned();
    let (export, man, address) = (place("chain.json"), place("man"), north.address());
    let (proof, music) = (place("proof.json"), place("music"));
    std::fs::write(&music, "some music").expect("the directory can be written");
    let license = ["--license", "MIT", "--quality", "0.7"];
    let register = [&["dataset", "register", &music, "--id", "ds_001", "--name", "n"], &license[..]].concat();
    // Each row runs twice, and a dataset is registered once.
    south.qfzz(&register).exits(0);
    // A record that is on the chain when its row comes.
    let record = south.qfzz(&["record", "user_001", "connection"]).exits(0).stdout.trim().to_owned();
    let line = "{\"kind\":\"content_verified\",\"content_id\":\"track_001\",\"creator_id\":\"artist_001\"}\n";
    let table: &[(&[&str], &str)] = &[
        (&["status"], ""),
        (&["peers"], ""),
        (&["station", "list"], ""),
        (&["ticket"], ""),
        (&["join", &address], ""),
        (&["record", "user_001", "rating"], ""),
        (&["record", "--from", "-"], line),
        (&["record", "--from", "-"], ""),
        (&["content", "add", "track_001", "artist_001"], ""),
        (&["content", "add", "track_001", "artist_001", "--score", "0.7"], ""),
        (&["content", "verify", "track_001", "artist_001"], ""),
        (&["content", "verify", "track_001", "artist_001", "--times", "3"], ""),
        (&["content", "report", "track_001", "artist_001"], ""),
        (&["content", "show", "track_001", "artist_001"], ""),
        (&["dataset", "verify", "ds_001", &music], ""),
        (&["dataset", "rate", "ds_001", "0.8", "--user", "user_001"], ""),
        (&["dataset", "show", "ds_001"], ""),
        (&["dataset", "list"], ""),
        (&["trust", "dataset", "ds_001", "--explain"], ""),
        (&["trust", "user", "user_001"], ""),
        (&["trust", "user", "user_001", "--global", "--nodes", STRANGER], ""),
        (&["trust", "content", "track_001", "artist_001", "--station", STRANGER], ""),
        (&["trust", "creator", "artist_001", "--at-least", "0.1"], ""),
        (&["mine"], ""),
        (&["mine"], ""),
        (&["chain", "stats"], ""),
        (&["chain", "verify"], ""),
        (&["chain", "latest"], ""),
        (&["chain", "block", "0"], ""),
        (&["chain", "block", "latest"], ""),
        (&["duties"], ""),
        (&["duties", "--explain", &record], ""),
        (&["chain", "proof", &record], ""),
        (&["chain", "proof", &record, &proof], ""),
        (&["chain", "verify-proof", &proof], ""),
        (&["trust", "user", "user_001", "--explain"], ""),
        (&["chain", "export"], ""),
        (&["chain", "export", &export], ""),
        (&["chain", "import", &export], ""),
        (&["trust", "filter", "-", "--at-least", "0.1"], line),
        (&["sync"], ""),
        (&["sync", &address], ""),
        (&["quantum", "status"], ""),
        (&["quantum", "int", "16"], ""),
        (&["quantum", "bytes", "32"], ""),
        (&["quantum", "nonce"], ""),
        (&["config", "show"], ""),
        (&["config", "show", "--origin"], ""),
        (&["config", "check"], ""),
        (&["man", &man], ""),
    ];
    for (command, input) in table {
        let value = json_of(&south, command, input);
        assert!(value.is_object() || value.is_array(), "{command:?}: {value}");
        // The flag may stand behind the command as well.
        let behind = south.qfzz_reading(&[command, &["--json"][..]].concat(), input).exits(0);
        behind.json();
        assert!(!behind.stderr.contains("stored in"), "a program that reads JSON needs no totals: {behind:?}");
    }
    let init = qfzz(&elsewhere.path().join("new")).args(["--json", "init"]).output().expect("started");
    serde_json::from_slice::<Value>(&init.stdout).expect("one JSON value");

    // Those of the help that stand in no row print no result, or have a test of their own.
    let tried: BTreeSet<&str> = table.iter().map(|(command, _)| command[0]).collect();
    let others = ["init", "run", "demo", "testify", "completions", "doctor", "help"];
    let help = south.qfzz(&["help"]).exits(0).stdout;
    let groups = help.split("Global options:").next().expect("a part");
    let listed = groups.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let untried: Vec<&str> = listed.filter(|name| !tried.contains(name) && !others.contains(name)).collect();
    assert!(untried.is_empty(), "not tried with --json: {untried:?}");
    println!("{} commands print one JSON value", table.len() + 1);
}

#[test]
fn every_failure_has_the_exit_code_of_its_kind_and_a_sentence() {
    let _turn = beside_others();
    let mut north = Recipe::new("north").found("strict", &[]);
    let other = Recipe::new("other").found("another", &[]);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let file = elsewhere.path().join("file");
    fs::write(&file, "nonsense\n").expect("written");
    let file = file.to_str().expect("UTF-8").to_owned();
    let (below_file, foreign, unknown) = (format!("{file}/deeper"), other.address(), "0".repeat(64));
    let (missing, unknown_record) = (format!("{file}.missing"), format!("{STRANGER}.0.0"));
    let cases: &[(i32, &[&str], &[&str])] = &[
        // Failed, or refused.
        (1, &["init"], &["holds a station already", "--data-dir"]),
        (1, &["run"], &["in use by the daemon with pid"]),
        (1, &["join", &foreign], &["`another`", "other_federation"]),
        (1, &["join", "/ip4/127.0.0.1/tcp/1"], &["cannot be reached", "check the address"]),
        (1, &["join", "/dns4/nobody.invalid/tcp/4811"], &["cannot be reached"]),
        (1, &["record", "--from", &file], &["line 1: ", "1 of 1 lines were not stored"]),
        (1, &["chain", "export", &below_file], &["cannot write", &below_file]),
        (1, &["man", &below_file], &["cannot write", &below_file]),
        // Wrong usage or configuration, or wrong in itself.
        (2, &["recrod"], &["record"]),
        (2, &["record", "user_001", "interactoin"], &["did you mean `interaction`?", "rating"]),
        (2, &["record", "user_001", "dance"], &["use one of", "interaction"]),
        (2, &["record", "--from", &missing], &["cannot read", &missing]),
        (2, &["record", "--from", "/"], &["cannot read /", "directory"]),
        (2, &["--api", "garbage", "status"], &["`garbage`", "127.0.0.1:4810"]),
        (2, &["join", "radio.example"], &["qfzz1"]),
        (2, &["sync", "radio.example"], &["bad_address"]),
        (2, &["chain", "block", "00ff8"], &["first 6 to 64 hex digits"]),
        (2, &["chain", "block", "newest"], &["`latest`"]),
        (2, &["completions", "tcsh"], &["bash"]),
        // Not found.
        (3, &["chain", "block", "99"], &["no block `99`", "qfzz chain latest"]),
        (3, &["chain", "block", &unknown], &["no block"]),
        (3, &["chain", "block", "ffffff"], &["no block `ffffff`"]),
        (3, &["chain", "proof", &unknown_record], &["record"]),
        (3, &["sync", STRANGER], &["not connected", "qfzz peers"]),
        // Not verified.
        (5, &["trust", "user", "user_001", "--at-least", "0.9"], &["0.5 is below 0.9"]),
        (5, &["chain", "verify-proof", &file], &[]),
    ];
    let check = |station: &Daemon, code: i32, command: &[&str], parts: &[&str]| {
        let failed = station.qfzz(command).exits(code);
        for part in parts {
            assert!(failed.stderr.contains(part), "{part:?} for {command:?}: {failed:?}");
        }
        for route in ["/v1/", "Query {", "Err("] {
            assert!(!failed.stderr.contains(route), "{route:?} is no word for an operator: {failed:?}");
        }
    };
    for (code, command, parts) in cases {
        check(&north, *code, command, parts);
    }
    // No federation yet: nobody answers where this station is to join.
    // It listens only once it has joined, so this port is never taken.
    let waiting = Recipe::new("waiting").listen("/ip4/127.0.0.1/tcp/4811").join("/ip4/127.0.0.1/tcp/1");
    for command in
        [&["record", "u", "rating"][..], &["ticket"], &["mine"], &["chain", "stats"], &["trust", "user", "u"]]
    {
        check(&waiting, 1, command, &["no federation yet", "qfzz join"]);
    }
    let screen = waiting.qfzz(&["status"]).exits(0).stdout;
    assert!(screen.starts_with("PROBLEM  ") && screen.contains("nobody answers at /ip4/127.0.0.1/tcp/1"), "{screen}");
    assert_eq!(value(&screen, "federation"), "none yet");
    // No daemon: every command that asks one.
    north.kill();
    let asking: &[&[&str]] = &[
        &["status"],
        &["peers"],
        &["ticket"],
        &["join", &foreign],
        &["record", "u", "rating"],
        &["record", "--from", &file],
        &["content", "add", "c", "a"],
        &["content", "verify", "c", "a"],
        &["content", "report", "c", "a"],
        &["content", "show", "c", "a"],
        &["trust", "user", "u"],
        &["trust", "content", "c", "a"],
        &["trust", "creator", "a"],
        &["duties"],
        &["duties", "--explain", RECORD],
        &["testify", RECORD, "agree"],
        &["mine"],
        &["chain", "stats"],
        &["chain", "verify"],
        &["chain", "latest"],
        &["chain", "block", "0"],
        &["chain", "export"],
        &["sync"],
    ];
    for command in asking {
        check(&north, 4, command, &["qfzz run --data-dir"]);
    }
    // Settings: said to people on standard error, to programs also on standard output.
    let mut command = north.command();
    command.env("QFZZ_MINING_INTERVALL", "1h").env("QFZZ_VERIFY_FOLDERS", "music").env("QFZZ_APIX", "x");
    command.args(["--json", "config", "check"]);
    let checked = Finished::run(command, "").exits(2);
    let (told, value) = (checked.stderr.clone(), checked.json());
    assert_eq!((&value["ok"], value["problems"].as_array().map(Vec::len)), (&Value::Bool(false), Some(3)), "{value}");
    for part in ["did you mean `QFZZ_MINING_INTERVAL`?", "`music` is not an absolute path", "`QFZZ_API`?"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    println!("{} failures", cases.len() + asking.len() + 1);
}

/// The lines of a log, each of which must be a JSON object with level and message.
#[track_caller]
fn objects(log: &str) -> Vec<Value> {
    let parse = |line: &str| -> Value {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\nin:\n{log}"));
        assert!(value["level"].is_string() && value["fields"]["message"].is_string(), "{line}");
        value
    };
    log.lines().map(parse).collect()
}

fn wait_until_it_serves(data_dir: &Path) {
    wait_for("it serves", PATIENCE, || {
        if data_dir.join("api.addr").exists() { Ok(()) } else { Err("no api.addr yet".to_owned()) }
    });
}

/// Starts `qfzz run` on an empty directory, waits until it serves, asks it to stop, and returns what it printed.
fn run_briefly(data_dir: &Path, variables: &[(&str, &str)], flags: &[&str]) -> Finished {
    let mut command = qfzz(data_dir);
    command.envs(variables.iter().copied()).args(flags);
    command.args(["run", "--listen", "/ip4/127.0.0.1/tcp/0", "--api-listen", "127.0.0.1:0"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    wait_until_it_serves(data_dir);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("an own child can be signalled");
    let ended = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (stdout, stderr) = (text(ended.stdout), text(ended.stderr));
    Finished { command: format!("{command:?}"), code: ended.status.code(), stdout, stderr }
}

#[test]
fn a_log_in_json_is_one_object_a_line_from_the_first_line_to_the_last() {
    let _turn = beside_others();
    let home = tempfile::tempdir().expect("a directory");
    let json = [("QFZZ_LOG_FORMAT", "json"), ("QFZZ_SOMETHING", "else")];
    let ran = run_briefly(&home.path().join("one"), &json, &["--json"]).exits(0);
    let messages: Vec<String> = objects(&ran.stderr)
        .iter()
        .map(|line| line["fields"]["message"].as_str().unwrap_or_default().to_owned())
        .collect();
    for part in ["QFZZ_SOMETHING", "made station", "store open", "listening", "stopping", "stopped"] {
        assert!(messages.iter().any(|message| message.contains(part)), "{part}: {messages:?}");
    }
    assert!(messages[0].contains("QFZZ_SOMETHING") && messages.last().is_some_and(|last| last == "stopped"));
    assert!(ran.json()["station_id"].is_string());

    // A start that fails is told as an object, too.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = qfzz(&home.path().join("two"));
    command.env("QFZZ_LOG_FORMAT", "json").args(["run", "--listen", "/ip4/127.0.0.1/tcp/0", "--api-listen", &address]);
    let failed = Finished::run(command, "").exits(1);
    let last = objects(&failed.stderr).pop().expect("it says why");
    assert_eq!(last["level"], "ERROR");
    assert!(last["fields"]["message"].as_str().is_some_and(|why| why.contains(&address)), "{last}");
}

#[test]
fn flags_go_before_rust_log_and_that_before_the_settings() {
    let _turn = beside_others();
    let home = tempfile::tempdir().expect("a directory");
    let levels = |name: &str, variables: &[(&str, &str)], flags: &[&str]| {
        let ran = run_briefly(&home.path().join(name), variables, flags).exits(0);
        let word = |line: &str| line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        ran.stderr.lines().map(word).collect::<BTreeSet<String>>()
    };
    let has = |levels: &BTreeSet<String>, level: &str| levels.contains(level);
    let plain = levels("plain", &[], &[]);
    assert!(has(&plain, "INFO") && !has(&plain, "DEBUG"), "{plain:?}");
    assert!(levels("quiet", &[], &["-qq"]).is_empty());
    assert!(levels("rust", &[("RUST_LOG", "error"), ("QFZZ_LOG_LEVEL", "debug")], &[]).is_empty());
    assert!(has(&levels("setting", &[("QFZZ_LOG_LEVEL", "trace"), ("RUST_LOG", "")], &[]), "TRACE"));
    assert!(has(&levels("flag", &[("RUST_LOG", "error")], &["-vv"]), "TRACE"));
    let mut command = qfzz(&home.path().join("wrong"));
    command.env("RUST_LOG", "qfzz=loud=1").arg("run");
    assert!(Finished::run(command, "").exits(2).stderr.contains("RUST_LOG"));
}

#[test]
fn a_taken_port_is_refused_with_the_flag_that_helps_and_how_to_find_the_other_program() {
    let _turn = beside_others();
    let first = Recipe::new("first").found("first", &[]);
    let second = Recipe::new("second").prepare();
    let api = first.api().url().trim_start_matches("http://").to_owned();
    let (libp2p, port) =
        (first.address(), |address: &str| address.rsplit([':', '/']).next().expect("a port").to_owned());
    for (listen, api_listen, flag, taken) in [
        (libp2p.as_str(), "127.0.0.1:0", "--listen", port(&libp2p)),
        ("/ip4/127.0.0.1/tcp/0", api.as_str(), "--api-listen", port(&api)),
    ] {
        let refused = second.qfzz(&["run", "--listen", listen, "--api-listen", api_listen]).exits(1);
        for part in [flag, "ss -lntup", &taken] {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
    }
}

#[test]
fn a_daemon_beyond_loopback_and_one_that_does_not_answer_yet_are_told_apart_from_none() {
    let _turn = beside_others();
    let station = Recipe::new("wide").prepare();
    station.qfzz(&["init", "--name", "wide", "--new-federation", "wide", "--difficulty", "1", "--yes"]).exits(0);
    let run = |more: &[&str]| {
        let mut command = station.command();
        command.args(["run", "--listen", "/ip4/127.0.0.1/tcp/0"]).args(more).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")
    };
    let end = |mut child: Child| {
        kill_process(Pid::from_child(&child), Signal::TERM).expect("an own child can be signalled");
        assert!(child.wait().expect("it ends").success());
    };
    let daemon = run(&["--api-listen", "0.0.0.0:0"]);
    wait_until_it_serves(station.data_dir());
    for command in [&["status"][..], &["peers"], &["chain", "stats"], &["chain", "export"], &["trust", "user", "u"]] {
        station.qfzz(command).exits(0);
    }
    fs::rename(station.data_dir().join("api.token"), station.data_dir().join("hidden")).expect("ours");
    let refused = station.qfzz(&["status"]).exits(1);
    assert!(refused.stderr.contains("token"), "{refused:?}");
    end(daemon);

    let daemon = run(&["--api-listen", "127.0.0.1:0", "--join", "/ip4/127.0.0.1/tcp/1"]);
    let starts = format!("process {} has the data directory and does not answer yet", daemon.id());
    wait_for("it is seen to start", PATIENCE, || {
        let refused = station.qfzz(&["status"]).exits(4);
        if refused.stderr.contains(&starts) { Ok(()) } else { Err(refused.stderr) }
    });
    end(daemon);
    let refused = station.qfzz(&["status"]).exits(4);
    assert!(refused.stderr.contains("no daemon runs on"), "{refused:?}");
}

#[test]
fn a_station_that_joined_later_finds_its_federation_again_after_a_restart() {
    let _turn = beside_others();
    let mut north = Recipe::new("north").found("again", &[]);
    let mut south = Recipe::new("south").prepare();
    south.start();
    let refused = south.qfzz(&["sync", &north.station()]).exits(3);
    assert!(refused.stderr.contains("qfzz join"), "{refused:?}");
    south.qfzz(&["join", &north.address()]).exits(0);
    wait_for_peers(&south, 1, PATIENCE);
    assert_eq!(south.qfzz(&["config", "show", "--json"]).exits(0).json()["network"]["join"], serde_json::json!([]));
    // The one that joined, then the one that was joined: each finds the other by what it remembers.
    for station in [&mut south, &mut north] {
        station.signal(Signal::TERM, Duration::from_secs(5));
        station.start();
        wait_for_peers(station, 1, FOUND_AGAIN);
        assert_eq!(station.api().get("/v1/status")["federation"], "again");
    }
}

#[test]
fn who_records_while_the_station_asks_for_its_own_log_is_told_so() {
    let _turn = beside_others();
    let mut north = Recipe::new("north").found("patient", &[]);
    let mut south = Recipe::new("south").join(&north.address());
    wait_for_peers(&north, 1, PATIENCE);
    south.signal(Signal::TERM, Duration::from_secs(5));
    north.signal(Signal::TERM, Duration::from_secs(5));
    north.start();
    let word = "it asks its peers for this station's own log first";
    let waited = north.qfzz(&["record", "user_001", "rating"]).exits(0);
    assert_eq!(waited.stdout.lines().count(), 1, "{waited:?}");
    assert!(waited.stderr.contains(word), "{waited:?}");
    let at_once = north.qfzz(&["record", "user_001", "rating"]).exits(0);
    assert!(!at_once.stderr.contains(word), "{at_once:?}");
}

#[test]
fn adding_content_once_more_says_what_it_changes_and_named_strangers_are_called_so() {
    let _turn = beside_others();
    let station = Recipe::new("twice").found("twice", &[]);
    let add = |more: &[&str]| station.qfzz(&[&["content", "add", "track_001", "artist_001"], more].concat()).exits(0);
    assert_eq!(add(&["--metadata", "{\"tags\":[\"original\"]}"]).stderr, "");
    let reset = add(&[]);
    for part in ["was added before", "{\"tags\":[\"original\"]}", "metadata {}", "reset"] {
        assert!(reset.stderr.contains(part), "{part}: {reset:?}");
    }
    assert_eq!(reset.stdout.lines().count(), 1, "{reset:?}");
    assert!(add(&[]).stderr.contains("stays initial score 0.5 and metadata {}"));
    let asked = station.qfzz(&["trust", "user", "user_001", "--global", "--nodes", STRANGER]).exits(0);
    assert!(asked.stderr.contains(&format!("{STRANGER} takes no part in this federation")), "{asked:?}");
    let own = station.station();
    assert_eq!(station.qfzz(&["trust", "user", "user_001", "--global", "--nodes", &own]).exits(0).stderr, "");
}
