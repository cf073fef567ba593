//! The description of the API: `/openapi.json`, made of the routes, the types that they show, and the codes by which
//! they refuse; and `/docs`, a page that shows it to people.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Info, License, OpenApi, Ref, RefOr, ResponseBuilder, Server};
use utoipa::{PartialSchema, ToSchema};

use super::problem::{Code, ShownProblem};
use super::schema;

/// The name of the security scheme.
pub(super) const TOKEN: &str = "token";

const DESCRIPTION: &str = "\
The HTTP API of a QFZZ station. Reads are open where the API listens on loopback; every write, and every read where it \
listens beyond, needs `Authorization: Bearer` with the token of `DATA_DIR/api.token`. `Host` must be local or one of \
`api.hosts`; a foreign `Origin` may not write. Bodies have at most 256 KiB, bulk bodies 8 MiB, \
files that are imported any size.

Refusals are problem details (RFC 9457) with a stable `code`. What is no HTTP at all is refused before that: a request \
line or header that cannot be read gets 400, a head that is too large 431, and one that does not arrive in time is cut \
off, all without a body.

Paths that exist answer other methods with 405 and `Allow`, with or without a token; paths that don't, with 404.";

/// Adds to an operation the refusals that it can answer with: those of every request, and its own.
pub(super) fn add_refusals(operation: &mut Operation, codes: &[Code]) {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let listed = by_status.entry(code.status().as_u16()).or_default();
        if !listed.contains(code) {
            listed.push(*code);
        }
    }
    for (status, codes) in by_status {
        let listed: Vec<String> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
        let content = Content::new(Some(Ref::from_schema_name(ShownProblem::name())));
        let response =
            ResponseBuilder::new().description(listed.join("; ")).content("application/problem+json", content);
        operation.responses.responses.insert(status.to_string(), RefOr::T(response.build()));
    }
}

/// Completes the description that the routes have collected.
pub(super) fn finish(mut openapi: OpenApi) -> Vec<u8> {
    let mut info = Info::new("QFZZ station", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    let mut license = License::new(env!("CARGO_PKG_LICENSE"));
    license.identifier = Some(env!("CARGO_PKG_LICENSE").to_owned());
    info.license = Some(license);
    openapi.info = info;
    // Wherever the document came from: the API may listen at any address.
    openapi.servers = Some(vec![Server::new("/")]);
    let components = openapi.components.get_or_insert_default();
    components.schemas.extend(schema::all());
    components.schemas.insert(ShownProblem::name().into_owned(), ShownProblem::schema());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("The station's token, in DATA_DIR/api.token")).build();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
    serde_json::to_vec(&openapi).expect("a description can be written as JSON")
}

/// A file of the page for people.
#[derive(Clone, Copy)]
pub(super) struct Asset {
    kind: &'static str,
    text: &'static str,
}

/// The page.
pub(super) const PAGE: Asset = Asset { kind: "text/html; charset=utf-8", text: include_str!("docs/page.html") };

/// Its program.
pub(super) const SCRIPT: Asset = Asset { kind: "text/javascript; charset=utf-8", text: include_str!("docs/page.js") };

/// Its looks.
pub(super) const STYLE: Asset = Asset { kind: "text/css; charset=utf-8", text: include_str!("docs/page.css") };

/// What the page may do: run and show what comes from this station, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

impl IntoResponse for Asset {
    fn into_response(self) -> Response {
        let mut response = self.text.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}
