//! Files that are taken in, and playlists that are filtered.

use serde_json::json;

use super::*;

const SOON: Duration = Duration::from_millis(200);

async fn import(api: &Api, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = api.request(Method::POST, "/v1/chain/import").bearer_auth(TOKEN);
    send(request.header("content-type", kind).body(body)).await
}

/// The lines of an answer.
fn lines(answer: &Answer) -> Vec<Value> {
    answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn a_file_of_any_size_is_handed_on_as_it_comes() {
    let api = Api::start().await;
    // Far above every other body, and of unknown length.
    let chunks = futures::stream::iter((0..640).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024])));
    let answer = import(&api, "application/json", reqwest::Body::wrap_stream(chunks)).await;
    let expected = json!({"format": "chain", "blocks": 1, "records": 40 * 1024 * 1024, "source": "0".repeat(64),
        "metadata_left_out": 0});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(import(&api, "application/octet-stream", "").await.json()["records"], 0);
    let refused = import(&api, "application/x-ndjson", "[]").await;
    assert_eq!(refused.problem(), (415, "unsupported_media_type".to_owned()));
}

#[tokio::test]
async fn a_file_that_stops_coming_is_given_up() {
    let api = Api::with(Limits { body_time: SOON, ..Limits::default() }).await;
    let first = futures::stream::iter([Ok::<_, std::io::Error>("[")]);
    let silent = first.chain(futures::stream::pending());
    let answer = import(&api, "application/json", reqwest::Body::wrap_stream(silent)).await;
    assert_eq!(answer.problem(), (408, "body_too_slow".to_owned()));
}

#[tokio::test]
async fn a_refusal_of_a_file_says_what_is_wrong_with_it() {
    let api = Api::start().await;
    for (error, status, code, told) in [
        (
            PortError::BadImport { reason: "block 3: it is a fake".to_owned() },
            422,
            "bad_import",
            "block 3: it is a fake",
        ),
        (PortError::NotEmpty { reason: "this station is full".to_owned() }, 409, "not_empty", "this station is full"),
        (PortError::NoFederation, 409, "no_federation", "no federation"),
        (PortError::DiskFull, 507, "disk_full", "the disk is full"),
        (PortError::Busy, 503, "busy", "busy"),
    ] {
        api.fake.with(|state| state.fails = Some(error));
        // Larger than what may wait between the two: it is read all the same, so that its sender gets to know.
        let answer = import(&api, "application/json", vec![b' '; 1024 * 1024]).await;
        assert!(answer.text.contains(told), "{}", answer.text);
        assert_eq!(answer.problem(), (status, code.to_owned()));
    }
}

#[tokio::test]
async fn those_contents_come_back_that_reach_the_score() {
    let api = Api::start().await;
    let filter = async |query: &str, lines: &str| {
        let request = api.request(Method::POST, &format!("/v1/trust/filter{query}")).bearer_auth(TOKEN);
        send(request.header("content-type", "application/x-ndjson").body(lines.to_owned())).await
    };
    // The fake's score of a content is its id.
    let playlist: String = (0..200)
        .map(|number| format!("{{\"title\":{number},\"creator_id\":\"m\",\"content_id\":\"0.{number:03}\"}}\n"))
        .collect();
    let passed = filter("?at_least=0.1", &playlist).await;
    let titles: Vec<u64> = lines(&passed).iter().map(|line| line["title"].as_u64().expect("a number")).collect();
    assert_eq!(titles, (100..200).collect::<Vec<_>>());
    assert_eq!(lines(&passed)[0], json!({"content_id": "0.100", "creator_id": "m", "title": 100, "trust_score": 0.1}));
    let exact =
        filter("?at_least=1", "{\"content_id\":\"1\",\"creator_id\":\"m\",\"x\":1.50,\"trust_score\":\"no\"}").await;
    assert_eq!(exact.text, "{\"content_id\":\"1\",\"creator_id\":\"m\",\"trust_score\":1,\"x\":1.50}\n");

    let bad =
        filter("?at_least=0", "\nx\n[]\n{\"content_id\":\"\",\"creator_id\":\"m\"}\n{\"content_id\":1}\n{}\n").await;
    let codes: Vec<_> = lines(&bad).iter().map(|line| (line["line"].clone(), line["code"].clone())).collect();
    let expected = [(2, "not_json"), (3, "not_an_object"), (4, "bad_id"), (5, "wrong_type"), (6, "missing_field")];
    assert_eq!(codes, expected.map(|(line, code)| (json!(line), json!(code))));
    assert_eq!(filter("", "").await.problem(), (400, "missing_parameter".to_owned()));
    assert_eq!(filter("?at_least=1.1", "").await.problem(), (400, "bad_parameter".to_owned()));
    let request = api.request(Method::POST, "/v1/trust/filter?at_least=1");
    assert_eq!(send(request).await.problem(), (401, "missing_token".to_owned()));
}
