//! What a sync costs at the socket: it follows the difference between two stations, not what they have.

use std::fs;
use std::time::Duration;

use qfzz_tests::harness::{Api, Daemon, Proxy, Recipe, beside_others, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long to wait where no limit is promised: a debug build catches up with 50,000 records.
const PATIENCE: Duration = Duration::from_secs(120);

/// Records that the one station lacks.
const FEW: usize = 10;

/// Records in one bulk request.
const BULK: usize = 10_000;

/// What moved, in bytes.
struct Moved {
    /// At the socket, in all protocols and both ways, from connecting until both were equal and at rest.
    lacking_few: u64,
    /// In the sync's own messages, where nothing differed.
    lacking_nothing: u64,
    /// At the socket meanwhile.
    lacking_nothing_at_the_socket: u64,
}

/// Takes in `count` records from number `from` on, each about another user, and mines them.
fn fill(api: &Api, from: usize, count: usize) {
    for first in (from..from + count).step_by(BULK) {
        let record = |number: usize| json!({ "kind": "user_action", "user_id": format!("user-{number:06}"), "action": "interaction", "target": "dj" });
        let last = (from + count).min(first + BULK);
        let lines: Vec<String> = (first..last).map(|number| record(number).to_string()).collect();
        let answer = api.try_post_lines("/v1/records/bulk", &lines.join("\n")).expect("the daemon lives");
        assert_eq!(answer.body.matches("\"record_id\"").count(), last - first, "{}", answer.status);
        while api.mine().is_some() {}
    }
}

fn await_one_head(one: &Daemon, other: &Daemon) {
    wait_for("both stations have one head", PATIENCE, || {
        let (here, there) = (one.api().head(), other.api().head());
        if here == there { Ok(()) } else { Err(format!("{here:?}, {there:?}")) }
    });
}

/// The first `count` reports of syncs since the daemon's start.
fn reports(daemon: &Daemon, count: usize) -> Vec<Value> {
    let events = daemon.api().events(Some(0));
    (0..count).map(|_| events.next_of("sync", PATIENCE)).collect()
}

fn number(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("{key} is a number: {report}"))
}

/// Two stations with `records` records, of which the one lacks ten, then nothing.
fn measure(records: usize) -> Moved {
    let recipe = |name: &str| Recipe::new(name).set("sync.interval", "1h");
    let mut there = recipe("there").found("sync bytes", &[]);
    fill(there.api(), 0, records);
    let port = there.address().rsplit('/').next().and_then(|port| port.parse().ok()).expect("a port");
    let proxy = Proxy::to(port);
    let mut here = recipe("here").join(&proxy.address());
    await_one_head(&there, &here);
    let whole = reports(&here, 1).remove(0);
    assert_eq!(number(&whole, "records"), records as u64, "{whole}");
    println!(
        "{records} records: caught up in {} ms with {} ms of processor time, {} bytes at the socket",
        number(&whole, "elapsed_ms"),
        number(&whole, "cpu_ms"),
        proxy.bytes()
    );

    // Neither remembers another way to the other than through the proxy.
    here.signal(Signal::TERM, PATIENCE);
    fill(there.api(), records, FEW);
    there.signal(Signal::TERM, PATIENCE);
    for station in [&here, &there] {
        match fs::remove_file(station.data_dir().join("peers")) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }
    there.start();
    let before = proxy.bytes();
    here.start();
    await_one_head(&there, &here);
    // On connecting, and once more when the other has subscribed to the topics.
    let taken = reports(&here, 2);
    assert_eq!(taken.iter().map(|report| number(report, "records")).sum::<u64>(), FEW as u64, "{taken:?}");
    let lacking_few = proxy.bytes() - before;
    let peers = here.api().get("/v1/peers");
    assert_eq!(peers.as_array().map(Vec::len), Some(1), "{peers}");
    assert!(peers[0]["address"].as_str().is_some_and(|it| it.starts_with(&proxy.address())), "{peers}");

    let before = proxy.bytes();
    let report = here.api().post("/v1/sync", &json!({})).success()[0].clone();
    let lacking_nothing_at_the_socket = proxy.bytes() - before;
    assert_eq!((number(&report, "blocks"), number(&report, "batches")), (0, 0), "{report}");
    assert_eq!(number(&report, "round_trips"), 1, "{report}");
    let lacking_nothing = number(&report, "bytes_in") + number(&report, "bytes_out");
    println!(
        "{records} records: lacking {FEW} moves {lacking_few} bytes at the socket; lacking nothing {lacking_nothing} \
         bytes of messages, {lacking_nothing_at_the_socket} at the socket"
    );
    Moved { lacking_few, lacking_nothing, lacking_nothing_at_the_socket }
}

#[test]
fn a_sync_that_lacks_ten_records_moves_as_little_at_50_000_as_at_5_000() {
    let _turn = beside_others();
    let (small, large) = (measure(5_000), measure(50_000));
    assert!(large.lacking_few < 64 * 1_024, "{} bytes for ten records of 50,000", large.lacking_few);
    let ratio = large.lacking_few as f64 / small.lacking_few as f64;
    assert!(ratio <= 1.5, "{} bytes at 50,000 records, {} at 5,000", large.lacking_few, small.lacking_few);
    for moved in [&small, &large] {
        assert!(moved.lacking_nothing <= 1_000, "{} bytes where nothing differs", moved.lacking_nothing);
        // Besides the sync's messages: their frames and streams, and whatever gossip says in that moment.
        assert!(moved.lacking_nothing_at_the_socket <= 4_096, "{} bytes", moved.lacking_nothing_at_the_socket);
    }
}
