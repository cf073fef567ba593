//! `qfzz content`: what creators made, and whether it holds what it promises.

use clap::{Args, Subcommand};
use qfzz_ledger_core::ids::Id;
use qfzz_ledger_core::score::Score;
use serde_json::{Value, json};

use super::bulk;
use super::client::Client;
use super::failure::Failure;
use super::output::{Output, clean, notice, show};
use super::{record, trust};
use crate::api::json::{MetadataError, ObjectError, canonical_object};

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

/// An object as the daemon takes it: a key that is there twice would be lost here.
fn parse_metadata(text: &str) -> Result<Value, String> {
    match canonical_object(text) {
        Ok(canonical) => serde_json::from_str(&canonical).map_err(|why| format!("is not JSON: {why}")),
        Err(MetadataError::Object(ObjectError::NotAnObject)) => {
            Err("give a JSON object, such as {\"tags\":[\"original\"]}".to_owned())
        }
        Err(why) => Err(why.to_string()),
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
        None if let ContentCommand::Add { place, .. } = command
            && !out.is_quiet() =>
        {
            let before = Added::ask(client, place).await;
            record::store(client, &record, out).await?;
            if let Some(before) = before {
                out.flush()?;
                before.compare(Added::ask(client, place).await.as_ref(), place);
            }
            Ok(())
        }
        None => record::store(client, &record, out).await,
        Some(times) => bulk::record_times(client, &record, times.unsigned_abs(), out).await,
    }
}

/// What the ledger shows of a content that somebody added.
struct Added {
    initial_score: Value,
    metadata: Value,
}

impl Added {
    /// `None` if nobody added it, or if that cannot be had: it only serves to tell what a record changes.
    async fn ask(client: &Client, place: &Place) -> Option<Self> {
        let query = [("content_id", place.content.as_str()), ("creator_id", place.creator.as_str())];
        let mut answer = client.get(&["v1", "trust", "content"], &query).await.ok()?;
        let metadata = answer["metadata"].take();
        let added = Self { initial_score: answer["initial_score"].take(), metadata };
        added.metadata.is_object().then_some(added)
    }

    /// Says what adding it once more has changed.
    fn compare(&self, now: Option<&Self>, place: &Place) {
        let Some(now) = now else { return };
        let content = clean(place.content.as_str());
        let shown = |added: &Self| {
            format!("initial score {} and metadata {}", show(&added.initial_score, ""), show(&added.metadata, ""))
        };
        let is_same = self.initial_score == now.initial_score && self.metadata == now.metadata;
        if is_same {
            notice(format_args!("note: {content} was added before: what the ledger shows of it stays {}", shown(self)));
        } else {
            notice(format_args!(
                "note: {content} was added before: this replaces its {} by {}; what is left out is reset",
                shown(self),
                shown(now)
            ));
        }
    }
}

fn named(kind: &str, place: &Place) -> Value {
    json!({ "kind": kind, "content_id": place.content.as_str(), "creator_id": place.creator.as_str() })
}
