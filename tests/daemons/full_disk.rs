//! A disk that runs full, and has room again.

use std::time::{Duration, Instant};

use qfzz_tests::harness::{Api, Daemon, Dice, Load, Plan, Recipe, SmallDisk, Witness, alone, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;

/// The whole disk.
const DISK: u64 = 160 * MIB;

/// What is left free of it: below what a station keeps in reserve.
const LITTLE: u64 = 40 * MIB;

/// How often the disk runs full under load.
const ROUNDS: usize = 4;

/// Records that are acknowledged before the disk runs full, at least.
const RECORDS_A_ROUND: usize = 150;

/// How long it may take to notice that the disk is full, or has room.
const NOTICE: Duration = Duration::from_secs(5);

const PATIENCE: Duration = Duration::from_secs(20);

const PLAN: Plan = Plan { clients: 6, bulk_every: 6, bulk_records: 20, mine_every: Some(25) };

fn content(number: usize) -> Value {
    json!({ "kind": "content_verified", "content_id": format!("content {number}"), "creator_id": "artist" })
}

fn status_of(api: &Api, path: &str) -> u16 {
    api.try_get(path).expect("the daemon lives").status
}

fn is_full(api: &Api) {
    wait_for("/readyz names the full disk", NOTICE, || {
        let answer = api.try_get("/readyz").map_err(|error| error.to_string())?;
        if answer.status == 503 && answer.body.contains("the disk is full") {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    });
}

fn has_room(api: &Api) {
    wait_for("/readyz is well again", NOTICE, || {
        let answer = api.try_get("/readyz").map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

/// Every write is refused with 507, and every read is answered.
fn refuses_and_reads(daemon: &Daemon, head: &(u64, String)) {
    let api = daemon.api();
    for (path, body) in [("/v1/records", content(0)), ("/v1/mine", json!({}))] {
        let refused = api.try_post(path, &body).expect("the daemon lives");
        assert_eq!(refused.status, 507, "{path}: {refused:?}");
        let problem = refused.json();
        assert_eq!(problem["code"], "disk_full", "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("free some space")), "{problem}");
    }
    let lines = format!("{}\n{}\n", content(1), content(2));
    let bulk = api.try_post_lines("/v1/records/bulk", &lines).expect("the daemon lives");
    let codes = bulk.body.lines().filter(|line| line.contains("\"disk_full\"")).count();
    assert_eq!((bulk.status, codes), (200, 2), "{bulk:?}");
    let reads = [
        "/livez",
        "/v1/status",
        "/v1/chain",
        "/v1/chain/export",
        "/v1/chain/blocks/latest",
        "/v1/stations",
        "/v1/trust/content?content_id=content%200&creator_id=artist",
    ];
    for path in reads {
        assert_eq!(status_of(api, path), 200, "{path}");
    }
    assert_eq!(api.head(), *head);
    daemon.qfzz(&["chain", "verify"]).exits(0);
    let status = daemon.qfzz(&["status"]).exits(0).stdout;
    assert!(status.starts_with("PROBLEM  the disk is full") && status.contains("remedy free some space"), "{status}");
    let refused = daemon.qfzz(&["record", "user_001", "interaction"]).exits(1).stderr;
    assert!(refused.contains("disk_full") && refused.contains("free some space"), "{refused}");
}

#[test]
fn a_disk_that_runs_full_under_load_refuses_writes_serves_reads_and_loses_nothing() {
    let _turn = alone();
    let mut dice = Dice::from_environment(45);
    let disk = SmallDisk::of(DISK);
    let mut daemon = Recipe::new("full").at(disk.path().join("data")).found("full", &Load::INIT_FLAGS);
    let (mut witness, mut refused, began) = (Witness::default(), 0, Instant::now());
    for round in 0..ROUNDS {
        let load = Load::start(daemon.api(), &PLAN, &mut dice);
        wait_for("the load is acknowledged", PATIENCE, || {
            let count = load.count();
            if count > RECORDS_A_ROUND { Ok(()) } else { Err(format!("{count} acknowledged")) }
        });
        disk.leave(LITTLE);
        is_full(daemon.api());
        if round == 1 {
            // To the last byte.
            disk.leave(0);
        }
        let (acknowledged, refusals) = load.stop();
        assert!(refusals.iter().all(|refusal| refusal.contains("disk_full")), "{refusals:?}");
        assert!(round > 0 || !refusals.is_empty(), "the load went on while the disk was full");
        refused += refusals.len();
        witness.promise(acknowledged);
        let head = daemon.api().head();
        refuses_and_reads(&daemon, &head);
        disk.clear();
        has_room(daemon.api());
        witness.examine(&daemon);
    }
    // Full while it is not running: it says so, and starts when there is room.
    let (status, _) = daemon.signal(Signal::TERM, Duration::from_secs(5));
    assert_eq!(status.code(), Some(0));
    disk.leave(0);
    let started = daemon.try_start();
    if started.is_ok() {
        is_full(daemon.api());
        daemon.kill();
    } else {
        let said = daemon.said("stderr");
        assert!(said.contains("No space left on device"), "{said}");
    }
    let doctor = daemon.qfzz(&["doctor"]);
    assert!(doctor.code == Some(1) && doctor.stdout.contains("PROBLEM  disk: 0 MiB free"), "{doctor:?}");
    disk.clear();
    daemon.start();
    witness.examine(&daemon);
    daemon.qfzz(&["chain", "verify"]).exits(0);
    assert!(!daemon.said("stderr").contains("panicked"));
    println!(
        "{ROUNDS} full disks in {:?}: {} acknowledged ids, all found; {refused} refused",
        began.elapsed(),
        witness.promised()
    );
}

#[test]
fn with_a_full_disk_blocks_of_others_are_not_taken_and_fetched_once_there_is_room() {
    let _turn = alone();
    let disk = SmallDisk::of(DISK);
    let other = Recipe::new("other").found("others", &[]);
    let full = Recipe::new("full").at(disk.path().join("data")).join(&other.address());
    other.api().record(&content(0));
    other.api().mine().expect("a record is pending");
    let agree = || {
        wait_for("both have one head", PATIENCE, || {
            let heads = [other.api().head(), full.api().head()];
            if heads[0] == heads[1] { Ok(()) } else { Err(format!("{heads:?}")) }
        });
    };
    agree();
    disk.leave(LITTLE);
    is_full(full.api());
    let before = full.api().head();
    for number in 1..4 {
        other.api().record(&content(number));
        other.api().mine().expect("a record is pending");
    }
    full.api().post("/v1/sync", &json!({}));
    assert_eq!(full.api().head(), before);
    assert!(full.api().get("/v1/peers").as_array().is_some_and(|peers| peers.len() == 1), "they are still connected");
    disk.clear();
    has_room(full.api());
    agree();
}
