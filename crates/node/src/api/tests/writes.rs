//! Records over HTTP, one and many; mining, dialling, syncing.

use super::*;
use crate::api::port::MAX_SUBMIT;

const VERIFIED: &str = r#"{"kind":"content_verified","content_id":"track_001","creator_id":"artist_001"}"#;

fn action(user: &str) -> String {
    format!(r#"{{"kind":"user_action","user_id":"{user}","action":"rating"}}"#)
}

#[tokio::test]
async fn a_record_is_acknowledged_and_then_found_as_it_was_sent() {
    let api = Api::start().await;
    let sent = r#"{"kind":"user_action","user_id":"user_001","action":"interaction","target":"dj","trust_delta":0.01,"timestamp":"2026-01-25T10:00:00Z"}"#;
    let receipt = api.post("/v1/records", sent).await;
    assert_eq!(receipt.status, 201, "{}", receipt.text);
    let receipt = receipt.json();
    let id: RecordId = receipt["record_id"].as_str().expect("text").parse().expect("a record id");
    assert_eq!((&receipt["sequence"], &receipt["status"]), (&Value::from(0), &Value::from("pending")));
    hash(&receipt["hash"]);
    hash(&receipt["batch_id"]);

    let path = format!("/v1/records/{id}");
    let pending = api.get(&path).await.json();
    assert_eq!(
        (&pending["status"], &pending["block"], &pending["confirmations"]),
        (&"pending".into(), &Value::Null, &0.into())
    );
    assert_eq!(pending["station_id"], id.station.to_string());
    let record = &pending["record"];
    for field in ["hash", "batch_id", "record_id"] {
        assert_eq!(record[field], receipt[field], "{field}");
    }
    assert_eq!(record["seen"], 0);
    // What is shown, without what the node set, is what was sent, and is read again as the same.
    let mut fields = record.as_object().expect("an object").clone();
    for set_by_node in ["record_id", "hash", "station_id", "batch_id", "seen"] {
        assert!(fields.remove(set_by_node).is_some(), "{set_by_node}");
    }
    assert_eq!(fields["timestamp"], "2026-01-25T10:00:00.000Z");
    assert_eq!(fields["trust_delta"].to_string(), "0.01");
    let read = |text: &str| crate::api::record::parse_record(text, &api.fake.0.rules, now()).expect("a record");
    assert_eq!(read(&serde_json::to_string(&fields).expect("JSON")), read(sent));

    let block = api.post("/v1/mine", "").await.json();
    assert_eq!(block["records"][0], *record);
    let confirmed = api.get(&path).await.json();
    assert_eq!((&confirmed["status"], &confirmed["confirmations"]), (&"confirmed".into(), &1.into()));
    assert_eq!((&confirmed["block"]["index"], &confirmed["block"]["hash"]), (&1.into(), &block["hash"]));
}

#[tokio::test]
async fn a_testimony_gets_the_hash_of_the_record_that_it_names() {
    let api = Api::start().await;
    let about = api.post("/v1/records", VERIFIED).await.json();
    let named = about["record_id"].as_str().expect("an id");
    let sent = format!(r#"{{"kind":"testimony","record_id":"{named}","answer":"contest"}}"#);
    let receipt = api.post("/v1/records", sent.clone()).await;
    assert_eq!(receipt.status, 201);
    let path = format!("/v1/records/{}", receipt.json()["record_id"].as_str().expect("an id"));
    let shown = api.get(&path).await.json()["record"].clone();
    assert_eq!(shown["kind"], "testimony");
    assert_eq!((&shown["about_id"], &shown["about_hash"]), (&about["record_id"], &about["hash"]));
    assert_eq!(shown["answer"], "contest");

    let unknown = sent.replace(named, &format!("{}.900.0", qfzz_ledger_core::testing::station(9)));
    let refused = api.post("/v1/records", unknown.clone()).await;
    assert_eq!(refused.problem(), (404, "unknown_record".to_owned()));
    assert_eq!(refused.json()["field"], "record_id");
    let answer = api.bulk([unknown, sent].join("\n")).await;
    let lines: Vec<Value> = answer.text.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert_eq!(lines[0]["code"], "unknown_record");
    assert!(lines[1]["record_id"].is_string());
}

#[tokio::test]
async fn a_bad_record_is_a_problem_that_names_its_field_and_stores_nothing() {
    let api = Api::start().await;
    for (body, status, code, field) in [
        ("nonsense", 400, "not_json", None),
        ("", 400, "not_json", None),
        (
            r#"{"kind":"user_action","user_id":"u","action":"rating","trust_delta":NaN}"#,
            400,
            "not_json",
            Some("trust_delta"),
        ),
        ("[]", 422, "not_an_object", None),
        (
            r#"{"kind":"user_action","user_id":"u","action":"rating","trust_delta":0.9}"#,
            422,
            "wrong_delta",
            Some("trust_delta"),
        ),
        (
            r#"{"kind":"content_added","content_id":"c","creator_id":"m","initial_score":1.2}"#,
            422,
            "out_of_range",
            Some("initial_score"),
        ),
        (r#"{"kind":"user_action","user_id":"","action":"rating"}"#, 422, "bad_id", Some("user_id")),
        (r#"{"kind":"user_action","user_id":"u","action":"rating","hash":"x"}"#, 422, "unknown_field", Some("hash")),
        (r#"{"kind":"testimony","record_id":"r","answer":"agree"}"#, 422, "bad_id", Some("record_id")),
    ] {
        let answer = api.post("/v1/records", body).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{body}");
        assert_eq!(answer.json()["field"].as_str(), field, "{body}");
    }
    let latin = api.request(Method::POST, "/v1/records").bearer_auth(TOKEN).body(vec![b'{', 0xff, b'}']);
    assert_eq!(send(latin).await.problem(), (400, "not_json".to_owned()));
    let form = api.request(Method::POST, "/v1/records").bearer_auth(TOKEN).body("kind=content_verified");
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(send(form).await.problem(), (415, "unsupported_media_type".to_owned()));
    assert!(api.fake.submissions().is_empty());
}

#[tokio::test]
async fn a_bulk_body_is_answered_line_by_line_and_bad_lines_hurt_only_themselves() {
    let api = Api::start().await;
    let long = format!(r#"{{"kind":"content_verified","content_id":"{}"}}"#, "x".repeat(64 * 1024));
    let mut body =
        [VERIFIED, "nonsense", "", "  \r", &action("a"), r#"{"kind":"content_verified","content_id":"c"}"#, &long]
            .join("\n")
            .into_bytes();
    body.extend_from_slice(b"\n{\"kind\":\"\xff\"}\r\n");
    body.extend_from_slice(action("b").as_bytes());
    let answer = api.bulk(body).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let shown: Vec<_> =
        lines.iter().map(|line| (line["line"].as_u64(), line["code"].as_str(), line["field"].as_str())).collect();
    assert_eq!(
        shown,
        [
            (Some(1), None, None),
            (Some(2), Some("not_json"), None),
            (Some(5), None, None),
            (Some(6), Some("missing_field"), Some("creator_id")),
            (Some(7), Some("line_too_long"), None),
            (Some(8), Some("not_json"), None),
            (Some(9), None, None),
        ]
    );
    let ids: Vec<_> = lines.iter().filter_map(|line| line["record_id"].as_str()).collect();
    let station = api.fake.0.key.station();
    assert_eq!(ids, [0, 1, 2].map(|index| format!("{station}.0.{index}")));
    assert_eq!(api.fake.submissions(), [3]);
    assert_eq!(api.get(&format!("/v1/records/{station}.0.1")).await.json()["record"]["user_id"], "a");
}

#[tokio::test]
async fn a_large_bulk_body_is_stored_in_groups_and_answered_in_order() {
    let api = Api::start().await;
    let count = 2 * MAX_SUBMIT + 5;
    let lines: Vec<_> = (0..count).map(|number| action(&format!("user_{number}"))).collect();
    let answer = api.bulk(lines.join("\n")).await;
    let answered: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answered.len(), count);
    for (number, line) in answered.iter().enumerate() {
        assert_eq!(line["line"], number + 1);
        let place = format!(".{}.{}", number / MAX_SUBMIT, number % MAX_SUBMIT);
        assert!(line["record_id"].as_str().is_some_and(|id| id.ends_with(&place)), "{line}");
    }
    assert_eq!(api.fake.submissions(), [MAX_SUBMIT, MAX_SUBMIT, 5]);
}

#[tokio::test]
async fn a_group_that_cannot_be_stored_says_so_on_each_of_its_lines() {
    let api = Api::start().await;
    api.fake.with(|state| state.stores_nothing = Some(PortError::Stopping));
    let answer = api.bulk([VERIFIED, "nonsense", VERIFIED].join("\n")).await;
    assert_eq!(answer.status, 200);
    let codes: Vec<_> =
        answer.text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["code"].clone()).collect();
    assert_eq!(codes, ["stopping", "not_json", "stopping"]);
    assert!(api.fake.submissions().is_empty());
}

#[tokio::test]
async fn an_empty_bulk_body_gets_an_empty_answer() {
    let api = Api::start().await;
    let answer = api.bulk("\n\n").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    assert!(api.fake.submissions().is_empty());
}

#[tokio::test]
async fn mining_returns_the_block_or_nothing() {
    let api = Api::start().await;
    let nothing = api.post("/v1/mine", "").await;
    assert_eq!((nothing.status, nothing.text.as_str()), (204, ""));
    assert_eq!(api.post("/v1/mine", r#"{"blocks":2}"#).await.problem(), (422, "unknown_field".to_owned()));
    api.post("/v1/records", VERIFIED).await;
    let block = api.post("/v1/mine", "{}").await;
    assert_eq!((block.status, &block.json()["index"]), (200, &1.into()));
}

#[tokio::test]
async fn dialling_and_syncing_pass_the_address_on() {
    let api = Api::start().await;
    let dialled = api.post("/v1/peers", r#"{"address":"/ip4/127.0.0.1/tcp/4811"}"#).await.json();
    assert_eq!(api.fake.asked().as_deref(), Some("/ip4/127.0.0.1/tcp/4811"));
    assert_eq!(
        (&dialled["joined"], &dialled["peer_id"]),
        (&true.into(), &StationId::from_bytes([9; 32]).to_string().into())
    );
    for (body, asked) in [("", "None"), ("{}", "None"), (r#"{"peer":"12D3KooW"}"#, "Some(\"12D3KooW\")")] {
        let reports = api.post("/v1/sync", body).await.json();
        assert_eq!(api.fake.asked().as_deref(), Some(asked));
        let expected = serde_json::json!([{"peer": StationId::from_bytes([9; 32]).to_string(), "blocks": 1, "batches": 2,
            "records": 3, "bytes_in": 4, "bytes_out": 5, "round_trips": 8, "reorg_depth": 6, "elapsed_ms": 7, "cpu_ms": 10, "fault": null}]);
        assert_eq!(reports, expected);
    }
    let long = format!(r#"{{"address":"{}"}}"#, "x".repeat(5_000));
    for (path, body, status, code) in [
        ("/v1/peers", "", 422, "missing_field"),
        ("/v1/peers", "{}", 422, "missing_field"),
        ("/v1/peers", r#"{"address":7}"#, 422, "wrong_type"),
        ("/v1/peers", r#"{"address":""}"#, 400, "bad_address"),
        ("/v1/peers", long.as_str(), 400, "bad_address"),
        ("/v1/peers", r#"{"address":"x","x":1}"#, 422, "unknown_field"),
        ("/v1/sync", r#"{"address":"x"}"#, 422, "unknown_field"),
        ("/v1/sync", "[", 400, "not_json"),
        ("/v1/sync", "[]", 422, "not_an_object"),
    ] {
        assert_eq!(api.post(path, body).await.problem(), (status, code.to_owned()), "{path} {body}");
    }
    assert_eq!(api.fake.asked(), None);
}

#[tokio::test]
async fn what_the_station_cannot_do_is_a_problem_with_its_own_code() {
    let api = Api::start().await;
    let id = api.fake.0.rules.genesis().id();
    for (error, status, code) in [
        (PortError::NoFederation, 409, "no_federation"),
        (PortError::OtherFederation { name: Name::new("theirs").expect("a name"), id }, 409, "other_federation"),
        (PortError::BadAddress { reason: "is no multiaddress".to_owned() }, 400, "bad_address"),
        (PortError::NotConnected, 404, "unknown_peer"),
        (PortError::Unreachable { reason: "refused".to_owned() }, 502, "unreachable"),
        (PortError::NotReady { reason: "it waits for a peer".to_owned() }, 503, "not_ready"),
        (PortError::LogUnknown { reason: "it asks its peers".to_owned() }, 503, "log_unknown"),
        (PortError::AnotherSeen { reason: "another one was seen".to_owned() }, 503, "another_daemon_seen"),
        (PortError::AnotherDaemon { reason: "another one runs".to_owned() }, 409, "another_daemon"),
        (PortError::Busy, 503, "busy"),
        (PortError::DiskFull, 507, "disk_full"),
        (PortError::Stopping, 503, "stopping"),
        (PortError::Failed { reason: "the disk is full".to_owned() }, 500, "internal"),
    ] {
        let says = error.to_string();
        api.fake.with(|state| state.fails = Some(error));
        let bulk = api.bulk(VERIFIED).await;
        assert_eq!(bulk.problem(), (status, code.to_owned()));
        let dial = api.post("/v1/peers", r#"{"address":"x"}"#).await;
        assert_eq!(dial.problem(), (status, code.to_owned()));
        assert!(dial.json()["detail"].as_str().is_some_and(|detail| detail.starts_with(&says)), "{}", dial.text);
        assert_eq!(dial.header("retry-after"), if code == "busy" { "1" } else { "" });
        assert_eq!(api.get("/v1/status").await.problem(), (status, code.to_owned()));
    }
}
