//! Durable ingest over HTTP: one client, 64 at once, in bulk; and with each sync of the disk delayed as a real disk
//! does it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::daemon::Daemon;
use crate::http::Http;
use crate::machine;
use crate::report::Report;
use crate::samples::json_record;
use crate::timing::Latencies;

/// Clients at once, in the case that has many.
const CLIENTS: usize = 64;

/// Bytes that the journal grows by for a batch of one record.
const APPEND_BYTES: usize = 330;

/// How long each sync of the disk is held up in the delayed case, in microseconds.
const DELAY_MICROS: u32 = 5_000;

/// How much is posted.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How often one client, many clients and bare appends take turns.
    pub rounds: usize,
    /// Records of one client in a round.
    pub of_one: usize,
    /// Records of each of many clients in a round.
    pub of_each: usize,
    /// Records in bulk.
    pub bulk: usize,
}

/// One client and many, by turns with bare appends, in records a second.
struct Rates {
    one: Latencies,
    many: f64,
    append: Latencies,
}

impl Rates {
    /// Records a second of one client, by its median.
    fn one(&self) -> f64 {
        1_000.0 / self.one.at(0.5)
    }
}

/// Durable ingest, beside an append and its `fdatasync` on the same disk.
///
/// # Errors
/// Where a daemon fails.
pub fn ingest(report: &mut Report, load: Load, dir: &Path) -> Result<()> {
    let mut daemon = Daemon::found(dir)?;
    let rates = measure(&mut daemon, load, dir)?;
    let elapsed = daemon.fill(10_000_000, load.bulk, 1_000)?;
    let bulk = load.bulk as f64 / elapsed.as_secs_f64();
    let append = rates.append.at(0.5);
    report.figure(
        "ingest",
        json!({
            "one_client_p50_ms": rates.one.at(0.5), "one_client_p99_ms": rates.one.at(0.99),
            "one_client_per_s": rates.one(), "clients_64_per_s": rates.many, "bulk_per_s": bulk,
            "append_and_fdatasync_p50_ms": append, "append_and_fdatasync_per_s": 1_000.0 / append,
        }),
    );
    report.at_least("ingest_one", "one durable client, of a bare append + fdatasync", append / rates.one.at(0.5), 0.5);
    report.at_least("ingest_64", "64 durable clients, of one", rates.many / rates.one(), 3.0);
    Ok(())
}

/// The same where each `fdatasync` takes 5 ms longer. `strace` holds them up, and no other system call: a filter in
/// the kernel lets all others pass untraced.
///
/// # Errors
/// Where a daemon fails, or `strace` is missing.
pub fn delayed(report: &mut Report, load: Load, dir: &Path) -> Result<()> {
    let inject = format!("inject=fdatasync:delay_exit={DELAY_MICROS}");
    let under = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject];
    let mut daemon = Daemon::found_under(dir, &under).context("is strace 5.3 or newer installed?")?;
    let rates = measure(&mut daemon, Load { of_one: load.of_one.div_ceil(4), ..load }, dir)?;
    let added = f64::from(DELAY_MICROS) / 1_000.0;
    ensure!(rates.one.at(0.01) > added, "syncs were not held up: see whether strace may trace here");
    report.figure(
        "ingest_delayed",
        json!({
            "delay_ms": added, "one_client_p50_ms": rates.one.at(0.5), "one_client_per_s": rates.one(),
            "clients_64_per_s": rates.many,
        }),
    );
    let ratio = rates.many / rates.one();
    report.at_least("ingest_64_delayed", "64 durable clients, of one, each sync delayed by 5 ms", ratio, 8.0);
    Ok(())
}

fn measure(daemon: &mut Daemon, load: Load, dir: &Path) -> Result<Rates> {
    let next = AtomicUsize::new(0);
    let http = daemon.http()?;
    let mut client = http.another()?;
    let mut clients = (0..CLIENTS).map(|_| http.another()).collect::<Result<Vec<_>>>()?;
    post(&mut client, &next, 20)?;
    let mut rates = Rates { one: Latencies::default(), many: 0.0, append: Latencies::default() };
    for _ in 0..load.rounds {
        rates.append.extend(machine::append_and_sync(dir, APPEND_BYTES, load.of_one)?);
        rates.one.extend(post(&mut client, &next, load.of_one)?);
        let start = Instant::now();
        std::thread::scope(|scope| -> Result<()> {
            let posting = |client| scope.spawn(|| post(client, &next, load.of_each));
            let threads: Vec<_> = clients.iter_mut().map(posting).collect();
            for thread in threads {
                thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            }
            Ok(())
        })?;
        let posted = (CLIENTS * load.of_each) as f64;
        rates.many = rates.many.max(posted / start.elapsed().as_secs_f64());
        // What is pending stays little, as it does where a station mines.
        daemon.mine_all()?;
    }
    Ok(rates)
}

/// Posts `count` records one after the other: how long each took to be acknowledged.
fn post(client: &mut Http, next: &AtomicUsize, count: usize) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    for _ in 0..count {
        let record = json_record(next.fetch_add(1, Ordering::Relaxed), 1_000).to_string();
        let request = client.request("POST", "/v1/records", "application/json", record.as_bytes());
        let start = Instant::now();
        let answer = client.send(&request)?;
        latencies.push(start.elapsed());
        ensure!(answer.status == 201, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    Ok(latencies)
}

/// A slice of `append + fdatasync` for the list of the machine's limits.
///
/// # Errors
/// What the system says.
pub fn append_limit(dir: &Path) -> Result<Duration> {
    Ok(Duration::from_secs_f64(machine::append_and_sync(dir, APPEND_BYTES, 200)?.at(0.5) / 1_000.0))
}
