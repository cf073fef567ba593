//! Bad input, at the API and at the command line: refused with a reason, and nothing stored.

use qfzz_tests::harness::{Answer, Api, Daemon, Recipe, beside_others};
use reqwest::Method;
use reqwest::blocking::RequestBuilder;
use serde_json::{Value, json};

/// Bytes of a request's body, at most.
const BODY_LIMIT: usize = 256 * 1024;

/// A good record, to spoil.
fn action() -> Value {
    json!({ "kind": "user_action", "user_id": "user_001", "action": "interaction", "target": "dj", "trust_delta": 0.01 })
}

fn content() -> Value {
    json!({ "kind": "content_added", "content_id": "track_001", "creator_id": "artist_001", "initial_score": 0.5 })
}

/// `record` with one field set otherwise.
fn with(mut record: Value, field: &str, value: Value) -> String {
    record[field] = value;
    record.to_string()
}

fn without(mut record: Value, field: &str) -> String {
    record.as_object_mut().expect("records are objects").remove(field);
    record.to_string()
}

/// JSON nested this deep.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }))
}

/// Bodies for `POST /v1/records`: what is wrong, the body, and what the detail must name.
fn bad_records() -> Vec<(&'static str, String, &'static str)> {
    let long = "x".repeat(129);
    let deep = nested(9);
    let big = json!({ "text": "x".repeat(4_096) });
    vec![
        ("not JSON", "user_001 interaction".to_owned(), "JSON"),
        ("nothing", String::new(), "JSON"),
        ("two values", format!("{} {}", action(), action()), "JSON"),
        ("an array", json!([action()]).to_string(), ""),
        ("unknown kind", with(action(), "kind", json!("user_wish")), "kind"),
        ("no kind", without(action(), "kind"), "kind"),
        ("unknown field", with(action(), "colour", json!("red")), "colour"),
        ("field of another kind", with(action(), "content_id", json!("track_001")), "content_id"),
        ("NaN", action().to_string().replace("0.01", "NaN"), ""),
        ("infinity", action().to_string().replace("0.01", "1e999"), ""),
        ("NaN as text", with(action(), "trust_delta", json!("NaN")), "trust_delta"),
        ("delta that is not the action's", with(action(), "trust_delta", json!(0.02)), "trust_delta"),
        ("delta above 1", with(action(), "trust_delta", json!(1.2)), "trust_delta"),
        ("delta of seven places", with(action(), "trust_delta", json!(0.010_000_1)), "trust_delta"),
        ("action that is not in genesis", with(action(), "action", json!("dance")), "action"),
        ("score of 1.2", with(content(), "initial_score", json!(1.2)), "initial_score"),
        ("score below 0", with(content(), "initial_score", json!(-0.1)), "initial_score"),
        ("score of seven places", with(content(), "initial_score", json!(0.123_456_7)), "initial_score"),
        ("score as text", with(content(), "initial_score", json!("0.5")), "initial_score"),
        ("empty user", with(action(), "user_id", json!("")), "user_id"),
        ("long user", with(action(), "user_id", json!(long)), "user_id"),
        ("129 bytes in fewer characters", with(action(), "user_id", json!(format!("x{}", "ä".repeat(64)))), "user_id"),
        ("user with a newline", with(action(), "user_id", json!("user\n001")), "user_id"),
        ("user with an escape", with(action(), "user_id", json!("user\u{1b}[31m")), "user_id"),
        ("user with a C1 control", with(action(), "user_id", json!("user\u{85}")), "user_id"),
        ("user that is a number", with(action(), "user_id", json!(7)), "user_id"),
        ("no user", without(action(), "user_id"), "user_id"),
        ("empty action", with(action(), "action", json!("")), "action"),
        ("long target", with(action(), "target", json!(long)), "target"),
        ("target with a tab", with(action(), "target", json!("a\tb")), "target"),
        ("empty content", with(content(), "content_id", json!("")), "content_id"),
        ("long content", with(content(), "content_id", json!(long)), "content_id"),
        ("content with NUL", with(content(), "content_id", json!("a\u{0}")), "content_id"),
        ("empty creator", with(content(), "creator_id", json!("")), "creator_id"),
        ("long creator", with(content(), "creator_id", json!(long)), "creator_id"),
        ("no creator", without(content(), "creator_id"), "creator_id"),
        ("metadata that is no object", with(content(), "metadata", json!([1])), "metadata"),
        ("metadata of nine levels", with(content(), "metadata", deep), "metadata"),
        ("metadata over 4 KiB", with(content(), "metadata", big), "metadata"),
        (
            "metadata with a key twice",
            content().to_string().replace("\"initial_score\"", "\"metadata\":{\"a\":1,\"a\":2},\"initial_score\""),
            "metadata",
        ),
        ("timestamp that is none", with(action(), "timestamp", json!("yesterday")), "timestamp"),
        ("timestamp after 9999", with(action(), "timestamp", json!("+10000-01-01T00:00:00Z")), "timestamp"),
        ("timestamp before 1970", with(action(), "timestamp", json!("1969-12-31T23:59:59Z")), "timestamp"),
    ]
}

/// Demands a problem with a stable code, and a sentence that names `part`.
#[track_caller]
fn assert_problem(what: &str, answer: &Answer, part: &str) -> String {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    let kind = answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(kind.starts_with("application/problem+json"), "{what}: {answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status, "{what}: {problem}");
    let code = problem["code"].as_str().unwrap_or_default().to_owned();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    assert!(!code.is_empty() && code.bytes().all(plain), "{what}: a code for programs: {problem}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(
        !detail.is_empty() && detail.to_lowercase().contains(&part.to_lowercase()),
        "{what}: names {part:?}: {problem}"
    );
    code
}

/// What the daemon holds: nothing of it may change.
fn holdings(station: &Daemon) -> Value {
    let statistics = station.api().get("/v1/chain");
    assert_eq!(statistics["chain_length"], 1, "{statistics}");
    statistics
}

fn send(request: RequestBuilder) -> Answer {
    Api::send(request).expect("the daemon answers bad requests too")
}

#[test]
fn every_bad_record_is_a_problem_that_names_its_field_and_nothing_is_stored() {
    let _turn = beside_others();
    let station = Recipe::new("strict").found("strict", &[]);
    let before = holdings(&station);
    let post = |body: String| {
        let request = station.api().request(Method::POST, "/v1/records").bearer_auth(station.api().token());
        send(request.header("content-type", "application/json").body(body))
    };
    for (what, body, part) in bad_records() {
        let code = assert_problem(what, &post(body.clone()), part);
        assert_eq!(assert_problem(what, &post(body), part), code, "{what}: the code is stable");
    }
    let large = with(content(), "metadata", json!({ "text": "x".repeat(BODY_LIMIT) }));
    let answer = post(large);
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_problem("a body over 256 KiB", &answer, "256");
    assert_eq!(holdings(&station), before);
    assert_eq!(station.api().get("/v1/trust/users/user_001")["score"], 0.5);

    // The log has no hole either: the first good record is the station's first.
    let id = station.api().record(&action());
    assert_eq!(id, format!("{}.0.0", station.station()));
}

#[test]
fn in_bulk_each_bad_line_is_answered_in_its_place_and_the_good_ones_are_stored() {
    let _turn = beside_others();
    let station = Recipe::new("bulk").found("bulk", &[]);
    let one_line = |body: &str| !body.is_empty() && !body.contains('\n');
    let bad: Vec<_> = bad_records().into_iter().filter(|(_, body, _)| one_line(body)).collect();
    let lines: String = bad.iter().map(|(_, body, _)| format!("{}\n{body}\n", content())).collect();
    let answer = station.api().try_post_lines("/v1/records/bulk", &lines).expect("the daemon lives");
    assert_eq!(answer.status, 200, "{answer:?}");
    let answers: Vec<Value> =
        answer.body.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(answers.len(), 2 * bad.len());
    for ((what, _, part), pair) in bad.iter().zip(answers.chunks(2)) {
        assert!(pair[0]["record_id"].is_string(), "{what}: {pair:?}");
        assert!(pair[1]["code"].is_string() && pair[1]["record_id"].is_null(), "{what}: {pair:?}");
        assert!(
            pair[1]["detail"].as_str().is_some_and(|detail| detail.contains(part)),
            "{what}: names {part}: {pair:?}"
        );
    }
    assert_eq!(station.api().get("/v1/chain")["pending_records"], bad.len());
}

#[test]
fn strangers_write_nothing_and_foreign_sites_neither() {
    let _turn = beside_others();
    let station = Recipe::new("guarded").found("guarded", &[]);
    let before = holdings(&station);
    let api = station.api();
    let write = || api.request(Method::POST, "/v1/records").json(&action());
    let cases = [
        ("no token", write(), &[401][..], "token"),
        ("a wrong token", write().bearer_auth("0".repeat(64)), &[401, 403], "token"),
        ("half a token", write().bearer_auth(&api.token()[..api.token().len() / 2]), &[401, 403], "token"),
        ("another scheme", write().header("authorization", format!("Basic {}", api.token())), &[401, 403], "token"),
        (
            "a foreign origin",
            write().bearer_auth(api.token()).header("origin", "https://example.org"),
            &[403],
            "origin",
        ),
        ("no site's origin", write().bearer_auth(api.token()).header("origin", "null"), &[403], "origin"),
        ("a foreign host", write().bearer_auth(api.token()).header("host", "example.org"), &[400, 403, 421], "host"),
        (
            "a foreign host that reads",
            api.request(Method::GET, "/v1/status").header("host", "example.org:4810"),
            &[400, 403, 421],
            "host",
        ),
        (
            "a host that looks local",
            api.request(Method::GET, "/v1/status").header("host", "localhost.example.org"),
            &[400, 403, 421],
            "host",
        ),
        ("mining without a token", api.request(Method::POST, "/v1/mine"), &[401], "token"),
        (
            "dialling without a token",
            api.request(Method::POST, "/v1/peers").json(&json!({ "address": "/ip4/127.0.0.1/tcp/1" })),
            &[401],
            "token",
        ),
    ];
    for (what, request, statuses, part) in cases {
        let answer = send(request);
        assert!(statuses.contains(&answer.status), "{what}: {answer:?}");
        assert_problem(what, &answer, part);
    }
    assert_eq!(holdings(&station), before);
    let own = write().bearer_auth(api.token()).header("origin", api.url());
    assert_eq!(send(own).status, 201, "the daemon's own page may write");
}

#[test]
fn bad_questions_are_problems_too() {
    let _turn = beside_others();
    let station = Recipe::new("asked").found("asked", &[]);
    let id = station.station();
    let long = "x".repeat(129);
    let cases = [
        (format!("/v1/trust/users/{long}"), 400..=422, "128"),
        ("/v1/trust/users/a%0Ab".to_owned(), 400..=422, "control"),
        ("/v1/trust/content?content_id=track_001".to_owned(), 400..=422, "creator_id"),
        (format!("/v1/trust/content?content_id={long}&creator_id=a"), 400..=422, "content_id"),
        ("/v1/trust/users/user_001?station=nobody".to_owned(), 400..=422, "station"),
        ("/v1/trust/global?kind=planet&id=mars".to_owned(), 400..=422, "kind"),
        ("/v1/trust/global?kind=user".to_owned(), 400..=422, "id"),
        ("/v1/trust/global?kind=content&id=track_001".to_owned(), 400..=422, "creator_id"),
        ("/v1/trust/global?kind=user&id=u&policy=loudest".to_owned(), 400..=422, "policy"),
        ("/v1/trust/global?kind=user&id=u&nodes=nobody".to_owned(), 400..=422, "nodes"),
        ("/v1/records/17.3".to_owned(), 400..=422, "record"),
        (format!("/v1/records/{id}.0.0"), 404..=404, ""),
        ("/v1/chain/blocks/1".to_owned(), 404..=404, ""),
        (format!("/v1/chain/blocks/{}", "0".repeat(64)), 404..=404, ""),
        ("/v1/chain/blocks/first".to_owned(), 400..=422, ""),
        ("/v1/chain/blocks?from=-1".to_owned(), 400..=422, "from"),
        ("/v1/nothing".to_owned(), 404..=404, ""),
        ("/v1/mine".to_owned(), 405..=405, ""),
    ];
    for (path, statuses, part) in cases {
        let answer = station.api().try_get(&path).expect("the daemon lives");
        assert!(statuses.contains(&answer.status), "{path}: {answer:?}");
        assert_problem(&path, &answer, part);
    }
    let dial = station.api().try_post("/v1/peers", &json!({ "address": "radio.example" })).expect("the daemon lives");
    assert_problem("dialling no address", &dial, "address");
    assert_eq!(dial.json()["field"], "address");
    let sync = station.api().try_post("/v1/sync", &json!({ "peer": "radio.example" })).expect("the daemon lives");
    assert_problem("syncing with no address", &sync, "address");
    assert_eq!(sync.json()["field"], "peer");
}

#[test]
fn the_command_line_refuses_bad_input_with_2_and_a_sentence() {
    let _turn = beside_others();
    let station = Recipe::new("typed").found("typed", &[]);
    let before = holdings(&station);
    let long = "x".repeat(129);
    let cases: &[(&[&str], &str)] = &[
        (&["record", "", "interaction"], "user"),
        (&["record", &long, "interaction"], "user"),
        (&["record", "user\n001", "interaction"], "user"),
        (&["record", "user_001", "dance"], "dance"),
        (&["record", "user_001", ""], "action"),
        (&["record", "user_001", "interaction", "--delta", "0.5"], "delta"),
        (&["record", "user_001", "interaction", "--delta", "NaN"], "delta"),
        (&["record", "user_001", "interaction", "--delta", "0.0100001"], "delta"),
        (&["record", "user_001", "interaction", "--target", "a\u{7}b"], "target"),
        (&["record", "user_001", "interaction", "--timestamp", "yesterday"], "timestamp"),
        (&["record", "user_001"], "action"),
        (&["content", "add", "track_001", "artist_001", "--score", "1.2"], "score"),
        (&["content", "add", "track_001", "artist_001", "--score", "NaN"], "score"),
        (&["content", "add", "track_001", "artist_001", "--metadata", "tags"], "metadata"),
        (&["content", "add", "track_001", "artist_001", "--metadata", "[1]"], "metadata"),
        (&["content", "add", "track_001", "artist_001", "--metadata", "{\"a\":1,\"a\":2}"], "metadata"),
        (&["run", "--listen", "/ip4/127.0.0.1"], "/ip4/0.0.0.0/tcp/4811"),
        (&["content", "verify", "", "artist_001"], "content"),
        (&["content", "report", "track_001", &long], "creator"),
        (&["content", "verify", "track_001", "artist_001", "--times", "0"], "times"),
        (&["content", "praise", "track_001", "artist_001"], "praise"),
        (&["trust", "user", ""], "user"),
        (&["trust", "user", "user_001", "--at-least", "2"], "at-least"),
        (&["trust", "user", "user_001", "--station", "nobody"], "station"),
        (&["chain", "block", "first"], "first"),
        (&["join", "radio.example"], "radio.example"),
        (&["recrod", "user_001", "interaction"], "record"),
    ];
    for (arguments, part) in cases {
        let refused = station.qfzz(arguments).exits(2);
        assert!(refused.stdout.is_empty(), "results only on stdout: {refused:?}");
        assert!(refused.stderr.to_lowercase().contains(part), "names {part}: {refused:?}");
    }
    assert_eq!(holdings(&station), before);
}

#[test]
fn a_bad_line_of_a_file_is_named_with_its_number_and_the_good_ones_are_stored() {
    let _turn = beside_others();
    let station = Recipe::new("lines").found("lines", &[]);
    let lines = [
        action().to_string(),
        "not JSON".to_owned(),
        content().to_string(),
        with(content(), "initial_score", json!(1.2)),
        with(action(), "kind", json!("user_wish")),
        json!({ "kind": "content_verified", "content_id": "track_001", "creator_id": "artist_001" }).to_string(),
    ];
    let done = station.qfzz_reading(&["record", "--from", "-"], &lines.join("\n")).exits(1);
    let id = station.station();
    assert_eq!(done.stdout.lines().filter(|line| line.starts_with(&id)).count(), 3, "{done:?}");
    for (number, part) in [(2, "JSON"), (4, "initial_score"), (5, "kind")] {
        let named = |line: &str| line.contains(&number.to_string()) && line.contains(part);
        assert!(done.stderr.lines().any(named), "line {number} with {part}: {done:?}");
    }
    assert_eq!(station.api().get("/v1/chain")["pending_records"], 3);
}
