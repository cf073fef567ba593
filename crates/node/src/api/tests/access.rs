//! Host, Origin and token, and what every refusal looks like.

use super::*;

const WRITES: [&str; 5] = ["/v1/peers", "/v1/sync", "/v1/records", "/v1/records/bulk", "/v1/mine"];

#[tokio::test]
async fn every_write_needs_the_token_and_nothing_is_stored_without() {
    let api = Api::start().await;
    let record = r#"{"kind":"content_verified","content_id":"a","creator_id":"b"}"#;
    for path in WRITES {
        let post = || api.request(Method::POST, path).body(record);
        let without = send(post()).await;
        assert_eq!(without.problem(), (401, "missing_token".to_owned()), "{path}");
        assert_eq!(without.header("www-authenticate"), "Bearer");
        let wrong = send(post().bearer_auth(TOKEN.replace('0', "1"))).await;
        assert_eq!(wrong.problem(), (401, "wrong_token".to_owned()), "{path}");
        let basic = send(post().basic_auth("qfzz", Some(TOKEN))).await;
        assert_eq!(basic.problem(), (401, "missing_token".to_owned()), "{path}");
    }
    assert_eq!((api.fake.submissions(), api.fake.asked()), (vec![], None));
}

#[tokio::test]
async fn foreign_hosts_are_refused_on_every_route() {
    let api = Api::start().await;
    for path in ["/livez", "/v1/status", "/v1/events", "/nowhere"] {
        let foreign = send(api.request(Method::GET, path).header("host", "evil.example")).await;
        assert_eq!(foreign.problem(), (403, "foreign_host".to_owned()), "{path}");
    }
    for host in ["localhost", "127.0.0.1:1", "[::1]:4810"] {
        assert_eq!(send(api.request(Method::GET, "/v1/status").header("host", host)).await.status, 200, "{host}");
    }
    let none = api.raw("GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n").await.expect("an answer");
    assert!(none.starts_with("HTTP/1.1 400") && none.contains("missing_host"), "{none}");
}

#[tokio::test]
async fn foreign_origins_are_refused_on_writes_even_with_the_token() {
    let api = Api::start().await;
    for path in WRITES {
        for origin in ["null", "https://evil.example"] {
            let request = api.request(Method::POST, path).bearer_auth(TOKEN).header("origin", origin);
            assert_eq!(send(request).await.problem(), (403, "foreign_origin".to_owned()), "{path} {origin}");
        }
    }
    let own = format!("http://{}", api.address());
    let request = api.request(Method::POST, "/v1/mine").bearer_auth(TOKEN).header("origin", own);
    assert_eq!(send(request).await.status, 204);
    let read = api.request(Method::GET, "/v1/status").header("origin", "https://evil.example");
    let read = send(read).await;
    assert_eq!(read.status, 200);
    assert_eq!(read.header("access-control-allow-origin"), "", "a foreign page must not see the answer");
}

#[tokio::test]
async fn a_preflight_gets_no_leave() {
    let api = Api::start().await;
    let request = api.request(Method::OPTIONS, "/v1/records").bearer_auth(TOKEN);
    let preflight = send(request).await;
    assert_eq!(preflight.problem(), (405, "method_not_allowed".to_owned()));
    assert_eq!(preflight.header("access-control-allow-methods"), "");
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_too() {
    let api = Api::start().await;
    for path in ["/", "/v1", "/v1/", "/v1/status/", "/v1/duties/x/y"] {
        assert_eq!(api.get(path).await.problem(), (404, "unknown_route".to_owned()), "{path}");
    }
    assert_eq!(api.post("/v1/testimony", "{}").await.problem(), (404, "unknown_route".to_owned()));
    let wrong_method = api.post("/v1/status", "{}").await;
    assert_eq!(wrong_method.problem(), (405, "method_not_allowed".to_owned()));
    assert_eq!(wrong_method.header("allow"), "GET,HEAD");
    let deleted = send(api.request(Method::DELETE, "/v1/records").bearer_auth(TOKEN)).await;
    assert_eq!((deleted.problem().0, deleted.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn a_path_cannot_leave_its_place() {
    let api = Api::start().await;
    for path in [
        "/../../etc/passwd",
        "/v1/../../etc/passwd",
        "/v1/records/../../../etc/passwd",
        "/v1/chain/blocks/..%2f..%2fapi.token",
        "/v1/records/%2e%2e%2fapi.token",
        "//etc/passwd",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = api.raw(&request).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("application/problem+json"), "{path}: {answer}");
    }
    // As an id it is a text like any other.
    let user = api.get("/v1/trust/users/..%2F..%2Fetc%2Fpasswd").await;
    assert_eq!((user.status, &user.json()["user_id"]), (200, &Value::from("../../etc/passwd")));
    assert_eq!(api.get("/v1/trust/users/%FF").await.problem(), (400, "bad_path".to_owned()));
}

#[tokio::test]
async fn answers_are_neither_cached_nor_guessed_at() {
    let api = Api::start().await;
    for answer in [api.get("/v1/status").await, api.get("/nowhere").await] {
        assert_eq!((answer.header("cache-control"), answer.header("x-content-type-options")), ("no-store", "nosniff"));
    }
}

#[tokio::test]
async fn beyond_loopback_reads_need_the_token_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let everywhere = "0.0.0.0:4810".parse().expect("an address");
    let access = Access::new(
        ApiToken::from_hex(TOKEN.as_bytes()).expect("64 hex digits"),
        everywhere,
        &["radio.example".to_owned()],
    )
    .expect("hosts");
    let fake = Fake::new();
    let handle = start(listener, fake.clone(), access, Limits::default()).expect("an API");
    let api = Api { fake, handle, client: Client::builder().no_proxy().build().expect("a client") };
    assert_eq!(api.get("/v1/status").await.problem(), (401, "missing_token".to_owned()));
    assert_eq!(api.get("/v1/events").await.problem(), (401, "missing_token".to_owned()));
    let request = api.request(Method::GET, "/v1/status").bearer_auth(TOKEN).header("host", "radio.example");
    assert_eq!(send(request).await.status, 200);
    assert_eq!((api.get("/livez").await.status, api.get("/readyz").await.status), (200, 200));
}
