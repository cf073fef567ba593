//! Dials, their outcomes, and who is refused.

use super::*;
use crate::network::genesis::{FetchError, fetch_genesis};
use crate::network::{DialError, Direction, StartError};

const OTHER: FederationId = FederationId::from_bytes([0xab; 32]);

async fn of_other_federation(seed: u8) -> Node {
    Node::start_with(seed, |config| {
        config.federation = OTHER;
        config.federation_name = Name::new("Other Radios").expect("a name");
    })
    .await
}

#[tokio::test]
async fn an_address_without_peer_id_is_enough_and_dialling_again_changes_nothing() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    assert_eq!(a.handle.dial(b.listening.clone()).await.expect("reachable"), b.id());
    a.connected(b.id()).await;
    b.connected(a.id()).await;
    assert_eq!(a.handle.dial(b.listening.clone()).await.expect("connected"), b.id());
    assert_eq!(a.handle.dial(b.full_address()).await.expect("connected"), b.id());
    let peers = a.handle.peers().await;
    assert_eq!(peers.len(), 1);
    assert_eq!((peers[0].station, peers[0].direction), (b.id(), Direction::Outbound));
    assert_eq!(peers[0].address, b.listening);
    assert_eq!(b.handle.peers().await[0].direction, Direction::Inbound);
    until("the first ping", async || a.handle.peers().await[0].ping.is_some()).await;
    assert!(!a.has(|event| matches!(event, NetworkEvent::Connected { .. } | NetworkEvent::Disconnected { .. })));
}

#[tokio::test]
async fn who_calls_us_is_no_familiar_station_until_we_find_it_where_the_operator_said_or_know_it_from_before() {
    let (mut a, mut b) = (Node::start(1).await, Node::start(2).await);
    let is_familiar = |event: &NetworkEvent| matches!(event, NetworkEvent::Familiar { .. });
    b.handle.dial(a.listening.clone()).await.expect("reachable");
    b.expect("a, which was asked for", is_familiar).await;
    a.subscribed(b.id()).await;
    assert!(!a.has(is_familiar));
    let (id, full_address) = (b.id(), b.full_address());
    let left = a.stop().await;
    let mut joins = Node::start_with(3, |config| config.join = vec![full_address]).await;
    joins.expect("b, which is to be joined", is_familiar).await;
    let mut a = Node::start_in(left, 1, |_| {}).await;
    let known = a.expect("b, from the address book", is_familiar).await;
    assert!(matches!(known, NetworkEvent::Familiar { peer } if peer == id));
}

#[tokio::test]
async fn who_has_called_us_is_familiar_once_the_operator_asks_for_it() {
    let (mut a, b) = (Node::start(1).await, Node::start(2).await);
    b.handle.dial(a.listening.clone()).await.expect("reachable");
    a.connected(b.id()).await;
    let is_familiar = |event: &NetworkEvent| matches!(event, NetworkEvent::Familiar { .. });
    assert!(!a.has(is_familiar));
    assert_eq!(a.handle.dial(b.full_address()).await.expect("connected"), b.id());
    a.expect("b to be familiar", is_familiar).await;
}

#[tokio::test]
async fn stations_connect_over_quic() {
    let quic = |config: &mut NetworkConfig| config.listen = vec![address("/ip4/127.0.0.1/udp/0/quic-v1")];
    let (mut a, b) = (Node::start_with(1, quic).await, Node::start_with(2, quic).await);
    assert_eq!(a.handle.dial(b.listening.clone()).await.expect("reachable"), b.id());
    a.subscribed(b.id()).await;
}

#[tokio::test]
async fn a_dial_that_leads_nowhere_says_why() {
    let (a, b) = (Node::start(1).await, Node::start(2).await);
    for own in [a.listening.clone(), a.full_address()] {
        assert!(matches!(a.handle.dial(own).await, Err(DialError::Ourselves)));
    }
    for wrong in ["/ip4/0.0.0.0/tcp/4811", "/ip4/127.0.0.1", "/unix/x"] {
        assert!(matches!(a.handle.dial(address(wrong)).await, Err(DialError::NotDialable { .. })), "{wrong}");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let nobody = a.handle.dial(address(&format!("/ip4/127.0.0.1/tcp/{port}"))).await.expect_err("nobody is there");
    assert!(nobody.to_string().contains("refused"), "{nobody}");
    let stranger = StationId::from_bytes([9; 32]);
    let misnamed = b.listening.clone().with(Protocol::P2p(peer_of(stranger)));
    match a.handle.dial(misnamed).await {
        Err(DialError::WrongStation { expected, found }) => {
            assert_eq!((expected, found), (stranger, b.id().to_string()));
        }
        other => panic!("{other:?}"),
    }
    a.handle.stop().await;
    assert!(matches!(a.handle.dial(b.listening.clone()).await, Err(DialError::Stopped)));
}

#[tokio::test]
async fn another_federation_is_refused_by_name_on_both_sides_and_told_once() {
    let (mut ours, mut theirs) = (Node::start(1).await, of_other_federation(2).await);
    for _ in 0..2 {
        match ours.handle.dial(theirs.listening.clone()).await {
            Err(DialError::OtherFederation { station, name, id }) => {
                assert_eq!((station, name.as_str(), id), (theirs.id(), "Other Radios", OTHER));
            }
            other => panic!("{other:?}"),
        }
    }
    let is_foreign = |event: &NetworkEvent| matches!(event, NetworkEvent::OtherFederation { .. });
    match ours.expect("to hear of it", is_foreign).await {
        NetworkEvent::OtherFederation { peer, federation: Some((id, name)) } => {
            assert_eq!((peer, name.as_str(), id), (theirs.id(), "Other Radios", OTHER));
        }
        other => panic!("{other:?}"),
    }
    theirs.expect("to hear of it", is_foreign).await;
    assert!(!ours.has(|event| is_foreign(event) || matches!(event, NetworkEvent::Connected { .. })));
    assert!(ours.handle.peers().await.is_empty());
}

#[tokio::test]
async fn two_stations_that_dial_each_other_at_once_connect() {
    for round in 0..6 {
        let listen = if round % 2 == 0 { "/ip4/127.0.0.1/tcp/0" } else { "/ip4/127.0.0.1/udp/0/quic-v1" };
        let change = |config: &mut NetworkConfig| config.listen = vec![address(listen)];
        let (a, b) = (Node::start_with(1, change).await, Node::start_with(2, change).await);
        let (to_a, to_b) = (a.full_address(), b.full_address());
        let outcome = within("both dials", async { tokio::join!(a.handle.dial(to_b), b.handle.dial(to_a)) }).await;
        assert!(matches!(outcome, (Ok(_), Ok(_))), "round {round}: {outcome:?}");
        assert_eq!((a.handle.peers().await.len(), b.handle.peers().await.len()), (1, 1));
    }
}

#[tokio::test]
async fn a_blocked_station_is_cut_off_both_ways_until_it_is_unblocked() {
    let (mut a, mut b) = pair().await;
    a.handle.block(b.id()).await;
    a.disconnected(b.id()).await;
    b.disconnected(a.id()).await;
    assert!(matches!(a.handle.dial(b.full_address()).await, Err(DialError::Blocked)));
    assert!(matches!(a.handle.dial(b.listening.clone()).await, Err(DialError::Blocked)));
    assert!(b.handle.dial(a.listening.clone()).await.is_err());
    a.handle.unblock(b.id()).await;
    a.subscribed(b.id()).await;
    b.subscribed(a.id()).await;
    assert!(a.has(|event| matches!(event, NetworkEvent::Connected { peer, .. } if *peer == b.id())));
}

#[tokio::test]
async fn a_newcomer_fetches_the_genesis_by_address() {
    let mut node = Node::start(1).await;
    for given in [node.listening.clone(), node.full_address()] {
        let fetched = fetch_genesis([5; 32], given).await.expect("reachable");
        assert_eq!((fetched.station, fetched.address), (node.id(), node.full_address()));
        assert_eq!(fetched.genesis, b"the genesis");
    }
    assert!(node.handle.peers().await.is_empty(), "a newcomer is no peer yet");
    assert!(!node.has(|event| !matches!(event, NetworkEvent::Listening(_))), "nothing to report of a newcomer");
}

#[tokio::test]
async fn a_newcomer_is_told_why_there_is_no_genesis() {
    let node = Node::start(1).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let nobody = fetch_genesis([5; 32], address(&format!("/ip4/127.0.0.1/tcp/{port}"))).await;
    assert!(matches!(nobody, Err(FetchError::Unreachable { .. })));
    let misnamed = node.listening.clone().with(Protocol::P2p(peer_of(StationId::from_bytes([9; 32]))));
    assert!(matches!(fetch_genesis([5; 32], misnamed).await, Err(FetchError::WrongStation { .. })));
    assert!(matches!(fetch_genesis([1; 32], node.listening.clone()).await, Err(FetchError::Ourselves { .. })));
    let unspecified = fetch_genesis([5; 32], address("/ip4/0.0.0.0/tcp/1")).await;
    assert!(matches!(unspecified, Err(FetchError::NotDialable { .. })));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let node = Node::start(1).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut second = config(2, directory.path());
    second.listen = vec![node.listening.clone()];
    match start(second).map(drop) {
        Err(StartError::Listen { address, source }) => {
            assert_eq!((address, source.kind()), (node.listening.clone(), std::io::ErrorKind::AddrInUse));
        }
        other => panic!("{other:?}"),
    }
}
