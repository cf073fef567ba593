//! The simulator: 3 to 9 production states over a virtual network and clock, all from one seed.
//!
//! `QFZZ_SIM_SEED=N cargo test -p qfzz-tests --test sim ed25519 -- --nocapture` runs one seed alone and prints its trace;
//! `hybrid` in the place of `ed25519` runs it with the other signatures.

mod chance;
mod check;
mod clients;
mod disk;
mod exchange;
mod faults;
mod gossip;
mod liar;
mod links;
mod scenario;
mod session;
mod station;
mod tasks;
mod totals;
mod trace;
mod world;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use qfzz_ledger_core::federation::SignatureScheme;
use totals::Totals;
use world::{Outcome, World};

/// Seeds that CI runs.
const SEEDS: u64 = 300;

/// Of these so many also with hybrid signatures, which cost thirty times as much.
const HYBRID_SEEDS: u64 = 60;

/// Threads that share them.
const THREADS: usize = 2;

/// What the seeds must amount to, so that they prove something.
const MIN_DEEP_REORGANISATIONS: u64 = 300;
const MIN_CRASHES_WITH_LOSS: u64 = 100;
const MIN_PARTITIONS: u64 = 100;
const MIN_EQUIVOCATIONS: u64 = 50;

/// Runs a seed; a panic is a broken promise as well.
fn run(scheme: SignatureScheme, seed: u64, is_shown: bool) -> Outcome {
    let run = AssertUnwindSafe(|| World::new(scheme, seed, is_shown).run());
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let failure = Some(format!("panicked: {}", text.unwrap_or_default()));
        Outcome { totals: Totals::default(), trace: String::new(), failure }
    })
}

/// What the test of a scheme ends with.
const fn name_of(scheme: SignatureScheme) -> &'static str {
    match scheme {
        SignatureScheme::Ed25519 => "ed25519",
        SignatureScheme::Hybrid => "hybrid",
    }
}

/// The seeds that `QFZZ_SIM_SEEDS` asks for, or so many.
fn number_of_seeds(default: u64) -> u64 {
    env::var("QFZZ_SIM_SEEDS").map_or(default, |text| text.parse().expect("QFZZ_SIM_SEEDS is a number"))
}

#[test]
fn after_the_faults_all_stations_have_one_head_and_every_acknowledged_record_ed25519() {
    let totals = run_all(SignatureScheme::Ed25519, SEEDS);
    if totals.seeds >= SEEDS {
        assert!(totals.reorganisations_from(2) >= MIN_DEEP_REORGANISATIONS, "too few deep reorganisations");
        assert!(totals.crashes_with_loss >= MIN_CRASHES_WITH_LOSS, "too few crashes that lost unsynced writes");
        assert!(totals.partitions >= MIN_PARTITIONS, "too few partitions");
        assert!(totals.equivocations >= MIN_EQUIVOCATIONS, "too few stations that signed a place twice");
    }
}

#[test]
fn after_the_faults_all_stations_have_one_head_and_every_acknowledged_record_hybrid() {
    let totals = run_all(SignatureScheme::Hybrid, HYBRID_SEEDS);
    if totals.seeds >= HYBRID_SEEDS {
        assert!(totals.reorganisations_from(2) > 0 && totals.equivocations > 0, "too little happened");
    }
}

/// Runs the seeds that are asked for; all of them must keep every promise.
fn run_all(scheme: SignatureScheme, default: u64) -> Totals {
    if let Ok(seed) = env::var("QFZZ_SIM_SEED") {
        let outcome = run(scheme, seed.parse().expect("QFZZ_SIM_SEED is a number"), true);
        println!("{}trace {}", outcome.totals, outcome.trace);
        assert_eq!(outcome.failure, None);
        return outcome.totals;
    }
    let (seeds, started) = (number_of_seeds(default), Instant::now());
    let next = AtomicU64::new(0);
    let work = || {
        let (mut totals, mut failures) = (Totals::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return (totals, failures);
            }
            let outcome = run(scheme, seed, false);
            totals.add(&outcome.totals);
            failures.extend(outcome.failure.map(|failure| (seed, failure)));
        }
    };
    let (mut totals, mut failures) = (Totals::default(), Vec::new());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let (counted, failed) = thread.join().expect("panics are caught");
            totals.add(&counted);
            failures.extend(failed);
        }
    });
    println!("{totals}{:<34} {:.1}", "seconds", started.elapsed().as_secs_f64());
    failures.sort();
    for (seed, failure) in &failures {
        println!("seed {seed} failed: {failure}");
        println!("    QFZZ_SIM_SEED={seed} cargo test -p qfzz-tests --test sim {} -- --nocapture", name_of(scheme));
    }
    assert!(failures.is_empty(), "{} of {seeds} seeds failed", failures.len());
    totals
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    use SignatureScheme::{Ed25519, Hybrid};
    for (scheme, seed) in [(Ed25519, 1), (Ed25519, 7), (Ed25519, 42), (Hybrid, 7)] {
        let (first, second) = (run(scheme, seed, false), run(scheme, seed, false));
        assert_eq!(first.failure, None);
        assert_eq!((first.trace, first.totals), (second.trace, second.totals), "seed {seed}");
    }
    assert_ne!(run(Ed25519, 1, false).trace, run(Ed25519, 2, false).trace, "the trace depends on the seed");
}
