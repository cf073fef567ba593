//! Every station's weight under each policy: computed once per head, for all answers there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use qfzz_ledger_core::ids::BlockHash;
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::state::ReadError;
use qfzz_sync::global_trust::{Policy, PolicyWeights, policy_weights};

use crate::store::StoreReader;

/// The weights at the head that was last asked about.
#[derive(Debug, Default)]
pub(crate) struct Weighing(Mutex<Option<AtHead>>);

#[derive(Debug)]
struct AtHead {
    head: BlockHash,
    of: HashMap<Policy, Arc<PolicyWeights>>,
}

impl Weighing {
    /// The weights under a policy at the ledger's head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn at_head(
        &self,
        ledger: &Ledger<StoreReader>,
        policy: Policy,
    ) -> Result<Arc<PolicyWeights>, ReadError> {
        let head = ledger.chain().head();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match kept.take().filter(|known| known.head == head) {
            Some(known) => known,
            None => AtHead { head, of: HashMap::new() },
        };
        let known = kept.insert(known);
        if let Some(weights) = known.of.get(&policy) {
            return Ok(Arc::clone(weights));
        }
        let weights = Arc::new(policy_weights(ledger.rules(), ledger.read(), policy)?);
        known.of.insert(policy, Arc::clone(&weights));
        Ok(weights)
    }
}
