//! `qfzz trust filter`: the contents of a playlist that reach a score.

use clap::Args;
use qfzz_ledger_core::score::Score;
use serde_json::{Value, json};

use super::bulk::{Input, Line};
use super::client::Client;
use super::failure::Failure;
use super::output::{Output, clean, notice, show};

#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// JSON lines with content_id, creator_id and whatever else; `-` reads standard input
    file: String,
    /// The score to reach, 0 to 1
    #[arg(long, value_name = "SCORE")]
    at_least: Score,
}

/// Prints the lines that reach the score, with their score; names the others that could not be read.
pub(super) async fn filter(client: &Client, args: &FilterArgs, out: &mut Output) -> Result<(), Failure> {
    let at_least = args.at_least.to_string();
    let mut input = Input::open(&args.file)?;
    let mut shown = Shown { printed: 0, refused: 0, lines: 0 };
    let mut broken = Ok(());
    while let Some(chunk) = input.next_chunk(&mut broken).await {
        let (mut body, mut numbers) = (Vec::new(), Vec::new());
        for Line { number, text, .. } in chunk {
            shown.lines += 1;
            match text {
                Ok(text) => {
                    body.extend_from_slice(&text);
                    body.push(b'\n');
                    numbers.push(number);
                }
                Err(why) => shown.refuse(number, &json!({ "code": why.code(), "detail": why.to_string() })),
            }
        }
        if numbers.is_empty() {
            continue;
        }
        let path = ["v1", "trust", "filter"];
        let (answer, end) = client.post_raw_lines(&path, &[("at_least", &at_least)], body).await?;
        for line in answer {
            shown.show(&line, &numbers, out)?;
        }
        end?;
        out.flush()?;
    }
    if out.is_json() {
        out.line(if shown.printed == 0 { "[]" } else { "]" })?;
    }
    broken.map_err(|source| Failure::File { doing: "read", path: args.file.clone().into(), source })?;
    match shown.refused {
        0 => Ok(()),
        refused => Err(Failure::UnreadLines { refused, lines: shown.lines }),
    }
}

/// What was shown so far.
struct Shown {
    printed: u64,
    refused: u64,
    lines: u64,
}

impl Shown {
    fn refuse(&mut self, number: u64, why: &Value) {
        self.refused += 1;
        let detail = why["detail"].as_str().map_or_else(|| "refused".to_owned(), clean);
        notice(format_args!("line {number}: {detail} [{}]", show(why, "code")));
    }

    /// Shows one line of an answer to lines that have these `numbers` in the input.
    fn show(&mut self, line: &[u8], numbers: &[u64], out: &mut Output) -> Result<(), Failure> {
        let value: Value =
            serde_json::from_slice(line).map_err(|error| Failure::BadAnswer { why: error.to_string() })?;
        // What passes names its content; what could not be read has its number instead.
        if value.get("content_id").is_none() {
            let place = value["line"].as_u64().and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
            let number = place.and_then(|place| numbers.get(place)).copied();
            let number =
                number.ok_or_else(|| Failure::BadAnswer { why: "it names a line that was not sent".to_owned() })?;
            self.refuse(number, &value);
            return Ok(());
        }
        if out.is_json() {
            out.write(if self.printed == 0 { "[" } else { ",\n" })?;
        }
        self.printed += 1;
        // As the daemon wrote it: numbers stay as they were sent.
        out.bytes(line)?;
        if out.is_json() { Ok(()) } else { out.line("") }
    }
}
