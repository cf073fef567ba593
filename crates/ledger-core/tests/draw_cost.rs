//! What a draw reads of the state.

use std::cell::RefCell;
use std::collections::BTreeMap;

use qfzz_ledger_core::ids::Height;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::state::{Key, ReadError, StateRead, Value, Writes};
use qfzz_ledger_core::testing::{Author, Blocks, at, connect, interaction, rules_with, station, verified};

/// Founders, who all may judge.
const FOUNDERS: u8 = 8;

/// A state that counts how often each subject's opinions are read.
struct Counting<'a> {
    state: &'a Writes,
    reads: RefCell<BTreeMap<Key, usize>>,
}

impl StateRead for Counting<'_> {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        if matches!(key, Key::Subject(_, 1..)) {
            *self.reads.borrow_mut().entry(key.clone()).or_default() += 1;
        }
        StateRead::get(self.state, key)
    }
}

#[test]
fn a_draw_reads_what_was_said_of_a_subject_once_for_each_record_about_it() {
    let rules = rules_with(|parameters| (2..=FOUNDERS).for_each(|it| parameters.add_founder(station(it), None)));
    let mut authors: Vec<Author> = (1..=FOUNDERS).map(|number| Author::new(&rules, number)).collect();
    // Everybody speaks of every track: nobody can be drawn to check any of these records, and each is considered.
    let tracks = || (0..20).map(|track| verified(&format!("track {track}"), "maker")).collect();
    let body = authors.iter_mut().map(|author| author.batch(at(1), tracks())).collect();
    let parent = authors[0].block((Height::ZERO, rules.genesis_hash()), 0, at(1), body);
    let (mut state, mut past) = (Writes::new(), Blocks::default());
    state.extend(connect(&rules, &state, &past, &parent).expect("it fits").writes);
    past.add(parent.clone());

    let other = vec![authors[0].batch(at(2), vec![interaction("user")])];
    let block = authors[0].block((parent.header().index, parent.hash()), 1, at(2), other);
    let counting = Counting { state: &state, reads: RefCell::default() };
    let connected = qfzz_ledger_core::state::connect(&rules, &counting, &past, &block).expect("it fits");
    assert_eq!(connected.audits, [], "all have spoken");
    let is_track = |key: &&Key| matches!(key.judged_subject(), Some(Subject::Content { .. }));
    let reads = counting.reads.into_inner();
    let of_tracks: Vec<usize> = reads.keys().filter(is_track).map(|key| reads[key]).collect();
    assert_eq!(of_tracks, [usize::from(FOUNDERS); 20]);
}
