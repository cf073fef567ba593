//! Server-sent events.

use futures::Stream;
use qfzz_sync::report::Fault;

use super::*;
use crate::events::Event;

/// Reads a stream of events one by one.
struct Reader {
    chunks: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<Vec<u8>>> + Send>>,
    text: String,
}

impl Reader {
    async fn open(api: &Api) -> Self {
        Self::read(api.request(Method::GET, "/v1/events")).await
    }

    async fn read(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let chunks = Box::pin(response.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec())));
        let mut reader = Self { chunks, text: String::new() };
        assert_eq!(reader.next().await.as_deref(), Some("retry: 2000\n: listening"));
        reader
    }

    /// The next piece; `None` when the stream ended as it should. Fails after 10 s.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((piece, rest)) = self.text.split_once("\n\n") {
                let (piece, rest) = (piece.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(piece);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.chunks.next()).await.expect("in time")?;
            self.text.push_str(&String::from_utf8(chunk.expect("no error")).expect("UTF-8"));
        }
    }
}

#[tokio::test]
async fn each_kind_of_event_is_told_with_its_number() {
    let api = Api::start().await;
    let mut reader = Reader::open(&api).await;
    let (station, hash) = (StationId::from_bytes([9; 32]), BlockHash::from_bytes([0xab; 32]));
    let record_id = RecordId { station, sequence: Sequence::new(17), index: 3 };
    let hex = "ab".repeat(32);
    for (number, (event, expected)) in (1..).zip([
        (Event::Block { hash, index: Height::new(5), records: 2 }, format!("event: block\ndata: {{\"hash\":\"{hex}\",\"index\":5,\"records\":2}}")),
        (
            Event::Reorganisation { depth: 2, from: hash, to: BlockHash::ZERO },
            format!("event: reorganisation\ndata: {{\"depth\":2,\"from\":\"{hex}\",\"to\":\"{}\"}}", "0".repeat(64)),
        ),
        (Event::Record { record_id }, format!("event: record\ndata: {{\"record_id\":\"{station}.17.3\"}}")),
        (
            Event::Peer { station, connected: false, reason: None },
            format!("event: peer\ndata: {{\"peer_id\":\"{station}\",\"connected\":false}}"),
        ),
        (
            Event::Peer { station, connected: false, reason: Some("sent \"x\"".to_owned()) },
            format!("event: peer\ndata: {{\"peer_id\":\"{station}\",\"connected\":false,\"reason\":\"sent \\\"x\\\"\"}}"),
        ),
        (
            Event::Sync(Box::new(SyncReport { fault: Some(Fault::Withheld), ..report() })),
            format!("event: sync\ndata: {{\"peer\":\"{station}\",\"blocks\":1,\"batches\":2,\"records\":3,\"bytes_in\":4,\"bytes_out\":5,\"round_trips\":8,\"reorg_depth\":6,\"elapsed_ms\":7,\"cpu_ms\":10,\"fault\":\"does not give what it says it has\"}}"),
        ),
    ]) {
        api.fake.0.events.publish(event);
        assert_eq!(reader.next().await, Some(format!("id: {number}\n{expected}")));
    }
}

#[tokio::test]
async fn a_listener_that_was_too_slow_is_told_what_it_missed() {
    let api = Api::start().await;
    let mut reader = Reader::open(&api).await;
    // The fake keeps 8 events; nothing runs between these.
    for _ in 0..11 {
        api.fake.0.events.publish(Event::Peer {
            station: StationId::from_bytes([9; 32]),
            connected: true,
            reason: None,
        });
    }
    assert_eq!(reader.next().await.as_deref(), Some("event: lagged\ndata: {\"missed\":3}"));
    assert!(reader.next().await.is_some_and(|piece| piece.starts_with("id: 4\n")));
}

#[tokio::test]
async fn one_that_comes_back_is_told_what_it_missed() {
    let api = Api::start().await;
    for _ in 0..11 {
        api.fake.0.events.publish(Event::Peer {
            station: StationId::from_bytes([9; 32]),
            connected: true,
            reason: None,
        });
    }
    let resume = |last: &str| api.request(Method::GET, "/v1/events").header("last-event-id", last);
    let mut reader = Reader::read(resume("10")).await;
    assert!(reader.next().await.is_some_and(|piece| piece.starts_with("id: 11\n")));
    api.fake.0.events.publish(Event::Peer { station: StationId::from_bytes([9; 32]), connected: false, reason: None });
    assert!(reader.next().await.is_some_and(|piece| piece.starts_with("id: 12\n")));

    // The fake keeps 8 events: 5 to 12.
    let mut reader = Reader::read(resume("0")).await;
    assert!(reader.next().await.is_some_and(|piece| piece.starts_with("id: 5\n")));
    let mut reader = Reader::read(resume("2")).await;
    assert_eq!(reader.next().await.as_deref(), Some("event: lagged\ndata: {\"missed\":2}"));
    assert!(reader.next().await.is_some_and(|piece| piece.starts_with("id: 5\n")));
    // 13 was not given out yet, so it is of another start of the station: nobody knows what was missed since.
    let mut reader = Reader::read(resume("13")).await;
    assert_eq!(reader.next().await.as_deref(), Some("event: lagged\ndata: {\"missed\":null}"));
    assert!(reader.next().await.is_some_and(|piece| piece.starts_with("id: 5\n")));
    for wrong in ["", "-1", "five"] {
        let answer = resume(wrong).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn streams_end_at_the_stop_and_the_stop_does_not_wait_for_their_readers() {
    let api = Api::start().await;
    let mut reader = Reader::open(&api).await;
    let started = std::time::Instant::now();
    api.handle.stop().await;
    assert_eq!(reader.next().await, None);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_until_one_closes() {
    let api = Api::with(Limits { streams: 1, ..Limits::default() }).await;
    let reader = Reader::open(&api).await;
    let refused = api.get("/v1/events").await;
    assert_eq!((refused.problem(), refused.header("retry-after")), ((503, "busy".to_owned()), "1"));
    drop(reader);
    let freed =
        async { while api.request(Method::GET, "/v1/events").send().await.expect("an answer").status() != 200 {} };
    tokio::time::timeout(Duration::from_secs(10), freed).await.expect("the place is free again");
}
