//! A whole chain: checked from the disk, and caught up with by a station that has nothing.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::machine::{Signed, compress};
use crate::report::Report;
use crate::samples::{self, FULL};
use crate::timing::best_rates;

/// Records of one client after which what is pending is mined: above 4,096 the station collects records for 20 ms.
const MINED_SINGLES: usize = 4_000;

/// How often each is repeated; the best counts.
const REPEATS: usize = 3;

/// Under which the daemons run. Before all other programs they would keep both cores from the kernel's own threads, and so
/// hold up what they write to the disk.
const ORDINARY: &[&str] = &["chrt", "--other", "0"];

/// Subjects of the promise.
const SUBJECTS: usize = 1_000;

/// Check from disk and catch-up: over records on 1,000 subjects, over as many subjects as records, and over batches of
/// one record.
///
/// # Errors
/// Where a daemon fails.
pub fn catch_up(report: &mut Report, records: usize, singles: usize, dir: &Path) -> Result<()> {
    let mut daemon = Daemon::found_under(dir, ORDINARY)?;
    daemon.fill(0, records, SUBJECTS)?;
    let floor = floor_of_full_batches()? * FULL as f64;
    let checked = check_from_disk(&mut daemon, records)?;
    let (caught_up, cores) = from_nothing(&mut daemon, records, dir)?;
    report.figure(
        "check_from_disk",
        json!({ "records": records, "records_per_s": checked, "floor_records_per_s": floor, "subjects": SUBJECTS }),
    );
    report.at_least("check_from_disk", "checking a chain from disk, of its floor", checked / floor, 0.3);
    drop(daemon);

    let mut daemon = Daemon::found_under(dir, ORDINARY)?;
    daemon.fill(0, records, records)?;
    let (different, different_cores) = from_nothing(&mut daemon, records, dir)?;
    let different_checked = check_from_disk(&mut daemon, records)?;
    drop(daemon);

    let mut daemon = Daemon::found_under(dir, ORDINARY)?;
    for number in 1..=singles {
        daemon.http()?.post("/v1/records", &samples::json_record(number, SUBJECTS))?;
        if number % MINED_SINGLES == 0 {
            daemon.mine_all()?;
        }
    }
    daemon.mine_all()?;
    let (of_singles, single_cores) = from_nothing(&mut daemon, singles, dir)?;
    report.figure(
        "catch_up",
        json!({
            "records": records,
            "subjects_1000": { "records_per_s": caught_up, "cpu_per_wall": cores },
            "subjects_all_different": {
                "records_per_s": different, "cpu_per_wall": different_cores,
                "check_from_disk_records_per_s": different_checked,
            },
            "one_record_batches": { "records": singles, "records_per_s": of_singles, "cpu_per_wall": single_cores },
        }),
    );
    report.at_least("catch_up", "catch-up over loopback, of checking from disk", caught_up / checked, 0.5);
    let what = "processor time over wall time of a catch-up";
    report.at_least("catch_up_cores_single", what, single_cores, 1.6);
    report.at_least("catch_up_cores_full", what, cores, 1.6);
    Ok(())
}

/// Full batches a second that the machine could check at best, on one core.
fn floor_of_full_batches() -> Result<f64> {
    let rules = samples::rules()?;
    let batch = samples::batches(&rules, 2, FULL)?.pop().context("two batches")?;
    let signed = Signed::default();
    let [signatures, compressions] = best_rates(20, &mut [&mut || signed.check(), &mut compress]);
    Ok(1.0 / (1.0 / signatures + samples::compressions_of(batch.signed()) as f64 / compressions))
}

/// Records a second that a daemon checks of the chain on its disk, as `qfzz chain verify` does.
fn check_from_disk(daemon: &mut Daemon, records: usize) -> Result<f64> {
    let mut best = 0.0_f64;
    for _ in 0..REPEATS {
        let start = Instant::now();
        let verified = daemon.http()?.get("/v1/chain/verify")?;
        best = best.max(records as f64 / start.elapsed().as_secs_f64());
        ensure!(verified["valid"] == true, "the chain does not verify: {verified}");
    }
    Ok(best)
}

/// Records a second that a new station catches up with, and the cores that it used.
fn from_nothing(daemon: &mut Daemon, records: usize, dir: &Path) -> Result<(f64, f64)> {
    let mut best = (0.0_f64, 0.0_f64);
    for _ in 0..REPEATS {
        let mut newcomer = Daemon::join(dir, daemon)?;
        let report = sync_report(&mut newcomer, |report| report["blocks"].as_u64() > Some(0))?;
        ensure!(
            report["records"].as_u64() == Some(records as u64),
            "{records} records were not caught up with: {report}"
        );
        let (there, here) = (daemon.standing()?, newcomer.standing()?);
        ensure!(there == here, "not the same head after a catch-up: {there:?}, {here:?}");
        let number = |key: &str| report[key].as_f64().with_context(|| format!("{key} in a report"));
        let elapsed = number("elapsed_ms")?.max(1.0);
        best = (best.0.max(records as f64 / (elapsed / 1_000.0)), best.1.max(number("cpu_ms")? / elapsed));
    }
    Ok(best)
}

/// The first report of a sync since the daemon's start that `is_wanted`.
///
/// # Errors
/// Where a sync failed.
pub fn sync_report(daemon: &mut Daemon, is_wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut events = daemon.events()?;
    loop {
        let report = events.next_of("sync")?;
        ensure!(report["fault"].is_null(), "a sync failed: {report}");
        if is_wanted(&report) {
            return Ok(report);
        }
    }
}
