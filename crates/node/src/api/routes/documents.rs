//! What the API says about itself: its metrics, its description, and a page of it for people.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::App;
use crate::api::openapi::{Asset, PAGE, SCRIPT, STYLE};
use crate::api::port::Station;
use crate::api::problem::Problem;

const OPEN_METRICS: &str = "application/openmetrics-text";

/// Figures and counts of this station for Prometheus
///
/// As OpenMetrics 1.0 for whoever accepts that, else in the text format 0.0.4. `docs/metrics.md` has every name.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "health", responses(
    (status = OK, description = "The metrics", content(
        (String = "text/plain; version=0.0.4"), (String = "application/openmetrics-text; version=1.0.0")
    )),
))]
pub(super) async fn metrics<S: Station>(State(app): State<App<S>>, headers: HeaderMap) -> Result<Response, Problem> {
    let figures = app.station.figures().await?;
    let accepts = |value: &header::HeaderValue| value.to_str().is_ok_and(|text| text.contains(OPEN_METRICS));
    let (kind, text) = if headers.get_all(header::ACCEPT).iter().any(accepts) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", app.station.metrics().open_metrics(&figures))
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", app.station.metrics().prometheus(&figures))
    };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// This description
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "documentation", responses(
    (status = OK, description = "OpenAPI 3.1", body = Object),
))]
pub(super) async fn openapi<S: Station>(State(app): State<App<S>>) -> Response {
    let document = app.document.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

/// A page that shows this description to people
///
/// It needs no network but this station.
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = "documentation", responses(
    (status = OK, description = "The page", body = String, content_type = "text/html; charset=utf-8"),
))]
pub(super) async fn page() -> Asset {
    PAGE
}

/// The program of that page
#[utoipa::path(get, path = "/docs/page.js", operation_id = "docs_script", tag = "documentation", responses(
    (status = OK, description = "JavaScript", body = String, content_type = "text/javascript; charset=utf-8"),
))]
pub(super) async fn script() -> Asset {
    SCRIPT
}

/// The looks of that page
#[utoipa::path(get, path = "/docs/page.css", operation_id = "docs_style", tag = "documentation", responses(
    (status = OK, description = "A style sheet", body = String, content_type = "text/css; charset=utf-8"),
))]
pub(super) async fn style() -> Asset {
    STYLE
}
