//! Who this station is: an Ed25519 key from a 32-byte seed, which is all that is kept.

use ed25519_dalek::SigningKey;
use qfzz_ledger_core::ids::StationId;
use zeroize::Zeroizing;

use crate::data_dir::{self, DataDir, DataDirError};

/// Bytes of a seed.
const SEED_BYTES: usize = 32;

/// A station's key. The seed is wiped from memory when this is dropped.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

impl Identity {
    /// A new key, from the operating system's randomness.
    ///
    /// # Errors
    /// [`DataDirError::NoRandomness`].
    pub fn generate() -> Result<Self, DataDirError> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        getrandom::fill(seed.as_mut()).map_err(DataDirError::NoRandomness)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key that follows from `seed`.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        Self { key: SigningKey::from_bytes(seed) }
    }

    /// Reads the key of a data directory; `None` if it has none.
    ///
    /// # Errors
    /// [`DataDirError`] if the file cannot be read or is damaged.
    pub fn load(dir: &DataDir) -> Result<Option<Self>, DataDirError> {
        let path = dir.key_file();
        let Some(text) = data_dir::read_small(&path)?.map(Zeroizing::new) else { return Ok(None) };
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        let decoded = hex::decode_to_slice(text.trim_ascii(), seed.as_mut());
        let why = "it should hold 64 hex digits; restore it from a backup, or move it away to become another station";
        decoded.map_err(|_| DataDirError::Damaged { path, why })?;
        Ok(Some(Self::from_seed(&seed)))
    }

    /// Keeps the key in a data directory, readable by its owner alone. It is on disk when this returns.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn store(&self, dir: &DataDir) -> Result<(), DataDirError> {
        let mut text = Zeroizing::new([b'\n'; 2 * SEED_BYTES + 1]);
        let digits = &mut text[..2 * SEED_BYTES];
        hex::encode_to_slice(self.key.as_bytes(), digits).expect("64 digits hold 32 bytes");
        data_dir::write_private(&dir.key_file(), text.as_ref())
    }

    /// The station that this key speaks for.
    pub fn station_id(&self) -> StationId {
        StationId::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// The key that signs batches and blocks.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The seed, from which the reveal chain's secret is derived too.
    pub fn seed(&self) -> Zeroizing<[u8; SEED_BYTES]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The same key for libp2p; its peer id is the station id.
    pub fn libp2p_keypair(&self) -> libp2p::identity::Keypair {
        // It wipes the bytes that it is given.
        let mut seed = self.key.to_bytes();
        libp2p::identity::Keypair::ed25519_from_bytes(&mut seed).expect("any 32 bytes are a seed")
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.station_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_for_libp2p_and_after_a_restart() {
        let temporary = tempfile::tempdir().expect("a directory");
        let dir = DataDir::new(temporary.path());
        assert!(Identity::load(&dir).expect("read").is_none());
        let identity = Identity::generate().expect("random");
        identity.store(&dir).expect("stored");
        let again = Identity::load(&dir).expect("read").expect("there");
        assert_eq!(identity.station_id(), again.station_id());
        assert_eq!(*identity.seed(), *again.seed());
        assert_eq!(identity.libp2p_keypair().public().to_peer_id().to_string(), identity.station_id().to_string());
        assert!(!format!("{identity:?}").contains(&hex::encode(*identity.seed())));
        assert!(dir.exposed().is_empty());
    }

    #[test]
    fn a_damaged_key_is_named_and_never_replaced() {
        let temporary = tempfile::tempdir().expect("a directory");
        let dir = DataDir::new(temporary.path());
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            std::fs::write(dir.key_file(), wrong).expect("written");
            assert!(matches!(Identity::load(&dir), Err(DataDirError::Damaged { .. })), "{wrong}");
        }
    }
}
