//! The journal: append-only files of framed entries. It is the truth; everything else in the store follows from it.
//!
//! Entries are written in groups that stand or fall together. What was synced stays; what was written after the last
//! sync and did not arrive whole is cut when the journal is opened, back to the end of the last whole group.

mod files;
mod frames;

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader, GROUP_END, MAX_ENTRY_BYTES};
use files::{Files, OpenFile, at, draw_salt, file_numbers, read_header};
use frames::{Frames, Step, Tail, whole_groups};

/// Bytes after which a file gets no further group. One group is never split over two files.
const FILE_BYTES: u32 = 64 * 1024 * 1024;

/// Bytes that a group collects in memory before they are written.
const WRITE_BUFFER_BYTES: usize = 1024 * 1024;

/// Zeros that are written after a small group: where the next ones go over them, syncing writes no change of the file's
/// length and of its blocks, which takes a file system about as long as the data itself.
const ROOM_BYTES: u32 = 128 * 1024;

/// Why the journal could not be read or written. Each of them is fatal to the node.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("journal: {path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was synced is not there any more as it was written.
    #[error("journal: file {file:08}.log is damaged at byte {offset}")]
    Damaged {
        /// The file's number.
        file: u32,
        /// Where the damaged frame starts, in bytes.
        offset: u32,
    },
    /// A file between the first and the last, or one that the view has seen, is not there.
    #[error("journal: file {file:08}.log is missing")]
    Missing {
        /// The file's number.
        file: u32,
    },
    /// An entry above the limit; nothing was written.
    #[error("journal: an entry of {bytes} bytes is above the limit of {MAX_ENTRY_BYTES}")]
    EntryTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A file would pass 4 GiB, or there are 2^32 of them.
    #[error("journal: file {file:08}.log cannot grow any more")]
    Full {
        /// The file's number.
        file: u32,
    },
    /// An earlier write or sync failed, so what is on disk is unknown until the journal is opened again.
    #[error("journal: an earlier write failed")]
    Failed,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file's number, from 1.
    pub file: u32,
    /// Where its frame starts, in bytes.
    pub offset: u32,
    /// Bytes of the entry, without its frame.
    pub length: u32,
}

/// A point between two groups: everything before it, nothing after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The file's number, from 1.
    pub file: u32,
    /// Bytes of that file.
    pub offset: u32,
}

impl Position {
    /// Before the first entry.
    pub const START: Self = Self { file: 1, offset: FILE_HEADER_BYTES };
}

/// An entry as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// What it is; see [`schema`](super::schema).
    pub(super) kind: u8,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
}

/// The tail that was cut when the journal was opened: never synced, so never acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the journal ends now.
    pub at: Position,
    /// Bytes that were cut.
    pub bytes: u64,
}

/// A file's header, or the copy of it, and all its bytes.
type RawFile = (Option<FileHeader>, Vec<u8>);

/// The one writer.
pub(super) struct Journal {
    files: Arc<Files>,
    file: Arc<OpenFile>,
    number: u32,
    length: u32,
    synced: u32,
    /// Bytes that the file has, with the room after what was written.
    room: u32,
    file_bytes: u32,
    syncs: u64,
    failed: bool,
    mended: Vec<u32>,
}

impl Journal {
    /// Opens the journal in `dir`, makes it where there is none, and cuts a torn tail.
    ///
    /// `known` is a position that is certain to have been synced: damage below it is never taken for a torn tail.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] or [`JournalError::Missing`] if something that was synced is not there any more; only
    /// the last file is read here, the others when they are asked for.
    pub(super) fn open(dir: &Path, known: Position) -> Result<(Self, Option<Cut>), JournalError> {
        Self::open_sized(dir, known, FILE_BYTES)
    }

    /// As [`open`](Self::open), with files that get no further group after `file_bytes`.
    pub(super) fn open_sized(
        dir: &Path,
        known: Position,
        file_bytes: u32,
    ) -> Result<(Self, Option<Cut>), JournalError> {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let numbers = file_numbers(dir)?;
        for (number, expected) in numbers.iter().zip(1..) {
            if *number != expected {
                return Err(JournalError::Missing { file: expected });
            }
        }
        let mut last = u32::try_from(numbers.len()).map_err(|_| JournalError::Full { file: u32::MAX })?;
        let files = Arc::new(Files::new(dir));
        // The header is synced before the first frame, so a last file of at most a header's length, with anything
        // else in it, is one that was being made.
        if last > 0 && known.file <= last {
            let path = files.path(last);
            let length = std::fs::metadata(&path).map_err(at(&path))?.len();
            let unmade = length < u64::from(FILE_HEADER_BYTES)
                || (length == u64::from(FILE_HEADER_BYTES) && read_header(&path, last)?.is_none());
            // The copy of the header is written when all of it is on disk.
            let unmade = unmade && files.header_copy(last)?.is_none();
            if unmade && known <= (Position { file: last, offset: FILE_HEADER_BYTES }) {
                std::fs::remove_file(&path).map_err(at(&path))?;
                last -= 1;
            }
        }
        if last == 0 {
            if known > Position::START {
                return Err(JournalError::Missing { file: known.file });
            }
            let file = files.create(FileHeader { number: 1, previous_length: 0, salt: draw_salt(dir)? })?;
            let journal = Self::at_end(files, file, 1, FILE_HEADER_BYTES, file_bytes);
            return Ok((journal, None));
        }
        if known.file > last {
            return Err(JournalError::Missing { file: known.file });
        }
        let mut mended = Vec::new();
        for number in 1..=last {
            if files.mend_header(number)? {
                mended.push(number);
            }
        }
        let file = files.get(last)?;
        let path = files.path(last);
        let length = file.length(&path)?;
        let Tail { whole, torn } = whole_groups(&path, &file, last, length, known)?;
        let cut = (torn > 0).then_some(Cut { at: Position { file: last, offset: whole }, bytes: torn });
        if u64::from(whole) < length {
            file.file.set_len(u64::from(whole)).map_err(at(&path))?;
        }
        // A process may have died between write and sync: what is served from here on must outlive a power cut.
        file.file.sync_all().map_err(at(&path))?;
        let mut journal = Self::at_end(files, file, last, whole, file_bytes);
        journal.mended = mended;
        Ok((journal, cut))
    }

    fn at_end(files: Arc<Files>, file: Arc<OpenFile>, number: u32, length: u32, file_bytes: u32) -> Self {
        let (synced, room, mended) = (length, length, Vec::new());
        Self { files, file, number, length, synced, room, file_bytes, syncs: 0, failed: false, mended }
    }

    /// The end of what was written.
    pub(super) fn end(&self) -> Position {
        Position { file: self.number, offset: self.length }
    }

    /// How often this journal was synced since it was opened: once a commit, and once more for each new file.
    pub(super) fn syncs(&self) -> u64 {
        self.syncs
    }

    /// The files whose damaged header was written again from its copy when the journal was opened.
    pub(super) fn mended(&self) -> &[u32] {
        &self.mended
    }

    /// For readers, which need no lock and don't wait for the writer.
    pub(super) fn reader(&self) -> JournalReader {
        JournalReader { files: Arc::clone(&self.files) }
    }

    /// Starts a group of entries that stand or fall together.
    ///
    /// # Errors
    /// Those of making a new file, which happens when the last one is full.
    pub(super) fn begin(&mut self) -> Result<Group<'_>, JournalError> {
        if self.failed {
            return Err(JournalError::Failed);
        }
        if self.length >= self.file_bytes {
            self.sync()?;
            self.give_back_room()?;
            let number = self.number.checked_add(1).ok_or(JournalError::Full { file: self.number })?;
            let salt = draw_salt(&self.files.dir)?;
            let header = FileHeader { number, previous_length: self.length, salt };
            // Whatever happens while the new file is made, the old one is whole.
            self.file = self.files.create(header).inspect_err(|_| self.failed = true)?;
            self.number = number;
            self.length = FILE_HEADER_BYTES;
            self.synced = FILE_HEADER_BYTES;
            self.room = FILE_HEADER_BYTES;
            self.syncs += 1;
        }
        self.failed = true;
        Ok(Group { buffer: Vec::new(), buffer_at: self.length, journal: self })
    }

    /// Makes everything that was written outlive a power cut: one `fdatasync`, or none if nothing was written.
    ///
    /// # Errors
    /// What the system said. After that the journal takes nothing any more: the system may have dropped the pages.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.failed {
            return Err(JournalError::Failed);
        }
        if self.synced < self.length {
            if let Err(source) = self.file.file.sync_data() {
                self.failed = true;
                return Err(JournalError::Io { path: self.files.path(self.number), source });
            }
            self.synced = self.length;
            self.syncs += 1;
        }
        Ok(())
    }

    /// Ends the file with what was written last.
    fn give_back_room(&mut self) -> Result<(), JournalError> {
        if self.room > self.length {
            let path = self.files.path(self.number);
            self.file.file.set_len(u64::from(self.length)).map_err(at(&path))?;
            self.file.file.sync_all().map_err(at(&path))?;
            self.room = self.length;
        }
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Opening does the same.
        if !self.failed
            && let Err(error) = self.give_back_room()
        {
            tracing::debug!(%error, "the room at the journal's end stays");
        }
    }
}

/// Entries that are being written. Dropped without [`finish`](Self::finish) it leaves the journal failed: half a group
/// is on disk, and only opening cuts it.
pub(super) struct Group<'a> {
    journal: &'a mut Journal,
    buffer: Vec<u8>,
    buffer_at: u32,
}

impl Group<'_> {
    /// Adds an entry and says where it lies.
    ///
    /// # Errors
    /// [`JournalError::EntryTooLarge`], [`JournalError::Full`], or what the system said.
    pub(super) fn push(&mut self, kind: u8, bytes: &[u8]) -> Result<Place, JournalError> {
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length <= MAX_ENTRY_BYTES)
            .ok_or(JournalError::EntryTooLarge { bytes: bytes.len() })?;
        let journal = &mut *self.journal;
        let offset = journal.length;
        let end = offset.checked_add(FRAME_HEADER_BYTES + length).ok_or(JournalError::Full { file: journal.number })?;
        let header = FrameHeader::of(kind, bytes, length, journal.synced);
        self.buffer.extend_from_slice(&header.encode(journal.file.salt, offset));
        self.buffer.extend_from_slice(bytes);
        journal.length = end;
        if self.buffer.len() >= WRITE_BUFFER_BYTES {
            self.write()?;
        }
        Ok(Place { file: self.journal.number, offset, length })
    }

    /// Ends the group and hands it to the system. It is durable after the next [`Journal::sync`].
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub(super) fn finish(mut self) -> Result<(), JournalError> {
        self.push(GROUP_END, &[])?;
        self.write()?;
        self.journal.failed = false;
        Ok(())
    }

    fn write(&mut self) -> Result<(), JournalError> {
        let journal = &mut *self.journal;
        if journal.length > journal.room {
            journal.room = journal.length;
            if self.buffer.len() < ROOM_BYTES as usize {
                journal.room = journal.length.saturating_add(ROOM_BYTES);
                self.buffer.resize((journal.room - self.buffer_at) as usize, 0);
            }
        }
        let written = journal.file.file.write_all_at(&self.buffer, u64::from(self.buffer_at));
        written.map_err(|source| JournalError::Io { path: journal.files.path(journal.number), source })?;
        self.buffer.clear();
        self.buffer_at = journal.length;
        Ok(())
    }
}

/// Reads entries by place, from any thread.
#[derive(Clone)]
pub(super) struct JournalReader {
    files: Arc<Files>,
}

impl JournalReader {
    /// Reads the journal in `dir` as it is, opened or not.
    pub(super) fn of(dir: &Path) -> Self {
        Self { files: Arc::new(Files::new(dir)) }
    }

    /// The number of the last file; 0 without any.
    pub(super) fn last_file(&self) -> Result<u32, JournalError> {
        match file_numbers(&self.files.dir) {
            Ok(numbers) => Ok(numbers.last().copied().unwrap_or(0)),
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Bytes of a file; `None` if it is not there.
    pub(super) fn length(&self, number: u32) -> Result<Option<u64>, JournalError> {
        let path = self.files.path(number);
        match std::fs::metadata(&path) {
            Ok(data) => Ok(Some(data.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(JournalError::Io { path, source }),
        }
    }

    /// A file's header, or the copy of it, and all its bytes; `None` if it is not there.
    pub(super) fn raw(&self, number: u32) -> Result<Option<RawFile>, JournalError> {
        if self.length(number)?.is_none() {
            return Ok(None);
        }
        let path = self.files.path(number);
        let bytes = std::fs::read(&path).map_err(at(&path))?;
        Ok(Some((self.files.header(number)?, bytes)))
    }

    /// The entry at `place`.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] if no whole entry of that length lies there.
    pub(super) fn read(&self, place: Place) -> Result<Entry, JournalError> {
        let damaged = JournalError::Damaged { file: place.file, offset: place.offset };
        if place.length > MAX_ENTRY_BYTES {
            return Err(damaged);
        }
        let file = self.files.get(place.file)?;
        let mut frame = vec![0; (FRAME_HEADER_BYTES + place.length) as usize];
        match file.file.read_exact_at(&mut frame, u64::from(place.offset)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged),
            Err(source) => return Err(JournalError::Io { path: self.files.path(place.file), source }),
        }
        let header = frame.first_chunk().and_then(|raw| FrameHeader::decode(raw, file.salt, place.offset));
        // In its place: memory for a copy costs more than the copy.
        frame.drain(..FRAME_HEADER_BYTES as usize);
        let bytes = frame;
        match header {
            Some(header) if header.length == place.length && header.kind != GROUP_END && header.covers(&bytes) => {
                Ok(Entry { kind: header.kind, bytes })
            }
            _ => Err(damaged),
        }
    }

    /// Every entry from `from` to `to` in the order in which they were written. After an error it ends.
    pub(super) fn replay(&self, from: Position, to: Position) -> Replay {
        Replay { files: Arc::clone(&self.files), next: from, to, frames: None }
    }
}

/// See [`JournalReader::replay`].
pub(super) struct Replay {
    files: Arc<Files>,
    next: Position,
    to: Position,
    frames: Option<Frames>,
}

impl Replay {
    fn step(&mut self) -> Result<Option<(Place, Entry)>, JournalError> {
        while self.next < self.to {
            let Position { file: number, offset } = self.next;
            let frames = match &mut self.frames {
                Some(frames) => frames,
                None => {
                    let file = self.files.get(number)?;
                    let path = self.files.path(number);
                    let end = if number == self.to.file { u64::from(self.to.offset) } else { file.length(&path)? };
                    self.frames.insert(Frames::start(&path, &file, offset, end)?)
                }
            };
            let damaged = JournalError::Damaged { file: number, offset };
            match frames.step()? {
                Step::Frame(header, bytes) => {
                    self.next.offset = frames.offset;
                    if header.kind != GROUP_END {
                        let place = Place { file: number, offset, length: header.length };
                        return Ok(Some((place, Entry { kind: header.kind, bytes })));
                    }
                }
                Step::Torn => return Err(damaged),
                Step::End if number == self.to.file => return Err(damaged),
                Step::End => {
                    let next = number.checked_add(1).ok_or(JournalError::Full { file: number })?;
                    if self.files.get(next)?.previous_length != offset {
                        return Err(damaged);
                    }
                    self.next = Position { file: next, offset: FILE_HEADER_BYTES };
                    self.frames = None;
                }
            }
        }
        Ok(None)
    }
}

impl Iterator for Replay {
    type Item = Result<(Place, Entry), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if !matches!(step, Some(Ok(_))) {
            self.next = self.to;
        }
        step
    }
}

#[cfg(test)]
mod tests;
