//! Who takes part: the roster that the founders keep, and their invitations.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use qfzz_ledger_core::ids::{Reason, StationId};
use utoipa::ToSchema;

use super::{App, BODY_BYTES, JSON, ok};
use crate::api::body;
use crate::api::dto::{Invitation, ShownReceipt, StationInfo};
use crate::api::port::{Station, Word};
use crate::api::problem::{Code, Problem, quoted};
use crate::api::query::Segment;
use crate::api::schema;
use crate::config::parse_duration;
use crate::invitations::{DEFAULT_VALID, LEAST_VALID};

/// Why a founder says what it says.
#[derive(ToSchema)]
#[schema(as = WordRequest)]
#[expect(dead_code, reason = "it describes what `say` reads")]
struct WordRequest {
    /// At most 128 bytes without control characters; may be left out.
    #[schema(max_length = 128, nullable = false)]
    reason: Option<String>,
}

/// Why a founder admits a station, and with which key.
#[derive(ToSchema)]
#[schema(as = AdmissionRequest)]
#[expect(dead_code, reason = "it describes what `say` reads")]
struct AdmissionRequest {
    /// At most 128 bytes without control characters; may be left out.
    #[schema(max_length = 128, nullable = false)]
    reason: Option<String>,
    /// The hash of the newcomer's ML-DSA key, which its status shows. Needed exactly where stations sign with `hybrid`
    /// and the chain does not know it.
    #[schema(value_type = Option<schema::Hash>, nullable = false)]
    ml_dsa_key_hash: Option<String>,
}

/// How long an invitation is valid.
#[derive(ToSchema)]
#[schema(as = InvitationRequest)]
#[expect(dead_code, reason = "it describes what `invite` reads")]
struct InvitationRequest {
    /// A duration from `1s` to `366d`; 24 h where it is left out.
    #[schema(max_length = 64, nullable = false)]
    expires: Option<String>,
}

/// The stations that take part
#[utoipa::path(get, path = "/v1/stations", operation_id = "stations", tag = "station", responses(
    (status = OK, description = "Those on the chain, those that founders spoke of, the founders, and this one",
        body = Vec<StationInfo>),
))]
pub(super) async fn stations<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    Ok(ok(&app.station.stations().await?))
}

/// Admits a station
///
/// Only a founder can, and only where admission is by roster. It counts from the block after the one with this record.
#[utoipa::path(post, path = "/v1/stations/{id}/admit", operation_id = "admit", tag = "station",
    params(("id" = schema::PeerId, Path, description = "The station")),
    request_body(content = Option<AdmissionRequest>, description = "May be left out"), responses(
    (status = CREATED, description = "The record is on disk", body = ShownReceipt),
))]
pub(super) async fn admit<S: Station>(
    State(app): State<App<S>>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Problem> {
    say(app, &id, true, request).await
}

/// Says that a station be expelled
///
/// It is when more than half of the founders have said so; then more than half must admit it again.
#[utoipa::path(post, path = "/v1/stations/{id}/expel", operation_id = "expel", tag = "station",
    params(("id" = schema::PeerId, Path, description = "The station")),
    request_body(content = Option<WordRequest>, description = "May be left out"), responses(
    (status = CREATED, description = "The record is on disk", body = ShownReceipt),
))]
pub(super) async fn expel<S: Station>(
    State(app): State<App<S>>,
    Segment(id): Segment,
    request: Request,
) -> Result<Response, Problem> {
    say(app, &id, false, request).await
}

async fn say<S: Station>(app: App<S>, id: &str, admits: bool, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let station: StationId =
        id.parse().map_err(|error| Problem::of_field("id", Code::BadId, format!("{} {error}", quoted(id))))?;
    let (reason, word) = if admits {
        let [reason, key_hash] = body::texts(&body, ["reason", "ml_dsa_key_hash"])?;
        (reason, Word::Admit { ml_dsa_key_hash: key_hash.map(|text| key_hash_in(&text)).transpose()? })
    } else {
        (body::one_text(&body, "reason")?, Word::Expel)
    };
    let reason = Reason::new(reason.unwrap_or_default());
    let reason = reason.map_err(|error| Problem::of_field("reason", Code::BadId, format!("`reason` {error}")))?;
    let receipt = app.station.say_of(station, word, reason).await?;
    Ok(body::json(StatusCode::CREATED, &receipt))
}

fn key_hash_in(text: &str) -> Result<[u8; 32], Problem> {
    let mut hash = [0; 32];
    let wrong =
        |_| Problem::of_field("ml_dsa_key_hash", Code::BadHash, "`ml_dsa_key_hash` must have 64 hex digits".to_owned());
    hex::decode_to_slice(text, &mut hash).map_err(wrong)?;
    Ok(hash)
}

/// Makes a one-time invitation
///
/// Whoever joins with its ticket is admitted without a second step, once. Only a founder can make one, and only where
/// admission is by roster. The ticket holds a secret: give it to nobody but the newcomer.
#[utoipa::path(post, path = "/v1/ticket", operation_id = "invite", tag = "station",
    request_body(content = Option<InvitationRequest>, description = "May be left out"), responses(
    (status = CREATED, description = "The invitation is on disk", body = Invitation),
))]
pub(super) async fn invite<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let bad = |why: String| Problem::of_field("expires", Code::BadParameter, format!("`expires` {why}"));
    let valid = match body::one_text(&body, "expires")? {
        None => DEFAULT_VALID,
        Some(text) => match parse_duration(&text) {
            Ok(valid) if valid < LEAST_VALID => return Err(bad("is too short: give 1s or more".to_owned())),
            Ok(valid) => valid,
            Err(error) => return Err(bad(error.to_string())),
        },
    };
    Ok(body::json(StatusCode::CREATED, &app.station.invite(valid).await?))
}
