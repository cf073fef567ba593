//! What the daemon says on standard error.

use std::io::{self, IsTerminal};
use std::panic;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogFormat, LogLevel};

/// Sends log lines to standard error, written as `format`, coloured where `color` says so or, if it says nothing, on a
/// terminal. Does nothing if a log was set up before.
///
/// What is logged is said by `directives` in the words of `RUST_LOG` where they are given, else by `level`: lines of that
/// level and above. Libraries speak from `warn` only, unless everything is asked for: libp2p alone would drown the rest.
///
/// As JSON, a panic too is one line.
///
/// # Errors
/// What is wrong with `directives`.
pub fn start(
    level: LogLevel,
    format: LogFormat,
    color: Option<bool>,
    directives: Option<&str>,
) -> Result<(), ParseError> {
    let libraries = if level == LogLevel::Trace { level } else { level.min(LogLevel::Warn) };
    // These warn of whatever strangers do; the node itself tells with whom it parts, and why, within measure. sled tells of
    // damage in its own words, before the store says what is to be done.
    let strangers = if level == LogLevel::Trace { "trace" } else { "off" };
    let filter = match directives {
        Some(directives) => EnvFilter::try_new(directives)?,
        None => EnvFilter::new(format!(
            "{libraries},libp2p_kad=error,libp2p_gossipsub={strangers},libp2p_swarm={strangers},yamux={strangers},\
             libp2p_identify={strangers},libp2p_request_response={strangers},sled={strangers},\
             qfzz_node={level},qfzz_sync={level},qfzz_ledger_core={level}"
        )),
    };
    let color = color.unwrap_or_else(|| io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(color)
        // A closed standard error must not become a panic.
        .log_internal_errors(false);
    // It fails only if there is a log already, as where one process holds several nodes.
    match format {
        // Where in the program a line comes from matters to whoever looks for a fault in it.
        LogFormat::Text => {
            let _ = builder.with_target(level >= LogLevel::Debug || directives.is_some()).try_init();
        }
        LogFormat::Json => {
            if builder.json().try_init().is_ok() {
                hear_panics(|panic| tracing::error!("{panic}"));
            }
        }
    }
    Ok(())
}

/// Keeps panics of sled out of standard error: it panics where it should report damage, the store catches that and
/// says in its own words what is to be done.
pub fn quiet_caught_panics() {
    let loud = panic::take_hook();
    hear_panics(loud);
}

/// Tells `loud` of each panic that nobody catches.
fn hear_panics(loud: impl Fn(&panic::PanicHookInfo<'_>) + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |panic| {
        if panic.location().is_some_and(|at| at.file().contains("/sled-")) {
            tracing::debug!("the view's database gave up: {panic}");
        } else {
            loud(panic);
        }
    }));
}
