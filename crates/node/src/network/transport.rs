//! How bytes get to a peer and back: TCP + Noise + Yamux and QUIC, by IP address or DNS name.

use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, dns, noise, quic, tcp};

use super::CONNECT_TIMEOUT;
use super::behaviour::BuildError;
use super::handshakes::Aside;
use super::muxer::{MAX_STREAMS, Metered, Yamux};

/// How long a peer that connects may take for the handshakes: five round trips of the slowest satellite link. What is
/// half open holds one of a few places for that long.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that a peer may send on one QUIC stream before we have read them: an answer of 2 MiB arrives in one go.
const MAX_QUIC_STREAM_BYTES: u32 = 4 * 1024 * 1024;

/// The same for all streams of a QUIC connection together.
const MAX_QUIC_BYTES: u32 = 16 * 1024 * 1024;

/// What a swarm connects with.
pub(super) fn transport(keypair: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, BuildError> {
    let noise = noise::Config::new(keypair).map_err(|source| BuildError::Encryption { source })?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(Yamux)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Metered::new(muxer))));
    let quic = quic::tokio::Transport::new(quic_config(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Metered::new(muxer))));
    let either = tcp.or_transport(quic).map(|either, _| either.into_inner());
    let named = dns::tokio::Transport::system(either).map_err(|source| BuildError::Dns { source })?;
    let dialling = TransportTimeout::with_outgoing_timeout(named, CONNECT_TIMEOUT);
    let timed = TransportTimeout::with_ingoing_timeout(dialling, HANDSHAKE_TIMEOUT).boxed();
    Ok(Aside::new(timed).map_err(|source| BuildError::Thread { source })?.boxed())
}

fn quic_config(keypair: &Keypair) -> quic::Config {
    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = HANDSHAKE_TIMEOUT;
    config.max_concurrent_stream_limit = MAX_STREAMS as u32;
    config.max_stream_data = MAX_QUIC_STREAM_BYTES;
    config.max_connection_data = MAX_QUIC_BYTES;
    config
}
