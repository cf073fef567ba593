//! Verified bodies off the best chain, one file a block: so strangers cannot fill the journal.
//!
//! Nothing here is synced. What a power cut took, or damaged, is as if it had never come: it is fetched again. How much
//! is kept is the ledger's decision, which drops the lightest first.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qfzz_ledger_core::batch::{Checked, SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{MAX_BLOCK_BYTES, SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::codec::{decode, encode};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::BlockHash;

/// Bytes of an encoded sealed header, at most: a hybrid seal takes 3.4 KiB.
const MAX_SEALED_BYTES: usize = 4 * 1024;

/// Bytes of a file, at most: two parts, each with length and checksum.
const MAX_FILE_BYTES: usize = MAX_SEALED_BYTES + MAX_BLOCK_BYTES + 16;

/// The directory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("blocks off the best chain: {path}: {source}", path = path.display())]
pub struct SideError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The one writer.
pub(super) struct Side {
    reader: SideReader,
    kept: HashSet<BlockHash>,
}

impl Side {
    /// Opens the directory, makes it where there is none, and removes what is not the whole file of a block.
    pub(super) fn open(dir: &Path, rules: &Rules) -> Result<Self, SideError> {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let mut side = Self { reader: SideReader { dir: dir.into() }, kept: HashSet::new() };
        for entry in std::fs::read_dir(dir).map_err(at(dir))? {
            let entry = entry.map_err(at(dir))?;
            let block = match hash_of(&entry.file_name()) {
                Some(hash) => side.reader.block(rules, &hash)?,
                None => None,
            };
            match block {
                Some(block) => {
                    side.kept.insert(block.hash());
                }
                None => remove(&entry.path())?,
            }
        }
        Ok(side)
    }

    pub(super) fn reader(&self) -> SideReader {
        self.reader.clone()
    }

    /// Whether a block is kept.
    pub(super) fn holds(&self, hash: &BlockHash) -> bool {
        self.kept.contains(hash)
    }

    /// Keeps a block.
    pub(super) fn keep(&mut self, block: &VerifiedBlock) -> Result<(), SideError> {
        let path = self.reader.path(&block.hash());
        let draft = path.with_extension("draft");
        std::fs::write(&draft, encode_file(block)).map_err(at(&draft))?;
        std::fs::rename(&draft, &path).map_err(at(&path))?;
        self.kept.insert(block.hash());
        Ok(())
    }

    /// Deletes a block, if it is there.
    pub(super) fn remove(&mut self, hash: &BlockHash) -> Result<(), SideError> {
        if self.kept.remove(hash) { remove(&self.reader.path(hash)) } else { Ok(()) }
    }
}

/// Reads blocks off the best chain, from any thread.
#[derive(Clone)]
pub(super) struct SideReader {
    dir: Arc<Path>,
}

impl SideReader {
    /// Reads the blocks in `dir`.
    pub(super) fn of(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    /// Blocks that are whole, and files that are not.
    pub(super) fn count(&self, rules: &Rules) -> Result<(usize, usize), SideError> {
        let (mut whole, mut damaged) = (0, 0);
        for entry in std::fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let hash = hash_of(&entry.map_err(at(&self.dir))?.file_name());
            match hash.map(|hash| self.block(rules, &hash)).transpose()?.flatten() {
                Some(_) => whole += 1,
                None => damaged += 1,
            }
        }
        Ok((whole, damaged))
    }

    fn path(&self, hash: &BlockHash) -> PathBuf {
        self.dir.join(format!("{hash}.block"))
    }

    /// The block; `None` if its file is not there, not whole, or not that block's.
    pub(super) fn block(&self, rules: &Rules, hash: &BlockHash) -> Result<Option<VerifiedBlock>, SideError> {
        let Some(bytes) = self.bytes(hash)? else { return Ok(None) };
        Ok(decode_file(&bytes).and_then(|SignedBlock { sealed, batches }| {
            // Each batch was verified before it was kept; the header's root says whether these are those.
            let batches = batches.into_iter().map(|batch| {
                let id = batch.id(rules);
                VerifiedBatch::reread(rules, batch, id, Checked::Alone).ok()
            });
            VerifiedBlock::reread(rules, sealed, batches.collect::<Option<_>>()?, *hash, Checked::Alone).ok()
        }))
    }

    /// The header and seal of a block; `None` as for [`block`](Self::block).
    pub(super) fn sealed(&self, rules: &Rules, hash: &BlockHash) -> Result<Option<SealedHeader>, SideError> {
        let sealed = self.bytes(hash)?.and_then(|bytes| decode(split(&bytes)?.0, MAX_SEALED_BYTES).ok());
        Ok(sealed.filter(|sealed: &SealedHeader| sealed.hash(rules) == *hash))
    }

    /// Header and seal of all blocks, by height: a parent comes before its children.
    pub(super) fn headers(&self, rules: &Rules) -> Result<Vec<(BlockHash, SealedHeader)>, SideError> {
        let mut headers = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            if let Some(hash) = hash_of(&entry.map_err(at(&self.dir))?.file_name())
                && let Some(sealed) = self.sealed(rules, &hash)?
            {
                headers.push((hash, sealed));
            }
        }
        headers.sort_by_key(|(hash, sealed)| (sealed.header.index, *hash));
        Ok(headers)
    }

    fn bytes(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, SideError> {
        let path = self.path(hash);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SideError { path, source }),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES as u64).read_to_end(&mut bytes).map_err(at(&path))?;
        Ok(Some(bytes))
    }
}

/// Header and seal, then the batches; before each its length and its checksum.
fn encode_file(block: &VerifiedBlock) -> Vec<u8> {
    let SignedBlock { sealed, batches } = block.to_signed();
    let mut bytes = Vec::new();
    for part in [encode(&sealed), encode(&batches)] {
        // A part has at most a body's bytes, 1 MiB and a little.
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&part).to_le_bytes());
        bytes.extend_from_slice(&part);
    }
    bytes
}

fn decode_file(bytes: &[u8]) -> Option<SignedBlock> {
    let (sealed, rest) = split(bytes)?;
    let (batches, end) = split(rest)?;
    let sealed = decode(sealed, MAX_SEALED_BYTES).ok()?;
    let batches: Vec<SignedBatch> = decode(batches, MAX_BLOCK_BYTES).ok()?;
    end.is_empty().then_some(SignedBlock { sealed, batches })
}

/// The first part of a file, and what follows it; `None` if it is not whole.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    (crc32fast::hash(part) == u32::from_le_bytes(*checksum)).then_some((part, rest))
}

fn hash_of(name: &std::ffi::OsStr) -> Option<BlockHash> {
    name.to_str()?.strip_suffix(".block")?.parse().ok()
}

fn remove(path: &Path) -> Result<(), SideError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SideError { path: path.to_path_buf(), source: error })
        }
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SideError {
    let path = path.to_path_buf();
    |source| SideError { path, source }
}
