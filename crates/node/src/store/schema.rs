//! What lies where: the kinds of the journal's entries, the keys and values of the view.
//!
//! Nothing here is hashed, signed or sent, so the view's part may change: it is rebuilt from the journal.

use qfzz_ledger_core::block::SealedHeader;
use qfzz_ledger_core::codec::{CodecError, Decode, Encode, decode, encode};
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, Id, Sequence, StationId};
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::state::{Key, Undo, Value};

use super::frame::MAX_ENTRY_BYTES;
use super::journal::Place;
use super::view::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// The federation's id, 32 bytes: the journal's first entry.
pub(super) const FEDERATION_ENTRY: u8 = 1;
/// A batch that this station signed, encoded.
pub(super) const OWN_BATCH_ENTRY: u8 = 2;
/// A batch of a connected block that was not in the journal before, encoded.
pub(super) const BATCH_ENTRY: u8 = 3;
/// A block that was connected: a [`BlockEntry`].
pub(super) const BLOCK_ENTRY: u8 = 4;

/// The federation's encoded genesis: the journal's second entry, so that the file beside it may be lost.
pub(super) const GENESIS_ENTRY: u8 = 5;

/// The block of the best chain at a height: a [`Link`].
pub(super) const HEIGHT: u8 = 1;
/// A block that was connected at some time, by hash: a [`BlockAt`]. Those off the best chain stay until dropped.
pub(super) const BLOCK: u8 = 2;
/// 64 batches of a station's log on the best chain: a [`Vec`] of [`Logged`].
pub(super) const LOG: u8 = 3;
/// This station's batches that are not on the best chain, by sequence: an [`Own`].
pub(super) const OWN: u8 = 4;
/// Undo data of a block on the best chain, by height, in chunks.
pub(super) const UNDO: u8 = 5;
/// The trust state.
pub(super) const STATE: u8 = 6;

/// Batches of a log that share one value: 64 take 3.3 KiB.
pub(super) const LOG_CHUNK: u64 = 64;

/// Bytes of one encoded entry of undo data, at most: a key and a value of the trust state.
const MAX_UNDO_ENTRY_BYTES: usize = 2 * MAX_VALUE_BYTES;

/// A connected block in the journal: its header and where its batches lie, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockEntry {
    pub(super) sealed: SealedHeader,
    pub(super) batches: Vec<(Place, BatchId)>,
}

/// A block of the best chain, so that headers are read without the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) hash: BlockHash,
    pub(super) sealed: SealedHeader,
}

/// Where a block's entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockAt {
    pub(super) height: Height,
    pub(super) place: Place,
}

/// A batch of a station's log on the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) place: Place,
    pub(super) id: BatchId,
    /// The height of the block that holds it.
    pub(super) height: Height,
}

/// A batch of this station that is not on the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) place: Place,
    pub(super) id: BatchId,
}

type RawPlace = (u32, u32, u32);

const fn raw(place: Place) -> RawPlace {
    (place.file, place.offset, place.length)
}

const fn place((file, offset, length): RawPlace) -> Place {
    Place { file, offset, length }
}

fn value<T: Encode + Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    decode(bytes, MAX_VALUE_BYTES)
}

impl BlockEntry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let batches: Vec<(RawPlace, BatchId)> = self.batches.iter().map(|(place, id)| (raw(*place), *id)).collect();
        encode(&(&self.sealed, batches))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (sealed, batches): (SealedHeader, Vec<(RawPlace, BatchId)>) = decode(bytes, MAX_ENTRY_BYTES as usize)?;
        Ok(Self { sealed, batches: batches.into_iter().map(|(at, id)| (place(at), id)).collect() })
    }
}

impl Link {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(&(self.hash, &self.sealed))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        value(bytes).map(|(hash, sealed)| Self { hash, sealed })
    }
}

impl BlockAt {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(&(self.height, raw(self.place)))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        value(bytes).map(|(height, at)| Self { height, place: place(at) })
    }
}

impl Own {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode(&(raw(self.place), self.id))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        value(bytes).map(|(at, id)| Self { place: place(at), id })
    }
}

pub(super) fn encode_log(chunk: &[Logged]) -> Vec<u8> {
    let entries: Vec<(RawPlace, BatchId, Height)> = chunk.iter().map(|it| (raw(it.place), it.id, it.height)).collect();
    encode(&entries)
}

pub(super) fn decode_log(bytes: &[u8]) -> Result<Vec<Logged>, CodecError> {
    let entries: Vec<(RawPlace, BatchId, Height)> = value(bytes)?;
    Ok(entries.into_iter().map(|(at, id, height)| Logged { place: place(at), id, height }).collect())
}

/// Undo data as chunks that fit values. Each entry has its length before it, so that none of them needs all in memory.
pub(super) fn encode_undo(undo: &Undo) -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    for entry in undo {
        let bytes = encode(&entry);
        stream.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        stream.extend_from_slice(&bytes);
    }
    stream.chunks(MAX_VALUE_BYTES).map(<[u8]>::to_vec).collect()
}

/// Undo data from its chunks put together.
pub(super) fn decode_undo(mut stream: &[u8]) -> Result<Undo, CodecError> {
    let mut undo = Undo::new();
    while !stream.is_empty() {
        let (length, rest) = stream.split_first_chunk().ok_or(CodecError::Malformed)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| CodecError::Malformed)?;
        let (bytes, rest) = rest.split_at_checked(length).ok_or(CodecError::Malformed)?;
        let (key, value): (Key, Option<Value>) = decode(bytes, MAX_UNDO_ENTRY_BYTES)?;
        undo.insert(key, value);
        stream = rest;
    }
    Ok(undo)
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(super) fn height_key(height: Height) -> Vec<u8> {
    key(HEIGHT, &[&height.get().to_be_bytes()])
}

pub(super) fn block_key(hash: &BlockHash) -> Vec<u8> {
    key(BLOCK, &[hash.as_bytes()])
}

pub(super) fn log_key(station: &StationId, sequence: Sequence) -> Vec<u8> {
    key(LOG, &[station.as_bytes(), &(sequence.get() / LOG_CHUNK).to_be_bytes()])
}

/// Where a batch stands in its chunk of the log.
pub(super) fn log_index(sequence: Sequence) -> usize {
    (sequence.get() % LOG_CHUNK) as usize
}

pub(super) fn own_key(sequence: Sequence) -> Vec<u8> {
    key(OWN, &[&sequence.get().to_be_bytes()])
}

/// The sequence in a key made by [`own_key`].
pub(super) fn sequence_of_own_key(key: &[u8]) -> Option<Sequence> {
    key.split_first().and_then(|(_, sequence)| sequence.try_into().ok()).map(u64::from_be_bytes).map(Sequence::new)
}

pub(super) fn undo_prefix(height: Height) -> Vec<u8> {
    key(UNDO, &[&height.get().to_be_bytes()])
}

pub(super) fn undo_key(height: Height, chunk: u32) -> Vec<u8> {
    key(UNDO, &[&height.get().to_be_bytes(), &chunk.to_be_bytes()])
}

pub(super) fn state_key(state: &Key) -> Vec<u8> {
    key(STATE, &[&encode(state)])
}

/// The first key of a subject in the trust state, and the end of such keys.
pub(super) fn subject_keys() -> (Vec<u8>, Vec<u8>) {
    let any = Subject::User(Id::new("x").expect("an id"));
    let tag = encode(&Key::Subject(any, 0))[..4].to_vec();
    let first = key(STATE, &[&tag]);
    let end = after(&first);
    (first, end)
}

/// The key of the trust state in a key made by [`state_key`].
pub(super) fn decode_state_key(bytes: &[u8]) -> Result<Key, CodecError> {
    let (_, encoded) = bytes.split_first().ok_or(CodecError::Malformed)?;
    decode(encoded, MAX_KEY_BYTES)
}

pub(super) fn encode_state(state: &Value) -> Vec<u8> {
    encode(state)
}

pub(super) fn decode_state(bytes: &[u8]) -> Result<Value, CodecError> {
    value(bytes)
}

/// The hash in a key made by [`block_key`].
pub(super) fn hash_of_block_key(key: &[u8]) -> Option<BlockHash> {
    key.split_first().and_then(|(_, hash)| hash.try_into().ok()).map(BlockHash::from_bytes)
}

/// The smallest key above all that start with `prefix`, whose last byte is below 255.
pub(super) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}
