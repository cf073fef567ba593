//! Every station's weight under each policy: computed once per head, for all answers there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use qfzz_ledger_core::ids::BlockHash;
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::state::{ReadError, chain_state};
use qfzz_sync::global_trust::{Policy, PolicyWeights, policy_weights};

use super::Member;
use super::station::on_disk;
use crate::api::port::PortError;
use crate::service::state::State;
use crate::store::{StoreRead, StoreReader};

/// How often weights are computed beside the worker before it does that itself: the head may move meanwhile.
const TRIES: usize = 3;

/// The weights at the head that was last asked about.
#[derive(Debug, Default)]
pub(crate) struct Weighing {
    kept: Mutex<Option<AtHead>>,
    /// Whoever computes beside the worker; others wait for what it finds.
    preparing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct AtHead {
    head: BlockHash,
    of: HashMap<Policy, Arc<PolicyWeights>>,
}

impl Weighing {
    /// Computes the weights under a policy that reads every opinion on the chain (seconds, with millions of them), from
    /// the store: the worker would be held up. Other policies are computed where they are needed.
    ///
    /// # Errors
    /// [`PortError`], where the store cannot be read.
    pub(super) async fn prepare(self: &Arc<Self>, member: &Member, policy: Policy) -> Result<(), PortError> {
        if policy != Policy::EigenTrust {
            return Ok(());
        }
        let _turn = self.preparing.lock().await;
        for _ in 0..TRIES {
            let head = member.service.query(|state: &State<StoreReader>| state.ledger().chain().head()).await?;
            if self.at(head, |of| of.contains_key(&policy)) {
                break;
            }
            let (weighing, reader, rules) = (Arc::clone(self), member.reader.clone(), Arc::clone(&member.rules));
            on_disk(move || {
                let (head, weights) = reader.consistent(|store| {
                    let head = chain_state(store, &rules)?.head;
                    Ok::<_, ReadError>((head, policy_weights(&rules, store, policy)?))
                })?;
                weighing.at(head, |of| of.insert(policy, Arc::new(weights)));
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// The weights under a policy at the ledger's head.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn at_head(
        &self,
        ledger: &Ledger<StoreReader>,
        policy: Policy,
    ) -> Result<Arc<PolicyWeights>, ReadError> {
        self.at(ledger.chain().head(), |of| {
            if let Some(weights) = of.get(&policy) {
                return Ok(Arc::clone(weights));
            }
            let weights = Arc::new(policy_weights(ledger.rules(), ledger.read(), policy)?);
            of.insert(policy, Arc::clone(&weights));
            Ok(weights)
        })
    }

    /// What `read` makes of the weights at a head, which are kept instead of those of any other.
    fn at<T>(&self, head: BlockHash, read: impl FnOnce(&mut HashMap<Policy, Arc<PolicyWeights>>) -> T) -> T {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match kept.take().filter(|known| known.head == head) {
            Some(known) => known,
            None => AtHead { head, of: HashMap::new() },
        };
        read(&mut kept.insert(known).of)
    }
}
