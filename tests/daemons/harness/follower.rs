//! The chain of a daemon followed by the library alone, from its export: whom its blocks draw to check which records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::{SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::codec::decode;
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::RecordId;
use qfzz_ledger_core::state::{Audit, Writes, station_id};
use qfzz_ledger_core::testing::{Blocks, connect};
use serde_json::Value;

use super::{Daemon, rules_of};

/// Bytes of an encoded header, at most: far above any.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// A record that a station was drawn to check.
#[derive(Clone, Debug)]
pub struct Duty {
    /// Who is to check it.
    pub juror: String,
    /// The record's id.
    pub record_id: String,
    /// The record, as a block shows it.
    pub record: Value,
}

/// What a chain comes to, computed beside the daemons.
///
/// It follows a chain that only grows.
pub struct Follower {
    rules: Arc<Rules>,
    state: Writes,
    blocks: Blocks,
    /// The records of the chain, as they are shown, by their ids.
    records: BTreeMap<String, Value>,
    next: usize,
}

impl Follower {
    /// Follows the chain of the federation that `daemon` belongs to, from genesis.
    ///
    /// # Panics
    /// If it belongs to none.
    pub fn new(daemon: &Daemon) -> Self {
        let (rules, state, blocks) = (rules_of(daemon), Writes::new(), Blocks::default());
        Self { rules, state, blocks, records: BTreeMap::new(), next: 1 }
    }

    /// Connects the blocks of `daemon` that are new, and tells whom they draw, in order.
    ///
    /// # Panics
    /// If a block does not follow those before it.
    pub fn follow(&mut self, daemon: &Daemon) -> Vec<Duty> {
        let exported = daemon.api().get("/v1/chain/export");
        let mut duties = Vec::new();
        for shown in exported.as_array().expect("an array").iter().skip(self.next) {
            let block = block_of(&self.rules, shown);
            let made = connect(&self.rules, &self.state, &self.blocks, &block);
            let made = made.unwrap_or_else(|error| panic!("{} exports {shown}: {error}", daemon.name()));
            for (key, value) in made.writes {
                match value {
                    Some(value) => self.state.insert(key, Some(value)),
                    None => self.state.remove(&key),
                };
            }
            for record in shown["records"].as_array().expect("an array") {
                self.records.insert(text(record, "record_id"), record.clone());
            }
            self.blocks.add(block);
            self.next += 1;
            duties.extend(made.audits.iter().flat_map(|audit| self.duties(audit)));
        }
        duties
    }

    /// A record that was drawn, once for each juror.
    fn duties(&self, audit: &Audit) -> Vec<Duty> {
        let station = station_id(&self.state, audit.place.station).expect("it wrote a record");
        let id = RecordId { station, sequence: audit.place.sequence, index: audit.place.index }.to_string();
        let record = &self.records[&id];
        let duty = |juror: String| Duty { juror, record_id: id.clone(), record: record.clone() };
        audit.jurors.iter().map(|juror| duty(juror.to_string())).collect()
    }
}

fn block_of(rules: &Rules, shown: &Value) -> VerifiedBlock {
    let header = decode(&bytes(&shown["header"]), MAX_HEADER_BYTES).expect("a header");
    let seal = Signature::from_bytes(bytes(&shown["seal"]));
    let batches = shown["batches"].as_array().expect("an array").iter();
    let batches = batches.map(|batch| SignedBatch::decode(&bytes(batch)).expect("a batch")).collect();
    let block = SignedBlock { sealed: SealedHeader { header, seal }, batches };
    block.verify(rules, &HashMap::new()).expect("a valid block")
}

fn bytes(hex_digits: &Value) -> Vec<u8> {
    hex::decode(hex_digits.as_str().expect("hex digits")).expect("hex digits")
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is a text: {value}")).to_owned()
}
