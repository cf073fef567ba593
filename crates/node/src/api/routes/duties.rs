//! Cross-checking: what this station is asked to check, why, and its answers.

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use utoipa::ToSchema;

use super::records::{read_id, unknown};
use super::{App, BODY_BYTES, JSON, ok};
use crate::api::body;
use crate::api::dto::{ShownDraws, ShownReceipt};
use crate::api::duties::ShownDuty;
use crate::api::port::Station;
use crate::api::problem::{Code, Problem, quoted};
use crate::api::query::{Query, Segment};
use crate::api::record::parse_testimony;
use crate::api::schema;

/// What a check found.
#[derive(ToSchema)]
#[schema(as = Testimony)]
#[expect(dead_code, reason = "it describes what `add` reads")]
pub(super) struct SentTestimony {
    /// The record that was checked.
    #[schema(value_type = schema::RecordId)]
    record_id: String,
    /// Whether it holds.
    #[schema(value_type = schema::AnswerName)]
    answer: String,
}

/// What this station is asked to check
///
/// The records that it was drawn for and may still answer about, at most 1,000, the first to end first.
#[utoipa::path(get, path = "/v1/duties", operation_id = "duties", tag = "trust", params(
    ("answered" = Option<bool>, Query, description = "Only what it has answered, or has not"),
), responses((status = OK, description = "The duties", body = Vec<ShownDuty>)))]
pub(super) async fn list<S: Station>(State(app): State<App<S>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::of(&uri, &["answered"])?;
    let answered = query.optional("answered").map(|text| {
        text.parse().map_err(|_| {
            let detail = format!("`answered` is {}: use true or false", quoted(text));
            Problem::of_field("answered", Code::BadParameter, detail)
        })
    });
    let rules = app.station.rules().await?;
    let duties = app.station.duties(answered.transpose()?).await?;
    Ok(ok(&duties.iter().map(|duty| ShownDuty::new(duty, &rules)).collect::<Vec<_>>()))
}

/// Who was drawn to check a record, and how
///
/// The draws that may have been about it, made again, with all that is needed to do so elsewhere.
#[utoipa::path(get, path = "/v1/duties/{id}", operation_id = "draws", tag = "trust",
    params(("id" = schema::RecordId, Path, description = "The record's place")), responses(
    (status = OK, description = "The draws", body = ShownDraws),
))]
pub(super) async fn explain<S: Station>(State(app): State<App<S>>, Segment(id): Segment) -> Result<Response, Problem> {
    let id = read_id(&id)?;
    let Ok(_permit) = app.draws.try_acquire() else {
        return Err(Problem::new(Code::Busy, "another draw is being made again: try again in a second"));
    };
    let rules = app.station.rules().await?;
    let draws = app.station.draws(id).await?.ok_or_else(|| unknown(&id))?;
    Ok(ok(&ShownDraws::new(&draws, rules.federation())))
}

/// Answers about a record that this station was drawn to check
///
/// It is signed, and on disk when the answer leaves. Only the first answer counts.
#[utoipa::path(post, path = "/v1/testimonies", operation_id = "testify", tag = "trust",
    request_body = SentTestimony, responses(
    (status = CREATED, description = "The testimony is on disk", body = ShownReceipt),
))]
pub(super) async fn add<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let (record, answer) = parse_testimony(body::text(&body)?)?;
    let unknown = || Problem { field: Some("record_id".to_owned()), ..unknown(&record) };
    let receipt = app.station.testify(record, answer).await?.ok_or_else(unknown)?;
    Ok(body::json(StatusCode::CREATED, &receipt))
}
