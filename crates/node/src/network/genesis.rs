//! What a newcomer asks a station with a swarm of its own: the federation's genesis, and to be admitted by an
//! invitation.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::Message;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{self, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, identify, ping};
use qfzz_ledger_core::ids::{FederationId, StationId};

use super::behaviour::{self, BuildError};
use super::handle::RequestError;
use super::names::{AGENT, NEWCOMER, Names, is_dialable, peer_in, station_of};
use super::{root_cause, session};
use crate::invitations::Shown;

/// How long the whole of it may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// What a station answered. Nothing of it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Who answered.
    pub station: StationId,
    /// Where, with its peer id.
    pub address: Multiaddr,
    /// Its answer, at most 64 KiB and 8 bytes: encoded parameters and nonce.
    pub genesis: Vec<u8>,
}

/// Why no genesis was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an address to dial: it needs a host and a TCP or UDP port.
    #[error("cannot dial {address}: give an address such as /ip4/192.0.2.1/tcp/4811")]
    NotDialable {
        /// As given.
        address: Multiaddr,
    },
    /// The swarm could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Nobody answers there.
    #[error("cannot reach {address}: {source}")]
    Unreachable {
        /// As given.
        address: Multiaddr,
        /// What the connection attempt ended with.
        source: io::Error,
    },
    /// Another station answers there than the address names.
    #[error("{found} answers at {address}")]
    WrongStation {
        /// As given.
        address: Multiaddr,
        /// Who answered, as a peer id.
        found: String,
    },
    /// Our own key answers there.
    #[error("{address} is this station's own address")]
    Ourselves {
        /// As given.
        address: Multiaddr,
    },
    /// What answers is not a station of a federation.
    #[error("what answers at {address} is not a station of a federation")]
    NotAStation {
        /// As given.
        address: Multiaddr,
    },
    /// The station did not answer.
    #[error("no answer from {address}: {error}")]
    NoAnswer {
        /// As given.
        address: Multiaddr,
        /// What the request ended with.
        error: RequestError,
    },
    /// 10 s have passed.
    #[error("{address} did not answer in time")]
    Timeout {
        /// As given.
        address: Multiaddr,
    },
}

/// What a newcomer speaks: one question beside the rest.
#[derive(NetworkBehaviour)]
struct Newcomer {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    question: session::Behaviour,
}

/// Asks the station at `address` (with or without its peer id) for its genesis, with a swarm of its own that is gone
/// when this returns: after 10 s at most. `seed` is that of our own key. Needs a tokio runtime.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch_genesis(seed: [u8; 32], address: Multiaddr) -> Result<Fetched, FetchError> {
    let (station, address, genesis) = answer(seed, session::genesis(), Vec::new(), address).await?;
    Ok(Fetched { station, address, genesis })
}

/// Shows the founder at `address`, which ends with its peer id, that we have an invitation to `federation`; returns its
/// answer, at most 16 bytes. Otherwise as [`fetch_genesis`].
///
/// # Errors
/// [`FetchError`].
pub async fn show_invitation(
    seed: [u8; 32],
    federation: FederationId,
    address: Multiaddr,
    shown: &Shown,
) -> Result<Vec<u8>, FetchError> {
    let question = session::invite(Names::of(federation).invite);
    Ok(answer(seed, question, shown.to_bytes().to_vec(), address).await?.2)
}

/// Who answered `request`, where, and what.
async fn answer(
    seed: [u8; 32],
    question: session::Behaviour,
    request: Vec<u8>,
    address: Multiaddr,
) -> Result<(StationId, Multiaddr, Vec<u8>), FetchError> {
    if !is_dialable(&address) {
        return Err(FetchError::NotDialable { address });
    }
    let keypair = behaviour::keypair(seed);
    let newcomer = Newcomer {
        identify: behaviour::identify(&keypair, NEWCOMER.to_owned(), AGENT.to_owned()),
        ping: behaviour::ping(),
        question,
    };
    let mut swarm = behaviour::swarm(keypair, newcomer)?;
    match tokio::time::timeout(FETCH_TIMEOUT, ask(&mut swarm, &address, request)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(FetchError::Timeout { address }),
    }
}

async fn ask(
    swarm: &mut Swarm<Newcomer>,
    given: &Multiaddr,
    request: Vec<u8>,
) -> Result<(StationId, Multiaddr, Vec<u8>), FetchError> {
    let options = match peer_in(given) {
        Some(peer) => DialOpts::peer_id(peer).addresses(vec![given.clone()]).build(),
        None => DialOpts::unknown_peer_id().address(given.clone()).build(),
    };
    swarm.dial(options).map_err(|error| dial_error(given, error))?;
    let mut answering = None;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, endpoint: ConnectedPoint::Dialer { address, .. }, .. } => {
                let Some(station) = station_of(&peer_id) else {
                    return Err(FetchError::NotAStation { address: given.clone() });
                };
                let address = match peer_in(&address) {
                    Some(_) => address,
                    None => address.with(Protocol::P2p(peer_id)),
                };
                answering = Some((station, address));
                swarm.behaviour_mut().question.send_request(&peer_id, Ok(request.clone()));
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(dial_error(given, error)),
            SwarmEvent::Behaviour(NewcomerEvent::Question(event)) => match event {
                session::Event::Message { message: Message::Response { response, .. }, .. } => {
                    if let Some((station, address)) = answering {
                        return Ok((station, address, response));
                    }
                }
                session::Event::OutboundFailure { error, .. } => {
                    return Err(match session::failure(error) {
                        RequestError::Unsupported => FetchError::NotAStation { address: given.clone() },
                        error => FetchError::NoAnswer { address: given.clone(), error },
                    });
                }
                session::Event::Message { message: Message::Request { .. }, .. }
                | session::Event::InboundFailure { .. }
                | session::Event::ResponseSent { .. } => {}
            },
            // Nothing else says anything about the answer.
            _ => {}
        }
    }
}

fn dial_error(given: &Multiaddr, error: swarm::DialError) -> FetchError {
    let address = given.clone();
    match error {
        swarm::DialError::LocalPeerId { .. } => FetchError::Ourselves { address },
        swarm::DialError::WrongPeerId { obtained, .. } => {
            FetchError::WrongStation { address, found: obtained.to_string() }
        }
        swarm::DialError::Transport(errors) => match errors.into_iter().next_back() {
            Some((_, libp2p::TransportError::Other(source))) => {
                FetchError::Unreachable { address, source: root_cause(source) }
            }
            Some((_, libp2p::TransportError::MultiaddrNotSupported(_))) | None => FetchError::NotDialable { address },
        },
        swarm::DialError::NoAddresses => FetchError::NotDialable { address },
        error @ (swarm::DialError::Denied { .. }
        | swarm::DialError::Aborted
        | swarm::DialError::DialPeerConditionFalse(_)) => {
            FetchError::Unreachable { address, source: io::Error::other(error) }
        }
    }
}
