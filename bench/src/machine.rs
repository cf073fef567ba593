//! The machine's own limits: what every figure stands beside.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::block_api::compress256;

use crate::timing::Latencies;

/// SHA-256's initial state (FIPS 180-4, section 5.3.3).
const INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Compressions between two looks at the clock.
const COMPRESSIONS: u64 = 1_024;

/// Compressions of SHA-256, one block after the other as in hashing a long message. Returns how many it made.
pub fn compress() -> u64 {
    let mut state = black_box(INITIAL_STATE);
    let blocks = black_box([[7_u8; 64]; 16]);
    for _ in 0..COMPRESSIONS / 16 {
        compress256(&mut state, &blocks);
    }
    black_box(state);
    COMPRESSIONS
}

/// A signature to check, as strictly as the protocol does, its key not yet decoded.
pub struct Signed {
    key: [u8; 32],
    message: [u8; 32],
    signature: Signature,
}

impl Default for Signed {
    fn default() -> Self {
        let (key, message) = (SigningKey::from_bytes(&[9; 32]), [5; 32]);
        Self { key: key.verifying_key().to_bytes(), message, signature: key.sign(&message) }
    }
}

impl Signed {
    /// Checks it. Returns 1.
    ///
    /// # Panics
    /// If it does not verify.
    pub fn check(&self) -> u64 {
        let key = VerifyingKey::from_bytes(black_box(&self.key)).expect("a key that was just made");
        key.verify_strict(&self.message, &self.signature).expect("a signature that was just made");
        1
    }
}

/// An append and its `fdatasync`, `count` times of `bytes` each, to a file in `dir`.
///
/// # Errors
/// What the system says.
pub fn append_and_sync(dir: &Path, bytes: usize, count: usize) -> Result<Latencies> {
    let path = dir.join("append");
    let mut file = File::create(&path)?;
    let data = vec![0x5a; bytes];
    let mut latencies = Latencies::default();
    for _ in 0..count {
        let start = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        latencies.push(start.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(latencies)
}
