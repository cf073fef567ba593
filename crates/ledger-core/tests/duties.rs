//! Duties and disputes: an answer counts for 1,024 blocks, a record is disputed once and within 1,024 blocks.

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::{
    Audit, DUTY_BLOCKS, Disputed, Duty, Key, RecordPlace, Value, Writes, duty, jury_answers, jury_state, station_state,
    with_credit,
};
use qfzz_ledger_core::testimony::Answer;
use qfzz_ledger_core::testing::{
    Author, Blocks, at, connect, interaction, proof, rules_with, station, testimony, verified,
};

/// Five founders, of whom the first two take turns in making blocks.
struct Chain {
    rules: std::sync::Arc<Rules>,
    state: Writes,
    past: Blocks,
    authors: Vec<Author>,
    made: [u64; 2],
    head: (Height, BlockHash),
    audits: Vec<Audit>,
}

impl Chain {
    fn new() -> Self {
        let rules = rules_with(|parameters| (2..=5).for_each(|number| parameters.add_founder(station(number), None)));
        let authors = (1..=6).map(|number| Author::new(&rules, number)).collect();
        let (head, state) = ((Height::ZERO, rules.genesis_hash()), Writes::from_iter([with_credit(29)]));
        let (past, made) = (Blocks::default(), [0, 0]);
        let mut chain = Self { rules, state, past, authors, made, head, audits: Vec::new() };
        let introductions = (0..6).map(|who| chain.sign(who, vec![])).collect();
        chain.push(introductions);
        chain
    }

    fn sign(&mut self, who: usize, records: Vec<Record>) -> VerifiedBatch {
        self.authors[who].batch_seeing(self.head.1, at(self.head.0.get() as i64 + 1), records)
    }

    fn push(&mut self, batches: Vec<VerifiedBatch>) -> VerifiedBlock {
        let turn = (self.head.0.get() % 2) as usize;
        let now = at(self.head.0.get() as i64 + 1);
        let block = self.authors[turn].block(self.head, self.made[turn], now, batches);
        let connected = connect(&self.rules, &self.state, &self.past, &block).expect("it fits");
        for (key, value) in connected.writes {
            match value {
                Some(value) => self.state.insert(key, Some(value)),
                None => self.state.remove(&key),
            };
        }
        self.audits = connected.audits;
        self.made[turn] += 1;
        self.head = (block.header().index, block.hash());
        self.past.add(block.clone());
        block
    }

    /// One record of one station in a block of its own.
    fn says(&mut self, who: usize, record: Record) -> VerifiedBatch {
        let batch = self.sign(who, vec![record]);
        self.push(vec![batch.clone()]);
        batch
    }

    /// Blocks without batches, up to a height.
    fn wait_for(&mut self, height: u64) {
        while self.head.0.get() < height {
            self.push(Vec::new());
        }
    }

    fn duty(&self, place: RecordPlace) -> Option<Duty> {
        duty(&self.state, place).expect("memory can be read")
    }

    fn disputed(&self) -> Vec<Disputed> {
        jury_state(&self.state).expect("memory can be read").disputed
    }
}

fn founder(station_id: &StationId) -> usize {
    (0..5).find(|who| station(*who as u8 + 1) == *station_id).expect("a founder was drawn")
}

#[test]
fn an_answer_counts_for_1024_blocks_and_a_second_one_never() {
    let mut chain = Chain::new();
    let claim = chain.says(5, verified("track", "maker"));
    chain.push(Vec::new());
    let [Audit { place, jurors }] = &chain.audits[..] else { panic!("{:?}", chain.audits) };
    let (place, jurors, drawn_at) = (*place, jurors.clone(), chain.head.0.get());
    assert_eq!((jurors.len(), jury_state(&chain.state).expect("memory can be read").credit), (3, 0));
    let answers = |chain: &Chain| {
        let subject = verified("track", "maker").subject().expect("a content");
        let answers = jury_answers(&chain.state, &subject, None).expect("memory can be read");
        (answers.count, answers.positives)
    };
    let says = |chain: &Chain, answer| testimony(&chain.rules, &claim, 0, answer);
    let [first, second, third] = jurors[..] else { panic!("three jurors") };
    let record = says(&chain, Answer::Contest);
    chain.says(founder(&first), record);
    assert_eq!(answers(&chain), (1, 0));
    let again = says(&chain, Answer::Agree);
    chain.says(founder(&first), again);
    assert_eq!((answers(&chain), chain.disputed().len()), ((1, 0), 0), "only the first, and it is no dispute");

    chain.wait_for(drawn_at + DUTY_BLOCKS - 1);
    let in_time = says(&chain, Answer::Agree);
    assert!(chain.duty(place).is_some());
    chain.says(founder(&second), in_time);
    assert_eq!((chain.head.0.get(), answers(&chain)), (drawn_at + DUTY_BLOCKS, (2, 1)));
    assert_eq!(chain.duty(place), None, "the duty is over");
    let late = says(&chain, Answer::Agree);
    chain.says(founder(&third), late);
    assert_eq!((answers(&chain), chain.disputed().len()), ((2, 1), 0), "too late to answer, and to dispute");
    let left = chain.state.keys().filter(|key| matches!(key, Key::Duty(_) | Key::Expiring(_) | Key::Disputed(_)));
    assert_eq!(left.count(), 0, "nothing is left of it but the answers");
}

#[test]
fn a_station_of_weight_disputes_a_record_once_and_within_1024_blocks() {
    let mut chain = Chain::new();
    let old = chain.says(5, verified("old", "maker"));
    let recent = chain.says(5, verified("recent", "maker"));
    let said_at = chain.head.0.get();
    let disputes = |chain: &mut Chain, who: usize, claim: &VerifiedBatch| {
        let record = testimony(&chain.rules, claim, 0, Answer::Agree);
        chain.says(who, record);
        chain.disputed().iter().map(|it| it.place.sequence).collect::<Vec<Sequence>>()
    };
    let own = chain.says(5, verified("own", "maker"));
    assert_eq!(disputes(&mut chain, 5, &own), [], "a station's word about itself never counts");
    chain.wait_for(said_at + DUTY_BLOCKS - 1);
    // In the block of height 1,024 after the record it is not too old; the one before it is.
    let both = [&old, &recent].map(|claim| testimony(&chain.rules, claim, 0, Answer::Contest));
    let batch = chain.sign(3, both.to_vec());
    chain.push(vec![batch]);
    assert_eq!(chain.disputed().iter().map(|it| it.place.sequence).collect::<Vec<_>>(), [recent.sequence()]);
    assert_eq!(disputes(&mut chain, 4, &recent), [], "once");
    assert!(chain.disputed().is_empty());
    let newer = chain.says(5, verified("newer", "maker"));
    assert_eq!(disputes(&mut chain, 4, &newer), [newer.sequence()]);
    let other = chain.says(0, verified("another", "maker"));
    assert_eq!(disputes(&mut chain, 5, &other), [], "its author weighs nothing");
}

#[test]
fn an_equivocators_answers_are_taken_out_wherever_it_gave_them() {
    let mut chain = Chain::new();
    let mut liar = None;
    for number in 0..12 {
        let claim = chain.says(5, verified(&format!("track {number}"), "maker"));
        let mut jury = jury_state(&chain.state).expect("memory can be read");
        jury.credit = 30;
        chain.state.insert(Key::Jury, Some(Value::Jury(Box::new(jury))));
        chain.push(Vec::new());
        let jurors: Vec<StationId> = chain.audits.iter().flat_map(|it| it.jurors.clone()).collect();
        for juror in jurors {
            liar.get_or_insert(juror);
            let record = testimony(&chain.rules, &claim, 0, Answer::Contest);
            chain.says(founder(&juror), record);
        }
    }
    let liar = liar.expect("somebody was drawn");
    let number = station_state(&chain.state, &liar).expect("memory can be read").expect("a founder").number;
    let count = |chain: &Chain| {
        let about = |it: u32| verified(&format!("track {it}"), "maker").subject().expect("a content");
        (0..12).map(|it| jury_answers(&chain.state, &about(it), None).expect("memory can be read").count).sum::<u32>()
    };
    let (before, own) = (count(&chain), qfzz_ledger_core::state::sums(&chain.state, number).expect("memory").answers);
    assert!(own > 0 && before > own, "{own} of {before}");
    let who = founder(&liar);
    let [one, other] = Author::new(&chain.rules, who as u8 + 1).equivocate(at(0), [vec![], vec![interaction("u")]]);
    let accusation = proof(&chain.rules, &one, &other);
    chain.says(5, accusation);
    assert_eq!(count(&chain), before - own);
    assert_eq!(qfzz_ledger_core::state::sums(&chain.state, number).expect("memory").answers, 0);
}
