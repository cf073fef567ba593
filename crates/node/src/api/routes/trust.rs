//! How far users, contents, creators and datasets are trusted: by the ledger, by one station, globally.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::record::Subject;
use qfzz_sync::global_trust::{MAX_LISTED, Policy};

use super::{App, id, ok};
use crate::api::port::{GlobalQuery, MAX_ASKED, Station};
use crate::api::problem::{Code, Problem, quoted};
use crate::api::query::{Query, Segment};
use crate::api::{dto, schema};

/// How far a user is trusted
///
/// By all records of all stations, those that wait for a block counted on top; or by one station's own.
#[utoipa::path(get, path = "/v1/trust/users/{id}", operation_id = "user_trust", tag = "trust", params(
    ("id" = schema::Id, Path, description = "The user"),
    ("station" = Option<schema::PeerId>, Query, description = "The opinion of this station alone"),
), responses((status = OK, description = "0.5 for a user whom nobody knows", body = dto::UserTrust)))]
pub(super) async fn user<S: Station>(
    State(app): State<App<S>>,
    Segment(user): Segment,
    uri: Uri,
) -> Result<Response, Problem> {
    let station = station(&Query::of(&uri, &["station"])?)?;
    Ok(ok(&app.station.user_trust(id("user_id", &user)?, station).await?))
}

/// How far a creator is trusted: the mean over their contents
#[utoipa::path(get, path = "/v1/trust/creators/{id}", operation_id = "creator_trust", tag = "trust", params(
    ("id" = schema::Id, Path, description = "The creator"),
    ("station" = Option<schema::PeerId>, Query, description = "The opinion of this station alone"),
), responses((status = OK, description = "0.5 for a creator whom nobody knows", body = dto::CreatorTrust)))]
pub(super) async fn creator<S: Station>(
    State(app): State<App<S>>,
    Segment(creator): Segment,
    uri: Uri,
) -> Result<Response, Problem> {
    let station = station(&Query::of(&uri, &["station"])?)?;
    Ok(ok(&app.station.creator_trust(id("creator_id", &creator)?, station).await?))
}

/// How far a content is trusted
#[utoipa::path(get, path = "/v1/trust/content", operation_id = "content_trust", tag = "trust", params(
    ("content_id" = schema::Id, Query, description = "The content"),
    ("creator_id" = schema::Id, Query, description = "Who made it"),
    ("station" = Option<schema::PeerId>, Query, description = "The opinion of this station alone"),
), responses((status = OK, description = "0.5 for a content that nobody knows", body = dto::ContentTrust)))]
pub(super) async fn content<S: Station>(State(app): State<App<S>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::of(&uri, &["content_id", "creator_id", "station"])?;
    let content = id("content_id", query.required("content_id")?)?;
    let creator = id("creator_id", query.required("creator_id")?)?;
    Ok(ok(&app.station.content_trust(content, creator, station(&query)?).await?))
}

/// How far a dataset is trusted
///
/// By what stations found: a verification counts 1, another SHA-256 0, a rating itself.
#[utoipa::path(get, path = "/v1/trust/datasets/{id}", operation_id = "dataset_trust", tag = "trust", params(
    ("id" = schema::Id, Path, description = "The dataset"),
    ("station" = Option<schema::PeerId>, Query, description = "The opinion of this station alone"),
), responses((status = OK, description = "0.5 for a dataset that nobody knows", body = dto::DatasetTrust)))]
pub(super) async fn dataset<S: Station>(
    State(app): State<App<S>>,
    Segment(dataset): Segment,
    uri: Uri,
) -> Result<Response, Problem> {
    let station = station(&Query::of(&uri, &["station"])?)?;
    Ok(ok(&app.station.dataset_trust(id("dataset_id", &dataset)?, station).await?))
}

/// How far somebody or something is trusted across stations
///
/// The opinions of many stations, combined. What waits for a block is in no opinion, but in those that stations give when
/// they are asked at once (`live=true`): such an answer is this station's alone, and takes up to 5 s.
#[utoipa::path(get, path = "/v1/trust/global", operation_id = "global_trust", tag = "trust", params(
    ("kind" = schema::SubjectKind, Query, description = "About what"),
    ("id" = schema::Id, Query, description = "The user, content, creator or dataset"),
    ("creator_id" = Option<schema::Id>, Query, description = "Who made the content; with `kind=content` only"),
    ("nodes" = Option<schema::Nodes>, Query, description = "Only these stations, at most 256 (with `live=true` 64), separated by commas"),
    ("policy" = Option<schema::PolicyName>, Query, description = "How to combine them; by default as configured"),
    ("live" = Option<bool>, Query, description = "Ask the stations named at once, or the connected ones that weigh something"),
    ("explain" = Option<bool>, Query, description = "Add to each station what its weight rests on"),
), responses((status = OK, description = "The score, and what each station says", body = dto::ShownGlobal)))]
pub(super) async fn global<S: Station>(State(app): State<App<S>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::of(&uri, &["kind", "id", "creator_id", "nodes", "policy", "live", "explain"])?;
    let (live, explain) = (truth(&query, "live")?, truth(&query, "explain")?);
    let most = if live { MAX_ASKED } else { MAX_LISTED };
    let (nodes, policy) = (nodes(&query, most)?, policy(&query)?);
    let query = GlobalQuery { subject: subject(&query)?, nodes, policy, live, explain };
    Ok(ok(&app.station.global_trust(query).await?))
}

/// The station whose opinion is asked for, if one is.
pub(super) fn station(query: &Query) -> Result<Option<StationId>, Problem> {
    query.optional("station").map(|text| read_station("station", text)).transpose()
}

fn read_station(name: &str, text: &str) -> Result<StationId, Problem> {
    text.parse().map_err(|error| Problem::of_field(name, Code::BadId, format!("`{name}` {} {error}", quoted(text))))
}

fn subject(query: &Query) -> Result<Subject, Problem> {
    let kind = query.required("kind")?;
    let subject = || id("id", query.required("id")?);
    if kind != "content" && query.optional("creator_id").is_some() {
        let detail = "`creator_id` goes with `kind=content` only: remove it, or send the creator as `id`";
        return Err(Problem::of_field("creator_id", Code::UnknownParameter, detail));
    }
    match kind {
        "user" => Ok(Subject::User(subject()?)),
        "creator" => Ok(Subject::Creator(subject()?)),
        "content" => {
            let creator_id = id("creator_id", query.required("creator_id")?)?;
            Ok(Subject::Content { creator_id, content_id: subject()? })
        }
        "dataset" => Ok(Subject::Dataset(subject()?)),
        other => {
            let detail = format!("`kind` is {}: use user, content, creator or dataset", quoted(other));
            Err(Problem::of_field("kind", Code::BadParameter, detail))
        }
    }
}

/// Whether something that may be left out is wanted.
fn truth(query: &Query, name: &str) -> Result<bool, Problem> {
    match query.optional(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let detail = format!("`{name}` is {}: use true or false", quoted(other));
            Err(Problem::of_field(name, Code::BadParameter, detail))
        }
    }
}

/// The stations named, each once, `most` of them.
fn nodes(query: &Query, most: usize) -> Result<Option<BTreeSet<StationId>>, Problem> {
    let Some(text) = query.optional("nodes") else { return Ok(None) };
    let nodes = text.split(',').map(|name| read_station("nodes", name)).collect::<Result<BTreeSet<_>, _>>()?;
    if nodes.len() > most {
        let detail = format!("`nodes` names more than {most} stations: name fewer");
        return Err(Problem::of_field("nodes", Code::BadParameter, detail));
    }
    Ok(Some(nodes))
}

fn policy(query: &Query) -> Result<Option<Policy>, Problem> {
    let Some(name) = query.optional("policy") else { return Ok(None) };
    name.parse().map(Some).map_err(|_| {
        let detail = format!(
            "the policy {} does not exist in this version: use {}",
            quoted(name),
            Policy::ALL.map(Policy::as_str).join(", ")
        );
        Problem::of_field("policy", Code::UnknownPolicy, detail)
    })
}
