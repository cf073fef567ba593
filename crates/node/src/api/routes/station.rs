//! The station itself: health, status, peers, ticket, stations, sync.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, BODY_BYTES, JSON, ok};
use crate::api::body;
use crate::api::dto::{Dialled, Peer, Readiness, ShownReport, Status};
use crate::api::port::{PortError, Station};
use crate::api::problem::{Code, Problem};
use crate::quantum::QuantumStatus;

/// Bytes of an address or ticket, at most.
const ADDRESS_BYTES: usize = 4 * 1024;

/// That the process lives.
#[derive(Serialize, ToSchema)]
struct Alive {
    /// Always `alive`.
    status: &'static str,
}

/// What others join by.
#[derive(Serialize, ToSchema)]
struct Ticket {
    /// The ticket.
    ticket: String,
}

/// What names a peer to connect to.
#[derive(ToSchema)]
#[schema(as = DialRequest)]
#[expect(dead_code, reason = "it describes what `address` reads")]
struct DialRequest {
    /// A ticket, or a multiaddress such as `/ip4/192.0.2.1/tcp/4811`.
    #[schema(min_length = 1, max_length = 4096)]
    address: String,
}

/// What names a peer to sync with.
#[derive(ToSchema)]
#[schema(as = SyncRequest)]
#[expect(dead_code, reason = "it describes what `address` reads")]
struct SyncRequest {
    /// A peer id, or a multiaddress; without it all connected peers.
    #[schema(min_length = 1, max_length = 4096, nullable = false)]
    peer: Option<String>,
}

/// Whether the process lives
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "health", responses(
    (status = OK, description = "It does", body = Alive),
))]
pub(super) async fn livez() -> Response {
    ok(&Alive { status: "alive" })
}

/// Whether the station may be asked
///
/// It may when it has a federation, and has caught up with a peer or is a founder without peers.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "health", responses(
    (status = OK, description = "It may", body = Readiness),
))]
pub(super) async fn readyz<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    let readiness = app.station.readiness().await?;
    if readiness.ready {
        return Ok(ok(&readiness));
    }
    let detail = format!("this station is not ready: {}", readiness.reasons.join("; "));
    Err(Problem { reasons: readiness.reasons, ..Problem::new(Code::NotReady, detail) })
}

/// This station on one screen
#[utoipa::path(get, path = "/v1/status", operation_id = "status", tag = "station", responses(
    (status = OK, description = "The station", body = Status),
))]
pub(super) async fn status<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    Ok(ok(&app.station.status().await?))
}

/// Where random numbers come from
///
/// Q# where Microsoft's QDK runs and passes the health tests, mixed with the operating system's generator; else that alone.
#[utoipa::path(get, path = "/v1/quantum", operation_id = "quantum", tag = "station", responses(
    (status = OK, description = "The source", body = QuantumStatus),
))]
pub(super) async fn quantum<S: Station>(State(app): State<App<S>>) -> Response {
    ok(&app.station.quantum())
}

/// The connected peers
#[utoipa::path(get, path = "/v1/peers", operation_id = "peers", tag = "station", responses(
    (status = OK, description = "The peers, by id", body = Vec<Peer>),
))]
pub(super) async fn peers<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    Ok(ok(&app.station.peers().await?))
}

/// Connects to a station
///
/// It joins that station's federation if this one has none.
#[utoipa::path(post, path = "/v1/peers", operation_id = "dial", tag = "station", request_body = DialRequest, responses(
    (status = OK, description = "The connection stands", body = Dialled),
))]
pub(super) async fn dial<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let address = address(&body, "address")?.ok_or_else(|| {
        let detail = "`address` is missing: add a ticket or a multiaddress such as /ip4/192.0.2.1/tcp/4811";
        Problem::of_field("address", Code::MissingField, detail)
    })?;
    Ok(ok(&app.station.dial(address).await?))
}

/// What other stations join this federation by
#[utoipa::path(get, path = "/v1/ticket", operation_id = "ticket", tag = "station", responses(
    (status = OK, description = "The ticket", body = Ticket),
))]
pub(super) async fn ticket<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    Ok(ok(&Ticket { ticket: app.station.ticket().await? }))
}

/// Syncs with one peer, or with all
#[utoipa::path(post, path = "/v1/sync", operation_id = "sync", tag = "station",
    request_body(content = Option<SyncRequest>, description = "May be left out"), responses(
    (status = OK, description = "One report for each", body = Vec<ShownReport>),
))]
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
