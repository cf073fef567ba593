//! Proofs as people use them: fetched from one station, verified where no station is.

use std::fs;

use qfzz_tests::harness::{Daemon, Finished, Recipe, beside_others};
use serde_json::{Value, json};

fn founded(name: &str, federation: &str) -> Daemon {
    Recipe::new(name).found(federation, &[])
}

/// Three records in one batch, the middle one's id.
fn bulk(daemon: &Daemon) -> String {
    let record = |content: &str| format!(r#"{{"kind":"content_verified","content_id":"{content}","creator_id":"b"}}"#);
    let lines = format!("{}\n{}\n{}\n", record("x"), record("y"), record("z"));
    let answer = daemon.api().try_post_lines("/v1/records/bulk", &lines).expect("it answers");
    let middle: Value = serde_json::from_str(answer.body.lines().nth(1).expect("three lines")).expect("JSON");
    middle["record_id"].as_str().expect("an id").to_owned()
}

/// Runs the program in an empty directory of its own: no key, no genesis, no daemon.
fn elsewhere(arguments: &[&str], input: &str) -> Finished {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = qfzz_tests::harness::qfzz(&dir.path().join("nothing"));
    command.args(arguments);
    Finished::run(command, input)
}

#[test]
fn a_proof_is_verified_without_any_station_and_no_altered_one_is() {
    let _turn = beside_others();
    let daemon = founded("prover", "Proof Radio");
    let id = bulk(&daemon);
    let file = daemon.data_dir().join("proof.json");
    let path = file.to_str().expect("a plain path");

    // Pending: only the signature is proven.
    let pending = daemon.qfzz(&["chain", "proof", &id]).exits(0).stdout;
    let shown = elsewhere(&["--json", "chain", "verify-proof", "-"], &pending).exits(0).json();
    assert_eq!((&shown["valid"], &shown["status"], &shown["block"]), (&json!(true), &json!("pending"), &json!(null)));

    daemon.api().mine().expect("records are pending");
    daemon.qfzz(&["chain", "proof", &id, path]).exits(0);
    let proof = fs::read_to_string(&file).expect("it was written");
    let head = daemon.api().head();
    let federation = daemon.api().get("/v1/status")["federation_id"].as_str().expect("an id").to_owned();

    // With the station's own directory it is compared with its genesis, elsewhere with what is named.
    let shown = daemon.qfzz(&["--json", "chain", "verify-proof", path]).exits(0).json();
    assert_eq!((&shown["compared"], &shown["record_id"]), (&json!(true), &json!(id)));
    assert_eq!((&shown["block"]["index"], &shown["block"]["hash"]), (&json!(head.0), &json!(head.1)));
    assert_eq!(shown["record"]["content_id"], "y");
    let shown = elsewhere(&["chain", "verify-proof", "-", "--federation", &federation], &proof).exits(0);
    assert!(shown.stdout.contains("does not prove that the block is on the best chain"), "{shown:?}");
    let shown = elsewhere(&["--json", "chain", "verify-proof", "-"], &proof).exits(0).json();
    assert_eq!(shown["compared"], false);

    // Another federation is refused, by flag and by directory.
    let refused = elsewhere(&["chain", "verify-proof", "-", "--federation", &"0".repeat(64)], &proof).exits(5);
    assert!(refused.stderr.contains(&federation), "{refused:?}");
    let other = founded("other", "Other Radio");
    let refused = other.qfzz_reading(&["chain", "verify-proof", "-"], &proof).exits(5);
    assert!(refused.stderr.contains("it is of the federation"), "{refused:?}");

    // Every member, altered, is refused with a reason.
    let whole: Value = serde_json::from_str(&proof).expect("JSON");
    let mut refused = 0;
    for (member, value) in whole.as_object().expect("an object") {
        let altered = match value {
            Value::String(text) if text.len() % 2 == 0 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                let last = if text.ends_with('0') { "1" } else { "0" };
                json!(format!("{}{last}", &text[..text.len() - 1]))
            }
            Value::String(text) => json!(format!("{text}x")),
            _ => json!(null),
        };
        let mut lie = whole.clone();
        lie[member] = altered;
        let said = elsewhere(&["--json", "chain", "verify-proof", "-"], &lie.to_string()).exits(5);
        assert_eq!(said.json()["valid"], false, "{member}");
        assert!(said.stderr.contains("the proof does not hold: "), "{member}: {said:?}");
        refused += 1;
    }
    println!("{refused} altered proofs, all refused");
    for garbage in ["", "{}", "[]", "no proof", &"x".repeat(2_000_000)] {
        elsewhere(&["chain", "verify-proof", "-"], garbage).exits(5);
    }

    // What does not exist has no proof, and a file that is not there is no proof that fails.
    let (station, _) = id.split_once('.').expect("a place");
    daemon.qfzz(&["chain", "proof", &format!("{station}.99.0")]).exits(3);
    daemon.qfzz(&["chain", "proof", "nonsense"]).exits(2);
    elsewhere(&["chain", "verify-proof", "/nonexistent"], "").exits(2);
}
