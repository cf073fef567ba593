//! Two adapters against each other, through every command of the protocol (docs/peer-adapter.md).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// An adapter: a process that answers each line with one.
struct Peer {
    process: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peer-adapter"));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = piped.spawn().expect("the adapter starts");
        let lines = process.stdin.take().expect("it was asked for");
        let answers = BufReader::new(process.stdout.take().expect("it was asked for"));
        Self { process, lines, answers }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.lines, "{line}").expect("the adapter reads");
    }

    fn hear(&mut self) -> Value {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the adapter answers");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("no JSON: {error}: {answer:?}"))
    }

    fn ask(&mut self, command: Value) -> Value {
        self.say(&command.to_string());
        self.hear()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The numbers under `key`, as many as expected.
fn latencies(answer: &Value, count: usize) -> Vec<u64> {
    let found: Vec<u64> = answer["lat"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    assert_eq!(found.len(), count, "{answer}");
    found
}

#[test]
fn two_adapters_append_sync_part_and_send_to_each_other() {
    let dir = TempDir::new().expect("a directory");
    let (mut one, mut two) = (Peer::start(), Peer::start());
    assert_eq!(one.ask(json!({ "cmd": "version" }))["name"], "qfzz");
    let opened = one.ask(json!({ "cmd": "open", "dir": dir.path().join("one"), "key": "07".repeat(32) }));
    assert_eq!(opened["count"], 0, "{opened}");
    assert!(opened["open_s"].as_f64() > Some(0.0), "{opened}");
    let addr = opened["addr"].as_str().expect("an address").to_owned();
    assert_eq!(two.ask(json!({ "cmd": "open", "dir": dir.path().join("two") }))["count"], 0);

    let appended = one.ask(json!({ "cmd": "append", "start": 0, "n": 600, "batch": 256 }));
    assert!(appended["s"].as_f64() > Some(0.0), "{appended}");
    let appended = one.ask(json!({ "cmd": "append", "start": 600, "n": 3, "batch": 1 }));
    assert!(appended["s"].as_f64() > Some(0.0), "{appended}");
    let synced = two.ask(json!({ "cmd": "sync", "addr": addr, "count": 603 }));
    assert!(synced["s"].as_f64() > Some(0.0), "{synced}");
    latencies(&two.ask(json!({ "cmd": "get", "n": 50, "count": 603 })), 50);
    latencies(&one.ask(json!({ "cmd": "get", "n": 50, "count": 603 })), 50);

    // Sent one by one over the open connection: each is read at the other side, after it was appended.
    two.say(&json!({ "cmd": "live_recv", "start": 603, "n": 20 }).to_string());
    assert_eq!(one.ask(json!({ "cmd": "live_send", "start": 603, "n": 20, "gap_ms": 2 })), json!({}));
    let live = latencies(&two.hear(), 20);
    assert!(live.iter().all(|micros| (1..60_000_000).contains(micros)), "{live:?}");

    // Apart, the one appends; the other has it when it syncs again, and not before.
    assert_eq!(two.ask(json!({ "cmd": "disconnect" })), json!({}));
    one.ask(json!({ "cmd": "append", "start": 623, "n": 77, "batch": 77 }));
    let unread = two.ask(json!({ "cmd": "get", "n": 200, "count": 700 }));
    assert!(unread["error"].is_string(), "{unread}");
    let synced = two.ask(json!({ "cmd": "sync", "addr": addr, "count": 700 }));
    assert!(synced["s"].as_f64() > Some(0.0), "{synced}");
    latencies(&two.ask(json!({ "cmd": "get", "n": 200, "count": 700 })), 200);

    assert!(two.ask(json!({ "cmd": "rss" }))["rss_mb"].as_f64() > Some(1.0));
    two.say(r#"{"cmd":"quit"}"#);
    let mut rest = String::new();
    assert_eq!(two.answers.read_line(&mut rest).expect("the end can be read"), 0, "{rest}");
    assert!(two.process.wait().expect("it can be waited for").success());

    // What was acknowledged is there when it is opened again, by another process.
    let mut again = Peer::start();
    let opened = again.ask(json!({ "cmd": "open", "dir": dir.path().join("two") }));
    assert_eq!(opened["count"], 700, "{opened}");
}

#[test]
fn a_bad_line_is_answered_with_an_error_and_the_next_one_as_ever() {
    let mut peer = Peer::start();
    let bad = [
        "not json",
        "[]",
        "{}",
        r#"{"cmd":7}"#,
        r#"{"cmd":"fly"}"#,
        r#"{"cmd":"open"}"#,
        r#"{"cmd":"append","start":0,"n":1,"batch":1}"#,
        r#"{"cmd":"rss","cmd":"open","dir":"/proc/none"}"#,
    ];
    for line in bad {
        peer.say(line);
        let answer = peer.hear();
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}: {answer}");
    }
    let dir = TempDir::new().expect("a directory");
    assert_eq!(peer.ask(json!({ "cmd": "open", "dir": dir.path() }))["count"], 0);
    for (line, named) in [
        (json!({ "cmd": "append", "start": 0, "n": 1, "batch": 0 }), "batch"),
        (json!({ "cmd": "append", "start": 0, "n": 1, "batch": 257 }), "batch"),
        (json!({ "cmd": "append", "start": -1, "n": 1, "batch": 1 }), "start"),
        (json!({ "cmd": "get", "n": 1, "count": 1 }), "entry 0"),
        (json!({ "cmd": "sync", "addr": "nowhere", "count": 1 }), "address"),
    ] {
        let answer = peer.ask(line.clone());
        assert!(answer["error"].as_str().is_some_and(|error| error.contains(named)), "{line}: {answer}");
    }
    assert_eq!(peer.ask(json!({ "cmd": "version" }))["name"], "qfzz");
}
