//! What a commit of many keys writes, in a file of its own, before the view is changed.
//!
//! sled writes one batch whole or not at all, and a batch has up to [`BATCH_KEYS`] keys. A commit of more is several
//! batches: first the file `redo` beside sled's says all that they will write, synced, then they are written, the
//! standing last of all. A view that is found with the standing from before the file's commit may have any part
//! of it: the values are absolute, so all are written again. In sled itself the same bytes cost three times as much to
//! write, and to remove.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::sealed::Batch;
use super::standing::{STANDING_BYTES, Standing};
use super::view::{BATCH_KEYS, MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// What stands for the length of a value that is removed.
const REMOVED: u32 = u32::MAX;

/// Bytes of the file before what is summed up: the length of that, and its checksum.
const HEADER_BYTES: usize = 12;

/// The file is cut to what it holds where it is longer than this and four times as long.
const KEPT_BYTES: u64 = 4 * 1024 * 1024;

pub(super) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// The file.
pub(super) struct Redo(File);

impl Redo {
    /// Opens the file of the view in `dir`, or makes it.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("redo");
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map(Self)
    }

    /// The batches that finish the commit that was begun where the view stood at `standing`; none where the file speaks
    /// of another, or was not written whole.
    pub(super) fn begun_at(&self, standing: &Standing) -> io::Result<Option<Vec<Batch>>> {
        let mut bytes = vec![0; HEADER_BYTES + STANDING_BYTES];
        match self.0.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        if bytes[HEADER_BYTES..] != standing.encode() {
            return Ok(None);
        }
        bytes.clear();
        (&self.0).rewind()?;
        (&self.0).read_to_end(&mut bytes)?;
        Ok(parse(&bytes))
    }

    /// Notes `changes`, which a view makes that stands at `before` and of which the last is its standing afterwards, and
    /// waits for the disk. What was noted before is lost: the disk must have all of that commit.
    pub(super) fn write(&self, before: &Standing, changes: &[Change<'_>]) -> io::Result<()> {
        let bytes = encode(before, changes);
        self.0.write_all_at(&bytes, 0)?;
        let (length, found) = (bytes.len() as u64, self.0.metadata()?.len());
        if found > KEPT_BYTES && found / 4 > length {
            self.0.set_len(length)?;
        }
        self.0.sync_data()
    }
}

/// The batches that make `changes`, in their order.
pub(super) fn batches(changes: &[Change<'_>]) -> impl Iterator<Item = Batch> {
    changes.chunks(BATCH_KEYS).map(|changes| {
        let mut batch = Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    })
}

fn encode(before: &Standing, changes: &[Change<'_>]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(&before.encode());
    for (key, value) in changes {
        // Both lengths are bounded by 4 KiB before a commit begins.
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&value.map_or(REMOVED, |value| value.len() as u32).to_le_bytes());
        bytes.extend_from_slice(value.unwrap_or_default());
    }
    let body = &bytes[HEADER_BYTES..];
    let (length, sum) = (body.len() as u64, crc32fast::hash(body));
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Option<Vec<Batch>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let body = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = body.get(STANDING_BYTES..)?;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let (change, behind) = decode(rest)?;
        changes.push(change);
        rest = behind;
    }
    Some(batches(&changes).collect())
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
