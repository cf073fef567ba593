//! Datasets as the API asks for them: looked up, listed part by part, and what users do with them.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::dataset::{DatasetRated, DatasetRegistered, DatasetVerified};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{Id, Label, RecordId, StationId, Target};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::record::{Record, Subject, UserAction};
use qfzz_ledger_core::state::{
    DatasetEvidence, DatasetTrust, OpinionDetail, ReadError, Trust, dataset_count, dataset_id,
};

use super::Member;
use super::station::{StationHandle, on_disk};
use super::trust::opinion_trust;
use crate::api::dto::{self, Dataset, DatasetChange, DatasetPage, Voice};
use crate::api::port::{DatasetQuery, PortError, Station};
use crate::clock;
use crate::service::state::State;
use crate::store::{StoreRead, StoreReader};

/// Datasets that are looked at in one turn of the writer, at most: each takes two reads.
const LOOKED_AT: u64 = 100;

/// Turns that one answer may take: with a rare filter it looks at 1,000 datasets, then says where to go on.
const TURNS: usize = 10;

/// A dataset's entry, and where its registration stands.
struct Entry {
    trust: DatasetTrust,
    id: RecordId,
    /// The batch with the registration, while that waits for a block.
    waiting: Option<VerifiedBatch>,
}

impl Entry {
    /// The entry of `dataset`; `None` while it is not registered.
    fn of(ledger: &Ledger<StoreReader>, dataset: &Id) -> Result<Option<Self>, ReadError> {
        let pending = ledger.pending_about(&Subject::Dataset(dataset.clone()))?;
        let trust = Trust::new(ledger.rules(), ledger.read()).dataset(dataset, pending)?;
        Ok(trust.registered.as_ref().map(|(station, entry)| (*station, entry.registered)).map(|(station, place)| {
            let id = RecordId { station, sequence: place.sequence, index: place.index };
            Self { trust, id, waiting: ledger.pool().batch(&station, place.sequence).cloned() }
        }))
    }

    /// The dataset with its registration, which is read from the disk unless it waits; `None` if a reorganisation has
    /// taken it away meanwhile.
    fn read(self, reader: &StoreReader, last: &mut Option<VerifiedBatch>) -> Result<Option<Dataset>, PortError> {
        let Self { trust, id, waiting } = self;
        let is_pending = waiting.is_some();
        let is_at = |batch: &VerifiedBatch| (batch.station(), batch.sequence()) == (id.station, id.sequence);
        let batch = match waiting.or_else(|| last.clone().filter(is_at)) {
            Some(batch) => Some(batch),
            None => reader.batch(&id.station, id.sequence)?.map(|stored| stored.batch),
        };
        let Some(batch) = batch else { return Ok(None) };
        let record = batch.records().get(usize::from(id.index)).cloned();
        *last = Some(batch);
        Ok(match (record, trust.registered) {
            (Some(Record::DatasetRegistered(registered)), Some((_, entry))) => Some(Dataset {
                registered: *registered,
                record_id: id,
                is_pending,
                evidence: trust.evidence,
                created_at: entry.created_at,
                updated_at: entry.updated_at,
            }),
            _ => None,
        })
    }
}

/// One dataset.
pub(super) async fn one(member: Arc<Member>, dataset: Id) -> Result<Option<Dataset>, PortError> {
    let question = move |state: &State<StoreReader>| Entry::of(state.ledger(), &dataset);
    let Some(entry) = member.service.query(question).await?? else { return Ok(None) };
    let moved = || PortError::NotReady { reason: "the chain was reorganised meanwhile".to_owned() };
    on_disk(move || entry.read(&member.reader, &mut None)?.map(Some).ok_or_else(moved)).await
}

/// What one turn of the writer found.
struct Looked {
    /// Each with its number.
    entries: Vec<(u64, Entry)>,
    /// The number to go on from; `None` at the end.
    next: Option<u64>,
}

/// Looks at datasets from the number `from` on: those on the chain, then the registrations that wait, each under the
/// number that it would have if all before it counted.
fn look(ledger: &Ledger<StoreReader>, from: u64) -> Result<Looked, ReadError> {
    let count = u64::from(dataset_count(ledger.read())?);
    let waiting = ledger.pool().registration_count() as u64;
    let (end, total) = (from.saturating_add(LOOKED_AT), count.saturating_add(waiting));
    let mut entries = Vec::new();
    for number in from..end.min(count) {
        let id = dataset_id(ledger.read(), u32::try_from(number).unwrap_or(u32::MAX))?;
        entries.extend(Entry::of(ledger, &id)?.map(|entry| (number, entry)));
    }
    let first = from.max(count);
    let skipped = usize::try_from(first - count).unwrap_or(usize::MAX);
    // Many may name the same one, and looking at it means reading all that waits about it.
    let mut named: HashMap<&Id, Option<Entry>> = HashMap::new();
    for (number, (batch, index)) in (first..end).zip(ledger.pool().registrations_from(skipped)) {
        let Some(Record::DatasetRegistered(dataset)) = batch.records().get(usize::from(index)) else { continue };
        // One that names what is registered already has no effect, and stands in the list only once.
        let found = match named.entry(&dataset.dataset_id) {
            Occupied(found) => found.into_mut(),
            Vacant(unknown) => unknown.insert(Entry::of(ledger, &dataset.dataset_id)?),
        };
        let entry = found.take_if(|entry| entry.id == batch.record_id(index));
        entries.extend(entry.map(|entry| (number, entry)));
    }
    Ok(Looked { entries, next: (end < total).then_some(end) })
}

/// A part of the list.
pub(super) async fn list(member: Arc<Member>, query: DatasetQuery) -> Result<DatasetPage, PortError> {
    let (mut page, mut from) = (DatasetPage::default(), query.after);
    for _ in 0..TURNS {
        let looked = member.service.query(move |state: &State<StoreReader>| look(state.ledger(), from)).await??;
        let (reader, next) = (Arc::clone(&member), looked.next);
        let read = on_disk(move || {
            let mut last = None;
            let mut read = Vec::with_capacity(looked.entries.len());
            for (number, entry) in looked.entries {
                read.extend(entry.read(&reader.reader, &mut last)?.map(|dataset| (number, dataset)));
            }
            Ok(read)
        });
        for (number, dataset) in read.await? {
            if page.datasets.len() >= query.limit {
                page.next = Some(number);
                return Ok(page);
            }
            page.datasets.extend(query.passes(&dataset).then_some(dataset));
        }
        page.next = next;
        match next {
            Some(next) if page.datasets.len() < query.limit => from = next,
            _ => break,
        }
    }
    Ok(page)
}

impl DatasetQuery {
    fn passes(&self, dataset: &Dataset) -> bool {
        let registered = &dataset.registered;
        let is = |asked: &Option<Label>, found: &Label| asked.as_ref().is_none_or(|asked| asked == found);
        let has_license = |asked: &Id| {
            let expression = registered.license.as_str();
            asked.as_str() == expression || expression.split([' ', '(', ')']).any(|word| word == asked.as_str())
        };
        self.min_quality.is_none_or(|least| registered.quality >= least)
            && self.license.as_ref().is_none_or(has_license)
            && is(&self.genre, &registered.genre)
            && is(&self.creator, &registered.creator)
            && self.tag.as_ref().is_none_or(|asked| registered.tags.contains(asked))
            && self.station.is_none_or(|station| dataset.record_id.station == station)
            && self.verified.is_none_or(|verified| (dataset.evidence.verifications > 0) == verified)
    }
}

impl StationHandle {
    /// How far a dataset is trusted.
    pub(super) async fn trust_in_dataset(
        &self,
        dataset: Id,
        station: Option<StationId>,
    ) -> Result<dto::DatasetTrust, PortError> {
        let (subject, asked) = (Subject::Dataset(dataset.clone()), dataset.clone());
        let found = self.about(subject.clone(), station, move |ledger| {
            Trust::new(ledger.rules(), ledger.read()).dataset(&asked, ledger.pending_about(&subject)?)
        });
        let answered = found.await?;
        let (pending, head, all) = (answered.pending, answered.head, answered.trust);
        let (trust, evidence) = match answered.opinion {
            Some((voice, opinion)) => {
                let evidence = match opinion.as_ref().map(|it| &it.detail) {
                    Some(OpinionDetail::Dataset(evidence)) => *evidence,
                    _ => DatasetEvidence::default(),
                };
                (opinion_trust(voice, opinion.as_ref(), pending, head), evidence)
            }
            None => {
                let trust = dto::Trust {
                    voice: Voice::Ledger,
                    score: all.score,
                    confirmed_score: all.confirmed_score,
                    evidence: all.evidence.count(),
                    confirmed_evidence: all.confirmed_evidence.count(),
                    pending: pending.records(),
                    known: all.registered.is_some(),
                    head,
                };
                (trust, all.evidence)
            }
        };
        Ok(dto::DatasetTrust {
            dataset_id: dataset,
            trust,
            verifications: evidence.verifications,
            mismatches: evidence.mismatches,
            rating: evidence.rating(),
            ratings: evidence.ratings,
        })
    }

    /// Registers a dataset in the name of `user`, whose score must reach this station's threshold.
    pub(super) async fn registered(
        &self,
        dataset: DatasetRegistered,
        user: Option<Id>,
    ) -> Result<DatasetChange, PortError> {
        if let Some(user) = user {
            let (score, threshold) =
                (self.user_trust(user.clone(), None).await?.trust.score, self.trust_policy().submit_threshold);
            if score < threshold {
                return Err(PortError::BelowThreshold { user, score, threshold });
            }
        }
        let dataset_id = dataset.dataset_id.clone();
        if let Some(found) = self.dataset(dataset_id.clone()).await? {
            return Err(PortError::DatasetExists { dataset: dataset_id, station: found.record_id.station });
        }
        self.change(dataset_id, vec![Record::DatasetRegistered(Box::new(dataset))]).await
    }

    /// Records what was found, with the guide's actions.
    pub(super) async fn verified(
        &self,
        found: DatasetVerified,
        user: Option<Id>,
        publish: bool,
    ) -> Result<DatasetChange, PortError> {
        let (dataset, rules) = (found.dataset_id.clone(), self.rules().await?);
        let known = self.dataset(dataset.clone()).await?;
        let registered = known.ok_or_else(|| PortError::UnknownDataset { dataset: dataset.clone() })?.registered.sha256;
        if registered != found.sha256 && !publish {
            return Err(PortError::DatasetMismatch { dataset, registered, found: found.sha256 });
        }
        let system = Id::new("system").expect("a short text");
        let mut records =
            vec![Record::DatasetVerified(found), action_of(&rules, system, "dataset_verification", &dataset)?];
        if let Some(user) = user {
            records.push(action_of(&rules, user, "verification", &dataset)?);
        }
        self.change(dataset, records).await
    }

    /// Records a rating, with the guide's action.
    pub(super) async fn rated(&self, rated: DatasetRated, user: Id) -> Result<DatasetChange, PortError> {
        let (dataset, rules) = (rated.dataset_id.clone(), self.rules().await?);
        if self.dataset(dataset.clone()).await?.is_none() {
            return Err(PortError::UnknownDataset { dataset });
        }
        let records = vec![Record::DatasetRated(rated), action_of(&rules, user, "rating", &dataset)?];
        self.change(dataset, records).await
    }

    /// Stores records about a dataset, all or none, and shows what it is with them.
    async fn change(&self, dataset: Id, records: Vec<Record>) -> Result<DatasetChange, PortError> {
        let receipts = self.submit(records).await?;
        let dataset = self.dataset(dataset.clone()).await?.ok_or(PortError::UnknownDataset { dataset })?;
        Ok(DatasetChange { dataset, receipts })
    }
}

/// The record of a user's action on a dataset, with the federation's delta.
fn action_of(rules: &Rules, user_id: Id, action: &'static str, dataset: &Id) -> Result<Record, PortError> {
    let name = Id::new(action).expect("a short text");
    let trust_delta = rules.delta_of(&name).ok_or(PortError::NoAction { action })?;
    let target = Target::new(dataset.as_str()).expect("whatever is an id may be a target");
    Ok(Record::UserAction(UserAction { user_id, action: name, target, trust_delta, timestamp: clock::now() }))
}
