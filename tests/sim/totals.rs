//! What a run, or many, amounted to.

use std::collections::BTreeMap;
use std::fmt;

/// Counts over runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) seeds: u64,
    pub(crate) stations: u64,
    pub(crate) virtual_ms: i64,
    /// Gossiped messages, requests and answers that were sent.
    pub(crate) messages: u64,
    /// Those that never came.
    pub(crate) lost: u64,
    /// Those that came twice.
    pub(crate) duplicated: u64,
    /// Reorganisations by the number of blocks reverted, at each station that went through one.
    pub(crate) reorganisations: BTreeMap<u64, u64>,
    pub(crate) blocks: u64,
    pub(crate) crashes: u64,
    /// Crashes after which something that had been written was gone.
    pub(crate) crashes_with_loss: u64,
    pub(crate) partitions: u64,
    /// Stations that signed a place twice, and were proven to.
    pub(crate) equivocations: u64,
    /// Records that prove it.
    pub(crate) proofs: u64,
    pub(crate) syncs: u64,
    /// Records that were acknowledged.
    pub(crate) records: u64,
    /// The longest that a federation took to agree after the faults, in virtual milliseconds.
    pub(crate) longest_settling_ms: i64,
}

impl Totals {
    /// Adds the counts of another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.stations += other.stations;
        self.virtual_ms += other.virtual_ms;
        self.messages += other.messages;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        for (depth, count) in &other.reorganisations {
            *self.reorganisations.entry(*depth).or_default() += count;
        }
        self.blocks += other.blocks;
        self.crashes += other.crashes;
        self.crashes_with_loss += other.crashes_with_loss;
        self.partitions += other.partitions;
        self.equivocations += other.equivocations;
        self.proofs += other.proofs;
        self.syncs += other.syncs;
        self.records += other.records;
        self.longest_settling_ms = self.longest_settling_ms.max(other.longest_settling_ms);
    }

    /// Reorganisations that reverted at least `depth` blocks.
    pub(crate) fn reorganisations_from(&self, depth: u64) -> u64 {
        self.reorganisations.range(depth..).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<34} {value}");
        row("seeds", self.seeds.to_string())?;
        row("stations", self.stations.to_string())?;
        row("virtual seconds", (self.virtual_ms / 1_000).to_string())?;
        row("messages", self.messages.to_string())?;
        row("  lost", self.lost.to_string())?;
        row("  duplicated", self.duplicated.to_string())?;
        row("syncs", self.syncs.to_string())?;
        row("blocks on the final chains", self.blocks.to_string())?;
        row("records acknowledged", self.records.to_string())?;
        row("partitions", self.partitions.to_string())?;
        row("equivocations", self.equivocations.to_string())?;
        row("  records that prove them", self.proofs.to_string())?;
        row("crashes", self.crashes.to_string())?;
        row("  that lost unsynced writes", self.crashes_with_loss.to_string())?;
        row("reorganisations of depth 2 or more", self.reorganisations_from(2).to_string())?;
        for (depth, count) in &self.reorganisations {
            row(&format!("  of depth {depth}"), count.to_string())?;
        }
        row("longest settling, virtual seconds", (self.longest_settling_ms / 1_000).to_string())
    }
}
