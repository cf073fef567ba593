//! This station as `sync_with` sees it, and its blocks as the answering side does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::{SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, StationId};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::ReadError;
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::plan::Anchor;
use qfzz_sync::report::Fault;
use qfzz_sync::serve::BlockView;
use qfzz_sync::session::{Here, Stopped, SyncSink, SyncView, Taken};
use rayon::prelude::*;
use tokio::sync::oneshot;

use crate::clock;
use crate::service::ServiceHandle;
use crate::store::{StoreRead, StoreReader};

/// The service, read and changed by a sync.
pub(super) struct Local {
    service: ServiceHandle,
    rules: Arc<Rules>,
    verifiers: Arc<rayon::ThreadPool>,
}

impl Local {
    pub(super) fn new(service: ServiceHandle, rules: Arc<Rules>, verifiers: Arc<rayon::ThreadPool>) -> Self {
        Self { service, rules, verifiers }
    }
}

impl SyncView for Local {
    fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    fn now(&self) -> Timestamp {
        clock::now()
    }

    async fn pause(&self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    async fn here(&self) -> Result<Here, Stopped> {
        self.service.query(|state| state.here()).await.map_err(|_| Stopped)?.map_err(|_| Stopped)
    }

    async fn anchor(&self, hash: BlockHash) -> Result<Option<Anchor>, Stopped> {
        self.service.query(move |state| state.anchor(&hash)).await.map_err(|_| Stopped)
    }

    async fn unknown(&self, hashes: Vec<BlockHash>) -> Result<Vec<BlockHash>, Stopped> {
        self.service.query(move |state| state.unknown(hashes)).await.map_err(|_| Stopped)
    }

    async fn log_ends(&self, stations: Vec<StationId>) -> Result<Vec<LogEnd>, Stopped> {
        let found = self.service.query(move |state| state.log_ends(&stations)).await;
        found.map_err(|_| Stopped)?.map_err(|_| Stopped)
    }
}

impl SyncSink for Local {
    async fn verify(&self, blocks: Vec<SignedBlock>) -> Result<Vec<VerifiedBlock>, Fault> {
        let (respond_to, verified) = oneshot::channel();
        let rules = Arc::clone(&self.rules);
        self.verifiers.spawn(move || {
            let verify = |block: SignedBlock| block.verify(&rules, &HashMap::new());
            let result: Result<Vec<VerifiedBlock>, _> = blocks.into_par_iter().map(verify).collect();
            // A sync that was dropped needs no answer.
            let _ = respond_to.send(result.map_err(|error| Fault::Block(error.into())));
        });
        verified.await.unwrap_or(Err(Fault::Here))
    }

    async fn blocks(&self, _peer: StationId, blocks: Vec<VerifiedBlock>) -> Result<Taken, Fault> {
        self.service.take_blocks(blocks).await
    }

    async fn batches(&self, _peer: StationId, batches: Vec<SignedBatch>) -> Result<Taken, Fault> {
        self.service.take_batches(batches).await
    }
}

/// The blocks in the store.
pub(super) struct BlocksOf(pub(super) StoreReader);

impl BlockView for BlocksOf {
    fn best_height(&self, hash: &BlockHash) -> Result<Option<Height>, ReadError> {
        let Some(sealed) = self.0.header(hash)? else { return Ok(None) };
        let height = sealed.header.index;
        Ok(self.0.header_at(height)?.filter(|(best, _)| best == hash).map(|_| height))
    }

    fn sealed_at(&self, height: Height) -> Result<Option<SealedHeader>, ReadError> {
        Ok(self.0.header_at(height)?.map(|(_, sealed)| sealed))
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<VerifiedBlock>, ReadError> {
        LedgerRead::block(&self.0, hash)
    }
}
