//! Random histories: stations, founders, records of every kind, equivocations, testimonies that were asked for and others,
//! and reorganisations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::federation::{Admission, Rules};
use qfzz_ledger_core::ids::{RecordHash, StationId, Target};
use qfzz_ledger_core::record::{Record, Subject, UserAction};
use qfzz_ledger_core::score::Delta;
use qfzz_ledger_core::state::{Standing, Writes, chain_state, is_vouched, jury_state, standing, weights, with_credit};
use qfzz_ledger_core::testimony::Answer;
use qfzz_ledger_core::testing::{
    Author, added, admits, at, dataset_rated, dataset_registered, dataset_verified, expels, interaction, proof,
    reported, rules_with, testimony, verified,
};
use serde_json::{Value, json};

use crate::chain::{Chain, REGISTERED, hex, id, name};
use crate::shown::{Asked, audits};

/// Stations of every history; in some the last ones are admitted and never say anything.
const STATIONS: u8 = 9;
/// Those that lie about half of the subjects.
const LIARS: std::ops::RangeInclusive<u8> = 7..=STATIONS;
const ACTIONS: [(&str, i32); 5] =
    [("interaction", 10_000), ("rating", 30_000), ("up", 400_000), ("down", -600_000), ("dataset_verification", 0)];

/// Test station `number`; making an id from its key each time would take most of this test's time.
fn station(number: u8) -> StationId {
    static BY_NUMBER: LazyLock<Vec<StationId>> =
        LazyLock::new(|| (0..=STATIONS + 1).map(qfzz_ledger_core::testing::station).collect());
    BY_NUMBER[usize::from(number)]
}

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn is_one_of(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// Federations, and authors that have signed nothing in them yet.
pub(crate) struct Federation {
    rules: Arc<Rules>,
    founders: u8,
    authors: BTreeMap<u8, Author>,
    proofs: BTreeMap<u8, Record>,
}

pub(crate) fn federations() -> Vec<Federation> {
    let kinds = [Admission::Open, Admission::Roster].into_iter().flat_map(|it| [1, 2, 3, 5].map(|count| (it, count)));
    kinds.map(|(admission, founders)| Federation::new(admission, founders)).collect()
}

impl Federation {
    fn new(admission: Admission, founders: u8) -> Self {
        let rules = rules_with(|parameters| {
            parameters.admission = admission;
            (2..=founders).for_each(|number| parameters.add_founder(station(number), None));
            for (action, delta) in ACTIONS {
                parameters.set_action(id(action), Delta::from_millionths(delta).expect("in range"));
            }
        });
        let authors: BTreeMap<u8, Author> =
            (1..=STATIONS).map(|number| (number, Author::new(&rules, number))).collect();
        let accuse = |(number, author): (&u8, &Author)| {
            let [one, other] = author.clone().equivocate(at(0), [vec![], vec![interaction("x")]]);
            (*number, proof(&rules, &one, &other))
        };
        let proofs = authors.iter().map(accuse).collect();
        Self { rules, founders, authors, proofs }
    }
}

/// What the tests have met, so that none of it is missing.
#[derive(Default, Debug)]
pub(crate) struct Met {
    pub(crate) draws: usize,
    pub(crate) disputed_first: usize,
    pub(crate) drawn_answers: usize,
    pub(crate) undrawn: usize,
    pub(crate) contested: usize,
    pub(crate) juries: usize,
    pub(crate) equivocators: usize,
    pub(crate) no_founders: usize,
    pub(crate) reorganisations: usize,
    pub(crate) unproven: usize,
}

/// One history. Every question that is put to the reference goes to `check`, with what the node answers.
pub(crate) fn run(federation: &Federation, dice: &mut Dice, met: &mut Met, check: &mut impl FnMut(Value, Value)) {
    // Draws cost what hundreds of earlier records would have paid.
    let base = Writes::from_iter([with_credit(dice.below(400) as u32)]);
    let chain = Chain::new(&federation.rules, federation.authors.clone(), 1, base);
    let mut history = History { federation, chain, dice, disputed: vec![Disputes::default()] };
    let (first, more) = (3 + history.dice.below(5), 1 + history.dice.below(3));
    history.grow(first, met, check);
    if !history.dice.is_one_of(3) {
        let back = 1 + history.dice.below(first - 1);
        for _ in 0..back {
            history.chain.pop();
            history.disputed.pop();
        }
        history.grow(back + more, met, check);
        met.reorganisations += 1;
    }
    assert_eq!(history.chain.state, history.chain.replayed(), "the state is that of a replay");
    history.check_answers(met, check);
}

/// What was disputed on the branch, after a block.
#[derive(Clone, Default)]
struct Disputes {
    ever: BTreeSet<RecordHash>,
    now: Vec<RecordHash>,
}

struct History<'a> {
    federation: &'a Federation,
    chain: Chain,
    dice: &'a mut Dice,
    /// After each block, genesis included.
    disputed: Vec<Disputes>,
}

impl History<'_> {
    fn grow(&mut self, blocks: u64, met: &mut Met, check: &mut impl FnMut(Value, Value)) {
        for _ in 0..blocks {
            let authors_before = self.chain.authors.clone();
            let credit = jury_state(&self.chain.state).expect("memory can be read").credit;
            let batches = self.batches();
            let made = self.chain.push(batches, authors_before);
            self.note_disputes();
            met.draws += made.audits.len();
            met.undrawn += self.chain.told.undrawn.len();
            if !made.audits.is_empty() || self.dice.is_one_of(6) {
                self.check_draw(credit, &made.audits, met, check);
            }
        }
    }

    fn batches(&mut self) -> Vec<VerifiedBatch> {
        let (height, mut batches) = (self.chain.height(), Vec::new());
        for who in 1..=STATIONS {
            let is_admitted = standing(&self.chain.rules, &self.chain.state, &station(who)) == Ok(Standing::Admitted);
            let is_due = if height == 0 { who == 1 || self.dice.is_one_of(2) } else { !self.dice.is_one_of(3) };
            // Now and then the last one only listens.
            if !is_admitted || !is_due || (who == STATIONS && self.dice.0 & 7 == 0) {
                continue;
            }
            let mut records = Vec::new();
            if height == 0 && who == 1 {
                records.extend(["d0", "d1", "d2"].map(|dataset| dataset_registered(dataset, REGISTERED)));
            }
            records.extend(self.words_of_a_founder(who, height));
            for _ in 0..self.dice.below(6) {
                records.push(self.claim(who));
            }
            records.extend(self.testimonies(who));
            if height > 1 && self.dice.is_one_of(60) {
                let accused = 1 + self.dice.below(u64::from(STATIONS)) as u8;
                records.push(self.federation.proofs[&accused].clone());
            }
            if height > 1 && self.federation.founders < 3 && who == STATIONS - 1 && self.dice.is_one_of(10) {
                records.extend((1..=self.federation.founders).map(|founder| self.federation.proofs[&founder].clone()));
            }
            if records.is_empty() && height > 0 {
                continue;
            }
            // Sometimes of long ago, sometimes of another branch.
            let seen = match self.dice.below(4) {
                0 => self.dice.below(height + 2),
                _ => height,
            };
            batches.push(self.chain.sign(who, seen, records));
        }
        batches
    }

    fn words_of_a_founder(&mut self, who: u8, height: u64) -> Vec<Record> {
        let founders = self.federation.founders;
        if self.chain.rules.parameters().admission == Admission::Open || who > founders {
            return Vec::new();
        }
        match height {
            0 => {
                let newcomers = founders + 1..=STATIONS;
                newcomers.filter(|_| who == 1 || self.dice.is_one_of(2)).map(|number| admits(station(number))).collect()
            }
            // A word against it, which alone expels nobody where there are three founders.
            _ if founders > 2 && self.dice.is_one_of(12) => vec![expels(station(STATIONS - 1))],
            _ => Vec::new(),
        }
    }

    /// Something that a juror could check, mostly true; and some additions.
    fn claim(&mut self, who: u8) -> Record {
        let subject = self.dice.below(30);
        let is_good = subject.is_multiple_of(2);
        let lies = (LIARS.contains(&who) && subject.is_multiple_of(3)) || self.dice.is_one_of(8);
        let says_good = is_good != lies;
        let (content, creator) = (format!("t{subject}"), format!("c{}", subject % 4));
        match self.dice.below(10) {
            0 | 1 => self.action(says_good),
            2 => added(&content, &creator, 100_000 * self.dice.below(11) as u32),
            3 => dataset_verified(&format!("d{}", subject % 3), if says_good { REGISTERED } else { 9 }),
            4 => dataset_rated(&format!("d{}", subject % 3), self.dice.below(1_000_001) as u32),
            5 => dataset_registered(&format!("d{}", subject % 3), 7),
            _ if says_good => verified(&content, &creator),
            _ => reported(&content, &creator),
        }
    }

    fn action(&mut self, says_good: bool) -> Record {
        let (action, delta) = match self.dice.below(8) {
            0 => ACTIONS[4],
            it if says_good => ACTIONS[it as usize % 3],
            _ => ACTIONS[3],
        };
        Record::UserAction(UserAction {
            user_id: id(&format!("u{}", self.dice.below(4))),
            action: id(action),
            target: Target::new("").expect("may be empty"),
            trust_delta: Delta::from_millionths(delta).expect("in range"),
            timestamp: at(0),
        })
    }

    /// Answers that a station was asked for, some of them twice, and some that nobody asked for.
    fn testimonies(&mut self, who: u8) -> Vec<Record> {
        let me = station(who);
        let duties = self.chain.told.duties.keys().filter(|(_, juror)| *juror == me).map(|(record, _)| *record);
        let mut about: Vec<RecordHash> = duties.collect();
        about.retain(|_| !self.dice.is_one_of(3));
        if self.dice.is_one_of(8) && !self.chain.told.said.is_empty() {
            let at = self.dice.below(self.chain.told.said.len() as u64) as usize;
            about.extend(self.chain.told.said.keys().nth(at));
        }
        let mut records = Vec::new();
        for record in about {
            let said = &self.chain.told.said[&record];
            let contests = if LIARS.contains(&who) { !self.dice.is_one_of(3) } else { self.dice.is_one_of(3) };
            let answer = if contests { Answer::Contest } else { Answer::Agree };
            records.push(testimony(&self.chain.rules, &said.batch, said.record.place.index, answer));
        }
        records
    }

    /// Each record once, by stations of weight after the block.
    fn note_disputes(&mut self) {
        let told = &self.chain.told;
        let mut disputes = self.disputed.last().expect("one of genesis").clone();
        disputes.now.clear();
        if told.undrawn.is_empty() {
            self.disputed.push(disputes);
            return;
        }
        let weights = weights(&self.chain.rules, &self.chain.state).expect("memory can be read");
        for (author, record) in &told.undrawn {
            let Some(said) = told.said.get(record) else { continue };
            let is_heard = weights.of(author).millionths() >= 250_000 && said.station != *author;
            let is_honest = !told.equivocators.contains(&said.station) && !told.equivocators.contains(author);
            if is_heard && is_honest && said.is_claim && disputes.ever.insert(*record) {
                disputes.now.push(*record);
            }
        }
        assert!(told.undrawn.len() <= 8, "more are not looked at");
        self.disputed.push(disputes);
    }

    /// What the reference is told of the branch.
    fn scenario(&self) -> Value {
        let (rules, state, told) = (&self.chain.rules, &self.chain.state, &self.chain.told);
        let mut stations = told.authors.clone();
        let mut vouched = Vec::new();
        for number in 1..=STATIONS {
            let station = station(number);
            if rules.has_roster() && standing(rules, state, &station) == Ok(Standing::Admitted) {
                stations.insert(station);
            }
            if is_vouched(rules, state, &station) == Ok(true) {
                vouched.push(name(&station));
            }
        }
        let founders = rules.parameters().founders.iter().map(|founder| name(&founder.station));
        json!({ "founders": founders.collect::<Vec<_>>(), "stations": stations.iter().map(name).collect::<Vec<_>>(),
            "vouched": vouched, "equivocators": told.equivocators.iter().map(name).collect::<Vec<_>>(),
            "records": told.records, "testimonies": told.testimonies })
    }

    fn check_draw(
        &mut self,
        credit: u32,
        drawn: &[qfzz_ledger_core::state::Audit],
        met: &mut Met,
        check: &mut impl FnMut(Value, Value),
    ) {
        let (told, height) = (&self.chain.told, self.chain.height());
        let records = told.said.values().filter(|said| said.height + 1 == height && said.is_claim);
        let records: Vec<String> = records.map(|said| said.record.hash.to_string()).collect();
        let disputed = &self.disputed[self.disputed.len() - 2].now;
        let draw = chain_state(&self.chain.state, &self.chain.rules).expect("memory can be read").draw;
        let mut scenario = self.scenario();
        scenario["draw"] = json!({ "block_hash": hex(&draw), "records": records, "credit": credit,
            "disputed": disputed.iter().map(ToString::to_string).collect::<Vec<_>>() });
        let left = jury_state(&self.chain.state).expect("memory can be read").credit;
        let id = |audit: &qfzz_ledger_core::state::Audit| {
            let found = told.said.values().find(|said| said.record.place == audit.place).expect("it was said");
            found.record.hash.to_string()
        };
        met.disputed_first += usize::from(
            drawn.first().is_some_and(|it| disputed.iter().any(|record| told.said[record].record.place == it.place)),
        );
        let asked = Asked::new(&self.chain.rules, &self.chain.state);
        let found = json!({ "draw": audits(drawn, left, id, &name), "answers": [], "weights": asked.weights(&name),
            "grounds": asked.grounds(&name) });
        check(scenario, found);
    }

    fn check_answers(&mut self, met: &mut Met, check: &mut impl FnMut(Value, Value)) {
        let told = &self.chain.told;
        let all: BTreeSet<&Subject> = told.said.values().map(|said| &said.record.subject).collect();
        // All that jurors were asked about, some of the others, and what nobody knows.
        let asked: BTreeSet<&Subject> =
            told.duties.keys().map(|(record, _)| &told.said[record].record.subject).collect();
        let mut subjects: Vec<Subject> = asked.into_iter().cloned().collect();
        subjects.extend(all.into_iter().filter(|_| self.dice.is_one_of(5)).cloned());
        subjects.push(Subject::Creator(id(&format!("c{}", self.dice.below(5)))));
        let honest: Vec<StationId> =
            (1..=STATIONS + 1).map(station).filter(|it| !told.equivocators.contains(it)).collect();
        let asked = Asked::new(&self.chain.rules, &self.chain.state);
        let (mut queries, mut answers) = (Vec::new(), Vec::new());
        for subject in subjects {
            let named = self.dice.is_one_of(3);
            let nodes: Option<BTreeSet<StationId>> =
                named.then(|| honest.iter().filter(|_| self.dice.is_one_of(2)).copied().collect());
            let mut query = json!({ "subject": crate::chain::subject_json(&subject) });
            let mut row = asked.answer(&subject, nodes.as_ref(), &name);
            if let Some(nodes) = &nodes {
                query["nodes"] = nodes.iter().map(name).collect();
                row.insert("nodes".to_owned(), query["nodes"].clone());
            }
            queries.push(query);
            let shown = Value::Object(row);
            let voices = shown["anchored"]["stations"].as_array().expect("a list").iter();
            let why = |why: &str| voices.clone().filter(|voice| voice["why"] == why).count();
            met.contested += why("contested");
            met.unproven += why("unproven");
            met.juries += usize::from(shown["anchored"].get("jury").is_some());
            met.no_founders += usize::from(shown["anchored"]["policy"] == "median");
            answers.push(shown);
        }
        met.drawn_answers += told.testimonies.iter().filter(|it| it["drawn"] == true).count();
        met.equivocators += told.equivocators.len();
        let mut scenario = self.scenario();
        scenario["queries"] = queries.into();
        check(
            scenario,
            json!({ "weights": asked.weights(&name), "grounds": asked.grounds(&name), "answers": answers }),
        );
    }
}
