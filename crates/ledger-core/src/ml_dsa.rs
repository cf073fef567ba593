//! ML-DSA-65 (FIPS 204), pure, with the empty context, signing deterministically: the second part of a hybrid signature.
//!
//! What it signs is a tagged hash, so federation and role are in the message, and no context is needed.

use std::cell::RefCell;
use std::sync::Arc;

use ml_dsa::{EncodedVerifyingKey, MlDsa65, Signature, SigningKey, VerifyingKey};

use crate::crypto::{Tag, TaggedHash};
use crate::ids::FederationId;

/// Bytes of an ML-DSA-65 key.
pub const ML_DSA_KEY_BYTES: usize = 1_952;

/// Bytes of an ML-DSA-65 signature.
pub const ML_DSA_SIGNATURE_BYTES: usize = 3_309;

/// A station's ML-DSA key: any 1,952 bytes are one. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct MlDsaKey(Arc<[u8; ML_DSA_KEY_BYTES]>);

impl MlDsaKey {
    /// Takes bytes as received; `None` of another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Arc::new(bytes.try_into().ok()?)))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; ML_DSA_KEY_BYTES] {
        &self.0
    }

    /// What genesis and admissions name it by. A founder is named before there is a federation: its id is not in it.
    pub fn hash(&self) -> [u8; 32] {
        TaggedHash::new(Tag::MlDsaKey, &FederationId::ZERO, &[]).hash(&[&self.0[..]])
    }

    /// Whether `signature` is this key's over `digest`.
    pub(crate) fn verifies(&self, digest: &[u8; 32], signature: &[u8; ML_DSA_SIGNATURE_BYTES]) -> bool {
        let Ok(signature) = Signature::<MlDsa65>::try_from(&signature[..]) else { return false };
        with_decoded(self, |key| key.verify_with_context(digest, &[], &signature))
    }
}

impl std::fmt::Debug for MlDsaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MlDsaKey({:02x?}..)", &self.0[..4])
    }
}

/// Keys that a thread keeps decoded, at most: about 45 KiB each.
const KEPT_KEYS: usize = 16;

/// Decoding a key costs as much as checking a signature, and most signatures are of stations that signed a moment ago:
/// each thread keeps some, each in a place that its bytes name.
fn with_decoded<T>(key: &MlDsaKey, verify: impl FnOnce(&VerifyingKey<MlDsa65>) -> T) -> T {
    type Kept = [Option<(MlDsaKey, VerifyingKey<MlDsa65>)>; KEPT_KEYS];
    thread_local! {
        static KEPT: RefCell<Kept> = const { RefCell::new([const { None }; KEPT_KEYS]) };
    }
    KEPT.with_borrow_mut(|kept| {
        let place = &mut kept[usize::from(key.0[0]) % KEPT_KEYS];
        let (_, decoded) = match place {
            Some(known) if known.0 == *key => known,
            _ => {
                let encoded = EncodedVerifyingKey::<MlDsa65>::from(*key.0);
                place.insert((key.clone(), VerifyingKey::decode(&encoded)))
            }
        };
        verify(decoded)
    })
}

/// A station's secret ML-DSA key. Its bytes are wiped from memory when it is dropped.
pub(crate) struct MlDsaSecret {
    secret: SigningKey<MlDsa65>,
    key: MlDsaKey,
}

impl MlDsaSecret {
    /// The key of a seed (FIPS 204, algorithm 6).
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        let secret = SigningKey::<MlDsa65>::from_seed(&(*seed).into());
        let encoded = secret.expanded_key().verifying_key().encode();
        let key = MlDsaKey(Arc::new(encoded.into()));
        Self { secret, key }
    }

    /// The key that others verify with.
    pub(crate) const fn key(&self) -> &MlDsaKey {
        &self.key
    }

    /// Signs; the same digest always gives the same signature.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> [u8; ML_DSA_SIGNATURE_BYTES] {
        // One of five tries succeeds; the crate gives up after 13,000.
        let signature = self.secret.expanded_key().sign_deterministic(digest, &[]);
        signature.expect("the context is empty, and some try succeeds").encode().into()
    }
}
