//! What must hold: of each acknowledged record always, of the whole federation after the faults.

use std::collections::{BTreeMap, BTreeSet};

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::ids::{BlockHash, Height, RecordId};
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::{Key, StateRead};
use qfzz_ledger_core::verify::Verifier;
use qfzz_node::service::effect::Receipt;

use crate::world::World;

impl World {
    /// Every record that this station ever acknowledged is on its chain or pending there, in its batch.
    pub(crate) fn check_promise(&mut self, number: usize) {
        if let Err(broken) = self.promise(number) {
            self.fail(format_args!("s{number}: {broken}"));
        }
    }

    fn promise(&self, number: usize) -> Result<(), String> {
        let station = &self.stations[number];
        let Some(running) = &station.running else { return Ok(()) };
        let node = running.node.lock();
        let ledger = node.state.ledger();
        let confirmed = ledger.chain_end(&station.id).map_err(|error| error.to_string())?.next;
        let own = self.clients.acknowledged.values().filter(|(author, _)| *author == number);
        for (_, Receipt { id, batch, .. }) in own {
            let pending = ledger.pool().batch(&station.id, id.sequence);
            let is_kept = id.sequence < confirmed || pending.is_some_and(|pending| pending.id() == *batch);
            if !is_kept {
                return Err(format!("the acknowledged record {id} is gone"));
            }
        }
        Ok(())
    }

    /// What still keeps the federation from agreement; `None` if nothing does.
    pub(crate) fn unsettled(&self) -> Option<String> {
        if self.clients.wait() {
            return Some("a client waits for its reply".to_owned());
        }
        if let Some(unproven) = self.unproven() {
            return Some(unproven);
        }
        let mut first: Option<BlockHash> = None;
        for (number, station) in self.stations.iter().enumerate() {
            let Some(running) = &station.running else { return Some(format!("s{number} does not run")) };
            let node = running.node.lock();
            let ledger = node.state.ledger();
            let (head, pending) = (ledger.chain().head(), ledger.pool().records());
            if *first.get_or_insert(head) != head {
                return Some(format!("s{number} has head {head} at height {}", ledger.chain().height()));
            }
            if pending > 0 {
                return Some(format!("{pending} records are pending at s{number}"));
            }
            if !station.disk.is_idle() || !running.is_idle() {
                return Some(format!("s{number} has not finished"));
            }
        }
        None
    }

    /// Checks the federation once all agree: the chain from genesis on, each acknowledged record on it exactly once,
    /// and the trust state of every station.
    ///
    /// # Errors
    /// The promise that was broken.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let blocks = self.best_chain(0)?;
        let mut verifier = Verifier::from_genesis(&self.rules);
        let mut found: BTreeMap<RecordId, Receipt> = BTreeMap::new();
        for block in &blocks {
            verifier.next(block.to_signed()).map_err(|error| error.to_string())?;
            for batch in block.batches() {
                self.totals.proofs += batch.records().iter().filter(|record| record.proof().is_some()).count() as u64;
                for (index, hash) in (0..).zip(batch.record_hashes(&self.rules)) {
                    let id = batch.record_id(index);
                    if found.insert(id, Receipt { id, hash, batch: batch.id() }).is_some() {
                        return Err(format!("record {id} is on the chain twice"));
                    }
                }
            }
        }
        for (id, (author, receipt)) in &self.clients.acknowledged {
            if found.get(id) != Some(receipt) {
                return Err(format!("record {id} that s{author} acknowledged is not on the chain"));
            }
        }
        for (number, station) in self.stations.iter().enumerate() {
            let store = station.disk.reader();
            // Whatever was written once could have been left behind by a reorganisation.
            let written = station.disk.journal().iter().flat_map(|transition| transition.writes.keys());
            let keys: BTreeSet<&Key> = written.chain(verifier.state().keys()).collect();
            for key in keys {
                let value = store.get(key).map_err(|error| error.to_string())?;
                if value.as_ref() != verifier.state().get(key).and_then(Option::as_ref) {
                    return Err(format!("s{number} holds {value:?} under {key:?}, which is not what the chain says"));
                }
            }
        }
        self.totals.equivocations = u64::from(self.liar.is_some());
        self.totals.blocks = blocks.len() as u64;
        self.totals.records = self.clients.acknowledged.len() as u64;
        Ok(())
    }

    /// The best chain of a running station above genesis.
    fn best_chain(&self, number: usize) -> Result<Vec<VerifiedBlock>, String> {
        let Some(running) = &self.stations[number].running else { return Err(format!("s{number} does not run")) };
        let node = running.node.lock();
        let ledger = node.state.ledger();
        let heights = 1..=ledger.chain().height().get();
        let block = |height| {
            let hash = ledger.chain().at(Height::new(height)).ok_or("a height without a block")?;
            let block = ledger.read().block(&hash).map_err(|error| error.to_string())?;
            block.ok_or(format!("s{number} lacks block {hash}"))
        };
        heights.map(block).collect()
    }
}
