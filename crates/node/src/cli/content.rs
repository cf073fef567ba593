//! `qfzz content`: what creators made, and whether it holds what it promises.

use clap::{Args, Subcommand};
use qfzz_ledger_core::ids::Id;
use qfzz_ledger_core::score::Score;
use serde_json::{Value, json};

use super::bulk;
use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::{record, trust};

/// Records that one command may write, at most: as many as anybody means to.
const MAX_TIMES: i64 = 100_000;

#[derive(Debug, Subcommand)]
pub(super) enum ContentCommand {
    /// Record that content exists
    Add {
        #[command(flatten)]
        place: Place,
        /// Its score until somebody verifies or reports it, 0 to 1 [default: 0.5]
        #[arg(long)]
        score: Option<Score>,
        /// What else there is to say, a JSON object of at most 4 KiB
        #[arg(long, value_name = "JSON", value_parser = parse_metadata)]
        metadata: Option<Value>,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Record that content was verified
    Verify {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Record that content was reported
    Report {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// Show how far content is trusted, and why
    Show {
        #[command(flatten)]
        place: Place,
    },
}

/// Which content.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The content
    pub(super) content: Id,
    /// Who made it
    pub(super) creator: Id,
}

#[derive(Debug, Args)]
pub(super) struct Repeat {
    /// Record it several times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=MAX_TIMES))]
    times: Option<i64>,
}

/// An object only; its depth and keys are the daemon's to judge.
fn parse_metadata(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err("give a JSON object, such as {\"tags\":[\"original\"]}".to_owned()),
        Err(why) => Err(format!("is not JSON: {why}")),
    }
}

pub(super) async fn content(client: &Client, command: &ContentCommand, out: &mut Output) -> Result<(), Failure> {
    let (record, repeat) = match command {
        ContentCommand::Add { place, score, metadata, repeat } => {
            let mut record = named("content_added", place);
            if let Some(score) = score {
                record["initial_score"] = record::decimal(score.millionths().cast_signed());
            }
            if let Some(metadata) = metadata {
                record["metadata"] = metadata.clone();
            }
            (record, repeat)
        }
        ContentCommand::Verify { place, repeat } => (named("content_verified", place), repeat),
        ContentCommand::Report { place, repeat } => (named("content_reported", place), repeat),
        ContentCommand::Show { place } => return trust::show_content(client, place, out).await,
    };
    match repeat.times {
        None => record::store(client, &record, out).await,
        Some(times) => bulk::record_times(client, &record, times.unsigned_abs(), out).await,
    }
}

fn named(kind: &str, place: &Place) -> Value {
    json!({ "kind": kind, "content_id": place.content.as_str(), "creator_id": place.creator.as_str() })
}
