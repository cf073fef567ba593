//! `qfzz run`: the daemon, from its start to its stop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;
use super::output::Output;
use super::{Global, init, wait_for};
use crate::config::{Config, Flag, ListenAddress, ListenMultiaddr, LogFormat};
use crate::data_dir::{DataDir, LockedDataDir};
use crate::identity::Identity;
use crate::node::Node;
use crate::telemetry;
use crate::ticket::JoinTarget;

/// How long a clean stop may take, in seconds; with the program's own end it stays below the 5 s of the contract.
const STOP_SECONDS: u64 = 4;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Where libp2p listens instead of what the settings say; may be given several times
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<ListenMultiaddr>,
    /// Whom to call at start instead of whom the settings name; may be given several times
    #[arg(long, value_name = "TICKET|MULTIADDR")]
    join: Vec<JoinTarget>,
    /// Where the HTTP API listens
    #[arg(long, value_name = "ADDR:PORT")]
    api_listen: Option<ListenAddress>,
}

impl RunArgs {
    fn flags(&self, global: &Global) -> Vec<Flag> {
        let mut flags = Vec::new();
        let mut set = |flag, key, texts: Vec<String>| {
            if !texts.is_empty() {
                flags.push(Flag { flag, key, text: texts.join(",") });
            }
        };
        set("--listen", "network.listen", self.listen.iter().map(ToString::to_string).collect());
        set("--join", "network.join", self.join.iter().map(ToString::to_string).collect());
        set("--api-listen", "api.listen", self.api_listen.iter().map(ToString::to_string).collect());
        flags.extend(global.log_level());
        flags
    }
}

pub(super) fn run(global: &Global, args: &RunArgs, out: &mut Output) -> Result<(), Failure> {
    let dir = global.data_dir()?;
    let loaded = Config::load(&dir.config_file(), std::env::vars_os(), &args.flags(global))?;
    start_log(global, &loaded.config)?;
    for variable in loaded.unused {
        tracing::warn!("the environment variable {variable} is no setting, and has no effect");
    }
    let format = loaded.config.log.format;
    match make_and_serve(dir, loaded.config, args, out) {
        // The log's reader wants every line as an object, the last one too.
        Err(failure) if format == LogFormat::Json => {
            tracing::error!("{failure}");
            Err(Failure::Logged { exit_code: failure.exit_code() })
        }
        done => done,
    }
}

/// Sets up the log before anything is said: `-v` and `-q` go before `RUST_LOG`, and that before the settings.
fn start_log(global: &Global, config: &Config) -> Result<(), Failure> {
    let directives = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty() && global.log_level().is_none());
    let started = telemetry::start(config.log.level, config.log.format, global.color.forced(), directives.as_deref());
    started.map_err(|error| Failure::Usage { what: "RUST_LOG", why: format!("cannot be read: {error}") })
}

fn make_and_serve(dir: DataDir, config: Config, args: &RunArgs, out: &mut Output) -> Result<(), Failure> {
    dir.create()?;
    let dir = dir.lock()?;
    // Left by a daemon that was killed; another program may have the port by now.
    dir.remove_api_address()?;
    let identity = match Identity::load(&dir)? {
        Some(identity) => identity,
        None => make_station(&dir, &config, &args.join)?,
    };
    if Identity::mend(&dir)? {
        tracing::warn!("the key file was damaged: written again from its copy");
    }
    for path in dir.exposed() {
        tracing::warn!("{} can be read by others: run `chmod 600 {0}`", path.display());
    }
    wait_for(tokio::runtime::Builder::new_multi_thread(), serve(config, dir, identity, out))
}

/// Makes the station of a directory that has no key; `join` is what was asked for on the command line.
fn make_station(dir: &LockedDataDir, config: &Config, join: &[JoinTarget]) -> Result<Identity, Failure> {
    // An operator may lay down settings and token before the first start.
    let names: Vec<_> =
        dir.occupied_by().into_iter().filter(|name| !matches!(*name, "qfzz.toml" | "api.token")).collect();
    if !names.is_empty() {
        return Err(Failure::KeyMissing { path: dir.path().to_owned(), names });
    }
    init::init_with_defaults(dir, config, join, config.network.join.is_empty())?;
    Ok(Identity::load(dir)?.expect("a station that was just made has a key"))
}

async fn serve(config: Config, dir: LockedDataDir, identity: Identity, out: &mut Output) -> Result<(), Failure> {
    let mut signals = Signals::catch()?;
    let place: DataDir = dir.clone();
    let mut daemon = tokio::select! {
        daemon = Node::start(config, dir, identity) => daemon?,
        () = signals.next() => return Ok(()),
    };
    let told = place.write_api_address(reachable(daemon.api_address())).map_err(Failure::from);
    let announced = match told {
        Ok(()) => announce(&daemon, out).await,
        failed => failed,
    };
    let failed = match announced {
        Ok(()) => tokio::select! {
            failure = daemon.failed() => Err(failure.into()),
            () = signals.next() => Ok(()),
        },
        failed => failed,
    };
    tracing::info!("stopping");
    // While the directory is still this process's own: the next daemon writes its address there.
    let forgotten = place.remove_api_address();
    tokio::select! {
        stopped = tokio::time::timeout(Duration::from_secs(STOP_SECONDS), daemon.stop()) => {
            stopped.map_err(|_| Failure::StopTooSlow { seconds: STOP_SECONDS })?;
        }
        () = signals.next() => return Err(Failure::StopInterrupted),
    }
    tracing::info!("stopped");
    failed.and(forgotten.map_err(Failure::from))
}

/// Prints what others need to find this station.
async fn announce(daemon: &Node, out: &mut Output) -> Result<(), Failure> {
    let station = daemon.station_id().to_string();
    let addresses: Vec<String> = daemon.addresses().await.iter().map(ToString::to_string).collect();
    let ticket = daemon.ticket().await.map(|ticket| ticket.to_string());
    let api = format!("http://{}", reachable(daemon.api_address()));
    let value = json!({ "station_id": station, "addresses": addresses, "ticket": ticket, "api": api });
    out.result(&value, |out| {
        out.line(format_args!("station: {station}"))?;
        addresses.iter().try_for_each(|address| out.line(format_args!("address: {address}")))?;
        match &ticket {
            Some(ticket) => out.line(format_args!("ticket: {ticket}"))?,
            None if daemon.has_federation() => {
                tracing::warn!("no address to be reached at, so no ticket: set network.listen");
            }
            None => {
                tracing::warn!(
                    "no federation yet, so no ticket: `qfzz ticket` shows it once this station has joined one"
                );
            }
        }
        out.line(format_args!("api: {api}"))
    })?;
    out.flush()
}

/// Where a client on this machine reaches what listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(Failure::Runtime);
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_on_every_interface_is_reached_on_loopback() {
        let reached = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:4810"), "127.0.0.1:4810");
        assert_eq!(reached("[::]:1"), "[::1]:1");
        assert_eq!(reached("192.0.2.1:1"), "192.0.2.1:1");
    }
}
