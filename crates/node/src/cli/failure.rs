//! How a command fails: what it says, and its exit code.

use std::io;
use std::path::PathBuf;

use qfzz_ledger_core::federation::GenesisError;
use qfzz_ledger_core::score::Score;

use crate::api::port::Refusal;
use crate::api::problem::Code;
use crate::api::proof::ProofFault;
use crate::config::ConfigError;
use crate::data_dir::DataDirError;
use crate::node::NodeError;
use crate::quantum::RandomError;
use crate::quantum::setup::SetupError;

/// What each exit code means.
pub(super) const EXIT_CODES: [(u8, &str); 6] = [
    (0, "done"),
    (exit::FAILED, "failed, or refused by the daemon"),
    (exit::USAGE, "wrong usage or configuration"),
    (exit::NOT_FOUND, "not found"),
    (exit::NO_DAEMON, "the daemon cannot be reached"),
    (exit::NOT_VERIFIED, "verification failed (chain, dataset, proof, threshold, import)"),
];

/// Exit codes; 0 is done.
mod exit {
    /// Failed, or refused by the daemon.
    pub(super) const FAILED: u8 = 1;
    /// Wrong usage or configuration.
    pub(super) const USAGE: u8 = 2;
    /// Not found.
    pub(super) const NOT_FOUND: u8 = 3;
    /// The daemon cannot be reached.
    pub(super) const NO_DAEMON: u8 = 4;
    /// Verification failed: chain, dataset, proof, threshold or import.
    pub(super) const NOT_VERIFIED: u8 = 5;
}

/// Why a command did not do what it was asked. Its text names the trouble first, then the remedy.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the configuration is wrong:\n{0}")]
    Config(#[from] ConfigError),
    #[error("{what} {why}")]
    Usage { what: &'static str, why: String },
    #[error("this version of qfzz has no {feature}: leave {flag} out")]
    NotInThisVersion { feature: &'static str, flag: &'static str },
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("{} holds a station already ({}): give another --data-dir, or move it away", path.display(), names.join(", "))]
    Initialised { path: PathBuf, names: Vec<&'static str> },
    #[error("{} holds {}, but no key: restore the key from a backup, or give another --data-dir", path.display(), names.join(", "))]
    KeyMissing { path: PathBuf, names: Vec<&'static str> },
    #[error("{refusal}: {}", refusal.code_and_remedy().1)]
    Invitation { refusal: Refusal },
    #[error("the federation cannot be founded: {0}")]
    Genesis(#[from] GenesisError),
    #[error(transparent)]
    Start(Box<NodeError>),
    #[error("the daemon did not stop in {seconds} s: what it acknowledged is on disk all the same")]
    StopTooSlow { seconds: u64 },
    #[error("stopped at once, asked twice: what was acknowledged is on disk all the same")]
    StopInterrupted,
    #[error("no daemon runs on {}: start it with `{start}`", path.display())]
    NoDaemon { path: PathBuf, start: String },
    #[error(
        "process {pid} has the data directory and does not answer yet: a daemon that starts, which takes 5 s while no \
         station to join can be reached, or stops; ask again, and if that stays so look at its log"
    )]
    NotYet { pid: u32 },
    #[error("the daemon at {url} cannot be reached ({why}): start it with `{start}`, or give its address with --api")]
    Unreachable { url: String, why: String, start: String },
    #[error(
        "the daemon at {url} broke off ({why}): look whether it did what was asked; if it stopped, start it with `{start}`"
    )]
    BrokeOff { url: String, why: String, start: String },
    #[error("what answers at {url} is not a QFZZ daemon of this version (status {status}): check --api and QFZZ_API")]
    NotADaemon { url: String, status: u16 },
    #[error("the daemon's answer cannot be read: {why}")]
    BadAnswer { why: String },
    #[error("{detail} [{code}]{}", remedy_of(*status, token_file))]
    Refused { status: u16, code: String, detail: String, token_file: PathBuf },
    #[error("the score {score} is below {threshold}")]
    BelowThreshold { score: Score, threshold: Score },
    #[error("the chain does not verify{}: run `qfzz sync`; if it stays so, restart the daemon, which checks its store", problem.as_ref().map(|problem| format!(" ({problem})")).unwrap_or_default())]
    ChainInvalid { problem: Option<String> },
    #[error("the proof does not hold: {fault}")]
    ProofInvalid { fault: ProofFault },
    #[error(
        "{} is not the dataset {dataset}: its SHA-256 is {found}, registered is {registered}{}", file.display(),
        if *published { "; that was recorded" } else { ": get it again from its source, or record this with --publish" }
    )]
    OtherDataset { file: PathBuf, dataset: String, found: String, registered: String, published: bool },
    #[error("{what}")]
    NotFound { what: String },
    #[error("{problems} problems: what helps stands beside each")]
    Unhealthy { problems: usize, is_chain_invalid: bool },
    #[error("{refused} of {lines} lines were not stored")]
    BadLines { refused: u64, lines: u64 },
    #[error("{refused} of {lines} lines could not be read")]
    UnreadLines { refused: u64, lines: u64 },
    #[error(
        "{failure}\n{stored} records before line {line} are stored; of the lines from there on some may be: look before you send them again"
    )]
    Interrupted { stored: u64, line: u64, failure: Box<Failure> },
    #[error("cannot {doing} {}: {source}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Input { path: PathBuf, source: io::Error },
    #[error("cannot write the result: {0}")]
    Output(io::Error),
    #[error("the demo went wrong: {what}")]
    Demo { what: String },
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("see the log")]
    Logged { exit_code: u8 },
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
}

fn remedy_of(status: u16, token_file: &std::path::Path) -> String {
    match status {
        401 => format!(
            "\nthe token is read from {}: give the daemon's --data-dir, and run this as its user",
            token_file.display()
        ),
        _ => String::new(),
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::Start(Box::new(error))
    }
}

impl Failure {
    /// The exit code that tells a program what the text tells a person.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Usage { .. }
            | Self::NotInThisVersion { .. }
            | Self::Genesis(_)
            | Self::Input { .. } => exit::USAGE,
            Self::Refused { status: 404, .. } => exit::NOT_FOUND,
            Self::Refused { code, .. } if code == Code::BadImport.as_str() => exit::NOT_VERIFIED,
            // What was asked is wrong in itself, such as a delta that is not the action's.
            Self::Refused { status: 400 | 422, .. } => exit::USAGE,
            Self::NoDaemon { .. } | Self::NotYet { .. } | Self::Unreachable { .. } | Self::BrokeOff { .. } => {
                exit::NO_DAEMON
            }
            Self::NotFound { .. } => exit::NOT_FOUND,
            Self::BelowThreshold { .. }
            | Self::ChainInvalid { .. }
            | Self::ProofInvalid { .. }
            | Self::OtherDataset { .. }
            | Self::Unhealthy { is_chain_invalid: true, .. } => exit::NOT_VERIFIED,
            Self::Interrupted { failure, .. } => failure.exit_code(),
            Self::Logged { exit_code } => *exit_code,
            Self::DataDir(_)
            | Self::Random(_)
            | Self::Setup(_)
            | Self::Initialised { .. }
            | Self::KeyMissing { .. }
            | Self::Invitation { .. }
            | Self::Start(_)
            | Self::StopTooSlow { .. }
            | Self::StopInterrupted
            | Self::NotADaemon { .. }
            | Self::BadAnswer { .. }
            | Self::Refused { .. }
            | Self::BadLines { .. }
            | Self::UnreadLines { .. }
            | Self::Unhealthy { is_chain_invalid: false, .. }
            | Self::File { .. }
            | Self::Output(_)
            | Self::Demo { .. }
            | Self::Runtime(_) => exit::FAILED,
        }
    }
}
