//! Random numbers from Q#, run by Microsoft's Quantum Development Kit, and from the operating system alone where that is
//! not there.
//!
//! ```text
//!  helper.py (Python, qdk)      keeper thread                               callers: miner, init, invitations, commands
//!  QRNG.qs  ---- raw bits ----> health tests ---> SHA-256 ---> pool ------> XOR operating system's bytes ---> out
//!                                    |                           \
//!                                    +-- a failure: dropped        +-- empty: the operating system's bytes alone
//! ```
//!
//! The package's default target is a simulator: a program that computes what qubits would do, with random numbers of its
//! own. It adds nothing that could be relied upon. So whatever comes from Q# is added to what the operating system gives,
//! and never takes its place (see [`QuantumRandomNumberGenerator`]). Nobody waits for Python: the pool is filled ahead,
//! and an empty one means the operating system's bytes alone.
//!
//! The guide's calls. They work with or without Python and its packages:
//!
//! ```
//! use qfzz_ledger_core::federation::{Genesis, Parameters};
//! use qfzz_ledger_core::header::{BlockHeader, Difficulty};
//! use qfzz_ledger_core::ids::{FederationId, Name, StationId};
//! use qfzz_ledger_core::pow::NonceSearch;
//! use qfzz_ledger_core::time::Timestamp;
//! use qfzz_node::quantum::{QuantumProvider, QuantumRandomNumberGenerator, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let provider = QuantumProvider::start(Settings::default());
//! let qrng = QuantumRandomNumberGenerator::new(provider.clone());
//! let status = provider.status();
//! assert!(["microsoft-qdk", "classical-fallback"].contains(&status.backend));
//! assert!(["qdk-qrng", "classical-csprng"].contains(&qrng.backend().to_string().as_str()));
//!
//! let nonce = qrng.random_nonce()?;
//! let value = qrng.random_int(16)?;
//! assert!(value < 1 << 16);
//! assert_eq!(qrng.random_bytes(32)?.len(), 32);
//!
//! // block.mine_block(difficulty=2, qrng=qrng): the search begins at the nonce.
//! let parameters = Parameters::new(Name::new("Guide")?, StationId::from_bytes([1; 32]), Timestamp::EPOCH);
//! let genesis = Genesis::mine(parameters)?;
//! let header = BlockHeader { difficulty: Difficulty::new(2).unwrap(), nonce: nonce.into(), ..genesis.header() };
//! let mut search = NonceSearch::new(&genesis.id(), header);
//! let (mined, hash) = search.run(1 << 20).ok_or("unlucky")?;
//! assert!(mined.nonce >= u64::from(nonce) && hash.to_string().starts_with("00"));
//! # Ok(())
//! # }
//! ```

mod health;
mod pool;
mod process;
mod provider;
mod qrng;
pub mod setup;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use health::HealthTest;
pub use provider::{QuantumProvider, QuantumStatus, Settings};
pub use qrng::{Generator, MAX_BITS, MAX_BYTES, QuantumRandomNumberGenerator, RandomError};

/// The word for the package's own simulator.
const SIMULATOR: &str = "simulator";

/// Where the Q# runs: `simulator`, or the name of an Azure Quantum target such as `ionq.qpu.forte-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(String);

/// Why something is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no target: give simulator, or an Azure Quantum target such as ionq.qpu.forte-1")]
pub struct TargetError;

impl Target {
    /// Whether it is the package's own simulator, on this computer.
    pub fn is_local(&self) -> bool {
        self.0 == SIMULATOR
    }

    /// Whether it is a quantum computer; Azure Quantum also has simulators, and names every machine `PROVIDER.qpu...`.
    pub fn is_hardware(&self) -> bool {
        self.0.split('.').any(|part| part == "qpu")
    }
}

impl Default for Target {
    fn default() -> Self {
        Self(SIMULATOR.to_owned())
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        let is_target = text == SIMULATOR || (text.contains('.') && text.len() <= 64 && is_name);
        if is_target { Ok(Self(text.to_owned())) } else { Err(TargetError) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a command waits for its own helper, whatever that does: with the rest of its work it is done within 2 s. 0.5 s are
/// usual for Python and the package; a computer that needs longer has Q# in its daemon alone.
pub const PATIENCE: Duration = Duration::from_millis(1_500);

/// A source for one command: with something of Q#, if that is there within [`PATIENCE`].
pub fn source(settings: Settings) -> QuantumProvider {
    let provider = QuantumProvider::start(settings);
    provider.wait_for_bytes(1, PATIENCE);
    provider
}

#[cfg(test)]
mod tests;
