//! Which path does what, and what every request goes through before.

mod bulk;
mod chain;
mod events;
mod records;
mod station;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use qfzz_ledger_core::ids::{Id, IdError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::auth::Access;
use super::body;
use super::port::{PortError, Station};
use super::problem::{Code, Problem, quoted};
use super::server::Limits;

/// Bytes of a body, at most; bulk bodies have their own limit.
const BODY_BYTES: usize = 256 * 1024;

/// What a body in JSON may call itself.
const JSON: &[&str] = &["application/json"];

/// What every handler has at hand.
#[derive(Clone)]
pub(super) struct App<S> {
    station: S,
    access: Arc<Access>,
    limits: Limits,
    stop: CancellationToken,
    streams: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
    verify: Arc<Semaphore>,
}

impl<S: Station> App<S> {
    pub(super) fn new(station: S, access: Access, limits: Limits, stop: CancellationToken) -> Self {
        Self {
            station,
            access: Arc::new(access),
            limits,
            stop,
            streams: Arc::new(Semaphore::new(limits.streams)),
            bulk: Arc::new(Semaphore::new(limits.bulk)),
            // It reads the whole chain and takes every core: one at a time.
            verify: Arc::new(Semaphore::new(1)),
        }
    }
}

/// All routes of this version.
pub(super) fn router<S: Station>(app: App<S>) -> Router {
    let answers = Router::new()
        .route("/livez", get(station::livez))
        .route("/readyz", get(station::readyz::<S>))
        .route("/v1/status", get(station::status::<S>))
        .route("/v1/ticket", get(station::ticket::<S>))
        .route("/v1/stations", get(station::stations::<S>))
        .route("/v1/records", post(records::add::<S>))
        .route("/v1/records/{id}", get(records::show::<S>))
        .route("/v1/trust/users/{id}", get(trust::user::<S>))
        .route("/v1/trust/creators/{id}", get(trust::creator::<S>))
        .route("/v1/trust/content", get(trust::content::<S>))
        .route("/v1/trust/global", get(trust::global::<S>))
        .route("/v1/chain", get(chain::statistics::<S>))
        .route("/v1/chain/blocks", get(chain::blocks::<S>))
        .route("/v1/chain/blocks/{at}", get(chain::block::<S>))
        .route("/v1/chain/export", get(chain::export::<S>))
        .route("/v1/events", get(events::stream::<S>));
    let work = Router::new()
        .route("/v1/peers", get(station::peers::<S>).post(station::dial::<S>))
        .route("/v1/sync", post(station::sync::<S>))
        .route("/v1/records/bulk", post(bulk::add::<S>))
        .route("/v1/mine", post(chain::mine::<S>))
        .route("/v1/chain/verify", get(chain::verify::<S>));
    let within = |time: Duration| from_fn_with_state(time, deadline);
    answers
        .layer(within(app.limits.answer_time))
        .merge(work.layer(within(app.limits.work_time)))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app.access), guard))
        .with_state(app)
}

/// Judges each request before anything of it is used, and marks each answer.
async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let mut response = match access.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            body::discard(request).await;
            problem.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Answers for a station that takes longer than `time` to begin its answer.
async fn deadline(State(time): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(time, next.run(request)).await.unwrap_or_else(|_| {
        let detail = format!("the station had no answer after {} s: try again", time.as_secs_f32());
        Problem::new(Code::Timeout, detail).into_response()
    })
}

async fn unknown_route(uri: Uri, request: Request) -> Problem {
    body::discard(request).await;
    let detail =
        format!("there is no {} in this version: see the API's contract for what there is", quoted(uri.path()));
    Problem::new(Code::UnknownRoute, detail)
}

async fn method_not_allowed(method: Method, uri: Uri, request: Request) -> Problem {
    body::discard(request).await;
    let detail =
        format!("{} does not take {}: use a method of the `Allow` header", quoted(uri.path()), quoted(method.as_str()));
    Problem::new(Code::MethodNotAllowed, detail)
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        let (code, remedy) = match &error {
            PortError::NoFederation => (
                Code::NoFederation,
                "join one with `qfzz join TICKET`, or found one with `qfzz init --new-federation NAME` in another --data-dir",
            ),
            PortError::OtherFederation { .. } => (Code::OtherFederation, "use a station of this one's federation"),
            PortError::BadAddress { .. } => {
                (Code::BadAddress, "give a ticket, a multiaddress such as /ip4/192.0.2.1/tcp/4811, or a peer id")
            }
            PortError::SeveralBlocks => (Code::BadParameter, "give more of its digits"),
            PortError::NotConnected => (Code::UnknownPeer, "connect to it first with `qfzz join`, or see `qfzz peers`"),
            PortError::Unreachable { .. } => (Code::Unreachable, "check the address, and that the station runs there"),
            PortError::NotReady { .. } => (Code::NotReady, "try again in a few seconds"),
            PortError::Busy => (Code::Busy, "try again in a second"),
            PortError::DiskFull => (Code::DiskFull, "free some space where the station keeps its data"),
            PortError::Stopping => (Code::Stopping, "start it again with `qfzz run`"),
            PortError::Failed { .. } => (Code::Internal, "see the station's log"),
        };
        if code == Code::Internal {
            tracing::error!(%error, "a request failed");
        }
        Self { field: field_of(&error).map(str::to_owned), ..Self::new(code, format!("{error}: {remedy}")) }
    }
}

/// The field or parameter that an error is about, where it can only be one.
const fn field_of(error: &PortError) -> Option<&'static str> {
    match error {
        PortError::BadAddress { .. } => Some("address"),
        PortError::SeveralBlocks => Some("block"),
        _ => None,
    }
}

/// Reads an id that came as a parameter.
fn id(name: &str, text: &str) -> Result<Id, Problem> {
    Id::new(text).map_err(|error: IdError| Problem::of_field(name, Code::BadId, format!("`{name}` {error}")))
}

/// An answer of 200 in JSON.
fn ok(value: &impl serde::Serialize) -> Response {
    body::json(StatusCode::OK, value)
}
