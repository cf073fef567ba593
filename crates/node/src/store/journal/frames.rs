//! Walking over the frames of one file, and telling a torn tail from damage.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::super::frame::{FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FrameHeader, GROUP_END};
use super::files::{OpenFile, at};
use super::{JournalError, Position};

/// Bytes that are read at a time.
const READ_BUFFER_BYTES: usize = 1024 * 1024;

/// Reads frames in order.
pub(super) struct Frames {
    reader: BufReader<File>,
    path: PathBuf,
    salt: u64,
    pub(super) offset: u32,
    end: u64,
}

/// What comes next.
pub(super) enum Step {
    Frame(FrameHeader, Vec<u8>),
    /// The end, exactly after a frame.
    End,
    /// What follows is not a whole frame.
    Torn,
}

impl Frames {
    /// Starts at `offset` of the file; `end` is where it ends for the walk.
    pub(super) fn start(path: &Path, file: &OpenFile, offset: u32, end: u64) -> Result<Self, JournalError> {
        let mut own = File::open(path).map_err(at(path))?;
        own.seek(SeekFrom::Start(u64::from(offset))).map_err(at(path))?;
        let reader = BufReader::with_capacity(READ_BUFFER_BYTES, own);
        Ok(Self { reader, path: path.to_path_buf(), salt: file.salt, offset, end })
    }

    pub(super) fn step(&mut self) -> Result<Step, JournalError> {
        let start = u64::from(self.offset);
        if start == self.end {
            return Ok(Step::End);
        }
        let bytes_at = start + u64::from(FRAME_HEADER_BYTES);
        if bytes_at > self.end {
            return Ok(Step::Torn);
        }
        let mut raw = [0; FRAME_HEADER_BYTES as usize];
        self.reader.read_exact(&mut raw).map_err(at(&self.path))?;
        let Some(header) = FrameHeader::decode(&raw, self.salt, self.offset) else { return Ok(Step::Torn) };
        let next = bytes_at + u64::from(header.length);
        let Some(offset) = u32::try_from(next).ok().filter(|_| next <= self.end) else { return Ok(Step::Torn) };
        let mut bytes = vec![0; header.length as usize];
        self.reader.read_exact(&mut bytes).map_err(at(&self.path))?;
        if !header.covers(&bytes) {
            return Ok(Step::Torn);
        }
        self.offset = offset;
        Ok(Step::Frame(header, bytes))
    }
}

/// The end of what a file holds, and what follows it.
pub(super) struct Tail {
    /// Where the last whole group ends.
    pub(super) whole: u32,
    /// Bytes of a torn group after it; room that was made for more does not count.
    pub(super) torn: u64,
}

/// Where the last whole group of file `number` ends, if what follows can be a torn tail or room for more.
pub(super) fn whole_groups(
    path: &Path,
    file: &OpenFile,
    number: u32,
    length: u64,
    known: Position,
) -> Result<Tail, JournalError> {
    let mut frames = Frames::start(path, file, FILE_HEADER_BYTES, length)?;
    let mut whole = FILE_HEADER_BYTES;
    let torn = loop {
        match frames.step()? {
            Step::Frame(header, _) if header.kind == GROUP_END => whole = frames.offset,
            Step::Frame(..) => {}
            Step::End => break None,
            Step::Torn => break Some(frames.offset),
        }
    };
    let lost = Position { file: number, offset: whole } < known;
    if let Some(offset) = torn
        && (lost || synced_later(path, file, offset, length)?)
    {
        return Err(JournalError::Damaged { file: number, offset });
    }
    if lost {
        return Err(JournalError::Damaged { file: number, offset: whole });
    }
    let end = match torn {
        Some(offset) if is_room(path, offset)? => u64::from(offset),
        _ => length,
    };
    Ok(Tail { whole, torn: end - u64::from(whole) })
}

/// Whether there are only zeros from `offset` on.
fn is_room(path: &Path, offset: u32) -> Result<bool, JournalError> {
    let mut reader = File::open(path).map_err(at(path))?;
    reader.seek(SeekFrom::Start(u64::from(offset))).map_err(at(path))?;
    for byte in BufReader::with_capacity(READ_BUFFER_BYTES, reader).bytes() {
        if byte.map_err(at(path))? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a frame after `offset` was written when more than `offset` bytes of the file were synced.
fn synced_later(path: &Path, file: &OpenFile, offset: u32, length: u64) -> Result<bool, JournalError> {
    let mut reader = File::open(path).map_err(at(path))?;
    reader.seek(SeekFrom::Start(u64::from(offset))).map_err(at(path))?;
    let mut window = VecDeque::with_capacity(FRAME_HEADER_BYTES as usize);
    let rest = length.saturating_sub(u64::from(offset));
    for (byte, end) in
        BufReader::with_capacity(READ_BUFFER_BYTES, reader).take(rest).bytes().zip(u64::from(offset) + 1..)
    {
        window.push_back(byte.map_err(at(path))?);
        if window.len() < FRAME_HEADER_BYTES as usize {
            continue;
        }
        let start = end - u64::from(FRAME_HEADER_BYTES);
        let mut raw = [0; FRAME_HEADER_BYTES as usize];
        raw.iter_mut().zip(&window).for_each(|(to, from)| *to = *from);
        window.pop_front();
        let Ok(start) = u32::try_from(start) else { return Ok(false) };
        // The cheap comparison first: almost no place passes it.
        let synced = u32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]);
        if synced > offset && synced <= start && FrameHeader::decode(&raw, file.salt, start).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
