//! `qfzz station`: who takes part, and a founder's words about it.

use clap::{Args, Subcommand};
use qfzz_ledger_core::ids::{Reason, StationId};
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::init::parse_key_hash;
use super::output::{Output, items, notice, show};

#[derive(Debug, Subcommand)]
pub(super) enum StationCommand {
    /// List the stations that take part
    List,
    /// Admit a station, as a founder
    Admit(AdmitArgs),
    /// Say that a station be expelled, as a founder; it is when more than half of the founders say so
    Expel(WordArgs),
}

#[derive(Debug, Args)]
pub(super) struct WordArgs {
    /// The station's id: `qfzz status` shows it there
    #[arg(value_name = "PEER_ID")]
    station: StationId,
    /// Why, for everybody to read; 0 to 128 bytes
    #[arg(long, value_name = "TEXT")]
    reason: Option<Reason>,
}

#[derive(Debug, Args)]
pub(super) struct AdmitArgs {
    #[command(flatten)]
    word: WordArgs,
    /// The hash of its ML-DSA key, where stations sign with `hybrid`: `qfzz status` shows it there
    #[arg(long, value_name = "HEX", value_parser = parse_key_hash)]
    key_hash: Option<[u8; 32]>,
}

pub(super) async fn station(client: &Client, command: &StationCommand, out: &mut Output) -> Result<(), Failure> {
    match command {
        StationCommand::List => list(client, out).await,
        StationCommand::Admit(args) => say(client, &args.word, args.key_hash, "admit", out).await,
        StationCommand::Expel(args) => say(client, args, None, "expel", out).await,
    }
}

async fn list(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let stations = client.get(&["v1", "stations"], &[]).await?;
    out.result(&stations, |out| {
        let row = |station: &Value| {
            let standing = show_standing(station);
            let connected = if station["connected"] == true { "yes" } else { "no" };
            [
                show(station, "station_id"),
                show(station, "name"),
                standing.to_owned(),
                connected.to_owned(),
                show(station, "records"),
            ]
        };
        out.table(["STATION", "NAME", "STANDING", "CONNECTED", "RECORDS"], items(&stations).iter().map(row))
    })
}

/// How a station stands, in a word.
fn show_standing(station: &Value) -> &'static str {
    let is = |member: &str| station[member] == true;
    match () {
        () if is("equivocated") => "equivocated",
        () if is("founder") => "founder",
        () if is("expelled") => "expelled",
        () if is("vouched") => "vouched",
        () if is("admitted") => "admitted",
        () => "not admitted",
    }
}

async fn say(
    client: &Client,
    args: &WordArgs,
    key_hash: Option<[u8; 32]>,
    word: &str,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut body = args.reason.as_ref().map_or_else(|| json!({}), |reason| json!({ "reason": reason.as_str() }));
    if let Some(key_hash) = key_hash {
        body["ml_dsa_key_hash"] = hex::encode(key_hash).into();
    }
    let path = ["v1", "stations", &args.station.to_string(), word];
    let said = client.post(&path, Some(&body)).await?.unwrap_or_default();
    out.result(&said, |out| {
        out.line(show(&said, "record_id"))?;
        notice("it counts from the block after the one that takes this record: see `qfzz station list`");
        Ok(())
    })
}
