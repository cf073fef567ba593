//! The guide's `DatasetManager`: datasets registered, verified and rated on the same chain.

use super::{BlockchainTrustNetwork, NetworkError};
use crate::dataset::{DatasetRated, DatasetRegistered, DatasetVerified};
use crate::ids::{ContentHash, Id};
use crate::record::{Record, Subject};
use crate::score::Score;
use crate::state::{DatasetTrust, Trust};
use crate::time::Timestamp;

impl BlockchainTrustNetwork {
    /// Registers a dataset; false, and nothing is written, if its id is registered already.
    ///
    /// # Errors
    /// [`NetworkError::Record`] for a licence or a quality that the federation does not accept.
    pub fn register_dataset(&mut self, dataset: DatasetRegistered, now: Timestamp) -> Result<bool, NetworkError> {
        let is_new = self.get_dataset(dataset.dataset_id.as_str())?.registered.is_none();
        if is_new {
            self.add(Record::DatasetRegistered(Box::new(dataset)), now)?;
        }
        Ok(is_new)
    }

    /// Compares the SHA-256 that was found with the registered one, and records a match with the guide's action of
    /// `system`; false, and nothing is written, if they differ or the dataset is unknown.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn verify_dataset_blockchain(
        &mut self,
        dataset: &str,
        sha256: ContentHash,
        now: Timestamp,
    ) -> Result<bool, NetworkError> {
        let registered = self.get_dataset(dataset)?.registered;
        if registered.is_none_or(|(_, entry)| entry.sha256 != sha256) {
            return Ok(false);
        }
        let verified = Record::DatasetVerified(DatasetVerified { dataset_id: Id::new(dataset)?, sha256 });
        let action = self.user_action("system", "dataset_verification", dataset, now)?;
        self.add_all(vec![verified, action], now)?;
        Ok(true)
    }

    /// A user rates a dataset, which also raises the user's score by the action `rating`; false, and nothing is
    /// written, if the dataset is unknown.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn rate_dataset(
        &mut self,
        dataset: &str,
        rating: Score,
        user: &str,
        now: Timestamp,
    ) -> Result<bool, NetworkError> {
        if self.get_dataset(dataset)?.registered.is_none() {
            return Ok(false);
        }
        let rated = Record::DatasetRated(DatasetRated { dataset_id: Id::new(dataset)?, rating });
        let action = self.user_action(user, "rating", dataset, now)?;
        self.add_all(vec![rated, action], now)?;
        Ok(true)
    }

    /// Everything about a dataset, pending records included.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn get_dataset(&self, dataset: &str) -> Result<DatasetTrust, NetworkError> {
        let dataset = Id::new(dataset)?;
        let pending = self.ledger.pending_about(&Subject::Dataset(dataset.clone()))?;
        Ok(Trust::new(self.ledger.rules(), self.ledger.read()).dataset(&dataset, pending)?)
    }

    /// Whether a user's score reaches what a station asks of those who submit datasets; the guide's 0.7.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn can_submit_dataset(&self, user: &str, threshold: Score) -> Result<bool, NetworkError> {
        Ok(self.get_user_trust(user)?.score >= threshold)
    }
}
