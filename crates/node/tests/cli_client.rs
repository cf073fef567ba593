//! The commands that ask the daemon, against a fake one.

mod support;

use std::io::Read;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use support::{Fake, Reply, qfzz, run, ticket};

const STATION: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

fn score(score: f64) -> Value {
    json!({ "score": score, "confirmed_score": 0.5, "band": "neutral", "evidence": 2, "pending": 1, "head": { "index": 3, "hash": "00".repeat(32) } })
}

#[test]
fn without_a_daemon_every_question_exits_4_and_says_how_to_start_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let questions: [&[&str]; 10] = [
        &["status"],
        &["peers"],
        &["ticket"],
        &["join", "/ip4/192.0.2.1/tcp/4811"],
        &["record", "u", "rating"],
        &["record", "--from", "-"],
        &["content", "show", "c", "a"],
        &["trust", "user", "u"],
        &["mine"],
        &["chain", "stats"],
    ];
    let start = format!("qfzz run --data-dir {}", dir.path().display());
    for arguments in questions {
        let failed = run(dir.path(), arguments).expect(4);
        assert!(failed.stdout.is_empty() && failed.stderr.contains(&start), "{arguments:?}: {failed:?}");
    }
    // One that was killed left its address.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    std::fs::write(dir.path().join("api.addr"), format!("{port}\n")).expect("written");
    let failed = run(dir.path(), &["status"]).expect(4);
    assert!(failed.stderr.contains(&start) && failed.stderr.contains(&port.to_string()), "{failed:?}");
}

#[test]
fn reads_show_no_token_and_writes_do() {
    let fake = Fake::start(|request| match request.method.as_str() {
        "GET" => Reply::ok(score(0.5)),
        _ => Reply::ok(json!({ "record_id": "X.0.0" })),
    });
    fake.run(&["trust", "user", "u"]).expect(0);
    fake.run(&["record", "u", "rating"]).expect(0);
    let tokens: Vec<_> = fake.requests().into_iter().map(|request| request.token).collect();
    assert_eq!(tokens, [None, Some(format!("Bearer {}", "ab".repeat(32)))]);
}

#[test]
fn each_request_is_told_of_where_more_is_to_be_logged() {
    let fake = Fake::start(|_| Reply::ok(json!({ "ticket": "t" })));
    let told = fake.run(&["ticket", "-v"]).expect(0);
    assert!(told.stderr.contains("GET http://") && told.stderr.contains("/v1/ticket: 200 OK after "), "{told:?}");
    assert!(!fake.run(&["ticket"]).expect(0).stderr.contains("GET"));
}

#[test]
fn the_address_can_be_given_by_flag_or_environment() {
    let fake = Fake::start(|_| Reply::ok(json!({ "ticket": "t" })));
    let address = std::fs::read_to_string(fake.path().join("api.addr")).expect("read").trim().to_owned();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let by_flag = run(elsewhere.path(), &["ticket", "--api", &format!("http://{address}")]).expect(0);
    assert_eq!(by_flag.stdout, "t\n");
    let by_variable = qfzz(elsewhere.path()).env("QFZZ_API", &address).arg("ticket").output().expect("started");
    assert_eq!(by_variable.status.code(), Some(0));
}

#[test]
fn a_refusal_is_shown_with_its_detail_and_code_and_404_is_not_found() {
    let fake = Fake::start(|request| match request.target.as_str() {
        "/v1/chain/blocks/99" => Reply::problem(404, "unknown_block", "no block has the index 99"),
        "/v1/records" => {
            Reply::problem(422, "wrong_delta", "the field `trust_delta` is 0.5: give 0.03, or leave it out")
        }
        "/v1/mine" => Reply::problem(401, "wrong_token", "the token is wrong"),
        "/v1/chain" => Reply::ok(json!({ "total_records": 0, "pending_records": 1 })),
        _ => Reply { status: 404, body: b"<html>some other server</html>".to_vec(), cut: false },
    });
    let refused = fake.run(&["--json", "record", "u", "rating", "--delta", "0.5"]).expect(2);
    assert!(refused.stderr.contains("`trust_delta`") && refused.stderr.contains("[wrong_delta]"), "{refused:?}");
    assert!(refused.stdout.is_empty());
    let missing = fake.run(&["chain", "block", "99"]).expect(3);
    assert!(missing.stderr.contains("no block has the index 99"), "{missing:?}");
    let unknown = fake.run(&["mine"]).expect(1);
    assert!(unknown.stderr.contains("api.token"), "{unknown:?}");
    let other = fake.run(&["status"]).expect(1);
    assert!(other.stderr.contains("is not a QFZZ daemon"), "{other:?}");
}

#[test]
fn a_record_is_sent_as_it_was_given_and_what_was_left_out_is_left_out() {
    let fake =
        Fake::start(|_| Reply { status: 201, ..Reply::ok(json!({ "record_id": "X.0.0", "status": "pending" })) });
    let plain = fake.run(&["record", "user 1", "rating"]).expect(0);
    assert_eq!((plain.stdout.as_str(), plain.stderr.as_str()), ("X.0.0\n", ""));
    let full = [
        "--json",
        "record",
        "u",
        "rating",
        "--target",
        "dj",
        "--delta",
        "-0.000001",
        "--timestamp",
        "2026-01-25T11:00:00+01:00",
    ];
    assert_eq!(fake.run(&full).expect(0).json(), json!({ "record_id": "X.0.0", "status": "pending" }));
    fake.run(&["content", "add", "c", "a", "--score", "0.54", "--metadata", r#"{"tags":["x"]}"#]).expect(0);
    fake.run(&["content", "report", "c", "a"]).expect(0);
    let posts = fake.requests().into_iter().filter(|request| request.method == "POST");
    let sent: Vec<Value> = posts.map(|request| request.json()).collect();
    let expected = [
        json!({ "kind": "user_action", "user_id": "user 1", "action": "rating" }),
        json!({ "kind": "user_action", "user_id": "u", "action": "rating", "target": "dj", "trust_delta": -0.000001, "timestamp": "2026-01-25T10:00:00.000Z" }),
        json!({ "kind": "content_added", "content_id": "c", "creator_id": "a", "initial_score": 0.54, "metadata": { "tags": ["x"] } }),
        json!({ "kind": "content_reported", "content_id": "c", "creator_id": "a" }),
    ];
    assert_eq!(sent, expected);
}

#[test]
fn trust_is_asked_by_encoded_id_and_the_threshold_decides_the_exit_code() {
    let fake = Fake::start(|_| Reply::ok(score(0.54)));
    let shown = fake.run(&["trust", "user", "a/b ?ä"]).expect(0);
    assert!(shown.stdout.starts_with("score:     0.54\nband:      neutral\n"), "{shown:?}");
    fake.run(&["trust", "creator", "a", "--station", STATION, "--at-least", "0.54"]).expect(0);
    let below = fake.run(&["--json", "trust", "content", "c&d", "a", "--at-least", "0.540001"]).expect(5);
    assert_eq!(below.json()["score"], 0.54, "the answer is printed all the same");
    assert!(below.stderr.contains("0.54 is below 0.540001"), "{below:?}");
    fake.run(&["content", "show", "c", "a"]).expect(0);
    let asked = [
        "GET /v1/trust/users/a%2Fb%20%3F%C3%A4".to_owned(),
        format!("GET /v1/trust/creators/a?station={STATION}"),
        "GET /v1/trust/content?content_id=c%26d&creator_id=a".to_owned(),
        "GET /v1/trust/content?content_id=c&creator_id=a".to_owned(),
    ];
    assert_eq!(fake.asked(), asked);
}

#[test]
fn global_trust_names_stations_and_policy() {
    let fake = Fake::start(|_| {
        let station =
            json!({ "station_id": STATION, "score": 0.7, "evidence": 3, "weight": 1, "answered": true, "why": null });
        Reply::ok(
            json!({ "score": 0.7, "band": "high", "policy": "mean", "stations": [station], "coverage": 1, "confidence": 1 }),
        )
    });
    let arguments =
        ["trust", "content", "c", "a", "--global", "--nodes", STATION, "--policy", "mean", "--at-least", "0.8"];
    let shown = fake.run(&arguments).expect(5);
    assert!(shown.stdout.contains(STATION) && shown.stdout.contains("score:      0.7\n"), "{shown:?}");
    fake.run(&["trust", "user", "u", "--global"]).expect(0);
    assert!(shown.stderr.contains(&format!("{STATION} takes no part in this federation")), "{shown:?}");
    let asked = [
        "GET /v1/stations".to_owned(),
        format!("GET /v1/trust/global?kind=content&id=c&creator_id=a&nodes={STATION}&policy=mean"),
        "GET /v1/trust/global?kind=user&id=u".to_owned(),
    ];
    assert_eq!(fake.asked(), asked);
}

#[test]
fn a_live_answer_says_that_it_is_this_stations_alone_and_an_explanation_fits_80_columns() {
    const FOUNDER: &str = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";
    let fake = Fake::start(|_| {
        let grounds = json!({ "founder": false, "vouched": true, "checked": 3, "contradicted": 0.4,
            "founders": [{ "station_id": FOUNDER, "info": 1.2, "agreement": 0.97 }],
            "jury": { "info": 0.4, "agreement": 1 } });
        let one = json!({ "station_id": STATION, "score": 0.7, "evidence": 3, "weight": 0.8, "share": 0.9,
            "answered": true, "unanswered": null, "why": "counted", "grounds": grounds });
        let other = json!({ "station_id": FOUNDER, "score": 0.5, "evidence": 0, "weight": 1, "share": 0,
            "answered": false, "unanswered": "replayed_nonce", "why": "no_opinion", "grounds": null });
        let unanswered = json!([{ "station_id": FOUNDER, "why": "replayed_nonce", "fault": true }]);
        Reply::ok(json!({ "score": 0.68, "band": "high", "policy": "anchored", "stations": [one, other], "more": 0,
            "jury": { "score": 0.1, "evidence": 3, "share": 0.05 }, "start": 0.05, "coverage": 0.4, "confidence": 0.2,
            "live": true, "unanswered": unanswered, "pending": 2, "includes_pending": true }))
    });
    let plain = fake.run(&["trust", "user", "u", "--global", "--live"]).expect(0).stdout;
    assert!(plain.contains("this answer is this station's alone"), "{plain}");
    assert!(plain.contains(&format!("not heard: {FOUNDER}: its answer was not made for this question")), "{plain}");
    let explained = fake.run(&["trust", "user", "u", "--global", "--live", "--explain"]).expect(0).stdout;
    println!("{explained}");
    for line in explained.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let (_, table) = explained.split_once("RESTS ON").expect("a table");
    let at = |text: &str| table.find(text).unwrap_or_else(|| panic!("{text} in {table}"));
    let end = |id: &str| format!("…{}", &id[id.len() - 8..]);
    assert!(at("the score") < at(&end(STATION)) && at(&end(STATION)) < at("the jury"), "{table}");
    assert!(at("the jury") < at(&end(FOUNDER)) && at(&end(FOUNDER)) < at("confidence"), "{table}");
    for told in [
        &format!("{STATION}  weight 0.8") as &str,
        "founders vouch for it: an advance of 0.5",
        &format!("beside the founder {}: 3.0 plain subjects shared, agreement 0.97", end(FOUNDER)),
        "beside the jury: 1.0 plain subjects shared, agreement 1",
        "jurors checked 3 of its claims, and contradict 0.4 of them",
    ] {
        assert!(table.contains(told), "{told} in {table}");
    }
    fake.run(&["trust", "user", "u", "--live"]).expect(2);
    let asked = ["", "&explain=true"].map(|more| format!("GET /v1/trust/global?kind=user&id=u&live=true{more}"));
    assert_eq!(fake.asked(), asked);
}

#[test]
fn mine_goes_on_until_what_was_pending_at_the_call_is_on_the_chain() {
    // Two full blocks, one with room; new records keep arriving all the while.
    let mined = AtomicU64::new(0);
    let fake = Fake::start(move |request| {
        if request.method == "GET" {
            return Reply::ok(
                json!({ "total_records": 10 + 100 * mined.load(Ordering::SeqCst), "pending_records": 250 }),
            );
        }
        let index = mined.fetch_add(1, Ordering::SeqCst) + 1;
        let body_bytes = if index < 3 { 1_048_000 } else { 50_000 };
        Reply::ok(
            json!({ "index": index, "hash": "00ff".repeat(16), "records": [{}, {}], "batch_count": 3, "body_bytes": body_bytes }),
        )
    });
    let mined = fake.run(&["mine"]).expect(0);
    let expected =
        "block 1 00ff00ff00ff (2 records)\nblock 2 00ff00ff00ff (2 records)\nblock 3 00ff00ff00ff (2 records)\n";
    assert_eq!(mined.stdout, expected);
}

#[test]
fn mine_says_so_when_nothing_is_pending() {
    let fake = Fake::start(|request| match request.method.as_str() {
        "GET" => Reply::ok(json!({ "total_records": 10, "pending_records": 0 })),
        _ => Reply::empty(),
    });
    let plain = fake.run(&["mine"]).expect(0);
    assert!(plain.stdout.is_empty() && plain.stderr.contains("nothing is pending"), "{plain:?}");
    assert_eq!(fake.run(&["mine", "--json"]).expect(0).json(), json!([]));
}

#[test]
fn an_invalid_chain_exits_5() {
    for (is_valid, code) in [(true, 0), (false, 5)] {
        let problem = (!is_valid).then_some("block 4: the seal is wrong");
        let fake = Fake::start(move |_| Reply::ok(json!({ "valid": is_valid, "blocks": 4, "problem": problem })));
        assert_eq!(fake.run(&["--json", "chain", "verify"]).expect(code).json()["is_valid"], is_valid);
        let plain = fake.run(&["chain", "verify"]).expect(code);
        assert_eq!(plain.stdout, if is_valid { "valid: 4 blocks\n" } else { "" });
        assert_eq!(plain.stderr.contains("(block 4: the seal is wrong)"), !is_valid, "{plain:?}");
        assert_eq!(fake.asked()[0], "GET /v1/chain/verify");
    }
}

#[test]
fn an_export_is_whole_or_not_there() {
    let blocks = json!([{ "index": 0 }, { "index": 1 }]);
    let sent = blocks.clone();
    let fake = Fake::start(move |_| Reply::ok(sent.clone()));
    assert_eq!(fake.run(&["chain", "export"]).expect(0).json(), blocks);
    let file = fake.path().join("chain.json");
    let name = file.to_str().expect("UTF-8");
    let told = fake.run(&["--json", "chain", "export", name]).expect(0).json();
    let written = std::fs::read(&file).expect("written");
    assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), blocks);
    assert_eq!(told["bytes"], written.len());

    let broken = Fake::start(|_| Reply { cut: true, ..Reply::ok(json!([{ "index": 0 }])) });
    let file = broken.path().join("chain.json");
    broken.run(&["chain", "export", file.to_str().expect("UTF-8")]).expect(4);
    let mut names: Vec<_> =
        std::fs::read_dir(broken.path()).expect("listed").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["api.addr", "api.token"]);
}

#[test]
fn status_shows_the_problem_and_its_remedy_first() {
    let status = json!({
        "station_id": STATION, "name": "Evil\u{1b}[2J", "federation_id": null, "federation": null, "version": "0.1.0",
        "listen": ["/ip4/127.0.0.1/tcp/1"], "head": null, "pending_records": 0, "peers": 0, "synced": false,
        "banned": [{ "peer_id": "P", "until": "2026-01-25T10:00:00.000Z", "reason": "flooded\u{1b}" }],
        "problems": [{ "problem": "no federation yet", "remedy": "join one with `qfzz join`" }],
    });
    let sent = status.clone();
    let fake = Fake::start(move |_| Reply::ok(sent.clone()));
    let shown = fake.run(&["status"]).expect(0);
    assert!(
        shown.stdout.starts_with("PROBLEM  no federation yet\n  remedy join one with `qfzz join`\nstation:"),
        "{shown:?}"
    );
    assert!(
        shown.stdout.contains("listens on: /ip4/127.0.0.1/tcp/1\n") && !shown.stdout.contains('\u{1b}'),
        "{shown:?}"
    );
    assert!(shown.stdout.contains("kept away: P until 2026-01-25T10:00:00.000Z: it flooded\u{fffd}\n"), "{shown:?}");
    assert_eq!(fake.run(&["status", "--json"]).expect(0).json(), status);
}

#[test]
fn peers_join_and_sync_are_shown_and_every_json_is_the_daemons() {
    let fake = Fake::start(|request| match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/v1/peers") => Reply::ok(
            json!([{ "peer_id": STATION, "name": "B", "address": "/ip4/127.0.0.1/tcp/2", "head": { "index": 7, "hash": "0a".repeat(32) } }]),
        ),
        ("POST", "/v1/peers") => Reply::ok(
            json!({ "peer_id": STATION, "federation": "F", "federation_id": "00", "joined": true, "address": request.json()["address"] }),
        ),
        _ => Reply::ok(
            json!([{ "peer": STATION, "blocks": 3, "batches": 2, "records": 9, "bytes_in": 10, "bytes_out": 11, "reorg_depth": 1, "elapsed_ms": 5, "fault": "silence" }]),
        ),
    });
    let ticket = ticket();
    let peers = fake.run(&["peers"]).expect(0).stdout;
    assert!(peers.contains(STATION) && peers.contains("7 0a0a0a0a0a0a"), "{peers}");
    let joined = fake.run(&["join", "/ip4/127.0.0.1/tcp/2"]).expect(0).stdout;
    assert_eq!(joined, format!("joined the federation F (00) through {STATION}\n"));
    assert_eq!(fake.run(&["--json", "join", &ticket]).expect(0).json()["address"], ticket.as_str());
    let synced = fake.run(&["sync", STATION]).expect(0).stdout;
    assert!(synced.starts_with(&format!("PROBLEM  {STATION}: silence\n")), "{synced}");
    assert_eq!(fake.run(&["--json", "sync"]).expect(0).json()[0]["records"], 9);
    let bodies: Vec<Value> =
        fake.requests().iter().filter(|request| request.target == "/v1/sync").map(support::Request::json).collect();
    assert_eq!(bodies, [json!({ "peer": STATION }), json!({})]);
}

#[test]
fn a_reader_that_goes_away_is_no_trouble() {
    // More than a pipe holds, so that the program writes after the reader has gone.
    let blocks: Vec<Value> = (0..20_000).map(|index| json!({ "index": index, "hash": "00".repeat(32) })).collect();
    let fake = Fake::start(move |_| Reply::ok(Value::Array(blocks.clone())));
    for arguments in [&["chain", "export"][..], &["--json", "peers"], &["peers"]] {
        let mut child =
            qfzz(&fake.path()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let mut first = [0; 16];
        child.stdout.take().expect("piped").read_exact(&mut first).expect("the first bytes");
        let ended = child.wait_with_output().expect("ended");
        assert_eq!(
            (ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}
