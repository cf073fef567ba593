//! `qfzz init`: makes a station.

use clap::{Args, ValueEnum};
use qfzz_ledger_core::federation::{self, Genesis, Parameters, SignatureScheme};
use qfzz_ledger_core::header::Difficulty;
use qfzz_ledger_core::ids::{Id, Name, StationId};
use qfzz_ledger_core::score::Delta;
use qfzz_ledger_core::time::Timestamp;
use serde_json::json;

use super::failure::Failure;
use super::output::{Output, notice};
use super::{Global, wait_for};
use crate::clock;
use crate::config::Config;
use crate::data_dir::{self, DataDir, LockedDataDir};
use crate::identity::Identity;
use crate::node::roster::{RedeemError, redeem};
use crate::quantum::{self, QuantumRandomNumberGenerator};
use crate::ticket::JoinTarget;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// What the station calls itself, 0 to 64 bytes
    #[arg(long)]
    name: Option<Name>,
    /// What the new federation calls itself [default: the station's name, or QFZZ]
    #[arg(long, value_name = "NAME", conflicts_with = "join")]
    new_federation: Option<Name>,
    /// A station whose federation to join instead of founding one; may be given several times
    #[arg(long, value_name = "TICKET|MULTIADDR")]
    join: Vec<JoinTarget>,
    /// Zero hex digits that a block's hash starts with, 1 to 8 [default: 2]
    #[arg(long, value_name = "DIGITS", value_parser = parse_difficulty, conflicts_with = "join")]
    difficulty: Option<Difficulty>,
    /// Who may take part
    #[arg(long, value_name = "WHO", default_value = "open", conflicts_with = "join")]
    admission: Admission,
    /// A founder beside this station, under `hybrid` with the hash of its ML-DSA key, both as `init` prints them there;
    /// may be given several times
    #[arg(long, value_name = "PEER_ID[:KEY_HASH]", value_parser = parse_founder, conflicts_with = "join")]
    founder: Vec<(StationId, Option<[u8; 32]>)>,
    /// How stations sign
    #[arg(long, value_name = "SCHEME", default_value = "ed25519", conflicts_with = "join")]
    signatures: Signatures,
    /// Whether founders vote on checkpoints
    #[arg(long, value_name = "WHETHER", default_value = "off")]
    finality: Finality,
    /// An action beside the default ones, or another delta for one of those; may be given several times
    #[arg(long, value_name = "NAME=DELTA", value_parser = parse_action, conflicts_with = "join")]
    action: Vec<(Id, Delta)>,
    /// Answer yes to every question; this version asks none
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Admission {
    /// Any station
    Open,
    /// The founders, and whom they admit
    Roster,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Signatures {
    /// 64 bytes a signature
    Ed25519,
    /// Ed25519 and ML-DSA-65, which a quantum computer does not break: 3,373 bytes a signature
    Hybrid,
}

impl From<Signatures> for SignatureScheme {
    fn from(signatures: Signatures) -> Self {
        match signatures {
            Signatures::Ed25519 => Self::Ed25519,
            Signatures::Hybrid => Self::Hybrid,
        }
    }
}

/// Lets the federation that `founder` founds sign with `scheme`.
pub(super) fn sign_with(parameters: &mut Parameters, scheme: SignatureScheme, founder: &Identity) {
    parameters.signatures = scheme;
    if scheme == SignatureScheme::Hybrid {
        parameters.add_founder(founder.station_id(), Some(founder.ml_dsa_key_hash()));
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Finality {
    /// The most work wins, however deep
    Off,
    #[value(hide = true)]
    On,
}

fn parse_difficulty(text: &str) -> Result<Difficulty, &'static str> {
    text.parse().ok().and_then(Difficulty::new).ok_or("give a whole number from 1 to 8")
}

fn parse_founder(text: &str) -> Result<(StationId, Option<[u8; 32]>), String> {
    let (station, key_hash) = match text.split_once(':') {
        Some((station, key_hash)) => (station, Some(parse_key_hash(key_hash)?)),
        None => (text, None),
    };
    Ok((station.parse().map_err(|why| format!("the station id {why}"))?, key_hash))
}

/// The hash of an ML-DSA key.
pub(super) fn parse_key_hash(text: &str) -> Result<[u8; 32], &'static str> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "a key hash has 64 hex digits")?;
    Ok(hash)
}

fn parse_action(text: &str) -> Result<(Id, Delta), String> {
    // A name may hold `=`, a delta cannot.
    let (name, delta) = text.rsplit_once('=').ok_or("give NAME=DELTA, such as upload=0.02")?;
    let name = Id::new(name).map_err(|why| format!("the action's name {why}"))?;
    Ok((name, delta.parse().map_err(|why| format!("the delta `{delta}` {why}"))?))
}

impl InitArgs {
    /// What this version has not got, by name.
    fn refuse_what_is_missing(&self) -> Result<(), Failure> {
        if let Finality::On = self.finality {
            return Err(Failure::NotInThisVersion { feature: "finality", flag: "--finality on" });
        }
        Ok(())
    }

    /// Under `hybrid` each founder is named with the hash of its key, else none is.
    fn check_founders(&self) -> Result<(), Failure> {
        let is_hybrid = matches!(self.signatures, Signatures::Hybrid);
        let Some((founder, _)) = self.founder.iter().find(|(_, key_hash)| key_hash.is_some() != is_hybrid) else {
            return Ok(());
        };
        let why = if is_hybrid {
            format!(
                "{founder} has no key hash: with --signatures hybrid give PEER_ID:KEY_HASH, as `qfzz init` or `qfzz status` prints both there"
            )
        } else {
            format!("{founder} has a key hash: give the PEER_ID alone, or --signatures hybrid")
        };
        Err(Failure::Usage { what: "--founder", why })
    }

    /// The parameters of the federation that the station founds.
    fn parameters(&self, identity: &Identity, now: Timestamp) -> Parameters {
        let station = identity.station_id();
        let name = federation_name(self.new_federation.as_ref().or(self.name.as_ref()));
        let mut parameters = Parameters::new(name, station, now);
        if let Some(difficulty) = self.difficulty {
            parameters.difficulty = difficulty;
        }
        if let Admission::Roster = self.admission {
            parameters.admission = federation::Admission::Roster;
        }
        for (founder, key_hash) in &self.founder {
            parameters.add_founder(*founder, *key_hash);
        }
        sign_with(&mut parameters, self.signatures.into(), identity);
        for (action, delta) in &self.action {
            parameters.set_action(action.clone(), *delta);
        }
        parameters
    }
}

/// What was made.
struct Made {
    station: StationId,
    ml_dsa_key_hash: [u8; 32],
    /// `None` if it is to join one.
    genesis: Option<Genesis>,
}

pub(super) fn init(global: &Global, args: &InitArgs, out: &mut Output) -> Result<(), Failure> {
    args.refuse_what_is_missing()?;
    args.check_founders()?;
    let dir = global.data_dir()?;
    let names = dir.occupied_by();
    if !names.is_empty() {
        return Err(Failure::Initialised { path: dir.path().to_owned(), names });
    }
    dir.create()?;
    // Two at once would otherwise mix their files.
    let dir = dir.lock()?;
    let names = dir.occupied_by();
    if !names.is_empty() {
        return Err(Failure::Initialised { path: dir.path().to_owned(), names });
    }
    let config = Config::load(&dir.config_file(), std::env::vars_os(), &[])?.config;
    let identity = new_identity(&config, &dir, |missed| notice(missed))?;
    let join = use_invitations(&identity, &args.join)?;
    let config = config_text(args.name.as_ref(), &join);
    let founds = args.join.is_empty();
    let made = make(&dir, identity, Some(&config), |identity| founds.then(|| args.parameters(identity, clock::now())))?;
    let is_asked_for = args.new_federation.is_some()
        || args.difficulty.is_some()
        || !args.founder.is_empty()
        || matches!(args.signatures, Signatures::Hybrid)
        || matches!(args.admission, Admission::Roster)
        || !args.action.is_empty();
    if founds && !is_asked_for {
        dir.mark_provisional()?;
    }
    print(&dir, &made, args, out)
}

/// Shows the founders the invitations among `targets`; returns the targets as they are to be remembered, without those
/// that were used. One whose founder does not answer is used when the station runs.
fn use_invitations(identity: &Identity, targets: &[JoinTarget]) -> Result<Vec<JoinTarget>, Failure> {
    let mut remembered = Vec::with_capacity(targets.len());
    for target in targets {
        let Some((ticket, secret)) = target.invitation() else {
            remembered.push(target.clone());
            continue;
        };
        let shown = async { Ok(redeem(identity, ticket, secret).await) };
        match wait_for(tokio::runtime::Builder::new_current_thread(), shown)? {
            Ok(()) => {
                notice("the founder admits this station: start it, and it takes part from the next block on");
                remembered.push(target.without_invitation());
            }
            Err(RedeemError::Refused(refusal)) => return Err(Failure::Invitation { refusal }),
            Err(error) => {
                notice(format_args!("the invitation is not used yet, and will be when the station runs: {error}"));
                remembered.push(target.clone());
            }
        }
    }
    Ok(remembered)
}

/// A new key, with quantum random numbers mixed in where there are any at once; `tell` says it where they were waited for in
/// vain.
fn new_identity(config: &Config, dir: &DataDir, tell: impl FnOnce(&str)) -> Result<Identity, Failure> {
    let source = quantum::source(quantum::Settings::of(&config.quantum, dir));
    if let Some(reason) = source.undecided() {
        tell(&format!("the key is from the operating system's generator alone: {reason}"));
    }
    Ok(Identity::generate_with(&QuantumRandomNumberGenerator::new(source))?)
}

/// Makes a station with the defaults in a directory that holds none, though perhaps its settings.
///
/// It founds a federation unless `founds` is false; `join` is remembered where there are no settings yet.
pub(super) fn init_with_defaults(
    dir: &LockedDataDir,
    settings: &Config,
    join: &[JoinTarget],
    founds: bool,
) -> Result<(), Failure> {
    let name = &settings.station.name;
    let config = (!dir.config_file().exists()).then(|| config_text(None, join));
    let founded = |founder: &Identity| Parameters::new(federation_name(Some(name)), founder.station_id(), clock::now());
    let parameters = |identity: &Identity| founds.then(|| founded(identity));
    let identity = new_identity(settings, dir, |missed| tracing::info!("{missed}"))?;
    let made = make(dir, identity, config.as_deref(), parameters)?;
    if founds {
        dir.mark_provisional()?;
    }
    let place = dir.path().display();
    match &made.genesis {
        Some(genesis) => {
            let (name, id) = (&genesis.parameters.name, genesis.id());
            tracing::info!("made station {} in {place}, founder of the federation {name} ({id})", made.station);
        }
        None => tracing::info!("made station {} in {place}", made.station),
    }
    Ok(())
}

/// Makes key, settings, token and genesis. The key comes last: with it the station is complete.
fn make(
    dir: &LockedDataDir,
    identity: Identity,
    config: Option<&str>,
    parameters: impl FnOnce(&Identity) -> Option<Parameters>,
) -> Result<Made, Failure> {
    let (station, ml_dsa_key_hash) = (identity.station_id(), identity.ml_dsa_key_hash());
    let genesis = parameters(&identity).map(mine_genesis).transpose()?;
    if let Some(genesis) = &genesis {
        dir.write_genesis(&genesis.encode())?;
    }
    if let Some(config) = config {
        data_dir::write_public(&dir.config_file(), config.as_bytes())?;
    }
    dir.token()?;
    identity.store(dir)?;
    Ok(Made { station, ml_dsa_key_hash, genesis })
}

fn mine_genesis(parameters: Parameters) -> Result<Genesis, Failure> {
    /// Above this many digits it takes more than a moment.
    const QUICK_DIGITS: u32 = 5;
    if parameters.difficulty.digits() > QUICK_DIGITS {
        notice("mining the genesis block; at this difficulty that can take minutes");
    }
    Ok(Genesis::mine(parameters)?)
}

/// The federation's name where only the station's is known.
fn federation_name(station: Option<&Name>) -> Name {
    let named = station.filter(|name| !name.as_str().is_empty()).cloned();
    named.unwrap_or_else(|| Name::new("QFZZ").expect("a name"))
}

fn print(dir: &DataDir, made: &Made, args: &InitArgs, out: &mut Output) -> Result<(), Failure> {
    let federation =
        made.genesis.as_ref().map(|genesis| (genesis.parameters.name.to_string(), genesis.id().to_string()));
    let join: Vec<String> = args.join.iter().map(|target| target.without_invitation().to_string()).collect();
    let value = json!({
        "station_id": made.station.to_string(),
        "ml_dsa_key_hash": hex::encode(made.ml_dsa_key_hash),
        "federation": federation.as_ref().map(|(name, _)| name),
        "federation_id": federation.as_ref().map(|(_, id)| id),
        "data_dir": dir.path(),
        "join": join,
    });
    out.result(&value, |out| {
        let (federation, id) = federation.unwrap_or_else(|| ("of the first that answers".to_owned(), "-".to_owned()));
        out.facts(&[
            ("station id", made.station.to_string()),
            ("key hash", hex::encode(made.ml_dsa_key_hash)),
            ("federation", federation),
            ("federation id", id),
            ("data", dir.path().display().to_string()),
            ("next", super::client::start_command(dir)),
        ])
    })
}

/// The example configuration with everything commented out that was not asked for.
fn config_text(name: Option<&Name>, join: &[JoinTarget]) -> String {
    let text = |text: String| toml::Value::String(text);
    let name = name.map(|name| text(name.to_string()).to_string());
    let targets = join.iter().map(|target| text(target.to_string())).collect();
    let join = (!join.is_empty()).then(|| toml::Value::Array(targets).to_string());
    let mut section = "";
    let mut config = String::new();
    for line in include_str!("../../../../config/qfzz.example.toml").lines() {
        if line.starts_with('[') {
            section = line;
        }
        match (line.split_once(" = "), section) {
            (Some((key, _)), _) if key.starts_with('#') => config.push_str(line),
            (Some(("name", _)), "[station]") if name.is_some() => {
                config.push_str(&format!("name = {}", name.as_deref().unwrap_or_default()));
            }
            (Some(("join", _)), "[network]") if join.is_some() => {
                config.push_str(&format!("join = {}", join.as_deref().unwrap_or_default()));
            }
            (Some(_), _) => config.push_str(&format!("#{line}")),
            (None, _) => config.push_str(line),
        }
        config.push('\n');
    }
    config
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn the_written_settings_say_what_was_asked_for_and_nothing_else() {
        let temporary = tempfile::tempdir().expect("a directory");
        let file = temporary.path().join("qfzz.toml");
        let name = Name::new("Radio \"Ä\" \\ 1").expect("a name");
        let join: Vec<JoinTarget> = vec![
            "/ip4/127.0.0.1/tcp/1".parse().expect("an address"),
            "/ip4/127.0.0.1/tcp/2".parse().expect("an address"),
        ];
        std::fs::write(&file, config_text(Some(&name), &join)).expect("written");
        let none: [(OsString, OsString); 0] = [];
        let loaded = Config::load(&file, none, &[]).expect("right");
        assert_eq!((&loaded.config.station.name, &loaded.config.network.join), (&name, &join));
        let set: Vec<_> =
            loaded.origins.iter().filter(|(_, origin)| *origin != "default").map(|(key, _)| key).collect();
        assert_eq!(set, ["network.join", "station.name"]);
    }

    #[test]
    fn an_action_is_a_name_and_a_delta() {
        let parsed = parse_action("a=b=-0.05").expect("an action");
        assert_eq!((parsed.0.as_str(), parsed.1.to_string()), ("a=b", "-0.05".to_owned()));
        for wrong in ["upload", "=0.1", "upload=", "upload=1.5", "upload=0.1234567", "upload=x"] {
            assert!(parse_action(wrong).is_err(), "{wrong}");
        }
    }
}
