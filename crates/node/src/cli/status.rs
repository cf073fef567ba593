//! `qfzz status`, `peers`, `ticket`, `join` and `sync`: this station among the others.

use std::time::{Duration, Instant};

use clap::Args;
use qfzz_ledger_core::time::Timestamp;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, count, items, notice, show, show_head};
use super::progress::{Progress, show_elapsed};
use crate::clock;
use crate::config::parse_duration;
use crate::invitations::LEAST_VALID;
use crate::ticket::JoinTarget;

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// What `qfzz ticket` prints at the other station, or its multiaddress
    #[arg(value_name = "TICKET|MULTIADDR")]
    target: JoinTarget,
}

#[derive(Debug, Args)]
pub(super) struct TicketArgs {
    /// Make it a one-time invitation: whoever joins with it is admitted, as a founder of a federation with a roster
    #[arg(long)]
    invite: bool,
    /// How long the invitation is valid [default: 24h]
    #[arg(long, value_name = "DURATION", requires = "invite", value_parser = parse_valid)]
    expires: Option<String>,
}

/// Checks a duration before the daemon is asked, and keeps it as given.
fn parse_valid(text: &str) -> Result<String, String> {
    match parse_duration(text) {
        Ok(valid) if valid < LEAST_VALID => Err("is too short: give 1s or more".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
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
            problem(out, &show(trouble, "problem"), &show(trouble, "remedy"))?;
        }
        let named = |name: String, id: String| if name == "-" { id } else { format!("{id} ({name})") };
        let federation = match show(&status, "federation_id").as_str() {
            "-" => "none yet".to_owned(),
            id => named(show(&status, "federation"), id.to_owned()),
        };
        let peers = match (status["peers"].as_u64(), status["synced"] == true) {
            (Some(1..), true) => format!("{} connected, caught up", show(&status, "peers")),
            (Some(1..), false) => format!("{} connected, not caught up yet", show(&status, "peers")),
            _ => "none connected".to_owned(),
        };
        let pending = status["pending_records"].as_u64().map(|number| count(number, "record"));
        let since = age(&status["started_at"]);
        out.facts(&[
            ("station", named(show(&status, "name"), show(&status, "station_id"))),
            ("federation", federation),
            ("signatures", show(&status, "signatures")),
            ("key hash", show(&status, "ml_dsa_key_hash")),
            ("head", show_head(&status, "head")),
            ("records", format!("{} on the chain", show(&status, "records"))),
            ("pending", pending.unwrap_or_else(|| "-".to_owned())),
            ("peers", peers),
            ("mining", if status["mining"] == true { "by itself" } else { "only when asked: qfzz mine" }.to_owned()),
            ("disk", show_space(&status)),
            ("uptime", since.map_or_else(|| "-".to_owned(), show_age)),
            ("version", show(&status, "version")),
        ])?;
        if let Some(done) = status["verifying"]["done"].as_u64() {
            out.facts(&[("verifying", format!("{done} of {} blocks", show(&status, "verifying.of")))])?;
        }
        if let Some(done) = status["importing"]["done"].as_u64() {
            out.facts(&[("importing", format!("{done} of {} bytes", show(&status, "importing.of")))])?;
        }
        for banned in items(&status["banned"]) {
            let [peer, until, reason] = ["peer_id", "until", "reason"].map(|member| show(banned, member));
            out.facts(&[("kept away", format!("{peer} until {until}: it {reason}"))])?;
        }
        items(&status["listen"]).iter().try_for_each(|address| out.facts(&[("listens on", show(address, ""))]))?;
        items(&status["notices"]).iter().try_for_each(|notice| out.facts(&[("notice", show(notice, ""))]))
    })
}

/// What is wrong, and what helps.
fn problem(out: &mut Output, problem: &str, remedy: &str) -> Result<(), Failure> {
    out.line(format_args!("PROBLEM  {problem}"))?;
    out.line(format_args!("  remedy {remedy}"))
}

/// How long ago a time was, by this machine's clock; `None` where it is none.
fn age(time: &Value) -> Option<Duration> {
    let time: Timestamp = time.as_str()?.parse().ok()?;
    let millis = clock::now().as_millis().saturating_sub(time.as_millis());
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// A span of time in its two largest units.
fn show_age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

fn show_space(status: &Value) -> String {
    let space = |member: &str| status[member].as_u64().map(show_bytes);
    match (space("data_bytes"), space("free_bytes")) {
        (Some(used), Some(free)) => format!("{used} of data, {free} free"),
        (Some(used), None) => format!("{used} of data"),
        (None, _) => "-".to_owned(),
    }
}

/// A number of bytes in the largest unit of which there is one.
fn show_bytes(bytes: u64) -> String {
    let mut unit = (1_u64, "B");
    for (index, name) in ["KiB", "MiB", "GiB", "TiB"].into_iter().enumerate() {
        let size = 1 << (10 * (index + 1));
        if bytes >= size {
            unit = (size, name);
        }
    }
    let tenths = u128::from(bytes) * 10 / u128::from(unit.0);
    if unit.0 == 1 { format!("{bytes} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, unit.1) }
}

pub(super) async fn peers(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let peers = client.get(&["v1", "peers"], &[]).await?;
    out.result(&peers, |out| {
        let rows = items(&peers);
        if rows.is_empty() {
            let remedy = "give another station what `qfzz ticket` prints, or join one with `qfzz join`";
            return problem(out, "no other station is connected", remedy);
        }
        let row = |peer: &Value| {
            let since = age(&peer["connected_since"]).map_or_else(|| "-".to_owned(), show_age);
            [show(peer, "peer_id"), show(peer, "name"), show_head(peer, "head"), since, show(peer, "address")]
        };
        out.table(["PEER", "NAME", "HEAD", "SINCE", "ADDRESS"], rows.iter().map(row))
    })
}

pub(super) async fn ticket(client: &Client, args: &TicketArgs, out: &mut Output) -> Result<(), Failure> {
    let path = ["v1", "ticket"];
    if !args.invite {
        let ticket = client.get(&path, &[]).await?;
        return out.result(&ticket, |out| out.line(show(&ticket, "ticket")));
    }
    let body = args.expires.as_ref().map_or_else(|| json!({}), |expires| json!({ "expires": expires }));
    let ticket = client.post(&path, Some(&body)).await?.unwrap_or_default();
    out.result(&ticket, |out| {
        out.line(show(&ticket, "ticket"))?;
        notice(format_args!(
            "it admits one station until {}: give it to nobody but the newcomer",
            show(&ticket, "expires")
        ));
        Ok(())
    })
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
    let (mut progress, start) = (Progress::start("syncing", "blocks", out), Instant::now());
    // As far as connected peers tell; a station that is ahead of all has nothing to fetch.
    let how_far = |status: &Value| {
        let head = status["head"]["index"].as_u64()?;
        Some((head, status["known_height"].as_u64().map(|known| known.max(head))))
    };
    let path = ["v1", "sync"];
    let reports = progress.watch(client, client.post(&path, Some(&body)), how_far).await?.unwrap_or_else(|| json!([]));
    let sum = |field: &str| items(&reports).iter().filter_map(|report| report[field].as_u64()).sum::<u64>();
    progress.end(format_args!(
        "{} and {} from {} in {}",
        count(sum("blocks"), "block"),
        count(sum("records"), "record"),
        count(items(&reports).len() as u64, "peer"),
        show_elapsed(start.elapsed())
    ));
    out.result(&reports, |out| {
        let rows = items(&reports);
        if rows.is_empty() {
            return problem(out, "no other station is connected: there is nobody to sync with", "join one: qfzz join");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_times_are_shown_in_units_that_people_read() {
        let bytes =
            [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (u64::MAX, "16777215.9 TiB")];
        for (number, shown) in bytes {
            assert_eq!(show_bytes(number), shown);
        }
        for (seconds, shown) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (180_000, "2 d 2 h")]
        {
            assert_eq!(show_age(Duration::from_secs(seconds)), shown);
        }
    }
}
