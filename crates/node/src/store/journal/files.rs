//! The files of the journal by number, each with its header.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::frame::{FILE_HEADER_BYTES, FileHeader};
use super::JournalError;

/// Files that readers keep open, at most: a long journal has more files than a process may open.
pub(super) const MAX_OPEN_FILES: usize = 32;

/// The files of the journal, a few of them open.
pub(super) struct Files {
    pub(super) dir: PathBuf,
    pub(super) open: Mutex<VecDeque<(u32, Arc<OpenFile>)>>,
}

/// One of them.
pub(super) struct OpenFile {
    pub(super) file: File,
    pub(super) salt: u64,
    pub(super) previous_length: u32,
}

impl OpenFile {
    /// Bytes of the file.
    pub(super) fn length(&self, path: &Path) -> Result<u64, JournalError> {
        Ok(self.file.metadata().map_err(at(path))?.len())
    }
}

impl Files {
    /// Keeps the files of `dir`; none is open yet.
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), open: Mutex::new(VecDeque::new()) }
    }

    /// Where the file with this number lies.
    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08}.log"))
    }

    /// Where the copy of that file's header lies.
    fn copy_path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:08}.head"))
    }

    /// The header of a file: without it no frame can be told from noise, so there is a copy of it beside the file.
    pub(super) fn header(&self, number: u32) -> Result<Option<FileHeader>, JournalError> {
        match read_header(&self.path(number), number)? {
            Some(header) => Ok(Some(header)),
            None => self.header_copy(number),
        }
    }

    /// The copy of a file's header, if it is there and whole.
    pub(super) fn header_copy(&self, number: u32) -> Result<Option<FileHeader>, JournalError> {
        match read_header(&self.copy_path(number), number) {
            Err(JournalError::Missing { .. }) => Ok(None),
            read => read,
        }
    }

    /// Writes a damaged header again from its copy, or the copy from the header; whether the header was damaged.
    pub(super) fn mend_header(&self, number: u32) -> Result<bool, JournalError> {
        let path = self.path(number);
        match (read_header(&path, number)?, self.header_copy(number)?) {
            (Some(header), copy) if copy != Some(header) => {
                self.write_copy(header)?;
                Ok(false)
            }
            (None, Some(header)) => {
                let file = OpenOptions::new().write(true).open(&path).map_err(at(&path))?;
                file.write_all_at(&header.encode(), 0).and_then(|()| file.sync_all()).map_err(at(&path))?;
                Ok(true)
            }
            (Some(_), _) | (None, None) => Ok(false),
        }
    }

    fn write_copy(&self, header: FileHeader) -> Result<(), JournalError> {
        let path = self.copy_path(header.number);
        let file = File::create(&path).map_err(at(&path))?;
        file.write_all_at(&header.encode(), 0).and_then(|()| file.sync_all()).map_err(at(&path))
    }

    /// The file with this number, opened if need be.
    pub(super) fn get(&self, number: u32) -> Result<Arc<OpenFile>, JournalError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = open.iter().find(|(open, _)| *open == number) {
            return Ok(Arc::clone(file));
        }
        let path = self.path(number);
        let Some(header) = self.header(number)? else {
            return Err(JournalError::Damaged { file: number, offset: 0 });
        };
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(at(&path))?;
        let file = Arc::new(OpenFile { file, salt: header.salt, previous_length: header.previous_length });
        Self::keep(&mut open, number, &file);
        Ok(file)
    }

    /// Makes a file, so that it and its name are on disk before anything is written to it.
    pub(super) fn create(&self, header: FileHeader) -> Result<Arc<OpenFile>, JournalError> {
        let path = self.path(header.number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(at(&path))?;
        file.write_all_at(&header.encode(), 0).map_err(at(&path))?;
        file.sync_all().map_err(at(&path))?;
        self.write_copy(header)?;
        sync_dir(&self.dir).map_err(at(&self.dir))?;
        let file = Arc::new(OpenFile { file, salt: header.salt, previous_length: header.previous_length });
        Self::keep(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner), header.number, &file);
        Ok(file)
    }

    fn keep(open: &mut VecDeque<(u32, Arc<OpenFile>)>, number: u32, file: &Arc<OpenFile>) {
        if open.len() >= MAX_OPEN_FILES {
            open.pop_front();
        }
        open.push_back((number, Arc::clone(file)));
    }
}

/// The numbers of the files in `dir`, ascending.
pub(super) fn file_numbers(dir: &Path) -> Result<Vec<u32>, JournalError> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(at(dir))? {
        let name = entry.map_err(at(dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")).filter(|digits| digits.len() == 8);
        numbers.extend(number.and_then(|digits| digits.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The header of the file, or `None` if it has none.
pub(super) fn read_header(path: &Path, number: u32) -> Result<Option<FileHeader>, JournalError> {
    let mut raw = [0; FILE_HEADER_BYTES as usize];
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(JournalError::Missing { file: number }),
        Err(source) => return Err(JournalError::Io { path: path.to_path_buf(), source }),
    };
    match file.read_exact_at(&mut raw, 0) {
        Ok(()) => Ok(FileHeader::decode(&raw).filter(|header| header.number == number)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(JournalError::Io { path: path.to_path_buf(), source }),
    }
}

pub(super) fn draw_salt(dir: &Path) -> Result<u64, JournalError> {
    getrandom::u64().map_err(|error| JournalError::Io { path: dir.to_path_buf(), source: io::Error::other(error) })
}

/// Makes the names in `dir` outlive a power cut.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_path_buf();
    |source| JournalError::Io { path, source }
}
