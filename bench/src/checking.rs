//! Proof of work, and checking batches in memory: on one core, on two, beside their floors.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::header::{BLOCK_VERSION, BlockHeader, Difficulty};
use qfzz_ledger_core::ids::Height;
use qfzz_ledger_core::pow::NonceSearch;
use qfzz_ledger_core::time::Timestamp;
use serde_json::json;

use crate::machine::{Signed, compress};
use crate::report::Report;
use crate::samples;
use crate::timing::best_rates;

/// Attempts between two looks at the clock.
const ATTEMPTS: u32 = 1_024;

/// How long two cores work at once in one slice.
const TWO_CORE_SLICE: Duration = Duration::from_millis(30);

/// Proof-of-work attempts a second, beside compressions a second.
///
/// # Errors
/// Never with these parameters.
pub fn proof_of_work(report: &mut Report, rounds: u32) -> Result<()> {
    let rules = samples::rules()?;
    let header = BlockHeader {
        version: BLOCK_VERSION,
        // 8 digits: practically never met, so every attempt is one in vain.
        difficulty: Difficulty::new(8).context("a difficulty in range")?,
        index: Height::new(1),
        previous: rules.genesis_hash(),
        merkle_root: [1; 32],
        batch_count: 1,
        body_bytes: 1_000,
        timestamp: Timestamp::EPOCH,
        producer: samples::key().station(),
        reveal: [2; 32],
        nonce: 0,
    };
    let mut search = NonceSearch::new(&rules.federation(), header);
    let mut attempt = || {
        black_box(search.run(ATTEMPTS));
        u64::from(ATTEMPTS)
    };
    let [attempts, compressions] = best_rates(rounds, &mut [&mut attempt, &mut compress]);
    report.figure("proof_of_work", json!({ "attempts_per_s": attempts, "compressions_per_s": compressions }));
    report.at_least("proof_of_work", "attempts per compression", attempts / compressions, 0.9);
    Ok(())
}

/// Batches as they come off the wire, and what the machine needs for one at least.
struct Load {
    encoded: Vec<Vec<u8>>,
    compressions: f64,
    next: usize,
}

impl Load {
    fn new(rules: &Rules, records: usize) -> Result<Self> {
        // The first batch introduces its station, and is a little larger: it is left out.
        let batches = samples::batches(rules, 33, records)?.split_off(1);
        let compressions = batches.iter().map(|batch| samples::compressions_of(batch.signed())).sum::<u64>();
        let count = batches.len() as f64;
        let encoded = batches.iter().map(|batch| encode(batch.signed())).collect();
        Ok(Self { encoded, compressions: compressions as f64 / count, next: 0 })
    }

    /// Decodes and verifies the next batch. Returns 1.
    fn check(&mut self, rules: &Rules) -> u64 {
        self.next = (self.next + 1) % self.encoded.len();
        let batch = SignedBatch::decode(&self.encoded[self.next]).expect("a batch that was just encoded");
        black_box(batch.verify(rules).expect("a batch that was just signed"));
        1
    }
}

/// Full batches: from bytes in memory to verified batches.
///
/// # Errors
/// Never with these samples.
pub fn full_batches(report: &mut Report, rounds: u32) -> Result<()> {
    let rules = samples::rules()?;
    let mut load = Load::new(&rules, samples::FULL)?;
    let signed = Signed::default();
    let (per_batch, mut check) = (load.compressions, || load.check(&rules));
    let [checked, signatures, compressions] =
        best_rates(rounds, &mut [&mut check, &mut || signed.check(), &mut compress]);
    let floor = 1.0 / (1.0 / signatures + per_batch / compressions);
    let [one, two] = on_two_cores(rounds, || {
        let (rules, mut load) = (rules.clone(), Load::new(&rules, samples::FULL).expect("samples as before"));
        move || load.check(&rules)
    });
    report.figure(
        "check_full",
        json!({
            "batches_per_s": checked, "records_per_s": checked * samples::FULL as f64, "floor_batches_per_s": floor,
            "compressions_per_batch": per_batch, "one_core_batches_per_s": one, "two_cores_batches_per_s": two,
        }),
    );
    report.at_least("check_full", "full batches from memory, of their floor", checked / floor, 0.7);
    report.at_least("check_full_two_cores", "full batches on two cores, of one core", two / one, 1.8);
    Ok(())
}

/// Batches of one record: from bytes in memory to verified batches.
///
/// # Errors
/// Never with these samples.
pub fn single_batches(report: &mut Report, rounds: u32) -> Result<()> {
    let rules = samples::rules()?;
    let mut load = Load::new(&rules, 1)?;
    let signed = Signed::default();
    let mut check = || load.check(&rules);
    let [checked, signatures] = best_rates(rounds, &mut [&mut check, &mut || signed.check()]);
    let [one, two] = on_two_cores(rounds, || {
        let (rules, mut load) = (rules.clone(), Load::new(&rules, 1).expect("samples as before"));
        move || load.check(&rules)
    });
    report.figure(
        "check_single",
        json!({
            "batches_per_s": checked, "floor_batches_per_s": signatures,
            "one_core_batches_per_s": one, "two_cores_batches_per_s": two,
        }),
    );
    report.at_least("check_single", "one-record batches, of one signature check each", checked / signatures, 0.9);
    Ok(())
}

/// The best rates of what `make` makes, run on one core and on two, by turns.
fn on_two_cores<W: FnMut() -> u64 + Send>(rounds: u32, make: impl Fn() -> W) -> [f64; 2] {
    let mut best = [0.0_f64; 2];
    for _ in 0..rounds {
        for (best, threads) in best.iter_mut().zip(1_usize..) {
            *best = best.max(on_threads((0..threads).map(|_| make()).collect()));
        }
    }
    best
}

/// How often all of `works` together happen in a second, each on a thread of its own.
fn on_threads<W: FnMut() -> u64 + Send>(works: Vec<W>) -> f64 {
    let (done, stop) = (&AtomicU64::new(0), &AtomicBool::new(false));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for mut work in works {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    done.fetch_add(work(), Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(TWO_CORE_SLICE);
        stop.store(true, Ordering::Relaxed);
    });
    done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}
