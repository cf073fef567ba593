//! Datasets through commands and HTTP: registered by the rules, verified by their bytes, rated, listed, trusted.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use qfzz_tests::harness::{Daemon, Finished, Recipe, beside_others, millionths, program, wait_for};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file in the station's directory, with its SHA-256.
fn file(station: &Daemon, name: &str, bytes: &[u8]) -> (PathBuf, String) {
    let path = station.data_dir().join(name);
    fs::write(&path, bytes).expect("the directory can be written");
    (path, hex::encode(Sha256::digest(bytes)))
}

/// Some bytes that are no multiple of anything, and more than are read at once.
fn music() -> Vec<u8> {
    (0..3_000_017_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// `dataset register`, with `more` after what must be given.
fn register(station: &Daemon, file: &str, id: &str, more: &[&str]) -> Finished {
    let given = ["--json", "dataset", "register", file, "--id", id, "--name", "OpenMusic"];
    station.qfzz(&[&given[..], more].concat())
}

const GOOD: [&str; 4] = ["--license", "CC-BY", "--quality", "0.9"];

#[track_caller]
fn user_score(station: &Daemon, user: &str) -> i64 {
    millionths(&station.api().get(&format!("/v1/trust/users/{user}"))["score"])
}

#[track_caller]
fn pending(station: &Daemon) -> u64 {
    station.api().get("/v1/chain")["pending_records"].as_u64().expect("a number")
}

/// Raises a new user's score to 0.69.
fn earn_0_69(station: &Daemon, user: &str) {
    for action in ["connection", "connection", "connection", "rating", "interaction"] {
        station.qfzz(&["record", user, action]).exits(0);
    }
    assert_eq!(user_score(station, user), 690_000);
}

#[test]
fn a_file_is_registered_by_its_bytes_and_one_changed_byte_fails() {
    let _turn = beside_others();
    let station = Recipe::new("bytes").found("bytes", &[]);
    let (mut bytes, path) = (music(), "music.tar");
    let (path, sha256) = file(&station, path, &bytes);
    let path = path.to_str().expect("temporary paths are UTF-8");
    let texts = ["--description", "d e", "--source", "https://example.org/", "--creator", "artist_001"];
    let more = ["--genre", "ambient", "--tag", "live", "--tag", "original,long"];
    let registered = register(&station, path, "ds_001", &[&GOOD[..], &texts, &more].concat()).exits(0).json();
    for (field, value) in [
        ("sha256", json!(sha256)),
        ("size", json!(bytes.len())),
        ("license", json!("CC-BY-4.0")),
        ("quality", json!(0.9)),
        ("quality_band", json!("high")),
        ("verified", json!(false)),
        ("description", json!("d e")),
        ("source", json!("https://example.org/")),
        ("creator", json!("artist_001")),
        ("genre", json!("ambient")),
        ("tags", json!(["live", "original", "long"])),
        ("station_id", json!(station.station())),
    ] {
        assert_eq!(registered[field], value, "{field} of {registered}");
    }
    assert_eq!(pending(&station), 1);

    let verified = station.qfzz(&["--json", "dataset", "verify", "ds_001", path, "--user", "user_001"]).exits(0).json();
    assert_eq!((&verified["verified"], &verified["verifications"]), (&json!(true), &json!(1)), "{verified}");
    // One batch: what was found, the guide's action of `system`, and that of the user.
    let records = verified["records"].as_array().expect("records").clone();
    assert_eq!(records.len(), 3, "{verified}");
    let show = |record: &Value| {
        let id = record["record_id"].as_str().expect("an id");
        station.api().get(&format!("/v1/records/{id}"))["record"].clone()
    };
    assert_eq!(show(&records[0])["kind"], "dataset_verified");
    let system = show(&records[1]);
    assert_eq!((&system["user_id"], &system["action"]), (&json!("system"), &json!("dataset_verification")));
    assert_eq!((&system["target"], millionths(&system["trust_delta"])), (&json!("ds_001"), 0));
    assert!(records.iter().all(|record| record["batch_id"] == records[0]["batch_id"]));
    assert_eq!((user_score(&station, "user_001"), user_score(&station, "system")), (520_000, 500_000));

    bytes[1_500_000] ^= 1;
    let (other, found) = file(&station, "other.tar", &bytes);
    let other = other.to_str().expect("temporary paths are UTF-8");
    let before = pending(&station);
    let failed = station.qfzz(&["dataset", "verify", "ds_001", other, "--user", "user_001"]).exits(5);
    assert!(failed.stderr.contains(&found) && failed.stderr.contains(&sha256), "{failed:?}");
    assert_eq!(pending(&station), before, "nothing is published unless asked");
    let failed = station.qfzz(&["--json", "dataset", "verify", "ds_001", other, "--publish"]).exits(5).json();
    assert_eq!(
        (&failed["verified"], &failed["found"], &failed["mismatches"]),
        (&json!(false), &json!(found), &json!(1))
    );
    assert_eq!(pending(&station), before + 2);

    station.qfzz(&["dataset", "verify", "nobody's", path]).exits(3);
    station.qfzz(&["dataset", "verify", "ds_001", "/nonexistent"]).exits(2);
    station.qfzz(&["dataset", "show", "nobody's"]).exits(3);
    let shown = station.qfzz(&["dataset", "show", "ds_001"]).exits(0);
    assert!(shown.stdout.contains(&sha256) && shown.stdout.contains("CC-BY-4.0"), "{shown:?}");

    // All of it is the same once it is on the chain.
    let pending_view = station.api().get("/v1/datasets/ds_001");
    station.qfzz(&["mine"]).exits(0);
    let mut confirmed = station.api().get("/v1/datasets/ds_001");
    assert_eq!(confirmed["status"], "confirmed");
    confirmed["status"] = json!("pending");
    assert_eq!(confirmed, pending_view);
    station.qfzz(&["chain", "verify"]).exits(0);
}

#[test]
fn what_breaks_a_rule_is_refused_with_the_rules_name_and_value() {
    let _turn = beside_others();
    let station = Recipe::new("rules").found("rules", &[]);
    let (path, sha256) = file(&station, "music", b"music");
    let path = path.to_str().expect("temporary paths are UTF-8");
    let refused = |more: &[&str], code: i32, words: &[&str]| {
        let refused = register(&station, path, "ds_001", more).exits(code);
        for word in words {
            assert!(refused.stderr.contains(word), "{word} in {refused:?}");
        }
    };
    refused(&["--license", "CC-BY-NC-4.0", "--quality", "0.9"], 2, &["datasets.licenses", "CC-BY-NC-4.0", "CC0-1.0"]);
    refused(&["--license", "Proprietary", "--quality", "0.9"], 2, &["Proprietary", "SPDX"]);
    refused(&["--license", "MIT", "--quality", "0.65"], 2, &["datasets.min_quality", "0.65", "0.7"]);
    earn_0_69(&station, "user_001");
    let before = pending(&station);
    let by_user = [&GOOD[..], &["--user", "user_001"]].concat();
    refused(&by_user, 1, &["user_001", "0.69", "trust.submit_threshold", "0.7"]);
    let body = json!({ "dataset_id": "ds_001", "name": "n", "license": "MIT", "quality": 0.7, "sha256": sha256,
        "user_id": "user_001" });
    let answer = station.api().try_post("/v1/datasets", &body).expect("an answer");
    assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("below_threshold")), "{answer:?}");
    let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.contains("0.69") && detail.contains("0.7"), "{detail}");
    let user = station.api().get("/v1/trust/users/user_001");
    assert_eq!((&user["may_submit"], &user["community_trusted"]), (&json!(false), &json!(false)), "{user}");
    station.qfzz(&["trust", "user", "user_001", "--at-least", "0.7"]).exits(5);
    // The same rules hold for records.
    for (field, value, word) in
        [("license", json!("CC-BY-NC-4.0"), "datasets.licenses"), ("quality", json!(0.65), "datasets.min_quality")]
    {
        let mut record = body.clone();
        record.as_object_mut().expect("an object").remove("user_id");
        (record["kind"], record[field]) = (json!("dataset_registered"), value);
        let answer = station.api().try_post("/v1/records", &record).expect("an answer");
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.body.contains(word), "{answer:?}");
    }
    assert_eq!(pending(&station), before, "nothing of it was stored");

    station.qfzz(&["record", "user_001", "interaction"]).exits(0);
    station.qfzz(&["trust", "user", "user_001", "--at-least", "0.7"]).exits(0);
    register(&station, path, "ds_001", &by_user).exits(0);
    // The first registration stands.
    let again = register(&station, path, "ds_001", &GOOD).exits(1);
    assert!(again.stderr.contains("ds_001") && again.stderr.contains(&station.station()), "{again:?}");
    assert_eq!(station.api().get("/v1/trust/users/user_001")["may_submit"], true);
}

#[test]
fn a_stations_thresholds_are_its_own() {
    let _turn = beside_others();
    let recipe = Recipe::new("lenient").set("trust.submit_threshold", "0.5").set("trust.community_threshold", "0.6");
    let station = recipe.found("thresholds", &[]);
    let (path, _) = file(&station, "music", b"music");
    let path = path.to_str().expect("temporary paths are UTF-8");
    register(&station, path, "ds_001", &[&GOOD[..], &["--user", "newcomer"]].concat()).exits(0);
    let user = station.api().get("/v1/trust/users/newcomer");
    assert_eq!((&user["may_submit"], &user["community_trusted"]), (&json!(true), &json!(false)), "{user}");
    let shown = station.qfzz(&["config", "show"]).exits(0);
    assert!(shown.stdout.contains("submit_threshold"), "{shown:?}");
}

#[test]
fn a_dataset_is_trusted_by_what_stations_across_the_federation_find() {
    let _turn = beside_others();
    let one = Recipe::new("one").found("across", &[]);
    let two = Recipe::new("two").join(&one.address());
    let (path, _) = file(&one, "music", b"music");
    register(&one, path.to_str().expect("temporary paths are UTF-8"), "ds_001", &GOOD).exits(0);
    one.qfzz(&["mine"]).exits(0);
    wait_for("the second station knows the dataset", Duration::from_secs(10), || {
        let answer = two.api().try_get("/v1/datasets/ds_001").map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    });
    let (path, _) = file(&two, "same", b"music");
    two.qfzz(&["dataset", "verify", "ds_001", path.to_str().expect("temporary paths are UTF-8")]).exits(0);
    two.qfzz(&["dataset", "rate", "ds_001", "0.8", "--user", "user_002"]).exits(0);
    assert_eq!(user_score(&two, "user_002"), 530_000);
    let (other, _) = file(&one, "other", b"noise");
    one.qfzz(&["dataset", "verify", "ds_001", other.to_str().expect("temporary paths are UTF-8"), "--publish"])
        .exits(5);
    two.qfzz(&["mine"]).exits(0);
    one.qfzz(&["sync"]).exits(0);
    one.qfzz(&["mine"]).exits(0);
    two.qfzz(&["sync"]).exits(0);
    wait_for("both have all of it on one chain", Duration::from_secs(10), || {
        let (heads, waiting) = ([one.api().head(), two.api().head()], pending(&one) + pending(&two));
        if heads[0] == heads[1] && waiting == 0 { Ok(()) } else { Err(format!("{heads:?}, {waiting} wait")) }
    });
    for station in [&one, &two] {
        let trust = station.api().get("/v1/trust/datasets/ds_001");
        // 0.1 + 0.8 * (1 + 0 + 0.8) / 3 over all records.
        assert_eq!(millionths(&trust["score"]), 580_000, "{trust}");
        assert_eq!(trust["score"], trust["confirmed_score"]);
        assert_eq!((&trust["verifications"], &trust["mismatches"]), (&json!(1), &json!(1)), "{trust}");
        assert_eq!(millionths(&trust["rating"]), 800_000, "{trust}");
        // One station found another file, the other one this one: 0.1 and 0.1 + 0.8 * 1.8 / 2.
        let global = station.api().get("/v1/trust/global?kind=dataset&id=ds_001&policy=mean");
        assert_eq!((millionths(&global["score"]), &global["kind"]), (460_000, &json!("dataset")), "{global}");
        // Anchored: the founder's one record of 0.1, and half a record of 0.5; the other station has proven nothing yet.
        let anchored = station.api().get("/v1/trust/global?kind=dataset&id=ds_001");
        assert_eq!((millionths(&anchored["score"]), &anchored["policy"]), (233_333, &json!("anchored")), "{anchored}");
        let own = format!("/v1/trust/datasets/ds_001?station={}", two.station());
        assert_eq!(millionths(&station.api().get(&own)["score"]), 820_000);
    }
    assert_eq!(one.api().get("/v1/datasets"), two.api().get("/v1/datasets"));
    one.qfzz(&["trust", "dataset", "ds_001", "--explain"]).exits(0);
    one.qfzz(&["trust", "dataset", "ds_001", "--global", "--policy", "mean", "--at-least", "0.46"]).exits(0);
    one.qfzz(&["trust", "dataset", "ds_001", "--global", "--at-least", "0.46"]).exits(5);
    assert_eq!(millionths(&one.api().get("/v1/trust/datasets/nobody's")["score"]), 500_000);
}

#[test]
fn many_datasets_are_listed_page_by_page_and_by_what_is_asked() {
    let _turn = beside_others();
    let station = Recipe::new("list").found("list", &[]);
    let dataset = |number: u32| {
        json!({ "kind": "dataset_registered", "dataset_id": format!("ds_{number:03}"), "name": "n",
            "license": if number.is_multiple_of(2) { "MIT" } else { "CC-BY-4.0 OR MIT" }, "quality": f64::from(7 + number % 4) / 10.0,
            "sha256": format!("{number:064x}"), "genre": if number % 100 == 7 { "rare" } else { "common" },
            "tags": [format!("t{}", number % 3)] })
        .to_string()
    };
    let lines: String = (0..150).map(|number| dataset(number) + "\n").collect();
    station.qfzz_reading(&["record", "--from", "-"], &lines).exits(0);
    station.qfzz(&["mine"]).exits(0);
    // These wait; the last two name what is registered already.
    let lines: String = [150, 151, 207, 3, 150].map(|number| dataset(number) + "\n").concat();
    station.qfzz_reading(&["record", "--from", "-"], &lines).exits(0);
    let list = |more: &[&str]| {
        let listed = station.qfzz(&[&["--json", "dataset", "list"], more].concat()).exits(0).json();
        let ids =
            listed.as_array().expect("a list").iter().map(|it| it["dataset_id"].as_str().expect("an id").to_owned());
        ids.collect::<Vec<_>>()
    };
    let all: Vec<String> = (0..152).chain([207]).map(|number| format!("ds_{number:03}")).collect();
    assert_eq!(list(&[]), all);
    assert_eq!(list(&["--limit", "120"]), all[..120]);
    assert_eq!(list(&["--genre", "rare"]), ["ds_007", "ds_107", "ds_207"]);
    assert_eq!(list(&["--license", "CC-BY", "--limit", "2"]), ["ds_001", "ds_003"]);
    assert_eq!(list(&["--license", "mit"]).len(), all.len());
    assert_eq!(list(&["--min-quality", "1", "--tag", "t0", "--limit", "2"]), ["ds_003", "ds_015"]);
    assert_eq!(list(&["--verified"]), Vec::<String>::new());
    assert_eq!(list(&["--station", &station.station()]).len(), all.len());
    let page = station.api().get("/v1/datasets?limit=5&after=148");
    let states: Vec<_> = page.as_array().expect("a list").iter().map(|it| it["status"].as_str()).collect();
    assert_eq!(states, [Some("confirmed"), Some("confirmed"), Some("pending"), Some("pending"), Some("pending")]);
    station.qfzz(&["dataset", "list", "--limit", "3"]).exits(0);
}

#[test]
fn a_large_file_is_hashed_in_little_memory() {
    let _turn = beside_others();
    let station = Recipe::new("large").found("large", &[]);
    let path = station.data_dir().join("large");
    let length = 1024 * 1024 * 1024 + 5;
    File::create(&path).and_then(|file| file.set_len(length)).expect("a sparse file takes no space");
    // With less address space than the file has bytes.
    let limited = "ulimit -v 524288 && exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited]).arg(program()).arg("--data-dir").arg(station.data_dir());
    command.args(["--json", "dataset", "register"]).arg(&path);
    command.args(["--id", "large", "--name", "n", "--license", "CC0", "--quality", "0.7"]);
    let registered = Finished::run(command, "").exits(0).json();
    assert_eq!(registered["size"], length);
    let mut hasher = Sha256::new();
    (0..1024).for_each(|_| hasher.update([0; 1024 * 1024]));
    hasher.update([0; 5]);
    assert_eq!(registered["sha256"], hex::encode(hasher.finalize()));
}
