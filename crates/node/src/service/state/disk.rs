//! When the disk is full: nothing is taken in that would have to be written, and nothing is decided.
//!
//! The refusal comes before the decision: what the state has decided must reach the disk. So it begins while there is
//! still room for all that is on its way.

use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::report::Fault;
use qfzz_sync::session::Taken;

use super::State;
use crate::service::effect::{Effect, Input, Reply, Verdict};

impl<R: LedgerRead> State<R> {
    /// Whether nothing is taken in because the disk is full.
    pub const fn is_disk_full(&self) -> bool {
        self.is_disk_full
    }

    pub(super) fn on_disk(&mut self, full: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        if full == self.is_disk_full {
            return;
        }
        self.is_disk_full = full;
        if full {
            self.mining.head_moved(effects);
            let refused = self.mining.take_asked().into_iter().chain(self.clients.take_waiting());
            effects.extend(refused.map(|token| Effect::Reply(token, Reply::DiskFull)));
        } else {
            // What was refused meanwhile is fetched now.
            let peers: Vec<_> = self.peers().collect();
            peers.into_iter().for_each(|peer| self.syncing.want(peer, now));
        }
    }

    /// Refuses what would have to be written; gives back the rest.
    pub(super) fn refuse_writes(input: Input, effects: &mut Vec<Effect>) -> Option<Input> {
        let refusal = match input {
            Input::Submit { token, .. } | Input::Mine { token } => Some(Effect::Reply(token, Reply::DiskFull)),
            Input::SyncedBlocks { token, .. } | Input::SyncedBatches { token, .. } => {
                Some(Effect::Reply(token, Reply::Taken(Taken::default(), Err(Fault::Here))))
            }
            Input::GossipBatch { message, .. } | Input::GossipBlock { message, .. } => {
                Some(Effect::Verdict(message, Verdict::Unseen))
            }
            Input::Tick | Input::FetchedBatches { .. } | Input::FetchedLog { .. } | Input::Mined(_) => None,
            Input::Connected(_)
            | Input::Familiar(_)
            | Input::Subscribed(_)
            | Input::Disconnected(_)
            | Input::SyncEnded(_)
            | Input::Synced(_)
            | Input::Committed(_)
            | Input::Disk { .. } => return Some(input),
        };
        effects.extend(refusal);
        None
    }
}
