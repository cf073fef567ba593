//! `qfzz status`, `peers`, `ticket`, `join` and `sync`: this station among the others.

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, items, show, show_head};
use crate::ticket::JoinTarget;

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// What `qfzz ticket` prints at the other station, or its multiaddress
    #[arg(value_name = "TICKET|MULTIADDR")]
    target: JoinTarget,
}

#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    /// With whom [default: all connected peers]
    #[arg(value_name = "PEER_ID|MULTIADDR", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    peer: Option<String>,
}

pub(super) async fn status(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let status = client.get(&["v1", "status"], &[]).await?;
    out.result(&status, |out| {
        for trouble in items(&status["problems"]) {
            out.line(format_args!("PROBLEM  {}", show(trouble, "problem")))?;
            out.line(format_args!("  remedy {}", show(trouble, "remedy")))?;
        }
        let federation = match show(&status, "federation_id").as_str() {
            "-" => "none yet".to_owned(),
            id => format!("{} ({id})", show(&status, "federation")),
        };
        out.facts(&[
            ("station", show(&status, "station_id")),
            ("name", show(&status, "name")),
            ("federation", federation),
            ("head", show_head(&status, "head")),
            ("pending", format!("{} records", show(&status, "pending_records"))),
            ("peers", show(&status, "peers")),
            ("synced", show(&status, "synced")),
            ("version", show(&status, "version")),
        ])?;
        items(&status["listen"]).iter().try_for_each(|address| out.facts(&[("listens on", show(address, ""))]))
    })
}

pub(super) async fn peers(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let peers = client.get(&["v1", "peers"], &[]).await?;
    out.result(&peers, |out| {
        let rows = items(&peers);
        if rows.is_empty() {
            out.line("no peers: give another station the output of `qfzz ticket`, or join it with `qfzz join`")?;
            return Ok(());
        }
        let row =
            |peer: &Value| [show(peer, "peer_id"), show(peer, "name"), show_head(peer, "head"), show(peer, "address")];
        out.table(["PEER", "NAME", "HEAD", "ADDRESS"], rows.iter().map(row))
    })
}

pub(super) async fn ticket(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let ticket = client.get(&["v1", "ticket"], &[]).await?;
    out.result(&ticket, |out| out.line(show(&ticket, "ticket")))
}

pub(super) async fn join(client: &Client, args: &JoinArgs, out: &mut Output) -> Result<(), Failure> {
    let body = json!({ "address": args.target.to_string() });
    let joined = client.post(&["v1", "peers"], Some(&body)).await?.unwrap_or_default();
    out.result(&joined, |out| {
        let did = if joined["joined"] == Value::Bool(true) { "joined" } else { "connected in" };
        out.line(format_args!(
            "{did} the federation {} ({}) through {}",
            show(&joined, "federation"),
            show(&joined, "federation_id"),
            show(&joined, "peer_id")
        ))
    })
}

pub(super) async fn sync(client: &Client, args: &SyncArgs, out: &mut Output) -> Result<(), Failure> {
    let body = args.peer.as_ref().map_or_else(|| json!({}), |peer| json!({ "peer": peer }));
    let reports = client.post(&["v1", "sync"], Some(&body)).await?.unwrap_or_else(|| json!([]));
    out.result(&reports, |out| {
        let rows = items(&reports);
        if rows.is_empty() {
            return out.line("no peers to sync with: join a station with `qfzz join`");
        }
        for report in rows.iter().filter(|report| !report["fault"].is_null()) {
            out.line(format_args!("PROBLEM  {}: {}", show(report, "peer"), show(report, "fault")))?;
        }
        let fields = [
            "peer",
            "blocks",
            "batches",
            "records",
            "bytes_in",
            "bytes_out",
            "round_trips",
            "reorg_depth",
            "elapsed_ms",
            "cpu_ms",
        ];
        let row = |report: &Value| fields.map(|field| show(report, field));
        let heads = ["PEER", "BLOCKS", "BATCHES", "RECORDS", "IN", "OUT", "TRIPS", "REORG", "MS", "CPU MS"];
        out.table(heads, rows.iter().map(row))
    })
}
