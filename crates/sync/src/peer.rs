//! The other station, as `sync_with` sees it: something that answers requests.

use std::future::Future;

use qfzz_ledger_core::codec::CodecError;
use qfzz_ledger_core::ids::StationId;

use crate::message::{Request, Response};

/// Why a request got no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SessionError {
    /// No answer within 20 s.
    #[error("gave no answer in time")]
    Timeout,
    /// It answered, but a few bytes at a time.
    #[error("answered a few bytes at a time")]
    Dribbled,
    /// It does not speak the protocol, though it says that it is a station of the federation.
    #[error("does not speak this federation's protocol")]
    Unsupported,
    /// The connection closed, or could not be used.
    #[error("is not connected any more")]
    Disconnected,
    /// The answer is over the limit, cut off, or not one.
    #[error("sent an answer that cannot be read")]
    Malformed,
    /// The answer holds something that this version does not know: nobody's fault.
    #[error("sent an answer of a newer version: update qfzz")]
    Newer,
}

impl From<CodecError> for SessionError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::UnknownTag { .. } => Self::Newer,
            CodecError::TooLong { .. } | CodecError::Malformed => Self::Malformed,
        }
    }
}

/// Bytes that a session moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of answers received.
    pub bytes_in: u64,
    /// Bytes of requests sent.
    pub bytes_out: u64,
}

/// A connection to one other station. The caller bounds time and size of every answer.
pub trait PeerSession {
    /// Who the other station is.
    fn peer(&self) -> StationId;

    /// Asks, and waits for the answer. Several requests may be under way at once.
    fn request(&self, request: Request) -> impl Future<Output = Result<Response, SessionError>> + Send;

    /// What this session has moved so far.
    fn traffic(&self) -> Traffic;
}
