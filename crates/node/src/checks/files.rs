//! The files of the folders that the operator named, by the SHA-256 of their content.
//!
//! Each file is hashed once, and again when its length or its time of change differs. What was found is kept in the data
//! directory, so that a restart does not read a whole music library again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::content_hash::sha256_of;

/// Files that are known, at most; those beyond are left out, by name.
const MAX_FILES: usize = 200_000;

/// Folders within folders that are looked into.
const MAX_DEPTH: usize = 32;

/// Bytes of the file that keeps what is known, at most: longer paths than usual for [`MAX_FILES`].
const MAX_KEPT_BYTES: u64 = 128 * 1024 * 1024;

/// What was seen of one file when it was hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    bytes: u64,
    /// Nanoseconds since 1970; times before count as 1970.
    modified: u64,
    #[serde(with = "hex")]
    sha256: [u8; 32],
}

type Known = BTreeMap<PathBuf, Seen>;

/// What looking through the folders came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Files that are known now.
    pub(crate) files: usize,
    /// Files that were new or had changed, and were hashed.
    pub(crate) hashed: usize,
    /// Files and folders that could not be read, or were too many.
    pub(crate) left_out: usize,
    /// Whether it was ended early.
    pub(crate) is_partial: bool,
}

/// The files, for one who looks through the folders and others who ask.
#[derive(Debug)]
pub(crate) struct FileIndex {
    folders: Vec<PathBuf>,
    kept_at: PathBuf,
    known: Mutex<Known>,
}

impl FileIndex {
    /// What is kept at `kept_at`, as far as it lies in `folders`; nothing is looked at yet. A kept file that cannot be
    /// read costs no more than the time to hash again.
    pub(crate) fn open(folders: Vec<PathBuf>, kept_at: PathBuf) -> Self {
        let mut known = match read_kept(&kept_at) {
            Ok(known) => known,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::new(),
            Err(error) => {
                tracing::warn!(file = %kept_at.display(), %error, "the files in verify.folders are hashed again");
                Known::new()
            }
        };
        known.retain(|path, _| folders.iter().any(|folder| path.starts_with(folder)));
        Self { folders, kept_at, known: Mutex::new(known) }
    }

    /// Looks through the folders: hashes what is new or changed, forgets what is gone. `go_on` is asked after each piece
    /// of a file; where it says no, what was found so far stays.
    pub(crate) fn scan(&self, go_on: impl Fn() -> bool) -> Scanned {
        let (mut scanned, mut present) = (Scanned::default(), BTreeSet::new());
        let mut ahead: Vec<(PathBuf, usize)> = self.folders.iter().map(|folder| (folder.clone(), 0)).collect();
        while let Some((folder, depth)) = ahead.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                scanned.left_out += 1;
                continue;
            };
            for entry in entries {
                let Ok((path, kind)) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) else {
                    scanned.left_out += 1;
                    continue;
                };
                // Links are not followed: they may lead round in circles, or out of the folders.
                if kind.is_dir() && depth < MAX_DEPTH {
                    ahead.push((path, depth + 1));
                } else if kind.is_file() && present.len() < MAX_FILES {
                    match self.look_at(&path, &go_on) {
                        Ok(Look::Known) => {}
                        Ok(Look::Hashed) => scanned.hashed += 1,
                        Ok(Look::Ended) => scanned.is_partial = true,
                        Err(_) => scanned.left_out += 1,
                    }
                    present.insert(path);
                } else if kind.is_file() || kind.is_dir() {
                    scanned.left_out += 1;
                }
                if scanned.is_partial {
                    scanned.files = self.known().len();
                    return scanned;
                }
            }
        }
        let mut known = self.known();
        let before = known.len();
        known.retain(|path, _| present.contains(path));
        scanned.files = known.len();
        let is_changed = scanned.hashed > 0 || known.len() < before;
        if is_changed && let Err(error) = keep(&self.kept_at, &known) {
            tracing::warn!(file = %self.kept_at.display(), %error, "what was hashed is not kept: a restart hashes again");
        }
        scanned
    }

    /// A file that held these bytes when it was last looked at, and holds them still: it is read again, whole.
    pub(crate) fn find(&self, sha256: &[u8; 32], go_on: impl Fn() -> bool) -> Option<PathBuf> {
        let candidates: Vec<PathBuf> = {
            let known = self.known();
            known.iter().filter(|(_, seen)| seen.sha256 == *sha256).map(|(path, _)| path.clone()).collect()
        };
        candidates.into_iter().find(|path| {
            let found = File::open(path).and_then(|mut file| sha256_of(&mut file, |_| go_on()));
            matches!(found, Ok(Some((found, _))) if found == *sha256)
        })
    }

    /// Which of `hashes` some file had when it was last looked at.
    pub(crate) fn held(&self, hashes: &HashSet<[u8; 32]>) -> HashSet<[u8; 32]> {
        if hashes.is_empty() {
            return HashSet::new();
        }
        self.known().values().map(|seen| seen.sha256).filter(|sha256| hashes.contains(sha256)).collect()
    }

    fn look_at(&self, path: &Path, go_on: impl Fn() -> bool) -> io::Result<Look> {
        let mut file = File::open(path)?;
        let before = file.metadata()?;
        let (bytes, modified) = outside(&before);
        if self.known().get(path).is_some_and(|seen| (seen.bytes, seen.modified) == (bytes, modified)) {
            return Ok(Look::Known);
        }
        let Some((sha256, read)) = sha256_of(&mut file, |_| go_on())? else { return Ok(Look::Ended) };
        // Somebody was writing: the next look finds it finished.
        if outside(&file.metadata()?) != (read, modified) {
            self.known().remove(path);
            return Ok(Look::Hashed);
        }
        self.known().insert(path.to_owned(), Seen { bytes, modified, sha256 });
        Ok(Look::Hashed)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked left it whole: every change is one call.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a look at one file came to.
enum Look {
    /// It is as it was.
    Known,
    /// It was hashed.
    Hashed,
    /// It was to be ended.
    Ended,
}

/// Length and time of change: what tells, without reading it, that a file is another.
fn outside(metadata: &Metadata) -> (u64, u64) {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    (metadata.len(), modified.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
}

fn read_kept(path: &Path) -> io::Result<Known> {
    if fs::metadata(path)?.len() > MAX_KEPT_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
}

/// Writes beside `path` and renames into place. It can be made again, so it needs no sync. Paths that are no text are
/// left out: they are hashed again.
fn keep(path: &Path, known: &Known) -> io::Result<()> {
    let known: BTreeMap<&str, &Seen> = known.iter().filter_map(|(path, seen)| Some((path.to_str()?, seen))).collect();
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, serde_json::to_vec(&known)?)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::cell::Cell;

    struct Bench {
        dir: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            fs::create_dir_all(dir.path().join("music/live")).expect("created");
            Self { dir }
        }

        fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.dir.path().join("music").join(name);
            fs::write(&path, bytes).expect("written");
            path
        }

        fn open(&self) -> FileIndex {
            FileIndex::open(vec![self.dir.path().join("music")], self.dir.path().join("files.json"))
        }
    }

    fn hash(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn files_are_found_by_their_content_in_all_folders_below() {
        let bench = Bench::new();
        let (one, two) = (bench.write("one.ogg", b"one"), bench.write("live/two.ogg", b"two"));
        let index = bench.open();
        assert_eq!(index.find(&hash(b"one"), || true), None, "nobody has looked yet");
        assert_eq!(index.scan(|| true), Scanned { files: 2, hashed: 2, ..Scanned::default() });
        assert_eq!(index.find(&hash(b"one"), || true), Some(one));
        assert_eq!(index.find(&hash(b"two"), || true), Some(two));
        assert_eq!(index.find(&hash(b"three"), || true), None);
        let asked = HashSet::from([b"one".as_slice(), b"three"].map(hash));
        assert_eq!(index.held(&asked), HashSet::from([hash(b"one")]));
    }

    #[test]
    fn only_what_changed_is_hashed_again_also_after_a_restart() {
        let bench = Bench::new();
        let (one, _two) = (bench.write("one.ogg", b"one"), bench.write("two.ogg", b"two"));
        bench.open().scan(|| true);
        let index = bench.open();
        assert_eq!(index.scan(|| true), Scanned { files: 2, ..Scanned::default() });
        bench.write("two.ogg", b"other");
        fs::remove_file(one).expect("removed");
        assert_eq!(index.scan(|| true), Scanned { files: 1, hashed: 1, ..Scanned::default() });
        assert_eq!(index.find(&hash(b"one"), || true), None);
        assert_eq!(index.find(&hash(b"two"), || true), None);
        assert!(index.find(&hash(b"other"), || true).is_some());
    }

    #[test]
    fn a_file_that_holds_other_bytes_than_when_it_was_looked_at_is_not_found() {
        let bench = Bench::new();
        bench.write("one.ogg", b"one");
        let index = bench.open();
        index.scan(|| true);
        bench.write("one.ogg", b"six");
        assert_eq!(index.find(&hash(b"one"), || true), None);
    }

    #[test]
    fn a_look_that_is_ended_keeps_what_it_found() {
        let bench = Bench::new();
        bench.write("one.ogg", b"one");
        bench.write("two.ogg", b"two");
        let index = bench.open();
        let pieces = Cell::new(0);
        let one_piece = || pieces.replace(pieces.get() + 1) < 1;
        let scanned = index.scan(one_piece);
        assert!(scanned.is_partial);
        assert_eq!((scanned.hashed, scanned.files), (1, 1));
    }

    #[test]
    fn links_and_damaged_notes_do_no_harm() {
        let bench = Bench::new();
        bench.write("one.ogg", b"one");
        std::os::unix::fs::symlink(bench.dir.path(), bench.dir.path().join("music/circle")).expect("linked");
        fs::write(bench.dir.path().join("files.json"), b"{").expect("written");
        assert_eq!(bench.open().scan(|| true), Scanned { files: 1, hashed: 1, ..Scanned::default() });
    }
}
