//! Admission by roster: whom the founders' records admit and expel, and what becomes of the others' batches and blocks.

use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Id};
use qfzz_ledger_core::ledger::{BatchOutcome, BlockRefusal, Ledger, NoBlock};
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::record::{Record, RecordError, StationAdmitted, Subject};
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::{ConnectError, Key, Standing, is_vouched};
use qfzz_ledger_core::testing::{
    Author, admits, at, expels, interaction, ledger, rules, rules_with_roster, solve, station, verified,
};
use qfzz_ledger_core::verify::Verifier;

/// A chain that grows block by block, and the ledger of founder 1 that follows it.
struct Chain {
    rules: Arc<Rules>,
    ledger: Ledger<MemoryStore>,
    store: MemoryStore,
    authors: Vec<Author>,
    produced: u64,
    blocks: Vec<VerifiedBlock>,
}

impl Chain {
    fn new(founders: u8) -> Self {
        let rules = rules_with_roster(founders);
        // Founder 1's own ledger signs nothing here, so that its log is the author's.
        let (ledger, store) = ledger(&rules, 9);
        let authors = (0..=8).map(|number| Author::new(&rules, number)).collect();
        Self { rules, ledger, store, authors, produced: 0, blocks: Vec::new() }
    }

    fn tip(&self) -> (Height, BlockHash) {
        self.blocks.last().map_or((Height::ZERO, self.rules.genesis_hash()), |block| (block.index(), block.hash()))
    }

    fn batch(&mut self, who: u8, records: Vec<Record>) -> VerifiedBatch {
        self.authors[usize::from(who)].batch(at(0), records)
    }

    /// Founder 1 seals a block of these batches; what the ledger says to it.
    fn block(&mut self, mut body: Vec<VerifiedBatch>) -> Option<BlockRefusal> {
        if self.produced == 0 && body.first().is_none_or(|first| first.station() != station(1)) {
            let introduction = self.batch(1, vec![]);
            body.insert(0, introduction);
        }
        let block = self.authors[1].block(self.tip(), self.produced, at(1_000 * (1 + self.blocks.len() as i64)), body);
        self.take(block)
    }

    fn take(&mut self, block: VerifiedBlock) -> Option<BlockRefusal> {
        let outcome = self.ledger.add_blocks(vec![block.clone()], at(1_000_000)).expect("memory can be read");
        for transition in outcome.transitions {
            self.store.apply(&transition);
            self.ledger.committed(transition.number);
        }
        if outcome.refused.is_none() {
            self.produced += u64::from(block.header().producer == station(1));
            self.blocks.push(block);
        }
        outcome.refused.map(|(_, refusal)| refusal)
    }

    /// A block with one founder's records.
    fn say(&mut self, founder: u8, records: Vec<Record>) {
        let batch = self.batch(founder, records);
        assert_eq!(self.block(vec![batch]), None);
    }

    fn standing(&self, number: u8) -> Standing {
        self.ledger.standing(&station(number)).expect("memory can be read")
    }

    fn is_vouched(&self, number: u8) -> bool {
        is_vouched(&self.rules, self.ledger.read(), &station(number)).expect("memory can be read")
    }
}

#[test]
fn one_founder_admits_more_than_half_expel_and_then_more_than_half_admit_again() {
    let mut chain = Chain::new(4);
    assert_eq!(
        (chain.standing(1), chain.standing(4), chain.standing(5)),
        (Standing::Admitted, Standing::Admitted, Standing::Stranger)
    );
    chain.say(1, vec![expels(station(5))]);
    assert_eq!(chain.standing(5), Standing::Stranger, "nothing to take from it");
    chain.say(2, vec![admits(station(5))]);
    assert_eq!((chain.standing(5), chain.is_vouched(5)), (Standing::Admitted, false));
    chain.say(3, vec![admits(station(5))]);
    assert!(chain.is_vouched(5), "two founders");
    chain.say(1, vec![expels(station(5)), expels(station(5))]);
    chain.say(2, vec![expels(station(5))]);
    assert_eq!(
        (chain.standing(5), chain.is_vouched(5)),
        (Standing::Admitted, false),
        "two of four are not more than half"
    );
    chain.say(4, vec![expels(station(5))]);
    assert_eq!(chain.standing(5), Standing::Expelled);
    chain.say(3, vec![admits(station(5))]);
    chain.say(3, vec![admits(station(5))]);
    chain.say(4, vec![admits(station(5))]);
    assert_eq!(chain.standing(5), Standing::Expelled, "two again: what founder 3 said before is over");
    chain.say(4, vec![expels(station(5))]);
    chain.say(1, vec![admits(station(5))]);
    assert_eq!(chain.standing(5), Standing::Expelled, "founder 4 took its word back");
    chain.say(2, vec![admits(station(5))]);
    assert_eq!((chain.standing(5), chain.is_vouched(5)), (Standing::Admitted, true));
}

#[test]
fn nobody_expels_a_founder_and_nobody_but_a_founder_has_a_word() {
    let mut chain = Chain::new(2);
    chain.say(1, vec![admits(station(5)), expels(station(2))]);
    chain.say(2, vec![expels(station(2)), expels(station(1))]);
    chain.say(5, vec![admits(station(6)), expels(station(5))]);
    assert_eq!((chain.standing(1), chain.standing(2)), (Standing::Admitted, Standing::Admitted));
    assert_eq!((chain.standing(5), chain.standing(6)), (Standing::Admitted, Standing::Stranger));
    let mut alone = Chain::new(1);
    alone.say(1, vec![admits(station(5))]);
    assert!(alone.is_vouched(5), "by the only founder");
    alone.say(1, vec![expels(station(5))]);
    assert_eq!(alone.standing(5), Standing::Expelled);
}

#[test]
fn a_block_is_judged_by_the_state_after_its_parent() {
    let mut chain = Chain::new(1);
    let strangers = chain.batch(5, vec![interaction("u")]);
    let admission = chain.batch(1, vec![admits(station(5))]);
    let refusal = chain.block(vec![admission.clone(), strangers.clone()]).expect("not admitted yet");
    assert!(
        matches!(refusal, BlockRefusal::Connect(ConnectError::NotAdmitted { station: it, .. }) if it == station(5))
    );
    assert_eq!(refusal.severity(), Severity::Peer);
    assert_eq!(chain.block(vec![admission]), None);
    let expulsion = chain.batch(1, vec![expels(station(5))]);
    assert_eq!(chain.block(vec![expulsion, strangers]), None, "admitted before the block, whatever it says itself");
    let later = chain.batch(5, vec![interaction("u")]);
    assert!(chain.block(vec![later]).is_some());
}

#[test]
fn only_an_admitted_station_produces() {
    let mut chain = Chain::new(1);
    chain.say(1, vec![verified("t", "c")]);
    let (tip, body) = (chain.tip(), vec![chain.batch(5, vec![interaction("u")])]);
    let block = chain.authors[5].block(tip, 0, at(500_000), body.clone());
    let announced = chain.ledger.check_announcement(&block.announcement(), at(1_000_000));
    assert!(matches!(announced, Err(BlockRefusal::Connect(ConnectError::NotAdmitted { .. }))), "{announced:?}");
    assert!(matches!(chain.take(block), Some(BlockRefusal::Connect(ConnectError::NotAdmitted { .. }))));
    chain.say(1, vec![admits(station(5))]);
    let block = chain.authors[5].block(chain.tip(), 0, at(500_000), body);
    assert_eq!(chain.take(block), None);
}

#[test]
fn batches_of_strangers_are_not_looked_at_and_what_the_expelled_had_pending_goes() {
    let mut chain = Chain::new(1);
    let mut forged = chain.batch(5, vec![interaction("u")]).signed().clone();
    forged.header.created_at = at(7);
    let outcome = chain.ledger.add_batch(forged, at(0)).expect("memory can be read");
    assert_eq!(outcome, BatchOutcome::NotAdmitted, "not even its signature");
    let mut chain = Chain::new(1);
    let first = chain.batch(5, vec![interaction("u")]);
    chain.say(1, vec![admits(station(5))]);
    let outcome = chain.ledger.add_batch(first.signed().clone(), at(0)).expect("memory can be read");
    assert!(matches!(outcome, BatchOutcome::Added { .. }), "{outcome:?}");
    let about = |text: &str| Subject::User(Id::new(text).expect("an id"));
    assert_eq!(chain.ledger.pending_about(&about("u")).expect("memory can be read").len(), 1);
    let expulsion = chain.batch(1, vec![expels(station(5))]);
    let block = chain.authors[1].block(chain.tip(), chain.produced, at(9_000), vec![expulsion]);
    let outcome = chain.ledger.add_blocks(vec![block], at(1_000_000)).expect("memory can be read");
    assert_eq!((outcome.refused, outcome.left_out), (None, vec![first]));
    assert!(chain.ledger.pool().is_empty() && chain.ledger.pool().by_id(&chain.authors[5].end().last).is_none());
}

#[test]
fn a_station_that_is_not_admitted_keeps_its_own_records_and_mines_nothing() {
    let rules = rules_with_roster(1);
    let (mut stranger, _) = ledger(&rules, 5);
    stranger.sign(vec![interaction("u")], at(0)).expect("memory can be read").expect("signed");
    assert_eq!(stranger.pool().records(), 1);
    let about = Subject::User(Id::new("u").expect("an id"));
    assert!(stranger.pending_about(&about).expect("memory can be read").is_empty(), "it does not count");
    assert_eq!(stranger.own_opinion(&about).expect("memory can be read"), None, "nor when it is asked itself");
    let (_, template) = stranger.template(at(0)).expect("memory can be read");
    assert_eq!(template.err(), Some(NoBlock::NotAdmitted));
}

#[test]
fn where_admission_is_open_founders_words_change_nothing() {
    let rules = rules();
    let (mut ledger, _) = ledger(&rules, 1);
    ledger.sign(vec![admits(station(5)), expels(station(5))], at(0)).expect("memory can be read");
    let (_, template) = ledger.template(at(0)).expect("memory can be read");
    let template = template.expect("a block");
    let header = solve(&rules, &template);
    let (block, _) = ledger.mined(template, header, at(0)).expect("memory can be read");
    let mut chain = Verifier::from_genesis(&rules);
    chain.next(block.expect("a block").to_signed()).expect("a valid chain");
    assert!(!chain.state().keys().any(|key| matches!(key, Key::Admission(_))));
    assert_eq!(ledger.standing(&station(5)), Ok(Standing::Admitted));
}

#[test]
fn the_hash_of_an_ml_dsa_key_belongs_to_hybrid_federations_alone() {
    let Record::StationAdmitted(it) = admits(station(5)) else { panic!("an admission") };
    let record = Record::StationAdmitted(StationAdmitted { ml_dsa_key_hash: Some([1; 32]), ..it });
    assert_eq!(record.check(&rules()), Err(RecordError::KeyHash));
}
