//! What is published is heard at once by stations that are few, in whichever order they came: nobody waits for gossip's
//! heartbeat of a second.

use std::collections::HashMap;
use std::time::Instant;

use super::*;
use crate::network::{Topic, Verdict};

/// Messages published by turns in a settled federation, each after everybody heard the one before.
const MESSAGES: u32 = 60;

/// The longest that 99 of 100 deliveries may take: half a heartbeat, and many times what an idle machine needs.
const P99: Duration = Duration::from_millis(500);

/// Who heard which message when.
type Heard = (StationId, u32, Instant);

/// A federation whose stations accept everything that they hear.
struct Federation {
    nodes: Vec<NetworkHandle>,
    directories: Vec<TempDir>,
    heard: mpsc::UnboundedReceiver<Heard>,
    tell: mpsc::UnboundedSender<Heard>,
    first: Multiaddr,
    sent: u32,
}

impl Federation {
    /// `count` stations that joined one after the other by the address of the first, all subscribed to each other.
    async fn of(count: u8) -> Self {
        let (tell, heard) = mpsc::unbounded_channel();
        let node = Node::start(1).await;
        let first = node.listening.clone();
        let mut nodes = vec![node];
        for seed in 2..=count {
            nodes.push(Node::start_with(seed, |config| config.join = vec![first.clone()]).await);
        }
        let ids: Vec<StationId> = nodes.iter().map(Node::id).collect();
        for node in &mut nodes {
            let own = node.id();
            for other in ids.iter().filter(|id| **id != own) {
                node.subscribed(*other).await;
            }
        }
        let mut federation = Self { nodes: Vec::new(), directories: Vec::new(), heard, tell, first, sent: 0 };
        nodes.into_iter().for_each(|node| federation.take_in(node));
        federation
    }

    fn take_in(&mut self, node: Node) {
        let Node { handle, mut events, directory, .. } = node;
        let (tell, listener) = (self.tell.clone(), handle.clone());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let NetworkEvent::Gossip { message, data, .. } = event {
                    let number = data.first_chunk().map(|number| u32::from_le_bytes(*number));
                    // The test may have ended.
                    let _ = tell.send((listener.station(), number.expect("a number"), Instant::now()));
                    listener.verdict(message, Verdict::Accept).await;
                }
            }
        });
        self.nodes.push(handle);
        self.directories.push(directory);
    }

    /// Publishes one message of 400 bytes from the station `from`; returns how long each other one took to hear it.
    async fn publish(&mut self, from: usize) -> Vec<Duration> {
        self.sent += 1;
        let number = self.sent;
        let mut data = vec![0; 400];
        data[..4].copy_from_slice(&number.to_le_bytes());
        let published = Instant::now();
        self.nodes[from].publish(Topic::Batches, data).await.expect("running");
        let mut took = HashMap::new();
        while took.len() < self.nodes.len() - 1 {
            let (who, which, when) = within("everybody to hear it", self.heard.recv()).await.expect("they listen");
            if which == number {
                took.insert(who, when.saturating_duration_since(published));
            }
        }
        took.into_values().collect()
    }

    /// One more station comes, and the first one publishes as soon as it knows that it is subscribed.
    async fn grow(&mut self, seed: u8) -> Vec<Duration> {
        let first = self.first.clone();
        let mut node = Node::start_with(seed, |config| config.join = vec![first]).await;
        node.subscribed(self.nodes[0].station()).await;
        // The other direction follows within the same round trip.
        let (newcomer, handle) = (node.id(), self.nodes[0].clone());
        until("the first station knows it", async || handle.peers().await.iter().any(|it| it.station == newcomer))
            .await;
        self.take_in(node);
        self.publish_until_heard(newcomer).await
    }

    /// Publishes from the first station until `newcomer` hears a message: its subscription may be on its way.
    async fn publish_until_heard(&mut self, newcomer: StationId) -> Vec<Duration> {
        let begun = Instant::now();
        loop {
            self.sent += 1;
            let number = self.sent;
            let published = Instant::now();
            self.nodes[0].publish(Topic::Batches, number.to_le_bytes().to_vec()).await.expect("running");
            let mut took = Vec::new();
            while let Ok(heard) = tokio::time::timeout(Duration::from_millis(20), self.heard.recv()).await {
                let (who, which, when) = heard.expect("they listen");
                if which == number {
                    took.push(when.saturating_duration_since(published));
                }
                if who == newcomer {
                    return vec![begun.elapsed()].into_iter().chain(took).collect();
                }
            }
            assert!(begun.elapsed() < DEADLINE, "the newcomer hears nothing");
        }
    }

    /// The last station leaves, and the first one publishes at once.
    async fn shrink(&mut self) -> Vec<Duration> {
        let leaving = self.nodes.pop().expect("there are several");
        leaving.stop().await;
        self.publish(0).await
    }
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!("{what}: {} deliveries, p50 {:?}, p99 {:?}, longest {:?}", took.len(), at(50), at(99), at(100));
    assert!(at(99) < P99, "{what}: {:?}", at(99));
}

async fn hears_at_once(stations: u8) {
    let mut federation = Federation::of(stations).await;
    let mut took = Vec::new();
    for number in 0..MESSAGES {
        took.extend(federation.publish(number as usize % usize::from(stations)).await);
    }
    assert_eq!(took.len(), MESSAGES as usize * usize::from(stations - 1), "nothing is lost");
    report(&format!("{stations} stations, publish to received"), took);
    report(&format!("{stations} stations, right after one more subscribed"), federation.grow(200).await);
    if stations > 2 {
        report(&format!("{stations} stations, right after one left"), federation.shrink().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stations_hear_what_is_published_at_once() {
    hears_at_once(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_stations_hear_what_is_published_at_once() {
    hears_at_once(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_stations_hear_what_is_published_at_once() {
    hears_at_once(8).await;
}
