//! A small and a large ledger beside each other: queries, opening, memory, and what a sync costs that lacks little.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::catching_up::sync_report;
use crate::daemon::{Daemon, wait_for};
use crate::report::Report;
use crate::timing::Latencies;

/// Records that one station lacks.
const FEW: usize = 10;

/// How large they are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Records of the small ledger.
    pub small: usize,
    /// Records of the large one, each about another subject.
    pub large: usize,
    /// Queries at each.
    pub queries: usize,
    /// How long opening the large one may take.
    pub opening: Duration,
}

/// Queries, opening, memory, syncs.
///
/// # Errors
/// Where a daemon fails.
pub fn large(report: &mut Report, sizes: Sizes, dir: &Path) -> Result<()> {
    let (mut small, mut large) = (Daemon::found(dir)?, Daemon::found(dir)?);
    small.fill(0, sizes.small, sizes.small)?;
    let elapsed = large.fill(0, sizes.large, sizes.large)?;
    eprintln!("  {} records taken in within {:.1} s", sizes.large, elapsed.as_secs_f64());
    query(report, sizes, &mut small, &mut large)?;
    drop(small);

    large.stop()?;
    let opened = large.start()?;
    let [resident, peak] = large.resident_mib()?;
    report.figure(
        "opening",
        json!({ "records": sizes.large, "seconds": opened.as_secs_f64(), "resident_mib": resident, "peak_mib": peak }),
    );
    let bound = sizes.opening.as_secs_f64();
    report.at_most("opening", "opening the large ledger, in seconds", opened.as_secs_f64(), bound);
    sync(report, sizes, &mut large, dir)
}

/// Trust queries over HTTP, by turns at the small and the large ledger.
fn query(report: &mut Report, sizes: Sizes, small: &mut Daemon, large: &mut Daemon) -> Result<()> {
    let mut latencies = [Latencies::default(), Latencies::default()];
    for number in 0..sizes.queries {
        let ledgers = [(&mut *small, sizes.small), (&mut *large, sizes.large)];
        for ((daemon, subjects), latencies) in ledgers.into_iter().zip(&mut latencies) {
            // A step that shares no factor with the sizes goes all over them.
            let path = format!("/v1/trust/users/user-{:07}", number * 7_919 % subjects);
            let http = daemon.http()?;
            let request = http.request("GET", &path, "application/json", b"");
            let start = Instant::now();
            let answer = http.send(&request)?;
            latencies.push(start.elapsed());
            let answer = answer.json()?;
            ensure!(answer["evidence"] == 1, "each user did one thing: {answer}");
        }
    }
    let [of_small, of_large] = &latencies;
    let shown = |latencies: &Latencies, records: usize| json!({ "records": records, "p50_ms": latencies.at(0.5), "p99_ms": latencies.at(0.99) });
    report.figure("query", json!({ "small": shown(of_small, sizes.small), "large": shown(of_large, sizes.large) }));
    let ratio = of_large.at(0.5) / of_small.at(0.5);
    report.at_most("query", "a query at the large ledger, p50, of one at the small", ratio, 1.3);
    Ok(())
}

/// A second station catches up with all, then lacks few, then nothing.
fn sync(report: &mut Report, sizes: Sizes, large: &mut Daemon, dir: &Path) -> Result<()> {
    let mut other = Daemon::join(dir, large)?;
    let start = Instant::now();
    await_same_head(large, &mut other)?;
    eprintln!("  caught up with {} records within {:.1} s", sizes.large, start.elapsed().as_secs_f64());
    other.stop()?;
    large.fill(sizes.large, FEW, sizes.large + FEW)?;
    other.start()?;
    let few = sync_report(&mut other, |report| report["blocks"].as_u64() > Some(0))?;
    ensure!(few["records"].as_u64() == Some(FEW as u64), "{FEW} records were lacking: {few}");
    await_same_head(large, &mut other)?;
    let reports = other.http()?.post("/v1/sync", &json!({}))?;
    let none = &reports[0];
    ensure!(none["blocks"] == 0 && none["batches"] == 0 && none["fault"].is_null(), "nothing differs: {none}");
    let moved = |report: &Value| {
        let number = |key: &str| report[key].as_u64().with_context(|| format!("{key} in a report"));
        Ok::<_, anyhow::Error>((number("bytes_in")? + number("bytes_out")?, number("round_trips")?))
    };
    let ((few_bytes, few_trips), (none_bytes, none_trips)) = (moved(&few)?, moved(none)?);
    report.figure(
        "sync",
        json!({
            "records": sizes.large,
            "lacks_10": { "bytes": few_bytes, "round_trips": few_trips },
            "lacks_nothing": { "bytes": none_bytes, "round_trips": none_trips },
        }),
    );
    report.at_most("sync_nothing", "bytes of a sync where nothing differs", none_bytes as f64, 1_000.0);
    report.at_most("sync_few", "bytes of a sync that lacks 10 records", few_bytes as f64, 64.0 * 1_024.0);
    Ok(())
}

fn await_same_head(one: &mut Daemon, other: &mut Daemon) -> Result<()> {
    wait_for("both stations have one head", || {
        std::thread::sleep(Duration::from_millis(20));
        Ok((one.standing()? == other.standing()?).then_some(()))
    })
}
