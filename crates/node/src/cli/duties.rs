//! `qfzz duties` and `qfzz testify`: checking other stations' records.

use std::num::NonZeroUsize;

use clap::Args;
use qfzz_ledger_core::ids::RecordId;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, count, items, notice, show};

/// Duties of one page.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

#[derive(Debug, Args)]
pub(super) struct DutiesArgs {
    /// Show who was drawn to check this record, and all that is needed to draw again
    #[arg(long, value_name = "RECORD_ID")]
    explain: Option<RecordId>,
    /// At most so many, the first to end first
    #[arg(long, value_name = "N", default_value_t = PAGE, conflicts_with = "explain")]
    limit: NonZeroUsize,
}

#[derive(Debug, Args)]
pub(super) struct TestifyArgs {
    /// The record that was checked: `qfzz duties` lists those that this station is asked about
    #[arg(value_name = "RECORD_ID")]
    record: RecordId,
    /// Whether it holds
    #[arg(value_name = "agree|contest", value_parser = ["agree", "contest"], hide_possible_values = true)]
    answer: String,
}

pub(super) async fn duties(client: &Client, args: &DutiesArgs, out: &mut Output) -> Result<(), Failure> {
    match &args.explain {
        Some(record) => explain(client, record, out).await,
        None => list(client, args.limit, out).await,
    }
}

async fn list(client: &Client, limit: NonZeroUsize, out: &mut Output) -> Result<(), Failure> {
    let duties = client.get_list(&["v1", "duties"], &[], (limit.get(), PAGE.get()), out.is_quiet()).await?;
    out.result(&Value::Array(duties.clone()), |out| {
        if duties.is_empty() {
            return out.line("nothing: this station was not drawn to check a record in the last 1,024 blocks");
        }
        let row = |duty: &Value| {
            let left = count(duty["blocks_left"].as_u64().unwrap_or(0), "block");
            let answer = match (duty["answered"] == true, duty["pending"] == true) {
                (true, true) => "answered, waits for a block".to_owned(),
                (true, false) => "answered".to_owned(),
                (false, _) => show_by(duty),
            };
            let until = format!("{} ({left})", show(duty, "until"));
            [show(duty, "record_id"), show(duty, "kind"), show_subject(&duty["subject"]), until, answer]
        };
        out.table(["RECORD", "KIND", "ABOUT", "UNTIL BLOCK", "ANSWER"], duties.iter().map(row))
    })
}

/// What is to answer a duty.
fn show_by(duty: &Value) -> String {
    match (duty["by"].as_str(), duty["silence"].as_str()) {
        (Some("file"), _) => "by its file".to_owned(),
        (_, Some(_)) => format!("open: {}", show(duty, "silence")),
        (Some("command"), None) => "by verify.command".to_owned(),
        _ => "open: look, then `qfzz testify`".to_owned(),
    }
}

fn show_subject(subject: &Value) -> String {
    let members = ["user_id", "content_id", "dataset_id", "creator_id"];
    let named: Vec<String> =
        members.into_iter().filter(|member| subject[*member].is_string()).map(|member| show(subject, member)).collect();
    named.join(" by ")
}

pub(super) async fn testify(client: &Client, args: &TestifyArgs, out: &mut Output) -> Result<(), Failure> {
    let body = json!({ "record_id": args.record.to_string(), "answer": args.answer });
    let receipt = client.post(&["v1", "testimonies"], Some(&body)).await?.unwrap_or_default();
    out.result(&receipt, |out| {
        out.line(show(&receipt, "record_id"))?;
        notice("it counts from the block on that takes it");
        Ok(())
    })
}

async fn explain(client: &Client, record: &RecordId, out: &mut Output) -> Result<(), Failure> {
    let answer = client.get_slow(&["v1", "duties", &record.to_string()]).await?;
    out.result(&answer, |out| {
        if answer["block"].is_null() {
            return out.line("the record waits for a block; the one after that draws");
        }
        out.facts(&[("record", show(&answer, "record_id")), ("in block", show(&answer, "block"))])?;
        for draw in items(&answer["draws"]) {
            out.line("")?;
            show_draw(draw, out)?;
        }
        for height in items(&answer["out_of_reach"]) {
            out.line(format_args!(
                "\nthe draw of block {height} is out of reach: what later blocks changed is kept for about 1,000 blocks, and \
                 {height} is deeper. Who was drawn then stands in a `duties --explain` of that time"
            ))?;
        }
        match answer["next"].as_u64() {
            Some(next) => out.line(format_args!("\nblock {next} will draw; it is not there yet")),
            None => Ok(()),
        }
    })
}

fn show_draw(draw: &Value, out: &mut Output) -> Result<(), Failure> {
    let of = |member: &str| show(draw, member);
    let mut facts = vec![
        ("drawn by block", format!("{} {}", of("height"), of("block"))),
        ("among those of", of("previous_block")),
        ("draw before", of("previous_draw")),
        ("reveal", of("reveal")),
        ("draw", of("draw")),
        (
            "credit",
            format!(
                "{} left before, {} for records; {} needed",
                of("credit_before"),
                of("auditable"),
                of("credit_needed")
            ),
        ),
        ("jurors", format!("{} weigh {} millionths or more", of("jurors"), of("juror_weight"))),
    ];
    let record = &draw["record"];
    if record.is_null() {
        facts.push(("outcome", "nothing in it that jurors check, or its author has equivocated".to_owned()));
        return out.facts(&facts);
    }
    facts.push(("its hash", show(record, "hash")));
    facts.push(("its rank", show(record, "rank")));
    facts.push((
        "its turn",
        format!("{} of {}, from 0, with a credit of {}", of("turn"), of("candidates"), show(record, "credit")),
    ));
    facts.push(("outcome", show_outcome(record).to_owned()));
    out.facts(&facts)?;
    let mut end = 0;
    let able = items(&record["able"]).iter().map(|able| {
        end += able["weight"].as_u64().unwrap_or(0);
        [show(able, "station_id"), show(able, "weight"), end.to_string()]
    });
    if !items(&record["able"]).is_empty() {
        out.table(["ABLE", "WEIGHT", "UP TO"], able)?;
    }
    let picks = items(&record["picks"]);
    if picks.is_empty() {
        return Ok(());
    }
    let row = |pick: &Value| ["station_id", "at", "sum", "digest"].map(|member| show(pick, member));
    out.table(["DRAWN", "AT", "OF", "DIGEST"], picks.iter().map(row))
}

fn show_outcome(record: &Value) -> &'static str {
    match record["outcome"].as_str() {
        Some("drawn") => "drawn",
        Some("credit_used") => "not drawn: the credit did not reach so far",
        Some("unproven") => "not drawn: its author weighs nothing, and one such record was drawn before it",
        Some("subject_drawn") => "not drawn: its subject was, before it",
        Some("answered") => "not drawn: jurors have answered about its subject often enough",
        Some("too_few_jurors") => "not drawn: fewer than two stations are able to check it",
        _ => "-",
    }
}
