//! Who takes part: a founder's words about stations, its invitations, and using one of another founder.

use std::time::Duration;

use qfzz_ledger_core::ids::{Reason, StationId};
use qfzz_ledger_core::record::{Record, StationAdmitted, StationExpelled};
use qfzz_ledger_core::state::{ReadError, Standing, expected_key_hash, ml_dsa_key};

use super::{Member, Shared};
use crate::api::dto::{Invitation, Receipt};
use crate::api::port::{PortError, Refusal, Word};
use crate::clock;
use crate::identity::Identity;
use crate::invitations::{InviteError, Secret, Welcome};
use crate::network::genesis::{FetchError, show_invitation};
use crate::network::names::{peer_in, station_of};
use crate::quantum::QuantumRandomNumberGenerator;
use crate::service::state::State;
use crate::store::StoreReader;
use crate::ticket::Ticket;

impl Member {
    /// Refuses what only a founder may do, and only where admission is by roster.
    fn check_founder(&self) -> Result<(), Refusal> {
        match (self.rules.has_roster(), self.is_founder()) {
            (false, _) => Err(Refusal::AdmissionOpen),
            (true, false) => Err(Refusal::NotAFounder),
            (true, true) => Ok(()),
        }
    }

    /// Where a station stands at the head.
    pub(super) async fn standing(&self, station: StationId) -> Result<Standing, PortError> {
        let asked =
            move |state: &State<StoreReader>| -> Result<Standing, ReadError> { state.ledger().standing(&station) };
        Ok(self.service.query(asked).await??)
    }

    /// Signs and stores this founder's word about a station.
    pub(super) async fn say_of(&self, station: StationId, word: Word, reason: Reason) -> Result<Receipt, PortError> {
        self.check_founder()?;
        if self.rules.is_founder(&station) {
            return Err(Refusal::FounderStays.into());
        }
        let record = match word {
            Word::Admit { ml_dsa_key_hash } => {
                let ml_dsa_key_hash = self.key_hash_of(station, ml_dsa_key_hash).await?;
                Record::StationAdmitted(StationAdmitted { station, reason, ml_dsa_key_hash })
            }
            Word::Expel if self.standing(station).await? == Standing::Stranger => {
                return Err(Refusal::NotAdmitted.into());
            }
            Word::Expel => Record::StationExpelled(StationExpelled { station, reason }),
        };
        let receipts = self.service.submit(vec![record]).await?;
        self.exchange.hasten();
        let receipt = receipts.first().ok_or(PortError::Failed { reason: "there is no receipt".to_owned() })?;
        Ok(Receipt { record_id: receipt.id, hash: receipt.hash, batch_id: receipt.batch, is_refused: false })
    }

    /// The hash of the ML-DSA key that an admission names: as it is given, or known on the chain.
    async fn key_hash_of(&self, station: StationId, given: Option<[u8; 32]>) -> Result<Option<[u8; 32]>, PortError> {
        if !self.rules.is_hybrid() {
            return if given.is_some() { Err(Refusal::KeyHashUnused.into()) } else { Ok(None) };
        }
        let asked = move |state: &State<StoreReader>| -> Result<Option<[u8; 32]>, ReadError> {
            let ledger = state.ledger();
            match ml_dsa_key(ledger.read(), &station)? {
                Some(key) => Ok(Some(key.hash())),
                None => expected_key_hash(ledger.rules(), ledger.read(), &station),
            }
        };
        match (given, self.service.query(asked).await??) {
            (None, None) => Err(Refusal::KeyHashMissing.into()),
            (Some(given), Some(known)) if given != known => Err(Refusal::OtherKey.into()),
            (given, known) => Ok(given.or(known)),
        }
    }

    /// Makes a one-time invitation, its secret with `qrng` mixed in.
    pub(super) async fn invite(
        &self,
        valid: Duration,
        qrng: &QuantumRandomNumberGenerator,
    ) -> Result<Invitation, PortError> {
        self.check_founder()?;
        let nowhere = || PortError::NotReady { reason: "it listens on no address: set network.listen".to_owned() };
        let ticket = self.ticket().await.ok_or_else(nowhere)?;
        let failed = |reason: String| PortError::Failed { reason };
        let mut bytes = [0; 32];
        qrng.fill(&mut bytes).map_err(|error| failed(error.to_string()))?;
        let (secret, now) = (Secret::new(bytes), clock::now());
        let expires = now.saturating_add(i64::try_from(valid.as_millis()).unwrap_or(i64::MAX));
        let (invitations, kept) = (std::sync::Arc::clone(&self.exchange.invitations), secret.clone());
        let written = tokio::task::spawn_blocking(move || invitations.add(&kept, expires, now)).await;
        match written.map_err(|error| failed(error.to_string()))? {
            Ok(()) => Ok(Invitation { ticket: ticket.with_invitation(secret).to_string(), expires }),
            Err(error @ InviteError::TooMany) => Err(PortError::NotReady { reason: error.to_string() }),
            Err(InviteError::DataDir(error)) => Err(failed(error.to_string())),
        }
    }
}

/// Why an invitation admitted nobody.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedeemError {
    /// The founder says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The founder cannot write the admission now.
    #[error("the founder cannot admit this station now: try again in a few seconds")]
    Later,
    /// The founder cannot be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Shows the founder that made `ticket` that this station has its `secret`, if that is an invitation: by the first
/// address that answers.
pub(crate) async fn redeem(identity: &Identity, ticket: &Ticket, secret: &Secret) -> Result<(), RedeemError> {
    let (newcomer, key_hash) = (identity.station_id(), identity.ml_dsa_key_hash());
    let mut last = RedeemError::Later;
    for address in ticket.addresses() {
        let Some(founder) = peer_in(address).and_then(|peer| station_of(&peer)) else { continue };
        let shown = secret.show(&ticket.federation(), &founder, &newcomer, key_hash);
        match show_invitation(*identity.seed(), ticket.federation(), address.clone(), &shown).await {
            Err(error) => last = error.into(),
            Ok(answer) => {
                return match Welcome::read(&answer) {
                    Some(Welcome::Admitted) => Ok(()),
                    Some(Welcome::Used) => Err(Refusal::InvitationUsed.into()),
                    Some(Welcome::Expired) => Err(Refusal::InvitationExpired.into()),
                    Some(Welcome::Unknown) => Err(Refusal::InvitationUnknown.into()),
                    Some(Welcome::Expelled) => Err(Refusal::StationExpelled.into()),
                    Some(Welcome::Later) | None => Err(RedeemError::Later),
                };
            }
        }
    }
    Err(last)
}

/// Uses the invitation in `ticket`, unless this station is admitted already, as far as it knows.
pub(super) async fn redeem_if_needed(shared: &Shared, ticket: &Ticket, secret: &Secret) -> Result<(), RedeemError> {
    if let Some(member) = shared.member().filter(|member| member.rules.federation() == ticket.federation()) {
        let standing = member.standing(shared.identity.station_id()).await;
        if standing.is_ok_and(|standing| standing == Standing::Admitted) {
            return Ok(());
        }
    }
    redeem(&shared.identity, ticket, secret).await?;
    tracing::info!("the founder admits this station by its invitation");
    Ok(())
}
