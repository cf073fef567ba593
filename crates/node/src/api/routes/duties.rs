//! Cross-checking: what this station is asked to check, why, and its answers.

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use qfzz_ledger_core::ids::Height;
use qfzz_ledger_core::state::EndingPlace;
use utoipa::ToSchema;

use super::list::part;
use super::records::{read_id, unknown};
use super::{App, BODY_BYTES, JSON, ok};
use crate::api::body;
use crate::api::dto::{ShownDraws, ShownReceipt};
use crate::api::duties::ShownDuty;
use crate::api::port::{DutyQuery, MAX_DUTIES, Station};
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
/// The records that it was drawn for and may still answer about, the first to end first. Where the list goes on, the header
/// `Link` names the next part.
#[utoipa::path(get, path = "/v1/duties", operation_id = "duties", tag = "trust", params(
    ("answered" = Option<bool>, Query, description = "Only what it has answered, or has not"),
    ("after" = Option<schema::DutyPlace>, Query, description = "Where to go on: see `Link`"),
    ("limit" = Option<schema::DutyLimit>, Query, description = "1,000 by default, which is also the most"),
), responses((status = OK, description = "The duties", body = Vec<ShownDuty>,
    headers(("Link" = String, description = "The next part, `rel=\"next\"`; absent at the end")))))]
pub(super) async fn list<S: Station>(State(app): State<App<S>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::of(&uri, &["answered", "after", "limit"])?;
    let answered = query.optional("answered").map(|text| {
        text.parse().map_err(|_| {
            let detail = format!("`answered` is {}: use true or false", quoted(text));
            Problem::of_field("answered", Code::BadParameter, detail)
        })
    });
    let after = query.optional("after").map_or(Ok(EndingPlace::default()), |text| {
        read_place(text).ok_or_else(|| {
            let detail = format!("`after` is {}: give what the header `Link` of the part before names", quoted(text));
            Problem::of_field("after", Code::BadParameter, detail)
        })
    })?;
    let limit = query.number("limit", 1, MAX_DUTIES as u64)?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_DUTIES);
    let rules = app.station.rules().await?;
    let page = app.station.duties(DutyQuery { answered: answered.transpose()?, after, limit }).await?;
    let shown: Vec<_> = page.duties.iter().map(|duty| ShownDuty::new(duty, &rules)).collect();
    part(&shown, &uri, page.next.map(|EndingPlace { height, before }| format!("{height}.{before}")))
}

/// A place as a part of the list names it: the block, and how many that end with it come before.
fn read_place(text: &str) -> Option<EndingPlace> {
    let (height, before) = text.split_once('.')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    Some(EndingPlace { height: Height::new(number(height)?), before: usize::try_from(number(before)?).ok()? })
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
