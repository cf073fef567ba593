//! The guide's `BlockchainTrustNetwork`: one station's ledger in memory, with the verbs of the original program.
//!
//! The daemon uses [`Ledger`] with a store on disk; this is the same ledger for programs and for trying things out.

mod block;
mod datasets;

use std::sync::Arc;

pub use block::Block;

use crate::block::{SignedBlock, VerifiedBlock};
use crate::crypto::StationKey;
use crate::federation::{Genesis, GenesisError, Parameters, Rules};
use crate::header::Difficulty;
use crate::ids::{BlockHash, Height, Id, IdError, Name, Target};
use crate::ledger::{BlockRefusal, Ledger, NoBlock, Transition};
use crate::memory::MemoryStore;
use crate::overlay::LedgerRead;
use crate::own_log::OwnLog;
use crate::pow::NonceSearch;
use crate::record::{ContentAdded, ContentRef, Metadata, Record, RecordError, Subject, UserAction};
use crate::reveal::RevealChain;
use crate::score::Score;
use crate::state::{ContentTrust, ReadError, Trust, UserTrust};
use crate::time::Timestamp;
use crate::verify::Verifier;

/// Steps of the reveal chain of a network in memory: blocks that it can produce.
const REVEALS: u32 = 1 << 16;

/// Why a verb failed; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The difficulty is not 1 to 8.
    #[error("difficulty {found} is out of range: give 1 to 8")]
    Difficulty {
        /// The difficulty given.
        found: u32,
    },
    /// A user's, content's, creator's or action's id breaks the rule for ids.
    #[error("id {0}")]
    Id(#[from] IdError),
    /// The action is not in the federation's action table.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The parameters make no federation.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A block of this network's own was refused.
    #[error(transparent)]
    Refused(#[from] BlockRefusal),
}

/// The guide's statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Blocks, genesis included.
    pub chain_length: u64,
    /// Records on the chain.
    pub total_records: u64,
    /// Records that wait for a block.
    pub pending_records: u64,
    /// Zero hex digits that a block's hash starts with.
    pub difficulty: u32,
    /// Whether the whole chain verifies.
    pub is_valid: bool,
    /// Distinct (content, creator) pairs on the chain.
    pub indexed_records: u64,
    /// Distinct users on the chain.
    pub total_users: u64,
}

/// The figures that the guide's `get_chain_stats` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainStats {
    /// Blocks, genesis included.
    pub chain_length: u64,
    /// Records that wait for a block.
    pub pending_records: u64,
    /// Distinct users on the chain.
    pub total_users: u64,
    /// Whether the whole chain verifies.
    pub chain_valid: bool,
}

/// One station's trust network in memory. Times are arguments: the ledger has no clock.
pub struct BlockchainTrustNetwork {
    ledger: Ledger<MemoryStore>,
    store: MemoryStore,
}

impl BlockchainTrustNetwork {
    /// Founds a federation of one station, whose key comes from `seed`, at `now`.
    ///
    /// # Errors
    /// [`NetworkError::Difficulty`] outside 1..=8.
    pub fn new(difficulty: u32, seed: [u8; 32], now: Timestamp) -> Result<Self, NetworkError> {
        let key = StationKey::from_seed(seed);
        let name = Name::new("QFZZ")?;
        let mut parameters = Parameters::new(name.clone(), key.station(), now);
        parameters.difficulty = Difficulty::new(difficulty).ok_or(NetworkError::Difficulty { found: difficulty })?;
        let rules = Arc::new(Rules::new(Genesis::mine(parameters)?)?);
        let secret = key.reveal_secret(&rules.federation());
        let reveals = RevealChain::new(&rules.federation(), &key.station(), secret, REVEALS);
        let (own, store) = (OwnLog::new(key, name, reveals), MemoryStore::default());
        let ledger = Ledger::open(rules, store.clone(), own, [], [], [], now)?;
        Ok(Self { ledger, store })
    }

    /// The ledger behind the verbs.
    pub const fn ledger(&self) -> &Ledger<MemoryStore> {
        &self.ledger
    }

    fn commit(&mut self, transitions: impl IntoIterator<Item = Transition>) {
        for transition in transitions {
            self.store.apply(&transition);
            self.ledger.committed(transition.number);
        }
    }

    fn add(&mut self, record: Record, now: Timestamp) -> Result<(), NetworkError> {
        self.add_all(vec![record], now)
    }

    fn add_all(&mut self, records: Vec<Record>, now: Timestamp) -> Result<(), NetworkError> {
        records.iter().try_for_each(|record| record.check(self.ledger.rules()))?;
        let transition = self.ledger.sign(records, now)?;
        self.commit(transition);
        Ok(())
    }

    /// A user did something to `target`; the action's delta moves the user's score.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id or an unknown action.
    pub fn add_user_action(
        &mut self,
        user: &str,
        action: &str,
        target: &str,
        now: Timestamp,
    ) -> Result<(), NetworkError> {
        let action = self.user_action(user, action, target, now)?;
        self.add(action, now)
    }

    /// The record of an action, with the federation's delta.
    fn user_action(&self, user: &str, action: &str, target: &str, now: Timestamp) -> Result<Record, NetworkError> {
        let action = Id::new(action)?;
        let unknown = || RecordError::UnknownAction { action: action.clone() };
        let trust_delta = self.ledger.rules().delta_of(&action).ok_or_else(unknown)?;
        let (user_id, target) = (Id::new(user)?, Target::new(target)?);
        Ok(Record::UserAction(UserAction { user_id, action, target, trust_delta, timestamp: now }))
    }

    /// A content exists, with a score while nobody has verified or reported it.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn add_trust_record(
        &mut self,
        content: &str,
        creator: &str,
        initial_score: Score,
        now: Timestamp,
    ) -> Result<(), NetworkError> {
        let (content_id, creator_id) = (Id::new(content)?, Id::new(creator)?);
        let added = ContentAdded { content_id, creator_id, initial_score, metadata: Metadata::empty() };
        self.add(Record::ContentAdded(added), now)
    }

    /// A content was verified.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn verify_content(&mut self, content: &str, creator: &str, now: Timestamp) -> Result<(), NetworkError> {
        let content = ContentRef { content_id: Id::new(content)?, creator_id: Id::new(creator)? };
        self.add(Record::ContentVerified(content), now)
    }

    /// A content was reported.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn report_content(&mut self, content: &str, creator: &str, now: Timestamp) -> Result<(), NetworkError> {
        let content = ContentRef { content_id: Id::new(content)?, creator_id: Id::new(creator)? };
        self.add(Record::ContentReported(content), now)
    }

    /// Mines what is pending, as far as it fits into one block; `None` when nothing is.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn mine_pending_records(&mut self, now: Timestamp) -> Result<Option<VerifiedBlock>, NetworkError> {
        let (introduced, template) = self.ledger.template(now)?;
        self.commit(introduced);
        let template = match template {
            Ok(template) => template,
            Err(NoBlock::NothingPending | NoBlock::NotAdmitted | NoBlock::RevealsUsedUp | NoBlock::ClockBehind) => {
                return Ok(None);
            }
        };
        let mut search = NonceSearch::new(&self.ledger.rules().federation(), template.header.clone());
        let header = loop {
            if let Some((header, _)) = search.run(u32::MAX) {
                break header;
            }
        };
        let (block, outcome) = self.ledger.mined(template, header, now)?;
        self.commit(outcome.transitions);
        match outcome.refused {
            Some((_, refusal)) => Err(refusal.into()),
            None => Ok(block),
        }
    }

    /// The score of a content, pending records included; 0.5 when unknown.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn get_trust_score(&self, content: &str, creator: &str) -> Result<Score, NetworkError> {
        Ok(self.content(content, creator)?.score)
    }

    /// Everything about a content; `None` when unknown.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn get_trust_record(&self, content: &str, creator: &str) -> Result<Option<ContentTrust>, NetworkError> {
        let content = self.content(content, creator)?;
        Ok(content.times.is_some().then_some(content))
    }

    fn content(&self, content: &str, creator: &str) -> Result<ContentTrust, NetworkError> {
        let subject = Subject::Content { creator_id: Id::new(creator)?, content_id: Id::new(content)? };
        let pending = self.ledger.pending_about(&subject)?;
        Ok(Trust::new(self.ledger.rules(), self.ledger.read()).content(&subject, pending)?)
    }

    /// The mean over a creator's contents; 0.5 when none.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn get_creator_trust(&self, creator: &str) -> Result<Score, NetworkError> {
        let creator = Id::new(creator)?;
        let pending = self.ledger.pending_about(&Subject::Creator(creator.clone()))?;
        Ok(Trust::new(self.ledger.rules(), self.ledger.read()).creator(&creator, pending)?.score)
    }

    /// A user's score, now and confirmed; 0.5 when new.
    ///
    /// # Errors
    /// [`NetworkError`] for a bad id.
    pub fn get_user_trust(&self, user: &str) -> Result<UserTrust, NetworkError> {
        let user = Id::new(user)?;
        let pending = self.ledger.pending_about(&Subject::User(user.clone()))?;
        Ok(Trust::new(self.ledger.rules(), self.ledger.read()).user(&user, pending)?)
    }

    /// Verifies the whole chain from genesis: hashes, links, work, signatures, logs.
    pub fn is_chain_valid(&self) -> bool {
        let mut verifier = Verifier::from_genesis(self.ledger.rules());
        self.export_chain().is_ok_and(|blocks| blocks.into_iter().all(|block| verifier.next(block).is_ok()))
    }

    /// The guide's statistics.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn get_statistics(&self) -> Result<Statistics, NetworkError> {
        let state = self.ledger.chain_state()?;
        Ok(Statistics {
            chain_length: state.height.get() + 1,
            total_records: state.records,
            pending_records: self.ledger.pool().records(),
            difficulty: self.ledger.rules().parameters().difficulty.digits(),
            is_valid: self.is_chain_valid(),
            indexed_records: state.contents,
            total_users: state.users,
        })
    }

    /// Blocks, genesis included.
    pub fn get_chain_length(&self) -> u64 {
        self.ledger.chain().height().get() + 1
    }

    /// The guide's short statistics.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn get_chain_stats(&self) -> Result<ChainStats, NetworkError> {
        let Statistics { chain_length, pending_records, total_users, is_valid, .. } = self.get_statistics()?;
        Ok(ChainStats { chain_length, pending_records, total_users, chain_valid: is_valid })
    }

    /// The block at an index; genesis has 0. `None` beyond the head.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn get_block(&self, index: u64) -> Result<Option<Block>, NetworkError> {
        match self.ledger.chain().at(Height::new(index)) {
            Some(hash) => self.block(&hash).map(Some),
            None => Ok(None),
        }
    }

    /// The newest block.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn get_latest_block(&self) -> Result<Block, NetworkError> {
        self.block(&self.ledger.chain().head())
    }

    fn block(&self, hash: &BlockHash) -> Result<Block, NetworkError> {
        let rules = self.ledger.rules();
        if *hash == rules.genesis_hash() {
            return Ok(Block::genesis(rules));
        }
        Ok(self.verified(hash)?.into())
    }

    fn verified(&self, hash: &BlockHash) -> Result<VerifiedBlock, NetworkError> {
        Ok(self.ledger.read().block(hash)?.ok_or(ReadError::Damaged { what: "a block" })?)
    }

    /// The blocks above genesis, with all that is needed to verify them again.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn export_chain(&self) -> Result<Vec<SignedBlock>, NetworkError> {
        let mut blocks = Vec::new();
        for index in 1..self.get_chain_length() {
            let hash = self.ledger.chain().at(Height::new(index)).ok_or(ReadError::Damaged { what: "a block" })?;
            blocks.push(self.verified(&hash)?.to_signed());
        }
        Ok(blocks)
    }
}
