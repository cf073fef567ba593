//! The node's settings: defaults, then `qfzz.toml`, then `QFZZ_*`, then flags.

mod load;
mod text;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use qfzz_ledger_core::ids::Name;
use qfzz_ledger_core::score::Score;
use qfzz_sync::global_trust::Policy;
use serde::{Deserialize, Serialize};

use crate::quantum::Target;
use crate::ticket::JoinTarget;

pub use load::{ConfigError, ConfigProblem, Flag, Loaded};
pub use text::{DurationError, parse_duration};

/// All settings, checked. [`Config::default`] is what holds when nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `station.*`
    pub station: Station,
    /// `network.*`
    pub network: Network,
    /// `api.*`
    pub api: Api,
    /// `mining.*`
    pub mining: Mining,
    /// `sync.*`
    pub sync: Sync,
    /// `trust.*`
    pub trust: Trust,
    /// `quantum.*`
    pub quantum: Quantum,
    /// `verify.*`
    pub verify: Verify,
    /// `log.*`
    pub log: Log,
}

/// `station.*`: what this station says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Station {
    /// What it calls itself; empty by default.
    #[serde(with = "text::one")]
    pub name: Name,
}

/// `network.*`: libp2p.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Where libp2p listens; port 0 takes a free one. TCP and QUIC on port 4811 of all IPv4 interfaces by default.
    #[serde(with = "text::many")]
    pub listen: Vec<ListenMultiaddr>,
    /// Whom to call at start; nobody by default.
    #[serde(with = "text::many")]
    pub join: Vec<JoinTarget>,
    /// Whether to look for stations on the local network by mDNS, and to be found there; false by default.
    #[serde(deserialize_with = "text::truth")]
    pub mdns: bool,
}

/// `api.*`: HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Api {
    /// Where the API listens; port 0 takes a free one. 127.0.0.1:4810 by default.
    #[serde(with = "text::one")]
    pub listen: ListenAddress,
    /// Host names beside the local ones that a request's `Host` may hold; none by default.
    #[serde(with = "text::many")]
    pub hosts: Vec<HostName>,
}

/// `mining.*`: when this station produces blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mining {
    /// Whether it mines unasked; true by default.
    #[serde(deserialize_with = "text::truth")]
    pub enabled: bool,
    /// How long the oldest pending record waits, at least 10 ms; 1 h by default.
    #[serde(serialize_with = "text::duration", deserialize_with = "text::at_least::<10, _>")]
    pub interval: Duration,
    /// How many pending records start mining before that, at least 1; 100 by default.
    #[serde(deserialize_with = "text::one::deserialize")]
    pub records: RecordCount,
    /// How long to wait for each producer that ranks before this one; 2 s by default.
    #[serde(serialize_with = "text::duration", deserialize_with = "text::at_least::<0, _>")]
    pub slot: Duration,
}

/// `sync.*`: how stations catch up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    /// How often to compare with each peer, at least 100 ms; 30 s by default.
    #[serde(serialize_with = "text::duration", deserialize_with = "text::at_least::<100, _>")]
    pub interval: Duration,
}

/// `trust.*`: how questions of trust are answered, and whom this station trusts with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// How opinions are combined where a question names no policy.
    #[serde(with = "text::one")]
    pub policy: TrustPolicy,
    /// The score from which a user is trusted by the community; 0.8 by default.
    #[serde(serialize_with = "text::decimal", deserialize_with = "text::one::deserialize")]
    pub community_threshold: Score,
    /// The score that a user needs to submit a dataset here; 0.7 by default.
    #[serde(serialize_with = "text::decimal", deserialize_with = "text::one::deserialize")]
    pub submit_threshold: Score,
}

/// `quantum.*`: random numbers from Q#.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantum {
    /// Whether to start the helper process, and to begin mining at its numbers; true by default.
    #[serde(deserialize_with = "text::truth")]
    pub enabled: bool,
    /// The Python that runs it, a name or an absolute path; empty, the default: that of `qfzz quantum setup`, else `python3`.
    #[serde(deserialize_with = "text::one::deserialize")]
    pub python: String,
    /// Where the Q# runs; `simulator` by default.
    #[serde(with = "text::one")]
    pub target: Target,
}

/// `verify.*`: how this station checks what other stations claim, without a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verify {
    /// Folders whose files answer for datasets, with all that lie in them; none by default.
    #[serde(with = "text::many")]
    pub folders: Vec<Folder>,
    /// How often the folders are looked through, at least 1 s; 1 min by default.
    #[serde(serialize_with = "text::duration", deserialize_with = "text::at_least::<1_000, _>")]
    pub interval: Duration,
    /// What answers where no file does, as `/bin/sh -c` takes it; empty, the default, is nothing.
    #[serde(with = "text::one")]
    pub command: String,
    /// How long it may take, at least 100 ms; 1 min by default.
    #[serde(serialize_with = "text::duration", deserialize_with = "text::at_least::<100, _>")]
    pub timeout: Duration,
}

/// `log.*`: what goes to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// The least severe level that is written; `info` by default.
    #[serde(with = "text::one")]
    pub level: LogLevel,
    /// How a line is written; `text` by default.
    #[serde(with = "text::one")]
    pub format: LogFormat,
}

impl Default for Station {
    fn default() -> Self {
        Self { name: Name::new("").expect("a name may be empty") }
    }
}

impl Default for Network {
    fn default() -> Self {
        let listen = ["/ip4/0.0.0.0/tcp/4811", "/ip4/0.0.0.0/udp/4811/quic-v1"];
        let listen = listen.map(|address| address.parse().expect("an address to listen on")).to_vec();
        Self { listen, join: Vec::new(), mdns: false }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self { listen: ListenAddress(SocketAddr::from((Ipv4Addr::LOCALHOST, 4810))), hosts: Vec::new() }
    }
}

impl Default for Mining {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_secs(60 * 60),
            records: RecordCount(100),
            slot: Duration::from_secs(2),
        }
    }
}

impl Default for Sync {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30) }
    }
}

impl Default for Trust {
    fn default() -> Self {
        let score = |millionths| Score::from_millionths(millionths).expect("in range");
        Self { policy: TrustPolicy::Anchored, community_threshold: score(800_000), submit_threshold: score(700_000) }
    }
}

impl Default for Quantum {
    fn default() -> Self {
        Self { enabled: true, python: String::new(), target: Target::default() }
    }
}

impl Default for Verify {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { folders: Vec::new(), interval: minute, command: String::new(), timeout: minute }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

/// Why a value cannot be used. The sentence follows the key's name and where it was set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not an IP address with a port.
    #[error("is not ADDRESS:PORT, such as 127.0.0.1:4810")]
    NotAListenAddress,
    /// Not a multiaddress of an IP address with TCP or QUIC.
    #[error("is no address to listen on: give one such as /ip4/0.0.0.0/tcp/4811 or /ip4/0.0.0.0/udp/4811/quic-v1")]
    NotAListenMultiaddr,
    /// Not a host name.
    #[error("is not a host name: leave out scheme, port and path")]
    NotAHostName,
    /// Not an absolute path.
    #[error("is not an absolute path: begin it with /")]
    NotAFolder,
    /// Not a whole number from 1.
    #[error("is not a whole number from 1 to 4294967295")]
    NotARecordCount,
    /// A word that is not among those known.
    #[error("is unknown: give {0}")]
    UnknownWord(&'static str),
}

/// An IP address and port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(SocketAddr);

impl ListenAddress {
    /// The address; port 0 means any free one.
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for ListenAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse().map(Self).map_err(|_| ValueError::NotAListenAddress)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where libp2p listens; port 0 means any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenMultiaddr {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over QUIC, which is UDP.
    Quic(SocketAddr),
}

impl ListenMultiaddr {
    /// The address as libp2p takes it.
    pub fn to_multiaddr(self) -> Multiaddr {
        match self {
            Self::Tcp(socket) => Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port())),
            Self::Quic(socket) => {
                Multiaddr::from(socket.ip()).with(Protocol::Udp(socket.port())).with(Protocol::QuicV1)
            }
        }
    }
}

impl FromStr for ListenMultiaddr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let address: Multiaddr = text.parse().map_err(|_| ValueError::NotAListenMultiaddr)?;
        let mut parts = address.iter();
        let ip: IpAddr = match parts.next() {
            Some(Protocol::Ip4(ip)) => ip.into(),
            Some(Protocol::Ip6(ip)) => ip.into(),
            _ => return Err(ValueError::NotAListenMultiaddr),
        };
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Protocol::Tcp(port)), None, _) => Ok(Self::Tcp(SocketAddr::new(ip, port))),
            (Some(Protocol::Udp(port)), Some(Protocol::QuicV1), None) => Ok(Self::Quic(SocketAddr::new(ip, port))),
            _ => Err(ValueError::NotAListenMultiaddr),
        }
    }
}

impl fmt::Display for ListenMultiaddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_multiaddr().fmt(f)
    }
}

/// A host name as it stands in a request's `Host`, without port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        // The longest name that DNS can carry has 253 characters.
        if text.is_empty() || text.len() > 253 || !is_name {
            return Err(ValueError::NotAHostName);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An absolute path of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(String);

impl Folder {
    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl FromStr for Folder {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if Path::new(text).is_absolute() { Ok(Self(text.to_owned())) } else { Err(ValueError::NotAFolder) }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number of records, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecordCount(u32);

impl RecordCount {
    /// The number, 1 or more.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for RecordCount {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.parse() {
            Ok(0) | Err(_) => Err(ValueError::NotARecordCount),
            Ok(count) => Ok(Self(count)),
        }
    }
}

impl fmt::Display for RecordCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Defines an enum that is shown and read as one of a few words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, all: $all:literal, $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(ValueError::UnknownWord($all)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $word),+
                })
            }
        }
    };
}

words!(
    /// How the opinions of many stations make one.
    TrustPolicy, all: "anchored, eigentrust, median or mean",
    /// By agreement with the founders and with drawn jurors.
    Anchored = "anchored",
    /// By weights that flow from the founders along agreement.
    EigenTrust = "eigentrust",
    /// The median of the opinions, by evidence.
    Median = "median",
    /// The arithmetic mean of the opinions of the stations that have one.
    Mean = "mean",
);
impl From<TrustPolicy> for Policy {
    fn from(policy: TrustPolicy) -> Self {
        match policy {
            TrustPolicy::Anchored => Self::Anchored,
            TrustPolicy::EigenTrust => Self::EigenTrust,
            TrustPolicy::Median => Self::Median,
            TrustPolicy::Mean => Self::Mean,
        }
    }
}

words!(
    /// How severe a log line must be to be written.
    LogLevel, all: "error, warn, info, debug or trace",
    /// Only what stops something.
    Error = "error",
    /// Also what an operator should look at.
    Warn = "warn",
    /// Also what happens.
    Info = "info",
    /// Also why.
    Debug = "debug",
    /// Everything.
    Trace = "trace",
);
words!(
    /// How a log line is written.
    LogFormat, all: "text or json",
    /// For people.
    Text = "text",
    /// One JSON object a line.
    Json = "json",
);

#[cfg(test)]
mod tests;
