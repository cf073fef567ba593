//! Peers that do not keep to the protocol.

use futures::StreamExt;
use libp2p::request_response::Message;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Swarm, identify};

use super::*;
use crate::network::names::{AGENT, Names, introduce};
use crate::network::session::{self, MAX_GENESIS_BYTES};
use crate::network::{FrameError, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Misconduct, RequestError, behaviour};

/// Ten times what is allowed.
const TOO_MUCH: usize = 10 * MAX_RESPONSE_BYTES;

/// Says that it is a station of our federation, and sends what it likes.
#[derive(NetworkBehaviour)]
struct Rude {
    identify: identify::Behaviour,
    sync: session::Behaviour,
}

fn rude(protocol: libp2p::StreamProtocol) -> Swarm<Rude> {
    let keypair = behaviour::keypair([99; 32]);
    let version = introduce(FEDERATION, &Name::new("Test Federation").expect("a name"));
    let identify = behaviour::identify(&keypair, version, AGENT.to_owned());
    behaviour::swarm(keypair, Rude { identify, sync: session::behaviour(protocol, TOO_MUCH, TOO_MUCH) })
        .expect("a swarm")
}

fn rude_id() -> StationId {
    crate::network::names::station_of(&behaviour::keypair([99; 32]).public().to_peer_id()).expect("Ed25519")
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_and_its_sender_named() {
    let mut node = Node::start(1).await;
    let mut peer = rude(Names::of(FEDERATION).sync);
    peer.dial(node.listening.clone()).expect("an address");
    let failure = async {
        loop {
            match peer.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    peer.behaviour_mut().sync.send_request(&peer_id, Ok(vec![0; MAX_REQUEST_BYTES + 1]));
                }
                SwarmEvent::Behaviour(RudeEvent::Sync(session::Event::OutboundFailure { error, .. })) => {
                    return session::failure(error);
                }
                _ => {}
            }
        }
    };
    let failure = within("a refusal", failure).await;
    assert!(
        matches!(failure, RequestError::Refused | RequestError::Broken { .. } | RequestError::Disconnected),
        "{failure:?}"
    );
    let limit = MAX_REQUEST_BYTES;
    let oversized = FrameError::Oversized { bytes: limit + 1, limit };
    node.expect("blame", |event| {
        matches!(event, NetworkEvent::Misconduct { peer, what: Misconduct::MalformedRequest(error) } if *peer == rude_id() && *error == oversized)
    })
    .await;
    node.disconnected(rude_id()).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_the_peers_fault() {
    let mut node = Node::start(1).await;
    let mut peer = rude(Names::of(FEDERATION).sync);
    peer.dial(node.listening.clone()).expect("an address");
    let driver = tokio::spawn(async move {
        loop {
            let event = peer.select_next_some().await;
            if let SwarmEvent::Behaviour(RudeEvent::Sync(session::Event::Message {
                message: Message::Request { channel, .. },
                ..
            })) = event
            {
                let _ = peer.behaviour_mut().sync.send_response(channel, vec![0; MAX_RESPONSE_BYTES + 1]);
            }
        }
    });
    node.connected(rude_id()).await;
    let outcome = within("an outcome", node.handle.request(rude_id(), b"?".to_vec())).await;
    let limit = MAX_RESPONSE_BYTES;
    let error = RequestError::Malformed { error: FrameError::Oversized { bytes: limit + 1, limit } };
    assert!(error.is_peers_fault());
    assert_eq!(outcome, Err(error));
    driver.abort();
}

#[tokio::test]
async fn a_peer_without_our_protocol_is_told_apart() {
    let mut node = Node::start(1).await;
    let mut peer = rude(libp2p::StreamProtocol::new("/something/else"));
    peer.dial(node.listening.clone()).expect("an address");
    let driver = tokio::spawn(async move {
        loop {
            peer.select_next_some().await;
        }
    });
    node.connected(rude_id()).await;
    let outcome = within("an outcome", node.handle.request(rude_id(), b"?".to_vec())).await;
    assert_eq!(outcome, Err(RequestError::Unsupported));
    driver.abort();
}

#[test]
fn a_genesis_that_peers_would_not_take_is_refused_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config(1, directory.path());
    config.genesis = vec![0; MAX_GENESIS_BYTES + 1];
    let error = start(config).map(drop).expect_err("too large");
    assert!(matches!(error, crate::network::StartError::GenesisTooLarge { .. }));
}
