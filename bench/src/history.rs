//! A chain that many stations wrote, made block by block without a daemon.

use std::sync::Arc;

use anyhow::{Context, Result};
use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::{SealedHeader, VerifiedBlock, batches_root};
use qfzz_ledger_core::crypto::StationKey;
use qfzz_ledger_core::federation::{Genesis, Parameters, Rules};
use qfzz_ledger_core::header::{BLOCK_VERSION, BlockHeader, Difficulty};
use qfzz_ledger_core::ids::{BlockHash, Height, Name};
use qfzz_ledger_core::pow::NonceSearch;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::reveal::RevealChain;

use crate::samples::{self, Log};

/// Blocks that a chain may have.
const MAX_BLOCKS: u32 = 1_000;

/// Stations, and the chain that they write. The first one produces every block.
pub struct History {
    rules: Arc<Rules>,
    logs: Vec<Log>,
    reveals: RevealChain,
    opened: [u8; 32],
    parent: (Height, BlockHash),
}

impl History {
    /// A federation of `stations` stations, the first `founders` of which founded it, at the easiest difficulty.
    ///
    /// # Errors
    /// Never with fewer than 256 stations and as many founders as a federation may have.
    pub fn new(founders: u8, stations: u8) -> Result<Self> {
        let key = |number: u8| StationKey::from_seed([number; 32]);
        let mut parameters = Parameters::new(Name::new("history")?, key(1).station(), samples::at()?);
        parameters.difficulty = Difficulty::new(1).context("a difficulty in range")?;
        (2..=founders).for_each(|number| parameters.add_founder(key(number).station(), None));
        let rules = Arc::new(Rules::new(Genesis::mine(parameters)?)?);
        let federation = rules.federation();
        let secret = key(1).reveal_secret(&federation);
        let reveals = RevealChain::new(&federation, &key(1).station(), secret, MAX_BLOCKS);
        let logs = (1..=stations).map(|number| Log::new(key(number)));
        let (opened, parent) = (reveals.commitment(), (Height::ZERO, rules.genesis_hash()));
        Ok(Self { rules, logs: logs.collect(), reveals, opened, parent })
    }

    /// The federation's rules.
    pub const fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// A station's key.
    pub fn key(&self, station: usize) -> &StationKey {
        &self.logs[station].key
    }

    /// The next block: what each of these stations (from 0) says, a batch each, by stations that have seen the block
    /// before. The first block begins with the first station, which it introduces.
    ///
    /// # Errors
    /// Where it breaks a limit.
    pub fn block(&mut self, said: Vec<(usize, Vec<Record>)>) -> Result<VerifiedBlock> {
        let body = said.into_iter().map(|(who, records)| self.batch(who, records)).collect::<Result<Vec<_>>>()?;
        let index = self.parent.0.next().context("a chain this long")?;
        let reveal = self.reveals.reveal(index.get() - 1, &self.opened).context("fewer blocks than steps")?;
        let bytes: usize = body.iter().map(VerifiedBatch::encoded_len).sum();
        let header = BlockHeader {
            version: BLOCK_VERSION,
            difficulty: self.rules.parameters().difficulty,
            index,
            previous: self.parent.1,
            merkle_root: batches_root(&body),
            batch_count: u32::try_from(body.len())?,
            body_bytes: u32::try_from(bytes)?,
            timestamp: samples::at()?.saturating_add(i64::try_from(index.get())?),
            producer: self.logs[0].key.station(),
            reveal,
            nonce: 0,
        };
        let mut search = NonceSearch::new(&self.rules.federation(), header);
        let (header, _) = std::iter::repeat_with(|| search.run(1 << 12)).find_map(|found| found).context("a nonce")?;
        let sealed = SealedHeader::seal(&self.rules, &self.logs[0].key, header);
        let block = VerifiedBlock::assemble(&self.rules, sealed, body)?;
        (self.opened, self.parent) = (reveal, (index, block.hash()));
        Ok(block)
    }

    fn batch(&mut self, who: usize, records: Vec<Record>) -> Result<VerifiedBatch> {
        let reveal_commitment = if who == 0 { self.reveals.commitment() } else { [0; 32] };
        let introduced = (&Name::new(format!("station {who}"))?, reveal_commitment);
        let at = samples::at()?.saturating_add(i64::try_from(self.parent.0.get())?);
        self.logs[who].sign(&self.rules, introduced, self.parent.1, at, records)
    }
}
