//! This station as `sync_with` sees it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::{SignedBlock, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, StationId};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::alive::Statement;
use qfzz_sync::plan::Anchor;
use qfzz_sync::report::Fault;
use qfzz_sync::session::{Handed, Here, Stopped, SyncSink, SyncView};
use rayon::prelude::*;
use tokio::sync::oneshot;

use super::keys::{KeySource, Keys, check_batch, check_block};
use crate::clock;
use crate::service::ServiceHandle;
use crate::service::effect::Checked;

/// The service, read and changed by a sync.
pub(super) struct Local {
    service: ServiceHandle,
    rules: Arc<Rules>,
    verifiers: Arc<rayon::ThreadPool>,
    keys: KeySource,
}

impl Local {
    pub(super) fn new(service: ServiceHandle, rules: Arc<Rules>, verifiers: Arc<rayon::ThreadPool>) -> Self {
        Self { service, rules, verifiers, keys: KeySource::default() }
    }
}

/// Verifies batches beside everything else that this station does; `keys` are those that they may be signed with.
pub(super) async fn check(
    verifiers: &rayon::ThreadPool,
    rules: &Arc<Rules>,
    keys: Keys,
    batches: Vec<SignedBatch>,
) -> Checked {
    let rules = Arc::clone(rules);
    let verify = move || {
        let verify = |batch: SignedBatch| batch.verify(&rules).inspect(|batch| check_batch(&rules, &keys, batch));
        batches.into_par_iter().map(verify).collect::<Vec<_>>()
    };
    on_pool(verifiers, verify).await.unwrap_or_default().into_iter().collect()
}

/// What `work` comes to, done by the pool; `None` if it panicked.
pub(super) async fn on_pool<T: Send + 'static>(
    pool: &rayon::ThreadPool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (respond_to, done) = oneshot::channel();
    // Whoever asked may have gone. A panic that leaves the pool's thread would end the process.
    pool.spawn(move || drop(catch_unwind(AssertUnwindSafe(work)).map(|done| respond_to.send(done))));
    done.await.ok()
}

impl SyncView for Local {
    fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn cpu_ms(&self) -> u64 {
        clock::cpu_ms()
    }

    async fn pause(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    async fn must_give_way(&self) -> Result<bool, Stopped> {
        self.service.look(|state| state.must_give_way(clock::now())).await.map_err(|_| Stopped)
    }

    async fn alive(&self) -> Result<Option<Statement>, Stopped> {
        self.service.look(|state| state.alive(clock::now())).await.map_err(|_| Stopped)
    }

    async fn here(&self) -> Result<Here, Stopped> {
        self.service.look(|state| state.here()).await.map_err(|_| Stopped)?.map_err(|_| Stopped)
    }

    async fn anchor(&self, hash: BlockHash) -> Result<Option<Anchor>, Stopped> {
        self.service.look(move |state| state.anchor(&hash)).await.map_err(|_| Stopped)
    }

    async fn unknown(&self, hashes: Vec<BlockHash>) -> Result<Vec<BlockHash>, Stopped> {
        self.service.look(move |state| state.unknown(hashes)).await.map_err(|_| Stopped)
    }

    async fn log_ends(&self, stations: Vec<StationId>) -> Result<Vec<Option<LogEnd>>, Stopped> {
        let found = self.service.look(move |state| state.log_ends(&stations)).await;
        found.map_err(|_| Stopped)?.map_err(|_| Stopped)
    }

    async fn may_produce(&self, parent: BlockHash, producer: StationId) -> Result<bool, Stopped> {
        let found = self.service.look(move |state| state.may_produce(&parent, &producer)).await;
        found.map_err(|_| Stopped)?.map_err(|_| Stopped)
    }
}

impl SyncSink for Local {
    async fn verify(&self, blocks: Vec<SignedBlock>) -> Result<Vec<VerifiedBlock>, Fault> {
        let rules = Arc::clone(&self.rules);
        let keys = self.keys.of_blocks(&self.service, &rules, &blocks).await;
        let verified = on_pool(&self.verifiers, move || {
            let verify_all = |batches: Vec<SignedBatch>| {
                batches.into_par_iter().map(|batch| batch.verify(&rules)).collect::<Result<_, _>>()
            };
            let verify = |block: SignedBlock| {
                let verified = block.verify_by(&rules, &HashMap::new(), verify_all);
                verified.inspect(|block| check_block(&rules, &keys, block))
            };
            blocks.into_par_iter().map(verify).collect::<Result<Vec<VerifiedBlock>, _>>()
        });
        verified.await.ok_or(Fault::Here)?.map_err(|error| Fault::Block(error.into()))
    }

    async fn blocks(&self, _peer: StationId, blocks: Vec<VerifiedBlock>) -> Handed {
        self.service.take_blocks(blocks).await
    }

    async fn batches(&self, peer: StationId, batches: Vec<SignedBatch>) -> Handed {
        let keys = self.keys.of_batches(&self.service, &self.rules, &batches).await;
        let checked = check(&self.verifiers, &self.rules, keys, batches).await;
        self.service.take_batches(peer, checked).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_the_pool_ends_nothing_but_its_own_work() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        let broken = on_pool(&pool, || (0..2).into_par_iter().map(|number| 1 / number).sum::<i32>()).await;
        assert_eq!(broken, None);
        assert_eq!(on_pool(&pool, || 2).await, Some(2));
    }
}
