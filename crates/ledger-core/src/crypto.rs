//! Tagged SHA-256 and signatures.
//!
//! Every hash is tagged in the way of BIP 340: `SHA-256(SHA-256(context) | SHA-256(context) | message)`. The 64-byte
//! prefix is one compression, kept as a midstate in a [`TaggedHash`]. The context holds the federation, so nothing can
//! be replayed into another federation or another role (protocol, section 1).

use std::cell::RefCell;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::codec::{Decode, Encode};
use crate::ids::{FederationId, StationId};
use crate::sha::Midstate;

/// Bytes of an Ed25519 signature.
pub const ED25519_SIGNATURE_BYTES: usize = 64;

/// What a hash is for. The ASCII text begins its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Encoded parameters: genesis' root.
    Genesis,
    /// Index and record: a leaf of a batch's Merkle tree.
    Record,
    /// Left and right: an inner node of a Merkle tree.
    Node,
    /// A batch's header: what its author signs.
    Batch,
    /// Batch hash and signature: the batch's id.
    BatchId,
    /// A block's header: the block's hash.
    Block,
    /// A block's hash: what its producer signs.
    Seal,
    /// Previous hash and producer: slot order and tie-break.
    Rank,
    /// A preimage: one step of a station's reveal chain.
    Reveal,
    /// The parent's draw and a reveal: the block's draw.
    Draw,
    /// Stations and where their logs end: what two stations compare before they exchange what is pending.
    Pending,
    /// A run and a time: what a station signs to say that a daemon of its is alive.
    Alive,
    /// An invitation's secret: what its founder keeps; and that, for a newcomer: what the newcomer shows.
    Invitation,
    /// A seed and where a data directory is: names the directory to whoever has the seed, and to nobody else.
    Place,
}

impl Tag {
    const fn text(self) -> &'static str {
        match self {
            Self::Genesis => "qfzz/genesis/1",
            Self::Record => "qfzz/record/1",
            Self::Node => "qfzz/node/1",
            Self::Batch => "qfzz/batch/1",
            Self::BatchId => "qfzz/batch-id/1",
            Self::Block => "qfzz/block/1",
            Self::Seal => "qfzz/seal/1",
            Self::Rank => "qfzz/rank/1",
            Self::Reveal => "qfzz/reveal/1",
            Self::Draw => "qfzz/draw/1",
            Self::Pending => "qfzz/pending/1",
            Self::Alive => "qfzz/alive/1",
            Self::Invitation => "qfzz/invitation/1",
            Self::Place => "qfzz/place/1",
        }
    }
}

/// A tagged hash function: SHA-256 after the 64-byte prefix of its context.
#[derive(Clone)]
pub struct TaggedHash(Midstate);

impl TaggedHash {
    /// The function of `tag` in `federation` (zeros where there is none yet), with what the protocol's table names
    /// for this tag in `context`.
    pub fn new(tag: Tag, federation: &FederationId, context: &[&[u8]]) -> Self {
        Self(Midstate::after(&[prefix(tag, federation, context)]))
    }

    /// The hash of the concatenation of `parts`.
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.hash(parts)
    }

    /// The midstate after the prefix.
    pub(crate) const fn midstate(&self) -> &Midstate {
        &self.0
    }
}

/// The 64 bytes before a message: the context's SHA-256, twice.
pub(crate) fn prefix(tag: Tag, federation: &FederationId, context: &[&[u8]]) -> [u8; 64] {
    let mut hasher = Sha256::new();
    hasher.update(tag.text());
    hasher.update(federation.as_bytes());
    for part in context {
        hasher.update(part);
    }
    let half: [u8; 32] = hasher.finalize().into();
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&half);
    bytes[32..].copy_from_slice(&half);
    bytes
}

/// A signature's bytes; their length must be that of the federation's scheme (0 for genesis' seal).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// No signature: genesis' seal.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Takes bytes as received.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `station` made this signature over `digest`, by the strict rules: a canonical key and signature, no
    /// small-order points.
    pub fn verifies(&self, station: &StationId, digest: &[u8; 32]) -> bool {
        let Ok(bytes) = <&[u8; ED25519_SIGNATURE_BYTES]>::try_from(&self.0[..]) else { return false };
        let Some(key) = decoded_key(station) else { return false };
        key.verify_strict(digest, &ed25519_dalek::Signature::from_bytes(bytes)).is_ok()
    }
}

/// Keys that a thread keeps decoded.
const KEPT_KEYS: usize = 64;

/// The key of a station, if it is a point in canonical encoding.
///
/// Decoding one costs a tenth of checking a signature, and most signatures are of stations that signed a moment ago:
/// each thread keeps some, each in a place that its bytes name.
fn decoded_key(station: &StationId) -> Option<VerifyingKey> {
    thread_local! {
        static KEPT: RefCell<[Option<VerifyingKey>; KEPT_KEYS]> = const { RefCell::new([None; KEPT_KEYS]) };
    }
    let bytes = station.as_bytes();
    KEPT.with_borrow_mut(|kept| {
        let place = &mut kept[usize::from(bytes[0]) % KEPT_KEYS];
        if let Some(key) = place.filter(|key| key.as_bytes() == bytes) {
            return Some(key);
        }
        let key = VerifyingKey::from_bytes(bytes).ok().filter(|_| is_canonical(bytes))?;
        *place = Some(key);
        Some(key)
    })
}

/// Whether a key's y coordinate is below the field's prime, 2^255 - 19: else one point had two ids.
fn is_canonical(key: &[u8; 32]) -> bool {
    let beyond = key[31] & 0x7f == 0x7f && key[1..31].iter().all(|byte| *byte == 0xff) && key[0] >= 0xed;
    !beyond
}

/// A station's signing key. Its bytes are wiped from memory when it is dropped.
#[derive(Clone)]
pub struct StationKey {
    key: SigningKey,
    seed: Zeroizing<[u8; 32]>,
}

impl StationKey {
    /// The key of a 32-byte seed: the same as libp2p makes of it.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(&seed), seed: Zeroizing::new(seed) }
    }

    /// The station that this key speaks for.
    pub fn station(&self) -> StationId {
        StationId::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// Signs a tagged hash; the same digest always gives the same signature.
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        Signature(self.key.sign(digest).to_bytes().to_vec())
    }

    /// Names the directory at `path` on `host` to this station's daemons alone.
    pub fn place(&self, host: &[u8], path: &[u8]) -> [u8; 8] {
        let host_bytes = (host.len() as u64).to_le_bytes();
        let hash = TaggedHash::new(Tag::Place, &FederationId::ZERO, &[self.station().as_bytes()]);
        let digest = hash.hash(&[&*self.seed, &host_bytes, host, path]);
        std::array::from_fn(|index| digest[index])
    }

    /// The secret that the station's reveal chain in `federation` starts from.
    pub fn reveal_secret(&self, federation: &FederationId) -> [u8; 32] {
        TaggedHash::new(Tag::Reveal, federation, &[self.station().as_bytes(), b"secret"]).hash(&[&*self.seed])
    }
}

impl std::fmt::Debug for StationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StationKey({})", self.station())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tagged_hash_is_what_bip_340_describes() {
        let federation = FederationId::from_bytes([3; 32]);
        let context = [b"qfzz/record/1".as_slice(), federation.as_bytes(), b"more"].concat();
        let half = Sha256::digest(&context);
        let expected: [u8; 32] = Sha256::digest([half.as_slice(), half.as_slice(), b"message"].concat()).into();
        assert_eq!(TaggedHash::new(Tag::Record, &federation, &[b"more"]).hash(&[b"mes", b"sage"]), expected);
    }

    #[test]
    fn a_signature_verifies_for_its_station_and_digest_only() {
        let key = StationKey::from_seed([1; 32]);
        let signature = key.sign(&[9; 32]);
        assert!(signature.verifies(&key.station(), &[9; 32]));
        assert!(!signature.verifies(&key.station(), &[8; 32]));
        assert!(!signature.verifies(&StationKey::from_seed([2; 32]).station(), &[9; 32]));
        assert!(!Signature::from_bytes([signature.as_bytes(), &[0]].concat()).verifies(&key.station(), &[9; 32]));
        assert_eq!(key.sign(&[9; 32]), signature);
    }

    #[test]
    fn a_small_order_or_non_canonical_key_verifies_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        // For the identity key, R = identity and S = 0 satisfy the lax equation for every message.
        let mut forged = identity.to_vec();
        forged.extend([0; 32]);
        assert!(!Signature::from_bytes(forged).verifies(&StationId::from_bytes(identity), &[9; 32]));
        let mut beyond = [0xff; 32];
        beyond[0] = 0xee;
        beyond[31] = 0x7f;
        assert!(!is_canonical(&beyond));
        beyond[0] = 0xec;
        assert!(is_canonical(&beyond));
    }
}
