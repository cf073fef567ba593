//! Datasets in the trust state: the fold of their records, their list, and how far one is trusted.

use super::query::fold;
use super::scratch::{expect_value, update_opinion};
use super::value::{RecordPlace, Since};
use super::{Key, PendingRecord, ReadError, STATIONS_PER_GROUP, Scratch, StateRead, Trust, Value, station_id};
use crate::codec::{Decode, Encode};
use crate::dataset::{DatasetRated, DatasetRegistered, DatasetVerified};
use crate::ids::{ContentHash, Id, StationId};
use crate::record::Subject;
use crate::score::{ONE, Score};
use crate::time::Timestamp;

const DAMAGED: ReadError = ReadError::Damaged { what: "a dataset's entry" };

/// What records say about a dataset beside its registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct DatasetEvidence {
    /// Records that found the registered SHA-256.
    pub verifications: u64,
    /// Records that found another one.
    pub mismatches: u64,
    /// Ratings.
    pub ratings: u64,
    /// Their sum, in millionths.
    pub rating_sum: u64,
}

impl DatasetEvidence {
    /// Records that it rests on.
    pub const fn count(&self) -> u64 {
        self.verifications + self.mismatches + self.ratings
    }

    /// `0.1 + 0.8 * sum / count`, rounded down to a millionth: a verification adds 1, a mismatch 0, a rating itself; 0.5
    /// of nothing.
    pub fn score(&self) -> Score {
        let sum = u128::from(self.verifications) * u128::from(ONE) + u128::from(self.rating_sum);
        match (800_000 * sum).checked_div(u128::from(self.count()) * u128::from(ONE)) {
            None => Score::HALF,
            // At most 100_000 + 800_000.
            Some(share) => u32::try_from(share)
                .ok()
                .and_then(|share| Score::from_millionths(100_000 + share).ok())
                .unwrap_or(Score::ONE),
        }
    }

    /// The mean rating, rounded down; `None` of none.
    pub fn rating(&self) -> Option<Score> {
        Score::mean(self.rating_sum, self.ratings)
    }
}

/// What all records say about a dataset. There is one only of a registered dataset.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DatasetLedger {
    /// The registered SHA-256.
    pub sha256: ContentHash,
    /// The registered quality.
    pub quality: Score,
    /// Where the registration stands, with everything else about it.
    pub registered: RecordPlace,
    /// What was found since.
    pub evidence: DatasetEvidence,
    /// When the batch of the registration was signed.
    pub created_at: Timestamp,
    /// When the batch that last changed it was signed.
    pub updated_at: Timestamp,
}

/// What one station's records say about a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DatasetOpinion {
    /// The station's number.
    pub station: u32,
    /// The same sums over its records alone.
    pub evidence: DatasetEvidence,
    /// When its evidence began.
    pub since: Since,
}

impl<R: StateRead> Scratch<'_, R> {
    /// A dataset's ledger part as it stands now; `None` while it is not registered.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn dataset(&mut self, dataset: &Id) -> Result<Option<DatasetLedger>, ReadError> {
        let key = Key::Subject(Subject::Dataset(dataset.clone()), 0);
        Ok(expect_value!(self.slot(key)?.as_ref(), Value::Dataset)?.map(|dataset| *dataset))
    }

    fn set_dataset(&mut self, dataset: &Id, ledger: DatasetLedger) -> Result<(), ReadError> {
        let key = Key::Subject(Subject::Dataset(dataset.clone()), 0);
        *self.slot(key)? = Some(Value::Dataset(Box::new(ledger)));
        Ok(())
    }

    /// Takes note of the first registration of an id, and lists it; a later one has no effect.
    pub(super) fn register_dataset(
        &mut self,
        dataset: &DatasetRegistered,
        place: RecordPlace,
        signed_at: Timestamp,
    ) -> Result<(), ReadError> {
        let id = &dataset.dataset_id;
        self.note_record(place.station, id)?;
        if self.dataset(id)?.is_some() {
            return Ok(());
        }
        let ledger = DatasetLedger {
            sha256: dataset.sha256,
            quality: dataset.quality,
            registered: place,
            evidence: DatasetEvidence::default(),
            created_at: signed_at,
            updated_at: signed_at,
        };
        self.set_dataset(id, ledger)?;
        let count = self.slot(Key::Datasets)?;
        let number = expect_value!(count.as_ref(), Value::Datasets)?.unwrap_or(0);
        *count = Some(Value::Datasets(number + 1));
        *self.slot(Key::DatasetNumber(number))? = Some(Value::DatasetNumber(id.clone()));
        Ok(())
    }

    /// Takes note that a station has a record about a dataset: it is not drawn to check others'.
    fn note_record(&mut self, station: u32, dataset: &Id) -> Result<(), ReadError> {
        let (subject, evidence) = (Subject::Dataset(dataset.clone()), DatasetEvidence::default());
        let new = DatasetOpinion { station, evidence, since: Since::default() };
        update_opinion!(self, subject, station, Value::DatasetOpinions, new, |_: &mut DatasetOpinion| {});
        Ok(())
    }

    /// Counts what was found; without effect while the dataset is unknown.
    pub(super) fn verify_dataset(
        &mut self,
        station: u32,
        since: Since,
        verified: &DatasetVerified,
        signed_at: Timestamp,
    ) -> Result<(), ReadError> {
        let Some(ledger) = self.dataset(&verified.dataset_id)? else {
            return self.note_record(station, &verified.dataset_id);
        };
        let is_match = ledger.sha256 == verified.sha256;
        self.change_dataset((station, since), &verified.dataset_id, ledger, signed_at, |evidence| {
            evidence.verifications += u64::from(is_match);
            evidence.mismatches += u64::from(!is_match);
        })
    }

    /// Counts a rating; without effect while the dataset is unknown.
    pub(super) fn rate_dataset(
        &mut self,
        station: u32,
        since: Since,
        rated: &DatasetRated,
        signed_at: Timestamp,
    ) -> Result<(), ReadError> {
        let Some(ledger) = self.dataset(&rated.dataset_id)? else {
            return self.note_record(station, &rated.dataset_id);
        };
        self.change_dataset((station, since), &rated.dataset_id, ledger, signed_at, |evidence| {
            evidence.ratings += 1;
            evidence.rating_sum += u64::from(rated.rating.millionths());
        })
    }

    /// Changes what all records say, and what those of one station do.
    fn change_dataset(
        &mut self,
        (station, since): (u32, Since),
        dataset: &Id,
        mut ledger: DatasetLedger,
        signed_at: Timestamp,
        change: impl Fn(&mut DatasetEvidence),
    ) -> Result<(), ReadError> {
        change(&mut ledger.evidence);
        ledger.updated_at = ledger.updated_at.max(signed_at);
        self.set_dataset(dataset, ledger)?;
        let (subject, new) = (Subject::Dataset(dataset.clone()), DatasetEvidence::default());
        let new = DatasetOpinion { station, evidence: new, since };
        update_opinion!(self, subject, station, Value::DatasetOpinions, new, |opinion: &mut DatasetOpinion| {
            if opinion.evidence.count() == 0 {
                opinion.since = since;
            }
            change(&mut opinion.evidence);
        });
        Ok(())
    }
}

/// A dataset in the ledger's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetTrust {
    /// With what is pending.
    pub score: Score,
    /// At the head: the same on every node.
    pub confirmed_score: Score,
    /// What the score rests on, pending records included.
    pub evidence: DatasetEvidence,
    /// The part of it that is on the chain.
    pub confirmed_evidence: DatasetEvidence,
    /// Who registered it, and its entry; none of an unknown dataset.
    pub registered: Option<(StationId, DatasetLedger)>,
}

impl<R: StateRead> Trust<'_, R> {
    /// A dataset, with the `pending` records about it in pool order.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn dataset<'r>(
        &self,
        dataset: &Id,
        pending: impl IntoIterator<Item = PendingRecord<'r>>,
    ) -> Result<DatasetTrust, ReadError> {
        let mut scratch = Scratch::new(self.rules, self.read)?;
        let confirmed_evidence = scratch.dataset(dataset)?.map(|dataset| dataset.evidence).unwrap_or_default();
        let authors = fold(&mut scratch, pending)?;
        let registered = match scratch.dataset(dataset)? {
            None => None,
            Some(ledger) => {
                let number = ledger.registered.station;
                let pending_author = authors.into_iter().find(|(known, _)| *known == number);
                let author = pending_author.map_or_else(|| station_id(self.read, number), |(_, author)| Ok(author))?;
                Some((author, ledger))
            }
        };
        let evidence = registered.as_ref().map(|(_, dataset)| dataset.evidence).unwrap_or_default();
        let (score, confirmed_score) = (evidence.score(), confirmed_evidence.score());
        Ok(DatasetTrust { score, confirmed_score, evidence, confirmed_evidence, registered })
    }
}

/// How many datasets are registered on the branch; they are numbered from 0 in order of registration.
///
/// # Errors
/// [`ReadError`].
pub fn dataset_count(read: &impl StateRead) -> Result<u32, ReadError> {
    match read.get(&Key::Datasets)? {
        None => Ok(0),
        Some(Value::Datasets(count)) => Ok(count),
        Some(_) => Err(DAMAGED),
    }
}

/// The dataset with a number.
///
/// # Errors
/// [`ReadError`]; also where there is none.
pub fn dataset_id(read: &impl StateRead, number: u32) -> Result<Id, ReadError> {
    match read.get(&Key::DatasetNumber(number))? {
        Some(Value::DatasetNumber(id)) => Ok(id),
        _ => Err(DAMAGED),
    }
}
