//! Connecting a block: the rules that need the parent's state, and the fold of its records.

use std::collections::HashSet;

use super::{
    Audit, BlockRead, PendingRecord, ReadError, Scratch, Standing, StateRead, Undo, Writes, expected_key_hash, standing,
};
use crate::batch::{BatchHeader, VerifiedBatch};
use crate::block::VerifiedBlock;
use crate::federation::Rules;
use crate::ids::{BatchId, BlockHash, Sequence, StationId};
use crate::reveal::RevealStep;
use crate::severity::Severity;

/// What connecting a block changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The new values.
    pub writes: Writes,
    /// What takes them back.
    pub undo: Undo,
    /// Whom the block draws to check which of its parent's records.
    pub audits: Vec<Audit>,
}

/// Why a block does not fit its parent's state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The state on disk is not that of the block's parent.
    #[error("block {block} does not follow {head}, which the state stands for")]
    Parent {
        /// The block.
        block: BlockHash,
        /// Where the state stands.
        head: BlockHash,
    },
    /// Rules 5 and 7: the producer, or a batch's author, is not admitted by the state after the parent.
    #[error("block {block}: {station} is not admitted to the federation")]
    NotAdmitted {
        /// The block.
        block: BlockHash,
        /// Who is not.
        station: StationId,
    },
    /// Rule 5: the producer is not introduced before this block, nor by its first batch.
    #[error("block {block}: producer {producer} has not introduced itself")]
    Introduction {
        /// The block.
        block: BlockHash,
        /// Its producer.
        producer: StationId,
    },
    /// Rule 5: the reveal does not open the producer's last one.
    #[error("block {block}: the reveal does not open the last one of {producer}")]
    Reveal {
        /// The block.
        block: BlockHash,
        /// Its producer.
        producer: StationId,
    },
    /// Rule 5: the ML-DSA part of the seal is not the producer's. The block's hash does not cover the seal: another one
    /// may be good.
    #[error("block {block}: the ML-DSA part of its seal is not its producer's")]
    Seal {
        /// The block.
        block: BlockHash,
        /// Its producer.
        producer: StationId,
    },
    /// Rule 7: the ML-DSA part of a batch's signature is not of the key that its log was introduced with.
    #[error("block {block}: the ML-DSA signature of batch {station}.{sequence} does not verify")]
    Signature {
        /// The block.
        block: BlockHash,
        /// The batch's author.
        station: StationId,
        /// The batch's number.
        sequence: Sequence,
    },
    /// Rule 7: a station introduces itself with another ML-DSA key than its admission names.
    #[error("block {block}: {station} introduces itself with another ML-DSA key than it was admitted with")]
    KeyHash {
        /// The block.
        block: BlockHash,
        /// The station.
        station: StationId,
    },
    /// Rule 7: a batch is not the next of its station's log on this branch.
    #[error("block {block}: batch {station}.{sequence} does not follow {expected} of its station's log")]
    NotNext {
        /// The block.
        block: BlockHash,
        /// The batch's author.
        station: StationId,
        /// The batch's number.
        sequence: Sequence,
        /// The number expected.
        expected: Sequence,
    },
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl ConnectError {
    /// Who is at fault.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::NotAdmitted { .. }
            | Self::Introduction { .. }
            | Self::Reveal { .. }
            | Self::Seal { .. }
            | Self::Signature { .. }
            | Self::KeyHash { .. }
            | Self::NotNext { .. } => Severity::Peer,
            Self::Parent { .. } | Self::Read(_) => Severity::Fatal,
        }
    }
}

/// Connects `block` to the state of its parent: the admissions of rules 5 and 7, the reveal of rule 5, the order of rule
/// 7, under `hybrid` the ML-DSA parts of seal and signatures, then the fold of its records in chain order, batch order,
/// record order; what that changes of global trust's sums; and whom the block draws to check its parent's records, which
/// `past` has.
///
/// # Errors
/// [`ConnectError`]; nothing was changed.
pub fn connect(
    rules: &Rules,
    read: &impl StateRead,
    past: &impl BlockRead,
    block: &VerifiedBlock,
) -> Result<Connected, ConnectError> {
    let mut scratch = Scratch::new(rules, read)?;
    let (hash, header) = (block.hash(), block.header());
    if scratch.chain().head != header.previous {
        return Err(ConnectError::Parent { block: hash, head: scratch.chain().head });
    }
    check_admission(rules, read, block)?;
    check_reveal(rules, &mut scratch, block)?;
    check_seal(rules, &mut scratch, block)?;
    for batch in block.batches() {
        append_to_log(&mut scratch, hash, batch)?;
        if rules.is_hybrid() {
            check_signature(rules, read, &mut scratch, hash, batch)?;
        }
        for (index, record) in (0..).zip(batch.records()) {
            scratch.apply(PendingRecord { batch: batch.header(), index, record })?;
        }
    }
    let mut producer = scratch.station_or_new(&header.producer)?;
    producer.produced += 1;
    producer.reveal = header.reveal;
    scratch.set_station(&header.producer, producer)?;
    let chain = scratch.chain_mut();
    chain.draw = rules.draw(&chain.draw, &header.reveal);
    (chain.height, chain.head) = (header.index, hash);
    scratch.set_height(hash, header.index)?;
    scratch.settle()?;
    let audits = scratch.draw(rules, past, block)?;
    let (writes, undo) = scratch.finish();
    Ok(Connected { writes, undo, audits })
}

/// Rules 5 and 7: the producer and the authors of all batches are admitted by the state after the parent, whatever the
/// block itself says of them.
fn check_admission(rules: &Rules, read: &impl StateRead, block: &VerifiedBlock) -> Result<(), ConnectError> {
    if !rules.has_roster() {
        return Ok(());
    }
    let mut seen = HashSet::new();
    let authors = block.batches().iter().map(VerifiedBatch::station);
    for station in std::iter::once(block.header().producer).chain(authors) {
        if seen.insert(station) && standing(rules, read, &station)? != Standing::Admitted {
            return Err(ConnectError::NotAdmitted { block: block.hash(), station });
        }
    }
    Ok(())
}

/// Rule 5: the reveal opens the producer's last one, or the commitment of the introduction in the first batch.
fn check_reveal<R: StateRead>(
    rules: &Rules,
    scratch: &mut Scratch<'_, R>,
    block: &VerifiedBlock,
) -> Result<(), ConnectError> {
    let header = block.header();
    let (hash, producer) = (block.hash(), header.producer);
    let last = match scratch.station(&producer)? {
        Some(state) => state.reveal,
        None => {
            let introduction = block.producer_introduction().and_then(|it| it.introduction.as_ref());
            introduction.ok_or(ConnectError::Introduction { block: hash, producer })?.reveal_commitment
        }
    };
    if RevealStep::new(&rules.federation(), &producer).of(&header.reveal) != last {
        return Err(ConnectError::Reveal { block: hash, producer });
    }
    Ok(())
}

/// Rule 5: the ML-DSA part of the seal is of the key that the producer introduced itself with, before this block or in
/// its first batch.
fn check_seal<R: StateRead>(
    rules: &Rules,
    scratch: &mut Scratch<'_, R>,
    block: &VerifiedBlock,
) -> Result<(), ConnectError> {
    if !rules.is_hybrid() {
        return Ok(());
    }
    let (hash, producer) = (block.hash(), block.header().producer);
    let introduced = || block.producer_introduction().and_then(BatchHeader::introduced_key);
    let key = scratch.ml_dsa_key(&producer)?.or_else(introduced);
    if key.is_some_and(|key| block.is_sealed_under(rules, &key)) {
        return Ok(());
    }
    Err(ConnectError::Seal { block: hash, producer })
}

/// Rule 7 under `hybrid`, for a batch that is the next of its log: an introduction holds the key that is expected of its
/// station, if one is; the signature of a later batch is of the key in the introduction.
fn check_signature<R: StateRead>(
    rules: &Rules,
    parent: &R,
    scratch: &mut Scratch<'_, R>,
    block: BlockHash,
    batch: &VerifiedBatch,
) -> Result<(), ConnectError> {
    let (station, sequence) = batch.signed().place();
    let key = match batch.introduced_key() {
        Some(key) => {
            // As with admission itself, what the block says of the station does not count yet.
            if expected_key_hash(rules, parent, &station)?.is_some_and(|expected| key.hash() != expected) {
                return Err(ConnectError::KeyHash { block, station });
            }
            scratch.set_ml_dsa_key(&station, &key)?;
            Some(key)
        }
        None => scratch.ml_dsa_key(&station)?,
    };
    if key.is_some_and(|key| batch.is_signed_under(rules, &key)) {
        return Ok(());
    }
    Err(ConnectError::Signature { block, station, sequence })
}

/// Rule 7: the batch is the next of its station's log on this branch.
fn append_to_log<R: StateRead>(
    scratch: &mut Scratch<'_, R>,
    block: BlockHash,
    batch: &VerifiedBatch,
) -> Result<(), ConnectError> {
    let (station, sequence) = batch.signed().place();
    let known = scratch.station(&station)?;
    let (expected, previous) = known.map_or((Sequence::ZERO, BatchId::ZERO), |state| (state.next, state.last));
    if sequence != expected || batch.header().previous != previous {
        return Err(ConnectError::NotNext { block, station, sequence, expected });
    }
    let Some(next) = sequence.next() else {
        return Err(ConnectError::NotNext { block, station, sequence, expected });
    };
    let mut state = scratch.station_or_new(&station)?;
    if let Some(introduction) = &batch.header().introduction {
        state.name = introduction.name.clone();
        state.reveal = introduction.reveal_commitment;
    }
    (state.next, state.last) = (next, batch.id());
    state.records += batch.records().len() as u64;
    let number = state.number;
    scratch.set_station(&station, state)?;
    scratch.note_batch(number, sequence, block)?;
    Ok(())
}
