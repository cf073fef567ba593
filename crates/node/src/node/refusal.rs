//! What the API is told when a part of the node refuses.

use qfzz_ledger_core::ledger::NoBlock;
use qfzz_ledger_core::state::ReadError;

use super::joining::JoinError;
use super::roster::RedeemError;
use crate::api::port::{PortError, Refusal};
use crate::network::DialError;
use crate::service::ServiceError;
use crate::service::state::NotSigning;
use crate::store::StoreError;

impl From<ServiceError> for PortError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Overloaded => Self::Busy,
            ServiceError::DiskFull => Self::DiskFull,
            ServiceError::NotMined(NoBlock::NotAdmitted) => Self::Roster(Refusal::Stranger),
            ServiceError::NotMined(_) => Self::NotReady { reason: error.to_string() },
            ServiceError::NotSigning(reason) => {
                let text = reason.to_string();
                match reason {
                    NotSigning::LearningLog | NotSigning::LogUnknown => Self::LogUnknown { reason: text },
                    NotSigning::Repairing => Self::NotReady { reason: text },
                    NotSigning::AnotherSeen => Self::AnotherSeen { reason: text },
                    NotSigning::AnotherDaemon => Self::AnotherDaemon { reason: text },
                }
            }
            ServiceError::Stopped => Self::Stopping,
            ServiceError::Read(error) => error.into(),
        }
    }
}

impl From<ReadError> for PortError {
    fn from(error: ReadError) -> Self {
        Self::Failed { reason: error.to_string() }
    }
}

impl From<StoreError> for PortError {
    fn from(error: StoreError) -> Self {
        ReadError::from(error).into()
    }
}

impl From<JoinError> for PortError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::NotTheTickets(genesis) => {
                Self::OtherFederation { name: genesis.parameters.name.clone(), id: genesis.id() }
            }
            JoinError::Dial(DialError::OtherFederation { name, id, .. }) => Self::OtherFederation { name, id },
            JoinError::Dial(DialError::Ourselves) => Self::BadAddress { reason: "is this station's own".to_owned() },
            JoinError::Dial(DialError::NotDialable { .. }) => {
                Self::BadAddress { reason: "cannot be dialled: give one such as /ip4/192.0.2.1/tcp/4811".to_owned() }
            }
            JoinError::Dial(error) => Self::Unreachable { reason: error.to_string() },
            JoinError::Invitation { error: RedeemError::Refused(refusal) } => refusal.into(),
            JoinError::Invitation { error: error @ RedeemError::Later } => Self::NotReady { reason: error.to_string() },
            JoinError::Invitation { error: error @ RedeemError::Fetch(_) } => {
                Self::Unreachable { reason: error.to_string() }
            }
            JoinError::Fetch(error) => Self::Unreachable { reason: error.to_string() },
            JoinError::Genesis(error) => Self::Unreachable { reason: error.to_string() },
            JoinError::Start(error) => Self::Failed { reason: error.to_string() },
        }
    }
}
