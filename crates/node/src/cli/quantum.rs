//! `qfzz quantum`: where random numbers come from, and some of them.
//!
//! The status is the daemon's, where one runs. Numbers are drawn here: what may become somebody's secret crosses no
//! socket, and no API gives it out.

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, notice, show};
use super::{Global, wait_for};
use crate::config::Config;
use crate::quantum::{self, MAX_BITS, MAX_BYTES, QuantumRandomNumberGenerator, Settings, setup};

#[derive(Debug, Subcommand)]
pub(super) enum QuantumCommand {
    /// Show whether Q# runs, and why not: in the daemon, or here where none runs
    Status,
    /// Print a random whole number of 1 to 64 bits
    Int {
        /// How many bits, 1 to 64
        #[arg(value_parser = parse_bits)]
        bits: u32,
    },
    /// Print random bytes as hex digits
    Bytes {
        /// How many bytes, 1 to 1048576
        #[arg(value_name = "N", value_parser = parse_count)]
        count: usize,
    },
    /// Print a random number of 32 bits, at which a miner may begin
    Nonce,
    /// Install Microsoft's QDK for this station, into its data directory: takes a way to pypi.org and 60 MB
    Setup,
}

fn parse_bits(text: &str) -> Result<u32, String> {
    let bits = text.parse().ok().filter(|bits| (1..=MAX_BITS).contains(bits));
    bits.ok_or_else(|| format!("give a whole number from 1 to {MAX_BITS}"))
}

fn parse_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MAX_BYTES).contains(count));
    count.ok_or_else(|| format!("give a whole number from 1 to {MAX_BYTES}"))
}

pub(super) fn quantum(global: &Global, command: &QuantumCommand, out: &mut Output) -> Result<(), Failure> {
    let number = |value: u64, out: &mut Output| out.result(&json!({ "value": value }), |out| out.line(value));
    match command {
        QuantumCommand::Status => status(global, out),
        QuantumCommand::Setup => set_up(global, out),
        QuantumCommand::Int { bits } => number(generator(global)?.random_int(*bits)?, out),
        QuantumCommand::Nonce => number(generator(global)?.random_nonce()?.into(), out),
        QuantumCommand::Bytes { count } => {
            let bytes = hex::encode(generator(global)?.random_bytes(*count)?);
            out.result(&json!({ "value": bytes }), |out| out.line(&bytes))
        }
    }
}

fn settings(global: &Global) -> Result<Settings, Failure> {
    let dir = global.data_dir()?;
    let config = Config::load(&dir.config_file(), std::env::vars_os(), &[])?.config;
    Ok(Settings::of(&config.quantum, &dir))
}

/// A generator for this command. Whoever wants numbers of Q#, and gets none, is told why.
fn generator(global: &Global) -> Result<QuantumRandomNumberGenerator, Failure> {
    let source = quantum::source(settings(global)?);
    let status = source.status();
    if let Some(reason) = status.reason.filter(|_| status.enabled) {
        notice(format_args!("from the operating system's generator alone: {reason}"));
    }
    Ok(QuantumRandomNumberGenerator::new(source))
}

fn status(global: &Global, out: &mut Output) -> Result<(), Failure> {
    let status = match asked(global)? {
        Some(status) => status,
        None => {
            let source = quantum::source(settings(global)?);
            serde_json::to_value(source.status()).map_err(|error| Failure::BadAnswer { why: error.to_string() })?
        }
    };
    out.result(&status, |out| {
        let package = format!("{} {}", show(&status, "package"), show(&status, "version"));
        let pool = format!("{} of {} bytes", show(&status, "pool_bytes"), show(&status, "pool_capacity_bytes"));
        out.facts(&[
            ("backend", show(&status, "backend")),
            ("available", show(&status, "available")),
            ("reason", show(&status, "reason")),
            ("generator", show(&status, "generator")),
            ("package", package),
            ("target", format!("{} ({})", show(&status, "target"), show(&status, "kind"))),
            ("python", show(&status, "python")),
            ("drawn ahead", pool),
            ("failed tests", show(&status, "health_failures")),
        ])
    })
}

/// What the daemon says; `None` where none runs on the data directory.
fn asked(global: &Global) -> Result<Option<Value>, Failure> {
    let asked = global.client().and_then(|client: Client| {
        let asking = async { client.get(&["v1", "quantum"], &[]).await };
        wait_for(tokio::runtime::Builder::new_current_thread(), asking)
    });
    match asked {
        Ok(status) => Ok(Some(status)),
        // An address that was given must be right; one that a killed daemon left behind need not be.
        Err(Failure::NoDaemon { .. } | Failure::NotYet { .. }) => Ok(None),
        Err(Failure::Unreachable { .. }) if global.api.as_deref().is_none_or(str::is_empty) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn set_up(global: &Global, out: &mut Output) -> Result<(), Failure> {
    let settings = settings(global)?;
    let dir = global.data_dir()?;
    dir.create()?;
    let python = if settings.python.is_empty() { setup::PYTHON } else { &settings.python };
    notice(format_args!("making a virtual environment in {} with {python}", dir.quantum_dir().display()));
    let (own, installed) = setup::set_up(&dir.quantum_dir(), python, &settings.target)?;
    if !settings.python.is_empty() {
        notice("quantum.python is set and goes before it: take that out, or name this one there");
    }
    if !settings.enabled {
        notice("quantum.enabled is false: the daemon starts nothing");
    }
    let value = json!({ "python": own, "installed": installed });
    out.result(&value, |out| out.facts(&[("python", own.display().to_string()), ("installed", installed.to_owned())]))
}
