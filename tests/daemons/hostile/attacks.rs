//! The attacks: what is sent, how, and how long the node bears with it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::stream::{self, FuturesUnordered, StreamExt};
use futures::{AsyncReadExt, AsyncWriteExt};
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::header::Difficulty;
use qfzz_ledger_core::ids::{BlockHash, Height};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_sync::message::{Request, Response, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::forge::{Federation, noise};
use crate::honest::Took;
use crate::stranger::{Sources, Stranger, accept, knock, secured, select, send_on_a_stream, varint};

/// Frames of each kind.
pub(crate) const FRAMES: u32 = 5_000;

/// Within which an offender must be gone, from its first frame on a connection.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Connections that send the same kind at once.
const AT_ONCE: usize = 8;

/// How frames of one kind are sent.
enum Way {
    /// Each on a TCP connection of its own, before any handshake is complete.
    Knock(fn(u32) -> Vec<u8>),
    /// In place of Yamux, so many a connection.
    Secured(u32, fn(u32) -> Vec<u8>),
    /// Each on a stream of its own, so many a connection.
    Streams(u32, fn(&Federation, u32) -> Vec<u8>),
    /// One after the other on a stream of gossip, so many a connection.
    Gossip(u32, fn(&Federation, u32) -> Vec<u8>),
}

/// So many a connection as it takes until the node cuts it: no single one is anybody's fault.
const UNTIL_CUT: u32 = u32::MAX;

/// So many a connection: the first one is enough, and what follows at once finds a node that is parting.
const FEW: u32 = 25;

fn garbage(n: u32) -> Vec<u8> {
    let mut bytes = noise(n, 100);
    // Not the length of what begins a negotiation.
    bytes[0] = 200;
    bytes
}

fn truncated_noise(n: u32) -> Vec<u8> {
    let mut bytes = select("/noise");
    bytes.extend([0, 200]);
    bytes.extend(noise(n, n as usize % 150));
    bytes
}

fn oversized_negotiation(n: u32) -> Vec<u8> {
    let mut bytes = varint(1 << 40 | u64::from(n));
    bytes.extend(noise(n, 100));
    bytes
}

fn yamux_garbage(n: u32) -> Vec<u8> {
    let mut bytes = select("/yamux/1.0.0");
    bytes.extend(noise(n, 64));
    bytes
}

fn negotiation_junk(_: &Federation, n: u32) -> Vec<u8> {
    let mut bytes = select("/x");
    bytes.truncate(20);
    bytes.extend(varint(u64::from(n) + 16_384));
    bytes.extend(noise(n, 100));
    bytes
}

fn unknown_protocol(_: &Federation, n: u32) -> Vec<u8> {
    select(&format!("/unknown/{n}"))
}

fn on_a_gossip_stream(frame: &[u8]) -> Vec<u8> {
    let mut bytes = select("/meshsub/1.1.0");
    bytes.extend(frame);
    bytes
}

const KINDS: [(&str, Way); 27] = [
    ("garbage before the handshake", Way::Knock(garbage)),
    ("half a handshake message", Way::Knock(truncated_noise)),
    ("negotiation of 1 TiB", Way::Knock(oversized_negotiation)),
    ("garbage for Yamux", Way::Secured(FEW, yamux_garbage)),
    ("stream with junk for negotiation", Way::Streams(UNTIL_CUT, negotiation_junk)),
    ("stream for an unknown protocol", Way::Streams(UNTIL_CUT, unknown_protocol)),
    ("request of 2 GiB", Way::Streams(FEW, Federation::oversized_length)),
    ("empty request", Way::Streams(FEW, Federation::empty_request)),
    ("request cut short", Way::Streams(FEW, Federation::cut_request)),
    ("request of noise", Way::Streams(FEW, Federation::request_of_noise)),
    ("request with trailing bytes", Way::Streams(FEW, Federation::request_with_trailing_bytes)),
    ("request with a wrong tag", Way::Streams(UNTIL_CUT, Federation::request_of_a_wrong_tag)),
    ("request of 2,000 blocks", Way::Streams(FEW, Federation::request_of_too_many)),
    ("request of 1,000,000 hashes", Way::Streams(FEW, Federation::request_of_a_million)),
    ("gossip that is no protobuf", Way::Streams(FEW, |f, n| on_a_gossip_stream(&f.broken_protobuf(n)))),
    ("gossip frame of 10 MB", Way::Streams(FEW, |f, n| on_a_gossip_stream(&f.oversized_gossip(n)))),
    ("gossip over 64 KiB", Way::Gossip(FEW, Federation::gossip_over_the_limit)),
    ("gossip on a foreign topic", Way::Gossip(FEW, Federation::foreign_topic)),
    ("gossip with an author", Way::Gossip(125, Federation::gossip_with_an_author)),
    ("batch of noise", Way::Gossip(FEW, Federation::batch_of_noise)),
    ("batch with a bad signature", Way::Gossip(FEW, Federation::batch_with_a_bad_signature)),
    ("batch of another federation", Way::Gossip(FEW, Federation::batch_of_another_federation)),
    ("batch of 257 records", Way::Gossip(FEW, Federation::batch_of_too_many)),
    ("batch too far ahead", Way::Gossip(UNTIL_CUT, Federation::batch_too_far_ahead)),
    ("announcement without a seal", Way::Gossip(FEW, Federation::announcement_without_a_seal)),
    ("announcement without work", Way::Gossip(FEW, Federation::announcement_without_work)),
    ("announcement of 1,900 batches", Way::Gossip(FEW, Federation::announcement_of_too_many)),
];

/// Floods of what is valid by itself.
const FLOODS: [(&str, Way); 2] = [
    ("orphans", Way::Gossip(UNTIL_CUT, Federation::orphan)),
    ("batches with gaps", Way::Gossip(UNTIL_CUT, Federation::batch_with_a_gap)),
];

/// What attacking with one kind came to.
#[derive(Clone, Copy, Default)]
struct Outcome {
    frames: u32,
    connections: u32,
    /// From the first frame on a connection until the node had cut it.
    longest: Duration,
}

impl Outcome {
    fn add(&mut self, more: Self) {
        self.frames += more.frames;
        self.connections += more.connections;
        self.longest = self.longest.max(more.longest);
    }
}

/// A node under attack.
pub(crate) struct Attack {
    pub(crate) to: SocketAddr,
    pub(crate) federation: Federation,
    pub(crate) sources: Sources,
    /// What the honest stations notice.
    pub(crate) took: Took,
}

impl Attack {
    /// All kinds of malformed frames; returns how many frames there were.
    pub(crate) async fn with_all_kinds(&self) -> u32 {
        let mut frames = 0;
        for (name, way) in &KINDS {
            frames += self.run(name, way).await.frames;
        }
        frames
    }

    pub(crate) async fn with_floods(&self) {
        for (name, way) in &FLOODS {
            self.run(name, way).await;
        }
    }

    async fn run(&self, name: &str, way: &Way) -> Outcome {
        let (begun, before) = (Instant::now(), self.took.count());
        let share = match way {
            Way::Knock(_) => 1,
            Way::Secured(count, _) | Way::Streams(count, _) | Way::Gossip(count, _) => *count,
        };
        let (share, at_once) = if share == UNTIL_CUT { (FRAMES, 1) } else { (share, AT_ONCE) };
        let shares = stream::iter((0..FRAMES).step_by(share as usize)).map(|first| async move {
            match way {
                Way::Knock(frame) => self.knock(&frame(first)).await,
                Way::Secured(_, frame) => self.instead_of_yamux(first..first + share, *frame).await,
                Way::Streams(count, _) | Way::Gossip(count, _) if *count == UNTIL_CUT => {
                    self.until_cut(name, way).await
                }
                Way::Streams(..) | Way::Gossip(..) => self.on_a_connection(name, way, first, share).await,
            }
        });
        let outcomes: Vec<Outcome> = shares.buffer_unordered(at_once).collect().await;
        let mut all = Outcome::default();
        outcomes.into_iter().for_each(|outcome| all.add(outcome));
        let Outcome { frames, connections, longest } = all;
        let p99 = self.took.p99_after(before).unwrap_or_default();
        println!(
            "  {name}: {frames} frames on {connections} connections in {:.1?}, gone after {longest:.1?} at most; honest p99 {p99:.1?}",
            begun.elapsed()
        );
        all
    }

    async fn knock(&self, bytes: &[u8]) -> Outcome {
        let begun = Instant::now();
        let Ok(mut socket) = knock(self.to, self.sources.next()).await else { return Outcome::default() };
        // The node may be quicker to refuse than this is to speak.
        let _ = socket.write_all(bytes).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let ended = timeout(GONE_WITHIN, socket.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the node holds on to a connection that made no sense");
        Outcome { frames: 1, connections: 1, longest: begun.elapsed() }
    }

    async fn instead_of_yamux(&self, numbers: std::ops::Range<u32>, frame: fn(u32) -> Vec<u8>) -> Outcome {
        let mut socket = retried(|| secured(self.to, self.sources.next())).await;
        let begun = Instant::now();
        let frames = numbers.end - numbers.start;
        let bytes: Vec<u8> = numbers.flat_map(frame).collect();
        let _ = socket.write_all(&bytes).await;
        let _ = socket.flush().await;
        let mut answer = Vec::new();
        let ended = timeout(GONE_WITHIN, socket.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the node holds on to a connection that made no sense");
        Outcome { frames, connections: 1, longest: begun.elapsed() }
    }

    async fn stranger(&self) -> Stranger {
        retried(|| Stranger::connect(self.to, self.sources.next())).await
    }

    /// Sends a share of frames at once, and waits to be cut.
    async fn on_a_connection(&self, name: &str, way: &Way, first: u32, share: u32) -> Outcome {
        let mut stranger = self.stranger().await;
        let begun = Instant::now();
        // Held until the connection is gone: dropped, it would take back what was sent.
        let mut held = None;
        let frames = match way {
            Way::Streams(_, frame) => {
                let (to, federation) = (&stranger, &self.federation);
                let sent = stream::iter(first..first + share)
                    .map(|n| async move { send_on_a_stream(to, &frame(federation, n)).await as u32 });
                sent.buffer_unordered(share as usize).fold(0, async |sum, sent| sum + sent).await
            }
            Way::Gossip(_, frame) => {
                let mut bytes = on_a_gossip_stream(&self.federation.subscriptions());
                (first..first + share).for_each(|n| bytes.extend(frame(&self.federation, n)));
                let mut stream = stranger.open().await.expect("just connected");
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                held = Some(stream);
                share
            }
            Way::Knock(_) | Way::Secured(..) => unreachable!("they need no stranger"),
        };
        let longest = gone(&mut stranger, begun, name).await;
        drop(held);
        Outcome { frames, connections: 1, longest }
    }

    /// Sends frames on one connection after the other, on each until it is cut, and all of them at least.
    async fn until_cut(&self, name: &str, way: &Way) -> Outcome {
        let mut all = Outcome::default();
        while all.frames < FRAMES {
            let mut stranger = self.stranger().await;
            let (begun, before) = (Instant::now(), all.frames);
            let mut held = None;
            match way {
                Way::Streams(_, frame) => {
                    let (to, federation) = (&stranger, &self.federation);
                    let numbers = stream::iter(before..).take_while(|_| {
                        let goes_on = to.ended().is_none() && begun.elapsed() < GONE_WITHIN;
                        std::future::ready(goes_on)
                    });
                    let sent = numbers.map(|n| async move { send_on_a_stream(to, &frame(federation, n)).await as u32 });
                    all.frames += sent.buffer_unordered(32).fold(0, async |sum, sent| sum + sent).await;
                }
                Way::Gossip(_, frame) => {
                    let answering = tokio::spawn(answer_unknown(
                        std::mem::replace(&mut stranger.inbound, tokio::sync::mpsc::channel(1).1),
                        self.federation.sync.clone(),
                    ));
                    let mut stream = stranger.open().await.expect("just connected");
                    let mut bytes = on_a_gossip_stream(&self.federation.subscriptions());
                    while stranger.ended().is_none() && begun.elapsed() < GONE_WITHIN {
                        let mut count = 0;
                        while count < 50 {
                            bytes.extend(frame(&self.federation, all.frames + count));
                            count += 1;
                        }
                        let sent = timeout(GONE_WITHIN, async {
                            stream.write_all(&bytes).await?;
                            stream.flush().await
                        });
                        if !matches!(sent.await, Ok(Ok(()))) {
                            break;
                        }
                        all.frames += count;
                        bytes.clear();
                    }
                    held = Some((stream, answering));
                }
                Way::Knock(_) | Way::Secured(..) => unreachable!("they need no stranger"),
            }
            all.connections += 1;
            all.longest = all.longest.max(gone(&mut stranger, begun, name).await);
            if let Some((_, answering)) = held {
                answering.abort();
            }
            assert!(all.frames > before, "{name}: nothing could be sent");
        }
        all
    }
}

/// Waits until the node has cut the connection; returns how long after `begun` that was.
async fn gone(stranger: &mut Stranger, begun: Instant, name: &str) -> Duration {
    let ended = stranger.is_cut_within(GONE_WITHIN.saturating_sub(begun.elapsed())).await;
    ended
        .unwrap_or_else(|| panic!("{name}: the node still bears with it after {:?}", begun.elapsed()))
        .duration_since(begun)
}

/// Tries until it works: what is refused for being one too many works a moment later.
async fn retried<T, F: Future<Output = std::io::Result<T>>>(mut attempt: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(begun.elapsed() < GONE_WITHIN, "the node takes no connection: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads one request on a stream that the node opened, and writes what `answer` makes of it.
async fn answer_one(
    mut stream: yamux::Stream,
    sync: String,
    answer: impl FnOnce(Vec<u8>) -> Vec<u8>,
) -> std::io::Result<yamux::Stream> {
    accept(&mut stream, &[sync]).await?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let mut request = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut request).await?;
    let answer = answer(request);
    stream.write_all(&answer).await?;
    stream.flush().await?;
    Ok(stream)
}

fn framed(answer: &[u8]) -> Vec<u8> {
    let mut bytes = (answer.len() as u32).to_le_bytes().to_vec();
    bytes.extend(answer);
    bytes
}

/// Answers all that the node asks with "unknown".
async fn answer_unknown(mut inbound: tokio::sync::mpsc::Receiver<yamux::Stream>, sync: String) {
    while let Some(stream) = inbound.recv().await {
        let sync = sync.clone();
        tokio::spawn(async move {
            if let Ok(mut stream) = answer_one(stream, sync, |_| framed(&encode::<Response>(&Response::Unknown))).await
            {
                let _ = stream.close().await;
            }
        });
    }
}

/// What a hostile peer answers when the node syncs with it.
type Answer = fn(&Federation, u32, &[u8]) -> Vec<u8>;

/// Peers that answer wrongly, of each kind.
const LIARS: u32 = 50;

const ANSWERS: [(&str, Answer); 6] = [
    ("answers noise", |_, n, _| framed(&[vec![0; 4], noise(n, 300)].concat())),
    ("answers 4 GiB", |_, n, _| [vec![0xff; 4], noise(n, 300)].concat()),
    ("answers nothing at all", |_, _, _| framed(&[])),
    ("answers what was not asked", |_, _, _| framed(&encode::<Response>(&Response::Pending(Vec::new())))),
    ("has headers without seals", |f, n, request| headers(f, n, request, Federation::forged_seal)),
    ("has headers without work", |f, n, request| headers(f, n, request, Federation::forged_work)),
];

/// Claims a better chain, and gives headers for it.
fn headers(
    federation: &Federation,
    n: u32,
    request: &[u8],
    forged: fn(&Federation, u32) -> qfzz_ledger_core::block::SealedHeader,
) -> Vec<u8> {
    let genesis = federation.rules.genesis_hash();
    let answer: Response = match Request::decode(request) {
        Ok(Request::Headers { .. }) => Response::Headers { after: genesis, headers: vec![forged(federation, n)] },
        _ => Response::Status(Status {
            federation: federation.rules.federation(),
            head: BlockHash::from_bytes([n as u8; 32]),
            height: Height::new(1_000),
            work: Difficulty::new(8).expect("in range").work(),
            pending: [0; 32],
            your_log: LogEnd::EMPTY,
            other_run: None,
        }),
    };
    framed(&encode(&answer))
}

impl Attack {
    /// Connects and asks for the node's status, so that the node takes it for a station and syncs with it.
    async fn station(&self) -> Stranger {
        let stranger = self.stranger().await;
        send_on_a_stream(&stranger, &self.federation.request(&encode(&Request::Status { alive: None }))).await;
        stranger
    }

    /// Peers that answer the node's own requests wrongly.
    pub(crate) async fn with_wrong_answers(&self) {
        for (name, answer) in ANSWERS {
            let liars = stream::iter(0..LIARS).map(|n| async move {
                let mut stranger = self.station().await;
                let begun = Instant::now();
                let mut answers = FuturesUnordered::new();
                while stranger.ended().is_none() && begun.elapsed() < GONE_WITHIN {
                    tokio::select! {
                        Some(stream) = stranger.inbound.recv() => {
                            let sync = self.federation.sync.clone();
                            answers.push(answer_one(stream, sync, |request| answer(&self.federation, n, &request)));
                        }
                        // Other streams than for sync are of no interest.
                        Some(_) = answers.next() => {}
                        else => break,
                    }
                }
                gone(&mut stranger, begun, name).await
            });
            let longest = liars.buffer_unordered(3).fold(Duration::ZERO, async |a, b| a.max(b)).await;
            println!("  a peer that {name}: {LIARS} times, gone after {longest:.1?} at most");
        }
    }

    /// As many peers that answer one byte a second as there are syncs at once.
    pub(crate) async fn with_one_byte_a_second(&self) {
        let slow = stream::iter(0..3).map(|_| async move {
            let mut stranger = self.station().await;
            let begun = Instant::now();
            while let Some(stream) = stranger.inbound.recv().await {
                let sync = self.federation.sync.clone();
                tokio::spawn(async move {
                    let answer = answer_one(stream, sync, |_| 1_000_u32.to_le_bytes().to_vec()).await;
                    let Ok(mut stream) = answer else { return };
                    while stream.write_all(&[0]).await.is_ok() && stream.flush().await.is_ok() {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                });
            }
            gone(&mut stranger, begun, "one byte a second").await
        });
        let longest = slow.buffer_unordered(3).fold(Duration::ZERO, async |a, b| a.max(b)).await;
        println!("  peers that answer one byte a second: 3, gone after {longest:.1?} at most");
    }

    /// Keeps `count` TCP connections open on which nothing is said, ten from each address, until `enough`; returns how
    /// many there were, and how long the node bore with one at most.
    pub(crate) async fn with_half_open_connections(
        &self,
        count: u32,
        enough: tokio::sync::watch::Receiver<bool>,
        standing: std::sync::mpsc::Sender<()>,
    ) -> (u32, Duration) {
        let opened = std::sync::atomic::AtomicU32::new(0);
        let slots = stream::iter(0..count).map(|slot| {
            let (enough, opened, standing) = (enough.clone(), &opened, standing.clone());
            async move {
                let from = std::net::Ipv4Addr::new(127, 2, 0, (slot / 10) as u8 + 1);
                let mut longest = Duration::ZERO;
                while !*enough.borrow() {
                    let Ok(mut socket) = knock(self.to, from).await else { continue };
                    let begun = Instant::now();
                    if opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == count {
                        // The test may have failed meanwhile.
                        let _ = standing.send(());
                    }
                    let mut answer = Vec::new();
                    let ended = timeout(GONE_WITHIN, socket.read_to_end(&mut answer)).await;
                    assert!(ended.is_ok(), "the node still bears with a half-open connection");
                    longest = longest.max(begun.elapsed());
                }
                longest
            }
        });
        let longest = slots.buffer_unordered(count as usize).fold(Duration::ZERO, async |a, b| a.max(b)).await;
        (opened.into_inner(), longest)
    }
}
