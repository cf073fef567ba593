//! A playlist filtered by trust: JSON lines in, those that reach a score out.

use std::collections::BTreeMap;
use std::io;

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use qfzz_ledger_core::ids::Id;
use qfzz_ledger_core::score::Score;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::App;
use super::bulk::{self, BULK_BYTES, CHUNKS, LINES, Line, text_of};
use crate::api::json::members;
use crate::api::port::{MAX_SCORES, Station};
use crate::api::problem::{Code, Problem, quoted};
use crate::api::query::Query;
use crate::api::record::FieldError;
use crate::api::{body, schema};

/// The member that is added to a line.
const SCORE: &str = "trust_score";

/// Contents that reach a score
///
/// One line of JSON for each content, with `content_id`, `creator_id` and whatever else. Those whose score reaches
/// `at_least` come back in order, with their `trust_score`; a line that cannot be read comes back as its number, with
/// `code` and `detail`.
#[utoipa::path(post, path = "/v1/trust/filter", operation_id = "filter_by_trust", tag = "trust",
    params(("at_least" = schema::Score, Query, description = "The score to reach")),
    request_body(content = Option<schema::Lines>, content_type = "application/x-ndjson"), responses(
    (status = OK, description = "The lines that reach it", body = schema::Lines, content_type = "application/x-ndjson"),
))]
pub(super) async fn filter<S: Station>(
    State(app): State<App<S>>,
    uri: Uri,
    request: Request,
) -> Result<Response, Problem> {
    let at_least = match read_threshold(&uri) {
        Ok(at_least) => at_least,
        Err(problem) => {
            body::discard(request).await;
            return Err(problem);
        }
    };
    let Ok(permit) = app.bulk.clone().try_acquire_owned() else {
        body::discard(request).await;
        return Err(Problem::new(Code::Busy, "too many bulk requests are under way: try again in a second"));
    };
    let body = body::read(request, LINES, BULK_BYTES, app.limits.body_time).await?;
    bulk::check_count(&body)?;
    // Without a federation there is nothing to ask: better told now than in every line.
    app.station.rules().await?;
    let (chunks, taken) = mpsc::channel(CHUNKS);
    tokio::spawn(answer(app, at_least, body, chunks, permit));
    Ok(body::stream("application/x-ndjson", ReceiverStream::new(taken)))
}

fn read_threshold(uri: &Uri) -> Result<Score, Problem> {
    let query = Query::of(uri, &["at_least"])?;
    let text = query.required("at_least")?;
    text.parse().map_err(|error| {
        let detail = format!("`at_least` is {}, which {error}", quoted(text));
        Problem::of_field("at_least", Code::BadParameter, detail)
    })
}

/// Answers group by group; stops when the client is gone or takes nothing any more.
async fn answer<S: Station>(
    app: App<S>,
    at_least: Score,
    body: Vec<u8>,
    chunks: mpsc::Sender<Result<Vec<u8>, io::Error>>,
    _permit: OwnedSemaphorePermit,
) {
    let mut lines = bulk::lines(&body);
    loop {
        let group: Vec<Line<'_>> = lines.by_ref().take(MAX_SCORES).collect();
        if group.is_empty() {
            return;
        }
        let answer = filter_group(&app.station, at_least, &group).await.map_err(|problem| {
            tracing::error!(detail = problem.detail, "a filtered answer was cut off");
            io::Error::other(problem.detail)
        });
        let is_over = answer.is_err();
        // A group of which nothing is left has nothing to send.
        if answer.as_ref().is_ok_and(Vec::is_empty) {
            continue;
        }
        if chunks.send(answer).await.is_err() || is_over {
            return;
        }
    }
}

/// One content of a playlist.
struct Entry<'a> {
    content: (Id, Id),
    members: BTreeMap<String, &'a RawValue>,
}

async fn filter_group<S: Station>(station: &S, at_least: Score, group: &[Line<'_>]) -> Result<Vec<u8>, Problem> {
    let entries: Vec<_> = group.iter().map(|(number, line)| (*number, read(line))).collect();
    let contents = entries.iter().filter_map(|(_, entry)| Some(entry.as_ref().ok()?.content.clone())).collect();
    let mut scores = station.content_scores(contents).await?.into_iter();
    let mut out = Vec::new();
    for (number, entry) in entries {
        match entry {
            Ok(entry) => {
                let score = scores.next().ok_or_else(|| Problem::new(Code::Internal, "a score is missing"))?;
                if score >= at_least {
                    write(entry.members, score, &mut out);
                }
            }
            Err(FieldError { field, code, detail }) => {
                let refused = Refused { line: number, code: code.as_str(), detail: &detail, field: field.as_deref() };
                write_line(&refused, &mut out);
            }
        }
    }
    Ok(out)
}

fn read<'a>(line: &'a [u8]) -> Result<Entry<'a>, FieldError> {
    let example = "{\"content_id\":\"a\",\"creator_id\":\"b\"}";
    let members = members(text_of(line)?).map_err(|error| FieldError::of_object(error, example))?;
    let id = |field: &str| {
        let refused = |code, detail| FieldError { field: Some(field.to_owned()), code, detail };
        let value = members.get(field);
        let value = value.ok_or_else(|| refused(Code::MissingField, format!("`{field}` is missing: add it")))?;
        let text: String = serde_json::from_str(value.get())
            .map_err(|_| refused(Code::WrongType, format!("`{field}` must be a text in double quotes")))?;
        Id::new(text).map_err(|error| refused(Code::BadId, format!("`{field}` {error}")))
    };
    let content = (id("content_id")?, id("creator_id")?);
    Ok(Entry { content, members })
}

/// A line that cannot be read.
#[derive(Serialize)]
struct Refused<'a> {
    line: usize,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

/// Writes what was sent, numbers as they were written, with the score.
fn write(members: BTreeMap<String, &RawValue>, score: Score, out: &mut Vec<u8>) {
    let score = RawValue::from_string(score.to_string()).expect("a score is a JSON number");
    let mut members = members;
    members.insert(SCORE.to_owned(), &score);
    write_line(&members, out);
}

fn write_line(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, value).expect("texts and numbers can be written to memory as JSON");
    out.push(b'\n');
}
