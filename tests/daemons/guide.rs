//! The guide's figures and its whole workflow, through commands.

use qfzz_tests::harness::{Daemon, Recipe, beside_others, millionths};
use serde_json::{Value, json};

/// Runs a command that must succeed, and returns its JSON.
#[track_caller]
fn json(station: &Daemon, arguments: &[&str]) -> Value {
    station.qfzz(&[&["--json"], arguments].concat()).exits(0).json()
}

/// (score, confirmed score) of a trust answer, in millionths.
#[track_caller]
fn scores(station: &Daemon, arguments: &[&str]) -> (i64, i64) {
    let answer = json(station, &[&["trust"], arguments].concat());
    (millionths(&answer["score"]), millionths(&answer["confirmed_score"]))
}

/// Runs commands, one a line, that must all succeed.
#[track_caller]
fn run(station: &Daemon, commands: &str) {
    for line in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "qfzz");
        station.qfzz(&words[1..]).exits(0);
    }
}

#[test]
fn a_users_score_begins_at_a_half_counts_at_once_and_is_confirmed_by_mining() {
    let _turn = beside_others();
    let station = Recipe::new("guide").found("guide", &[]);
    assert_eq!(scores(&station, &["user", "user_001"]), (500_000, 500_000));
    run(
        &station,
        "qfzz record user_001 interaction --target dj
         qfzz record user_001 rating --target dataset_001",
    );
    assert_eq!(scores(&station, &["user", "user_001"]), (540_000, 500_000));
    let shown = station.qfzz(&["trust", "user", "user_001"]).exits(0);
    assert!(shown.stdout.contains("0.54") && shown.stdout.contains("neutral"), "{shown:?}");

    let mined = station.qfzz(&["mine"]).exits(0);
    let hash = json(&station, &["chain", "latest"])["hash"].as_str().expect("a block has a hash").to_owned();
    assert!(mined.stdout.contains(&hash[..6]), "{mined:?}");
    assert_eq!(scores(&station, &["user", "user_001"]), (540_000, 540_000));
    let nothing = station.qfzz(&["mine"]).exits(0);
    assert_eq!(json(&station, &["chain", "stats"])["chain_length"], 2, "{nothing:?}");

    station.qfzz(&["trust", "user", "user_001", "--at-least", "0.54"]).exits(0);
    station.qfzz(&["trust", "user", "user_001", "--at-least", "0.55"]).exits(5);
    assert_eq!(scores(&station, &["user", "nobody"]), (500_000, 500_000));
}

#[test]
fn a_score_is_clamped_at_one_after_every_step() {
    let _turn = beside_others();
    let station = Recipe::new("clamp").found("clamp", &["--action", "complaint=-0.04"]);
    let mut lines = String::new();
    for _ in 0..12 {
        lines.push_str("{\"kind\":\"user_action\",\"user_id\":\"user_001\",\"action\":\"connection\",\"target\":\"peer\",\"trust_delta\":0.05}\n");
    }
    let ids = station.qfzz_reading(&["record", "--from", "-"], &lines).exits(0);
    let station_id = station.station();
    assert_eq!(ids.stdout.lines().filter(|line| line.starts_with(&station_id)).count(), 12, "an id a line: {ids:?}");
    assert_eq!(scores(&station, &["user", "user_001"]), (1_000_000, 500_000));
    run(&station, "qfzz mine");
    assert_eq!(scores(&station, &["user", "user_001"]), (1_000_000, 1_000_000));
    // Clamped at each step, so what was over the top does not come back.
    run(&station, "qfzz record user_001 complaint");
    assert_eq!(scores(&station, &["user", "user_001"]), (960_000, 1_000_000));
}

#[test]
fn content_verified_four_times_of_five_has_074() {
    let _turn = beside_others();
    let station = Recipe::new("content").found("content", &[]);
    assert_eq!(scores(&station, &["content", "track_001", "artist_001"]), (500_000, 500_000));
    assert_eq!(scores(&station, &["creator", "artist_001"]), (500_000, 500_000));
    run(
        &station,
        "qfzz content verify track_001 artist_001 --times 4
         qfzz content report track_001 artist_001",
    );
    assert_eq!(scores(&station, &["content", "track_001", "artist_001"]), (740_000, 500_000));
    run(&station, "qfzz mine");
    assert_eq!(scores(&station, &["content", "track_001", "artist_001"]), (740_000, 740_000));
    let content = json(&station, &["trust", "content", "track_001", "artist_001"]);
    assert_eq!((content["verifications"].as_u64(), content["reports"].as_u64()), (Some(4), Some(1)), "{content}");
    assert_eq!(content["band"], "high");
}

#[test]
fn the_whole_workflow_of_the_api_guide_as_commands() {
    let _turn = beside_others();
    let station = Recipe::new("workflow").found("workflow", &[]);
    // Phases 1 and 2: add, verify, report.
    run(
        &station,
        "qfzz content add track_001 artist_001 --score 0.6
         qfzz content add track_002 artist_002 --score 0.7
         qfzz content add track_003 artist_001 --score 0.5 --metadata {\"source\":\"manual\",\"tags\":[\"original\"]}",
    );
    assert_eq!(scores(&station, &["content", "track_001", "artist_001"]).0, 600_000, "the initial score");
    run(
        &station,
        "qfzz content verify track_001 artist_001
         qfzz content verify track_001 artist_001
         qfzz content verify track_002 artist_002
         qfzz content report track_003 artist_001",
    );
    assert_eq!(json(&station, &["chain", "stats"])["pending_records"], 7);

    // Phase 3: the first block.
    run(&station, "qfzz mine");
    let block = json(&station, &["chain", "block", "1"]);
    assert_eq!(block["records"].as_array().map(Vec::len), Some(7), "{block}");
    let hash = block["hash"].as_str().expect("a block has a hash");
    assert!(hash.starts_with('0'), "difficulty 1: {hash}");
    assert_eq!(json(&station, &["chain", "block", hash]), block);
    let genesis = json(&station, &["chain", "block", "0"]);
    assert_eq!((&genesis["previous_hash"], genesis["records"].as_array().map(Vec::len)), (&Value::from("0"), Some(0)));
    assert_eq!(block["previous_hash"], genesis["hash"]);

    // Phase 4: more records and a second block.
    run(
        &station,
        "qfzz content add track_004 artist_003
         qfzz content verify track_004 artist_003
         qfzz content verify track_004 artist_003
         qfzz mine",
    );
    assert_eq!(json(&station, &["chain", "latest"])["records"].as_array().map(Vec::len), Some(3));

    // Phase 5: queries.
    assert_eq!(scores(&station, &["content", "track_001", "artist_001"]), (900_000, 900_000));
    assert_eq!(scores(&station, &["content", "track_003", "artist_001"]), (100_000, 100_000));
    assert_eq!(scores(&station, &["content", "track_004", "artist_003"]), (900_000, 900_000));
    assert_eq!(scores(&station, &["creator", "artist_001"]), (500_000, 500_000));
    assert_eq!(scores(&station, &["content", "unknown", "unknown"]), (500_000, 500_000));
    let content = json(&station, &["trust", "content", "track_003", "artist_001"]);
    assert_eq!(content["metadata"]["tags"][0], "original", "{content}");

    // Phases 6 and 7: validity, statistics, export.
    station.qfzz(&["chain", "verify"]).exits(0);
    let statistics = json(&station, &["chain", "stats"]);
    for (key, value) in [
        ("chain_length", Value::from(3)),
        ("total_records", Value::from(10)),
        ("pending_records", Value::from(0)),
        ("difficulty", Value::from(1)),
        ("is_valid", Value::from(true)),
        ("indexed_records", Value::from(4)),
        ("total_users", Value::from(0)),
    ] {
        assert_eq!(statistics[key], value, "{key} of {statistics}");
    }
    let file = station.data_dir().join("export.json");
    station.qfzz(&["chain", "export", file.to_str().expect("temporary paths are UTF-8")]).exits(0);
    let exported = std::fs::read_to_string(&file).expect("the export was written");
    let exported: Value = serde_json::from_str(&exported).expect("an export is JSON");
    assert_eq!(exported.as_array().map(Vec::len), Some(3));
    assert_eq!(exported[1]["hash"], block["hash"]);
    station.qfzz(&["chain", "block", "3"]).exits(3);
}

#[test]
fn the_whole_workflow_of_the_api_guide_over_http() {
    let _turn = beside_others();
    let station = Recipe::new("http").found("http", &[]);
    let api = station.api();
    let content = |kind: &str, number: u8, creator: u8| json!({ "kind": kind, "content_id": format!("track_00{number}"), "creator_id": format!("artist_00{creator}") });
    let added = |number: u8, creator: u8, score: f64| {
        let mut record = content("content_added", number, creator);
        record["initial_score"] = json!(score);
        record
    };
    for record in [
        added(1, 1, 0.6),
        added(2, 2, 0.7),
        added(3, 1, 0.5),
        content("content_verified", 1, 1),
        content("content_verified", 1, 1),
        content("content_verified", 2, 2),
        content("content_reported", 3, 1),
    ] {
        api.record(&record);
    }
    assert_eq!(api.get("/v1/chain")["pending_records"], 7);
    let first = api.mine().expect("records are pending");
    assert_eq!((&first["index"], first["records"].as_array().map(Vec::len)), (&Value::from(1), Some(7)));
    api.record(&added(4, 3, 0.5));
    api.record(&content("content_verified", 4, 3));
    api.record(&content("content_verified", 4, 3));
    assert_eq!(api.mine().expect("records are pending")["records"].as_array().map(Vec::len), Some(3));
    assert_eq!(api.mine(), None, "nothing is pending");

    let score = |path: &str| millionths(&api.get(path)["score"]);
    let of_track = |number: u8, creator: u8| {
        score(&format!("/v1/trust/content?content_id=track_00{number}&creator_id=artist_00{creator}"))
    };
    assert_eq!((of_track(1, 1), of_track(3, 1), of_track(4, 3)), (900_000, 100_000, 900_000));
    assert_eq!(score("/v1/trust/creators/artist_001"), 500_000);
    assert_eq!(api.get("/v1/chain/verify")["valid"], true);
    let statistics = api.get("/v1/chain");
    assert_eq!((&statistics["chain_length"], &statistics["total_records"]), (&json!(3), &json!(10)));
    assert_eq!(api.get("/v1/chain/export").as_array().map(Vec::len), Some(3));
}
