//! A federation's parameters, its genesis, and the [`Rules`] that follow from both (protocol, section 4).

use std::collections::BTreeMap;

use crate::codec::{self, CodecError, Decode, Encode, decode, encode, encode_onto};
pub use crate::crypto::SignatureScheme;
use crate::crypto::{Tag, TaggedHash};
use crate::dataset::DatasetRules;
use crate::header::{BLOCK_VERSION, BlockHeader, Difficulty};
use crate::ids::{BatchId, BlockHash, FederationId, Height, Id, Name, RecordHash, Sequence, StationId};
use crate::limits::{
    MAX_ACTIONS, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, MAX_BLOCK_BATCHES, MAX_BODY_BYTES, MAX_FOUNDERS,
    MAX_PARAMETERS_BYTES, MIN_BATCH_BYTES, MIN_HYBRID_BATCH_BYTES,
};
use crate::pow::NonceSearch;
use crate::record::Record;
use crate::score::Delta;
use crate::sha::BLOCK_BYTES;
use crate::time::Timestamp;

/// The version of the protocol that this program speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Who may publish and produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Admission {
    /// Any key.
    Open,
    /// The founders, and whom they admit on chain.
    Roster,
}

/// Whether the founders vote on checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Finality {
    /// The most work wins, however deep.
    Off,
    /// Casper FFG among the founders.
    On,
}

/// A founder: a station that genesis names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Founder {
    /// Its key.
    pub station: StationId,
    /// The hash of its ML-DSA key, exactly under [`SignatureScheme::Hybrid`].
    pub ml_dsa_key_hash: Option<[u8; 32]>,
}

/// Limits that bind validity; none may pass the protocol's own ([`crate::limits`]).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Limits {
    /// Records in a batch.
    pub batch_records: u16,
    /// Bytes of an encoded signed batch.
    pub batch_bytes: u32,
    /// Batches in a block.
    pub block_batches: u32,
    /// Bytes of a block's body.
    pub body_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_records: MAX_BATCH_RECORDS,
            batch_bytes: MAX_BATCH_BYTES,
            block_batches: MAX_BLOCK_BATCHES,
            body_bytes: MAX_BODY_BYTES,
        }
    }
}

/// What the stations of a federation agree on before they agree on anything else.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Parameters {
    /// What the federation calls itself.
    pub name: Name,
    /// [`PROTOCOL_VERSION`].
    pub protocol_version: u32,
    /// When it was founded: genesis' timestamp.
    pub created_at: Timestamp,
    /// Zero hex digits that every block's hash starts with.
    pub difficulty: Difficulty,
    /// How its stations sign.
    pub signatures: SignatureScheme,
    /// Who may take part.
    pub admission: Admission,
    /// 1..=64 stations, each once, in ascending order.
    pub founders: Vec<Founder>,
    /// Whether founders vote on checkpoints.
    pub finality: Finality,
    /// Each action and its delta, in ascending order of the action.
    pub actions: Vec<(Id, Delta)>,
    /// Which datasets may be registered.
    pub datasets: DatasetRules,
    /// Limits that bind validity.
    pub limits: Limits,
}

/// The guide's actions, with their deltas in millionths, in ascending order.
const GUIDE_ACTIONS: [(&str, i32); 5] = [
    ("connection", 50_000),
    ("dataset_verification", 0),
    ("interaction", 10_000),
    ("rating", 30_000),
    ("verification", 20_000),
];

impl Parameters {
    /// An open federation with the guide's actions and default difficulty, founded by one station.
    pub fn new(name: Name, founder: StationId, created_at: Timestamp) -> Self {
        let id = |text: &str| Id::new(text).expect("the default ids are valid");
        let delta = |millionths| Delta::from_millionths(millionths).expect("the default deltas are in range");
        Self {
            name,
            protocol_version: PROTOCOL_VERSION,
            created_at,
            difficulty: Difficulty::DEFAULT,
            signatures: SignatureScheme::Ed25519,
            admission: Admission::Open,
            founders: vec![Founder { station: founder, ml_dsa_key_hash: None }],
            finality: Finality::Off,
            actions: GUIDE_ACTIONS.iter().map(|(name, millionths)| (id(name), delta(*millionths))).collect(),
            datasets: DatasetRules::default(),
            limits: Limits::default(),
        }
    }

    /// Sets the delta of an action, keeping the table in order.
    pub fn set_action(&mut self, action: Id, delta: Delta) {
        match self.actions.binary_search_by(|(name, _)| name.cmp(&action)) {
            Ok(at) => self.actions[at].1 = delta,
            Err(at) => self.actions.insert(at, (action, delta)),
        }
    }

    /// Names one more founder, with the hash of its ML-DSA key under [`SignatureScheme::Hybrid`], keeping the list in
    /// order; of one that is named already it sets the hash.
    pub fn add_founder(&mut self, station: StationId, ml_dsa_key_hash: Option<[u8; 32]>) {
        match self.founders.binary_search_by(|founder| founder.station.cmp(&station)) {
            Ok(at) => self.founders[at].ml_dsa_key_hash = ml_dsa_key_hash,
            Err(at) => self.founders.insert(at, Founder { station, ml_dsa_key_hash }),
        }
    }

    fn check(&self) -> Result<(), GenesisError> {
        if self.protocol_version != PROTOCOL_VERSION {
            return Err(GenesisError::Version { found: self.protocol_version });
        }
        if self.finality == Finality::On {
            return Err(GenesisError::NotInThisVersion { feature: "finality" });
        }
        if self.founders.is_empty() || self.founders.len() > MAX_FOUNDERS {
            return Err(GenesisError::FounderCount { found: self.founders.len() });
        }
        let ascending_founders = self.founders.is_sorted_by(|a, b| a.station < b.station);
        let is_hybrid = self.signatures == SignatureScheme::Hybrid;
        let scheme_fits = self.founders.iter().all(|founder| founder.ml_dsa_key_hash.is_some() == is_hybrid);
        let ascending_actions = self.actions.is_sorted_by(|a, b| a.0 < b.0) && self.actions.len() <= MAX_ACTIONS;
        let ascending_licenses = self.datasets.licenses.is_sorted_by(|a, b| a < b);
        if !(ascending_founders && ascending_actions && ascending_licenses) {
            return Err(GenesisError::NotCanonical);
        }
        if !scheme_fits {
            return Err(GenesisError::FounderKeys);
        }
        let Limits { batch_records, batch_bytes, block_batches, body_bytes } = self.limits;
        let least_bytes = if is_hybrid { MIN_HYBRID_BATCH_BYTES } else { MIN_BATCH_BYTES };
        let within = (1..=MAX_BATCH_RECORDS).contains(&batch_records)
            && (least_bytes..=MAX_BATCH_BYTES).contains(&batch_bytes)
            && (1..=MAX_BLOCK_BATCHES).contains(&block_batches)
            && (batch_bytes..=MAX_BODY_BYTES).contains(&body_bytes);
        if within { Ok(()) } else { Err(GenesisError::Limits) }
    }
}

/// Why parameters or a genesis cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// The bytes are not a genesis.
    #[error("the genesis cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// Made for another version of the protocol.
    #[error("the federation speaks protocol version {found}, this program {PROTOCOL_VERSION}: update qfzz")]
    Version {
        /// The version found.
        found: u32,
    },
    /// It asks for something that this version has not got.
    #[error("this version of qfzz has no {feature}: update qfzz, or use another federation")]
    NotInThisVersion {
        /// The feature's name.
        feature: &'static str,
    },
    /// No founder, or too many.
    #[error("{found} founders: name 1 to {MAX_FOUNDERS}")]
    FounderCount {
        /// Founders named.
        found: usize,
    },
    /// Founders, actions or licences are not in ascending order, or stand twice.
    #[error("founders, actions or licences are not in their one order")]
    NotCanonical,
    /// A founder without the hash of its ML-DSA key where stations sign with one, or with it where they do not.
    #[error("each founder is named with the hash of its ML-DSA key exactly where the federation signs with `hybrid`")]
    FounderKeys,
    /// Limits of zero, or beyond the protocol's.
    #[error("the limits are outside what the protocol allows")]
    Limits,
    /// The encoded parameters are too long.
    #[error("the parameters take {bytes} bytes: at most {MAX_PARAMETERS_BYTES} are allowed; name fewer actions")]
    TooLong {
        /// Bytes that they take.
        bytes: usize,
    },
    /// The nonce does not give the genesis hash enough zero digits.
    #[error("the genesis has no proof of work")]
    Work,
}

/// A federation's parameters and the nonce that seals them: what `/qfzz/genesis/1` answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Genesis {
    /// What the federation agreed on.
    pub parameters: Parameters,
    /// The first nonce, counted from 0, that meets the difficulty.
    pub nonce: u64,
}

impl Genesis {
    /// Finds the nonce for `parameters`.
    ///
    /// # Errors
    /// [`GenesisError`] where the parameters are not valid.
    pub fn mine(parameters: Parameters) -> Result<Self, GenesisError> {
        parameters.check()?;
        let bytes = codec::encoded_len(&parameters);
        if bytes > MAX_PARAMETERS_BYTES {
            return Err(GenesisError::TooLong { bytes });
        }
        let mut search = NonceSearch::new(&FederationId::ZERO, header(&parameters, 0));
        loop {
            if let Some((header, _)) = search.run(u32::MAX) {
                return Ok(Self { parameters, nonce: header.nonce });
            }
        }
    }

    /// The encoding that stations exchange: at most 64 KiB and a nonce.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`Genesis::encode`] gave; checked when [`Rules`] are made of it.
    ///
    /// # Errors
    /// [`CodecError`] where the bytes are not that.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes, MAX_PARAMETERS_BYTES + 8)
    }

    /// The genesis block's header: index 0, zeros for previous, producer and reveal, the parameters' hash as root.
    pub fn header(&self) -> BlockHeader {
        header(&self.parameters, self.nonce)
    }

    /// The federation's id: the genesis block's hash.
    pub fn id(&self) -> FederationId {
        let hash = TaggedHash::new(Tag::Block, &FederationId::ZERO, &[]).hash(&[&encode(&self.header())]);
        FederationId::from_bytes(hash)
    }
}

fn header(parameters: &Parameters, nonce: u64) -> BlockHeader {
    BlockHeader {
        version: BLOCK_VERSION,
        difficulty: parameters.difficulty,
        index: Height::ZERO,
        previous: BlockHash::ZERO,
        merkle_root: TaggedHash::new(Tag::Genesis, &FederationId::ZERO, &[]).hash(&[&encode(parameters)]),
        batch_count: 0,
        body_bytes: 0,
        timestamp: parameters.created_at,
        producer: StationId::ZERO,
        reveal: [0; 32],
        nonce,
    }
}

/// Everything that validity depends on beside the chain: a checked genesis, and the federation's hash functions.
#[derive(Clone)]
pub struct Rules {
    genesis: Genesis,
    id: FederationId,
    actions: BTreeMap<Id, Delta>,
    batch: TaggedHash,
    batch_id: TaggedHash,
    block: TaggedHash,
    seal: TaggedHash,
    rank: TaggedHash,
    draw: TaggedHash,
}

impl Rules {
    /// Checks a genesis and prepares its rules.
    ///
    /// # Errors
    /// [`GenesisError`] where a parameter is not valid, the proof of work is missing, or this version lacks something
    /// that the federation uses.
    pub fn new(genesis: Genesis) -> Result<Self, GenesisError> {
        genesis.parameters.check()?;
        let id = genesis.id();
        if !genesis.parameters.difficulty.is_met_by(&BlockHash::from_bytes(*id.as_bytes())) {
            return Err(GenesisError::Work);
        }
        let hash = |tag| TaggedHash::new(tag, &id, &[]);
        Ok(Self {
            actions: genesis.parameters.actions.iter().cloned().collect(),
            batch: hash(Tag::Batch),
            batch_id: hash(Tag::BatchId),
            block: hash(Tag::Block),
            seal: hash(Tag::Seal),
            rank: hash(Tag::Rank),
            draw: hash(Tag::Draw),
            genesis,
            id,
        })
    }

    /// The genesis that these rules follow from.
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The parameters in genesis.
    pub const fn parameters(&self) -> &Parameters {
        &self.genesis.parameters
    }

    /// How its stations sign.
    pub const fn scheme(&self) -> SignatureScheme {
        self.genesis.parameters.signatures
    }

    /// Whether stations sign with an ML-DSA key as well.
    pub fn is_hybrid(&self) -> bool {
        self.scheme() == SignatureScheme::Hybrid
    }

    /// The limits that bind validity.
    pub const fn limits(&self) -> &Limits {
        &self.genesis.parameters.limits
    }

    /// Whether genesis names this station.
    pub fn is_founder(&self, station: &StationId) -> bool {
        self.founder_place(station).is_some()
    }

    /// The hash of a founder's ML-DSA key; `None` of anybody else, and where stations sign without one.
    pub fn founder_key_hash(&self, station: &StationId) -> Option<[u8; 32]> {
        let place = self.founder_place(station)?;
        self.parameters().founders[place as usize].ml_dsa_key_hash
    }

    /// A founder's place in genesis, from 0, below 64; `None` of anybody else.
    pub fn founder_place(&self, station: &StationId) -> Option<u32> {
        let founders = &self.parameters().founders;
        let place = founders.binary_search_by(|founder| founder.station.cmp(station)).ok()?;
        u32::try_from(place).ok()
    }

    /// How many founders are more than half of them.
    pub fn majority(&self) -> u32 {
        u32::try_from(self.parameters().founders.len() / 2 + 1).expect("at most 64 founders")
    }

    /// Whether only founders, and whom they admit, may take part.
    pub fn has_roster(&self) -> bool {
        self.parameters().admission == Admission::Roster
    }

    /// The federation's id.
    pub const fn federation(&self) -> FederationId {
        self.id
    }

    /// The genesis block's hash: the federation's id.
    pub const fn genesis_hash(&self) -> BlockHash {
        BlockHash::from_bytes(*self.id.as_bytes())
    }

    /// The delta of an action; `None` where the table has no such action.
    pub fn delta_of(&self, action: &Id) -> Option<Delta> {
        self.actions.get(action).copied()
    }

    /// The action table, in ascending order.
    pub const fn actions(&self) -> &BTreeMap<Id, Delta> {
        &self.actions
    }

    /// What a batch's author signs, given the encoded header.
    pub fn batch_hash(&self, encoded_header: &[u8]) -> [u8; 32] {
        self.batch.hash(&[encoded_header])
    }

    /// The id of the batch with this hash and signature.
    pub fn batch_id(&self, batch_hash: &[u8; 32], signature: &[u8]) -> BatchId {
        BatchId::from_bytes(self.batch_id.hash(&[batch_hash, signature]))
    }

    /// The hash function for the records of one batch.
    pub fn record_hasher(&self, station: &StationId, sequence: Sequence) -> RecordHasher {
        let context: [&[u8]; 2] = [station.as_bytes(), &sequence.get().to_le_bytes()];
        RecordHasher(TaggedHash::new(Tag::Record, &self.id, &context))
    }

    /// The hash of a block that is not genesis.
    pub fn block_hash(&self, header: &BlockHeader) -> BlockHash {
        BlockHash::from_bytes(self.block.hash(&[&encode(header)]))
    }

    /// What a block's producer signs.
    pub fn seal_digest(&self, block: &BlockHash) -> [u8; 32] {
        self.seal.hash(&[block.as_bytes()])
    }

    /// Slot order and tie-break: the lower, the earlier.
    pub fn rank(&self, previous: &BlockHash, producer: &StationId) -> [u8; 32] {
        self.rank.hash(&[previous.as_bytes(), producer.as_bytes()])
    }

    /// The draw of a block, from its parent's draw and its reveal. The draw of genesis is its hash.
    pub fn draw(&self, parent: &[u8; 32], reveal: &[u8; 32]) -> [u8; 32] {
        self.draw.hash(&[parent, reveal])
    }
}

/// Hashes the records of one batch.
pub struct RecordHasher(TaggedHash);

impl RecordHasher {
    /// The hash of an encoded record at `index` of the batch.
    pub fn hash(&self, index: u16, encoded_record: &[u8]) -> RecordHash {
        RecordHash::from_bytes(self.0.hash(&[&index.to_le_bytes(), encoded_record]))
    }

    /// The hashes of a batch's records, in order.
    pub fn hash_all(&self, records: &[Record]) -> Vec<[u8; 32]> {
        let midstate = self.0.midstate();
        // All inputs first, then all hashes: an input that is read right after it was written would be waited for.
        let (mut inputs, mut starts) = (Vec::new(), Vec::with_capacity(records.len()));
        for (index, record) in (0_u16..).zip(records) {
            let start = inputs.len();
            starts.push(start / BLOCK_BYTES);
            inputs.extend_from_slice(&index.to_le_bytes());
            encode_onto(record, &mut inputs);
            midstate.pad(&mut inputs, start);
        }
        let (blocks, _) = inputs.as_chunks();
        let ends = starts.iter().skip(1).copied().chain([blocks.len()]);
        starts.iter().zip(ends).map(|(start, end)| midstate.hash_padded(&blocks[*start..end])).collect()
    }
}
