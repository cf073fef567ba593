//! A connected peer as `sync_with` sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::ids::StationId;
use qfzz_sync::message::{MAX_RESPONSE_BYTES, Request, Response};
use qfzz_sync::peer::{PeerSession, SessionError, Traffic};

use super::local::on_pool;
use super::{Heads, MAX_HEADS, locked};
use crate::network::{FrameError, NetworkHandle, RequestError};
use crate::store::StoreReader;

/// From how many bytes on an answer is decoded by the pool: that is a fifth of a millisecond.
const LONG_BYTES: usize = 64 * 1024;

/// Requests to one peer, counted.
pub(super) struct Session {
    network: NetworkHandle,
    peer: StationId,
    heads: Heads,
    /// What long answers are decoded on.
    decoders: Arc<rayon::ThreadPool>,
    /// Where whole blocks may lie that need not be asked for.
    local: Option<StoreReader>,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Session {
    pub(super) fn new(network: NetworkHandle, peer: StationId, heads: Heads, decoders: Arc<rayon::ThreadPool>) -> Self {
        Self { network, peer, heads, decoders, local: None, bytes_in: AtomicU64::new(0), bytes_out: AtomicU64::new(0) }
    }

    /// Takes blocks that a repair found whole from there, and asks the peer only for others.
    pub(super) fn with_local(self, local: StoreReader) -> Self {
        Self { local: Some(local), ..self }
    }

    /// Decodes an answer; a long one beside what this task has yet to hand over, and beside other long ones.
    async fn decode(&self, answer: Vec<u8>) -> Result<Response, SessionError> {
        if answer.len() < LONG_BYTES {
            return Ok(Response::decode(&answer)?);
        }
        let decoded = on_pool(&self.decoders, move || Response::decode(&answer)).await;
        Ok(decoded.ok_or(SessionError::Disconnected)??)
    }

    /// The first of the blocks asked for, if they are here already.
    fn found_here(&self, request: &Request) -> Option<Response> {
        let Request::Blocks { hashes } = request else { return None };
        let local = self.local.as_ref()?;
        let mut left = MAX_RESPONSE_BYTES;
        let mut blocks = Vec::new();
        for block in hashes.iter().map_while(|hash| local.salvaged(hash)) {
            let Some(rest) = left.checked_sub(block.header().body_bytes as usize) else { break };
            left = rest;
            blocks.push(block.to_signed());
        }
        (!blocks.is_empty()).then_some(Response::Blocks(blocks))
    }
}

impl PeerSession for Session {
    fn peer(&self) -> StationId {
        self.peer
    }

    async fn request(&self, request: Request) -> Result<Response, SessionError> {
        if let Some(found) = self.found_here(&request) {
            return Ok(found);
        }
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
        let response = self.decode(answer).await?;
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
