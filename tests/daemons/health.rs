//! What a station says of itself and of others: problems with their remedies, peers by name, metrics, explanations.

use std::net::TcpListener;
use std::time::Duration;

use qfzz_tests::harness::{Daemon, Recipe, beside_others, wait_for};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// The codes of the problems that a station shows, most pressing first.
fn problems(daemon: &Daemon) -> Vec<String> {
    let status = daemon.api().get("/v1/status");
    let problems = status["problems"].as_array().unwrap_or_else(|| panic!("{status}"));
    for problem in problems {
        for member in ["code", "problem", "detail", "remedy"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
    }
    problems.iter().map(|problem| problem["code"].as_str().expect("a code").to_owned()).collect()
}

fn wait_for_problem(daemon: &Daemon, code: &str) {
    wait_for(&format!("{} shows the problem {code}", daemon.name()), PATIENCE, || {
        let codes = problems(daemon);
        if codes.iter().any(|found| found == code) { Ok(()) } else { Err(format!("{codes:?}")) }
    });
}

/// An address where nobody listens.
fn nowhere() -> String {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    format!("/ip4/127.0.0.1/tcp/{}", free.port())
}

#[test]
fn a_station_names_its_problems_and_agrees_with_itself_on_being_ready() {
    let _turn = beside_others();
    let alone = Recipe::new("alone").found("Alone Radio", &[]);
    assert_eq!(problems(&alone), Vec::<String>::new());
    assert_eq!(alone.api().get("/readyz")["ready"], true);

    // A founder whose address to join leads to another federation lives, is ready, and says what is wrong.
    let mistaken = Recipe::new("mistaken").set("network.join", &alone.address()).found("Mistaken Radio", &[]);
    wait_for_problem(&mistaken, "other_federation");
    let status = mistaken.api().get("/v1/status");
    assert!(status["problems"].to_string().contains("Alone Radio"), "{status}");
    assert_eq!(status["synced"], true, "{status}");
    assert_eq!(mistaken.api().get("/readyz")["ready"], true);
    assert!(problems(&mistaken).contains(&"no_peer".to_owned()));

    // One that cannot reach anybody says so once in its log, and goes on trying.
    let address = nowhere();
    let lost = Recipe::new("lost").set("log.level", "debug").listen(&nowhere()).run_joining(&address);
    wait_for_problem(&lost, "unreachable");
    wait_for("the status names the address", PATIENCE, || {
        let status = lost.api().get("/v1/status");
        assert_eq!(status["synced"].as_bool(), Some(lost.api().try_get("/readyz").expect("it answers").status == 200));
        if status["problems"].to_string().contains(&address) { Ok(()) } else { Err(status.to_string()) }
    });
    let warnings =
        || lost.said("stderr").lines().filter(|line| line.contains("WARN") && line.contains(&address)).count();
    let tries = || lost.said("stderr").lines().filter(|line| line.contains("cannot join by")).count();
    wait_for("it has tried several times", PATIENCE, || if tries() >= 4 { Ok(()) } else { Err(lost.said("stderr")) });
    assert_eq!(warnings(), 1, "{}", lost.said("stderr"));
}

#[test]
fn peers_are_shown_by_name_and_by_an_address_that_can_be_dialled() {
    let _turn = beside_others();
    let first = Recipe::new("first").found("Named Radio", &[]);
    let second = Recipe::new("second").join(&first.address());
    // Nobody has signed anything, so the chain names nobody; the second dialled, so its port at the first is a passing one.
    wait_for("the first knows the second", PATIENCE, || {
        let peers = first.api().get("/v1/peers");
        if peers[0]["name"] == "second" { Ok(()) } else { Err(peers.to_string()) }
    });
    let peers = first.api().get("/v1/peers");
    let expected = format!("{}/p2p/{}", second.address(), second.station());
    assert_eq!(peers[0]["address"], json!(expected), "{peers}");
    assert_eq!(second.api().get("/v1/peers")[0]["name"], "first");
}

fn metric(daemon: &Daemon, sample: &str) -> f64 {
    let text = daemon.api().try_get("/metrics").expect("it answers").body;
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{sample} in {text}")).parse().expect("a number")
}

#[test]
fn metrics_follow_what_happens() {
    let _turn = beside_others();
    let first = Recipe::new("first").found("Counted Radio", &[]);
    let second = Recipe::new("second").join(&first.address());
    first.api().record(&json!({ "kind": "content_verified", "content_id": "a", "creator_id": "b" }));
    wait_for("the second has heard of it", PATIENCE, || match metric(&second, "qfzz_pending_records") {
        1.0 => Ok(()),
        other => Err(other.to_string()),
    });
    assert!(metric(&second, "qfzz_pending_bytes") > 100.0);
    first.api().mine().expect("a record is pending");
    wait_for("the second has the block", PATIENCE, || match metric(&second, "qfzz_head_height") {
        1.0 => Ok(()),
        other => Err(other.to_string()),
    });
    for (sample, least) in [
        ("qfzz_chain_records", 1.0),
        ("qfzz_peers", 1.0),
        ("qfzz_synced", 1.0),
        ("qfzz_blocks_mined_total", 1.0),
        ("qfzz_commits_total", 2.0),
        ("qfzz_journal_sync_seconds_count", 2.0),
        ("qfzz_journal_bytes", 500.0),
        ("qfzz_view_entries", 3.0),
        ("qfzz_disk_free_bytes", 1_000_000.0),
        ("qfzz_uptime_seconds", 0.1),
        ("process_resident_memory_bytes", 1_000_000.0),
        ("process_open_fds", 5.0),
        ("qfzz_http_requests_total{route=\"/v1/records\",method=\"POST\",status=\"201\"}", 1.0),
    ] {
        assert!(metric(&first, sample) >= least, "{sample} is {}", metric(&first, sample));
    }
    assert!(metric(&second, "qfzz_syncs_total{outcome=\"done\"}") >= 1.0);
    assert!(metric(&second, "qfzz_gossip_messages_total{verdict=\"accept\"}") >= 1.0);
    assert_eq!(metric(&second, "qfzz_blocks_mined_total"), 0.0);
}

#[test]
fn a_score_is_explained_and_a_station_that_nobody_knows_is_no_opinion() {
    let _turn = beside_others();
    let daemon = Recipe::new("explainer").found("Explained Radio", &[]);
    let (own, stranger) = (daemon.station(), "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X");
    daemon.qfzz(&["record", "u", "rating"]).exits(0);
    daemon.qfzz(&["mine"]).exits(0);
    daemon.qfzz(&["record", "u", "interaction"]).exits(0);

    let answer = daemon.qfzz(&["--json", "trust", "user", "u", "--explain"]).exits(0).json();
    assert_eq!((&answer["score"], &answer["confirmed_score"]), (&json!(0.54), &json!(0.53)));
    assert_eq!(
        (&answer["evidence"], &answer["confirmed_evidence"], &answer["pending"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!((&answer["includes_pending"], &answer["known"]), (&json!(true), &json!(true)));
    let explanation = answer["explanation"].to_string();
    assert!(explanation.contains("counted in the score already") && explanation.contains(&own), "{explanation}");
    let text = daemon.qfzz(&["trust", "user", "u", "--explain"]).exits(0).stdout;
    assert!(text.contains("RESTS ON") && text.contains("all records"), "{text}");

    let of = |station: &str| daemon.qfzz(&["--json", "trust", "user", "u", "--station", station]).exits(0).json();
    let opinion = of(&own);
    assert_eq!(
        (&opinion["score"], &opinion["why"], &opinion["includes_pending"]),
        (&json!(0.53), &json!("counted"), &json!(false))
    );
    let none = of(stranger);
    assert_eq!(
        (&none["answered"], &none["why"], &none["known"]),
        (&json!(false), &json!("unknown_station"), &json!(false))
    );
    let text = daemon.qfzz(&["trust", "user", "u", "--station", stranger]).exits(0).stdout;
    assert!(text.contains("this is no opinion"), "{text}");
    let nodes = format!("{own},{stranger}");
    let global =
        daemon.qfzz(&["--json", "trust", "user", "u", "--global", "--nodes", &nodes, "--explain"]).exits(0).json();
    assert_eq!((&global["includes_pending"], &global["pending"]), (&json!(false), &json!(1)));
    let voice = |station: &str| {
        let voices = global["stations"].as_array().expect("stations");
        voices.iter().find(|voice| voice["station_id"] == station).cloned().unwrap_or(Value::Null)
    };
    assert_eq!((&voice(&own)["answered"], &voice(&own)["why"]), (&json!(true), &json!("counted")));
    assert_eq!((&voice(stranger)["answered"], &voice(stranger)["why"]), (&json!(false), &json!("unknown_station")));

    let missing = daemon.qfzz(&["content", "show", "nothing", "nobody"]).exits(3);
    assert!(missing.stderr.contains("nobody has said anything"), "{missing:?}");
    daemon.qfzz(&["content", "add", "track", "artist"]).exits(0);
    let shown = daemon.qfzz(&["content", "show", "track", "artist"]).exits(0).stdout;
    for fact in ["initial score:", "metadata:", "first named:", "last changed:", "pending:"] {
        assert!(shown.contains(fact), "{fact} in {shown}");
    }
}
