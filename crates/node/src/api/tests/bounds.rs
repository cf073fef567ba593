//! What a caller may cost: bytes, time, connections; and how the API stops.

use std::time::Instant;

use super::*;

const VERIFIED: &str = r#"{"kind":"content_verified","content_id":"a","creator_id":"b"}"#;

const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_its_sender_gets_to_know() {
    let api = Api::start().await;
    let of = |bytes: usize| format!("{VERIFIED}{}", " ".repeat(bytes - VERIFIED.len()));
    assert_eq!(api.post("/v1/records", of(256 * 1024)).await.status, 201);
    assert_eq!(api.post("/v1/records", of(256 * 1024 + 1)).await.problem(), (413, "body_too_large".to_owned()));
    assert_eq!(api.post("/v1/peers", of(3 * 1024 * 1024)).await.problem(), (413, "body_too_large".to_owned()));
    assert_eq!(api.bulk(of(8 * 1024 * 1024 + 1)).await.problem(), (413, "body_too_large".to_owned()));
    // Of unknown length: nothing is stored before the end is seen.
    let chunk = format!("{}\n", of(64 * 1024 - 1));
    let chunks = futures::stream::iter((0..130).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    assert_eq!(api.bulk(reqwest::Body::wrap_stream(chunks)).await.problem(), (413, "body_too_large".to_owned()));
    let short = "0\n".repeat(150_001);
    assert_eq!(api.bulk(short).await.problem(), (413, "too_many_lines".to_owned()));
    assert_eq!(api.fake.submissions(), [1]);
    // Without a token it is refused for that, however large.
    let request = api.request(Method::POST, "/v1/records/bulk").body(of(4 * 1024 * 1024));
    assert_eq!(send(request).await.problem(), (401, "missing_token".to_owned()));
}

#[tokio::test]
async fn a_head_that_is_slow_or_silent_is_cut_off() {
    let api = Api::with(Limits { head_time: SOON, ..Limits::default() }).await;
    for head in ["", "GET /livez HTTP/1.1\r\nHost: loc"] {
        let started = Instant::now();
        assert!(api.raw(head).await.is_some(), "still open: {head}");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
    // Kept alive after an answer, and then silent.
    let answer = api.raw("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("closed");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let api = Api::start().await;
    let head = |bytes: usize| {
        let filler = "x".repeat(bytes);
        format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: {filler}\r\n\r\n")
    };
    let answer = api.raw(&head(30_000)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Its sender is still writing when it is cut off, so the answer may be lost; but that is all it can lose.
    let answer = api.raw(&head(256 * 1024)).await.expect("closed");
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_slow_is_refused() {
    let api = Api::with(Limits { body_time: SOON, ..Limits::default() }).await;
    let head = format!(
        "POST /v1/records HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n{{"
    );
    let answer = api.raw(&head).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"), "{answer}");
}

#[tokio::test]
async fn a_station_that_does_not_answer_is_a_problem() {
    let api = Api::with(Limits { answer_time: SOON, work_time: SOON, ..Limits::default() }).await;
    api.fake.with(|state| state.hangs = true);
    assert_eq!(api.get("/v1/status").await.problem(), (504, "timeout".to_owned()));
    assert_eq!(api.post("/v1/mine", "").await.problem(), (504, "timeout".to_owned()));
    assert_eq!(api.get("/livez").await.status, 200);
}

#[tokio::test]
async fn bulk_bodies_are_taken_a_few_at_a_time() {
    let api = Api::with(Limits { bulk: 1, ..Limits::default() }).await;
    let mut first = TcpStream::connect(api.address()).await.expect("a connection");
    let head = format!(
        "POST /v1/records/bulk HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 1\r\n\r\n"
    );
    first.write_all(head.as_bytes()).await.expect("written");
    // Once the first is taken up it holds the only place while its body is missing.
    let refused = async { while api.bulk(VERIFIED).await.status != 503 {} };
    tokio::time::timeout(Duration::from_secs(10), refused).await.expect("refused");
    assert_eq!(api.bulk(VERIFIED).await.problem(), (503, "busy".to_owned()));
    drop(first);
    let taken = async { while api.bulk(VERIFIED).await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(10), taken).await.expect("taken");
}

#[tokio::test]
async fn the_chain_is_verified_once_at_a_time() {
    let api = Api::start().await;
    api.fake.with(|state| state.hangs = true);
    let verifying = tokio::spawn(api.request(Method::GET, "/v1/chain/verify").send());
    let begun = async {
        while api.fake.asked().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), begun).await.expect("begun");
    assert_eq!(api.get("/v1/chain/verify").await.problem(), (503, "busy".to_owned()));
    verifying.abort();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let api = Api::with(Limits { connections: 1, head_time: SOON, ..Limits::default() }).await;
    let silent = TcpStream::connect(api.address()).await.expect("a connection");
    let started = Instant::now();
    assert_eq!(api.get("/livez").await.status, 200);
    assert!(started.elapsed() >= SOON / 2, "it was served beside the silent one: {:?}", started.elapsed());
    drop(silent);
}

#[tokio::test]
async fn who_takes_no_answer_loses_the_connection_to_those_who_wait() {
    let api = Api::with(Limits { connections: 1, take_time: SOON, ..Limits::default() }).await;
    let mut deaf = TcpStream::connect(api.address()).await.expect("a connection");
    // Until the buffers of both sides are full, and the daemon waits for room in them.
    let ask = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let fill = async {
        while tokio::time::timeout(SOON / 2, deaf.write_all(ask.as_bytes())).await.is_ok_and(|written| written.is_ok())
        {
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fill).await.expect("full buffers");
    let served = tokio::time::timeout(Duration::from_secs(5), api.get("/livez")).await.expect("a turn");
    assert_eq!(served.status, 200);
    drop(deaf);
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_cuts_those_that_do_not() {
    let api = Api::with(Limits { stop_time: SOON, ..Limits::default() }).await;
    let address = api.address();
    let idle = api.get("/livez").await;
    assert_eq!(idle.status, 200);
    api.fake.with(|state| state.hangs = true);
    let hanging = tokio::spawn(api.request(Method::GET, "/v1/status").send());
    let mut half = TcpStream::connect(address).await.expect("a connection");
    half.write_all(b"POST /v1/mine HTTP/1.1\r\nHost: localhost\r\n").await.expect("written");
    let started = Instant::now();
    api.handle.stop().await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(hanging.await.expect("no panic").is_err(), "the request was cut off");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
