//! A commit to the view as a row of batches, each of which sled writes whole or not at all.
//!
//! Up to [`BATCH_KEYS`] keys are one batch. More of them first go to redo chunks, then a marker is set, then the values
//! are written; the last batch writes the standing and removes the marker. Whoever finds a marker repeats from the
//! chunks: the values are absolute, so it does not matter how many of them had been written.

use super::sealed::Batch;
use super::standing::Standing;
use super::view::{BATCH_KEYS, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use super::view::{Damage, ViewError, ViewReader, mark, settle};

/// What precedes the number of a redo chunk in its key.
const CHUNK: [u8; 2] = [0, 2];

/// What stands for the length of a value that is removed.
const REMOVED: u32 = u32::MAX;

type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// The batches that make `changes` and end with `standing`, in the order in which they must be written.
pub(super) fn steps<'a>(changes: &'a [Change<'a>], standing: &'a Standing) -> Box<dyn Iterator<Item = Batch> + 'a> {
    if changes.len() <= BATCH_KEYS {
        let mut batch = values(changes);
        settle(&mut batch, standing);
        return Box::new(std::iter::once(batch));
    }
    let stream = encode(changes);
    let chunks = stream.len().div_ceil(MAX_VALUE_BYTES);
    let redo = (0..chunks).step_by(BATCH_KEYS).map(move |first| {
        let mut batch = Batch::default();
        for (number, bytes) in stream.chunks(MAX_VALUE_BYTES).enumerate().skip(first).take(BATCH_KEYS) {
            batch.insert(&chunk_key(number), bytes);
        }
        batch
    });
    let marker = std::iter::once_with(move || {
        let mut batch = Batch::default();
        mark(&mut batch, &[&(chunks as u64).to_le_bytes()[..], &standing.encode()].concat());
        batch
    });
    let end = std::iter::once_with(|| settled(standing));
    let removal = (0..chunks).step_by(BATCH_KEYS).map(move |first| {
        let mut batch = Batch::default();
        (first..chunks.min(first + BATCH_KEYS)).for_each(|number| batch.remove(&chunk_key(number)));
        batch
    });
    Box::new(redo.chain(marker).chain(changes.chunks(BATCH_KEYS).map(values)).chain(end).chain(removal))
}

/// The batches that finish the commit of which `marker` was found.
///
/// # Errors
/// [`ViewError::Damaged`] if its chunks are not all there as they were written.
pub(super) fn repeat(view: &ViewReader, marker: &[u8]) -> Result<Vec<Batch>, ViewError> {
    let wrong = || ViewError::damaged(Damage::Meaning);
    let (chunks, standing) = marker.split_first_chunk().ok_or_else(wrong)?;
    let chunks = u64::from_le_bytes(*chunks);
    let standing = Standing::decode(standing).ok_or_else(wrong)?;
    let mut stream = Vec::new();
    for number in 0..chunks {
        let key = chunk_key(usize::try_from(number).map_err(|_| wrong())?);
        stream.extend(view.get(&key)?.ok_or_else(wrong)?);
    }
    let mut rest = stream.as_slice();
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let mut changes = Vec::with_capacity(BATCH_KEYS);
        while !rest.is_empty() && changes.len() < BATCH_KEYS {
            let (change, after) = decode(rest).ok_or_else(wrong)?;
            changes.push(change);
            rest = after;
        }
        batches.push(values(&changes));
    }
    batches.push(settled(&standing));
    Ok(batches)
}

/// Removes the chunks of commits that are finished or were never marked.
pub(super) fn clear(tree: &sled::Tree) -> sled::Result<()> {
    loop {
        let mut batch = Batch::default();
        let mut found = 0;
        for key in tree.scan_prefix(CHUNK).keys().take(BATCH_KEYS) {
            batch.remove(&key?);
            found += 1;
        }
        if found == 0 {
            return Ok(());
        }
        tree.apply_batch(batch.batch)?;
    }
}

fn settled(standing: &Standing) -> Batch {
    let mut batch = Batch::default();
    settle(&mut batch, standing);
    batch
}

fn values(changes: &[Change<'_>]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in changes {
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
    }
    batch
}

fn chunk_key(number: usize) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&CHUNK);
    key[2..].copy_from_slice(&(number as u64).to_be_bytes());
    key
}

fn encode(changes: &[Change<'_>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (key, value) in changes {
        // Both lengths are bounded by 4 KiB before a commit begins.
        stream.extend_from_slice(&(key.len() as u32).to_le_bytes());
        stream.extend_from_slice(key);
        stream.extend_from_slice(&value.map_or(REMOVED, |value| value.len() as u32).to_le_bytes());
        stream.extend_from_slice(value.unwrap_or_default());
    }
    stream
}

fn decode(stream: &[u8]) -> Option<(Change<'_>, &[u8])> {
    let (length, rest) = stream.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_KEY_BYTES)?;
    let (key, rest) = rest.split_at_checked(length)?;
    let (length, rest) = rest.split_first_chunk()?;
    match u32::from_le_bytes(*length) {
        REMOVED => Some(((key, None), rest)),
        length => {
            let length = usize::try_from(length).ok().filter(|length| *length <= MAX_VALUE_BYTES)?;
            let (value, rest) = rest.split_at_checked(length)?;
            Some(((key, Some(value)), rest))
        }
    }
}
