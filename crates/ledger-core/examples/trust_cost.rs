//! What keeping the sums of global trust costs when a block is connected: the same records where founders said nothing
//! about their subjects and where they did, in one run.
//!
//! `cargo run --release -p qfzz-ledger-core --features testing --example trust_cost`

use std::time::Duration;

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::Height;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::Writes;
use qfzz_ledger_core::testing::{Author, Blocks, at, connect, rules_with, station, verified};

/// Stations beside the founders, each with four full batches in the measured block.
const STATIONS: u8 = 10;
const BATCHES: usize = 4;
const RECORDS: usize = 256;
const RUNS: usize = 40;

/// A state, and a block on it.
struct Measured {
    rules: std::sync::Arc<Rules>,
    state: Writes,
    past: Blocks,
    block: VerifiedBlock,
    shortest: Duration,
}

impl Measured {
    /// `speaking` of the founders have spoken of every subject of the block.
    fn new(founders: u8, speaking: u8, subjects: usize) -> Self {
        let rules =
            rules_with(|parameters| (2..=founders).for_each(|number| parameters.add_founder(station(number), None)));
        let mut authors: Vec<Author> = (1..=founders + STATIONS).map(|number| Author::new(&rules, number)).collect();
        let about = |number: usize| -> Record { verified(&format!("track {number}"), "maker") };
        let (mut state, mut past) = (Writes::new(), Blocks::default());
        let (mut parent, mut made) = ((Height::ZERO, rules.genesis_hash()), 0);
        let mut push = |said: Vec<(usize, Vec<Record>)>| {
            let now = at(made as i64 + 1);
            let sign = |(who, records): (usize, Vec<Record>)| authors[who].batch_seeing(parent.1, now, records);
            let body = said.into_iter().map(sign).collect();
            let block = authors[0].block(parent, made, now, body);
            let before = state.clone();
            state.extend(connect(&rules, &state, &past, &block).expect("it fits").writes);
            parent = (block.header().index, block.hash());
            past.add(block.clone());
            made += 1;
            (before, block)
        };
        let all = usize::from(STATIONS) * BATCHES * RECORDS;
        let subjects = subjects.min(all);
        let of = |who: usize, batch: usize| {
            let first = (who * BATCHES + batch) * RECORDS;
            (first..first + RECORDS).map(|number| about(number % subjects)).collect::<Vec<_>>()
        };
        let body = || {
            let strangers = (0..usize::from(STATIONS)).flat_map(|who| (0..BATCHES).map(move |batch| (who, batch)));
            strangers.map(|(who, batch)| (usize::from(founders) + who, of(who, batch))).collect()
        };
        // Everybody has spoken of everything before a founder does, so every pair counts.
        push(vec![(0, vec![about(all)])]);
        push(body());
        for who in 0..usize::from(speaking) {
            for first in (0..subjects).step_by(8 * RECORDS) {
                let batches = (first..subjects.min(first + 8 * RECORDS)).step_by(RECORDS);
                let records = |at: usize| (at..subjects.min(at + RECORDS)).map(about).collect();
                push(batches.map(|at| (who, records(at))).collect());
            }
        }
        let (state, block) = push(body());
        Self { rules, state, past, block, shortest: Duration::MAX }
    }

    fn run(&mut self) {
        let start = on_processor();
        connect(&self.rules, &self.state, &self.past, &self.block).expect("it fits");
        self.shortest = self.shortest.min(on_processor().saturating_sub(start));
    }
}

/// How long this thread ran so far: on a busy machine the clock on the wall says little. Linux only.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanos = text.split(' ').next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

fn main() {
    for (what, subjects) in [("each record has its own subject", usize::MAX), ("512 subjects", 512)] {
        for founders in [1, 3, 5] {
            let [mut without, mut with] = [0, founders].map(|speaking| Measured::new(founders, speaking, subjects));
            for _ in 0..RUNS {
                without.run();
                with.run();
            }
            let (without, with) = (without.shortest, with.shortest);
            let more = 100.0 * (with.as_secs_f64() / without.as_secs_f64() - 1.0);
            println!("{what}, {founders} founders: {without:.1?} without their word, {with:.1?} with it: {more:+.1} %");
        }
    }
}
