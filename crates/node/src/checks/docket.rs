//! What this station is asked to check, and where it answers: the same for people and for the juror that needs none.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::dataset::DatasetVerified;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{ContentHash, Id, RecordHash, RecordId, Sequence, StationId};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::{
    DUTY_BLOCKS, OpenDuty, ReadError, StateRead, Trust, chain_state, duties_of, duty, equivocation, place_of,
    record_height,
};
use qfzz_ledger_core::testimony::{Answer, Testimony};

use super::files::FileIndex;
use crate::api::dto::{AnsweredBy, Duty, DutyPage, Receipt};
use crate::api::port::{DutyQuery, NotAsked, PortError};
use crate::service::ServiceHandle;
use crate::service::state::State;
use crate::store::{StoreRead, StoreReader};

/// What is asked of this station, and its answers. Clones are the same docket.
#[derive(Clone)]
pub(crate) struct Docket {
    service: ServiceHandle,
    reader: StoreReader,
    station: StationId,
    files: Option<Arc<FileIndex>>,
    has_command: bool,
    /// Why nothing was answered without a person, of duties that were tried.
    silences: Arc<Mutex<HashMap<RecordId, String>>>,
    /// One list at a time: each reads up to a thousand batches.
    listing: Arc<tokio::sync::Mutex<()>>,
    /// One answer at a time: whether there is one already is looked up first.
    answering: Arc<tokio::sync::Mutex<()>>,
}

impl Docket {
    pub(crate) fn new(
        service: ServiceHandle,
        reader: StoreReader,
        station: StationId,
        files: Option<Arc<FileIndex>>,
        has_command: bool,
    ) -> Self {
        let (silences, listing, answering) = (Arc::default(), Arc::default(), Arc::default());
        Self { service, reader, station, files, has_command, silences, listing, answering }
    }

    pub(super) fn rules(&self) -> &Rules {
        self.reader.rules()
    }

    pub(super) fn files(&self) -> Option<&Arc<FileIndex>> {
        self.files.as_ref()
    }

    /// Why duties were not answered without a person.
    pub(super) fn silences(&self) -> MutexGuard<'_, HashMap<RecordId, String>> {
        // Whoever panicked left it whole: every change is one call.
        self.silences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this station was drawn to check and may still answer about, the first to end first.
    ///
    /// # Errors
    /// Those of the store; [`PortError::Stopping`].
    pub(crate) async fn duties(&self, query: DutyQuery) -> Result<DutyPage, PortError> {
        // First what waits for a block: what a block takes meanwhile has been answered then.
        let waiting = self.service.query(|state: &State<StoreReader>| testimonies_waiting(state.ledger())).await?;
        let (docket, turn) = (self.clone(), Arc::clone(&self.listing).lock_owned().await);
        let read = tokio::task::spawn_blocking(move || {
            // Its turn lasts as long as it reads, whoever still waits for it.
            let _turn = turn;
            docket.read(query, &waiting)
        });
        read.await.unwrap_or_else(|error| Err(PortError::Failed { reason: error.to_string() }))
    }

    fn read(&self, query: DutyQuery, waiting: &HashSet<RecordId>) -> Result<DutyPage, PortError> {
        let DutyQuery { answered, after, limit } = query;
        let is_answered = |it: &OpenDuty| it.own.has_answered || waiting.contains(&it.record);
        let wanted = |it: &OpenDuty| answered.is_none_or(|answered| answered == is_answered(it));
        let rules = self.reader.rules();
        let open = self.reader.consistent(|reader| -> Result<_, ReadError> {
            Ok((chain_state(reader, rules)?.height, duties_of(rules, reader, &self.station, wanted, after, limit)?))
        });
        let ((head, (open, next)), mut duties) = (open?, Vec::new());
        for open in open {
            // A reorganisation may have taken it away meanwhile.
            let Some(stored) = self.reader.batch(&open.record.station, open.record.sequence)? else { continue };
            if usize::from(open.record.index) >= stored.batch.records().len() {
                continue;
            }
            let is_pending = !open.own.has_answered && waiting.contains(&open.record);
            let registered = self.registered(&stored.batch, &open)?;
            let blocks_left = open.own.until.get().saturating_sub(head.get());
            duties.push(Duty {
                batch: stored.batch,
                record: open.record,
                hash: open.duty.hash,
                subject: open.duty.subject,
                is_positive: open.duty.is_positive,
                until: open.own.until,
                blocks_left,
                is_answered: open.own.has_answered || is_pending,
                is_pending,
                registered,
                by: AnsweredBy::Person,
                silence: None,
            });
        }
        let hashes: HashSet<[u8; 32]> = duties.iter().filter_map(|it| it.registered.map(bytes_of)).collect();
        let held = self.files.as_ref().map(|files| files.held(&hashes)).unwrap_or_default();
        let silences = self.silences();
        for duty in &mut duties {
            duty.by = match () {
                () if duty.registered.is_some_and(|hash| held.contains(&bytes_of(hash))) => AnsweredBy::File,
                () if self.has_command => AnsweredBy::Command,
                () => AnsweredBy::Person,
            };
            duty.silence = silences.get(&duty.record).cloned();
        }
        Ok(DutyPage { duties, next })
    }

    /// The registered SHA-256 by which a duty can be answered: of a dataset whose found SHA-256 the record tells, where
    /// that still speaks for it, or against it, as when the record was drawn.
    fn registered(&self, batch: &VerifiedBatch, open: &OpenDuty) -> Result<Option<ContentHash>, ReadError> {
        let Some(Record::DatasetVerified(claim)) = batch.records().get(usize::from(open.record.index)) else {
            return Ok(None);
        };
        let registered = registered_hash(self.reader.rules(), &self.reader, &claim.dataset_id)?;
        Ok(registered.filter(|registered| (claim.sha256 == *registered) == open.duty.is_positive))
    }

    /// Signs and stores this station's answer about a record that it was drawn to check; on disk when this returns.
    ///
    /// # Errors
    /// [`PortError::NotAsked`] where it would count for nothing: then nothing is written. Those of signing.
    pub(crate) async fn testify(&self, record: RecordId, answer: Answer) -> Result<Receipt, PortError> {
        let _turn = self.answering.lock().await;
        let asked = move |state: &State<StoreReader>| may_testify(state.ledger(), &record);
        let hash = self.service.query(asked).await???;
        let testimony = Record::Testimony(Box::new(Testimony { record, hash, answer }));
        let receipts = self.service.submit(vec![testimony]).await?;
        let receipt = receipts.first().ok_or(PortError::Failed { reason: "there is no receipt".to_owned() })?;
        self.silences().remove(&record);
        Ok(Receipt { record_id: receipt.id, hash: receipt.hash, batch_id: receipt.batch, is_refused: false })
    }
}

const fn bytes_of(hash: ContentHash) -> [u8; 32] {
    *hash.as_bytes()
}

/// The SHA-256 that a dataset was registered with; `None` while it is not.
fn registered_hash(rules: &Rules, read: &impl StateRead, dataset: &Id) -> Result<Option<ContentHash>, ReadError> {
    let trust = Trust::new(rules, read).dataset(dataset, [])?;
    Ok(trust.registered.map(|(_, entry)| entry.sha256))
}

/// What a station that holds a dataset's registered bytes says to another's finding.
pub(super) fn answer_by_file(found: &DatasetVerified, registered: ContentHash) -> Answer {
    if found.sha256 == registered { Answer::Agree } else { Answer::Contest }
}

/// The records about which this station's testimony waits for a block.
fn testimonies_waiting(ledger: &Ledger<StoreReader>) -> HashSet<RecordId> {
    let own = ledger.own().station();
    let records = ledger.pool().log_from(&own, Sequence::ZERO).flat_map(VerifiedBatch::records);
    records
        .filter_map(|record| match record {
            Record::Testimony(testimony) => Some(testimony.record),
            _ => None,
        })
        .collect()
}

/// Whether this station's answer about a record would count, and that record's hash.
fn may_testify(ledger: &Ledger<StoreReader>, record: &RecordId) -> Result<Result<RecordHash, NotAsked>, ReadError> {
    let (read, own) = (ledger.read(), ledger.own().station());
    if record.station == own {
        return Ok(Err(NotAsked::OwnRecord));
    }
    if equivocation(read, &own)?.is_some() {
        return Ok(Err(NotAsked::Equivocated));
    }
    let open = match place_of(read, record)? {
        Some(place) => duty(read, place)?,
        None => None,
    };
    let juror = open.as_ref().and_then(|open| open.jurors.iter().find(|juror| juror.station == own));
    Ok(match (&open, juror) {
        (Some(_), Some(juror)) if juror.has_answered => Err(NotAsked::Answered),
        (Some(_), Some(_)) if testimonies_waiting(ledger).contains(record) => Err(NotAsked::Answered),
        (Some(open), Some(_)) => Ok(open.hash),
        _ => {
            let height = record_height(ledger.rules(), read, record)?;
            // The block after it draws, and answers count for so many blocks from there on.
            let is_over = |height: u64| height.saturating_add(1 + DUTY_BLOCKS) <= ledger.chain().height().get();
            Err(if height.is_some_and(|height| is_over(height.get())) { NotAsked::Expired } else { NotAsked::NotDrawn })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_registered_bytes_agrees_with_those_who_found_them_and_contests_what_others_found() {
        let [registered, other] = [1, 2].map(|byte| ContentHash::from_bytes([byte; 32]));
        let found = |sha256| DatasetVerified { dataset_id: Id::new("ds").expect("an id"), sha256 };
        assert_eq!(answer_by_file(&found(registered), registered), Answer::Agree);
        assert_eq!(answer_by_file(&found(other), registered), Answer::Contest);
    }
}
