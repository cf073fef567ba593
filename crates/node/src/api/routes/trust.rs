//! How far users, contents and creators are trusted: by the ledger, by one station, globally.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::record::Subject;
use qfzz_sync::global_trust::{MAX_LISTED, Policy};

use super::{App, id, ok};
use crate::api::port::{GlobalQuery, Station};
use crate::api::problem::{Code, Problem, quoted};
use crate::api::query::{Query, Segment};

pub(super) async fn user<S: Station>(
    State(app): State<App<S>>,
    Segment(user): Segment,
    uri: Uri,
) -> Result<Response, Problem> {
    let station = station(&Query::of(&uri, &["station"])?)?;
    Ok(ok(&app.station.user_trust(id("user_id", &user)?, station).await?))
}

pub(super) async fn creator<S: Station>(
    State(app): State<App<S>>,
    Segment(creator): Segment,
    uri: Uri,
) -> Result<Response, Problem> {
    let station = station(&Query::of(&uri, &["station"])?)?;
    Ok(ok(&app.station.creator_trust(id("creator_id", &creator)?, station).await?))
}

pub(super) async fn content<S: Station>(State(app): State<App<S>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::of(&uri, &["content_id", "creator_id", "station"])?;
    let content = id("content_id", query.required("content_id")?)?;
    let creator = id("creator_id", query.required("creator_id")?)?;
    Ok(ok(&app.station.content_trust(content, creator, station(&query)?).await?))
}

pub(super) async fn global<S: Station>(State(app): State<App<S>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::of(&uri, &["kind", "id", "creator_id", "nodes", "policy", "live"])?;
    refuse_live(&query)?;
    let query = GlobalQuery { subject: subject(&query)?, nodes: nodes(&query)?, policy: policy(&query)? };
    Ok(ok(&app.station.global_trust(query).await?))
}

/// The station whose opinion is asked for, if one is.
fn station(query: &Query) -> Result<Option<StationId>, Problem> {
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
        "dataset" => {
            let detail = "`kind=dataset` is not available in this version: use user, content or creator";
            Err(Problem::of_field("kind", Code::NotAvailable, detail))
        }
        other => {
            let detail = format!("`kind` is {}: use user, content or creator", quoted(other));
            Err(Problem::of_field("kind", Code::BadParameter, detail))
        }
    }
}

/// Asking stations at once is not part of this version; not asking them is.
fn refuse_live(query: &Query) -> Result<(), Problem> {
    match query.optional("live") {
        None | Some("false") => Ok(()),
        Some("true") => {
            let detail = "`live=true` is not available in this version: leave it out";
            Err(Problem::of_field("live", Code::NotAvailable, detail))
        }
        Some(other) => {
            let detail = format!("`live` is {}: use true or false", quoted(other));
            Err(Problem::of_field("live", Code::BadParameter, detail))
        }
    }
}

/// The stations named, each once, as many as an answer lists.
fn nodes(query: &Query) -> Result<Option<BTreeSet<StationId>>, Problem> {
    let Some(text) = query.optional("nodes") else { return Ok(None) };
    let nodes = text.split(',').map(|name| read_station("nodes", name)).collect::<Result<BTreeSet<_>, _>>()?;
    if nodes.len() > MAX_LISTED {
        let detail = format!("`nodes` names more than {MAX_LISTED} stations: name fewer");
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
