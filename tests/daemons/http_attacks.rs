//! What web pages, proxies and scanners on the same machine may send to the API of a real daemon, byte by byte.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use qfzz_tests::harness::{Daemon, Recipe, beside_others};
use serde_json::{Value, json};

/// How long an answer may take to arrive whole.
const PATIENCE: Duration = Duration::from_secs(20);

const RECORD: &str = r#"{"kind":"content_verified","content_id":"a","creator_id":"b"}"#;

/// What must come back.
enum Expected {
    /// This status, and this code of a problem (empty: none, as for a success).
    Problem(u16, &'static str),
    /// A success, whose body holds this.
    Success(u16, &'static str),
    /// Refused before it is HTTP: one of these statuses, or the connection closes without an answer.
    Cut(&'static [u16]),
}
use Expected::{Cut, Problem, Success};

struct Case {
    name: &'static str,
    request: Vec<u8>,
    expected: Expected,
}

/// A request line and headers, closed by an empty line, then a body.
fn raw(line: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{line}\r\n").into_bytes();
    for header in headers.iter().chain(&["Connection: close"]) {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// A read with the right `Host`.
fn get(path: &str, headers: &[&str]) -> Vec<u8> {
    raw(&format!("GET {path} HTTP/1.1"), &[&["Host: localhost"], headers].concat(), b"")
}

/// Sends `request` and reads all that comes back; fails if the connection is still open after [`PATIENCE`].
fn exchange(address: &str, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).expect("the API listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // Who cuts off a request does not read all of it.
    let _ = socket.write_all(request);
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("still open after {PATIENCE:?}"),
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}

fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ").or_else(|| answer.strip_prefix("HTTP/1.0 "))?.get(..3)?.parse().ok()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn head(answer: &str) -> String {
    answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase()
}

impl Case {
    /// What is wrong with the answer, if something is.
    fn check(&self, answer: &str) -> Result<(), String> {
        let found = status(answer);
        let head = head(answer);
        let require = |holds: bool, what: &str| {
            if holds { Ok(()) } else { Err(format!("{}: not {what}: {answer}", self.name)) }
        };
        match self.expected {
            Problem(status, code) => {
                require(found == Some(status), &status.to_string())?;
                let problem: Value = serde_json::from_str(body(answer)).unwrap_or_default();
                require(problem["code"] == code && problem["status"] == status, code)?;
                require(head.contains("content-type: application/problem+json"), "a problem")?;
                require((status == 401) == head.contains("www-authenticate: bearer"), "with WWW-Authenticate as due")?;
                require((status == 405) == head.contains("\r\nallow: "), "with Allow as due")?;
            }
            Success(status, part) => {
                require(found == Some(status), &status.to_string())?;
                require(body(answer).contains(part), part)?;
            }
            Cut(statuses) => {
                let is_cut = answer.is_empty() || found.is_some_and(|found| statuses.contains(&found));
                require(is_cut, "cut off")?;
            }
        }
        require(!head.contains("access-control-") && !head.contains("set-cookie"), "free of leave for pages")
    }
}

/// A write with the token and these headers; without a `Content-Length` among them it gets one.
fn post(token: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let (authorization, length) = (format!("Authorization: Bearer {token}"), format!("Content-Length: {}", body.len()));
    let mut all = vec!["Host: localhost", &authorization];
    all.extend(headers);
    if !headers.iter().any(|header| header.to_lowercase().starts_with("content-length") || header.contains("chunked")) {
        all.push(&length);
    }
    raw(&format!("POST {path} HTTP/1.1"), &all, body)
}

fn hosts_and_origins(token: &str) -> Vec<Case> {
    let with_host = |host: &str| raw("GET /v1/status HTTP/1.1", &[host], b"");
    let from = |headers: &[&str]| post(token, "/v1/records", headers, RECORD.as_bytes());
    let case = |name, request, expected| Case { name, request, expected };
    vec![
        case("foreign Host", with_host("Host: evil.example"), Problem(403, "foreign_host")),
        case("no Host", raw("GET /v1/status HTTP/1.1", &[], b""), Problem(400, "missing_host")),
        case("no Host, HTTP/1.0", raw("GET /v1/status HTTP/1.0", &[], b""), Problem(400, "missing_host")),
        case(
            "two Hosts",
            raw("GET /v1/status HTTP/1.1", &["Host: localhost", "Host: evil.example"], b""),
            Problem(400, "missing_host"),
        ),
        case("empty Host", with_host("Host: "), Problem(403, "foreign_host")),
        case("Host with user", with_host("Host: localhost@evil.example"), Problem(403, "foreign_host")),
        case("Host of DNS rebinding", with_host("Host: 127.0.0.1.nip.io:4810"), Problem(403, "foreign_host")),
        case("Host that begins like ours", with_host("Host: localhost.evil.example"), Problem(403, "foreign_host")),
        case("Host as one number", with_host("Host: 2130706433"), Problem(403, "foreign_host")),
        case("Host with a port that is none", with_host("Host: localhost:99999"), Problem(403, "foreign_host")),
        case("own Host under another port", with_host("Host: 127.0.0.1:1"), Success(200, "station_id")),
        case("own Host of IPv6", with_host("Host: [::1]:4810"), Success(200, "station_id")),
        case(
            "foreign Host, forwarded for ours",
            raw(
                "GET /v1/status HTTP/1.1",
                &["Host: evil.example", "X-Forwarded-Host: localhost", "Forwarded: host=localhost"],
                b"",
            ),
            Problem(403, "foreign_host"),
        ),
        case(
            "absolute form of a foreign host",
            raw("GET http://evil.example/v1/status HTTP/1.1", &["Host: localhost"], b""),
            Problem(403, "foreign_host"),
        ),
        case(
            "absolute form of ours",
            raw("GET http://localhost/v1/status HTTP/1.1", &["Host: localhost"], b""),
            Success(200, "station_id"),
        ),
        case("Origin null on a write", from(&["Origin: null"]), Problem(403, "foreign_origin")),
        case("foreign Origin on a write", from(&["Origin: https://evil.example"]), Problem(403, "foreign_origin")),
        case(
            "own and foreign Origin on a write",
            from(&["Origin: http://localhost", "Origin: https://evil.example"]),
            Problem(403, "foreign_origin"),
        ),
        case(
            "foreign Origin on a read: the page cannot see it",
            get("/v1/status", &["Origin: https://evil.example"]),
            Success(200, "station_id"),
        ),
        case("form: text/plain", from(&["Content-Type: text/plain"]), Problem(415, "unsupported_media_type")),
        case(
            "form: urlencoded",
            from(&["Content-Type: application/x-www-form-urlencoded"]),
            Problem(415, "unsupported_media_type"),
        ),
        case(
            "form: multipart",
            from(&["Content-Type: multipart/form-data; boundary=x"]),
            Problem(415, "unsupported_media_type"),
        ),
    ]
}

fn tokens(token: &str) -> Vec<Case> {
    let body = RECORD.as_bytes();
    let length = format!("Content-Length: {}", body.len());
    let with = |path: &str, authorization: &[&str]| {
        raw(&format!("POST {path} HTTP/1.1"), &[&["Host: localhost", length.as_str()], authorization].concat(), body)
    };
    let bearer = |text: &str| format!("Authorization: Bearer {text}");
    let (half, longer, other) = (bearer(&token[..32]), bearer(&format!("{token}00")), bearer(&"0".repeat(64)));
    let (right, basic) = (bearer(token), format!("Authorization: Basic {token}"));
    let (missing, wrong) = (|| Problem(401, "missing_token"), || Problem(401, "wrong_token"));
    let case = |name, request, expected| Case { name, request, expected };
    vec![
        case("no token", with("/v1/records", &[]), missing()),
        case("another token", with("/v1/records", &[&other]), wrong()),
        case("the beginning of the token", with("/v1/records", &[&half]), wrong()),
        case("the token and more", with("/v1/records", &[&longer]), wrong()),
        case("the token twice", with("/v1/records", &[&right, &right]), missing()),
        case("the token under another scheme", with("/v1/records", &[&basic]), missing()),
        case(
            "the token in the query",
            with(&format!("/v1/records?token={token}&access_token={token}"), &[]),
            missing(),
        ),
        case("the token as a cookie", with("/v1/mine", &[&format!("Cookie: token={token}")]), missing()),
    ]
}

fn paths_and_methods(token: &str) -> Vec<Case> {
    let long = "x".repeat(200);
    let very_long = "x".repeat(20_000);
    let method = |line: &str, headers: &[&str]| raw(line, &[&["Host: localhost"], headers].concat(), b"");
    let case = |name, request, expected| Case { name, request, expected };
    vec![
        case("steps up in a path", get("/docs/../../../../etc/passwd", &[]), Problem(404, "unknown_route")),
        case("encoded steps up", get("/docs/%2e%2e/%2e%2e/etc/passwd", &[]), Problem(404, "unknown_route")),
        case("encoded slashes in an id", get("/v1/records/%2e%2e%2f%2e%2e%2fapi.token", &[]), Problem(422, "bad_id")),
        case("steps up as a user's id are only an id", get("/v1/trust/users/%2e%2e%2fkey", &[]), Success(200, "0.5")),
        case("NUL in an id", get("/v1/trust/users/a%00b", &[]), Problem(422, "bad_id")),
        case("line feed in an id", get("/v1/trust/users/a%0d%0ax-injected:%201", &[]), Problem(422, "bad_id")),
        case("overlong UTF-8 in a path", get("/v1/trust/users/%c0%ae%c0%ae", &[]), Problem(400, "bad_path")),
        case("an id that is too long", get(&format!("/v1/trust/users/{long}"), &[]), Problem(422, "bad_id")),
        case("a path that is far too long", get(&format!("/v1/trust/users/{very_long}"), &[]), Problem(422, "bad_id")),
        case("a query that is not UTF-8", get("/v1/chain/blocks?from=%ff", &[]), Problem(400, "bad_parameter")),
        case(
            "a number beyond any",
            get("/v1/chain/blocks?from=99999999999999999999999", &[]),
            Problem(400, "bad_parameter"),
        ),
        case("a parameter twice", get("/v1/chain/blocks?limit=1&limit=2", &[]), Problem(400, "bad_parameter")),
        case(
            "DELETE without a token",
            method("DELETE /v1/records/x HTTP/1.1", &[]),
            Problem(405, "method_not_allowed"),
        ),
        case(
            "PUT without a token",
            method("PUT /v1/status HTTP/1.1", &["Content-Length: 0"]),
            Problem(405, "method_not_allowed"),
        ),
        case(
            "TRACE, which would echo",
            method("TRACE /v1/status HTTP/1.1", &["X-Secret: 1"]),
            Problem(405, "method_not_allowed"),
        ),
        case("CONNECT to another host", method("CONNECT evil.example:443 HTTP/1.1", &[]), Problem(403, "foreign_host")),
        case("CONNECT to ours", method("CONNECT localhost:443 HTTP/1.1", &[]), Cut(&[400, 404, 405])),
        case("a method that nobody knows", method("BREW /v1/status HTTP/1.1", &[]), Problem(405, "method_not_allowed")),
        case("a method in small letters", method("get /v1/status HTTP/1.1", &[]), Problem(405, "method_not_allowed")),
        case("OPTIONS on everything", method("OPTIONS * HTTP/1.1", &[]), Problem(404, "unknown_route")),
        case(
            "a preflight",
            method(
                "OPTIONS /v1/records HTTP/1.1",
                &["Origin: http://localhost:3000", "Access-Control-Request-Method: POST"],
            ),
            Problem(405, "method_not_allowed"),
        ),
        case("HEAD", method("HEAD /v1/status HTTP/1.1", &[]), Success(200, "")),
        case(
            "a read that would be a write by its headers",
            get("/v1/records", &["X-HTTP-Method-Override: POST", "X-Method-Override: POST", "X-HTTP-Method: POST"]),
            Problem(405, "method_not_allowed"),
        ),
        case(
            "a write to a path that does not exist",
            post(token, "/v1/tokens", &[], b"{}"),
            Problem(404, "unknown_route"),
        ),
    ]
}

fn heads(token: &str) -> Vec<Case> {
    let many: Vec<String> = (0..200).map(|number| format!("X-{number}: x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let large = format!("X-Large: {}", "x".repeat(300 * 1024));
    let case = |name, request, expected| Case { name, request, expected };
    vec![
        case("a head of 300 KiB", get("/v1/status", &[&large]), Cut(&[431])),
        case("200 headers", get("/v1/status", &many), Cut(&[431])),
        case("a header without a name", get("/v1/status", &[": x"]), Cut(&[400])),
        case("a space before a header's colon", get("/v1/status", &["X-Space : x"]), Cut(&[400])),
        case("NUL in a header", get("/v1/status", &["X-Nul: a\0b"]), Cut(&[400])),
        case("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), Cut(&[400])),
        case("HTTP/0.9", b"GET /v1/status\r\n\r\n".to_vec(), Cut(&[400])),
        case("HTTP/2 by prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Cut(&[400, 505])),
        case(
            "an upgrade to a websocket",
            raw(
                "GET /v1/events/../status HTTP/1.1",
                &["Host: localhost", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
                b"",
            ),
            Problem(404, "unknown_route"),
        ),
        case(
            "an upgrade of a read",
            get("/v1/status", &["Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]),
            Success(200, "station_id"),
        ),
        case("a part of an answer", get("/v1/status", &["Range: bytes=0-0"]), Success(200, "station_id")),
        case("an event's id that is none", get("/v1/events", &["Last-Event-ID: x"]), Problem(400, "bad_parameter")),
        case(
            "lengths that contradict each other",
            post(token, "/v1/mine", &["Content-Length: 2", "Content-Length: 3"], b"{}"),
            Cut(&[400]),
        ),
        case("a length below 0", post(token, "/v1/mine", &["Content-Length: -1"], b"{}"), Cut(&[400])),
        case("a length with a sign", post(token, "/v1/mine", &["Content-Length: +2"], b"{}"), Cut(&[400])),
        case(
            "a transfer coding that nobody knows",
            post(token, "/v1/mine", &["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
            Cut(&[400, 501]),
        ),
        case(
            "a chunk's size that is none",
            post(token, "/v1/records", &["Transfer-Encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n"),
            Cut(&[400, 408]),
        ),
        case(
            "a chunk's size beyond any",
            post(token, "/v1/records", &["Transfer-Encoding: chunked"], b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
            Cut(&[400, 408, 413]),
        ),
    ]
}

fn bodies(token: &str) -> Vec<Case> {
    let of = |body: &[u8]| post(token, "/v1/records", &["Content-Type: application/json"], body);
    let chunked = |path: &str, size: usize| {
        let mut body = format!("{size:x}\r\n").into_bytes();
        body.extend(vec![b' '; size]);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        post(token, path, &["Transfer-Encoding: chunked"], &body)
    };
    let deep = |open: &str, close: &str| {
        let metadata = format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
        format!(r#"{{"kind":"content_added","content_id":"a","creator_id":"b","metadata":{{"x":{metadata}}}}}"#)
    };
    let number = |text: &str| {
        format!(r#"{{"kind":"content_added","content_id":"a","creator_id":"b","initial_score":{text}}}"#).into_bytes()
    };
    let digits = "9".repeat(10_000);
    let case = |name, request, expected| Case { name, request, expected };
    let too_large = || Problem(413, "body_too_large");
    vec![
        case("256 KiB and one byte", of(&vec![b' '; 256 * 1024 + 1]), too_large()),
        case("256 KiB and one byte, of unknown length", chunked("/v1/records", 256 * 1024 + 1), too_large()),
        case(
            "8 MiB and one byte in bulk",
            post(token, "/v1/records/bulk", &[], &vec![b'\n'; 8 * 1024 * 1024 + 1]),
            too_large(),
        ),
        case(
            "8 MiB and one byte in bulk, of unknown length",
            chunked("/v1/records/bulk", 8 * 1024 * 1024 + 1),
            too_large(),
        ),
        case(
            "a length of 1 TiB, announced",
            post(token, "/v1/records", &["Content-Length: 1099511627776", "Expect: 100-continue"], b""),
            too_large(),
        ),
        case("arrays 20,000 deep", of(deep("[", "]").as_bytes()), Problem(422, "bad_metadata")),
        case("objects 20,000 deep", of(deep("{\"x\":", "}").as_bytes()), Problem(422, "bad_metadata")),
        case("an array that never closes", of(&vec![b'['; 200_000]), Cut(&[400, 422])),
        case(
            "a field twice",
            of(br#"{"kind":"content_verified","content_id":"a","content_id":"c","creator_id":"b"}"#),
            Problem(422, "duplicate_field"),
        ),
        case("a number of 10,000 digits", of(&number(&digits)), Cut(&[422])),
        case("a number with a huge exponent", of(&number("1e999999999")), Problem(422, "out_of_range")),
        case("a number that is none", of(&number("NaN")), Problem(400, "not_json")),
        case(
            "invalid UTF-8",
            of(b"{\"kind\":\"content_verified\",\"content_id\":\"\xff\xfe\",\"creator_id\":\"b\"}"),
            Problem(400, "not_json"),
        ),
        case(
            "half of a surrogate pair",
            of(br#"{"kind":"content_verified","content_id":"\ud800","creator_id":"b"}"#),
            Problem(400, "not_json"),
        ),
        case("a byte order mark", of(&[b"\xef\xbb\xbf", RECORD.as_bytes()].concat()), Problem(400, "not_json")),
        case(
            "a compressed body, which could be a bomb",
            post(token, "/v1/records", &["Content-Encoding: gzip"], b"\x1f\x8b\x08\x00\x00\x00\x00\x00"),
            Problem(415, "unsupported_media_type"),
        ),
        case("two records after each other", of(format!("{RECORD}{RECORD}").as_bytes()), Problem(400, "not_json")),
        case("mining with a body", post(token, "/v1/mine", &[], RECORD.as_bytes()), Problem(422, "unknown_field")),
    ]
}

/// A daemon that logs everything it can.
fn daemon() -> Daemon {
    Recipe::new("attacked").set("log.level", "trace").found("Attacked Radio", &[])
}

#[test]
fn no_attack_of_the_local_web_gets_through_changes_anything_or_sees_the_token() {
    let _turn = beside_others();
    let daemon = daemon();
    let (address, token) =
        (daemon.api().url().trim_start_matches("http://").to_owned(), daemon.api().token().to_owned());
    let mut answers = String::new();
    let (mut count, mut wrong) = (0, Vec::new());
    for cases in [hosts_and_origins, tokens, paths_and_methods, heads, bodies] {
        for case in cases(&token) {
            let answer = exchange(&address, &case.request);
            wrong.extend(case.check(&answer).err());
            answers.push_str(&answer);
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n\n"));
    // Requests that hide another one: whatever becomes of the first, there is no second answer.
    let hidden = "POST /v1/mine HTTP/1.1\r\nHost: localhost\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (name, headers, body) in [
        ("length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 60\r\n", "0\r\n\r\n"),
        ("chunks twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("chunks in disguise", "Transfer-Encoding:\u{b}chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
    ] {
        let request =
            format!("{hidden}Authorization: Bearer {token}\r\nConnection: close\r\n{headers}\r\n{body}{smuggled}");
        let answer = exchange(&address, request.as_bytes());
        assert!(answer.matches("HTTP/1.1 ").count() <= 1 && !answer.contains("smuggled"), "{name}: {answer}");
        answers.push_str(&answer);
        count += 1;
    }
    // Several at once on one connection are answered one by one, in order.
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let closing = String::from_utf8(get("/v1/chain", &[])).expect("text");
    let answer = exchange(&address, format!("{}{}{closing}", one("/livez"), one("/nowhere")).as_bytes());
    let places = ["\"alive\"", "unknown_route", "chain_length"].map(|part| answer.find(part));
    assert!(places.is_sorted() && places[0].is_some() && answer.matches("HTTP/1.1 ").count() == 3, "{answer}");
    count += 1;

    println!("{count} attacks, each refused or without effect");
    assert!(count >= 40);
    assert!(!answers.contains(&token), "an answer holds the token");
    for stream in ["stdout", "stderr"] {
        let said = daemon.said(stream);
        assert!(!said.contains(&token) && !said.contains(&token[..32]), "the token is in the daemon's {stream}");
    }
    assert!(daemon.said("stderr").len() > 1_000, "it logs everything");
    let mode = std::fs::metadata(daemon.data_dir().join("api.token")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // It lives, took nothing in, and still takes what is right.
    let chain = daemon.api().get("/v1/chain");
    assert_eq!((&chain["total_records"], &chain["pending_records"]), (&json!(0), &json!(0)), "{chain}");
    daemon.api().record(&serde_json::from_str(RECORD).expect("a record"));
    assert!(!daemon.said("stderr").contains("panicked"), "{}", daemon.said("stderr"));
}

#[test]
fn who_is_slow_is_cut_off_and_holds_nobody_up() {
    let _turn = beside_others();
    let daemon = daemon();
    let (address, token) =
        (daemon.api().url().trim_start_matches("http://").to_owned(), daemon.api().token().to_owned());
    // A byte a second, as long as it is let: of a head, and of a body.
    let drip = |start: String, limit: Duration| {
        let address = address.clone();
        thread::spawn(move || {
            let mut socket = TcpStream::connect(&address).expect("the API listens");
            socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
            socket.write_all(start.as_bytes()).expect("the first bytes are taken");
            let (started, mut answer) = (Instant::now(), Vec::new());
            loop {
                let mut bytes = [0; 4_096];
                match socket.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(read) => answer.extend_from_slice(&bytes[..read]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                if socket.write_all(b"x").is_err() {
                    break;
                }
                assert!(started.elapsed() < limit, "still open after {limit:?}");
            }
            let _ = socket.shutdown(Shutdown::Both);
            (started.elapsed(), String::from_utf8_lossy(&answer).into_owned())
        })
    };
    let slow_head = drip("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX: ".to_owned(), Duration::from_secs(20));
    let head = format!("POST /v1/records HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
    let slow_body = drip(format!("{head}Content-Length: 1000\r\n\r\n"), Duration::from_secs(50));
    let half_open: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&address).expect("the API listens")).collect();
    // Meanwhile others are served as ever.
    for _ in 0..50 {
        let started = Instant::now();
        assert_eq!(status(&exchange(&address, &get("/v1/status", &[]))), Some(200));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
    drop(half_open);
    let (elapsed, answer) = slow_head.join().expect("it is cut off");
    println!("a slow head was cut off after {elapsed:?}");
    assert!(answer.is_empty() || status(&answer) == Some(408), "{answer}");
    let (elapsed, answer) = slow_body.join().expect("it is cut off");
    println!("a slow body was refused after {elapsed:?}");
    assert_eq!(status(&answer), Some(408), "{answer}");
}
