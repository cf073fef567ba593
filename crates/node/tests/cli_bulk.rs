//! `qfzz record --from` and `content --times`, against a fake daemon that stores every JSON object with a `kind`.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use support::{Fake, Reply, Request, qfzz, run_with_input};

/// Answers a bulk request as the contract says, numbering what it stores.
fn store(request: &Request, stored: &AtomicU64) -> Reply {
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/records/bulk"));
    assert_eq!(request.content_type.as_deref(), Some("application/x-ndjson"));
    assert!(request.body.len() <= 8 * 1024 * 1024 && request.token.is_some());
    let text = std::str::from_utf8(&request.body).expect("UTF-8");
    let mut body = String::new();
    for line in text.lines() {
        let answer = match serde_json::from_str::<Value>(line) {
            Ok(record) if record["kind"].is_string() => {
                json!({ "record_id": format!("S.0.{}", stored.fetch_add(1, Ordering::SeqCst)), "kind": record["kind"] })
            }
            Ok(_) => json!({ "code": "missing_field", "detail": "the field `kind` is missing: give one" }),
            Err(_) => json!({ "code": "not_json", "detail": "the line is not JSON" }),
        };
        body.push_str(&format!("{answer}\n"));
    }
    Reply { status: 200, body: body.into_bytes(), cut: false }
}

fn fake() -> Fake {
    let stored = AtomicU64::new(0);
    Fake::start(move |request| store(request, &stored))
}

const MIXED: &[u8] = b"{\"kind\":\"a\"}\n\nnot json\n{\"kind\":\"b\"}\r\n{}\n\xff\xfe\n{\"kind\":\"c\"}";

#[test]
fn good_lines_are_stored_and_bad_ones_named_with_number_and_reason() {
    let fake = fake();
    let ran = run_with_input(&fake.path(), &["record", "--from", "-"], MIXED).expect(1);
    assert_eq!(ran.stdout, "S.0.0\nS.0.1\nS.0.2\n");
    let expected = [
        "line 3: the line is not JSON [not_json]",
        "line 5: the field `kind` is missing: give one [missing_field]",
        "line 6: the line is not UTF-8: convert it [not_json]",
        "qfzz: 3 of 6 lines were not stored",
    ];
    assert_eq!(ran.stderr.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn with_json_every_line_has_its_place_in_one_array() {
    let fake = fake();
    let file = fake.path().join("records.ndjson");
    std::fs::write(&file, MIXED).expect("written");
    let results = fake.run(&["--json", "record", "--from", file.to_str().expect("UTF-8")]).expect(1).json();
    let lines: Vec<_> = results
        .as_array()
        .expect("an array")
        .iter()
        .map(|result| (result["line"].as_u64(), result["record_id"].as_str(), result["code"].as_str()))
        .collect();
    let expected = [
        (Some(1), Some("S.0.0"), None),
        (Some(3), None, Some("not_json")),
        (Some(4), Some("S.0.1"), None),
        (Some(5), None, Some("missing_field")),
        (Some(6), None, Some("not_json")),
        (Some(7), Some("S.0.2"), None),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn nothing_in_is_nothing_out() {
    let fake = fake();
    assert_eq!(run_with_input(&fake.path(), &["record", "--from", "-"], b"\n\n").expect(0).stdout, "");
    assert_eq!(run_with_input(&fake.path(), &["--json", "record", "--from", "-"], b"").expect(0).json(), json!([]));
    let missing = fake.run(&["record", "--from", "/nonexistent/file"]).expect(2);
    assert!(missing.stderr.contains("cannot read /nonexistent/file"), "{missing:?}");
    let directory = fake.run(&["record", "--from", "/"]).expect(2);
    assert!(directory.stderr.contains("cannot read /"), "{directory:?}");
    assert!(fake.asked().is_empty());
}

#[test]
fn many_lines_go_in_few_requests_and_come_back_in_order() {
    let fake = fake();
    let input: String = (0..35_592)
        .map(|n| {
            format!("{{\"kind\":\"content_verified\",\"content_id\":\"member_{n}\",\"creator_id\":\"member_{n}\"}}\n")
        })
        .collect();
    let file = fake.path().join("records");
    std::fs::write(&file, input).expect("written");
    let ran = fake.run(&["record", "--from", file.to_str().expect("UTF-8")]).expect(0);
    let expected: String = (0..35_592).map(|n| format!("S.0.{n}\n")).collect();
    assert!(ran.stdout == expected, "out of order, or not all: {} lines", ran.stdout.lines().count());
    // A slow machine says in between how far it is.
    let said: Vec<&str> = ran.stderr.lines().filter(|line| !line.starts_with("recording: ")).collect();
    assert!(said.len() == 1 && said[0].starts_with("35592 records stored in "), "{}", ran.stderr);
    assert_eq!(fake.asked().len(), 9, "chunks of 4,096 lines");
}

#[test]
fn a_slow_input_is_stored_as_it_comes() {
    let fake = fake();
    let mut child = qfzz(&fake.path())
        .args(["record", "--from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let mut ids = BufReader::new(child.stdout.take().expect("piped")).lines();
    for n in 0..3 {
        stdin.write_all(b"{\"kind\":\"a\"}\n").expect("written");
        // It answers although the input goes on; otherwise this would wait for ever.
        assert_eq!(ids.next().expect("a line").expect("read"), format!("S.0.{n}"));
    }
    drop(stdin);
    assert_eq!(child.wait().expect("ended").code(), Some(0));
}

#[test]
fn a_failure_in_the_middle_says_how_far_it_came() {
    let stored = AtomicU64::new(0);
    let fake = Fake::start(move |request| {
        if stored.load(Ordering::SeqCst) > 0 {
            return Reply { cut: true, ..Reply::ok(json!({})) };
        }
        store(request, &stored)
    });
    let input: String = "{\"kind\":\"a\"}\n".repeat(20_000);
    let ran = run_with_input(&fake.path(), &["record", "--from", "-"], input.as_bytes()).expect(4);
    let acknowledged = ran.stdout.lines().count();
    assert!(acknowledged > 0 && acknowledged < 20_000);
    let told = format!("{acknowledged} records before line {} are stored", acknowledged + 1);
    assert!(ran.stderr.contains(&told), "{told}: {}", ran.stderr);
}

#[test]
fn what_was_acknowledged_before_an_answer_broke_off_is_printed() {
    let fake = Fake::start(|_| Reply {
        status: 200,
        body: b"{\"record_id\":\"S.0.0\"}\n{\"code\":\"not_json\",\"detail\":\"x\"}\n{\"record_id\":\"S.".to_vec(),
        cut: true,
    });
    let file = fake.path().join("four");
    std::fs::write(&file, b"{\"kind\":\"a\"}\n".repeat(4)).expect("written");
    let ran = fake.run(&["record", "--from", file.to_str().expect("UTF-8")]).expect(4);
    assert_eq!(ran.stdout, "S.0.0\n");
    assert!(ran.stderr.contains("1 records before line 3 are stored"), "{ran:?}");
}

#[test]
fn a_busy_daemon_is_asked_again() {
    let (asked, stored) = (AtomicU64::new(0), AtomicU64::new(0));
    let fake = Fake::start(move |request| match asked.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Reply::problem(503, "busy", "too many bulk requests"),
        _ => store(request, &stored),
    });
    let ran = run_with_input(&fake.path(), &["record", "--from", "-"], b"{\"kind\":\"a\"}\n").expect(0);
    assert_eq!((ran.stdout.as_str(), fake.asked().len()), ("S.0.0\n", 3));
}

#[test]
fn a_refused_request_exits_1_and_an_answer_that_lacks_lines_is_noticed() {
    let refusing = Fake::start(|_| Reply::problem(401, "missing_token", "the token is missing"));
    let ran = run_with_input(&refusing.path(), &["record", "--from", "-"], b"{}\n").expect(1);
    assert!(ran.stderr.contains("[missing_token]"), "{ran:?}");
    assert!(ran.stdout.is_empty());
    let silent = Fake::start(|_| Reply { status: 200, body: Vec::new(), cut: false });
    let ran = run_with_input(&silent.path(), &["record", "--from", "-"], b"{}\n").expect(1);
    assert!(ran.stderr.contains("0 lines for 1 records") && ran.stderr.contains("look before"), "{ran:?}");
}

#[test]
fn content_can_be_recorded_several_times() {
    let fake = fake();
    let ran = fake.run(&["content", "verify", "c", "a", "--times", "5000"]).expect(0);
    assert_eq!(ran.stdout.lines().count(), 5000);
    let one = fake.run(&["--json", "content", "report", "c", "a", "--times", "1"]).expect(0).json();
    assert_eq!(one, json!([{ "record_id": "S.0.5000", "kind": "content_reported", "line": 1 }]));
    let first = fake.requests().remove(0);
    let line = first.body.split(|byte| *byte == b'\n').next().expect("a line");
    let record: Value = serde_json::from_slice(line).expect("JSON");
    assert_eq!(record, json!({ "kind": "content_verified", "content_id": "c", "creator_id": "a" }));
}
