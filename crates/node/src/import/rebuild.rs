//! A store made of an export, beside the station's own: it takes its place whole, or not at all.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qfzz_ledger_core::crypto::StationKey;
use qfzz_ledger_core::federation::Genesis;
use qfzz_ledger_core::ids::{Height, Name};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::own_log::OwnLog;
use qfzz_ledger_core::reveal::RevealChain;
use qfzz_ledger_core::state::{ReadError, chain_state, station_state};
use qfzz_ledger_core::time::Timestamp;

use super::export::{Export, ExportFault};
use crate::data_dir::{DataDir, DataDirError};
use crate::store::{DiskStore, LedgerStore, StoreError};

/// Why no store could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    /// The export does not hold.
    #[error(transparent)]
    Fault(#[from] ExportFault),
    /// The store beside the station's own could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nor read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the data directory could not be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RebuildError {
    let path = path.to_owned();
    |source| RebuildError::Io { path, source }
}

/// Where stores are made. What is in there belongs to nobody while no import is under way.
fn place(dir: &DataDir) -> PathBuf {
    dir.path().join("importing")
}

/// Removes what an import left that did not come to its end.
///
/// # Errors
/// The system's.
pub(crate) fn tidy(dir: &DataDir) -> io::Result<()> {
    match fs::remove_dir_all(place(dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A store that is whole, beside the station's own. It is removed when it is dropped.
pub(crate) struct Rebuilt {
    dir: DataDir,
    /// The federation's.
    pub(crate) genesis: Genesis,
    /// Blocks, genesis too.
    pub(crate) blocks: u64,
    /// Records in them.
    pub(crate) records: u64,
    /// Whether this station has batches among them.
    pub(crate) knows_station: bool,
}

impl Drop for Rebuilt {
    fn drop(&mut self) {
        if let Err(error) = tidy(&self.dir) {
            tracing::warn!(%error, "what an import left cannot be removed: the next start tries again");
        }
    }
}

/// Makes a store of an export: every block is verified and connected, as if a peer had sent it.
///
/// # Errors
/// [`RebuildError`]; nothing is left then.
pub(crate) fn rebuild<R: BufRead>(
    dir: &DataDir,
    mut export: Export<R>,
    seed: [u8; 32],
    now: Timestamp,
) -> Result<Rebuilt, RebuildError> {
    let rules = Arc::clone(export.rules());
    let place = place(dir);
    tidy(dir).map_err(at(&place))?;
    let genesis = rules.genesis().clone();
    // From here on whatever fails leaves nothing behind.
    let mut rebuilt = Rebuilt { dir: dir.clone(), genesis, blocks: 1, records: 0, knows_station: false };
    let key = StationKey::from_seed(seed);
    let station = key.station();
    let (mut store, _) = DiskStore::open(&place, Arc::clone(&rules), station)?;
    let reader = store.reader();
    // Nothing is signed or produced here.
    let reveals = RevealChain::new(&rules.federation(), &station, key.reveal_secret(&rules.federation()), 1);
    let own = OwnLog::new(key, Name::default(), reveals);
    let mut ledger = Ledger::open(Arc::clone(&rules), reader.clone(), own, [], [], [], now)?;
    loop {
        let group = export.next_group()?;
        if group.is_empty() {
            break;
        }
        let indexes: Vec<_> = group.iter().map(|block| (block.hash(), block.index())).collect();
        let outcome = ledger.add_blocks(group, now)?;
        if let Some((hash, refusal)) = outcome.refused {
            let index = indexes.iter().find(|(known, _)| *known == hash).map_or(Height::ZERO, |(_, index)| *index);
            return Err(ExportFault { block: index.get(), reason: refusal.into() }.into());
        }
        store.commit(&outcome.transitions)?;
        if let Some(last) = outcome.transitions.last() {
            ledger.committed(last.number);
        }
        if let Some((_, index)) = indexes.last() {
            rebuilt.blocks = index.get() + 1;
        }
    }
    rebuilt.records = chain_state(&reader, &rules)?.records;
    rebuilt.knows_station = station_state(&reader, &station)?.is_some();
    Ok(rebuilt)
}

impl Rebuilt {
    /// Puts it in the place of the station's own store, which must be closed and hold nothing that is missed.
    ///
    /// After a crash in between, the journal says which federation the station belongs to.
    ///
    /// # Errors
    /// [`RebuildError`].
    pub(crate) fn install(self, log_is_known: bool) -> Result<Genesis, RebuildError> {
        let (dir, place) = (&self.dir, place(&self.dir));
        let before = place.join("before");
        fs::create_dir(&before).map_err(at(&before))?;
        if !log_is_known {
            dir.mark_log_unknown()?;
        }
        for (own, name) in [(dir.view_dir(), "view"), (dir.side_dir(), "side"), (dir.journal_dir(), "journal")] {
            move_dir(&own, &before.join(name))?;
        }
        dir.forget_reach()?;
        move_dir(&place.join("journal"), &dir.journal_dir())?;
        move_dir(&place.join("view"), &dir.view_dir())?;
        dir.write_genesis(&self.genesis.encode())?;
        Ok(self.genesis.clone())
    }
}

/// Moves a directory, if it is there.
fn move_dir(from: &Path, to: &Path) -> Result<(), RebuildError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(from)(error)),
        _ => Ok(()),
    }
}
