//! Global trust: what a question costs at a small and at a large ledger, and what keeping its sums costs a block.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Id, Name};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::own_log::OwnLog;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::reveal::RevealChain;
use qfzz_ledger_core::state::{BlockRead, ReadError, Writes, connect};
use qfzz_node::store::{DiskStore, LedgerStore, StoreReader};
use qfzz_sync::global_trust::{Policy, PolicyWeights, get_global_trust, policy_weights};
use serde_json::json;

use crate::history::History;
use crate::report::Report;
use crate::samples::{self, Draw, FULL};
use crate::timing::Latencies;

/// How large the ledgers are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Records of the small ledger.
    pub small: usize,
    /// Records of the large one.
    pub large: usize,
    /// Questions to each, under each policy.
    pub questions: usize,
    /// How often the block is connected whose sums are weighed.
    pub blocks: u32,
}

/// Stations, who all speak of every subject: no question has more opinions to read.
const STATIONS: u8 = 50;

/// Of those, founders.
const FOUNDERS: u8 = 3;

/// Questions, then sums.
///
/// # Errors
/// Where the disk fails.
pub fn trust(report: &mut Report, sizes: Sizes, dir: &Path) -> Result<()> {
    questions(report, sizes, dir)?;
    sums(report, sizes.blocks)
}

/// A ledger on disk, as a node reads it.
struct Filled {
    ledger: Ledger<StoreReader>,
    subjects: u64,
    records: u64,
}

impl Filled {
    fn new(dir: &Path, records: usize) -> Result<Self> {
        let mut history = History::new(FOUNDERS, STATIONS)?;
        let (rules, key) = (Arc::clone(history.rules()), history.key(0).clone());
        let now = samples::at()?.saturating_add(86_400_000);
        let (mut store, _) = DiskStore::open(dir, Arc::clone(&rules), key.station())?;
        let reveals = RevealChain::new(&rules.federation(), &key.station(), [0; 32], 1);
        let own = OwnLog::new(key, Name::default(), reveals);
        let mut ledger = Ledger::open(rules, store.reader(), own, [], [], [], now)?;
        let subjects = records / usize::from(STATIONS);
        let of_stripe = |first: usize| {
            (first..subjects.min(first + FULL)).map(|number| samples::record(number, subjects)).collect::<Result<_>>()
        };
        let stripes: Vec<usize> = (0..subjects).step_by(FULL).collect();
        // Founders speak of what others have spoken of before, so that every pair of opinions counts.
        for at in 0..=stripes.len() {
            let founders = at.checked_sub(1).map(|before| stripes[before]).into_iter();
            let founders = founders.flat_map(|first| (0..usize::from(FOUNDERS)).map(move |who| (who, first)));
            let others = stripes.get(at).into_iter();
            let others = others.flat_map(|first| (FOUNDERS..STATIONS).map(move |who| (usize::from(who), *first)));
            let mut said =
                founders.chain(others).map(|(who, first)| Ok((who, of_stripe(first)?))).collect::<Result<Vec<_>>>()?;
            if at == 0 {
                said.insert(0, (0, Vec::new()));
            }
            let outcome = ledger.add_blocks(vec![history.block(said)?], now)?;
            ensure!(outcome.refused.is_none(), "a block of the sample is refused: {:?}", outcome.refused);
            store.commit(&outcome.transitions)?;
            ledger.committed(outcome.transitions.last().context("it was connected")?.number);
        }
        let records = ledger.chain_state()?.records;
        Ok(Self { ledger, subjects: subjects as u64, records })
    }

    fn weights(&self, policy: Policy) -> Result<(PolicyWeights, Duration)> {
        let start = Instant::now();
        let weights = policy_weights(self.ledger.rules(), self.ledger.read(), policy)?;
        Ok((weights, start.elapsed()))
    }

    /// Asks about one subject.
    fn ask(&self, weights: &PolicyWeights, subject: &Subject) -> Result<Duration> {
        let start = Instant::now();
        let answer = get_global_trust(self.ledger.rules(), self.ledger.read(), weights, subject, None)?;
        let elapsed = start.elapsed();
        ensure!(answer.voices.len() == usize::from(STATIONS), "all have spoken of it: {answer:?}");
        Ok(elapsed)
    }
}

/// Questions by turns at the small and the large ledger, as a node's worker asks them once it has the head's weights.
fn questions(report: &mut Report, sizes: Sizes, dir: &Path) -> Result<()> {
    let start = Instant::now();
    let ledgers =
        [Filled::new(&dir.join("small-trust"), sizes.small)?, Filled::new(&dir.join("large-trust"), sizes.large)?];
    eprintln!("  ledgers made within {:.1} s", start.elapsed().as_secs_f64());
    let mut draw = Draw::new(7);
    let mut figures = BTreeMap::new();
    for policy in Policy::ALL {
        let weights = [ledgers[0].weights(policy)?, ledgers[1].weights(policy)?];
        let mut latencies = [Latencies::default(), Latencies::default()];
        for _ in 0..sizes.questions {
            for ((filled, (weights, _)), latencies) in ledgers.iter().zip(&weights).zip(&mut latencies) {
                let user = draw.below(filled.subjects);
                latencies.push(filled.ask(weights, &Subject::User(Id::new(format!("user-{user:07}"))?))?);
            }
        }
        let shown = |at: usize| {
            let (latencies, (_, weighing)) = (&latencies[at], &weights[at]);
            json!({
                "records": ledgers[at].records, "p50_ms": latencies.at(0.5), "p99_ms": latencies.at(0.99),
                "weights_ms": weighing.as_secs_f64() * 1_000.0,
            })
        };
        figures.insert(policy.as_str(), json!({ "small": shown(0), "large": shown(1) }));
        if policy == Policy::default() {
            let [small, large] = latencies.each_ref().map(|latencies| latencies.at(0.99));
            report.at_most("trust_question", "a question at the large ledger, p99, in ms", large, 1.0);
            report.at_most("trust_growth", "the same, of one at the small ledger", large / small, 1.5);
        }
    }
    report.figure("trust", json!(figures));
    Ok(())
}

/// Blocks by hash.
struct Past(HashMap<BlockHash, VerifiedBlock>);

impl BlockRead for Past {
    fn past_block(&self, hash: &BlockHash) -> Result<VerifiedBlock, ReadError> {
        self.0.get(hash).cloned().ok_or(ReadError::Damaged { what: "a block" })
    }
}

/// A state, and a full block on it.
struct OneBlock {
    rules: Arc<Rules>,
    state: Writes,
    past: Past,
    block: VerifiedBlock,
    shortest: Duration,
}

impl OneBlock {
    /// Stations that are no founders, each with four full batches in the block.
    const OTHERS: u8 = 10;
    const BATCHES: usize = 4;

    /// The first `speaking` of the founders have spoken of every subject of the block.
    fn new(speaking: usize, subjects: usize) -> Result<Self> {
        let mut history = History::new(FOUNDERS, FOUNDERS + Self::OTHERS)?;
        let rules = Arc::clone(history.rules());
        let (mut state, mut past) = (Writes::new(), Past(HashMap::new()));
        let about = |first: usize| {
            (first..first + FULL).map(|number| samples::record(number, subjects)).collect::<Result<Vec<_>>>()
        };
        let body = || {
            let batches = (0..usize::from(Self::OTHERS) * Self::BATCHES)
                .map(|number| Ok((usize::from(FOUNDERS) + number / Self::BATCHES, about(number * FULL)?)));
            batches.collect::<Result<Vec<_>>>()
        };
        let mut add = |state: &mut Writes, block: VerifiedBlock| -> Result<()> {
            state.extend(connect(&rules, state, &past, &block)?.writes);
            past.0.insert(block.hash(), block);
            Ok(())
        };
        // Everybody has spoken of everything before a founder does, so every pair counts.
        add(&mut state, history.block(vec![(0, Vec::new())])?)?;
        add(&mut state, history.block(body()?)?)?;
        for who in 0..speaking {
            for first in (0..subjects).step_by(8 * FULL) {
                let batches = (first..subjects.min(first + 8 * FULL)).step_by(FULL);
                let said = batches.map(|at| Ok((who, about(at)?))).collect::<Result<Vec<_>>>()?;
                add(&mut state, history.block(said)?)?;
            }
        }
        // A block draws jurors among its parent's records: here are none, so that no draw is weighed.
        add(&mut state, history.block(vec![(0, vec![samples::idle_record()?])])?)?;
        let block = history.block(body()?)?;
        Ok(Self { rules, state, past, block, shortest: Duration::MAX })
    }

    fn run(&mut self) -> Result<()> {
        let start = Instant::now();
        black_box(connect(&self.rules, &self.state, &self.past, &self.block)?);
        self.shortest = self.shortest.min(start.elapsed());
        Ok(())
    }
}

/// Connecting one block where the founders were silent, so that there is nothing to sum, and where all have spoken.
fn sums(report: &mut Report, runs: u32) -> Result<()> {
    let subjects = usize::from(OneBlock::OTHERS) * OneBlock::BATCHES * FULL;
    let mut blocks = [OneBlock::new(0, subjects)?, OneBlock::new(usize::from(FOUNDERS), subjects)?];
    for _ in 0..runs {
        blocks.iter_mut().try_for_each(OneBlock::run)?;
    }
    let [without, with] = blocks.map(|block| block.shortest.as_secs_f64() * 1_000.0);
    report.figure("trust_sums", json!({ "records": subjects, "without_ms": without, "with_ms": with }));
    report.at_most("trust_sums", "connecting a block that changes sums, of one that changes none", with / without, 1.2);
    Ok(())
}
