//! Single records: added, and shown.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::RecordId;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::testimony::Testimony;

use super::{App, BODY_BYTES, JSON, ok};
use crate::api::block::ShownFound;
use crate::api::body;
use crate::api::dto::ShownReceipt;
use crate::api::port::{PortError, Station};
use crate::api::problem::{Code, Problem, quoted};
use crate::api::proof::ProofText;
use crate::api::query::Segment;
use crate::api::record::{Sent, parse_record};
use crate::api::schema;

/// Adds a record
///
/// It is signed, and on disk when the answer leaves.
#[utoipa::path(post, path = "/v1/records", operation_id = "add_record", tag = "records",
    request_body = schema::SentRecord, responses(
    (status = CREATED, description = "It is on disk", body = ShownReceipt),
))]
pub(super) async fn add<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let text = body::text(&body)?;
    let rules = app.station.rules().await?;
    let sent = parse_record(text, &rules, app.station.now())?;
    let record = complete(&app.station, &rules, sent).await?;
    let receipts = app.station.submit(vec![record]).await?;
    let receipt = receipts.first().ok_or(PortError::Failed { reason: "there is no receipt".to_owned() })?;
    Ok(body::json(StatusCode::CREATED, receipt))
}

/// A record, and how far it has come
#[utoipa::path(get, path = "/v1/records/{id}", operation_id = "record", tag = "records",
    params(("id" = schema::RecordId, Path, description = "The record's place")), responses(
    (status = OK, description = "The record", body = ShownFound),
))]
pub(super) async fn show<S: Station>(State(app): State<App<S>>, Segment(id): Segment) -> Result<Response, Problem> {
    let id = read_id(&id)?;
    let rules = app.station.rules().await?;
    let found = app.station.record(id).await?.ok_or_else(|| unknown(&id))?;
    Ok(ok(&ShownFound::new(&found, &rules)))
}

/// The proof that a record was signed, and is in its block
///
/// Anybody can check it without a station: `qfzz chain verify-proof`. Of a pending record it proves the signature only.
#[utoipa::path(get, path = "/v1/records/{id}/proof", operation_id = "record_proof", tag = "records",
    params(("id" = schema::RecordId, Path, description = "The record's place")), responses(
    (status = OK, description = "The proof", body = ProofText),
))]
pub(super) async fn proof<S: Station>(State(app): State<App<S>>, Segment(id): Segment) -> Result<Response, Problem> {
    let id = read_id(&id)?;
    let proof = app.station.proof(id).await?.ok_or_else(|| unknown(&id))?;
    let text = ProofText::new(&proof).map_err(|error| PortError::Failed { reason: error.to_string() })?;
    Ok(ok(&text))
}

/// Fills in the hash of the record that a testimony is about.
pub(super) async fn complete<S: Station>(station: &S, rules: &Rules, sent: Sent) -> Result<Record, Problem> {
    match sent {
        Sent::Whole(record) => Ok(record),
        Sent::Testimony { record, answer } => {
            let unknown = || Problem { field: Some("record_id".to_owned()), ..unknown(&record) };
            let found = station.record(record).await?.ok_or_else(unknown)?;
            let hash = found.batch.batch.record_hashes(rules).get(usize::from(found.index)).copied();
            Ok(Record::Testimony(Box::new(Testimony { record, hash: hash.ok_or_else(unknown)?, answer })))
        }
    }
}

pub(super) fn read_id(text: &str) -> Result<RecordId, Problem> {
    text.parse().map_err(|error| Problem::of_field("id", Code::BadId, format!("{} {error}", quoted(text))))
}

pub(super) fn unknown(id: &RecordId) -> Problem {
    let detail = format!("this station knows no record `{id}`: check the id, or run `qfzz sync`");
    Problem::new(Code::UnknownRecord, detail)
}
