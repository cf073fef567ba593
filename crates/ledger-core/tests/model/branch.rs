//! What a branch means for the next block, recomputed from its blocks.

use std::collections::BTreeMap;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::{Admission, Rules};
use qfzz_ledger_core::ids::{BatchId, StationId};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::reveal::RevealStep;

/// Logs, reveals and times at the end of a branch.
#[derive(Default)]
pub(crate) struct Branch {
    pub(crate) logs: BTreeMap<StationId, (u64, BatchId)>,
    pub(crate) reveals: BTreeMap<StationId, [u8; 32]>,
    pub(crate) produced: BTreeMap<StationId, u64>,
    pub(crate) times: Vec<i64>,
    pub(crate) batches: Vec<usize>,
    /// What founders said: who, of whom, and whether it admits.
    pub(crate) words: Vec<(StationId, StationId, bool)>,
}

impl Branch {
    pub(crate) fn median(&self) -> i64 {
        let mut last: Vec<i64> = self.times.iter().rev().take(11).copied().collect();
        last.sort_unstable();
        last[last.len() / 2]
    }

    /// Whether a station may take part after this branch, and whether it is vouched.
    pub(crate) fn admits(&self, rules: &Rules, who: &StationId) -> (bool, bool) {
        let founders = rules.parameters().founders.len();
        if rules.parameters().admission == Admission::Open {
            return (true, false);
        }
        if rules.is_founder(who) {
            return (true, true);
        }
        let (mut is_admitted, mut was_expelled) = (false, false);
        let mut newest: BTreeMap<StationId, bool> = BTreeMap::new();
        for (founder, _, admits) in self.words.iter().filter(|(_, about, _)| about == who) {
            newest.insert(*founder, *admits);
            let count = |word: bool| newest.values().filter(|it| **it == word).count();
            if is_admitted && 2 * count(false) > founders {
                (is_admitted, was_expelled) = (false, true);
                newest.clear();
            } else if !is_admitted && count(true) > if was_expelled { founders / 2 } else { 0 } {
                is_admitted = true;
                newest.retain(|_, admits| *admits);
            }
        }
        let admitting = newest.values().filter(|admits| **admits).count();
        (is_admitted, is_admitted && admitting >= founders.min(2))
    }

    /// Rules 3 to 7 as far as they need ancestors.
    pub(crate) fn accepts(&self, rules: &Rules, block: &VerifiedBlock) -> bool {
        let header = block.header();
        let is_fresh = header.timestamp.as_millis() > self.median();
        let is_needed = !block.batches().is_empty() || self.batches.iter().rev().take(4).any(|count| *count > 0);
        let commitment = || {
            let first = block.batches().first().filter(|first| first.station() == header.producer)?;
            first.header().introduction.as_ref().map(|introduction| introduction.reveal_commitment)
        };
        let opened = RevealStep::new(&rules.federation(), &header.producer).of(&header.reveal);
        let last = self.reveals.get(&header.producer).copied().or_else(commitment);
        let mut logs = self.logs.clone();
        let in_order = block.batches().iter().all(|batch| {
            let (next, last) = logs.get(&batch.station()).copied().unwrap_or((0, BatchId::ZERO));
            logs.insert(batch.station(), (next + 1, batch.id()));
            (batch.sequence().get(), batch.header().previous) == (next, last)
        });
        let mut who = block.batches().iter().map(VerifiedBatch::station).chain([header.producer]);
        let are_admitted = who.all(|station| self.admits(rules, &station).0);
        are_admitted
            && header.index.get() == self.times.len() as u64
            && is_fresh
            && is_needed
            && last == Some(opened)
            && in_order
    }

    pub(crate) fn push(&mut self, rules: &Rules, block: &VerifiedBlock) {
        for batch in block.batches().iter().filter(|batch| rules.is_founder(&batch.station())) {
            self.words.extend(batch.records().iter().filter_map(|record| match record {
                Record::StationAdmitted(it) => Some((batch.station(), it.station, true)),
                Record::StationExpelled(it) => Some((batch.station(), it.station, false)),
                _ => None,
            }));
        }
        for batch in block.batches() {
            self.logs.insert(batch.station(), (batch.sequence().get() + 1, batch.id()));
            if let Some(introduction) = &batch.header().introduction {
                self.reveals.insert(batch.station(), introduction.reveal_commitment);
            }
        }
        self.reveals.insert(block.header().producer, block.header().reveal);
        *self.produced.entry(block.header().producer).or_default() += 1;
        self.times.push(block.header().timestamp.as_millis());
        self.batches.push(block.batches().len());
    }
}
