//! A naive chain beside the real one: it keeps every block it has seen, judges each whole branch from genesis anew, and
//! folds the scores of the best one from its records. After every delivery both must agree on the head, on what every
//! record led to, and on what still waits; and the state kept must be that of a replay.

mod branch;
mod datasets;
mod fold;
mod step;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::{Admission, Rules};
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, Id, Sequence, StationId};
use qfzz_ledger_core::ledger::{BatchOutcome, BlocksOutcome, Ledger, Transition};
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::record::{Record, Subject};
use qfzz_ledger_core::score::{Delta, Score};
use qfzz_ledger_core::state::{
    self, Opinion, Trust, Writes, equivocation, equivocators, opinion_of, opinions, station_id, station_state,
};
use qfzz_ledger_core::testing::{self, Author, admits, at, expels, own_log, proof, rules_with, solve};
use qfzz_ledger_core::verify::Verifier;

use crate::branch::Branch;
use crate::fold::{Content, Fold};
use crate::step::{Fault, Step, Totals, records, step};

/// The station whose ledger is tested.
const OWN: u8 = 1;
/// The station that signs two logs from its second batch on.
const LIAR: u8 = 5;
const STATIONS: std::ops::RangeInclusive<u8> = OWN..=LIAR;
/// Later than any block here.
const NOW: i64 = 10_000_000;

const USERS: [&str; 3] = ["u0", "u1", "u2"];
const CREATORS: [&str; 2] = ["c0", "c1"];
const CONTENTS: [&str; 3] = ["t0", "t1", "t2"];
const ACTIONS: [(&str, i32); 4] = [("interaction", 10_000), ("rating", 30_000), ("up", 400_000), ("down", -600_000)];

/// Test station `number`; making an id from its key each time would take most of this test's time.
fn station(number: u8) -> StationId {
    static STATIONS_BY_NUMBER: LazyLock<Vec<StationId>> = LazyLock::new(|| (0..=LIAR).map(testing::station).collect());
    STATIONS_BY_NUMBER[usize::from(number)]
}

struct World<'a> {
    rules: Arc<Rules>,
    ledger: Ledger<MemoryStore>,
    store: MemoryStore,
    on_the_way: Vec<Transition>,
    /// Every batch of every log ever signed, and who signs the next one.
    logs: BTreeMap<StationId, Vec<VerifiedBatch>>,
    authors: BTreeMap<(u8, bool), Author>,
    blocks: BTreeMap<BlockHash, VerifiedBlock>,
    /// In the order in which they were made.
    made: Vec<BlockHash>,
    waiting: Vec<BlockHash>,
    delivered: BTreeSet<BlockHash>,
    /// How many batches of each log the ledger has had in its pool or on its chain.
    seen: BTreeMap<StationId, u64>,
    /// The head that was last replayed from genesis, and the state that followed.
    replayed: RefCell<(BlockHash, Writes)>,
    totals: &'a RefCell<Totals>,
}

impl<'a> World<'a> {
    fn new(rules: &Arc<Rules>, totals: &'a RefCell<Totals>) -> Self {
        let store = MemoryStore::default();
        let own = own_log(rules, OWN);
        let ledger = Ledger::open(Arc::clone(rules), store.clone(), own, [], [], [], at(0)).expect("an empty store");
        let mut authors: BTreeMap<(u8, bool), Author> =
            STATIONS.map(|number| ((number, false), Author::new(rules, number))).collect();
        let mut logs: BTreeMap<StationId, Vec<VerifiedBatch>> = BTreeMap::new();
        for ((number, _), author) in &mut authors {
            if *number != OWN {
                logs.insert(station(*number), vec![author.batch(at(0), records(usize::from(*number)))]);
            }
        }
        authors.insert((LIAR, true), authors[&(LIAR, false)].clone());
        Self {
            rules: Arc::clone(rules),
            ledger,
            store,
            on_the_way: Vec::new(),
            logs,
            authors,
            blocks: BTreeMap::new(),
            made: Vec::new(),
            waiting: Vec::new(),
            delivered: BTreeSet::new(),
            seen: BTreeMap::new(),
            replayed: RefCell::new((rules.genesis_hash(), Writes::new())),
            totals,
        }
    }

    /// The blocks from genesis (not included) to `tip`.
    fn path(&self, tip: &BlockHash) -> Vec<&VerifiedBlock> {
        let parent = |block: &&VerifiedBlock| self.blocks.get(&block.header().previous);
        let mut path: Vec<_> = std::iter::successors(self.blocks.get(tip), parent).collect();
        path.reverse();
        path
    }

    /// What follows from a branch; `None` where a block of it is not valid on it.
    fn branch(&self, tip: &BlockHash) -> Option<Branch> {
        let genesis = self.rules.genesis().header().timestamp.as_millis();
        let mut branch = Branch { times: vec![genesis], batches: vec![0], ..Branch::default() };
        for block in self.path(tip) {
            if !branch.accepts(&self.rules, block) {
                return None;
            }
            branch.push(&self.rules, block);
        }
        Some(branch)
    }

    /// The tip of the longest valid chain among all that was delivered.
    fn best(&self) -> BlockHash {
        let valid = self.delivered.iter().filter(|hash| self.branch(hash).is_some());
        let preference = |hash: &&BlockHash| {
            let block = &self.blocks[*hash];
            let rank = self.rules.rank(&block.header().previous, &block.header().producer);
            (std::cmp::Reverse(self.path(hash).len()), rank, **hash)
        };
        valid.min_by_key(preference).copied().unwrap_or(self.rules.genesis_hash())
    }

    /// Some records, and now and then the proof that the liar signed two logs, if it has.
    fn records(&self, salt: usize) -> Vec<Record> {
        let log = &self.logs[&station(LIAR)];
        let pair = log.iter().zip(log.iter().skip(1)).find(|(one, other)| one.sequence() == other.sequence());
        let proof = pair.filter(|_| salt.is_multiple_of(3)).map(|(one, other)| proof(&self.rules, one, other));
        let about = station(LIAR - u8::from(salt % 4 < 2));
        let word = match salt / 4 % 4 {
            0 | 1 => Some(admits(about)),
            2 => Some(expels(about)),
            _ => None,
        };
        let word = word.filter(|_| self.rules.has_roster());
        records(salt).into_iter().chain(proof).chain(word).collect()
    }

    /// The batch of a log that follows `end`, signed now if need be; of the liar's two logs the one asked for.
    fn next_batch(&mut self, who: u8, second: bool, end: (u64, BatchId)) -> Option<VerifiedBatch> {
        let signed = self.logs.get(&station(who)).map_or(0, Vec::len);
        let records = self.records(signed * 7 + usize::from(who) + usize::from(second));
        let log = self.logs.entry(station(who)).or_default();
        let follows = |it: &&VerifiedBatch| (it.sequence().get(), it.header().previous) == end;
        let known: Vec<&VerifiedBatch> = log.iter().filter(follows).collect();
        let found = known.get(usize::from(second)).or(known.first()).map(|batch| (*batch).clone());
        let author = self.authors.get_mut(&(who, second && who == LIAR)).filter(|_| who != OWN);
        match (author, found) {
            (Some(author), found) if (author.end().next.get(), author.end().last) == end => {
                if let Some(found) = found.filter(|_| !second) {
                    return Some(found);
                }
                let batch = author.batch(at(0), records);
                log.push(batch.clone());
                Some(batch)
            }
            (_, found) => found,
        }
    }

    fn make(&mut self, parent: BlockHash, producer: u8, others: &[(u8, bool)], fault: Fault) -> BlockHash {
        // A block on an invalid one is made as if there were none.
        let branch = self.branch(&parent).unwrap_or_else(|| self.branch(&self.rules.genesis_hash()).expect("genesis"));
        // Strangers would make most blocks invalid.
        let may = |who: u8| fault == Fault::Stranger || branch.admits(&self.rules, &station(who)).0;
        let producer = if may(producer) { producer } else { OWN + 1 };
        let others: Vec<(u8, bool)> = others.iter().copied().filter(|(who, _)| may(*who)).collect();
        let who = station(producer);
        let mut logs = branch.logs.clone();
        let mut body = Vec::new();
        if !branch.reveals.contains_key(&who) && fault != Fault::NoIntroduction {
            body.push(self.logs[&who][0].clone());
            logs.insert(who, (1, body[0].id()));
        }
        for (number, second) in others {
            let end = logs.get(&station(number)).copied().unwrap_or((0, BatchId::ZERO));
            let Some(batch) = self.next_batch(number, second, end) else { continue };
            logs.insert(station(number), (end.0 + 1, batch.id()));
            body.push(batch);
        }
        match fault {
            Fault::Gap if body.len() > 1 => drop(body.remove(body.len() / 2)),
            Fault::Repeat => body.extend(body.first().cloned().or_else(|| self.logs[&who].first().cloned())),
            Fault::Empty => body.clear(),
            _ => {}
        }
        let height = self.blocks.get(&parent).map_or(Height::ZERO, VerifiedBlock::index);
        let produced = branch.produced.get(&who).copied().unwrap_or(0) + u64::from(fault == Fault::Reveal);
        let millis =
            branch.median() - at(0).as_millis() + i64::from(fault != Fault::Old) * (1 + self.made.len() as i64 % 7);
        let block = self.authors[&(producer, false)].block((height, parent), produced, at(millis), body);
        let hash = block.hash();
        if self.blocks.insert(hash, block).is_none() {
            self.made.push(hash);
            self.waiting.push(hash);
        }
        hash
    }

    fn deliver(&mut self, pick: usize, count: usize) -> Result<(), TestCaseError> {
        let mut group: Vec<BlockHash> = Vec::new();
        for _ in 0..count {
            let is_known = |parent: &BlockHash| *parent == self.rules.genesis_hash() || self.delivered.contains(parent);
            let parent = |hash: &BlockHash| self.blocks[hash].header().previous;
            let ready: Vec<usize> = (0..self.waiting.len())
                .filter(|at| is_known(&parent(&self.waiting[*at])) || group.contains(&parent(&self.waiting[*at])))
                .collect();
            let Some(at) = ready.get(pick % ready.len().max(1)) else { break };
            group.push(self.waiting.remove(*at));
        }
        let blocks: Vec<VerifiedBlock> = group.iter().map(|hash| self.blocks[hash].clone()).collect();
        let outcome = self.ledger.add_blocks(blocks, at(NOW)).expect("memory can be read");
        let was_refused = outcome.refused.is_some();
        self.take_in(outcome)?;
        if was_refused {
            self.totals.borrow_mut().refused += 1;
            // What stood before the refused one is in; which one that was, each block says when it comes alone.
            for hash in &group {
                let block = self.blocks[hash].clone();
                let outcome = self.ledger.add_blocks(vec![block], at(NOW)).expect("memory can be read");
                self.take_in(outcome)?;
            }
        }
        self.delivered.extend(group);
        self.check()
    }

    fn take_in(&mut self, outcome: BlocksOutcome) -> Result<(), TestCaseError> {
        self.totals.borrow_mut().left_out += outcome.left_out.len();
        for transition in outcome.transitions {
            let mut totals = self.totals.borrow_mut();
            totals.blocks += transition.connected.len();
            totals.deep += usize::from(transition.reverted.len() >= 2);
            totals.replaced += usize::from(transition.replaces_state);
            let (first, undone) = (transition.connected.first(), transition.reverted.last());
            if let (Some((first, _)), Some(undone)) = (first, undone) {
                prop_assert_eq!(first.header().previous, self.blocks[undone].header().previous, "both on the fork");
            }
            for batch in transition.connected.iter().flat_map(|(block, _)| block.batches()) {
                let seen = self.seen.entry(batch.station()).or_default();
                *seen = (*seen).max(batch.sequence().get() + 1);
            }
            drop(totals);
            self.on_the_way.push(transition);
        }
        for batch in &outcome.left_out {
            let seen = self.seen.entry(batch.station()).or_default();
            *seen = (*seen).min(batch.sequence().get());
        }
        Ok(())
    }

    fn commit(&mut self) {
        for transition in self.on_the_way.drain(..) {
            self.store.apply(&transition);
            self.ledger.committed(transition.number);
        }
    }

    fn reopen(&mut self) {
        self.commit();
        let headers = |hashes: Vec<BlockHash>| -> Vec<_> {
            hashes.iter().map(|hash| (*hash, self.blocks[hash].header().clone())).collect()
        };
        let chain = self.ledger.chain();
        let best: Vec<BlockHash> = (1..=chain.height().get()).filter_map(|it| chain.at(Height::new(it))).collect();
        let is_side = |hash: &&BlockHash| chain.contains(hash) && !chain.is_best(hash);
        let side: Vec<BlockHash> = self.made.iter().filter(is_side).copied().collect();
        let own: Vec<VerifiedBatch> = self.ledger.pool().log_from(&station(OWN), Sequence::ZERO).cloned().collect();
        let (rules, store) = (Arc::clone(&self.rules), self.store.clone());
        let opened = Ledger::open(rules, store, own_log(&self.rules, OWN), headers(best), headers(side), own, at(NOW));
        self.ledger = opened.expect("memory can be read");
        // The pool of others' batches is in memory only.
        let logs = self.branch(&self.ledger.chain().head()).expect("the head is valid").logs;
        self.seen.retain(|who, _| *who == station(OWN));
        self.seen.extend(logs.into_iter().filter(|(who, _)| *who != station(OWN)).map(|(who, (next, _))| (who, next)));
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Make { parent, length, producer, others, fault } => {
                let newest = self.made.len().checked_sub(1 + parent).map(|at| self.made[at]);
                let mut parent = newest.unwrap_or(self.rules.genesis_hash());
                for number in 0..length {
                    // Each block of the run has something to carry.
                    let others: Vec<(u8, bool)> = others.iter().copied().chain([(producer, false)]).collect();
                    parent = self.make(parent, producer, &others, if number == 0 { fault } else { Fault::None });
                }
                Ok(())
            }
            Step::Deliver { pick, count } => self.deliver(pick, count),
            Step::Offer { who } => {
                let end = self.ledger.log_end(&station(who)).expect("memory can be read");
                let Some(batch) = self.next_batch(who, false, (end.next.get(), end.last)) else { return Ok(()) };
                let outcome = self.ledger.add_batch(batch.signed().clone(), at(NOW)).expect("memory can be read");
                let branch = self.branch(&self.ledger.chain().head()).expect("the head is valid");
                if !branch.admits(&self.rules, &station(who)).0 {
                    prop_assert_eq!(outcome, BatchOutcome::NotAdmitted);
                    self.totals.borrow_mut().strangers += 1;
                    return self.check();
                }
                prop_assert!(matches!(outcome, BatchOutcome::Added { .. }), "{outcome:?}");
                self.seen.insert(station(who), end.next.get() + 1);
                self.check()
            }
            Step::Sign { salt } => {
                let transition = self.ledger.sign(self.records(salt), at(0)).expect("memory can be read");
                self.signed(transition);
                self.check()
            }
            Step::Mine => {
                let (introduced, template) = self.ledger.template(at(0)).expect("memory can be read");
                self.signed(introduced);
                let Ok(template) = template else { return self.check() };
                let header = solve(&self.rules, &template);
                let (block, outcome) = self.ledger.mined(template, header, at(NOW)).expect("memory can be read");
                prop_assert_eq!(&outcome.refused, &None);
                let block = block.expect("our own block is valid");
                self.made.push(block.hash());
                self.delivered.insert(block.hash());
                self.blocks.insert(block.hash(), block);
                self.take_in(outcome)?;
                self.check()
            }
            Step::Commit => {
                self.commit();
                self.check()
            }
            Step::ForgetUndo => {
                self.commit();
                self.made.iter().for_each(|hash| self.store.forget_undo(hash));
                Ok(())
            }
            Step::Reopen => {
                self.reopen();
                self.check()
            }
        }
    }

    fn signed(&mut self, transition: Option<Transition>) {
        if let Some(transition) = transition {
            let log = self.logs.entry(station(OWN)).or_default();
            log.extend(transition.own_batches.iter().cloned());
            self.seen.insert(station(OWN), log.len() as u64);
            self.on_the_way.push(transition);
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        for proof in self.ledger.take_proofs().expect("memory can be read") {
            prop_assert_eq!((proof.station(), proof.check(&self.rules)), (station(LIAR), Ok(())));
            self.totals.borrow_mut().found += 1;
        }
        let head = self.best();
        prop_assert_eq!(self.ledger.chain().head(), head);
        let path = self.path(&head);
        prop_assert_eq!(self.ledger.chain().height().get(), path.len() as u64);
        let state = self.ledger.chain_state().expect("memory can be read");
        prop_assert_eq!((state.head, state.height.get()), (head, path.len() as u64));
        let genesis = *self.rules.genesis_hash().as_bytes();
        let draw = path.iter().fold(genesis, |draw, block| self.rules.draw(&draw, &block.header().reveal));
        prop_assert_eq!(state.draw, draw);
        self.check_pool(&head)?;
        let batches: Vec<&VerifiedBatch> = path.iter().flat_map(|block| block.batches()).collect();
        let all = Fold::of(batches.iter().copied());
        let records: usize = batches.iter().map(|batch| batch.records().len()).sum();
        let counts = (state.records, state.users, state.contents);
        prop_assert_eq!(counts, (records as u64, all.users.len() as u64, all.contents.len() as u64));
        self.check_ledger_part(&all)?;
        self.check_datasets(&all)?;
        self.check_proofs(&all, batches.iter().map(|batch| batch.station()).collect())?;
        let own = |who: u8| Fold::of(batches.iter().copied().filter(move |batch| batch.station() == station(who)));
        self.check_opinions(&STATIONS.map(|who| (station(who), own(who))).collect(), &all)?;
        if self.on_the_way.is_empty() {
            let mut replayed = self.replayed.borrow_mut();
            if replayed.0 != head {
                let mut replay = Verifier::from_genesis(&self.rules);
                for block in path {
                    prop_assert_eq!(replay.next(block.to_signed()), Ok(block.clone()));
                }
                *replayed = (head, replay.state().clone());
            }
            prop_assert_eq!(&self.store.state(), &replayed.1, "the state is that of a replay");
        }
        Ok(())
    }

    /// Each log's rest waits, without a hole, up to the newest batch that was ever here.
    fn check_pool(&self, head: &BlockHash) -> Result<(), TestCaseError> {
        let branch = self.branch(head).expect("the head is valid");
        for number in STATIONS {
            let who = station(number);
            let (next, last) = branch.logs.get(&who).copied().unwrap_or((0, BatchId::ZERO));
            let state = station_state(self.ledger.read(), &who).expect("memory can be read");
            let found = state.as_ref().map_or((0, BatchId::ZERO, 0), |it| (it.next.get(), it.last, it.produced));
            prop_assert_eq!(found, (next, last, branch.produced.get(&who).copied().unwrap_or(0)));
            let waiting: Vec<&VerifiedBatch> = self.ledger.pool().log_from(&who, Sequence::ZERO).collect();
            let mut end = (next, last);
            for batch in &waiting {
                prop_assert_eq!((batch.sequence().get(), batch.header().previous), end, "linked, without a hole");
                end = (end.0 + 1, batch.id());
            }
            let (is_admitted, is_vouched) = branch.admits(&self.rules, &who);
            prop_assert_eq!(self.ledger.is_admitted(&who), Ok(is_admitted));
            prop_assert_eq!(state::is_vouched(&self.rules, self.ledger.read(), &who), Ok(is_vouched));
            prop_assert!(is_admitted || waiting.is_empty(), "nothing waits of who is not admitted");
            self.totals.borrow_mut().vouched += usize::from(is_vouched && number >= LIAR - 1);
            if number != LIAR {
                let seen = self.seen.get(&who).copied().unwrap_or(0);
                prop_assert_eq!(end.0, seen.max(next), "no batch is lost");
                self.totals.borrow_mut().returned += waiting.len();
            }
        }
        Ok(())
    }

    fn check_ledger_part(&self, all: &Fold) -> Result<(), TestCaseError> {
        let trust = Trust::new(&self.rules, self.ledger.read());
        let millionths = |score: Score| i64::from(score.millionths());
        for user in USERS {
            let user = Id::new(user).expect("an id");
            let found = trust.user(&user, []).expect("memory can be read");
            let expected = all.users.get(&user).copied().unwrap_or((500_000, 0));
            prop_assert_eq!((millionths(found.score), found.actions), expected);
            prop_assert_eq!(found.score, found.confirmed_score);
        }
        for creator in CREATORS {
            let creator = Id::new(creator).expect("an id");
            let found = trust.creator(&creator, []).expect("memory can be read");
            let expected = all.creator(&creator).unwrap_or((0, 500_000, 0));
            prop_assert_eq!((found.contents, millionths(found.score), found.evidence), expected);
            for content in CONTENTS {
                let content = Id::new(content).expect("an id");
                let subject = Subject::Content { creator_id: creator.clone(), content_id: content.clone() };
                let found = trust.content(&subject, []).expect("memory can be read");
                let expected = all.contents.get(&(creator.clone(), content));
                let score = expected.map_or(500_000, Content::score);
                let counts = expected.map_or((0, 0), |it| (it.verifications, it.reports));
                let initial = expected.and_then(|it| it.initial).unwrap_or(500_000);
                prop_assert_eq!(millionths(found.score), score);
                prop_assert_eq!((found.verifications as i64, found.reports as i64), counts);
                prop_assert_eq!(millionths(found.initial_score), initial);
                let added = found.added.map(|(who, place)| (who, (place.sequence.get(), place.index)));
                prop_assert_eq!(added, expected.and_then(|it| it.adder.zip(it.newest)));
                prop_assert_eq!(found.times.is_some(), expected.is_some());
            }
        }
        Ok(())
    }

    /// The first proof against each station stands; those that are asked are counted.
    fn check_proofs(&self, all: &Fold, heard_of: BTreeSet<StationId>) -> Result<(), TestCaseError> {
        let read = self.ledger.read();
        for who in STATIONS.map(station) {
            let found = equivocation(read, &who).expect("memory can be read").map(|place| {
                let author = station_id(read, place.station).expect("memory can be read");
                (author, place.sequence.get(), place.index)
            });
            prop_assert_eq!(found, all.equivocators.get(&who).copied());
        }
        let counted = all.equivocators.keys().filter(|who| heard_of.contains(who)).count();
        prop_assert_eq!(equivocators(read).expect("memory can be read") as usize, counted);
        let mut totals = self.totals.borrow_mut();
        totals.proven += usize::from(all.proofs > 0);
        totals.proven_again += usize::from(all.proofs > 1);
        Ok(())
    }

    fn check_opinions(&self, folds: &BTreeMap<StationId, Fold>, all: &Fold) -> Result<(), TestCaseError> {
        let subjects = CREATORS.iter().flat_map(|creator| {
            let id = |text: &str| Id::new(text).expect("an id");
            let contents = CONTENTS.iter();
            let content = move |it: &&'static str| Subject::Content { creator_id: id(creator), content_id: id(it) };
            contents.map(content).chain([Subject::Creator(id(creator))])
        });
        let users = USERS.iter().map(|user| Subject::User(Id::new(*user).expect("an id")));
        for subject in subjects.chain(users) {
            let of_fold = |fold: &Fold| -> Option<(i64, u64)> {
                match &subject {
                    Subject::User(user) => fold.users.get(user).copied(),
                    Subject::Content { creator_id, content_id } => {
                        let content = fold.contents.get(&(creator_id.clone(), content_id.clone()))?;
                        Some((content.score(), content.evidence() as u64))
                    }
                    Subject::Creator(creator) => fold.creator(creator).map(|(_, score, evidence)| (score, evidence)),
                    Subject::Dataset(_) => unreachable!("not among the subjects"),
                }
            };
            let shown = |it: &Opinion| (i64::from(it.score.millionths()), it.evidence);
            let mut expected: BTreeMap<StationId, (i64, u64)> =
                folds.iter().filter_map(|(who, fold)| Some((*who, of_fold(fold)?))).collect();
            let unheard: Vec<StationId> =
                expected.extract_if(.., |who, _| all.equivocators.contains_key(who)).map(|(who, _)| who).collect();
            let found = opinions(&self.rules, self.ledger.read(), &subject).expect("memory can be read");
            let heard: BTreeMap<StationId, (i64, u64)> = found.heard.iter().map(|it| (it.station, shown(it))).collect();
            prop_assert_eq!((&heard, &found.equivocators), (&expected, &unheard), "{:?}", subject);
            for who in folds.keys() {
                let one = opinion_of(self.ledger.read(), &subject, who).expect("memory can be read");
                prop_assert_eq!(one.as_ref().map(shown), expected.get(who).copied());
            }
        }
        Ok(())
    }
}

/// Runs many cases under these rules, with the guide's actions and some more; what happened.
fn run(admission: Admission, founders: u8) -> Totals {
    let rules = rules_with(|parameters| {
        parameters.admission = admission;
        (2..=founders).for_each(|number| parameters.add_founder(station(number), None));
        for (action, delta) in ACTIONS {
            let delta = Delta::from_millionths(delta).expect("in range");
            parameters.set_action(Id::new(action).expect("an id"), delta);
        }
    });
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let totals = RefCell::new(Totals::default());
    let ran = runner.run(&vec(step(), 10..60), |steps| {
        let mut world = World::new(&rules, &totals);
        for step in steps {
            world.step(step)?;
        }
        while !world.waiting.is_empty() {
            world.deliver(0, 1)?;
        }
        world.commit();
        world.check()
    });
    ran.expect("the model and the ledger agree");
    let totals = totals.into_inner();
    println!("{totals:?}");
    totals
}

#[test]
fn the_ledger_is_the_longest_valid_chain_and_its_state_a_replay() {
    let totals = run(Admission::Open, 1);
    let enough = totals.blocks > 3_000 && totals.refused > 500 && totals.deep > 300 && totals.replaced > 100;
    let proofs =
        totals.found > 30 && totals.proven > 100 && totals.proven_again > 50 && totals.found_of_datasets > 1_000;
    assert!(enough && proofs && totals.returned > 1_000, "too little happened: {totals:?}");
}

#[test]
fn the_same_where_founders_admit_and_expel_others_on_some_branches() {
    let totals = run(Admission::Roster, 3);
    let enough = totals.blocks > 3_000 && totals.refused > 500 && totals.deep > 300 && totals.replaced > 100;
    let moved = totals.left_out > 50 && totals.strangers > 100 && totals.vouched > 500;
    assert!(enough && moved && totals.returned > 1_000, "too little happened: {totals:?}");
}

#[test]
fn a_block_that_the_store_gives_back_is_the_one_that_was_connected() {
    let rules = rules_with(|_| {});
    let totals = RefCell::new(Totals::default());
    let mut world = World::new(&rules, &totals);
    let hash = world.make(rules.genesis_hash(), 2, &[(3, false)], Fault::None);
    world.deliver(0, 1).expect("the model and the ledger agree");
    world.commit();
    assert_eq!(world.store.block(&hash), Ok(Some(world.blocks[&hash].clone())));
}
