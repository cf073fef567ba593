//! `qfzz demo`: several stations in one process, on loopback, with real libp2p and real stores.
//!
//! A short story: stations meet, record, disagree and agree again. Everything that it tells is read through each
//! station's HTTP API.

mod stage;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use qfzz_ledger_core::federation::SignatureScheme;
use serde_json::{Value, json};

use self::stage::{Actor, Stage};
use super::failure::Failure;
use super::init::Signatures;
use super::output::{Output, items, notice, short, show};
use super::wait_for;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many stations, 3 to 20
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=20))]
    stations: u8,
    /// How the stations sign
    #[arg(long, value_name = "SCHEME", default_value = "ed25519")]
    signatures: Signatures,
    /// Keep the stations' data when the demo ends
    #[arg(long)]
    keep: bool,
}

/// How long the stations may take to agree on something.
const PATIENCE: Duration = Duration::from_secs(15);

/// Blocks that the cut-off station mines alone, and the others meanwhile: one more, so theirs win.
const BRANCHES: (u64, u64) = (2, 3);

/// What everybody has something to say about.
const TRACK: (&str, &str) = ("track_001", "artist_001");

pub(super) fn demo(args: &DemoArgs, data_dir: Option<&PathBuf>, out: &mut Output) -> Result<(), Failure> {
    let stage = Stage::new(data_dir, args.keep)?;
    let play = play(&stage, args.stations, args.signatures.into(), out);
    let result = wait_for(tokio::runtime::Builder::new_multi_thread(), play);
    if args.keep {
        notice(format_args!("The stations' data is in {}", stage.path().display()));
    }
    result
}

/// Tells a line of the story; with --json only the final value is printed.
fn tell(out: &mut Output, line: impl std::fmt::Display) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(());
    }
    out.line(line)?;
    out.flush()
}

async fn play(stage: &Stage, count: u8, scheme: SignatureScheme, out: &mut Output) -> Result<(), Failure> {
    let mut actors = vec![stage.found(1, scheme).await?];
    tell(out, format_args!("Station 1 founds the federation \"{}\".", stage::FEDERATION))?;
    for number in 2..count {
        let actor = stage.join(number, actors.last().expect("station 1 is there")).await?;
        tell(out, format_args!("Station {number} joins by the address of station {}.", number - 1))?;
        actors.push(actor);
    }
    stage::await_peers(&actors, PATIENCE).await?;

    for (number, actor) in (1..).zip(&actors) {
        actor.record(first_records(number)).await?;
    }
    tell(out, format_args!("Each records its own users' actions and content: {} records.", acknowledged(&actors)))?;
    actors[0].mine().await?;
    stage::await_agreement(&actors, PATIENCE).await?;
    tell(out, "Station 1 mines a block, and all adopt it.")?;

    part(&actors, out).await?;

    let late = stage.join(count, &actors[0]).await?;
    actors.push(late);
    stage::await_agreement(&actors, PATIENCE).await?;
    tell(out, format_args!("Station {count} comes late, joins by address and syncs the chain."))?;
    actors[usize::from(count) - 1].record(first_records(u64::from(count))).await?;
    actors[usize::from(count) - 1].mine().await?;
    stage::await_agreement(&actors, PATIENCE).await?;
    tell(out, "It records too, and mines.")?;
    expect_all_on_chain(&actors).await?;

    let rows = table(&actors).await?;
    print(&rows, out)?;
    let agreed = verdict(&rows);
    for actor in actors {
        actor.leave().await;
    }
    match agreed {
        Ok(()) => tell(out, "\nAll stations agree."),
        Err(what) => Err(Failure::Demo { what }),
    }
}

/// One station is cut off, mines a branch, is let back and takes the longer chain without losing a record.
async fn part(actors: &[Actor], out: &mut Output) -> Result<(), Failure> {
    let (alone, others) = actors.split_last().expect("there are at least two");
    let number = actors.len();
    for other in others {
        alone.part_from(other).await;
        other.part_from(alone).await;
    }
    stage::await_no_peer(alone, PATIENCE).await?;
    tell(out, format_args!("Station {number} is cut off: connections closed, dials refused both ways."))?;
    for round in 1..=BRANCHES.0 {
        alone.record(vec![action(&format!("user_{number}"), "rating", &format!("alone_{round}"))]).await?;
        alone.mine().await?;
    }
    tell(out, format_args!("Cut off, it records and mines {} blocks of its own.", BRANCHES.0))?;
    for round in 1..=BRANCHES.1 {
        others[0].record(vec![verdict_on("content_verified", &format!("together_{round}"), "artist_002")]).await?;
        others[0].mine().await?;
    }
    stage::await_agreement(others, PATIENCE).await?;
    tell(out, format_args!("Meanwhile the others mine {}.", BRANCHES.1))?;
    for other in others {
        other.meet(alone).await;
        alone.meet(other).await;
    }
    stage::await_agreement(actors, PATIENCE).await?;
    let status = alone.get(&["v1", "status"]).await?;
    let reorganisations = show(&status, "reorganisations");
    tell(out, format_args!("Let back, it takes the longer chain ({reorganisations} reorganisation)."))?;
    others[0].mine().await?;
    stage::await_agreement(actors, PATIENCE).await?;
    let after = expect_all_on_chain(actors).await?;
    tell(out, format_args!("What it had recorded alone is mined again: none of {after} records is lost."))
}

fn action(user: &str, action: &str, target: &str) -> Value {
    json!({ "kind": "user_action", "user_id": user, "action": action, "target": target })
}

fn verdict_on(kind: &str, content: &str, creator: &str) -> Value {
    json!({ "kind": kind, "content_id": content, "creator_id": creator })
}

/// What a station records first: its user's actions, its own track, and a word about the track that all know. Every
/// fifth verdict is a report.
fn first_records(number: u64) -> Vec<Value> {
    let user = format!("user_{number}");
    let kind = if number.is_multiple_of(5) { "content_reported" } else { "content_verified" };
    vec![
        action(&user, "interaction", "dj"),
        action(&user, "rating", "dataset_001"),
        action("user_001", "connection", &user),
        json!({ "kind": "content_added", "content_id": format!("track_of_{number}"), "creator_id": format!("artist_of_{number}"), "initial_score": 0.6 }),
        verdict_on(kind, TRACK.0, TRACK.1),
    ]
}

/// Records that the stations have acknowledged.
fn acknowledged(actors: &[Actor]) -> u64 {
    actors.iter().map(Actor::acknowledged).sum()
}

/// Fails unless every record that was acknowledged is on the chain, once.
async fn expect_all_on_chain(actors: &[Actor]) -> Result<u64, Failure> {
    let (expected, statistics) = (acknowledged(actors), actors[0].get(&["v1", "chain"]).await?);
    match statistics["total_records"].as_u64() {
        Some(found) if found == expected => Ok(found),
        found => {
            Err(Failure::Demo { what: format!("{found:?} records are on the chain, {expected} were acknowledged") })
        }
    }
}

/// What each station answers: the same everywhere, if all is well.
async fn table(actors: &[Actor]) -> Result<Vec<Value>, Failure> {
    let mut rows = Vec::new();
    for (number, actor) in (1..).zip(actors) {
        let chain = actor.get(&["v1", "chain"]).await?;
        let status = actor.get(&["v1", "status"]).await?;
        let user = actor.get(&["v1", "trust", "users", "user_001"]).await?;
        let track = [("content_id", TRACK.0), ("creator_id", TRACK.1)];
        let content = actor.ask(&["v1", "trust", "content"], &track).await?;
        let global = [("kind", "content"), ("id", TRACK.0), ("creator_id", TRACK.1), ("policy", "mean")];
        let global = actor.ask(&["v1", "trust", "global"], &global).await?;
        let user_global = [("kind", "user"), ("id", "user_001"), ("policy", "mean")];
        let user_global = actor.ask(&["v1", "trust", "global"], &user_global).await?;
        rows.push(json!({
            "station": number,
            "station_id": status["station_id"],
            "head": chain["head"],
            "records": chain["total_records"],
            "pending": chain["pending_records"],
            "reorganisations": status["reorganisations"],
            "user": { "ledger": user["score"], "global": user_global["score"] },
            "content": {
                "ledger": content["score"],
                "stations": items(&global["stations"]).iter().map(|it| it["score"].clone()).collect::<Vec<_>>(),
                "global": global["score"],
            },
        }));
    }
    Ok(rows)
}

fn print(rows: &[Value], out: &mut Output) -> Result<(), Failure> {
    let value = json!({ "stations": rows, "agree": verdict(rows).is_ok() });
    out.result(&value, |out| {
        out.line("")?;
        let head = [
            "station",
            "head",
            "records",
            "reorganisations",
            "user_001",
            "global",
            "track_001",
            "per station",
            "global",
        ];
        let cells = rows.iter().map(|row| {
            let head = format!("{} {}", show(row, "head.index"), short(&show(row, "head.hash")));
            let stations: Vec<String> = items(&row["content"]["stations"]).iter().map(|it| show(it, "")).collect();
            [
                format!("{} {}", show(row, "station"), short(&show(row, "station_id"))),
                head,
                show(row, "records"),
                show(row, "reorganisations"),
                show(row, "user.ledger"),
                show(row, "user.global"),
                show(row, "content.ledger"),
                stations.join(" "),
                show(row, "content.global"),
            ]
        });
        out.table(head, cells)
    })
}

/// Whether all rows say the same: head, records, scores.
fn verdict(rows: &[Value]) -> Result<(), String> {
    for name in ["head", "records", "pending", "user", "content"] {
        if let Some(row) = rows.iter().find(|row| row[name] != rows[0][name]) {
            return Err(format!("station {} has another {name} than station 1", show(row, "station")));
        }
    }
    Ok(())
}
