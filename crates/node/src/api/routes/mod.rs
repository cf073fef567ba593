//! Which path does what, and what every request goes through before.

mod bulk;
mod chain;
mod datasets;
mod documents;
mod duties;
mod events;
mod filter;
mod import;
mod list;
mod records;
mod roster;
mod station;
mod trust;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use qfzz_ledger_core::ids::{Id, IdError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::__dev::SchemaReferences;
use utoipa::openapi::path::{HttpMethod, Paths};
use utoipa::openapi::{OpenApi, SecurityRequirement};
use utoipa_axum::PathItemExt;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::auth::{self, Access};
use super::port::{PortError, Station};
use super::problem::{Code, Problem, quoted};
use super::server::Limits;
use super::{body, openapi};

/// Bytes of a body, at most; bulk bodies have their own limit.
const BODY_BYTES: usize = 256 * 1024;

/// What a body in JSON may call itself.
const JSON: &[&str] = &["application/json"];

/// What every handler has at hand: a request takes it several times, so it is one pointer.
pub(super) type App<S> = Arc<Shared<S>>;

/// What all handlers share.
pub(super) struct Shared<S> {
    station: S,
    access: Arc<Access>,
    limits: Limits,
    stop: CancellationToken,
    streams: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
    verify: Arc<Semaphore>,
    draws: Arc<Semaphore>,
    /// The description of the API, once the routes are made.
    document: OnceLock<Bytes>,
}

impl<S: Station> Shared<S> {
    pub(super) fn new(station: S, access: Access, limits: Limits, stop: CancellationToken) -> App<S> {
        Arc::new(Self {
            station,
            access: Arc::new(access),
            limits,
            stop,
            streams: Arc::new(Semaphore::new(limits.streams)),
            bulk: Arc::new(Semaphore::new(limits.bulk)),
            // It reads the whole chain and takes every core: one at a time.
            verify: Arc::new(Semaphore::new(1)),
            // It may read the changes of a thousand blocks.
            draws: Arc::new(Semaphore::new(1)),
            document: OnceLock::new(),
        })
    }
}

/// Refusals that every request may get: by its `Host`, or because the station is at an end.
const ANY: &[Code] = &[Code::MissingHost, Code::ForeignHost];

/// Refusals of what needs the station.
const ASKS: &[Code] = &[Code::Timeout, Code::Internal, Code::Stopping];

/// Refusals of what needs a federation, beside those.
const FEDERATION: &[Code] = &[Code::NoFederation];

/// Refusals of what needs the token.
const RIGHT: &[Code] = &[Code::MissingToken, Code::WrongToken];

/// Refusals of a body, beside those of its fields.
const BODY: &[Code] = &[Code::BodyTooSlow, Code::BodyTooLarge, Code::UnsupportedMediaType];

/// Refusals of a small object with one text.
const ONE_TEXT: &[Code] =
    &[Code::NotJson, Code::NotAnObject, Code::DuplicateField, Code::UnknownField, Code::WrongType];

/// Refusals of a query.
const QUERY: &[Code] = &[Code::BadParameter, Code::UnknownParameter];

/// Refusals of a part of the path.
const SEGMENT: &[Code] = &[Code::BadPath, Code::BadId];

/// Refusals of what leads to another station.
const DIAL: &[Code] = &[
    Code::BadAddress,
    Code::OtherFederation,
    Code::Unreachable,
    Code::NotReady,
    Code::InvitationUsed,
    Code::InvitationExpired,
    Code::InvitationUnknown,
    Code::StationExpelled,
];

/// Refusals of what only a founder may do, where admission is by roster.
const ROSTER: &[Code] = &[Code::AdmissionOpen, Code::NotAFounder];

/// Refusals of what is signed by the station.
const SIGNS: &[Code] =
    &[Code::Busy, Code::NotReady, Code::DiskFull, Code::LogUnknown, Code::AnotherDaemonSeen, Code::AnotherDaemon];

/// Refusals of a record.
const RECORD: &[Code] = &[
    Code::NotJson,
    Code::NotAnObject,
    Code::UnknownKind,
    Code::UnknownAnswer,
    Code::UnknownRecord,
    Code::KindOfTheNode,
    Code::UnknownField,
    Code::MissingField,
    Code::DuplicateField,
    Code::WrongType,
    Code::NotANumber,
    Code::OutOfRange,
    Code::TooPrecise,
    Code::BadId,
    Code::BadTimestamp,
    Code::BadMetadata,
    Code::UnknownAction,
    Code::WrongDelta,
    Code::BadHash,
    Code::BadLicense,
    Code::LicenseNotAllowed,
    Code::QualityTooLow,
    Code::TooManyTags,
];

/// Refusals of what is said about a dataset.
const FINDING: &[Code] = &[
    Code::NotJson,
    Code::NotAnObject,
    Code::UnknownField,
    Code::MissingField,
    Code::DuplicateField,
    Code::WrongType,
    Code::UnknownAction,
    Code::UnknownDataset,
];

/// Refusals of a testimony.
const TESTIMONY: &[Code] = &[
    Code::NotJson,
    Code::NotAnObject,
    Code::UnknownField,
    Code::MissingField,
    Code::DuplicateField,
    Code::WrongType,
    Code::BadId,
    Code::UnknownAnswer,
    Code::UnknownRecord,
    Code::OwnRecord,
    Code::NotDrawn,
    Code::AlreadyAnswered,
    Code::DutyExpired,
];

/// What holds for the requests of a route. One layer does both: each costs a request some microseconds.
#[derive(Clone)]
struct Rule {
    access: Arc<Access>,
    /// How long an answer may take to begin.
    time: Option<Duration>,
}

/// One route: where, how and what it answers stand at its handler (`P`), what it refuses with stands here.
fn route<P, H, T, S>(rule: &Rule, handler: H, refusals: &[&[Code]]) -> UtoipaMethodRouter<App<S>>
where
    P: utoipa::Path + SchemaReferences,
    H: Handler<T, App<S>>,
    T: 'static,
    S: Station,
{
    let (path, methods, mut operation) = (P::path(), P::methods(), P::operation());
    let mut codes = [&[ANY], refusals].concat().concat();
    if !auth::is_probe(&path) {
        codes.extend(RIGHT);
    }
    if methods.iter().any(|method| !matches!(method, HttpMethod::Get)) {
        codes.push(Code::ForeignOrigin);
        operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(openapi::TOKEN, [])]);
    }
    openapi::add_refusals(&mut operation, &codes);
    let on = |router: MethodRouter<App<S>>, method: &HttpMethod| router.on(method.to_method_filter(), handler.clone());
    let router = methods.iter().fold(MethodRouter::new(), on);
    let router = router.route_layer(from_fn_with_state(rule.clone(), judge));
    let (mut schemas, mut paths) = (Vec::new(), Paths::new());
    P::schemas(&mut schemas);
    paths.add_path_operation(path, methods, operation);
    (schemas, paths, router)
}

/// All routes of this version, and their description.
pub(super) fn described<S: Station>(app: &App<S>) -> (Router<App<S>>, OpenApi) {
    use documents as docs;
    let within = |time| Rule { access: Arc::clone(&app.access), time };
    let (soon, later) = (&within(Some(app.limits.answer_time)), &within(Some(app.limits.work_time)));
    let answers = OpenApiRouter::new()
        .routes(route::<station::__path_livez, _, _, _>(soon, station::livez, &[]))
        .routes(route::<station::__path_readyz, _, _, _>(soon, station::readyz::<S>, &[ASKS, &[Code::NotReady]]))
        .routes(route::<docs::__path_metrics, _, _, _>(soon, docs::metrics::<S>, &[ASKS]))
        .routes(route::<station::__path_status, _, _, _>(soon, station::status::<S>, &[ASKS]))
        .routes(route::<station::__path_quantum, _, _, _>(soon, station::quantum::<S>, &[]))
        .routes(route::<station::__path_ticket, _, _, _>(
            soon,
            station::ticket::<S>,
            &[ASKS, FEDERATION, &[Code::NotReady]],
        ))
        .routes(route::<roster::__path_stations, _, _, _>(soon, roster::stations::<S>, &[ASKS, FEDERATION]))
        .routes(route::<records::__path_add, _, _, _>(
            soon,
            records::add::<S>,
            &[ASKS, FEDERATION, BODY, RECORD, SIGNS],
        ))
        .routes(route::<records::__path_show, _, _, _>(
            soon,
            records::show::<S>,
            &[ASKS, FEDERATION, SEGMENT, &[Code::UnknownRecord]],
        ))
        .routes(route::<records::__path_proof, _, _, _>(
            soon,
            records::proof::<S>,
            &[ASKS, FEDERATION, SEGMENT, &[Code::UnknownRecord, Code::NotReady]],
        ))
        .routes(route::<trust::__path_user, _, _, _>(soon, trust::user::<S>, &[ASKS, FEDERATION, SEGMENT, QUERY]))
        .routes(route::<trust::__path_creator, _, _, _>(soon, trust::creator::<S>, &[ASKS, FEDERATION, SEGMENT, QUERY]))
        .routes(route::<trust::__path_content, _, _, _>(
            soon,
            trust::content::<S>,
            &[ASKS, FEDERATION, QUERY, &[Code::MissingParameter, Code::BadId]],
        ))
        .routes(route::<trust::__path_dataset, _, _, _>(soon, trust::dataset::<S>, &[ASKS, FEDERATION, SEGMENT, QUERY]))
        .routes(route::<duties::__path_list, _, _, _>(soon, duties::list::<S>, &[ASKS, FEDERATION, QUERY]))
        .routes(route::<duties::__path_add, _, _, _>(
            soon,
            duties::add::<S>,
            &[ASKS, FEDERATION, BODY, TESTIMONY, SIGNS],
        ))
        .routes(route::<datasets::__path_list, _, _, _>(
            soon,
            datasets::list::<S>,
            &[ASKS, FEDERATION, QUERY, &[Code::BadId]],
        ))
        .routes(route::<datasets::__path_show, _, _, _>(
            soon,
            datasets::show::<S>,
            &[ASKS, FEDERATION, SEGMENT, &[Code::UnknownDataset, Code::NotReady]],
        ))
        .routes(route::<datasets::__path_register, _, _, _>(
            soon,
            datasets::register::<S>,
            &[ASKS, FEDERATION, BODY, RECORD, SIGNS, &[Code::BelowThreshold, Code::DatasetExists]],
        ))
        .routes(route::<datasets::__path_verify, _, _, _>(
            soon,
            datasets::verify::<S>,
            &[ASKS, FEDERATION, SEGMENT, BODY, FINDING, SIGNS, &[Code::BadHash, Code::DatasetMismatch]],
        ))
        .routes(route::<datasets::__path_rate, _, _, _>(
            soon,
            datasets::rate::<S>,
            &[ASKS, FEDERATION, SEGMENT, BODY, FINDING, SIGNS, &[Code::NotANumber, Code::OutOfRange, Code::TooPrecise]],
        ))
        .routes(route::<trust::__path_global, _, _, _>(
            soon,
            trust::global::<S>,
            &[ASKS, FEDERATION, QUERY, &[Code::MissingParameter, Code::BadId, Code::UnknownPolicy]],
        ))
        .routes(route::<chain::__path_statistics, _, _, _>(soon, chain::statistics::<S>, &[ASKS, FEDERATION]))
        .routes(route::<chain::__path_blocks, _, _, _>(
            soon,
            chain::blocks::<S>,
            &[ASKS, FEDERATION, QUERY, &[Code::NotReady]],
        ))
        .routes(route::<chain::__path_block, _, _, _>(
            soon,
            chain::block::<S>,
            &[ASKS, FEDERATION, &[Code::BadPath, Code::BadParameter, Code::UnknownBlock]],
        ))
        .routes(route::<chain::__path_export, _, _, _>(
            soon,
            chain::export::<S>,
            &[ASKS, FEDERATION, &[Code::NotReady]],
        ))
        .routes(route::<events::__path_stream, _, _, _>(
            soon,
            events::stream::<S>,
            &[&[Code::BadParameter, Code::Busy]],
        ))
        .routes(route::<docs::__path_openapi, _, _, _>(soon, docs::openapi::<S>, &[]))
        .routes(route::<docs::__path_page, _, _, _>(soon, docs::page, &[]))
        .routes(route::<docs::__path_script, _, _, _>(soon, docs::script, &[]))
        .routes(route::<docs::__path_style, _, _, _>(soon, docs::style, &[]));
    let work = OpenApiRouter::new()
        .routes(route::<duties::__path_explain, _, _, _>(
            later,
            duties::explain::<S>,
            &[ASKS, FEDERATION, SEGMENT, &[Code::UnknownRecord, Code::NotReady, Code::Busy]],
        ))
        .routes(route::<roster::__path_admit, _, _, _>(
            later,
            roster::admit::<S>,
            &[
                ASKS,
                FEDERATION,
                BODY,
                ONE_TEXT,
                SEGMENT,
                SIGNS,
                ROSTER,
                &[Code::NotAdmitted, Code::FounderStays, Code::BadHash, Code::MissingField, Code::OtherKey],
            ],
        ))
        .routes(route::<roster::__path_expel, _, _, _>(
            later,
            roster::expel::<S>,
            &[ASKS, FEDERATION, BODY, ONE_TEXT, SEGMENT, SIGNS, ROSTER, &[Code::NotAdmitted, Code::FounderStays]],
        ))
        .routes(route::<roster::__path_invite, _, _, _>(
            later,
            roster::invite::<S>,
            &[ASKS, FEDERATION, BODY, ONE_TEXT, ROSTER, &[Code::BadParameter, Code::Busy, Code::NotReady]],
        ))
        .routes(route::<station::__path_peers, _, _, _>(later, station::peers::<S>, &[ASKS]))
        .routes(route::<station::__path_dial, _, _, _>(
            later,
            station::dial::<S>,
            &[ASKS, BODY, ONE_TEXT, DIAL, &[Code::MissingField]],
        ))
        .routes(route::<station::__path_sync, _, _, _>(
            later,
            station::sync::<S>,
            &[ASKS, FEDERATION, BODY, ONE_TEXT, DIAL, &[Code::UnknownPeer]],
        ))
        .routes(route::<bulk::__path_add, _, _, _>(
            later,
            bulk::add::<S>,
            &[ASKS, FEDERATION, BODY, SIGNS, &[Code::TooManyLines]],
        ))
        .routes(route::<filter::__path_filter, _, _, _>(
            later,
            filter::filter::<S>,
            &[ASKS, FEDERATION, BODY, QUERY, &[Code::Busy, Code::TooManyLines, Code::MissingParameter]],
        ))
        .routes(route::<chain::__path_mine, _, _, _>(
            later,
            chain::mine::<S>,
            &[ASKS, FEDERATION, BODY, SIGNS, &[Code::UnknownField, Code::NotAdmitted]],
        ))
        .routes(route::<chain::__path_verify, _, _, _>(later, chain::verify::<S>, &[ASKS, FEDERATION, &[Code::Busy]]));
    let untimed = &within(None);
    // A file takes as long as it is large; what is bounded is the time between two pieces of it.
    let files = OpenApiRouter::new().routes(route::<import::__path_import, _, _, _>(
        untimed,
        import::import::<S>,
        &[
            &ASKS[1..],
            FEDERATION,
            SIGNS,
            &[Code::UnsupportedMediaType, Code::BodyTooSlow, Code::BadImport, Code::NotEmpty],
        ],
    ));
    answers.merge(work).merge(files).split_for_parts()
}

/// The API.
pub(super) fn router<S: Station>(app: App<S>) -> Router {
    let (routes, description) = described(&app);
    // It was empty until now.
    let _ = app.document.set(Bytes::from(openapi::finish(description)));
    routes
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), guard::<S>))
        .with_state(app)
}

/// Judges each request before anything of it is used, and marks and counts each answer.
async fn guard<S: Station>(State(app): State<App<S>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = word_of(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let judged = app.access.check_source(request.method(), request.uri(), request.headers());
    let mut response = match judged {
        Ok(()) => next.run(request).await,
        Err(problem) => refuse(request, problem).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    app.station.metrics().answered(route, method, response.status().as_u16(), started.elapsed());
    response
}

/// The method as a label: those that exist, and a word for all others.
fn word_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "other",
    }
}

/// Judges a request for something that exists by its token, and answers for a station that takes longer than the rule
/// allows to begin its answer.
async fn judge(State(rule): State<Rule>, request: Request, next: Next) -> Response {
    let answer = async {
        match rule.access.check_right(request.method(), request.uri(), request.headers()) {
            Ok(()) => next.run(request).await,
            Err(problem) => refuse(request, problem).await,
        }
    };
    let Some(time) = rule.time else { return answer.await };
    tokio::time::timeout(time, answer).await.unwrap_or_else(|_| {
        let detail = format!("the station had no answer after {} s: try again", time.as_secs_f32());
        Problem::new(Code::Timeout, detail).into_response()
    })
}

async fn refuse(request: Request, problem: Problem) -> Response {
    body::discard(request).await;
    problem.into_response()
}

async fn unknown_route(uri: Uri, request: Request) -> Problem {
    body::discard(request).await;
    let detail = format!("there is no {} in this version: see /docs for what there is", quoted(uri.path()));
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
            PortError::BelowThreshold { .. } => (
                Code::BelowThreshold,
                "let it rise by actions such as `rating` first; the operator may set another threshold",
            ),
            PortError::DatasetExists { .. } => {
                (Code::DatasetExists, "the first registration stands, so choose another id")
            }
            PortError::UnknownDataset { .. } => {
                (Code::UnknownDataset, "check the id, register it with `qfzz dataset register`, or run `qfzz sync`")
            }
            PortError::DatasetMismatch { .. } => (
                Code::DatasetMismatch,
                "get the file again from its source; to publish what was found, send `publish`: true",
            ),
            PortError::NoAction { .. } => (Code::UnknownAction, "it must be added when the federation is founded"),
            PortError::NotConnected => (Code::UnknownPeer, "connect to it first with `qfzz join`, or see `qfzz peers`"),
            PortError::Unreachable { .. } => (Code::Unreachable, "check the address, and that the station runs there"),
            PortError::NotReady { .. } => (Code::NotReady, "try again in a few seconds"),
            PortError::LogUnknown { .. } => (
                Code::LogUnknown,
                "join a station that the federation admitted, or the founder (`qfzz join ADDRESS`), or try again in a few seconds",
            ),
            PortError::AnotherSeen { .. } => {
                (Code::AnotherDaemonSeen, "stop one of the two; if the other one has stopped, try again in two minutes")
            }
            PortError::AnotherDaemon { .. } => (
                Code::AnotherDaemon,
                "use the other one; or stop it, then restart this one. A copy needs a key of its own: `qfzz init` in an empty --data-dir",
            ),
            PortError::BadImport { .. } => {
                (Code::BadImport, "get the file again from where it was written, and compare its SHA-256")
            }
            PortError::NotEmpty { .. } => (
                Code::NotEmpty,
                "use a station without a chain, in an empty --data-dir; one of the same federation catches up with `qfzz sync`",
            ),
            PortError::BrokeOff { .. } => (Code::BodyTooSlow, "send it whole"),
            PortError::NotAsked(reason) => reason.code_and_remedy(),
            PortError::Roster(refusal) => refusal.code_and_remedy(),
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
        PortError::BelowThreshold { .. } => Some("user_id"),
        PortError::DatasetExists { .. } | PortError::UnknownDataset { .. } => Some("dataset_id"),
        PortError::DatasetMismatch { .. } => Some("sha256"),
        PortError::NotAsked(_) => Some("record_id"),
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
