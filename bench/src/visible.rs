//! Append to visible: from the moment a client posts at one station until every other station shows the record.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::daemon::{Daemon, wait_for};
use crate::report::Report;
use crate::samples::json_record;
use crate::timing::Latencies;

/// Records that go before those that are measured.
const WARM_UP: usize = 20;

/// Between two records: what is measured is a station at rest.
const GAP: Duration = Duration::from_millis(10);

/// The bounds in milliseconds.
struct Bounds {
    p50: Option<f64>,
    p99: f64,
}

/// Two stations, and eight.
///
/// # Errors
/// Where a daemon fails.
pub fn append_to_visible(report: &mut Report, records: usize, dir: &Path) -> Result<()> {
    let two = measure(2, records, dir)?;
    report_on(report, "visible_2", &two, &Bounds { p50: Some(3.0), p99: 10.0 });
    let eight = measure(8, records.div_ceil(2), dir)?;
    report_on(report, "visible_8", &eight, &Bounds { p50: None, p99: 50.0 });
    Ok(())
}

fn report_on(report: &mut Report, case: &'static str, latencies: &Latencies, bounds: &Bounds) {
    let (p50, p99) = (latencies.at(0.5), latencies.at(0.99));
    report.figure(case, json!({ "p50_ms": p50, "p99_ms": p99, "records": latencies.len() }));
    if let Some(bound) = bounds.p50 {
        report.at_most(case, "append to visible, p50 in ms", p50, bound);
    }
    report.at_most(case, "append to visible, p99 in ms", p99, bounds.p99);
}

/// How long each record took until the last of the other stations showed it.
fn measure(stations: usize, records: usize, dir: &Path) -> Result<Latencies> {
    let mut first = Daemon::found(dir)?;
    let mut others = (1..stations).map(|_| Daemon::join(dir, &mut first)).collect::<Result<Vec<_>>>()?;
    for daemon in std::iter::once(&mut first).chain(&mut others) {
        wait_for("all stations are connected", || {
            let peers = daemon.http()?.get("/v1/status")?["peers"].as_u64();
            Ok((peers == Some(stations as u64 - 1)).then_some(()))
        })?;
    }
    let mut shown = Vec::new();
    for daemon in &mut others {
        shown.push(watch(daemon)?);
    }
    let mut latencies = Latencies::default();
    for number in 0..WARM_UP + records {
        std::thread::sleep(GAP);
        let record = json_record(number, 1_000);
        let start = Instant::now();
        let posted = first.http()?.post("/v1/records", &record)?;
        let id = posted["record_id"].as_str().context("a record id")?;
        let mut latest = start;
        for shown in &shown {
            latest = latest.max(until(shown, id)?);
        }
        for daemon in &mut others {
            let found = daemon.http()?.get(&format!("/v1/records/{id}"))?;
            ensure!(found["record"]["user_id"] == record["user_id"], "another record than was posted: {found}");
        }
        if number >= WARM_UP {
            latencies.push(latest - start);
        }
    }
    Ok(latencies)
}

/// When a daemon tells of each record that it shows.
fn watch(daemon: &mut Daemon) -> Result<Receiver<(String, Instant)>> {
    let mut events = daemon.events()?;
    let (told, shown) = channel();
    std::thread::spawn(move || {
        // Ends with the daemon, or when nobody listens any more.
        while let Ok((name, data)) = events.next_event() {
            let at = Instant::now();
            let id =
                serde_json::from_str::<Value>(&data).ok().and_then(|data| Some(data["record_id"].as_str()?.to_owned()));
            if name == "record"
                && let Some(id) = id
                && told.send((id, at)).is_err()
            {
                return;
            }
        }
    });
    Ok(shown)
}

/// Waits until the record is shown: when it was.
fn until(shown: &Receiver<(String, Instant)>, id: &str) -> Result<Instant> {
    loop {
        let (found, at) = shown.recv_timeout(Duration::from_secs(10)).context("a record that is never shown")?;
        if found == id {
            return Ok(at);
        }
    }
}
