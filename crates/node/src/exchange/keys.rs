//! The ML-DSA parts of signatures, checked on all cores before the ledger asks for them.
//!
//! Which key a batch or a seal must be of depends on the chain, and so only the ledger judges. But what was found to
//! verify under a key stays with the batch ([`VerifiedBatch::is_signed_under`]), and the ledger mostly asks about that
//! key: so its one thread is spared most of the work. A wrong guess costs time and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use qfzz_ledger_core::batch::{SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{SignedBlock, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::ml_dsa::MlDsaKey;
use rayon::prelude::*;

use crate::service::ServiceHandle;

/// Keys that are looked up for one answer, and that are remembered of one sync, at most: 2 KiB each.
const MAX_KEYS: usize = 512;

/// Keys by station, as guessed.
pub(super) type Keys = HashMap<StationId, MlDsaKey>;

/// Where the guesses come from: this station's ledger, and the introductions that came by.
#[derive(Default)]
pub(super) struct KeySource {
    introduced: Mutex<Keys>,
}

impl KeySource {
    /// The keys of the logs that `batches` are of; none where stations sign without.
    pub(super) async fn of_batches(&self, service: &ServiceHandle, rules: &Rules, batches: &[SignedBatch]) -> Keys {
        if !rules.is_hybrid() {
            return Keys::new();
        }
        self.notice(batches);
        self.of(service, batches.iter().map(|batch| batch.header.station).collect()).await
    }

    /// The keys of the logs and producers in `blocks`; none where stations sign without.
    pub(super) async fn of_blocks(&self, service: &ServiceHandle, rules: &Rules, blocks: &[SignedBlock]) -> Keys {
        if !rules.is_hybrid() {
            return Keys::new();
        }
        let mut stations: BTreeSet<StationId> = blocks.iter().map(|block| block.sealed.header.producer).collect();
        for block in blocks {
            self.notice(&block.batches);
            stations.extend(block.batches.iter().map(|batch| batch.header.station));
        }
        self.of(service, stations).await
    }

    /// Takes note of introductions: what follows them may be verified before they are connected.
    fn notice(&self, batches: &[SignedBatch]) {
        let mut introduced = self.introduced.lock().unwrap_or_else(PoisonError::into_inner);
        for batch in batches {
            if let Some(key) = batch.header.introduced_key()
                && introduced.len() < MAX_KEYS
            {
                introduced.insert(batch.header.station, key);
            }
        }
    }

    async fn of(&self, service: &ServiceHandle, stations: BTreeSet<StationId>) -> Keys {
        let asked: Vec<StationId> = stations.iter().take(MAX_KEYS).copied().collect();
        let known = service.look(move |state| {
            let key = |station: StationId| Some((station, state.ledger().log_key(&station).ok()??));
            asked.into_iter().filter_map(key).collect::<Keys>()
        });
        let mut keys = known.await.unwrap_or_default();
        let introduced = self.introduced.lock().unwrap_or_else(PoisonError::into_inner);
        for station in stations {
            if let Some(key) = introduced.get(&station) {
                keys.entry(station).or_insert_with(|| key.clone());
            }
        }
        keys
    }
}

/// Checks a batch ahead.
pub(super) fn check_batch(rules: &Arc<Rules>, keys: &Keys, batch: &VerifiedBatch) {
    if let Some(key) = keys.get(&batch.station()) {
        batch.is_signed_under(rules, key);
    }
}

/// Checks a block's seal and batches ahead.
pub(super) fn check_block(rules: &Arc<Rules>, keys: &Keys, block: &VerifiedBlock) {
    if keys.is_empty() {
        return;
    }
    if let Some(key) = keys.get(&block.header().producer) {
        block.is_sealed_under(rules, key);
    }
    block.batches().par_iter().for_each(|batch| check_batch(rules, keys, batch));
}
