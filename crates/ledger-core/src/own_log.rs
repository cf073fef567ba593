//! The station's own log: signing its batches and opening its reveals.

use crate::batch::{Introduction, SignedBatch, VerifiedBatch};
use crate::codec::encoded_len;
use crate::crypto::StationKey;
use crate::federation::Rules;
use crate::ids::{BatchId, BlockHash, Name, Sequence, StationId};
use crate::limits::MAX_PROOFS_PER_BATCH;
use crate::mempool::LogEnd;
use crate::record::Record;
use crate::reveal::RevealChain;
use crate::time::Timestamp;

/// Who this station is and what it signs with.
#[derive(Clone)]
pub struct OwnLog {
    key: StationKey,
    name: Name,
    reveals: RevealChain,
}

impl OwnLog {
    /// The log of `key`'s station, which calls itself `name`.
    pub const fn new(key: StationKey, name: Name, reveals: RevealChain) -> Self {
        Self { key, name, reveals }
    }

    /// The station.
    pub fn station(&self) -> StationId {
        self.key.station()
    }

    /// The station's key.
    pub const fn key(&self) -> &StationKey {
        &self.key
    }

    /// The station's reveal chain.
    pub const fn reveals(&self) -> &RevealChain {
        &self.reveals
    }

    /// Signs `records` in as many batches as the limits need, after `end`. Without records it signs the introduction,
    /// if the log has none yet.
    pub fn sign(
        &self,
        rules: &Rules,
        end: LogEnd,
        seen: BlockHash,
        now: Timestamp,
        records: Vec<Record>,
    ) -> Vec<VerifiedBatch> {
        let mut batches = Vec::new();
        let mut end = end;
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() || end.next == Sequence::ZERO {
            let introduction = (end.next == Sequence::ZERO).then(|| Introduction {
                name: self.name.clone(),
                reveal_commitment: self.reveals.commitment(),
                ml_dsa_key: rules.is_hybrid().then(|| self.key.ml_dsa_key().as_bytes().to_vec()),
            });
            let mut left = rules.limits().batch_bytes as usize - batch_overhead(rules, introduction.as_ref());
            let (mut chosen, mut proofs) = (Vec::new(), 0);
            while chosen.len() < usize::from(rules.limits().batch_records) {
                let fits = |record: &Record| {
                    encoded_len(record) <= left && (record.proof().is_none() || proofs < MAX_PROOFS_PER_BATCH)
                };
                let Some(record) = records.next_if(fits) else { break };
                left -= encoded_len(&record);
                proofs += usize::from(record.proof().is_some());
                chosen.push(record);
            }
            let batch = SignedBatch::sign(rules, &self.key, (end.next, end.last), seen, now, introduction, chosen);
            let Some(next) = batch.sequence().next() else { break };
            end = LogEnd { next, last: batch.id() };
            batches.push(batch);
        }
        batches
    }
}

/// Bytes of an encoded batch beside its records.
fn batch_overhead(rules: &Rules, introduction: Option<&Introduction>) -> usize {
    const HASHES: usize = 4 * size_of::<BatchId>();
    const NUMBERS: usize = 8 + 8 + 2;
    const LENGTHS: usize = 8 + 8;
    let introduction = 1 + introduction.map_or(0, encoded_len);
    HASHES + NUMBERS + LENGTHS + introduction + rules.scheme().signature_bytes()
}
