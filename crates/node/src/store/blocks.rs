//! The store as sync's answering side reads it.

use qfzz_ledger_core::block::{EncodedBlock, SealedHeader, SignedBlock};
use qfzz_ledger_core::ids::{BlockHash, Height};
use qfzz_ledger_core::state::ReadError;
use qfzz_sync::serve::BlockView;

use super::StoreRead;

/// Answers sync's questions about blocks. An answer made of several readings is of one commit inside
/// [`StoreRead::consistent`].
pub struct Blocks<'a, R>(pub &'a R);

impl<R: StoreRead> BlockView for Blocks<'_, R> {
    type Sent = EncodedBlock;

    fn best_height(&self, hash: &BlockHash) -> Result<Option<Height>, ReadError> {
        Ok(self.0.best_height(hash)?)
    }

    fn sealed_at(&self, height: Height) -> Result<Option<SealedHeader>, ReadError> {
        Ok(self.0.header_at(height)?.map(|(_, sealed)| sealed))
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<SignedBlock>, ReadError> {
        Ok(self.0.signed_block(hash)?)
    }

    fn sent_block(&self, hash: &BlockHash) -> Result<Option<EncodedBlock>, ReadError> {
        Ok(self.0.encoded_block(hash)?)
    }
}
