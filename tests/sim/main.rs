//! The simulator: 3 to 9 production states over a virtual network and clock, all from one seed.
//!
//! `QFZZ_SIM_SEED=N cargo test -p qfzz-tests --test sim -- --nocapture` runs one seed alone and prints its trace.

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

use totals::Totals;
use world::{Outcome, World};

/// Seeds that CI runs.
const SEEDS: u64 = 300;

/// Threads that share them.
const THREADS: usize = 2;

/// What the seeds must amount to, so that they prove something.
const MIN_DEEP_REORGANISATIONS: u64 = 300;
const MIN_CRASHES_WITH_LOSS: u64 = 100;
const MIN_PARTITIONS: u64 = 100;
const MIN_EQUIVOCATIONS: u64 = 50;

/// Runs a seed; a panic is a broken promise as well.
fn run(seed: u64, is_shown: bool) -> Outcome {
    let run = AssertUnwindSafe(|| World::new(seed, is_shown).run());
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let failure = Some(format!("panicked: {}", text.unwrap_or_default()));
        Outcome { totals: Totals::default(), trace: String::new(), failure }
    })
}

/// The seeds that `QFZZ_SIM_SEEDS` asks for, or so many.
fn number_of_seeds() -> u64 {
    env::var("QFZZ_SIM_SEEDS").map_or(SEEDS, |text| text.parse().expect("QFZZ_SIM_SEEDS is a number"))
}

#[test]
fn after_the_faults_all_stations_have_one_head_and_every_acknowledged_record() {
    if let Ok(seed) = env::var("QFZZ_SIM_SEED") {
        let outcome = run(seed.parse().expect("QFZZ_SIM_SEED is a number"), true);
        println!("{}trace {}", outcome.totals, outcome.trace);
        assert_eq!(outcome.failure, None);
        return;
    }
    let (seeds, started) = (number_of_seeds(), Instant::now());
    let next = AtomicU64::new(0);
    let work = || {
        let (mut totals, mut failures) = (Totals::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return (totals, failures);
            }
            let outcome = run(seed, false);
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
        println!("    QFZZ_SIM_SEED={seed} cargo test -p qfzz-tests --test sim -- --nocapture");
    }
    assert!(failures.is_empty(), "{} of {seeds} seeds failed", failures.len());
    if seeds >= SEEDS {
        assert!(totals.reorganisations_from(2) >= MIN_DEEP_REORGANISATIONS, "too few deep reorganisations");
        assert!(totals.crashes_with_loss >= MIN_CRASHES_WITH_LOSS, "too few crashes that lost unsynced writes");
        assert!(totals.partitions >= MIN_PARTITIONS, "too few partitions");
        assert!(totals.equivocations >= MIN_EQUIVOCATIONS, "too few stations that signed a place twice");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 7, 42] {
        let (first, second) = (run(seed, false), run(seed, false));
        assert_eq!(first.failure, None);
        assert_eq!((first.trace, first.totals), (second.trace, second.totals), "seed {seed}");
    }
    assert_ne!(run(1, false).trace, run(2, false).trace, "the trace depends on the seed");
}
