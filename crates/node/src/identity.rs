//! Who this station is: an Ed25519 key from a 32-byte seed, which is all that is kept; its ML-DSA key follows from it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ed25519_dalek::SigningKey;
use qfzz_ledger_core::crypto::StationKey;
use qfzz_ledger_core::ids::StationId;
use zeroize::Zeroizing;

use crate::data_dir::{self, DataDir, DataDirError};
use crate::quantum::{QuantumRandomNumberGenerator, RandomError};

/// Bytes of a seed.
const SEED_BYTES: usize = 32;

/// A station's key. The seed is wiped from memory when this is dropped.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    /// Found out once: making an ML-DSA key takes a third of a millisecond, and the status shows it.
    ml_dsa_key_hash: Arc<OnceLock<[u8; 32]>>,
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

    /// A new key, from the operating system's randomness with what there is of `qrng` mixed in.
    ///
    /// # Errors
    /// [`RandomError::NoRandomness`].
    pub fn generate_with(qrng: &QuantumRandomNumberGenerator) -> Result<Self, RandomError> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        qrng.fill(seed.as_mut())?;
        Ok(Self::from_seed(&seed))
    }

    /// The key that follows from `seed`.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        Self { key: SigningKey::from_bytes(seed), ml_dsa_key_hash: Arc::default() }
    }

    /// Reads the key of a data directory, from its copy where the file itself is damaged; `None` if it has none.
    ///
    /// # Errors
    /// [`DataDirError`] if the file cannot be read, or is damaged and there is no whole copy.
    pub fn load(dir: &DataDir) -> Result<Option<Self>, DataDirError> {
        let key = Self::read(&dir.key_file());
        if let Ok(Some(_)) = key {
            return key;
        }
        match Self::read(&dir.key_copy_file()) {
            Ok(Some(copy)) => Ok(Some(copy)),
            _ => key,
        }
    }

    /// Whether the key file itself can be read, or its copy is needed.
    pub fn is_whole(dir: &DataDir) -> bool {
        matches!(Self::read(&dir.key_file()), Ok(Some(_)))
    }

    /// Writes the key again from its copy, or the copy from the key, where one of the two is not what it should be.
    /// Whether the key itself was damaged.
    ///
    /// # Errors
    /// [`DataDirError`] if a file cannot be written, or neither is whole.
    pub fn mend(dir: &DataDir) -> Result<bool, DataDirError> {
        let Some(identity) = Self::load(dir)? else { return Ok(false) };
        let is_same = |read: Result<Option<Self>, DataDirError>| matches!(read, Ok(Some(other)) if other.station_id() == identity.station_id());
        let is_damaged = !is_same(Self::read(&dir.key_file()));
        if is_damaged || !is_same(Self::read(&dir.key_copy_file())) {
            identity.store(dir)?;
        }
        Ok(is_damaged)
    }

    /// Reads a seed and, where it follows, the id of its station, which tells whether the seed is as it was written.
    fn read(path: &Path) -> Result<Option<Self>, DataDirError> {
        let Some(text) = data_dir::read_small(path)?.map(Zeroizing::new) else { return Ok(None) };
        let why = "it should hold 64 hex digits and, on the next line, the id of their station; restore it from a \
                   backup, or move it and `key.copy` away to become another station";
        let damaged = || DataDirError::Damaged { path: path.to_owned(), why };
        let mut lines = text.split(|byte| *byte == b'\n');
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        let decoded = hex::decode_to_slice(lines.next().unwrap_or_default().trim_ascii(), seed.as_mut());
        decoded.map_err(|_| damaged())?;
        let identity = Self::from_seed(&seed);
        let station = lines.next().unwrap_or_default().trim_ascii();
        let is_whole = station.is_empty() || station == identity.station_id().to_string().as_bytes();
        let is_all = lines.all(|line| line.trim_ascii().is_empty());
        if is_whole && is_all { Ok(Some(identity)) } else { Err(damaged()) }
    }

    /// Keeps the key in a data directory, and a copy of it, readable by its owner alone. It is on disk when this
    /// returns.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn store(&self, dir: &DataDir) -> Result<(), DataDirError> {
        let station = self.station_id().to_string();
        // All of it at once: a vector that grows leaves the seed behind.
        let mut text = Zeroizing::new(Vec::with_capacity(2 * SEED_BYTES + station.len() + 2));
        text.resize(2 * SEED_BYTES, 0);
        hex::encode_to_slice(self.key.as_bytes(), &mut text).expect("64 digits hold 32 bytes");
        text.push(b'\n');
        text.extend_from_slice(station.as_bytes());
        text.push(b'\n');
        data_dir::write_private(&dir.key_copy_file(), text.as_ref())?;
        data_dir::write_private(&dir.key_file(), text.as_ref())
    }

    /// What genesis and admissions name the station's ML-DSA key by, where a federation signs with `hybrid`.
    pub fn ml_dsa_key_hash(&self) -> [u8; 32] {
        *self.ml_dsa_key_hash.get_or_init(|| StationKey::from_seed(*self.key.as_bytes()).ml_dsa_key().hash())
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

    #[test]
    fn any_flipped_bit_of_the_key_is_noticed_and_mended_from_its_copy() {
        let temporary = tempfile::tempdir().expect("a directory");
        let dir = DataDir::new(temporary.path());
        let identity = Identity::generate().expect("random");
        identity.store(&dir).expect("stored");
        let whole = std::fs::read(dir.key_file()).expect("read");
        let mut mended = 0;
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(dir.key_file(), flipped).expect("written");
            assert_eq!(Identity::load(&dir).expect("whole").expect("there").station_id(), identity.station_id());
            // What changes no meaning, such as the case of a digit, needs no mending.
            mended += usize::from(Identity::mend(&dir).expect("mended"));
            std::fs::remove_file(dir.key_copy_file()).expect("removed");
            let alone = Identity::load(&dir).expect("whole").expect("there");
            assert_eq!(alone.station_id(), identity.station_id(), "bit {bit}");
            identity.store(&dir).expect("stored");
        }
        assert!(mended > whole.len() * 7, "{mended}");
        std::fs::remove_file(dir.key_file()).expect("removed");
        assert!(Identity::mend(&dir).expect("mended"));
        assert_eq!(std::fs::read(dir.key_file()).expect("read"), whole);
        std::fs::write(dir.key_file(), hex::encode(*identity.seed())).expect("written");
        assert!(!Identity::mend(&dir).expect("whole"), "the digits alone are a key, too");
    }
}
