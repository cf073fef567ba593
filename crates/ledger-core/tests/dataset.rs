//! What records of datasets lead to: on the chain, in the pool, and when a block is taken back.

use qfzz_ledger_core::header::BlockHeader;
use qfzz_ledger_core::ids::{ContentHash, Height, Id};
use qfzz_ledger_core::record::{Record, Subject};
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::state::{
    DatasetEvidence, DatasetTrust, OpinionDetail, RecentBlocks, StateRead, Trust, Writes, connect, dataset_count,
    dataset_id, opinions,
};
use qfzz_ledger_core::testing::{
    Author, at, dataset_rated, dataset_registered, dataset_verified, ledger, rules, station,
};

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn hash(byte: u8) -> ContentHash {
    ContentHash::from_bytes([byte; 32])
}

fn score(millionths: u32) -> Score {
    Score::from_millionths(millionths).expect("in range")
}

/// The state after blocks of one batch each, every one by the author of its number.
struct Chain {
    rules: std::sync::Arc<qfzz_ledger_core::federation::Rules>,
    state: Writes,
    recent: RecentBlocks,
    before: Writes,
    authors: Vec<(Author, u64)>,
    parent: (Height, qfzz_ledger_core::ids::BlockHash),
}

impl Chain {
    fn new() -> Self {
        let rules = rules();
        let authors = (0..4).map(|number| (Author::new(&rules, number), 0)).collect();
        let parent = (Height::ZERO, rules.genesis_hash());
        Self { rules, state: Writes::new(), recent: RecentBlocks::default(), before: Writes::new(), authors, parent }
    }

    fn says(&mut self, who: usize, records: Vec<Record>) {
        let (author, produced) = &mut self.authors[who];
        let now = i64::try_from(self.parent.0.get()).expect("few") + 1;
        let batch = author.batch(at(now), records);
        let block = author.block(self.parent, *produced, at(now), vec![batch]);
        *produced += 1;
        let connected = connect(&self.rules, &self.state, &self.recent, &block).expect("it fits");
        self.before = self.state.clone();
        self.state.extend(connected.writes.clone());
        let mut undone = self.state.clone();
        undone.extend(connected.undo);
        let present = |state: &Writes| {
            state.iter().filter(|(_, value)| value.is_some()).map(|(k, v)| (k.clone(), v.clone())).collect::<Writes>()
        };
        assert_eq!(present(&undone), present(&self.before), "undo data takes everything back");
        let BlockHeader { index, .. } = *block.header();
        self.parent = (index, block.hash());
        self.recent.push(block);
    }

    fn trust(&self, dataset: &str) -> DatasetTrust {
        Trust::new(&self.rules, &self.state).dataset(&id(dataset), []).expect("memory can be read")
    }

    fn listed(&self) -> Vec<Id> {
        let count = dataset_count(&self.state).expect("memory can be read");
        (0..count).map(|number| dataset_id(&self.state, number).expect("memory can be read")).collect()
    }
}

#[test]
fn the_first_registration_stands_and_a_later_one_has_no_effect() {
    let mut chain = Chain::new();
    chain.says(2, vec![dataset_registered("b", 1), dataset_registered("a", 2), dataset_registered("b", 3)]);
    chain.says(3, vec![dataset_registered("b", 4), dataset_registered("c", 5)]);
    let (who, entry) = chain.trust("b").registered.expect("it is registered");
    assert_eq!((who, entry.sha256, entry.registered.index), (station(2), hash(1), 0));
    assert_eq!(chain.listed(), ["b", "a", "c"].map(id));
    assert_eq!(chain.trust("nobody's").registered, None);
    assert_eq!(chain.trust("nobody's").score, Score::HALF);
}

#[test]
fn a_dataset_is_trusted_by_what_stations_found() {
    let mut chain = Chain::new();
    // Before it is registered nothing counts, whoever says it.
    chain.says(1, vec![dataset_verified("d", 1), dataset_rated("d", 0)]);
    assert_eq!(chain.trust("d").evidence, DatasetEvidence::default());
    chain.says(2, vec![dataset_registered("d", 1)]);
    assert_eq!(chain.trust("d").score, Score::HALF, "a registration is no evidence");
    chain.says(1, vec![dataset_verified("d", 1)]);
    assert_eq!(chain.trust("d").score, score(900_000));
    chain.says(3, vec![dataset_verified("d", 2), dataset_rated("d", 600_000)]);
    let trust = chain.trust("d");
    assert_eq!(trust.score, score(526_666), "0.1 + 0.8 * 1.6 / 3");
    assert_eq!((trust.evidence.verifications, trust.evidence.mismatches, trust.evidence.ratings), (1, 1, 1));
    assert_eq!(trust.evidence.rating(), Some(score(600_000)));
    let found = opinions(&chain.rules, &chain.state, &Subject::Dataset(id("d"))).expect("memory can be read").heard;
    let shown: Vec<_> = found.iter().map(|it| (it.station, it.score, it.evidence)).collect();
    // A registration has no voice.
    let expected = [(station(1), score(900_000), 1), (station(2), Score::HALF, 0), (station(3), score(340_000), 2)];
    assert_eq!(shown, expected);
    assert!(matches!(&found[2].detail, OpinionDetail::Dataset(it) if it.mismatches == 1 && it.ratings == 1));
}

#[test]
fn what_is_pending_counts_at_once_and_is_listed_apart() {
    let rules = rules();
    let (mut ledger, store) = ledger(&rules, 1);
    let records = vec![dataset_registered("d", 1), dataset_verified("d", 1), dataset_verified("d", 2)];
    let signed = ledger.sign(records, at(0)).expect("memory can be read").expect("signed");
    let subject = Subject::Dataset(id("d"));
    let trust = Trust::new(&rules, ledger.read());
    let found = trust
        .dataset(&id("d"), ledger.pending_about(&subject).expect("memory can be read"))
        .expect("memory can be read");
    assert_eq!((found.score, found.confirmed_score), (score(500_000), Score::HALF));
    assert_eq!((found.evidence.count(), found.confirmed_evidence.count()), (2, 0));
    assert_eq!(found.registered.map(|(who, it)| (who, it.sha256)), Some((station(1), hash(1))));
    let waiting = |first| ledger.pool().registrations_from(first).map(|(_, index)| index).collect::<Vec<_>>();
    assert_eq!((ledger.pool().registration_count(), waiting(0), waiting(1)), (1, vec![0], vec![]));
    assert_eq!(dataset_count(&store), Ok(0));
    assert!(store.get(&qfzz_ledger_core::state::Key::Datasets).expect("memory can be read").is_none());
    drop(signed);
}
