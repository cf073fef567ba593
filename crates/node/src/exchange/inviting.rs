//! Newcomers with an invitation: who shows one of this founder's is admitted.

use std::sync::Arc;

use qfzz_ledger_core::ids::{Reason, Sequence, StationId};
use qfzz_ledger_core::record::{Record, StationAdmitted};
use qfzz_ledger_core::state::{ReadError, Standing};

use super::Exchange;
use crate::clock;
use crate::invitations::{Shown, Welcome};
use crate::network::Responder;
use crate::service::state::State;
use crate::store::StoreReader;

/// What the founder's record gives as its reason.
const REASON: &str = "invited";

/// What is known of a newcomer.
struct Known {
    standing: Standing,
    /// Whether its admission by this station waits for a block.
    is_under_way: bool,
}

impl Known {
    fn read(state: &State<StoreReader>, newcomer: &StationId) -> Result<Self, ReadError> {
        let ledger = state.ledger();
        let own = ledger.own().station();
        let mut pending = ledger.pool().log_from(&own, Sequence::ZERO).flat_map(|batch| batch.records());
        let is_under_way = pending.any(|it| matches!(it, Record::StationAdmitted(it) if it.station == *newcomer));
        Ok(Self { standing: ledger.standing(newcomer)?, is_under_way })
    }
}

impl Exchange {
    pub(super) fn on_invitation(&self, peer: StationId, shown: Shown, respond: Responder) {
        let exchange = self.clone();
        self.spawn(async move {
            let welcome = exchange.welcome(peer, shown).await.unwrap_or(Welcome::Later);
            if exchange.may_tell() {
                tracing::info!(%peer, ?welcome, "a station showed an invitation");
            }
            respond.send(welcome.to_bytes());
        });
    }

    /// Admits a newcomer whose invitation holds; its admission is on disk when this returns `Admitted`. `None` where it
    /// cannot be written now.
    async fn welcome(&self, newcomer: StationId, shown: Shown) -> Option<Welcome> {
        let is_founder = self.rules.is_founder(&self.network.station());
        if !(self.rules.has_roster() && is_founder) {
            return Some(Welcome::Unknown);
        }
        let known = self.service.query(move |state: &_| Known::read(state, &newcomer)).await.ok()?.ok()?;
        let invitations = Arc::clone(&self.invitations);
        let redeem = move || match known.standing {
            // It keeps its invitation, for the day when it can be admitted again.
            Standing::Expelled => Ok(Welcome::Expelled),
            Standing::Stranger | Standing::Admitted => invitations.redeem(&shown, &newcomer, clock::now()),
        };
        let welcome = match tokio::task::spawn_blocking(redeem).await.ok()? {
            Ok(welcome) => welcome,
            Err(error) => {
                tracing::error!(%error, "an invitation that was shown cannot be marked as used");
                return None;
            }
        };
        if welcome == Welcome::Admitted && known.standing == Standing::Stranger && !known.is_under_way {
            let reason = Reason::new(REASON).expect("a short text");
            let ml_dsa_key_hash = self.rules.is_hybrid().then_some(shown.ml_dsa_key_hash);
            let record = Record::StationAdmitted(StationAdmitted { station: newcomer, reason, ml_dsa_key_hash });
            self.service.submit(vec![record]).await.ok()?;
            self.hasten();
        }
        Some(welcome)
    }

    /// Mines at once what a founder has just said, where this station mines by itself: who takes part should not wait
    /// for an hour.
    pub(crate) fn hasten(&self) {
        if self.mines {
            let service = self.service.clone();
            // What comes of it shows on the chain; else the next interval brings it.
            self.spawn(async move { drop(service.mine().await) });
        }
    }
}
