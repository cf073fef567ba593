//! Duties and disputes: an answer counts for 1,024 blocks, a record is disputed once and within 1,024 blocks.

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::{
    Audit, DUTY_BLOCKS, Disputed, Duty, EndingPlace, Explanation, Fate, Key, OpenDuty, RecordPlace, Rewound, Undo,
    Value, Writes, disputed_at, duties_of, duty, explain, jury_answers, jury_state, place_of, record_height, record_id,
    station_state, with_credit,
};
use qfzz_ledger_core::testimony::Answer;
use qfzz_ledger_core::testing::{
    Author, Blocks, at, connect, interaction, proof, reported, rules_with, station, testimony, verified,
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
    /// Every block with its undo data and whom it drew, the first of height 1.
    blocks: Vec<(VerifiedBlock, Undo, Vec<Audit>)>,
}

impl Chain {
    fn new() -> Self {
        let rules = rules_with(|parameters| (2..=5).for_each(|number| parameters.add_founder(station(number), None)));
        let authors = (1..=6).map(|number| Author::new(&rules, number)).collect();
        let (head, state) = ((Height::ZERO, rules.genesis_hash()), Writes::from_iter([with_credit(29)]));
        let (past, made) = (Blocks::default(), [0, 0]);
        let (audits, blocks) = (Vec::new(), Vec::new());
        let mut chain = Self { rules, state, past, authors, made, head, audits, blocks };
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
        self.blocks.push((block.clone(), connected.undo, self.audits.clone()));
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

    /// The draw of the block at `height` about a record, made again from the head's state.
    fn explain(&self, height: u64, record: RecordPlace) -> Explanation {
        let (_, undo, _) = &self.blocks[height as usize - 1];
        let parent = height.checked_sub(2).map(|below| &self.blocks[below as usize].0);
        let mut rewound = Rewound::new(undo, parent);
        self.blocks[height as usize..].iter().for_each(|(_, undo, _)| rewound.take_back(undo.clone()));
        explain(&self.rules, &rewound.over(&self.state), undo, parent, record).expect("memory can be read")
    }

    fn disputed(&self) -> Vec<Disputed> {
        jury_state(&self.state).expect("memory can be read").disputed
    }
}

fn author(station_id: &StationId) -> usize {
    (0..6).find(|who| station(*who as u8 + 1) == *station_id).expect("one of the six was drawn")
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
    chain.says(author(&first), record);
    assert_eq!(answers(&chain), (1, 0));
    let again = says(&chain, Answer::Agree);
    chain.says(author(&first), again);
    assert_eq!((answers(&chain), chain.disputed().len()), ((1, 0), 0), "only the first, and it is no dispute");

    chain.wait_for(drawn_at + DUTY_BLOCKS - 1);
    let in_time = says(&chain, Answer::Agree);
    assert!(chain.duty(place).is_some());
    chain.says(author(&second), in_time);
    assert_eq!((chain.head.0.get(), answers(&chain)), (drawn_at + DUTY_BLOCKS, (2, 1)));
    assert_eq!(chain.duty(place), None, "the duty is over");
    let late = says(&chain, Answer::Agree);
    chain.says(author(&third), late);
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
            chain.says(author(&juror), record);
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
    let who = author(&liar);
    let [one, other] = Author::new(&chain.rules, who as u8 + 1).equivocate(at(0), [vec![], vec![interaction("u")]]);
    let accusation = proof(&chain.rules, &one, &other);
    chain.says(5, accusation);
    assert_eq!(count(&chain), before - own);
    assert_eq!(qfzz_ledger_core::state::sums(&chain.state, number).expect("memory").answers, 0);
}

/// Forty blocks of claims by everybody, answers of those who are drawn, disputes, and at the end an equivocator.
fn eventful() -> Chain {
    let mut chain = Chain::new();
    let mut claims: Vec<VerifiedBatch> = Vec::new();
    for round in 0..40_usize {
        let mut records = vec![Vec::new(); 6];
        for (number, records) in records.iter_mut().enumerate() {
            for part in 0..5 {
                let track = format!("track {} {} {}", round / 2, number % 3, part);
                records.push(if (round + part) % 3 == 0 {
                    reported(&track, "maker")
                } else {
                    verified(&track, "maker")
                });
            }
        }
        for audit in chain.audits.clone() {
            let id = record_id(&chain.state, audit.place).expect("it is on the chain");
            let claim = claims.iter().find(|claim| claim.signed().place() == (id.station, id.sequence));
            let claim = claim.expect("it was said");
            for juror in &audit.jurors[1..] {
                records[author(juror)].push(testimony(&chain.rules, claim, id.index, Answer::Contest));
            }
        }
        if let Some(old) = claims.get(round * 2).filter(|old| round % 4 == 1 && old.station() != station(3)) {
            records[2].push(testimony(&chain.rules, old, 1, Answer::Contest));
        }
        let batches: Vec<VerifiedBatch> =
            (0..6).map(|who| chain.sign(who, std::mem::take(&mut records[who]))).collect();
        claims.extend(batches.iter().cloned());
        chain.push(batches);
    }
    let [one, other] = Author::new(&chain.rules, 4).equivocate(at(0), [vec![], vec![interaction("u")]]);
    let accusation = proof(&chain.rules, &one, &other);
    chain.says(5, accusation);
    chain.push(Vec::new());
    chain
}

#[test]
fn every_draw_can_be_made_again_from_the_head_whatever_changed_since() {
    let chain = eventful();
    let (mut drawn, mut disputed, mut passed) = (0, 0, 0);
    for height in 2..=chain.head.0.get() {
        let (_, _, audits) = &chain.blocks[height as usize - 1];
        for audit in audits {
            let explained = chain.explain(height, audit.place);
            let step = explained.step.expect("it was drawn");
            let Fate::Drawn(picks) = &step.fate else { panic!("{:?}", step.fate) };
            let reveal = &chain.blocks[height as usize - 1].0.header().reveal;
            assert_eq!(explained.draw, chain.rules.draw(&explained.previous_draw, reveal));
            assert_eq!(picks.iter().map(|pick| pick.station).collect::<Vec<_>>(), audit.jurors, "block {height}");
            let earlier = explained.earlier.iter().filter(|it| matches!(it.fate, Fate::Drawn(_))).count();
            assert_eq!(audits.iter().position(|it| it.place == audit.place), Some(earlier), "in its turn");
            disputed += usize::from(
                disputed_at(&chain.state, audit.place).expect("memory").is_some_and(|it| it.get() + 1 == height),
            );
            drawn += 1;
        }
        let (parent, ..) = &chain.blocks[height as usize - 2];
        for batch in parent.batches().iter().filter(|batch| !batch.records().is_empty()) {
            let place = place_of(&chain.state, &batch.record_id(0)).expect("memory").expect("it is on the chain");
            let step = chain.explain(height, place).step;
            let is_drawn = matches!(&step, Some(step) if matches!(step.fate, Fate::Drawn(_)));
            assert_eq!(is_drawn, audits.iter().any(|it| it.place == place), "block {height}: {step:?}");
            passed += usize::from(!is_drawn);
        }
    }
    assert!(
        drawn > 20 && disputed > 2 && passed > 20,
        "{drawn} drawn, {disputed} of them disputed, {passed} passed over"
    );
}

#[test]
fn a_stations_duties_are_those_it_was_drawn_for_by_their_end() {
    let chain = eventful();
    for juror in (1..=6).map(station) {
        let part = |from, limit| {
            let found = duties_of(&chain.rules, &chain.state, &juror, |_| true, from, limit);
            found.expect("memory can be read")
        };
        let (found, end) = part(EndingPlace::default(), usize::MAX);
        assert_eq!(end, None);
        let mut expected: Vec<(u64, RecordPlace)> = Vec::new();
        for (block, _, audits) in &chain.blocks {
            for audit in audits.iter().filter(|audit| audit.jurors.contains(&juror)) {
                // Drawn again for a record, it may answer until the later end.
                expected.retain(|(_, place)| *place != audit.place);
                expected.push((block.header().index.get() + DUTY_BLOCKS, audit.place));
            }
        }
        assert_eq!(found.iter().map(|it| (it.own.until.get(), it.place)).collect::<Vec<_>>(), expected);
        for open in &found {
            assert_eq!((open.own.station, duty(&chain.state, open.place)), (juror, Ok(Some(open.duty.clone()))));
            assert_eq!(record_id(&chain.state, open.place), Ok(open.record));
            let block = chain.blocks.iter().find(|(block, ..)| {
                block.batches().iter().any(|it| it.signed().place() == (open.record.station, open.record.sequence))
            });
            let height = block.map(|(block, ..)| block.header().index);
            assert_eq!(record_height(&chain.rules, &chain.state, &open.record), Ok(height));
        }
        // In parts, too, each from where the one before says.
        let (mut parts, mut from) = (Vec::new(), Some(EndingPlace::default()));
        while let Some(place) = from {
            let (listed, next) = part(place, 3);
            assert!(listed.len() == 3 || next.is_none() && listed.is_empty() == found.is_empty());
            assert!(next.is_none_or(|next| next > place));
            parts.extend(listed);
            from = next;
        }
        assert_eq!(parts, found);
        let after_all = EndingPlace { height: Height::new(u64::MAX), before: 0 };
        assert_eq!(part(after_all, 3), (Vec::new(), None));
        let is_open = |it: &OpenDuty| !it.own.has_answered;
        let open = duties_of(&chain.rules, &chain.state, &juror, is_open, EndingPlace::default(), usize::MAX);
        let expected: Vec<OpenDuty> = found.iter().filter(|it| is_open(it)).cloned().collect();
        assert_eq!(open, Ok((expected, None)));
    }
}
