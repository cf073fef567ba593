//! What is measured with: records as stations write them, batches and blocks of them.

use std::sync::Arc;

use anyhow::{Context, Result};
use qfzz_ledger_core::batch::{Introduction, SignedBatch, VerifiedBatch};
use qfzz_ledger_core::codec::encoded_len;
use qfzz_ledger_core::crypto::StationKey;
use qfzz_ledger_core::federation::{Genesis, Parameters, Rules, SignatureScheme};
use qfzz_ledger_core::ids::{BatchId, BlockHash, Id, Name, Sequence, Target};
use qfzz_ledger_core::record::{Record, UserAction};
use qfzz_ledger_core::score::Delta;
use qfzz_ledger_core::time::Timestamp;
use serde_json::{Value, json};

/// When everything happens: 2026-01-01T00:00:00Z.
const AT_MILLIS: i64 = 1_767_225_600_000;

/// Records of a full batch.
pub const FULL: usize = 256;

/// A federation with the default parameters, founded by [`key`].
///
/// # Errors
/// Never with these parameters.
pub fn rules() -> Result<Arc<Rules>> {
    rules_with(SignatureScheme::Ed25519)
}

/// The same with this scheme.
///
/// # Errors
/// Never with these parameters.
pub fn rules_with(scheme: SignatureScheme) -> Result<Arc<Rules>> {
    let mut parameters = Parameters::new(Name::new("benchmark")?, key().station(), at()?);
    if scheme == SignatureScheme::Hybrid {
        parameters.signatures = scheme;
        parameters.add_founder(key().station(), Some(key().ml_dsa_key().hash()));
    }
    Ok(Arc::new(Rules::new(Genesis::mine(parameters)?)?))
}

/// The time at which everything happens.
///
/// # Errors
/// Never.
pub fn at() -> Result<Timestamp> {
    Timestamp::from_millis(AT_MILLIS).context("a time in range")
}

/// Numbers that follow from a seed and are spread evenly enough to read at random (SplitMix64).
pub struct Draw(u64);

impl Draw {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, below `limit`.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// The key that signs the samples.
pub fn key() -> StationKey {
    StationKey::from_seed([1; 32])
}

/// Who did something: one of `subjects` users.
fn user(number: usize, subjects: usize) -> String {
    format!("user-{:07}", number % subjects)
}

/// A user action, number `number` of many, about one of `subjects` users.
///
/// # Errors
/// Never with numbers below 10 million.
pub fn record(number: usize, subjects: usize) -> Result<Record> {
    Ok(Record::UserAction(UserAction {
        user_id: Id::new(user(number, subjects))?,
        action: Id::new("interaction")?,
        target: Target::new(format!("track-{:05}", number % 99_991))?,
        trust_delta: Delta::from_millionths(10_000).context("a delta in range")?,
        timestamp: at()?,
    }))
}

/// A user action that moves nothing, so that no juror is drawn to check it.
///
/// # Errors
/// Never.
pub fn idle_record() -> Result<Record> {
    let Record::UserAction(mut action) = record(0, 1)? else { anyhow::bail!("it is a user action") };
    action.trust_delta = Delta::from_millionths(0).context("a delta in range")?;
    Ok(Record::UserAction(action))
}

/// The record of these numbers as a client sends it.
pub fn json_record(number: usize, subjects: usize) -> Value {
    json!({
        "kind": "user_action",
        "user_id": user(number, subjects),
        "action": "interaction",
        "target": format!("track-{:05}", number % 99_991),
        "timestamp": "2026-01-01T00:00:00Z",
    })
}

/// A station's log.
pub struct Log {
    /// What it signs with.
    pub key: StationKey,
    next: Sequence,
    last: BatchId,
}

impl Log {
    /// An empty one.
    pub const fn new(key: StationKey) -> Self {
        Self { key, next: Sequence::ZERO, last: BatchId::ZERO }
    }

    /// Signs the next batch, by a station that has seen the block `seen`; the first introduces the station by its name and
    /// reveal commitment.
    ///
    /// # Errors
    /// Where the log is too long.
    pub fn sign(
        &mut self,
        rules: &Rules,
        (name, reveal_commitment): (&Name, [u8; 32]),
        seen: BlockHash,
        at: Timestamp,
        records: Vec<Record>,
    ) -> Result<VerifiedBatch> {
        let introduction = (self.next == Sequence::ZERO).then(|| {
            let ml_dsa_key = rules.is_hybrid().then(|| self.key.ml_dsa_key().as_bytes().to_vec());
            Introduction { name: name.clone(), reveal_commitment, ml_dsa_key }
        });
        let place = (self.next, self.last);
        let batch = SignedBatch::sign(rules, &self.key, place, seen, at, introduction, records);
        (self.next, self.last) = (place.0.next().context("a log this long")?, batch.id());
        Ok(batch)
    }
}

/// `count` batches of `records` records each: the beginning of one log.
///
/// # Errors
/// Never with a full batch or less.
pub fn batches(rules: &Rules, count: usize, records: usize) -> Result<Vec<VerifiedBatch>> {
    let (mut log, name, at) = (Log::new(key()), Name::new("benchmark")?, at()?);
    let mut batches = Vec::with_capacity(count);
    for number in 0..count {
        let of_batch = (0..records).map(|index| record(number * records + index, 1_000)).collect::<Result<_>>()?;
        batches.push(log.sign(rules, (&name, [0; 32]), rules.genesis_hash(), at, of_batch)?);
    }
    Ok(batches)
}

/// Compressions that a message of so many bytes needs after its tag's prefix: it, a one bit, and its length.
const fn compressions(bytes: usize) -> u64 {
    (bytes as u64 + 9).div_ceil(64)
}

/// The compressions that a batch's bytes need, the tags' prefixes aside: each record's hash, two for each inner node
/// of the Merkle tree, the header's hash and the id.
pub fn compressions_of(batch: &SignedBatch) -> u64 {
    let records = batch.records.iter().map(|record| compressions(2 + encoded_len(record))).sum::<u64>();
    let nodes = 2 * (batch.records.len() as u64).saturating_sub(1);
    records + nodes + compressions(encoded_len(&batch.header)) + compressions(32 + batch.signature.as_bytes().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_verifies_and_its_floor_counts_every_hash() {
        let rules = rules().expect("a federation");
        let batches = batches(&rules, 2, 4).expect("batches");
        for batch in &batches {
            assert!(batch.signed().clone().verify(&rules).is_ok());
        }
        // 4 records of 2, 3 nodes of 2, the header of 162 bytes 3, the id of 96 bytes 2.
        assert_eq!(compressions_of(batches[1].signed()), 8 + 6 + 3 + 2);
    }
}
