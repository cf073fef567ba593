//! What records say, by the protocol's words.

use std::collections::BTreeMap;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::ids::{ContentHash, Id, StationId};
use qfzz_ledger_core::record::Record;

/// Users' scores and actions, and contents, of some batches in order.
#[derive(Default)]
pub(crate) struct Fold {
    pub(crate) users: BTreeMap<Id, (i64, u64)>,
    pub(crate) contents: BTreeMap<(Id, Id), Content>,
    pub(crate) datasets: BTreeMap<Id, Dataset>,
    /// Whoever was proven to have equivocated, with the place of the first proof.
    pub(crate) equivocators: BTreeMap<StationId, (StationId, u64, u16)>,
    pub(crate) proofs: usize,
}

#[derive(Default)]
pub(crate) struct Content {
    pub(crate) initial: Option<i64>,
    pub(crate) adder: Option<StationId>,
    pub(crate) newest: Option<(u64, u16)>,
    pub(crate) verifications: i64,
    pub(crate) reports: i64,
}

pub(crate) struct Dataset {
    pub(crate) sha256: ContentHash,
    pub(crate) registered: (StationId, u64, u16),
    /// What each station's verifications and ratings are worth, in millionths.
    pub(crate) found: BTreeMap<StationId, Vec<i64>>,
}

/// Score and evidence of what verifications and ratings are worth.
pub(crate) fn worth<'a>(found: impl Iterator<Item = &'a i64>) -> (i64, u64) {
    let all: Vec<i64> = found.copied().collect();
    let count = all.len() as i64;
    let score = (800_000 * all.iter().sum::<i64>()).checked_div(count * 1_000_000);
    (score.map_or(500_000, |share| 100_000 + share), all.len() as u64)
}

impl Content {
    pub(crate) fn evidence(&self) -> i64 {
        self.verifications + self.reports
    }

    pub(crate) fn score(&self) -> i64 {
        match self.evidence() {
            0 => self.initial.unwrap_or(500_000),
            all => 100_000 + 800_000 * self.verifications / all,
        }
    }
}

impl Fold {
    pub(crate) fn of<'a>(batches: impl Iterator<Item = &'a VerifiedBatch>) -> Self {
        let mut fold = Self::default();
        for batch in batches {
            for (index, record) in (0..).zip(batch.records()) {
                fold.add(batch, index, record);
            }
        }
        fold
    }

    fn add(&mut self, batch: &VerifiedBatch, index: u16, record: &Record) {
        match record {
            Record::UserAction(action) => {
                let (score, count) = self.users.entry(action.user_id.clone()).or_insert((500_000, 0));
                *score = (*score + i64::from(action.trust_delta.millionths())).clamp(0, 1_000_000);
                *count += 1;
            }
            Record::ContentAdded(it) => {
                let content = self.contents.entry((it.creator_id.clone(), it.content_id.clone())).or_default();
                if *content.adder.get_or_insert(batch.station()) == batch.station() {
                    content.initial = Some(i64::from(it.initial_score.millionths()));
                    content.newest = Some((batch.sequence().get(), index));
                }
            }
            Record::ContentVerified(it) => {
                self.contents.entry((it.creator_id.clone(), it.content_id.clone())).or_default().verifications += 1;
            }
            Record::ContentReported(it) => {
                self.contents.entry((it.creator_id.clone(), it.content_id.clone())).or_default().reports += 1;
            }
            Record::DatasetRegistered(it) => {
                self.datasets.entry(it.dataset_id.clone()).or_insert_with(|| Dataset {
                    sha256: it.sha256,
                    registered: (batch.station(), batch.sequence().get(), index),
                    found: BTreeMap::new(),
                });
            }
            Record::DatasetVerified(it) => {
                if let Some(dataset) = self.datasets.get_mut(&it.dataset_id) {
                    let value = if it.sha256 == dataset.sha256 { 1_000_000 } else { 0 };
                    dataset.found.entry(batch.station()).or_default().push(value);
                }
            }
            Record::DatasetRated(it) => {
                if let Some(dataset) = self.datasets.get_mut(&it.dataset_id) {
                    let value = i64::from(it.rating.millionths());
                    dataset.found.entry(batch.station()).or_default().push(value);
                }
            }
            Record::BatchEquivocation(proof) => {
                let place = (batch.station(), batch.sequence().get(), index);
                self.equivocators.entry(proof.station()).or_insert(place);
                self.proofs += 1;
            }
            // Whom founders admit, the branch says; what testimonies lead to, the reference of global trust.
            Record::Testimony(_) | Record::StationAdmitted(_) | Record::StationExpelled(_) => {}
        }
    }

    /// A creator's contents, mean score and evidence; `None` without contents.
    pub(crate) fn creator(&self, creator: &Id) -> Option<(u64, i64, u64)> {
        let of_creator = || self.contents.iter().filter(|((it, _), _)| it == creator).map(|(_, content)| content);
        let count = of_creator().count() as i64;
        let sum: i64 = of_creator().map(Content::score).sum();
        let evidence: i64 = of_creator().map(Content::evidence).sum();
        (count > 0).then(|| (count as u64, sum / count, evidence as u64))
    }
}
