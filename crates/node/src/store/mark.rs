//! How far this station's store has certainly come: noted beside the journal after each of its syncs.
//!
//! The journal alone cannot tell that its end was cut off at the end of a group. The note is written over in place and
//! not synced: it never runs ahead of the journal, and after a power cut it may lag, which only means that it tells less.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use qfzz_ledger_core::ids::{BlockHash, Height, Sequence};

use super::journal::Position;

/// Bytes of one note: number, position, head, own log, checksum.
const NOTE_BYTES: usize = 8 + 4 + 4 + 8 + 32 + 8 + 4;

/// Where the two notes start that are written in turn, so that one is whole whatever happens.
const SLOTS: [u64; 2] = [0, 512];

/// What a store has: what a repair must reach again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Height of the head.
    pub height: Height,
    /// The head.
    pub head: BlockHash,
    /// The sequence after the last batch of this station's own log.
    pub own_next: Sequence,
}

impl Reach {
    /// What reaches at least as far as both.
    pub(super) fn or_further(self, other: Self) -> Self {
        let further = if other.height > self.height { other } else { self };
        Self { own_next: self.own_next.max(other.own_next), ..further }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.height.get().to_le_bytes().to_vec();
        bytes.extend_from_slice(self.head.as_bytes());
        bytes.extend_from_slice(&self.own_next.get().to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (height, rest) = bytes.split_first_chunk()?;
        let (head, own_next) = rest.split_first_chunk::<32>()?;
        Some(Self {
            height: Height::new(u64::from_le_bytes(*height)),
            head: BlockHash::from_bytes(*head),
            own_next: Sequence::new(u64::from_le_bytes(own_next.try_into().ok()?)),
        })
    }
}

/// One note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// The journal was synced up to here.
    pub(super) position: Position,
    /// What it held then.
    pub(super) reach: Reach,
}

/// The file of the notes.
pub(super) struct Mark {
    file: File,
    number: u64,
}

impl Mark {
    /// The last note in the file at `path`; `None` if there is none that is whole.
    pub(super) fn read(path: &Path) -> io::Result<Option<Note>> {
        match File::open(path) {
            Ok(file) => Ok(newest(&file)?.map(|(_, note)| note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let number = newest(&file)?.map_or(0, |(number, _)| number);
        Ok(Self { file, number })
    }

    /// Writes a note over the older one of the two.
    pub(super) fn write(&mut self, note: &Note) -> io::Result<()> {
        let number = self.number.wrapping_add(1);
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.extend_from_slice(&note.position.file.to_le_bytes());
        bytes.extend_from_slice(&note.position.offset.to_le_bytes());
        bytes.extend_from_slice(&note.reach.encode());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        self.file.write_all_at(&bytes, SLOTS[usize::from(number % 2 == 1)])?;
        self.number = number;
        Ok(())
    }
}

fn newest(file: &File) -> io::Result<Option<(u64, Note)>> {
    let mut found: Option<(u64, Note)> = None;
    for slot in SLOTS {
        let mut raw = [0; NOTE_BYTES];
        match file.read_exact_at(&mut raw, slot) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        if let Some(note) = decode(&raw)
            && found.is_none_or(|(number, _)| note.0 > number)
        {
            found = Some(note);
        }
    }
    Ok(found)
}

fn decode(raw: &[u8; NOTE_BYTES]) -> Option<(u64, Note)> {
    let (bytes, checksum) = raw.split_last_chunk()?;
    if u32::from_le_bytes(*checksum) != crc32fast::hash(bytes) {
        return None;
    }
    let (number, rest) = bytes.split_first_chunk()?;
    let (file, rest) = rest.split_first_chunk()?;
    let (offset, reach) = rest.split_first_chunk()?;
    let position = Position { file: u32::from_le_bytes(*file), offset: u32::from_le_bytes(*offset) };
    Some((u64::from_le_bytes(*number), Note { position, reach: Reach::decode(reach)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(offset: u32) -> Note {
        let reach = Reach {
            height: Height::new(u64::from(offset)),
            head: BlockHash::from_bytes([7; 32]),
            own_next: Sequence::new(9),
        };
        Note { position: Position { file: 1, offset }, reach }
    }

    #[test]
    fn the_newest_whole_note_counts_and_any_flipped_bit_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert_eq!(Mark::read(&path).unwrap(), None);
        for offset in 1..6 {
            Mark::open(&path).unwrap().write(&note(offset)).unwrap();
            assert_eq!(Mark::read(&path).unwrap(), Some(note(offset)));
        }
        let whole = std::fs::read(&path).unwrap();
        let newest = SLOTS[1] as usize;
        for bit in newest * 8..(newest + NOTE_BYTES) * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            assert_eq!(Mark::read(&path).unwrap(), Some(note(4)), "bit {bit}");
        }
        std::fs::write(&path, &whole[..newest + NOTE_BYTES - 1]).unwrap();
        assert_eq!(Mark::read(&path).unwrap(), Some(note(4)), "a torn write");
        std::fs::write(&path, [0; 600]).unwrap();
        assert_eq!(Mark::read(&path).unwrap(), None);
    }
}
