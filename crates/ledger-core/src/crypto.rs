//! Tagged SHA-256 and signatures.
//!
//! Every hash is tagged in the way of BIP 340: `SHA-256(SHA-256(context) | SHA-256(context) | message)`. The 64-byte
//! prefix is one compression, kept as a midstate in a [`TaggedHash`]. The context holds the federation, so nothing can
//! be replayed into another federation or another role (protocol, section 1).

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::codec::{Decode, Encode};
use crate::ids::{FederationId, StationId};
use crate::ml_dsa::{ML_DSA_SIGNATURE_BYTES, MlDsaKey, MlDsaSecret};
use crate::sha::Midstate;

/// Bytes of an Ed25519 signature.
pub const ED25519_SIGNATURE_BYTES: usize = 64;

/// How a federation's stations sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SignatureScheme {
    /// Ed25519, 64 bytes, verified strictly.
    Ed25519,
    /// Ed25519, then ML-DSA-65 (FIPS 204): 64 and 3,309 bytes over the same hash. Both must verify.
    Hybrid,
}

impl SignatureScheme {
    /// Bytes of a signature.
    pub const fn signature_bytes(self) -> usize {
        match self {
            Self::Ed25519 => ED25519_SIGNATURE_BYTES,
            Self::Hybrid => ED25519_SIGNATURE_BYTES + ML_DSA_SIGNATURE_BYTES,
        }
    }
}

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
    /// A live opinion: what a station signs when it is asked at once.
    Opinion,
    /// An invitation's secret: what its founder keeps; and that, for a newcomer: what the newcomer shows.
    Invitation,
    /// A seed and where a data directory is: names the directory to whoever has the seed, and to nobody else.
    Place,
    /// A station's seed: the seed of its ML-DSA key.
    MlDsaSeed,
    /// An ML-DSA key: what genesis and admissions name it by.
    MlDsaKey,
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
            Self::Opinion => "qfzz/opinion/1",
            Self::Invitation => "qfzz/invitation/1",
            Self::Place => "qfzz/place/1",
            Self::MlDsaSeed => "qfzz/ml-dsa-seed/1",
            Self::MlDsaKey => "qfzz/ml-dsa-key/1",
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

    /// Whether it has the length of `scheme`, and its Ed25519 part is `station`'s over `digest`, by the strict rules: a
    /// canonical key and signature, no small-order points. Under [`SignatureScheme::Ed25519`] that is all there is.
    pub fn ed25519_verifies(&self, scheme: SignatureScheme, station: &StationId, digest: &[u8; 32]) -> bool {
        if self.0.len() != scheme.signature_bytes() {
            return false;
        }
        let Some((bytes, _)) = self.0.split_first_chunk::<ED25519_SIGNATURE_BYTES>() else { return false };
        let Some(key) = decoded_key(station) else { return false };
        key.verify_strict(digest, &ed25519_dalek::Signature::from_bytes(bytes)).is_ok()
    }

    /// Whether its ML-DSA part is `key`'s over `digest`; false where it has none.
    pub fn ml_dsa_verifies(&self, key: &MlDsaKey, digest: &[u8; 32]) -> bool {
        let part = self.0.split_at_checked(ED25519_SIGNATURE_BYTES).and_then(|(_, part)| part.try_into().ok());
        part.is_some_and(|part| key.verifies(digest, part))
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

/// A station's signing keys, all of one seed. Their bytes are wiped from memory when they are dropped.
#[derive(Clone)]
pub struct StationKey {
    key: SigningKey,
    seed: Zeroizing<[u8; 32]>,
    /// Made when it is first asked for: under [`SignatureScheme::Ed25519`] it never is.
    ml_dsa: Arc<OnceLock<MlDsaSecret>>,
}

impl StationKey {
    /// The keys of a 32-byte seed: the Ed25519 key is the same as libp2p makes of it, the seed of the ML-DSA key is a
    /// tagged hash of it.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(&seed), seed: Zeroizing::new(seed), ml_dsa: Arc::default() }
    }

    /// The station that this key speaks for.
    pub fn station(&self) -> StationId {
        StationId::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// The station's ML-DSA key, which its introduction holds under [`SignatureScheme::Hybrid`].
    pub fn ml_dsa_key(&self) -> &MlDsaKey {
        self.ml_dsa().key()
    }

    fn ml_dsa(&self) -> &MlDsaSecret {
        self.ml_dsa.get_or_init(|| {
            let hash = TaggedHash::new(Tag::MlDsaSeed, &FederationId::ZERO, &[self.station().as_bytes()]);
            MlDsaSecret::from_seed(&Zeroizing::new(hash.hash(&[&*self.seed])))
        })
    }

    /// Signs a tagged hash; the same digest always gives the same signature.
    pub fn sign(&self, scheme: SignatureScheme, digest: &[u8; 32]) -> Signature {
        let mut bytes = Vec::with_capacity(scheme.signature_bytes());
        bytes.extend_from_slice(&self.key.sign(digest).to_bytes());
        if scheme == SignatureScheme::Hybrid {
            bytes.extend_from_slice(&self.ml_dsa().sign(digest));
        }
        Signature(bytes)
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
        let scheme = SignatureScheme::Ed25519;
        let key = StationKey::from_seed([1; 32]);
        let signature = key.sign(scheme, &[9; 32]);
        assert!(signature.ed25519_verifies(scheme, &key.station(), &[9; 32]));
        assert!(!signature.ed25519_verifies(scheme, &key.station(), &[8; 32]));
        assert!(!signature.ed25519_verifies(scheme, &StationKey::from_seed([2; 32]).station(), &[9; 32]));
        let longer = Signature::from_bytes([signature.as_bytes(), &[0]].concat());
        assert!(!longer.ed25519_verifies(scheme, &key.station(), &[9; 32]));
        assert_eq!(key.sign(scheme, &[9; 32]), signature);
    }

    #[test]
    fn a_small_order_or_non_canonical_key_verifies_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        // For the identity key, R = identity and S = 0 satisfy the lax equation for every message.
        let mut forged = identity.to_vec();
        forged.extend([0; 32]);
        let forged = Signature::from_bytes(forged);
        let station = StationId::from_bytes(identity);
        assert!(!forged.ed25519_verifies(SignatureScheme::Ed25519, &station, &[9; 32]));
        let mut beyond = [0xff; 32];
        beyond[0] = 0xee;
        beyond[31] = 0x7f;
        assert!(!is_canonical(&beyond));
        beyond[0] = 0xec;
        assert!(is_canonical(&beyond));
    }
}
