//! Many records in one request: JSON lines in, one line for each out, in order.
//!
//! The body is read whole before anything is stored: one that is too large stores nothing, and a client that writes
//! all of it before it reads cannot block itself. Then each group of lines is stored with one call and answered with one
//! chunk, so the first ids leave while later lines wait.

use std::io;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::time::Timestamp;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::App;
use super::records::complete;
use crate::api::body;
use crate::api::dto::Receipt;
use crate::api::port::{MAX_SUBMIT, PortError, Station};
use crate::api::problem::{Code, Problem};
use crate::api::record::{FieldError, Sent, parse_record};
use crate::api::schema;

/// Bytes of a body, at most.
pub(super) const BULK_BYTES: usize = 8 * 1024 * 1024;

/// Lines of a body, at most: more than fit, unless they are too short to be records.
const BULK_LINES: usize = 150_000;

/// Bytes of one line, at most; 4 KiB of metadata fit whatever their escapes.
const LINE_BYTES: usize = 64 * 1024;

/// Chunks that may wait for the client.
pub(super) const CHUNKS: usize = 4;

/// What a bulk body may call itself.
pub(super) const LINES: &[&str] = &["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// Adds many records
///
/// One line of JSON for each, of any kind. The answer has one line for each, in order: the receipt, or `code` and
/// `detail` of why it was not stored.
#[utoipa::path(post, path = "/v1/records/bulk", operation_id = "add_records", tag = "records",
    request_body(content = Option<schema::Lines>, content_type = "application/x-ndjson"), responses(
    (status = OK, description = "What became of each line", body = schema::Lines, content_type = "application/x-ndjson"),
))]
pub(super) async fn add<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let Ok(permit) = app.bulk.clone().try_acquire_owned() else {
        body::discard(request).await;
        return Err(Problem::new(Code::Busy, "too many bulk requests are under way: try again in a second"));
    };
    let body = body::read(request, LINES, BULK_BYTES, app.limits.body_time).await?;
    check_count(&body)?;
    let rules = app.station.rules().await?;
    let (chunks, taken) = mpsc::channel(CHUNKS);
    tokio::spawn(store(app, rules, body, chunks, permit));
    Ok(body::stream("application/x-ndjson", ReceiverStream::new(taken)))
}

/// That a body has no more lines than are taken at once.
pub(super) fn check_count(body: &[u8]) -> Result<(), Problem> {
    let count = lines(body).count();
    if count > BULK_LINES {
        let detail = format!("the body has {count} lines, at most {BULK_LINES} are taken: send fewer at once");
        return Err(Problem::new(Code::TooManyLines, detail));
    }
    Ok(())
}

/// A line's number, from 1, and what is in it.
pub(super) type Line<'a> = (usize, &'a [u8]);

/// The lines of `body` that are not blank.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = Line<'_>> {
    (1..).zip(body.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// Stores the lines of `body` group by group; stops when the client is gone or takes nothing any more.
async fn store<S: Station>(
    app: App<S>,
    rules: Arc<Rules>,
    body: Vec<u8>,
    chunks: mpsc::Sender<Result<Vec<u8>, io::Error>>,
    _permit: OwnedSemaphorePermit,
) {
    let mut lines = lines(&body);
    loop {
        let group: Vec<Line<'_>> = lines.by_ref().take(MAX_SUBMIT).collect();
        if group.is_empty() {
            return;
        }
        let answer = answer(&app.station, &rules, &group).await;
        if chunks.send(Ok(answer)).await.is_err() {
            return;
        }
    }
}

/// Stores the good lines of `group`, all or none of them, and writes a line for each.
async fn answer<S: Station>(station: &S, rules: &Rules, group: &[Line<'_>]) -> Vec<u8> {
    let now = station.now();
    let mut records = Vec::with_capacity(group.len());
    let mut refusals = Vec::with_capacity(group.len());
    for (_, line) in group {
        let parsed = match parse_line(line, rules, now) {
            Ok(sent) => complete(station, rules, sent).await,
            Err(refused) => Err(refused.into()),
        };
        refusals.push(parsed.map(|record| records.push(record)).err());
    }
    let stored = if records.is_empty() { Ok(Vec::new()) } else { station.submit(records).await };
    let mut receipts = stored.map(Vec::into_iter).map_err(Problem::from);
    let mut out = Vec::new();
    for ((number, _), refusal) in group.iter().zip(refusals) {
        let outcome = match (refusal, &mut receipts) {
            (Some(refusal), _) => Err(refusal),
            (None, Ok(receipts)) => {
                receipts.next().ok_or_else(|| PortError::Failed { reason: "a receipt is missing".to_owned() }.into())
            }
            (None, Err(problem)) => Err(problem.clone()),
        };
        write_line(*number, &outcome, &mut out);
    }
    out
}

fn parse_line(line: &[u8], rules: &Rules, now: Timestamp) -> Result<Sent, FieldError> {
    parse_record(text_of(line)?, rules, now)
}

/// A line as text, if it is not too long.
pub(super) fn text_of(line: &[u8]) -> Result<&str, FieldError> {
    let refused = |code, detail: String| FieldError { field: None, code, detail };
    if line.len() > LINE_BYTES {
        let detail = format!("the line is longer than {} KiB: shorten it", LINE_BYTES / 1024);
        return Err(refused(Code::LineTooLong, detail));
    }
    std::str::from_utf8(line)
        .map_err(|_| refused(Code::NotJson, "the line is not UTF-8: send JSON in UTF-8".to_owned()))
}

/// The answer to one line.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a> {
    Stored {
        line: usize,
        #[serde(flatten)]
        receipt: &'a Receipt,
    },
    Refused {
        line: usize,
        code: &'static str,
        detail: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<&'a str>,
    },
}

fn write_line(line: usize, outcome: &Result<Receipt, Problem>, out: &mut Vec<u8>) {
    let shown = match outcome {
        Ok(receipt) => Outcome::Stored { line, receipt },
        Err(Problem { code, detail, field, .. }) => {
            Outcome::Refused { line, code: code.as_str(), detail, field: field.as_deref() }
        }
    };
    serde_json::to_writer(&mut *out, &shown).expect("texts and numbers can be written to memory as JSON");
    out.push(b'\n');
}
