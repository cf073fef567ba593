//! The data directory: where everything stands, how files are written so that a power cut leaves the old or the new
//! one, and the lock that keeps it to one daemon.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

/// Mode of what only the operator may read.
const PRIVATE: u32 = 0o600;

/// Mode of what everybody may read, as far as the directory lets them.
const PUBLIC: u32 = 0o644;

/// Bytes of the API's token.
const TOKEN_BYTES: usize = 32;

/// How long the directory's lock is waited for: whoever asks who has it takes it for a moment.
const LOCK_PATIENCE: Duration = Duration::from_millis(50);

/// Bytes that are read of a small file, at most: what is longer was not written by this program.
const MAX_SMALL_FILE: u64 = 1024 * 1024;

/// What can go wrong with a file of the data directory.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`, `lock`, `remove` or `change the mode of`.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file holds what this program did not write.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What it should hold, or what to do.
        why: &'static str,
    },
    /// Another daemon has the directory.
    #[error("{} is in use by the daemon with pid {}: stop that one, or give another --data-dir", path.display(), pid.map_or("(unknown)".to_owned(), |pid| pid.to_string()))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The daemon's process id, if it had written it yet.
        pid: Option<u32>,
    },
    /// No directory was named, and the platform has no place for one.
    #[error("there is no home directory to keep data in: give --data-dir")]
    NoHome,
    /// The operating system has no randomness.
    #[error("the operating system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

/// A data directory, by its path; nothing is opened or created yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// The directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The platform's data directory, and in it `qfzz`.
    ///
    /// # Errors
    /// [`DataDirError::NoHome`] if the platform names none.
    pub fn of_platform() -> Result<Self, DataDirError> {
        dirs::data_dir().map(|path| Self::new(path.join("qfzz"))).ok_or(DataDirError::NoHome)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("qfzz.toml")
    }

    /// The station's secret seed, as 64 hex digits; private.
    pub fn key_file(&self) -> PathBuf {
        self.path.join("key")
    }

    /// A copy of the key, for when that file is damaged; private.
    pub fn key_copy_file(&self) -> PathBuf {
        self.path.join("key.copy")
    }

    /// The federation's encoded genesis; absent until the station has a federation.
    pub fn genesis_file(&self) -> PathBuf {
        self.path.join("genesis")
    }

    /// The token that writes over HTTP need, as 64 hex digits; private.
    pub fn token_file(&self) -> PathBuf {
        self.path.join("api.token")
    }

    /// Where the running daemon's API listens, as `ADDRESS:PORT`; absent after a clean stop.
    pub fn api_address_file(&self) -> PathBuf {
        self.path.join("api.addr")
    }

    /// Checkpoints of the station's reveal chain; private, for they are not revealed yet.
    pub fn reveal_cache_file(&self) -> PathBuf {
        self.path.join("reveal.cache")
    }

    /// The address book.
    pub fn peers_file(&self) -> PathBuf {
        self.path.join("peers")
    }

    /// A founder's invitations.
    pub fn invitations_file(&self) -> PathBuf {
        self.path.join("invitations")
    }

    /// The journal: the truth.
    pub fn journal_dir(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The view of the journal in sled.
    pub fn view_dir(&self) -> PathBuf {
        self.path.join("view")
    }

    /// The virtual environment that `qfzz quantum setup` makes.
    pub fn quantum_dir(&self) -> PathBuf {
        self.path.join("quantum")
    }

    /// The SHA-256 of files in `verify.folders`; losing it costs the time to hash them again.
    pub fn file_hashes_file(&self) -> PathBuf {
        self.path.join("files.json")
    }

    /// Verified bodies off the best chain.
    pub fn side_dir(&self) -> PathBuf {
        self.path.join("side")
    }

    /// What stands here that a new station would overwrite or contradict, by name; empty before `init`.
    pub fn occupied_by(&self) -> Vec<&'static str> {
        let names = [
            "key",
            "key.copy",
            "genesis",
            "qfzz.toml",
            "api.token",
            "reveal.cache",
            "peers",
            "invitations",
            "journal",
            "journal.mark",
            "repair",
            "view",
            "side",
        ];
        names.into_iter().filter(|name| self.path.join(name).symlink_metadata().is_ok()).collect()
    }

    /// Creates the directory, open to its owner alone, and its parents; it may exist.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn create(&self) -> Result<(), DataDirError> {
        let create = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        create.map_err(|source| io_error("create", &self.path, source))
    }

    /// The encoded genesis, if the station has a federation.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn read_genesis(&self) -> Result<Option<Vec<u8>>, DataDirError> {
        read_small(&self.genesis_file())
    }

    /// Keeps the encoded genesis. It is on disk when this returns.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn write_genesis(&self, encoded: &[u8]) -> Result<(), DataDirError> {
        write_public(&self.genesis_file(), encoded)
    }

    /// The API's token; makes one where there is none.
    ///
    /// # Errors
    /// [`DataDirError`] if the file cannot be read or written, or is damaged.
    pub fn token(&self) -> Result<ApiToken, DataDirError> {
        let path = self.token_file();
        if let Some(text) = read_small(&path)? {
            let why = "it should hold 64 hex digits; `qfzz doctor --repair` makes a new one";
            return ApiToken::from_hex(&text).ok_or(DataDirError::Damaged { path, why });
        }
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(DataDirError::NoRandomness)?;
        let token = ApiToken(hex::encode(bytes));
        write_private(&path, format!("{}\n", token.0).as_bytes())?;
        Ok(token)
    }

    /// Tells the commands where the API listens.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn write_api_address(&self, address: SocketAddr) -> Result<(), DataDirError> {
        write_public(&self.api_address_file(), format!("{address}\n").as_bytes())
    }

    /// Where the running daemon's API listens, as it wrote it; `None` if none runs.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn read_api_address(&self) -> Result<Option<String>, DataDirError> {
        let bytes = read_small(&self.api_address_file())?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// Forgets where the API listened; it may be forgotten already.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn remove_api_address(&self) -> Result<(), DataDirError> {
        remove_if_there(&self.api_address_file())
    }

    /// The secret files that others than their owner can read.
    pub fn exposed(&self) -> Vec<PathBuf> {
        let is_exposed = |path: &PathBuf| fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o077 != 0);
        let secrets = [
            self.key_file(),
            self.key_copy_file(),
            self.token_file(),
            self.reveal_cache_file(),
            self.invitations_file(),
        ];
        secrets.into_iter().filter(is_exposed).collect()
    }

    fn provisional_file(&self) -> PathBuf {
        self.path.join("provisional")
    }

    /// Notes that the federation was founded because none was named: it may be left while it is unused.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn mark_provisional(&self) -> Result<(), DataDirError> {
        write_public(&self.provisional_file(), b"founded because none was named; may be left while unused\n")
    }

    /// Whether the federation was founded because none was named.
    pub fn is_provisional(&self) -> bool {
        self.provisional_file().exists()
    }

    fn log_unknown_file(&self) -> PathBuf {
        self.path.join("log-unknown")
    }

    /// Notes that the store is new while this station's log may go on elsewhere: nothing is signed before a peer has
    /// told of it, also after a restart.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn mark_log_unknown(&self) -> Result<(), DataDirError> {
        write_public(
            &self.log_unknown_file(),
            b"nothing is signed before a station known here has told of this station's log\n",
        )
    }

    /// Whether that was noted.
    pub fn is_log_unknown(&self) -> bool {
        self.log_unknown_file().exists()
    }

    /// Notes that a peer has told.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn unmark_log_unknown(&self) -> Result<(), DataDirError> {
        remove_if_there(&self.log_unknown_file())
    }

    /// Removes everything that belongs to a federation; key, settings and token stay.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn forget_federation(&self) -> Result<(), DataDirError> {
        for path in [self.journal_dir(), self.view_dir(), self.side_dir(), self.path.join("salvaged")] {
            match fs::remove_dir_all(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => return Err(io_error("remove", &path, source)),
                _ => {}
            }
        }
        let files = [
            self.reveal_cache_file(),
            self.peers_file(),
            self.genesis_file(),
            self.provisional_file(),
            self.log_unknown_file(),
            self.invitations_file(),
            self.path.join("journal.mark"),
            self.path.join("repair"),
        ];
        files.iter().try_for_each(|path| remove_if_there(path))
    }

    /// Removes what says how far this station's store and reveals had come, and that its federation may be left: another
    /// store takes its place.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn forget_reach(&self) -> Result<(), DataDirError> {
        let files = [self.reveal_cache_file(), self.provisional_file(), self.path.join("journal.mark")];
        files.iter().try_for_each(|path| remove_if_there(path))
    }

    /// Makes what only the operator may read private again: the directory and the secret files.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn make_private(&self) -> Result<(), DataDirError> {
        let set = |path: &Path, mode| {
            let changed = fs::set_permissions(path, fs::Permissions::from_mode(mode));
            changed.map_err(|source| io_error("change the mode of", path, source))
        };
        set(&self.path, 0o700)?;
        self.exposed().iter().try_for_each(|path| set(path, PRIVATE))
    }

    /// The mode of the directory itself.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn mode(&self) -> Result<u32, DataDirError> {
        let data = fs::metadata(&self.path).map_err(|source| io_error("read", &self.path, source))?;
        Ok(data.permissions().mode() & 0o7777)
    }

    /// Replaces a token that cannot be read by a new one; false if there was nothing to do.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn renew_damaged_token(&self) -> Result<bool, DataDirError> {
        match self.token() {
            Err(DataDirError::Damaged { path, .. }) => {
                remove_if_there(&path)?;
                self.token().map(|_| true)
            }
            token => token.map(|_| false),
        }
    }

    /// The pid of the process that has the directory for itself; `None` where nobody has, or it cannot be read.
    pub fn user(&self) -> Option<u32> {
        let file = File::open(self.path.join("lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => pid_in(file),
            _ => None,
        }
    }

    /// Takes the directory for this process; it must exist.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] with the other daemon's pid, or [`DataDirError::Io`].
    pub fn lock(self) -> Result<LockedDataDir, DataDirError> {
        let path = self.path.join("lock");
        let failed = |source| io_error("lock", &path, source);
        let mut options = OpenOptions::new();
        // Never truncated before it is ours: it holds the other's pid. Never removed: a lock is on the file, not its name.
        options.read(true).write(true).create(true).truncate(false).mode(PUBLIC);
        let mut file = options.open(&path).map_err(failed)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_PATIENCE / 10),
                Err(TryLockError::WouldBlock) => {
                    return Err(DataDirError::InUse { path: self.path, pid: pid_in(file) });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(LockedDataDir { dir: self, _lock: file })
    }
}

/// The pid that a process writes into the lock that it has.
fn pid_in(lock: File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A data directory that is this process's alone, as long as this value lives.
#[derive(Debug)]
pub struct LockedDataDir {
    dir: DataDir,
    _lock: File,
}

impl std::ops::Deref for LockedDataDir {
    type Target = DataDir;

    fn deref(&self) -> &DataDir {
        &self.dir
    }
}

fn remove_if_there(path: &Path) -> Result<(), DataDirError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(io_error("remove", path, source)),
        _ => Ok(()),
    }
}

/// The token that writes over HTTP need: 64 hex digits.
#[derive(Clone)]
pub struct ApiToken(String);

impl ApiToken {
    /// Reads what stands in the file; `None` if that is not 64 hex digits.
    pub fn from_hex(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        let is_token = text.len() == 2 * TOKEN_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_token.then(|| Self(text.to_owned()))
    }

    /// Its text, for the header that carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `given` is this token; how long this takes tells nothing about the token.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiToken(..)")
    }
}

/// Replaces the file at `path` by `bytes`, readable by its owner alone; on disk when this returns.
///
/// # Errors
/// [`DataDirError::Io`]; the file is then as it was.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    write(path, bytes, PRIVATE)
}

/// Replaces the file at `path` by `bytes`; on disk when this returns.
///
/// # Errors
/// [`DataDirError::Io`]; the file is then as it was.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    write(path, bytes, PUBLIC)
}

/// Reads a small file; `None` if there is none.
///
/// # Errors
/// [`DataDirError::Io`], or [`DataDirError::Damaged`] if it holds over 1 MiB.
pub fn read_small(path: &Path) -> Result<Option<Vec<u8>>, DataDirError> {
    let failed = |source| io_error("read", path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_SMALL_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_SMALL_FILE {
        return Err(DataDirError::Damaged { path: path.to_owned(), why: "it holds over 1 MiB" });
    }
    Ok(Some(bytes))
}

/// Writes beside the file, syncs, renames over it, and syncs the directory: the old file or the new one, never a part.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DataDirError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // By process, so that two never write into one file.
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = write_and_rename(&new, path, bytes, mode);
    if written.is_err() {
        // What matters is the error; the leftover does no harm.
        let _ = fs::remove_file(&new);
    }
    written.map_err(|source| io_error("write", path, source))
}

fn write_and_rename(new: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(new)?;
    // A leftover keeps its mode when it is opened again.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
