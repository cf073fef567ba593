//! What the two schemes cost a record: bytes, signing and checking, at batches of 1, 16 and 256 records.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use qfzz_ledger_core::batch::{SignedBatch, VerifiedBatch};
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::federation::{Rules, SignatureScheme};
use serde_json::json;

use crate::report::Report;
use crate::samples;

/// Batches of one measurement: how long an ML-DSA signature takes depends on what is signed, so many are.
const BATCHES: usize = 65;

/// Records in a batch.
const SIZES: [usize; 3] = [1, 16, samples::FULL];

/// Bytes, and microseconds of one core, a record.
struct Cost {
    bytes: f64,
    sign: f64,
    check: f64,
}

/// The cost of a record under both schemes.
///
/// # Errors
/// Never with these samples.
pub fn signatures(report: &mut Report, rounds: u32) -> Result<()> {
    for (name, scheme) in [("ed25519", SignatureScheme::Ed25519), ("hybrid", SignatureScheme::Hybrid)] {
        let rules = samples::rules_with(scheme)?;
        for records in SIZES {
            let Cost { bytes, sign, check } = cost(&rules, records, rounds.div_ceil(10))?;
            report.figure(
                &format!("signatures_{name}_{records}"),
                json!({ "bytes_per_record": bytes, "sign_us_per_record": sign, "check_us_per_record": check }),
            );
        }
    }
    Ok(())
}

fn cost(rules: &Rules, records: usize, rounds: u32) -> Result<Cost> {
    let batches = samples::batches(rules, BATCHES, records)?;
    // The first batch introduces its station, and is larger: it is left out.
    let later = batches.get(1..).context("more than one batch")?;
    let key = samples::key();
    let introduced = key.ml_dsa_key();
    let encoded: Vec<Vec<u8>> = later.iter().map(|batch| encode(batch.signed())).collect();
    let count = (later.len() * records) as f64;
    let micros = |elapsed: Duration| elapsed.as_secs_f64() * 1e6 / count;
    let sign = || {
        for batch in later {
            let (header, records) = (batch.header(), batch.records().to_vec());
            let place = (header.sequence, header.previous);
            black_box(SignedBatch::sign(rules, &key, place, header.seen, header.created_at, None, records));
        }
    };
    let check = || {
        for bytes in &encoded {
            let batch = SignedBatch::decode(bytes).expect("a batch that was just encoded");
            let batch = batch.verify(rules).expect("a batch that was just signed");
            assert!(!rules.is_hybrid() || batch.is_signed_under(rules, introduced), "it was signed with that key");
            black_box(batch);
        }
    };
    Ok(Cost {
        bytes: later.iter().map(VerifiedBatch::encoded_len).sum::<usize>() as f64 / count,
        sign: micros(best(rounds, sign)),
        check: micros(best(rounds, check)),
    })
}

/// The shortest time that `work` takes.
fn best(rounds: u32, work: impl Fn()) -> Duration {
    let timed = (0..rounds.max(1)).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    timed.min().unwrap_or_default()
}
