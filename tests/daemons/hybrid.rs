//! Federations with the scheme `hybrid` on real daemons: all that stations of an `ed25519` one do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use qfzz_tests::harness::{
    Daemon, Finished, Recipe, beside_others, station_seen_by, synced, wait_for, wait_for_one_head, wait_for_record,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

const HYBRID: [&str; 2] = ["--signatures", "hybrid"];

fn action(user: &str) -> Value {
    json!({"kind": "user_action", "user_id": user, "action": "rating"})
}

#[track_caller]
fn wait_for_standing(daemons: &[&Daemon], station: &str, member: &str) {
    for daemon in daemons {
        wait_for(&format!("{}: {station} is {member}", daemon.name()), PATIENCE, || {
            let seen = station_seen_by(daemon, station);
            if seen[member] == true { Ok(()) } else { Err(seen.to_string()) }
        });
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the place can be made");
    fs::set_permissions(to, fs::metadata(from).expect("it is there").permissions()).expect("it is ours");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let place = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).expect("copied");
        }
    }
}

#[test]
fn three_stations_record_mine_restart_and_prove_and_a_restored_backup_signs_nothing_twice() {
    let _turn = beside_others();
    let recipe = |name: &str| Recipe::new(name).set("sync.interval", "1s");
    let first = recipe("first").found("hybrid", &HYBRID);
    let mut second = recipe("second").join(&first.address());
    let third = recipe("third").join(&second.address());
    let status = first.api().get("/v1/status");
    assert_eq!((&status["signatures"], status["ml_dsa_key_hash"].as_str().map(str::len)), (&json!("hybrid"), Some(64)));

    let ids: Vec<String> =
        [&first, &second, &third].iter().map(|daemon| daemon.api().record(&action("user"))).collect();
    for id in &ids {
        wait_for_record(&[&first, &second, &third], id, "pending");
    }
    for miner in [&second, &first] {
        miner.api().mine().expect("something is pending");
        wait_for_one_head(&[&first, &second, &third]);
        let more = miner.api().record(&action("more"));
        wait_for_record(&[&first, &second, &third], &more, "pending");
    }
    wait_for_record(&[&first, &second, &third], &ids[2], "confirmed");

    // A proof is checked offline, with both keys in it.
    let proof = third.qfzz(&["chain", "proof", &ids[2]]).exits(0).stdout;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let check = |text: &str| {
        let mut command = qfzz_tests::harness::qfzz(&elsewhere.path().join("nothing"));
        command.args(["chain", "verify-proof", "-"]);
        Finished::run(command, text)
    };
    check(&proof).exits(0);
    let mut shown: Value = serde_json::from_str(&proof).expect("JSON");
    let key = shown["block"]["ml_dsa_key"].as_str().expect("the producer's key").to_owned();
    shown["batch"]["ml_dsa_key"] = key.into();
    let refused = check(&shown.to_string()).exits(5);
    assert!(refused.stderr.contains("ML-DSA"), "{refused:?}");

    // Its backup, then a batch that the backup does not know, then the backup.
    second.signal(Signal::TERM, PATIENCE);
    let backup = tempfile::tempdir().expect("a directory");
    copy(second.data_dir(), backup.path());
    second.start();
    let newest = second.api().record(&action("newest"));
    wait_for_record(&[&first, &third], &newest, "pending");
    second.kill();
    fs::remove_dir_all(second.data_dir()).expect("it can be lost");
    copy(backup.path(), second.data_dir());
    second.start();
    let next = second.api().record(&action("after the backup"));
    assert_ne!(next, newest);
    wait_for_record(&[&first, &second, &third], &next, "pending");
    wait_for_record(&[&second], &newest, "pending");
    third.api().mine().expect("something is pending");
    wait_for_one_head(&[&first, &second, &third]);
    for station in first.api().get("/v1/stations").as_array().expect("an array") {
        assert_eq!(station["equivocated"], false, "{station}");
    }

    // All signatures again, here and from an export elsewhere.
    first.qfzz(&["chain", "verify"]).exits(0);
    let export = elsewhere.path().join("chain.json");
    let path = export.to_str().expect("a plain path");
    first.qfzz(&["chain", "export", path]).exits(0);
    let mut importer = Recipe::new("importer").prepare();
    importer.start();
    importer.qfzz(&["chain", "import", path]).exits(0);
    assert_eq!(importer.api().head(), first.api().head());
    importer.qfzz(&["chain", "verify"]).exits(0);
    second.signal(Signal::TERM, PATIENCE);
    second.qfzz(&["doctor"]).exits(0);
}

#[test]
fn founders_and_newcomers_are_named_with_their_keys() {
    let _turn = beside_others();
    let mut second = Recipe::new("second").prepare();
    let made = second.qfzz(&["--json", "init", "--name", "second", "--join", "/ip4/127.0.0.1/tcp/9", "--yes"]).exits(0);
    let made = made.json();
    let [id, hash] = ["station_id", "ml_dsa_key_hash"].map(|member| made[member].as_str().expect("a text").to_owned());
    let founder = format!("{id}:{hash}");
    let roster = ["--signatures", "hybrid", "--admission", "roster", "--founder", &founder];
    let first =
        Recipe::new("first").set("mining.enabled", "true").set("mining.interval", "1h").found("closed", &roster);
    second.set("network.join", &first.address());
    second.start();
    wait_for("the second founder caught up", PATIENCE, || synced(&second));
    let record = second.api().record(&action("founder"));
    wait_for_record(&[&first], &record, "pending");

    // By a founder's word: without the key it is refused, and so is a wrong one once the right one is known.
    let newcomer = Recipe::new("newcomer").join(&first.address());
    let (station, status) = (newcomer.station(), newcomer.api().get("/v1/status"));
    let hash = status["ml_dsa_key_hash"].as_str().expect("a hash").to_owned();
    let said = first.qfzz(&["station", "admit", &station]).exits(2).stderr;
    assert!(said.contains("--key-hash"), "{said}");
    first.qfzz(&["station", "admit", &station, "--key-hash", "00"]).exits(2);
    first.qfzz(&["station", "admit", &station, "--key-hash", &hash]).exits(0);
    wait_for_standing(&[&first, &second, &newcomer], &station, "admitted");
    let said = second.qfzz(&["station", "admit", &station, "--key-hash", &"0".repeat(64)]).exits(1).stderr;
    assert!(said.contains("other_key"), "{said}");
    second.qfzz(&["station", "admit", &station]).exits(0);
    second.api().mine().expect("its word is pending");
    wait_for_standing(&[&first, &second, &newcomer], &station, "vouched");
    let record = newcomer.api().record(&action("newcomer"));
    newcomer.api().mine().expect("it may mine");
    wait_for_record(&[&first, &second, &newcomer], &record, "confirmed");

    // By invitation: it tells its key itself.
    let made = first.qfzz(&["--json", "ticket", "--invite"]).exits(0).json();
    let guest = Recipe::new("guest").join(made["ticket"].as_str().expect("a ticket"));
    wait_for_standing(&[&first, &second, &guest], &guest.station(), "admitted");
    let record = guest.api().record(&action("guest"));
    guest.api().mine().expect("it may mine");
    wait_for_record(&[&first, &second, &newcomer, &guest], &record, "confirmed");
}
