//! Lists that are given in parts.

use std::fmt::Display;

use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use serde::Serialize;

use super::ok;
use crate::api::port::PortError;
use crate::api::problem::Problem;

/// A part of the list that `uri` asked for; where it goes on, the header `Link` names the next one.
pub(super) fn part(entries: &impl Serialize, uri: &Uri, next: Option<impl Display>) -> Result<Response, Problem> {
    let mut response = ok(entries);
    if let Some(next) = next {
        let link = format!("<{}>; rel=\"next\"", with_after(uri, next));
        let link = HeaderValue::from_str(&link).map_err(|error| PortError::Failed { reason: error.to_string() })?;
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// The same question, from `after` on.
fn with_after(uri: &Uri, after: impl Display) -> String {
    let pairs = uri.query().unwrap_or_default().split('&');
    let others = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("after="));
    let query: Vec<String> = others.map(str::to_owned).chain([format!("after={after}")]).collect();
    format!("{}?{}", uri.path(), query.join("&"))
}
