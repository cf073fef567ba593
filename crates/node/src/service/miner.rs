//! The miner: one blocking thread that searches nonces, for the newest template only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use qfzz_ledger_core::header::BlockHeader;
use qfzz_ledger_core::ids::FederationId;
use qfzz_ledger_core::pow::NonceSearch;
use tokio::sync::mpsc;

use crate::quantum::QuantumRandomNumberGenerator;

/// Attempts between two looks at whether the head has moved: less than a millisecond.
const ATTEMPTS: u32 = 1 << 14;

/// Nonces found that may wait for the worker.
pub(super) const FOUND_CAPACITY: usize = 4;

/// Starts and cancels searches.
pub(super) struct Miner {
    federation: FederationId,
    found: mpsc::Sender<BlockHeader>,
    /// Where searches begin; `None`: at 0.
    qrng: Option<QuantumRandomNumberGenerator>,
    /// The number of the newest search; every other one ends.
    newest: Arc<AtomicU64>,
}

impl Miner {
    /// A miner that reports to `found`, and begins at a nonce of `qrng`.
    pub(super) fn new(
        federation: FederationId,
        found: mpsc::Sender<BlockHeader>,
        qrng: Option<QuantumRandomNumberGenerator>,
    ) -> Self {
        Self { federation, found, qrng, newest: Arc::new(AtomicU64::new(0)) }
    }

    /// Searches a nonce for `header`, and for nothing else any more.
    pub(super) fn start(&self, mut header: BlockHeader) {
        // Without a random number it begins where it would have begun anyway.
        if let Some(Ok(nonce)) = self.qrng.as_ref().map(QuantumRandomNumberGenerator::random_nonce) {
            header.nonce = nonce.into();
        }
        let number = self.newest.fetch_add(1, Ordering::Relaxed) + 1;
        let (newest, found) = (Arc::clone(&self.newest), self.found.clone());
        let mut search = NonceSearch::new(&self.federation, header);
        tokio::task::spawn_blocking(move || {
            while newest.load(Ordering::Relaxed) == number {
                if let Some((header, _)) = search.run(ATTEMPTS) {
                    // A worker that has gone needs no block.
                    let _ = found.blocking_send(header);
                    return;
                }
            }
        });
    }

    /// Searches no more.
    pub(super) fn stop(&self) {
        self.newest.fetch_add(1, Ordering::Relaxed);
    }
}
