//! Gossip reaches everyone, waits for verdicts, and never holds up anything else.

use super::*;
use crate::network::{EVENT_CAPACITY, Misconduct, PublishError, Topic, Verdict};
use qfzz_ledger_core::limits::MAX_GOSSIP_BYTES;

#[tokio::test]
async fn two_stations_hear_each_other_on_both_topics() {
    let (mut a, mut b) = pair().await;
    a.handle.publish(Topic::Batches, b"from a".to_vec()).await.expect("running");
    b.handle.publish(Topic::Blocks, b"from b".to_vec()).await.expect("running");
    let wants = |text: &'static [u8], topic| move |event: &NetworkEvent| matches!(event, NetworkEvent::Gossip { data, topic: t, .. } if data == text && *t == topic);
    b.expect("a batch", wants(b"from a", Topic::Batches)).await;
    a.expect("a block", wants(b"from b", Topic::Blocks)).await;
}

#[tokio::test]
async fn only_what_was_accepted_is_forwarded() {
    let (mut a, mut b) = pair().await;
    let mut c = Node::start_with(3, |_| {}).await;
    // A line: a and c hear each other through b alone.
    a.handle.block(c.id()).await;
    c.handle.block(a.id()).await;
    c.handle.dial(b.listening.clone()).await.expect("reachable");
    c.subscribed(b.id()).await;
    b.subscribed(c.id()).await;
    for (data, verdict) in [(b"ignored", Verdict::Ignore), (b"is good", Verdict::Accept)] {
        a.handle.publish(Topic::Blocks, data.to_vec()).await.expect("running");
        let (source, message) = b.hears(data).await;
        assert_eq!(source, a.id());
        b.handle.verdict(message, verdict).await;
    }
    let (source, _) = c.hears(b"is good").await;
    assert_eq!(source, b.id());
    assert!(!c.has(|event| matches!(event, NetworkEvent::Gossip { .. })), "c heard what b did not accept");
    assert!(!a.has(|event| matches!(event, NetworkEvent::Gossip { .. })), "a heard itself");
}

#[tokio::test]
async fn who_sends_a_bad_message_is_not_heard_any_more_and_left() {
    let (a, mut b) = pair().await;
    a.handle.publish(Topic::Blocks, b"bad".to_vec()).await.expect("running");
    let (_, message) = b.hears(b"bad").await;
    b.handle.verdict(message, Verdict::Reject).await;
    a.handle.publish(Topic::Blocks, b"one more".to_vec()).await.expect("running");
    let (left, score) = (a.id(), Misconduct::GossipScore);
    b.expect(
        "to part",
        |event| matches!(event, NetworkEvent::Misconduct { peer, what } if (*peer, *what) == (left, score)),
    )
    .await;
    b.disconnected(left).await;
    assert!(!b.has(|event| matches!(event, NetworkEvent::Gossip { .. })));
}

#[tokio::test]
async fn large_messages_in_a_row_arrive_and_the_stream_lives_on() {
    let (a, mut b) = pair().await;
    for n in 0..40_u8 {
        a.handle.publish(Topic::Batches, vec![n; MAX_GOSSIP_BYTES]).await.expect("not too large");
    }
    for n in 0..40_u8 {
        let (_, message) = b.hears(&vec![n; MAX_GOSSIP_BYTES]).await;
        b.handle.verdict(message, Verdict::Accept).await;
    }
    assert!(!b.has(|event| matches!(event, NetworkEvent::Misconduct { .. })));
}

/// Stations that joined one after the other by the address of the first hear what any of them publishes.
async fn everyone_hears_everyone(stations: u8) {
    let mut nodes = vec![Node::start(1).await];
    for seed in 2..=stations {
        let first = nodes[0].listening.clone();
        nodes.push(Node::start_with(seed, |config| config.join = vec![first]).await);
    }
    let ids: Vec<StationId> = nodes.iter().map(Node::id).collect();
    for node in &mut nodes {
        let own = node.id();
        for other in ids.iter().filter(|id| **id != own) {
            node.subscribed(*other).await;
        }
    }
    for (n, node) in nodes.iter().enumerate() {
        node.handle.publish(Topic::Batches, format!("from {n}").into_bytes()).await.expect("running");
    }
    for (n, node) in nodes.iter_mut().enumerate() {
        for author in (0..usize::from(stations)).filter(|author| *author != n) {
            let (_, message) = node.hears(format!("from {author}").as_bytes()).await;
            node.handle.verdict(message, Verdict::Accept).await;
        }
    }
}

#[tokio::test]
async fn three_stations_hear_each_other() {
    everyone_hears_everyone(3).await;
}

#[tokio::test]
async fn eight_stations_hear_each_other() {
    everyone_hears_everyone(8).await;
}

#[tokio::test]
async fn the_largest_message_arrives_and_a_larger_one_is_not_sent() {
    let (a, mut b) = pair().await;
    let largest = vec![7; MAX_GOSSIP_BYTES];
    a.handle.publish(Topic::Batches, largest.clone()).await.expect("not too large");
    b.hears(&largest).await;
    let outcome = a.handle.publish(Topic::Batches, vec![7; MAX_GOSSIP_BYTES + 1]).await;
    assert_eq!(outcome, Err(PublishError::TooLarge { bytes: MAX_GOSSIP_BYTES + 1 }));
}

#[tokio::test]
async fn publishing_alone_or_twice_is_no_error() {
    let node = Node::start(1).await;
    for _ in 0..2 {
        assert_eq!(node.handle.publish(Topic::Blocks, b"hello?".to_vec()).await, Ok(()));
    }
    node.handle.stop().await;
    assert_eq!(node.handle.publish(Topic::Blocks, b"hello?".to_vec()).await, Err(PublishError::Stopped));
}

#[tokio::test]
async fn a_station_that_does_not_read_loses_gossip_and_nothing_else() {
    let (a, mut b) = pair().await;
    for n in 0..EVENT_CAPACITY + 100 {
        a.handle.publish(Topic::Batches, n.to_le_bytes().to_vec()).await.expect("running");
    }
    until("b leaves out gossip", async || b.handle.dropped_gossip() > 0).await;
    assert_eq!(b.handle.peers().await.len(), 1, "commands are carried out meanwhile");
    let asking = tokio::spawn({
        let (handle, to) = (a.handle.clone(), b.id());
        async move { handle.request(to, b"a question".to_vec()).await }
    });
    let request = b.expect("a request", |event| matches!(event, NetworkEvent::Request { .. })).await;
    if let NetworkEvent::Request { respond, .. } = request {
        respond.send(b"an answer".to_vec());
    }
    assert_eq!(within("an answer", asking).await.expect("no panic"), Ok(b"an answer".to_vec()));
}
