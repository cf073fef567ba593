//! The station itself: health, status, peers, ticket, stations, sync.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;

use super::{App, BODY_BYTES, JSON, ok};
use crate::api::body;
use crate::api::dto::ShownReport;
use crate::api::port::{PortError, Station};
use crate::api::problem::{Code, Problem};

/// Bytes of an address or ticket, at most.
const ADDRESS_BYTES: usize = 4 * 1024;

pub(super) async fn livez() -> Response {
    #[derive(Serialize)]
    struct Alive {
        status: &'static str,
    }
    ok(&Alive { status: "alive" })
}

pub(super) async fn readyz<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    let readiness = app.station.readiness().await?;
    if readiness.ready {
        return Ok(ok(&readiness));
    }
    let detail = format!("this station is not ready: {}", readiness.reasons.join("; "));
    Err(Problem { reasons: readiness.reasons, ..Problem::new(Code::NotReady, detail) })
}

pub(super) async fn status<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    Ok(ok(&app.station.status().await?))
}

pub(super) async fn peers<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    Ok(ok(&app.station.peers().await?))
}

pub(super) async fn dial<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let address = address(&body, "address")?.ok_or_else(|| {
        let detail = "`address` is missing: add a ticket or a multiaddress such as /ip4/192.0.2.1/tcp/4811";
        Problem::of_field("address", Code::MissingField, detail)
    })?;
    Ok(ok(&app.station.dial(address).await?))
}

pub(super) async fn ticket<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Ticket {
        ticket: String,
    }
    Ok(ok(&Ticket { ticket: app.station.ticket().await? }))
}

pub(super) async fn stations<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    Ok(ok(&app.station.stations().await?))
}

pub(super) async fn sync<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let reports = app.station.sync(address(&body, "peer")?).await.map_err(|error| Problem {
        // Here an address that cannot be used came as this field.
        field: matches!(error, PortError::BadAddress { .. } | PortError::NotConnected).then(|| "peer".to_owned()),
        ..Problem::from(error)
    })?;
    let shown: Vec<ShownReport> = reports.iter().map(ShownReport::from).collect();
    Ok(ok(&shown))
}

/// The address in a body that may hold nothing else.
fn address(body: &[u8], field: &str) -> Result<Option<String>, Problem> {
    let address = body::one_text(body, field)?;
    if address.as_ref().is_some_and(|address| address.is_empty() || address.len() > ADDRESS_BYTES) {
        let detail = format!("`{field}` must have 1 to {ADDRESS_BYTES} bytes: give a multiaddress, ticket or peer id");
        return Err(Problem::of_field(field, Code::BadAddress, detail));
    }
    Ok(address)
}
