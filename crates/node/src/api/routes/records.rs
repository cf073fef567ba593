//! Single records: added, and shown.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use qfzz_ledger_core::ids::RecordId;

use super::{App, BODY_BYTES, JSON, ok};
use crate::api::block::ShownFound;
use crate::api::body;
use crate::api::port::{PortError, Station};
use crate::api::problem::{Code, Problem, quoted};
use crate::api::query::Segment;
use crate::api::record::parse_record;

pub(super) async fn add<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let text = std::str::from_utf8(&body)
        .map_err(|_| Problem::new(Code::NotJson, "the body is not UTF-8: send JSON in UTF-8"))?;
    let rules = app.station.rules().await?;
    let record = parse_record(text, rules.actions(), app.station.now())?;
    let receipts = app.station.submit(vec![record]).await?;
    let receipt = receipts.first().ok_or(PortError::Failed { reason: "there is no receipt".to_owned() })?;
    Ok(body::json(StatusCode::CREATED, receipt))
}

pub(super) async fn show<S: Station>(State(app): State<App<S>>, Segment(id): Segment) -> Result<Response, Problem> {
    let id: RecordId =
        id.parse().map_err(|error| Problem::of_field("id", Code::BadId, format!("{} {error}", quoted(&id))))?;
    let rules = app.station.rules().await?;
    let found = app.station.record(id).await?.ok_or_else(|| {
        let detail = format!("this station knows no record `{id}`: check the id, or run `qfzz sync`");
        Problem::new(Code::UnknownRecord, detail)
    })?;
    Ok(ok(&ShownFound::new(&found, &rules)))
}
