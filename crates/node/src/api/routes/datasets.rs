//! Datasets: listed, shown, registered, verified, rated.

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use qfzz_ledger_core::ids::Label;
use qfzz_ledger_core::score::Score;

use super::list::part;
use super::{App, BODY_BYTES, JSON, id, ok, trust};
use crate::api::body;
use crate::api::dto::{ShownChange, ShownDataset};
use crate::api::port::{DatasetQuery, PortError, Station};
use crate::api::problem::{Code, Problem, quoted};
use crate::api::query::{Query, Segment};
use crate::api::record::{parse_finding, parse_rating, parse_registration};
use crate::api::schema;
use crate::license;

/// Datasets of one answer, at most, and where the caller names no limit.
const MAX_DATASETS: u64 = 100;

/// The datasets of the federation
///
/// In order of registration; those that wait for a block come last. Where the list goes on, the header `Link` names the
/// next part; with filters a part may be short, or empty, and the list go on nevertheless.
#[utoipa::path(get, path = "/v1/datasets", operation_id = "datasets", tag = "datasets", params(
    ("min_quality" = Option<schema::Score>, Query, description = "Only of at least this quality"),
    ("license" = Option<schema::License>, Query, description = "Only with this licence in their expression"),
    ("genre" = Option<schema::Target>, Query, description = "Only of this genre"),
    ("tag" = Option<schema::Id>, Query, description = "Only with this tag"),
    ("creator" = Option<schema::Target>, Query, description = "Only by this creator"),
    ("station" = Option<schema::PeerId>, Query, description = "Only those that this station registered"),
    ("verified" = Option<bool>, Query, description = "Only those that somebody verified, or nobody"),
    ("after" = Option<schema::Whole>, Query, description = "Where to go on: see `Link`"),
    ("limit" = Option<schema::DatasetLimit>, Query, description = "100 by default, which is also the most"),
), responses((status = OK, description = "The datasets", body = Vec<ShownDataset>,
    headers(("Link" = String, description = "The next part, `rel=\"next\"`; absent at the end")))))]
pub(super) async fn list<S: Station>(State(app): State<App<S>>, uri: Uri) -> Result<Response, Problem> {
    let names = ["min_quality", "license", "genre", "tag", "creator", "station", "verified", "after", "limit"];
    let query = Query::of(&uri, &names)?;
    let asked = read_query(&query)?;
    let page = app.station.datasets(asked).await?;
    part(&page.datasets, &uri, page.next)
}

fn read_query(query: &Query) -> Result<DatasetQuery, Problem> {
    let bad = |name: &str, why: String| Problem::of_field(name, Code::BadParameter, format!("`{name}` {why}"));
    let min_quality = query.optional("min_quality").map(|text| {
        text.parse::<Score>().map_err(|error| bad("min_quality", format!("is {}, which {error}", quoted(text))))
    });
    let license = query.optional("license").map(|text| {
        license::parse(text).map_err(|error| bad("license", format!("is {}, which {error}", quoted(text))))
    });
    let verified = query
        .optional("verified")
        .map(|text| text.parse().map_err(|_| bad("verified", format!("is {}: use true or false", quoted(text)))));
    let label = |name: &str| {
        let bad = |error| Problem::of_field(name, Code::BadId, format!("`{name}` {error}"));
        query.optional(name).map(|text| Label::new(text).map_err(bad)).transpose()
    };
    let limit = query.number("limit", 1, MAX_DATASETS)?.unwrap_or(MAX_DATASETS);
    Ok(DatasetQuery {
        // Nobody registers more than a u32 can number.
        after: query.number("after", 0, u64::from(u32::MAX))?.unwrap_or(0),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        min_quality: min_quality.transpose()?,
        license: license.transpose()?,
        genre: label("genre")?,
        tag: query.optional("tag").map(|text| id("tag", text)).transpose()?,
        creator: label("creator")?,
        station: trust::station(query)?,
        verified: verified.transpose()?,
    })
}

/// One dataset
#[utoipa::path(get, path = "/v1/datasets/{id}", operation_id = "dataset", tag = "datasets",
    params(("id" = schema::Id, Path, description = "The dataset")), responses(
    (status = OK, description = "The dataset", body = ShownDataset),
))]
pub(super) async fn show<S: Station>(
    State(app): State<App<S>>,
    Segment(dataset): Segment,
) -> Result<Response, Problem> {
    let dataset = id("dataset_id", &dataset)?;
    let found = app.station.dataset(dataset.clone()).await?;
    Ok(ok(&found.ok_or(PortError::UnknownDataset { dataset })?))
}

/// Registers a dataset
///
/// By the federation's rules on licence and quality. With `user_id` it is in that user's name, whose score must reach
/// this station's `trust.submit_threshold`.
#[utoipa::path(post, path = "/v1/datasets", operation_id = "register_dataset", tag = "datasets",
    request_body = schema::SentDataset, responses(
    (status = CREATED, description = "It is on disk", body = ShownChange),
))]
pub(super) async fn register<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let rules = app.station.rules().await?;
    let (dataset, user) = parse_registration(body::text(&body)?, &rules)?;
    Ok(body::json(StatusCode::CREATED, &app.station.register_dataset(dataset, user).await?))
}

/// Records the SHA-256 that somebody found
///
/// With the guide's action `dataset_verification` of `system`, and `verification` of the user who is named. One that is
/// not the registered one is refused, unless `publish` is true.
#[utoipa::path(post, path = "/v1/datasets/{id}/verify", operation_id = "verify_dataset", tag = "datasets",
    params(("id" = schema::Id, Path, description = "The dataset")), request_body = schema::SentFinding, responses(
    (status = CREATED, description = "It is on disk", body = ShownChange),
))]
pub(super) async fn verify<S: Station>(
    State(app): State<App<S>>,
    Segment(dataset): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let (found, user, publish) = parse_finding(body::text(&body)?, id("dataset_id", &dataset)?)?;
    Ok(body::json(StatusCode::CREATED, &app.station.verify_dataset(found, user, publish).await?))
}

/// Records a user's rating
///
/// With the guide's action `rating` of that user.
#[utoipa::path(post, path = "/v1/datasets/{id}/rate", operation_id = "rate_dataset", tag = "datasets",
    params(("id" = schema::Id, Path, description = "The dataset")), request_body = schema::SentRating, responses(
    (status = CREATED, description = "It is on disk", body = ShownChange),
))]
pub(super) async fn rate<S: Station>(
    State(app): State<App<S>>,
    Segment(dataset): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    let (rated, user) = parse_rating(body::text(&body)?, id("dataset_id", &dataset)?)?;
    Ok(body::json(StatusCode::CREATED, &app.station.rate_dataset(rated, user).await?))
}
