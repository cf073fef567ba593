//! Builders for tests: stations, federations, records and blocks. Adds, changes nothing.

use std::sync::Arc;

use crate::crypto::StationKey;
use crate::federation::{Genesis, Parameters, Rules};
use crate::header::{BlockHeader, Difficulty};
use crate::ids::{Id, Name, StationId, Target};
use crate::ledger::{Ledger, Template};
use crate::memory::MemoryStore;
use crate::own_log::OwnLog;
use crate::pow::NonceSearch;
use crate::record::{ContentAdded, ContentRef, Metadata, Record, UserAction};
use crate::reveal::RevealChain;
use crate::score::{Delta, Score};
use crate::time::Timestamp;

/// Steps of a test station's reveal chain.
pub const REVEALS: u32 = 1_000;

/// `millis` after 2026-01-01T00:00:00Z.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000).expect("in range").saturating_add(millis)
}

/// The key of test station `number`.
pub fn key(number: u8) -> StationKey {
    StationKey::from_seed([number; 32])
}

/// Test station `number`.
pub fn station(number: u8) -> StationId {
    key(number).station()
}

/// A federation founded by test station 1 at [`at`]`(0)`, at the easiest difficulty.
pub fn rules() -> Arc<Rules> {
    rules_with(|_| {})
}

/// The same with changed parameters.
pub fn rules_with(change: impl FnOnce(&mut Parameters)) -> Arc<Rules> {
    let mut parameters = Parameters::new(Name::new("test").expect("a name"), station(1), at(0));
    parameters.difficulty = Difficulty::new(1).expect("in range");
    change(&mut parameters);
    Arc::new(Rules::new(Genesis::mine(parameters).expect("valid parameters")).expect("a mined genesis"))
}

/// The own log of test station `number`.
pub fn own_log(rules: &Rules, number: u8) -> OwnLog {
    let key = key(number);
    let secret = key.reveal_secret(&rules.federation());
    let reveals = RevealChain::new(&rules.federation(), &key.station(), secret, REVEALS);
    OwnLog::new(key, Name::new(format!("station {number}")).expect("a name"), reveals)
}

/// The empty ledger of test station `number`, with its store.
pub fn ledger(rules: &Arc<Rules>, number: u8) -> (Ledger<MemoryStore>, MemoryStore) {
    let store = MemoryStore::default();
    let own = own_log(rules, number);
    let ledger = Ledger::open(Arc::clone(rules), store.clone(), own, [], [], [], at(0)).expect("an empty store");
    (ledger, store)
}

/// The user did an interaction.
pub fn interaction(user: &str) -> Record {
    Record::UserAction(UserAction {
        user_id: Id::new(user).expect("an id"),
        action: Id::new("interaction").expect("an id"),
        target: Target::new("dj").expect("a target"),
        trust_delta: Delta::from_millionths(10_000).expect("in range"),
        timestamp: at(0),
    })
}

/// The content was added with a score.
pub fn added(content: &str, creator: &str, score: u32) -> Record {
    Record::ContentAdded(ContentAdded {
        content_id: Id::new(content).expect("an id"),
        creator_id: Id::new(creator).expect("an id"),
        initial_score: Score::from_millionths(score).expect("in range"),
        metadata: Metadata::empty(),
    })
}

fn content(content: &str, creator: &str) -> ContentRef {
    ContentRef { content_id: Id::new(content).expect("an id"), creator_id: Id::new(creator).expect("an id") }
}

/// The content was verified.
pub fn verified(content_id: &str, creator: &str) -> Record {
    Record::ContentVerified(content(content_id, creator))
}

/// The content was reported.
pub fn reported(content_id: &str, creator: &str) -> Record {
    Record::ContentReported(content(content_id, creator))
}

/// A template's header with its nonce.
pub fn solve(rules: &Rules, template: &Template) -> BlockHeader {
    let mut search = NonceSearch::new(&rules.federation(), template.header.clone());
    std::iter::repeat_with(|| search.run(1 << 16)).find_map(|found| found).expect("endless").0
}
