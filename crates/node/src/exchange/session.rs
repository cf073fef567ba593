//! A connected peer as `sync_with` sees it.

use std::sync::atomic::{AtomicU64, Ordering};

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::ids::StationId;
use qfzz_sync::message::{Request, Response};
use qfzz_sync::peer::{PeerSession, SessionError, Traffic};

use super::{Heads, MAX_HEADS, locked};
use crate::network::{FrameError, NetworkHandle, RequestError};

/// Requests to one peer, counted.
pub(super) struct Session {
    network: NetworkHandle,
    peer: StationId,
    heads: Heads,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Session {
    pub(super) fn new(network: NetworkHandle, peer: StationId, heads: Heads) -> Self {
        Self { network, peer, heads, bytes_in: AtomicU64::new(0), bytes_out: AtomicU64::new(0) }
    }
}

impl PeerSession for Session {
    fn peer(&self) -> StationId {
        self.peer
    }

    async fn request(&self, request: Request) -> Result<Response, SessionError> {
        let data = encode(&request);
        self.bytes_out.fetch_add(data.len() as u64, Ordering::Relaxed);
        let answer = self.network.request(self.peer, data).await.map_err(|error| match error {
            RequestError::Timeout => SessionError::Timeout,
            RequestError::Malformed { error: FrameError::Dribbled } => SessionError::Dribbled,
            RequestError::Malformed { .. } => SessionError::Malformed,
            RequestError::Unsupported => SessionError::Unsupported,
            RequestError::Disconnected
            | RequestError::Refused
            | RequestError::Broken { .. }
            | RequestError::TooLarge { .. }
            | RequestError::Stopped => SessionError::Disconnected,
        })?;
        self.bytes_in.fetch_add(answer.len() as u64, Ordering::Relaxed);
        let response = Response::decode(&answer)?;
        if let Response::Status(status) = &response {
            let mut heads = locked(&self.heads);
            // An answer may come in after its peer has gone.
            if heads.len() < MAX_HEADS || heads.contains_key(&self.peer) {
                heads.insert(self.peer, (status.height, status.head));
            }
        }
        Ok(response)
    }

    fn traffic(&self) -> Traffic {
        let read = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        Traffic { bytes_in: read(&self.bytes_in), bytes_out: read(&self.bytes_out) }
    }
}
