//! Typed reading of the view's entries, the same through a draft as directly.

use qfzz_ledger_core::codec::CodecError;
use qfzz_ledger_core::ids::{BlockHash, Height, Sequence, StationId};
use qfzz_ledger_core::state::{Key, Undo, Value};

use super::schema::{self, BlockAt, Link, Logged, Own};
use super::view::{Damage, Pair, ViewError, ViewReader};

/// Whatever gives the values of the view's keys.
pub(super) trait Lookup {
    /// The value of a key.
    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError>;

    /// The values of all keys that start with `prefix`, in order of the keys.
    fn all(&self, prefix: &[u8]) -> Result<Vec<Pair>, ViewError>;

    /// The block of the best chain at `height`.
    fn link(&self, height: Height) -> Result<Option<Link>, ViewError> {
        parse(self.bytes(&schema::height_key(height))?, Link::decode)
    }

    /// Where the entry of a block lies that was connected at some time.
    fn block_at(&self, hash: &BlockHash) -> Result<Option<BlockAt>, ViewError> {
        parse(self.bytes(&schema::block_key(hash))?, BlockAt::decode)
    }

    /// Whether a block is the one of the best chain at that height.
    fn is_best(&self, height: Height, hash: &BlockHash) -> Result<bool, ViewError> {
        Ok(self.link(height)?.is_some_and(|link| link.hash == *hash))
    }

    /// The chunk of a station's log that holds, or would hold, `sequence`.
    fn log_chunk(&self, station: &StationId, sequence: Sequence) -> Result<Vec<Logged>, ViewError> {
        let chunk = parse(self.bytes(&schema::log_key(station, sequence))?, schema::decode_log)?;
        Ok(chunk.unwrap_or_default())
    }

    /// A batch of a station's log on the best chain.
    fn logged(&self, station: &StationId, sequence: Sequence) -> Result<Option<Logged>, ViewError> {
        Ok(self.log_chunk(station, sequence)?.get(schema::log_index(sequence)).copied())
    }

    /// A batch of this station that is not on the best chain.
    fn own(&self, sequence: Sequence) -> Result<Option<Own>, ViewError> {
        parse(self.bytes(&schema::own_key(sequence))?, Own::decode)
    }

    /// All batches of this station that are not on the best chain, in order.
    fn own_all(&self) -> Result<Vec<Own>, ViewError> {
        let entries = self.all(&[schema::OWN])?;
        entries.iter().map(|(_, bytes)| Own::decode(bytes).map_err(meaning)).collect()
    }

    /// Undo data of the block of the best chain at `height`.
    fn undo_at(&self, height: Height) -> Result<Option<Undo>, ViewError> {
        let chunks = self.all(&schema::undo_prefix(height))?;
        if chunks.is_empty() {
            return Ok(None);
        }
        let stream: Vec<u8> = chunks.into_iter().flat_map(|(_, chunk)| chunk).collect();
        schema::decode_undo(&stream).map(Some).map_err(meaning)
    }

    /// A value of the trust state.
    fn state(&self, key: &Key) -> Result<Option<Value>, ViewError> {
        parse(self.bytes(&schema::state_key(key))?, schema::decode_state)
    }
}

impl Lookup for ViewReader {
    fn bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        self.get(key)
    }

    fn all(&self, prefix: &[u8]) -> Result<Vec<Pair>, ViewError> {
        self.range(prefix, &schema::after(prefix)).collect()
    }
}

fn parse<T>(
    bytes: Option<Vec<u8>>,
    decode: impl FnOnce(&[u8]) -> Result<T, CodecError>,
) -> Result<Option<T>, ViewError> {
    bytes.map(|bytes| decode(&bytes).map_err(meaning)).transpose()
}

/// A value that is whole, but not what its key promises, was written by another version.
fn meaning(_: CodecError) -> ViewError {
    ViewError::damaged(Damage::Meaning)
}
