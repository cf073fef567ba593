//! What this station is asked to check, and its answers, as the API asks for them.

use qfzz_ledger_core::ids::RecordId;
use qfzz_ledger_core::testimony::Answer;

use super::station::{StationHandle, on_disk};
use crate::api::dto::{Draws, Receipt};
use crate::api::port::{PortError, Station};
use crate::checks::draws::draws_of;

impl StationHandle {
    /// The draws about a record; `None` if it is not known.
    pub(super) async fn draws_about(&self, record: RecordId) -> Result<Option<Draws>, PortError> {
        let member = self.member()?;
        if self.record(record).await?.is_none() {
            return Ok(None);
        }
        on_disk(move || draws_of(&member.rules, &member.reader, record).map(Some)).await
    }

    /// Stores this station's answer; `None` if the record is not known.
    pub(super) async fn testified(&self, record: RecordId, answer: Answer) -> Result<Option<Receipt>, PortError> {
        let member = self.member()?;
        if self.record(record).await?.is_none() {
            return Ok(None);
        }
        member.docket.testify(record, answer).await.map(Some)
    }
}
