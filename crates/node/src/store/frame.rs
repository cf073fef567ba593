//! How one entry of the journal lies in its file.
//!
//! A file starts with its header; frames follow, each a header and its bytes. The frame's header has its own checksum,
//! mixed with a number that only this file knows and with the frame's offset: so bytes that a stranger wrote into a
//! record never look like a frame, wherever they come to lie.

/// Bytes of a file's header: magic, file number, length of the file before it, salt, checksum.
pub(super) const FILE_HEADER_BYTES: u32 = 28;

/// Bytes before an entry: length, synced, checksum of the bytes, kind, checksum of this header.
pub(super) const FRAME_HEADER_BYTES: u32 = 17;

/// Bytes of one entry, at most. The largest is a connected block that names 1,536 batches (below 32 KiB) or a batch
/// (60 KiB); what claims more is damage and is never allocated.
pub(super) const MAX_ENTRY_BYTES: u32 = 256 * 1024;

/// The kind that ends a group of entries which stand or fall together. It has no bytes and is never shown to readers.
pub(super) const GROUP_END: u8 = 0;

const MAGIC: [u8; 8] = *b"qfzzlog1";

/// What a file of the journal says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// Its number, from 1: its name says the same.
    pub(super) number: u32,
    /// The length of the file before it, 0 for the first: so a shortened file is noticed.
    pub(super) previous_length: u32,
    /// Drawn when the file was made, and mixed into the checksum of every frame's header.
    pub(super) salt: u64,
}

impl FileHeader {
    /// Its bytes.
    pub(super) fn encode(&self) -> [u8; FILE_HEADER_BYTES as usize] {
        let mut bytes = [0; FILE_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.previous_length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads it back; `None` if `bytes` are not such a header.
    pub(super) fn decode(bytes: &[u8; FILE_HEADER_BYTES as usize]) -> Option<Self> {
        if bytes[..8] != MAGIC || le_u32(&bytes[24..]) != crc32fast::hash(&bytes[..24]) {
            return None;
        }
        let mut salt = [0; 8];
        salt.copy_from_slice(&bytes[16..24]);
        Some(Self {
            number: le_u32(&bytes[8..]),
            previous_length: le_u32(&bytes[12..]),
            salt: u64::from_le_bytes(salt),
        })
    }
}

/// What stands before the bytes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of the entry.
    pub(super) length: u32,
    /// How much of this file was synced when the frame was written. A frame that is whole and says so proves that
    /// damage below that offset is not a torn tail.
    pub(super) synced: u32,
    /// CRC-32 of the entry's bytes.
    pub(super) checksum: u32,
    /// What the entry is.
    pub(super) kind: u8,
}

impl FrameHeader {
    /// The header of an entry of `kind` with `bytes`.
    pub(super) fn of(kind: u8, bytes: &[u8], length: u32, synced: u32) -> Self {
        Self { length, synced, checksum: crc32fast::hash(bytes), kind }
    }

    /// Its bytes at `offset` of the file with `salt`.
    pub(super) fn encode(&self, salt: u64, offset: u32) -> [u8; FRAME_HEADER_BYTES as usize] {
        let mut bytes = [0; FRAME_HEADER_BYTES as usize];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.synced.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[12] = self.kind;
        let own = header_checksum(salt, offset, &bytes[..13]);
        bytes[13..].copy_from_slice(&own.to_le_bytes());
        bytes
    }

    /// Reads it back; `None` if `bytes` are not a frame's header at this place.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES as usize], salt: u64, offset: u32) -> Option<Self> {
        let header =
            Self { length: le_u32(bytes), synced: le_u32(&bytes[4..]), checksum: le_u32(&bytes[8..]), kind: bytes[12] };
        let whole =
            header.length <= MAX_ENTRY_BYTES && le_u32(&bytes[13..]) == header_checksum(salt, offset, &bytes[..13]);
        whole.then_some(header)
    }

    /// Whether `bytes` are the entry's.
    pub(super) fn covers(&self, bytes: &[u8]) -> bool {
        crc32fast::hash(bytes) == self.checksum
    }
}

fn header_checksum(salt: u64, offset: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The first four bytes as a number; callers pass at least four.
fn le_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_back_and_any_flipped_bit_is_noticed() {
        let file = FileHeader { number: 3, previous_length: 77, salt: 0x0123_4567_89ab_cdef };
        assert_eq!(FileHeader::decode(&file.encode()), Some(file));
        let frame = FrameHeader::of(2, b"entry", 5, 1_000);
        let bytes = frame.encode(9, 4_096);
        assert_eq!(FrameHeader::decode(&bytes, 9, 4_096), Some(frame));
        for bit in 0..FILE_HEADER_BYTES * 8 {
            let mut flipped = file.encode();
            flipped[(bit / 8) as usize] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&flipped), None, "bit {bit}");
        }
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[(bit / 8) as usize] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&flipped, 9, 4_096), None, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_is_valid_only_in_its_file_and_at_its_offset() {
        let bytes = FrameHeader::of(2, b"entry", 5, 0).encode(9, 4_096);
        assert_eq!(FrameHeader::decode(&bytes, 8, 4_096), None);
        assert_eq!(FrameHeader::decode(&bytes, 9, 4_097), None);
        assert_eq!(FrameHeader::decode(&[0; FRAME_HEADER_BYTES as usize], 0, 0), None);
    }
}
