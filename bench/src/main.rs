//! `qfzz-bench`: measures, prints one JSON value on standard output and all else on standard error.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use qfzz_bench::large::Sizes;
use qfzz_bench::machine::{Signed, compress};
use qfzz_bench::report::Report;
use qfzz_bench::timing::best_rates;
use qfzz_bench::{catching_up, checking, ingest, large, signatures, trust, visible};
use serde_json::{Value, json};

/// Measures the node beside the machine's own limits
#[derive(Debug, Parser)]
struct Args {
    /// Small numbers, for a look at whether all of it works: less than a minute
    #[arg(long)]
    quick: bool,
    /// Exit 1 where a promise is missed, and name it
    #[arg(long)]
    check: bool,
    /// Only these cases
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    only: Vec<Case>,
    /// Write the JSON to this file, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Case {
    ProofOfWork,
    CheckFull,
    CheckSingle,
    Signatures,
    CatchUp,
    Visible,
    Ingest,
    IngestDelayed,
    Large,
    Trust,
}

/// How much is measured.
struct Amount {
    rounds: u32,
    chain: usize,
    singles: usize,
    visible: usize,
    ingest: ingest::Load,
    large: Sizes,
    trust: trust::Sizes,
}

impl Amount {
    fn full() -> Self {
        Self {
            rounds: 100,
            chain: 200_000,
            singles: 20_000,
            visible: 1_000,
            ingest: ingest::Load { rounds: 30, of_one: 200, of_each: 30, bulk: 200_000 },
            large: Sizes { small: 10_000, large: 1_000_000, queries: 10_000, opening: Duration::from_secs(4) },
            trust: trust::Sizes { small: 10_000, large: 1_000_000, questions: 10_000, blocks: 40 },
        }
    }

    fn quick() -> Self {
        Self {
            rounds: 10,
            chain: 20_000,
            singles: 1_000,
            visible: 50,
            ingest: ingest::Load { rounds: 2, of_one: 40, of_each: 5, bulk: 20_000 },
            large: Sizes { small: 1_000, large: 20_000, queries: 500, opening: Duration::from_secs(4) },
            trust: trust::Sizes { small: 1_000, large: 20_000, questions: 500, blocks: 4 },
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(missed) if args.check && !missed.is_empty() => {
            missed.iter().for_each(|promise| eprintln!("missed: {promise}"));
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, prints, and names the promises that were missed.
fn run(args: &Args) -> Result<Vec<String>> {
    let dir = tempfile::Builder::new().prefix("qfzz-bench-").tempdir()?;
    let amount = if args.quick { Amount::quick() } else { Amount::full() };
    let mut report = Report::default();
    let (start, busy_before) = (Instant::now(), busy()?);
    machine_limits(&mut report, amount.rounds, &dir)?;
    for case in Case::value_variants().iter().filter(|case| args.only.is_empty() || args.only.contains(case)) {
        eprintln!("{}", case.to_possible_value().context("every case has a name")?.get_name());
        let (dir, report) = (dir.path(), &mut report);
        match case {
            Case::ProofOfWork => checking::proof_of_work(report, amount.rounds),
            Case::CheckFull => checking::full_batches(report, amount.rounds),
            Case::CheckSingle => checking::single_batches(report, amount.rounds),
            Case::Signatures => signatures::signatures(report, amount.rounds),
            Case::CatchUp => catching_up::catch_up(report, amount.chain, amount.singles, dir),
            Case::Visible => visible::append_to_visible(report, amount.visible, dir),
            Case::Ingest => ingest::ingest(report, amount.ingest, dir),
            Case::IngestDelayed => ingest::delayed(report, amount.ingest, dir),
            Case::Large => large::large(report, amount.large, dir),
            Case::Trust => trust::trust(report, amount.trust, dir),
        }?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let about = json!({
        "program": "qfzz-bench", "version": env!("CARGO_PKG_VERSION"), "quick": args.quick,
        "unix_seconds": SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        "seconds": seconds, "cores": std::thread::available_parallelism()?.get(), "cpu": cpu_model()?,
        "busy_cores": (busy()? - busy_before) / seconds,
    });
    let json = report.json(&about);
    println!("{json:#}");
    if let Some(path) = &args.out {
        fs::write(path, format!("{json:#}\n")).with_context(|| path.display().to_string())?;
    }
    Ok(report.missed())
}

/// What the machine can do at best, on one core.
fn machine_limits(report: &mut Report, rounds: u32, dir: &tempfile::TempDir) -> Result<()> {
    let signed = Signed::default();
    let [compressions, signatures] = best_rates(rounds, &mut [&mut compress, &mut || signed.check()]);
    let append = ingest::append_limit(dir.path())?;
    report.figure(
        "machine",
        json!({
            "sha256_compressions_per_s": compressions, "strict_signature_checks_per_s": signatures,
            "append_and_fdatasync_per_s": 1.0 / append.as_secs_f64(),
        }),
    );
    Ok(())
}

/// Seconds that all cores together were busy since the system's start, with whatever.
fn busy() -> Result<f64> {
    /// What /proc/stat counts in, on every Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("a line of /proc/stat")?;
    let ticks = line.split_whitespace().skip(1).map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok((ticks.iter().take(8).sum::<f64>() - idle) / TICKS_PER_SECOND)
}

fn cpu_model() -> Result<Value> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Ok(model.map_or(Value::Null, |(_, model)| model.trim().into()))
}
