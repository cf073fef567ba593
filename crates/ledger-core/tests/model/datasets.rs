//! Datasets of the model: who registered them, their list, and what each station found.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use qfzz_ledger_core::ids::Id;
use qfzz_ledger_core::record::{Record, Subject};
use qfzz_ledger_core::state::{Trust, dataset_count, dataset_id, opinion_of};
use qfzz_ledger_core::testing::{dataset_rated, dataset_registered, dataset_verified};

use crate::fold::{Dataset, Fold, worth};
use crate::{STATIONS, World, station};

const DATASETS: [&str; 3] = ["d0", "d1", "d2"];

/// A record about a dataset, by `number`.
pub(crate) fn record(number: usize) -> Record {
    let dataset = DATASETS[number / 3 % 3];
    let byte = (number / 5 % 2) as u8;
    match number / 7 % 4 {
        0 | 1 => dataset_registered(dataset, byte),
        2 => dataset_verified(dataset, byte),
        _ => dataset_rated(dataset, (number * 77_777 % 1_000_000) as u32),
    }
}

impl World<'_> {
    /// The first registration stands; what was found before it, or of an unknown dataset, counts for nothing.
    pub(crate) fn check_datasets(&self, all: &Fold) -> Result<(), TestCaseError> {
        let read = self.ledger.read();
        let count = dataset_count(read).expect("memory can be read");
        let mut listed: Vec<Id> = (0..count).map(|it| dataset_id(read, it).expect("memory can be read")).collect();
        listed.sort_unstable();
        prop_assert_eq!(listed, all.datasets.keys().cloned().collect::<Vec<_>>());
        let mut found_by_all = 0;
        for dataset in DATASETS.map(|it| Id::new(it).expect("an id")) {
            let expected = all.datasets.get(&dataset);
            let found = Trust::new(&self.rules, read).dataset(&dataset, []).expect("memory can be read");
            let (score, evidence) = worth(expected.iter().flat_map(|it| it.found.values().flatten()));
            prop_assert_eq!((i64::from(found.score.millionths()), found.evidence.count()), (score, evidence));
            prop_assert_eq!(&found.evidence, &found.confirmed_evidence);
            let registered = found.registered.map(|(who, it)| {
                let place = (who, it.registered.sequence.get(), it.registered.index);
                (it.sha256, place)
            });
            prop_assert_eq!(registered, expected.map(|it| (it.sha256, it.registered)));
            for who in STATIONS.map(station) {
                let opinion = opinion_of(read, &Subject::Dataset(dataset.clone()), &who).expect("memory can be read");
                let shown =
                    opinion.filter(|it| it.evidence > 0).map(|it| (i64::from(it.score.millionths()), it.evidence));
                let own = |it: &Dataset| it.found.get(&who).map(|values| worth(values.iter()));
                let is_heard = !all.equivocators.contains_key(&who);
                prop_assert_eq!(shown, expected.and_then(own).filter(|_| is_heard));
            }
            found_by_all += evidence as usize;
        }
        self.totals.borrow_mut().found_of_datasets += found_by_all;
        Ok(())
    }
}
