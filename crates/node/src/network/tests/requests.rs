//! Requests and answers between two stations.

use super::*;
use crate::network::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, RequestError, Responder};

/// Sends `data` from `a` to `b`, hands what arrives to `answer`, and returns what `a` got.
async fn ask(
    a: &Node,
    b: &mut Node,
    data: Vec<u8>,
    answer: impl FnOnce(Vec<u8>, Responder),
) -> Result<Vec<u8>, RequestError> {
    let asking = tokio::spawn({
        let (handle, to) = (a.handle.clone(), b.id());
        async move { handle.request(to, data).await }
    });
    match b.expect("a request", |event| matches!(event, NetworkEvent::Request { .. })).await {
        NetworkEvent::Request { peer, data, respond } => {
            assert_eq!(peer, a.id());
            answer(data, respond);
        }
        other => panic!("asked for a request, got {other:?}"),
    }
    within("an outcome", asking).await.expect("no panic")
}

#[tokio::test]
async fn an_answer_comes_back_whatever_its_size() {
    let (a, mut b) = pair().await;
    for (request, answer) in [(0, 0), (1, 10), (MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES)] {
        let outcome = ask(&a, &mut b, vec![1; request], |data, respond| {
            assert_eq!(data, vec![1; request]);
            respond.send(vec![2; answer]);
        });
        assert!(outcome.await == Ok(vec![2; answer]), "{request} bytes, {answer} back");
    }
}

#[tokio::test]
async fn a_request_without_an_answer_is_an_error() {
    let (a, mut b) = pair().await;
    let dropped = ask(&a, &mut b, b"?".to_vec(), |_, respond| drop(respond)).await;
    assert_eq!(dropped, Err(RequestError::Refused));
    let too_large = ask(&a, &mut b, b"?".to_vec(), |_, respond| respond.send(vec![0; MAX_RESPONSE_BYTES + 1])).await;
    assert_eq!(too_large, Err(RequestError::Refused));
    assert!(!RequestError::Refused.is_peers_fault());
}

#[tokio::test]
async fn what_cannot_be_asked_fails_at_once() {
    let (a, b) = pair().await;
    let too_large = a.handle.request(b.id(), vec![0; MAX_REQUEST_BYTES + 1]).await;
    assert_eq!(too_large, Err(RequestError::TooLarge { bytes: MAX_REQUEST_BYTES + 1 }));
    let stranger = StationId::from_bytes([9; 32]);
    assert_eq!(a.handle.request(stranger, vec![]).await, Err(RequestError::Disconnected));
    a.handle.stop().await;
    assert_eq!(a.handle.request(b.id(), vec![]).await, Err(RequestError::Stopped));
}

#[tokio::test]
async fn a_request_ends_with_its_connection() {
    let (a, mut b) = pair().await;
    let asking = tokio::spawn({
        let (handle, to) = (a.handle.clone(), b.id());
        async move { handle.request(to, b"?".to_vec()).await }
    });
    let _unanswered = b.expect("a request", |event| matches!(event, NetworkEvent::Request { .. })).await;
    b.handle.disconnect(a.id(), "a test").await;
    assert_eq!(within("an outcome", asking).await.expect("no panic"), Err(RequestError::Disconnected));
}

#[tokio::test]
async fn an_answer_given_before_the_stop_still_leaves() {
    let (a, mut b) = pair().await;
    let asking = tokio::spawn({
        let (handle, to) = (a.handle.clone(), b.id());
        async move { handle.request(to, b"?".to_vec()).await }
    });
    let request = b.expect("a request", |event| matches!(event, NetworkEvent::Request { .. })).await;
    if let NetworkEvent::Request { respond, .. } = request {
        respond.send(vec![3; 1_000_000]);
    }
    b.handle.stop().await;
    let outcome = within("an outcome", asking).await.expect("no panic");
    assert_eq!(outcome.map(|answer| answer.len()), Ok(1_000_000));
}

/// Answers every request with what was asked, until the network ends.
async fn echo(mut node: Node) {
    while let Some(event) = node.events.recv().await {
        if let NetworkEvent::Request { data, respond, .. } = event {
            respond.send(data);
        }
    }
}

#[tokio::test]
async fn requests_outlive_the_second_of_two_connections() {
    let (a, b) = pair().await;
    let (from_a, from_b) = (a.handle.clone(), b.handle.clone());
    let (here, there) = (a.id(), b.id());
    // Without its peer id an address must be dialled to learn that the station is connected already; the connection
    // that comes of it is closed at once, under whatever the other side has begun on it.
    let address = b.listening.clone();
    tokio::spawn(echo(a));
    tokio::spawn(echo(b));
    for round in 0..40 {
        let asking = async {
            for _ in 0..5 {
                let both =
                    futures::join!(from_a.request(there, b"to b".to_vec()), from_b.request(here, b"to a".to_vec()));
                assert_eq!(both, (Ok(b"to b".to_vec()), Ok(b"to a".to_vec())), "under connection {round}");
            }
        };
        let (dialled, ()) = futures::join!(from_a.dial(address.clone()), asking);
        assert_eq!(dialled.expect("reachable"), there);
    }
}
