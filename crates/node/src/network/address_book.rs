//! The address book: where stations of the federation were last reached, kept across restarts.
//!
//! A convenience, not a truth: a missing or damaged book only means that stations are found by `join` or by each
//! other. So it is never an error to read one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use qfzz_ledger_core::ids::{FederationId, StationId};
use qfzz_ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::names::is_dialable;
use super::{MAX_ADDRESSES, MAX_KNOWN};

/// Bytes of the file, at most. A full book has about 600 KiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Between two writings of the address book, at least.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// One station in the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) station: StationId,
    /// Best first.
    pub(super) addresses: Vec<Multiaddr>,
    /// When it was last known to be connected.
    pub(super) last_seen: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Book {
    federation: String,
    stations: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    station: String,
    addresses: Vec<String>,
    last_seen: String,
}

/// Reads the book at `path`. One that is missing, damaged, too large or of another federation counts as empty; what it
/// holds beyond the limits, or that cannot be read, is left out.
pub(super) fn load(path: &Path, federation: FederationId) -> Vec<Entry> {
    let book = match read(path) {
        Ok(book) => book,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the address book cannot be read; starting an empty one");
            return Vec::new();
        }
    };
    if book.federation != federation.to_string() {
        tracing::warn!(path = %path.display(), "the address book is of another federation; starting an empty one");
        return Vec::new();
    }
    book.stations.iter().filter_map(Line::entry).take(MAX_KNOWN).collect()
}

/// Whether the book at `path` names anybody.
pub(crate) fn names_others(path: &Path, federation: FederationId) -> bool {
    !load(path, federation).is_empty()
}

impl Line {
    fn entry(&self) -> Option<Entry> {
        let station = self.station.parse().ok()?;
        let last_seen = self.last_seen.parse().ok()?;
        let addresses: Vec<Multiaddr> = self
            .addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .filter(is_dialable)
            .take(MAX_ADDRESSES)
            .collect();
        (!addresses.is_empty()).then_some(Entry { station, addresses, last_seen })
    }
}

fn read(path: &Path) -> io::Result<Book> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

/// Writes the book beside `path` and renames it into place, so that a crash leaves the old or the new one.
pub(super) fn save(path: &Path, federation: FederationId, entries: &[Entry]) -> io::Result<()> {
    let stations = entries
        .iter()
        .map(|entry| Line {
            station: entry.station.to_string(),
            addresses: entry.addresses.iter().map(ToString::to_string).collect(),
            last_seen: entry.last_seen.to_string(),
        })
        .collect();
    let book = Book { federation: federation.to_string(), stations };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(&book)?)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Writes the address book on another thread, one writing at a time.
pub(super) struct AddressBook {
    path: PathBuf,
    federation: FederationId,
    saving: Option<JoinHandle<io::Result<()>>>,
    next: Instant,
}

impl AddressBook {
    /// The book at `path`, and what it holds.
    pub(super) fn open(path: PathBuf, federation: FederationId, now: Instant) -> (Self, Vec<Entry>) {
        let entries = load(&path, federation);
        (Self { path, federation, saving: None, next: now }, entries)
    }

    /// Starts to write what `changed` returns, unless one was written or is being written just now.
    pub(super) fn save_if_due(&mut self, now: Instant, changed: impl FnOnce() -> Option<Vec<Entry>>) {
        if now < self.next || self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return;
        }
        if let Some(entries) = changed() {
            self.next = now + SAVE_INTERVAL;
            let (path, federation) = (self.path.clone(), self.federation);
            self.saving = Some(tokio::task::spawn_blocking(move || {
                let outcome = save(&path, federation, &entries);
                if let Err(error) = &outcome {
                    tracing::warn!(path = %path.display(), %error, "the address book was not written");
                }
                outcome
            }));
        }
    }

    /// Waits for the writing under way, then writes the last state, if it differs.
    pub(super) async fn close(&mut self, last: Option<Vec<Entry>>) {
        if let Some(saving) = self.saving.take() {
            // What went wrong is in the log.
            let _ = saving.await;
        }
        if let Some(entries) = last
            && let Err(error) = save(&self.path, self.federation, &entries)
        {
            tracing::warn!(path = %self.path.display(), %error, "the address book was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8) -> Entry {
        Entry {
            station: StationId::from_bytes([n; 32]),
            addresses: vec![format!("/ip4/10.0.0.{n}/tcp/4811").parse().expect("an address")],
            last_seen: Timestamp::from_millis(1_000 + i64::from(n)).expect("in range"),
        }
    }

    #[test]
    fn a_book_is_read_as_it_was_written_by_its_own_federation_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("peers.json");
        let (ours, theirs) = (FederationId::from_bytes([1; 32]), FederationId::from_bytes([2; 32]));
        assert_eq!(load(&path, ours), []);
        save(&path, ours, &[entry(1)]).expect("writable");
        save(&path, ours, &[entry(1), entry(2)]).expect("writable");
        assert_eq!(load(&path, ours), [entry(1), entry(2)]);
        assert_eq!(load(&path, theirs), []);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_damaged_book_counts_as_empty_and_bad_lines_are_left_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("peers.json");
        let federation = FederationId::from_bytes([1; 32]);
        fs::write(&path, b"{\"federation\":").expect("writable");
        assert_eq!(load(&path, federation), []);
        fs::write(&path, vec![b' '; MAX_FILE_BYTES as usize + 1]).expect("writable");
        assert_eq!(load(&path, federation), []);
        save(&path, federation, &[entry(1), entry(2)]).expect("writable");
        let text = fs::read_to_string(&path).expect("readable").replacen("/ip4/10.0.0.1", "/ip4/0.0.0.0", 1);
        fs::write(&path, text).expect("writable");
        assert_eq!(load(&path, federation), [entry(2)]);
    }
}
