//! The description of the API: every route is in it, and it has no other; the page and the metrics.

use std::collections::BTreeSet;

use super::*;
use crate::api::problem::Code;
use crate::api::record::kinds;
use crate::api::routes::{self, Shared};

async fn document(api: &Api) -> Value {
    let answer = api.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    answer.json()
}

/// Each path with its methods.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&String, &Value)| {
        let path = path.clone();
        let methods = item.as_object().expect("an item").clone().into_iter();
        methods.map(move |(method, operation)| (path.clone(), method, operation)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else_is() {
    let api = Api::start().await;
    let document = document(&api).await;
    assert_eq!(document["openapi"], "3.1.0");
    let described: BTreeSet<(String, String)> =
        operations(&document).into_iter().map(|(path, method, _)| (path, method)).collect();
    assert_eq!(described.len(), 43, "{described:?}");
    // The router lists its paths where it is shown for debugging, also those that came to it some other way.
    let token = ApiToken::from_hex(TOKEN.as_bytes()).expect("64 hex digits");
    let access = Access::new(token, api.address(), &[]).expect("no hosts");
    let app = Shared::new(Fake::new(), access, Limits::default(), tokio_util::sync::CancellationToken::new());
    let shown = format!("{:?}", routes::described(&app).0);
    // These two are axum's own, for what has no route.
    let is_fallback = |path: &str| path == "/" || path.contains("__private__axum_fallback");
    let paths = shown.split('"').filter(|part| part.starts_with('/') && !is_fallback(part));
    let routed: BTreeSet<&str> = paths.collect();
    assert_eq!(routed, described.iter().map(|(path, _)| path.as_str()).collect());
    // It tells itself which methods a path has: it refuses all others with `Allow`.
    for path in described.iter().map(|(path, _)| path).collect::<BTreeSet<_>>() {
        let asked = path.replace("{id}", "x").replace("{at}", "latest");
        let refused = send(api.request(Method::TRACE, &asked)).await;
        assert_eq!(refused.problem(), (405, "method_not_allowed".to_owned()), "{path}");
        let allowed = refused.header("allow").split(',').map(|method| method.trim().to_lowercase());
        let allowed: BTreeSet<String> = allowed.filter(|method| method != "head").collect();
        let of_path = described.iter().filter(|(other, _)| other == path).map(|(_, method)| method.clone());
        assert_eq!(allowed, of_path.collect(), "{path}");
    }
    // What the contract names and this version has.
    for path in ["/livez", "/v1/records/{id}/proof", "/v1/trust/global", "/v1/events", "/v1/stations/{id}/expel"] {
        assert!(described.iter().any(|(described, _)| described == path), "{path}");
    }
}

#[tokio::test]
async fn each_operation_says_what_it_takes_returns_and_refuses() {
    let api = Api::start().await;
    let document = document(&api).await;
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().expect("an id").to_owned()), "{place}");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 8), "{place}");
        let responses = operation["responses"].as_object().expect("responses");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{place}");
        for (status, response) in responses {
            let content = response["content"].as_object();
            match status.as_str() {
                "204" => assert!(content.is_none(), "{place}"),
                success if success.starts_with('2') => assert!(content.is_some(), "{place}"),
                _ => {
                    let schema = &content.expect("a body")["application/problem+json"]["schema"];
                    assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{place} {status}");
                    let text = response["description"].as_str().expect("codes");
                    assert!(Code::ALL.iter().any(|code| text.contains(code.as_str())), "{place} {status}");
                }
            }
        }
        let is_write = method != "get";
        assert_eq!(operation["security"].is_array(), is_write, "{place}");
        assert_eq!(responses.contains_key("401"), !matches!(path.as_str(), "/livez" | "/readyz"), "{place}");
    }
}

#[tokio::test]
async fn every_code_stands_at_a_route_that_refuses_with_it() {
    // Those of paths and methods that don't exist belong to no route, that of a line to no status.
    let elsewhere = [Code::UnknownRoute, Code::MethodNotAllowed, Code::LineTooLong];
    let api = Api::start().await;
    let document = document(&api).await;
    let described: String =
        operations(&document).into_iter().map(|(_, _, operation)| operation["responses"].to_string()).collect();
    for code in Code::ALL {
        let is_described = described.contains(&format!("`{}`", code.as_str()));
        assert_eq!(is_described, !elsewhere.contains(code), "{code:?}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match (name.as_str(), value) {
                        ("$ref", Value::String(target)) => drop(found.insert(target.clone())),
                        (_, value) => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let api = Api::start().await;
    let document = document(&api).await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for target in &found {
        let name = target.strip_prefix("#/components/schemas/").unwrap_or_else(|| panic!("{target}"));
        assert!(schemas.contains_key(name), "{target}");
    }
    assert!(found.len() > 30, "{found:?}");
}

#[tokio::test]
async fn the_described_fields_of_a_record_are_those_that_are_taken() {
    let api = Api::start().await;
    let document = document(&api).await;
    let described = document["components"]["schemas"]["SentRecord"]["oneOf"].as_array().expect("kinds").clone();
    assert_eq!(described.len(), kinds::ALL.len());
    let known =
        api.post("/v1/records", r#"{"kind":"content_verified","content_id":"c","creator_id":"m"}"#).await.json();
    for (kind, schema) in kinds::ALL.iter().zip(described) {
        let mut record = serde_json::json!({ "kind": kind.name });
        for field in schema["properties"].as_object().expect("fields").keys().filter(|field| *field != "kind") {
            record[field] = match field.as_str() {
                "action" => "interaction".into(),
                "trust_delta" => serde_json::json!(0.01),
                "initial_score" => serde_json::json!(0.25),
                "timestamp" => "2026-01-25T10:00:00Z".into(),
                "metadata" => serde_json::json!({}),
                "license" => "MIT".into(),
                "quality" | "rating" => serde_json::json!(0.75),
                "sha256" => "0a".repeat(32).into(),
                "size" => 1.into(),
                "record_id" => known["record_id"].clone(),
                "answer" => "contest".into(),
                "tags" => serde_json::json!(["x"]),
                _ => "x".into(),
            };
        }
        assert_eq!(api.post("/v1/records", record.to_string()).await.status, 201, "{record}");
        for field in schema["required"].as_array().expect("required").iter().filter_map(Value::as_str) {
            let mut without = record.clone();
            without.as_object_mut().expect("an object").remove(field);
            let refused = api.post("/v1/records", without.to_string()).await;
            assert_eq!(refused.problem(), (422, "missing_field".to_owned()), "{without}");
        }
        record["more"] = 1.into();
        assert_eq!(api.post("/v1/records", record.to_string()).await.problem(), (422, "unknown_field".to_owned()));
    }
}

#[tokio::test]
async fn the_page_asks_nobody_else_for_anything() {
    let api = Api::start().await;
    for (path, kind) in [("/docs", "text/html"), ("/docs/page.js", "text/javascript"), ("/docs/page.css", "text/css")] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with(kind), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert!(!answer.text.contains("//cdn") && !answer.text.contains("https://"), "{path} names another host");
        for forbidden in ["style=", "onclick=", "innerHTML", "eval("] {
            assert!(!answer.text.contains(forbidden), "{path}: {forbidden} does not go with the policy");
        }
    }
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_accepted_and_count_what_was_answered() {
    let api = Api::start().await;
    assert_eq!(api.get("/nowhere").await.status, 404);
    assert_eq!(api.get("/v1/status").await.status, 200);
    assert_eq!(send(api.request(Method::from_bytes(b"BREW").expect("a method"), "/v1/status")).await.status, 405);
    let classic = api.get("/metrics").await;
    assert!(classic.header("content-type").starts_with("text/plain; version=0.0.4"));
    for sample in [
        "qfzz_http_requests_total{route=\"none\",method=\"GET\",status=\"404\"} 1",
        "qfzz_http_requests_total{route=\"/v1/status\",method=\"GET\",status=\"200\"} 1",
        "qfzz_http_requests_total{route=\"/v1/status\",method=\"other\",status=\"405\"} 1",
        "qfzz_peers 1",
    ] {
        assert!(classic.text.lines().any(|line| line == sample), "{sample} in\n{}", classic.text);
    }
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let open = send(api.request(Method::GET, "/metrics").header("accept", accept)).await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(open.text.ends_with("# EOF\n"));
}
