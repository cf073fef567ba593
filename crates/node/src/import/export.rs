//! The blocks of our own export: every one verified from its bytes, and what is shown beside the bytes compared.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use qfzz_ledger_core::batch::{BatchError, SignedBatch};
use qfzz_ledger_core::block::{BlockError, SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::codec::{CodecError, decode};
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::federation::{Genesis, GenesisError, Rules};
use qfzz_ledger_core::header::BlockHeader;
use qfzz_ledger_core::ids::{BlockHash, Height};
use qfzz_ledger_core::ledger::BlockRefusal;
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::api::block::{Block, SeenBatch, exported};
use crate::legacy::elements::{ElementError, Elements};

/// Bytes of one block in JSON, at most. A body of 1 MiB has some 48,000 records, each shown in some 500 bytes.
const MAX_BLOCK_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of JSON that are verified together, about: enough to keep all cores busy.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of an encoded header and of a seal, at most: far above both.
const MAX_SMALL_BYTES: usize = 8 * 1024;

/// The first block of an export that is wrong. The whole file is refused with it.
#[derive(Debug, thiserror::Error)]
#[error("block {block}: {reason}")]
pub(crate) struct ExportFault {
    /// Its place in the file, from 0.
    pub(crate) block: u64,
    /// What is wrong with it.
    pub(crate) reason: ExportReason,
}

/// What is wrong with a block of an export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportReason {
    #[error(transparent)]
    Element(#[from] ElementError),
    #[error("it is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the file holds no block: give a file that was exported")]
    Empty,
    #[error("it has no `{member}` in hex digits")]
    Missing { member: &'static str },
    #[error("its `{member}` cannot be read: {error}")]
    Encoding { member: &'static str, error: CodecError },
    #[error("its parameters are no genesis: {0}")]
    Genesis(#[from] GenesisError),
    #[error("its header is not that of the genesis which its parameters make")]
    NotGenesis,
    #[error("its index is {found}")]
    Index { found: Height },
    #[error("its batch {index} cannot be read: {error}")]
    Batch { index: usize, error: BatchError },
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error(transparent)]
    Refused(#[from] BlockRefusal),
    #[error("its `{member}` is not what its bytes say: it was changed after it was exported")]
    Shown { member: String },
}

/// Whether the array in `input` begins as our own export does.
pub(crate) fn is_export(input: impl BufRead) -> bool {
    let Ok(Some(first)) = Elements::new(input, MAX_BLOCK_BYTES).next_element() else { return false };
    serde_json::from_slice::<Map<String, Value>>(&first)
        .is_ok_and(|members| members.contains_key("header") || members.contains_key("genesis"))
}

/// An export, while it is read.
pub(crate) struct Export<R> {
    elements: Elements<R>,
    rules: Arc<Rules>,
    heights: HashMap<BlockHash, Height>,
    /// The first block that is wrong, until those before it are returned.
    fault: Option<ExportFault>,
}

impl<R: BufRead> Export<R> {
    /// Reads block 0, which holds the federation's parameters.
    ///
    /// # Errors
    /// [`ExportFault`].
    pub(crate) fn open(input: R) -> Result<Self, ExportFault> {
        let mut elements = Elements::new(input, MAX_BLOCK_BYTES);
        let rules = genesis(&mut elements).map_err(|reason| ExportFault { block: 0, reason })?;
        let heights = HashMap::from([(rules.genesis_hash(), Height::ZERO)]);
        Ok(Self { elements, rules: Arc::new(rules), heights, fault: None })
    }

    /// The federation's rules.
    pub(crate) const fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The next blocks, each verified by itself; none behind the last one. Whether they make a chain is for a ledger to
    /// say.
    ///
    /// # Errors
    /// [`ExportFault`] with the first block that is wrong, once those before it were returned.
    pub(crate) fn next_group(&mut self) -> Result<Vec<VerifiedBlock>, ExportFault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let first = self.elements.index();
        let (mut group, mut bytes) = (Vec::new(), 0);
        while bytes < GROUP_BYTES && self.fault.is_none() {
            match self.elements.next_element() {
                Ok(Some(element)) => {
                    bytes += element.len();
                    group.push(element);
                }
                Ok(None) => break,
                Err(error) => self.fault = Some(ExportFault { block: self.elements.index(), reason: error.into() }),
            }
        }
        let rules = &self.rules;
        let places = group.into_par_iter().enumerate().map(|(offset, json)| (first + offset as u64, json));
        let verified = places.map(|(place, json)| (place, verify(rules, &json, place))).collect();
        let verified = good(verified, &mut self.fault);
        self.heights.extend(verified.iter().map(|(_, (_, block))| (block.hash(), block.index())));
        let heights = &self.heights;
        let compared = verified.into_par_iter().map(|(place, (members, block))| {
            let same = compare(rules, heights, &members, &block);
            (place, same.map(|()| block))
        });
        let blocks: Vec<_> = good(compared.collect(), &mut self.fault).into_iter().map(|(_, block)| block).collect();
        match self.fault.take() {
            Some(fault) if blocks.is_empty() => Err(fault),
            fault => {
                self.fault = fault;
                Ok(blocks)
            }
        }
    }
}

/// What is good before the first that is not, which becomes the `fault`.
fn good<T>(results: Vec<(u64, Result<T, ExportReason>)>, fault: &mut Option<ExportFault>) -> Vec<(u64, T)> {
    let mut good = Vec::with_capacity(results.len());
    for (block, result) in results {
        match result {
            Ok(value) => good.push((block, value)),
            Err(reason) => {
                *fault = Some(ExportFault { block, reason });
                break;
            }
        }
    }
    good
}

/// Bytes that stand as hex digits in a member.
fn bytes_of(members: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, ExportReason> {
    let text = members.get(member).and_then(Value::as_str);
    text.and_then(|text| hex::decode(text).ok()).ok_or(ExportReason::Missing { member })
}

fn sealed(members: &Map<String, Value>) -> Result<SealedHeader, ExportReason> {
    let header: BlockHeader = decode(&bytes_of(members, "header")?, MAX_SMALL_BYTES)
        .map_err(|error| ExportReason::Encoding { member: "header", error })?;
    Ok(SealedHeader { header, seal: Signature::from_bytes(bytes_of(members, "seal")?) })
}

fn genesis<R: BufRead>(elements: &mut Elements<R>) -> Result<Rules, ExportReason> {
    let json = elements.next_element()?.ok_or(ExportReason::Empty)?;
    let members: Map<String, Value> = serde_json::from_slice(&json)?;
    let genesis = Genesis::decode(&bytes_of(&members, "genesis")?)
        .map_err(|error| ExportReason::Encoding { member: "genesis", error })?;
    let rules = Rules::new(genesis)?;
    let sealed = sealed(&members)?;
    if sealed != SealedHeader::genesis(&rules) {
        return Err(ExportReason::NotGenesis);
    }
    let block = Block { hash: rules.genesis_hash(), sealed, batches: Vec::new() };
    same(&members, &exported(&block, &rules)?)?;
    Ok(rules)
}

fn verify(rules: &Rules, json: &[u8], place: u64) -> Result<(Map<String, Value>, VerifiedBlock), ExportReason> {
    let mut members: Map<String, Value> = serde_json::from_slice(json)?;
    let sealed = sealed(&members)?;
    if sealed.header.index != Height::new(place) {
        return Err(ExportReason::Index { found: sealed.header.index });
    }
    // They are the larger half, and compared by being read.
    let texts = match members.remove("batches") {
        Some(Value::Array(texts)) => texts,
        _ => return Err(ExportReason::Missing { member: "batches" }),
    };
    let mut batches = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let bytes = text.as_str().and_then(|text| hex::decode(text).ok());
        let bytes = bytes.ok_or(ExportReason::Missing { member: "batches" })?;
        batches.push(SignedBatch::decode(&bytes).map_err(|error| ExportReason::Batch { index, error })?);
    }
    Ok((members, SignedBlock { sealed, batches }.verify(rules, &HashMap::new())?))
}

/// Compares what a block shows with what its bytes say.
fn compare(
    rules: &Rules,
    heights: &HashMap<BlockHash, Height>,
    members: &Map<String, Value>,
    block: &VerifiedBlock,
) -> Result<(), ExportReason> {
    let seen = |batch: &qfzz_ledger_core::batch::VerifiedBatch| heights.get(&batch.header().seen).copied();
    let batches = block.batches().iter().map(|batch| SeenBatch { seen: seen(batch), batch: batch.clone() });
    let shown = Block { hash: block.hash(), sealed: block.sealed().clone(), batches: batches.collect() };
    same(members, &exported(&shown, rules)?)
}

/// Whether each member that a block shows, of those that are known, is as it should be. An older version showed fewer.
fn same(members: &Map<String, Value>, expected: &Map<String, Value>) -> Result<(), ExportReason> {
    let differs =
        |(member, value): &(&String, &Value)| expected.get(*member).is_some_and(|expected| expected != *value);
    match members.iter().find(differs) {
        Some((member, _)) => Err(ExportReason::Shown { member: member.clone() }),
        None => Ok(()),
    }
}
