//! Stations find each other, and find each other again.

use std::time::Instant;

use super::*;

#[tokio::test]
async fn a_station_finds_those_that_its_only_contact_knows() {
    let mut a = Node::start(1).await;
    let b_joins = a.listening.clone();
    let mut b = Node::start_with(2, |config| config.join = vec![b_joins]).await;
    b.connected(a.id()).await;
    let c_joins = b.listening.clone();
    let mut c = Node::start_with(3, |config| config.join = vec![c_joins]).await;
    let started = Instant::now();
    c.subscribed(a.id()).await;
    a.subscribed(c.id()).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn after_a_restart_a_station_finds_its_peers_in_its_address_book() {
    let (mut a, mut b, mut c) = (Node::start(1).await, Node::start(2).await, Node::start(3).await);
    b.handle.dial(a.listening.clone()).await.expect("reachable");
    c.handle.dial(b.listening.clone()).await.expect("reachable");
    // c learns of a only through b.
    c.connected(a.id()).await;
    a.connected(c.id()).await;
    let (a_id, c_id) = (a.id(), c.id());
    let book = c.stop().await;
    a.disconnected(c_id).await;
    b.disconnected(c_id).await;
    b.stop().await;
    let mut c = Node::start_in(book, 3, |_| {}).await;
    c.connected(a_id).await;
    a.connected(c_id).await;
}

#[tokio::test]
async fn a_station_that_comes_back_is_found_by_those_that_stayed() {
    let (mut a, b) = pair().await;
    let (b_id, port) = (b.id(), b.listening.clone());
    let _book = b.stop().await;
    a.disconnected(b_id).await;
    // It has lost its address book, so only the others know where it was.
    let mut b = Node::start_with(2, |config| config.listen = vec![port]).await;
    a.connected(b_id).await;
    b.connected(a.id()).await;
}

#[tokio::test]
async fn what_is_to_be_joined_may_come_later() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let later = address(&format!("/ip4/127.0.0.1/tcp/{port}"));
    let join = later.clone();
    let mut a = Node::start_with(1, |config| config.join = vec![join]).await;
    let b = Node::start_with(2, |config| config.listen = vec![later]).await;
    a.connected(b.id()).await;
}

#[tokio::test]
async fn a_stopped_station_has_left_at_once_and_written_its_book() {
    let (a, mut b) = pair().await;
    let (a_id, stopping) = (a.id(), Instant::now());
    let directory = a.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(2), "{:?}", stopping.elapsed());
    let book = super::super::address_book::load(&directory.path().join("peers.json"), FEDERATION);
    assert_eq!(book.iter().map(|entry| entry.station).collect::<Vec<_>>(), [b.id()]);
    assert_eq!(book[0].addresses[0], b.listening);
    b.disconnected(a_id).await;
}

/// Needs an interface beside loopback that carries multicast, as any machine on a network has.
#[tokio::test]
async fn stations_of_one_local_network_find_each_other_by_mdns() {
    let everywhere = |config: &mut NetworkConfig| {
        (config.mdns, config.listen) = (true, vec![address("/ip4/0.0.0.0/tcp/0")]);
    };
    let mut a = Node::start_with(1, everywhere).await;
    let mut silent = Node::start_with(3, |config| config.listen = vec![address("/ip4/0.0.0.0/tcp/0")]).await;
    let mut b = Node::start_with(2, everywhere).await;
    a.connected(b.id()).await;
    b.connected(a.id()).await;
    let (a_id, b_id) = (a.id(), b.id());
    let is_found = |event: &NetworkEvent| matches!(event, NetworkEvent::Connected { .. });
    assert!(!silent.has(is_found), "who did not turn it on is not found by {a_id} or {b_id}");
}
