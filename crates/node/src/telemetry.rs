//! What the daemon says on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use crate::config::{LogFormat, LogLevel};

/// Sends log lines of `level` and above to standard error, written as `format`, coloured where `color` says so or, if it says nothing, on a terminal.
/// Does nothing if a log was set up before.
///
/// Libraries speak from `warn` only, unless everything is asked for: libp2p alone would drown the rest.
pub fn start(level: LogLevel, format: LogFormat, color: Option<bool>) {
    let libraries = if level == LogLevel::Trace { level } else { level.min(LogLevel::Warn) };
    // These warn of whatever strangers do; the node itself tells with whom it parts, and why, within measure.
    let strangers = if level == LogLevel::Trace { "trace" } else { "off" };
    let filter = EnvFilter::new(format!(
        "{libraries},libp2p_kad=error,libp2p_gossipsub={strangers},libp2p_swarm={strangers},yamux={strangers},qfzz_node={level},qfzz_sync={level},qfzz_ledger_core={level}"
    ));
    let color = color.unwrap_or_else(|| io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let builder: SubscriberBuilder<_, _, EnvFilter, _> = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(color)
        // A closed standard error must not become a panic.
        .log_internal_errors(false);
    // It fails only if there is a log already, as where one process holds several nodes.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
