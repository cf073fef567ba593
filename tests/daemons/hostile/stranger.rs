//! A peer that speaks the transport and, above it, whatever a test likes.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::upgrade::OutboundConnectionUpgrade;
use libp2p::identity::Keypair;
use libp2p::noise;
use libp2p::tcp::tokio::TcpStream;
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// How long a step of the handshake may take: beyond it the node does not take part.
const STEP: Duration = Duration::from_secs(10);

const HEADER: &str = "/multistream/1.0.0";

/// The addresses from which strangers connect, one after the other: 127.1.0.1 and so on, so that what is limited for one
/// address does not keep the rest of an attack away.
#[derive(Default)]
pub(crate) struct Sources(AtomicU32);

impl Sources {
    pub(crate) fn next(&self) -> Ipv4Addr {
        let number = self.0.fetch_add(1, Ordering::Relaxed) % 500;
        Ipv4Addr::new(127, 1, (number / 250) as u8, (number % 250) as u8 + 1)
    }
}

/// Opens a TCP connection from an address of this machine, and says nothing.
pub(crate) async fn knock(to: SocketAddr, from: Ipv4Addr) -> io::Result<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = timed(socket.connect(to)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What asks for `protocol` at the start of a connection or stream, without waiting for an answer.
pub(crate) fn select(protocol: &str) -> Vec<u8> {
    let mut bytes = line(HEADER);
    bytes.extend(line(protocol));
    bytes
}

fn line(text: &str) -> Vec<u8> {
    let mut bytes = varint(text.len() as u64 + 1);
    bytes.extend(text.as_bytes());
    bytes.push(b'\n');
    bytes
}

/// An unsigned LEB128.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

async fn timed<T>(step: impl Future<Output = T>) -> io::Result<T> {
    timeout(STEP, step).await.map_err(|_| io::ErrorKind::TimedOut.into())
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut length = [0];
    stream.read_exact(&mut length).await?;
    let mut text = vec![0; usize::from(length[0])];
    stream.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// Asks for `protocol` and waits until it is agreed on.
async fn agree(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), protocol: &str) -> io::Result<()> {
    stream.write_all(&select(protocol)).await?;
    stream.flush().await?;
    read_line(stream).await?;
    let answer = read_line(stream).await?;
    if answer == protocol { Ok(()) } else { Err(io::Error::other(answer)) }
}

/// Takes the other side's wish for one of `protocols`; returns which.
pub(crate) async fn accept(stream: &mut yamux::Stream, protocols: &[String]) -> io::Result<String> {
    read_line(stream).await?;
    stream.write_all(&line(HEADER)).await?;
    loop {
        stream.flush().await?;
        let wish = read_line(stream).await?;
        let is_spoken = protocols.contains(&wish);
        stream.write_all(&line(if is_spoken { &wish } else { "na" })).await?;
        if is_spoken {
            stream.flush().await?;
            return Ok(wish);
        }
    }
}

/// A connection to the node as a libp2p peer with a key of its own.
pub(crate) struct Stranger {
    open: mpsc::Sender<oneshot::Sender<yamux::Stream>>,
    /// Streams that the node opened.
    pub(crate) inbound: mpsc::Receiver<yamux::Stream>,
    ended: watch::Receiver<Option<Instant>>,
}

/// Noise over a new TCP connection, before Yamux.
pub(crate) async fn secured(
    to: SocketAddr,
    from: Ipv4Addr,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    let mut socket = TcpStream(knock(to, from).await?);
    timed(agree(&mut socket, "/noise")).await??;
    let config = noise::Config::new(&Keypair::generate_ed25519()).map_err(io::Error::other)?;
    let (_, secured) = timed(config.upgrade_outbound(socket, "/noise")).await?.map_err(io::Error::other)?;
    Ok(secured)
}

impl Stranger {
    /// Connects from `from`, with a new key.
    pub(crate) async fn connect(to: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        let mut secured = secured(to, from).await?;
        timed(agree(&mut secured, "/yamux/1.0.0")).await??;
        let connection = yamux::Connection::new(secured, yamux::Config::default(), yamux::Mode::Client);
        let (open, requests) = mpsc::channel(64);
        let (arrived, inbound) = mpsc::channel(64);
        let (end, ended) = watch::channel(None);
        tokio::spawn(drive(connection, requests, arrived, end));
        Ok(Self { open, inbound, ended })
    }

    /// A new stream, on which nothing was said yet; `None` once the connection has ended.
    pub(crate) async fn open(&self) -> Option<yamux::Stream> {
        let (respond_to, stream) = oneshot::channel();
        self.open.send(respond_to).await.ok()?;
        stream.await.ok()
    }

    /// Whether the connection has ended, and when.
    pub(crate) fn ended(&self) -> Option<Instant> {
        *self.ended.borrow()
    }

    /// Waits until the node has cut the connection, at most `patience`.
    pub(crate) async fn is_cut_within(&mut self, patience: Duration) -> Option<Instant> {
        match timeout(patience, self.ended.wait_for(Option::is_some)).await {
            Ok(ended) => ended.map_or_else(|_| Some(Instant::now()), |ended| *ended),
            Err(_) => None,
        }
    }
}

/// Drives a connection until it ends, or nobody wants it any more.
async fn drive<C: AsyncRead + AsyncWrite + Unpin>(
    mut connection: yamux::Connection<C>,
    mut requests: mpsc::Receiver<oneshot::Sender<yamux::Stream>>,
    arrived: mpsc::Sender<yamux::Stream>,
    end: watch::Sender<Option<Instant>>,
) {
    let mut opening: Option<oneshot::Sender<yamux::Stream>> = None;
    let is_dropped = poll_fn(|cx| {
        loop {
            if opening.is_none() {
                match requests.poll_recv(cx) {
                    Poll::Ready(Some(request)) => opening = Some(request),
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Pending => {}
                }
            }
            if opening.is_some() {
                match connection.poll_new_outbound(cx) {
                    Poll::Ready(Ok(stream)) => {
                        if let Some(request) = opening.take() {
                            // Whoever asked may have given up.
                            let _ = request.send(stream);
                        }
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending => {}
                }
            }
            match connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => drop(arrived.try_send(stream)),
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    end.send_replace(Some(Instant::now()));
    if is_dropped {
        // An error means that it is closed already.
        let _ = timeout(STEP, poll_fn(|cx| connection.poll_close(cx))).await;
    }
}

/// Sends `bytes` on a stream of its own and waits until the node has closed it; returns whether all was handed over.
pub(crate) async fn send_on_a_stream(stranger: &Stranger, bytes: &[u8]) -> bool {
    let Some(mut stream) = stranger.open().await else { return false };
    let is_sent = stream.write_all(bytes).await.is_ok() && stream.close().await.is_ok();
    let mut answer = Vec::new();
    // However it answers, and whether it does: what it does to the connection is what counts.
    let _ = timeout(STEP, stream.read_to_end(&mut answer)).await;
    is_sent
}
