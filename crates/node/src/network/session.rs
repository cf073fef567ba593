//! Requests and answers: length-prefixed frames, bounded on both sides.
//!
//! A stream carries one request and one answer, each a little-endian u32 length and that many bytes. The length is
//! what tells an empty answer from a stream that was closed without one.

use std::io;
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::{self, OutboundFailure, ProtocolSupport};

use super::handle::RequestError;
use super::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, REQUEST_TIMEOUT};
use crate::invitations::Shown;

/// Requests in flight on one connection, both ways together, at most. More inbound ones are closed unanswered.
const MAX_STREAMS: usize = 32;

/// Bytes of the answer of `/qfzz/genesis/1`, at most: encoded parameters and nonce.
pub(super) const MAX_GENESIS_BYTES: usize = qfzz_ledger_core::limits::MAX_PARAMETERS_BYTES + 8;

/// Why what a peer sent is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It announced more than it may send; nothing of it was read.
    #[error("announced {bytes} bytes, but at most {limit} are allowed")]
    Oversized {
        /// Bytes announced.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// It closed the stream within the frame.
    #[error("stopped within the message")]
    Truncated,
    /// It sent on and on, but less than a kilobyte a second.
    #[error("came a few bytes at a time")]
    Dribbled,
}

/// A request as the codec sees it. A bad one must come out as a value, or nobody would hear of it.
pub(super) type RequestFrame = Result<Vec<u8>, FrameError>;

/// Request-response behaviour of either protocol.
pub(super) type Behaviour = request_response::Behaviour<FrameCodec>;

/// Its events.
pub(super) type Event = request_response::Event<RequestFrame, Vec<u8>>;

/// Reads and writes frames up to its limits.
#[derive(Clone, Copy)]
pub(super) struct FrameCodec {
    max_request: usize,
    max_response: usize,
}

/// The federation's protocol for sync.
pub(super) fn sync(protocol: StreamProtocol) -> Behaviour {
    behaviour(protocol, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES)
}

/// `/qfzz/genesis/1`: an empty request.
pub(super) fn genesis() -> Behaviour {
    behaviour(super::names::GENESIS_PROTOCOL, 0, MAX_GENESIS_BYTES)
}

/// Bytes of the answer to that, at most.
const MAX_WELCOME_BYTES: usize = 16;

/// The federation's protocol for newcomers with an invitation.
pub(super) fn invite(protocol: StreamProtocol) -> Behaviour {
    behaviour(protocol, Shown::BYTES, MAX_WELCOME_BYTES)
}

/// A protocol with these limits, in bytes.
pub(super) fn behaviour(protocol: StreamProtocol, max_request: usize, max_response: usize) -> Behaviour {
    let config = request_response::Config::default()
        .with_request_timeout(REQUEST_TIMEOUT)
        .with_max_concurrent_streams(MAX_STREAMS);
    request_response::Behaviour::with_codec(
        FrameCodec { max_request, max_response },
        [(protocol, ProtocolSupport::Full)],
        config,
    )
}

/// How long the pace of a frame does not matter.
const ANY_PACE_FOR: Duration = Duration::from_secs(8);

/// Bytes a second that a frame must come with after that, on average. A link that stands still is no offence, and ends with
/// the request's time; bytes that come one by one hold a stream, and come from a program that means to.
const LEAST_PACE: u64 = 1024;

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// What has come of a frame.
struct Incoming<'a, T> {
    io: &'a mut T,
    begun: Option<Instant>,
    bytes: u64,
}

impl<T: AsyncRead + Unpin + Send> Incoming<'_, T> {
    /// Appends up to `count` bytes to `data`, fewer where the stream ends.
    async fn read(&mut self, count: usize, data: &mut Vec<u8>) -> io::Result<Result<(), FrameError>> {
        let end = data.len() + count;
        let mut chunk = [0; CHUNK];
        while data.len() < end {
            let wanted = CHUNK.min(end - data.len());
            let read = self.io.read(&mut chunk[..wanted]).await?;
            if read == 0 {
                return Ok(Err(FrameError::Truncated));
            }
            // Grows with what arrives, so a length that was only claimed allocates nothing.
            data.extend_from_slice(&chunk[..read]);
            self.bytes += read as u64;
            let begun = *self.begun.get_or_insert_with(Instant::now);
            if is_dribbling(self.bytes, begun.elapsed()) {
                return Ok(Err(FrameError::Dribbled));
            }
        }
        Ok(Ok(()))
    }
}

/// Whether `bytes` within `elapsed` of the first are too few.
fn is_dribbling(bytes: u64, elapsed: Duration) -> bool {
    bytes < elapsed.saturating_sub(ANY_PACE_FOR).as_secs() * LEAST_PACE
}

/// Reads one frame; `Ok(None)` if the stream ends before it begins.
async fn read_frame<T: AsyncRead + Unpin + Send>(io: &mut T, limit: usize) -> io::Result<Option<RequestFrame>> {
    let mut incoming = Incoming { io, begun: None, bytes: 0 };
    let mut prefix = Vec::with_capacity(4);
    if let Err(error) = incoming.read(4, &mut prefix).await? {
        return Ok(if prefix.is_empty() { None } else { Some(Err(error)) });
    }
    let bytes = <[u8; 4]>::try_from(prefix.as_slice()).map_or(usize::MAX, |prefix| u32::from_le_bytes(prefix) as usize);
    if bytes > limit {
        return Ok(Some(Err(FrameError::Oversized { bytes, limit })));
    }
    let mut data = Vec::new();
    let read = incoming.read(bytes, &mut data).await?;
    Ok(Some(read.map(|()| data)))
}

async fn write_frame<T: AsyncWrite + Unpin + Send>(io: &mut T, data: &[u8], limit: usize) -> io::Result<()> {
    let length = u32::try_from(data.len()).ok().filter(|_| data.len() <= limit);
    let Some(length) = length else {
        let error = FrameError::Oversized { bytes: data.len(), limit };
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    };
    io.write_all(&length.to_le_bytes()).await?;
    io.write_all(data).await?;
    io.flush().await
}

impl request_response::Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = RequestFrame;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<RequestFrame>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(read_frame(io, self.max_request).await?.unwrap_or(Err(FrameError::Truncated)))
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        match read_frame(io, self.max_response).await? {
            Some(frame) => frame.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: RequestFrame) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let data = request.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        write_frame(io, &data, self.max_request).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &answer, self.max_response).await
    }
}

/// What a failed request means to its caller.
pub(super) fn failure(error: OutboundFailure) -> RequestError {
    match error {
        OutboundFailure::Timeout => RequestError::Timeout,
        OutboundFailure::DialFailure | OutboundFailure::ConnectionClosed => RequestError::Disconnected,
        OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
        OutboundFailure::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<FrameError>()) {
            Some(frame) => RequestError::Malformed { error: *frame },
            None if error.kind() == io::ErrorKind::UnexpectedEof => RequestError::Refused,
            None => RequestError::Broken { kind: error.kind() },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    async fn read(bytes: &[u8], limit: usize) -> Option<RequestFrame> {
        read_frame(&mut Cursor::new(bytes), limit).await.expect("reading memory cannot fail")
    }

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        for data in [&b""[..], b"x", &[7; 100]] {
            let mut written = Cursor::new(Vec::new());
            write_frame(&mut written, data, 100).await.expect("within the limit");
            assert_eq!(read(written.get_ref(), 100).await, Some(Ok(data.to_vec())));
        }
        let error = write_frame(&mut Cursor::new(Vec::new()), &[0; 101], 100).await.expect_err("over the limit");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_frame_may_come_slowly_but_not_byte_by_byte() {
        let after = Duration::from_secs;
        assert!(!is_dribbling(1, after(8)));
        assert!(is_dribbling(9, after(9)));
        assert!(!is_dribbling(1024, after(9)));
        assert!(is_dribbling(1025, after(10)));
    }

    #[tokio::test]
    async fn what_is_no_frame_is_told_apart() {
        assert_eq!(read(&[], 10).await, None);
        assert_eq!(read(&[1, 0], 10).await, Some(Err(FrameError::Truncated)));
        assert_eq!(read(&[3, 0, 0, 0, 1, 2], 10).await, Some(Err(FrameError::Truncated)));
        assert_eq!(read(&[11, 0, 0, 0], 10).await, Some(Err(FrameError::Oversized { bytes: 11, limit: 10 })));
    }
}
