//! Streams within a connection, and how many a peer may have and open.
//!
//! libp2p's own Yamux lets a peer fill 1 GiB of a connection's windows, and nothing limits how fast streams are opened: each
//! costs a negotiation, also one for a protocol that nobody speaks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::future::{self, Ready};
use futures::{AsyncRead, AsyncWrite, ready};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use tokio::time::Sleep;

use crate::rate::{Bucket, Rate};

/// Streams of one connection, both ways together, at most: 32 requests each way, and what libp2p's protocols need. A
/// peer that opens more loses the connection.
pub(super) const MAX_STREAMS: usize = 128;

/// Bytes that a peer may send on one connection before we have read them, at most: what Yamux grants so many streams
/// from the start, and as much again for a sync as fills a fast link round the world.
const MAX_UNREAD_BYTES: usize = MAX_STREAMS * yamux::DEFAULT_CREDIT as usize + 8 * 1024 * 1024;

/// Streams that a peer may open on one connection: a sync opens one for each request, on loopback hundreds a second.
const OPENINGS: Rate = Rate::per_second(1_024, 512);

/// How long a connection may take to close in order. A peer that does not read would keep it for ever.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A peer opened streams faster than [`OPENINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("opened more streams than a station has use for")]
pub(super) struct TooManyStreams;

/// Whether a connection ended because its peer opened streams too fast.
pub(super) fn is_too_many_streams(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = cause {
        if error.is::<TooManyStreams>() {
            return true;
        }
        // An I/O error that wraps another does not name it as its source.
        cause = match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    false
}

/// A muxer whose inbound streams are counted, and which is closed in time.
pub(super) struct Metered<M> {
    inner: M,
    opened: Bucket,
    since: Instant,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<M> Metered<M> {
    pub(super) fn new(inner: M) -> Self {
        Self { inner, opened: Bucket::full(OPENINGS, 0), since: Instant::now(), closing: None }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Metered<M>
where
    M::Error: Send + Sync + 'static,
{
    type Substream = M::Substream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<M::Substream>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_inbound(cx)).map_err(io::Error::other)?;
        let now = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        let may_open = self.opened.spend(1, now);
        Poll::Ready(if may_open { Ok(stream) } else { Err(io::Error::other(TooManyStreams)) })
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<M::Substream>> {
        Pin::new(&mut self.inner).poll_outbound(cx).map_err(io::Error::other)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = Pin::new(&mut self.inner).poll_close(cx) {
            return Poll::Ready(closed.map_err(io::Error::other));
        }
        let closing = self.closing.get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE_WITHIN)));
        closing.as_mut().poll(cx).map(Ok)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(cx).map_err(io::Error::other)
    }
}

/// The upgrade to Yamux, within our limits.
#[derive(Clone)]
pub(super) struct Yamux;

impl Yamux {
    fn muxer<C>(socket: C, mode: yamux::Mode) -> Muxer<C>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS).set_max_connection_receive_window(Some(MAX_UNREAD_BYTES));
        Muxer { connection: yamux::Connection::new(socket, config, mode), inbound: VecDeque::new(), waker: None }
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        future::ready(Ok(Self::muxer(socket, yamux::Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        future::ready(Ok(Self::muxer(socket, yamux::Mode::Client)))
    }
}

/// A Yamux connection as libp2p drives it.
pub(super) struct Muxer<C> {
    connection: yamux::Connection<C>,
    /// Streams that came while the connection was driven, and nobody asked for them. Fewer than [`MAX_STREAMS`]:
    /// Yamux counts them.
    inbound: VecDeque<yamux::Stream>,
    waker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, yamux::ConnectionError>> {
        let next = ready!(self.connection.poll_next_inbound(cx));
        Poll::Ready(next.unwrap_or(Err(yamux::ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = yamux::ConnectionError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, Self::Error>> {
        if let Some(stream) = self.inbound.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.poll_next(cx);
        if next.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, Self::Error>> {
        self.connection.poll_new_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connection.poll_close(cx)
    }

    /// Drives the connection; it makes progress only while asked for streams, so those that come are kept.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        let stream = ready!(self.poll_next(cx))?;
        self.inbound.push_back(stream);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        // There may be more, and other streams must have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_through_every_wrapping() {
        let once = io::Error::other(TooManyStreams);
        assert!(is_too_many_streams(&once));
        assert!(is_too_many_streams(&io::Error::other(io::Error::other(once))));
        assert!(!is_too_many_streams(&io::Error::other("another")));
        assert!(!is_too_many_streams(&io::ErrorKind::ConnectionReset.into()));
    }
}
