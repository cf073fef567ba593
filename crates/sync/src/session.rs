//! `sync_with`: becoming equal to one other station.
//!
//! Status, common ancestor by block locator, headers with seals, bodies in parallel while earlier ones are being
//! connected, then what is missing of the own log, then what is pending. Its cost follows the difference between the two
//! stations. It reads through a view and hands what it fetched to a sink, so it never writes; whatever the peer does
//! costs only this sync, and a peer that gives too little for the time it takes is given up.

use std::collections::{BTreeMap, HashSet};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use futures::stream::{self, StreamExt};
use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::{SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::codec::encoded_len;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::fork_choice::Tip;
use qfzz_ledger_core::header::Work;
use qfzz_ledger_core::ids::{BlockHash, Sequence, StationId};
use qfzz_ledger_core::limits::{MAX_BATCH_BYTES, MAX_PENDING_BYTES};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::state::ConnectError;
use qfzz_ledger_core::time::Timestamp;

use crate::alive::{OtherRun, Statement};
use crate::message::{MAX_LOGS, MAX_RESPONSE_BYTES, Request, Response, Status, max_headers};
use crate::patience::Patience;
use crate::peer::{PeerSession, SessionError};
use crate::plan::{Anchor, CheckedHeaders, HeaderCheck, chunks};
use crate::report::{Fault, SyncReport};

/// Requests for bodies under way at once.
const PARALLEL_REQUESTS: usize = 4;

/// How long a sync has its turn, in milliseconds; after that it gives way where others wait. What it brought stays.
const TURN_MS: i64 = 30_000;

/// Groups of bodies that are being connected or written at once: what is written together costs less.
const PARALLEL_CONNECTIONS: usize = 8;

/// How long to wait when the peer is busy, in milliseconds.
const BUSY_PAUSE_MS: u64 = 1_000;

/// How often a request is repeated to a busy peer, at most: this ends a sync also where the clock was set back.
const MAX_BUSY: u32 = 120;

/// Headers checked before other tasks of the thread have their turn.
const HEADERS_AT_ONCE: usize = 64;

/// Pages of pending logs that are read from one peer, at most: the introductions of 256,000 stations fill its pool.
const MAX_PAGES: usize = 256;

/// Pages of pending logs of which a peer may give nothing. An honest one may have had them mined meanwhile.
const MAX_WITHHELD: u32 = 3;

/// The station has stopped, or its store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// What this station knows when a sync begins or goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// The head as fork choice sees it.
    pub tip: Tip,
    /// Hashes of the best chain, newest first, genesis last.
    pub locator: Vec<BlockHash>,
    /// The digest of what is pending.
    pub pending: [u8; 32],
    /// This station, and where its own log ends.
    pub own: (StationId, LogEnd),
}

/// What blocks that were handed over changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Blocks or batches that were new.
    pub count: u64,
    /// Records in them.
    pub records: u64,
    /// Blocks that left the best chain.
    pub reorg_depth: u64,
}

/// What `sync_with` reads of this station.
pub trait SyncView {
    /// The federation's rules.
    fn rules(&self) -> &Arc<Rules>;
    /// The local clock.
    fn now(&self) -> Timestamp;
    /// Processor time that this station's process has used so far, on all cores, in milliseconds.
    fn cpu_ms(&self) -> u64;
    /// Waits, while the peer is busy.
    fn pause(&self, millis: u64) -> impl Future<Output = ()> + Send;
    /// What this station says of the daemon that syncs; none where it does not sign.
    fn alive(&self) -> impl Future<Output = Result<Option<Statement>, Stopped>> + Send;
    /// Whether a sync that has taken long should end here, because others wait for their turn.
    fn must_give_way(&self) -> impl Future<Output = Result<bool, Stopped>> + Send;
    /// Where this station is.
    fn here(&self) -> impl Future<Output = Result<Here, Stopped>> + Send;
    /// What is known of a block; `None` if it is not known.
    fn anchor(&self, hash: BlockHash) -> impl Future<Output = Result<Option<Anchor>, Stopped>> + Send;
    /// Those of `hashes` whose bodies are not known, in order.
    fn unknown(&self, hashes: Vec<BlockHash>) -> impl Future<Output = Result<Vec<BlockHash>, Stopped>> + Send;
    /// Where these stations' logs end here, with what is pending; in order. `None` of a station that is not admitted:
    /// nothing of it is taken in.
    fn log_ends(&self, stations: Vec<StationId>) -> impl Future<Output = Result<Vec<Option<LogEnd>>, Stopped>> + Send;
    /// Whether a station may produce a block on `parent`; true where the state after that is not known.
    fn may_produce(&self, parent: BlockHash, producer: StationId)
    -> impl Future<Output = Result<bool, Stopped>> + Send;
}

/// Where `sync_with` puts what it fetched.
pub trait SyncSink {
    /// Verifies blocks by themselves, on all cores.
    fn verify(&self, blocks: Vec<SignedBlock>) -> impl Future<Output = Result<Vec<VerifiedBlock>, Fault>> + Send;
    /// Takes in verified blocks, parents first; returns once what they changed is on disk. What was taken in before one
    /// that is refused counts.
    fn blocks(&self, peer: StationId, blocks: Vec<VerifiedBlock>) -> impl Future<Output = Handed> + Send;
    /// Takes in batches that wait for a block; returns once what they changed is on disk. What was taken in before one
    /// that is refused counts.
    fn batches(&self, peer: StationId, batches: Vec<SignedBatch>) -> impl Future<Output = Handed> + Send;
}

/// What came of handing over blocks or batches: what was taken in, and what ended it early.
pub type Handed = (Taken, Result<(), Fault>);

impl From<Stopped> for Fault {
    fn from(_: Stopped) -> Self {
        Self::Here
    }
}

/// Takes over what `peer` has and this station lacks: the better chain, then what is pending.
///
/// Never fails as a whole: what ended it early stands in the report's `fault`.
pub async fn sync_with(peer: &impl PeerSession, view: &impl SyncView, sink: &impl SyncSink) -> SyncReport {
    let (started, cpu_before) = (view.now(), view.cpu_ms());
    let patience = Patience::new(peer.traffic().bytes_in);
    let (round_trips, blocks, batches) = (AtomicU64::new(0), Taken::default(), Taken::default());
    let (your_log, other_run) = (None, None);
    let mut session =
        Session { peer, view, sink, started, patience, round_trips, blocks, batches, your_log, other_run };
    let fault = session.run().await.err();
    let traffic = peer.traffic();
    SyncReport {
        peer: peer.peer(),
        blocks: session.blocks.count,
        batches: session.batches.count,
        records: session.blocks.records + session.batches.records,
        bytes_in: traffic.bytes_in,
        bytes_out: traffic.bytes_out,
        round_trips: session.round_trips.into_inner(),
        reorg_depth: session.blocks.reorg_depth,
        elapsed_ms: u64::try_from(view.now().since(started)).unwrap_or(0),
        your_log: session.your_log,
        other_run: session.other_run,
        cpu_ms: view.cpu_ms().saturating_sub(cpu_before),
        fault,
    }
}

/// One page of a peer's headers.
struct Page {
    /// Those that are due; none if there are none.
    checked: Option<CheckedHeaders>,
    /// The work of the chain up to the last of them.
    work: Work,
    /// Why no page follows; none if one may.
    end: Option<End>,
}

/// Why a page of headers is the last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It ends with the peer's head.
    Head,
    /// What follows cannot be taken in yet.
    NotDue,
}

struct Session<'a, P, V, S> {
    peer: &'a P,
    view: &'a V,
    sink: &'a S,
    started: Timestamp,
    patience: Patience,
    /// Requests that were answered.
    round_trips: AtomicU64,
    blocks: Taken,
    batches: Taken,
    your_log: Option<LogEnd>,
    other_run: Option<OtherRun>,
}

impl<P: PeerSession, V: SyncView, S: SyncSink> Session<'_, P, V, S> {
    async fn run(&mut self) -> Result<(), Fault> {
        let status = self.status().await?;
        let found = status.federation;
        if found != self.view.rules().federation() {
            return Err(Fault::OtherFederation { found });
        }
        if let Some(other) = &status.other_run {
            let own = self.view.here().await?.own.0;
            if !other.statement.is_signed_by(self.view.rules(), &own) {
                return Err(Fault::ForgedStatement);
            }
            self.other_run = Some(other.clone());
        }
        self.your_log = Some(status.your_log);
        let is_short = self.chain(&status).await?;
        let is_own_log_short = self.own_log(&status).await?;
        self.pending(&status).await?;
        if is_short || is_own_log_short { Err(Fault::Withheld) } else { Ok(()) }
    }

    /// Asks, and asks again while the peer is busy.
    async fn ask(&self, request: Request) -> Result<Response, Fault> {
        for _ in 0..MAX_BUSY {
            let asked = self.view.now();
            let answer = self.peer.request(request.clone()).await?;
            self.round_trips.fetch_add(1, Ordering::Relaxed);
            let is_busy = answer == Response::Busy;
            if is_busy {
                self.view.pause(BUSY_PAUSE_MS).await;
            }
            if !self.patience.outlasts(self.view.now().since(asked), self.peer.traffic().bytes_in) {
                return Err(if is_busy { Fault::Busy } else { SessionError::Timeout.into() });
            }
            if self.view.now().since(self.started) >= TURN_MS && self.view.must_give_way().await? {
                return Err(Fault::GaveWay);
            }
            if !is_busy {
                return Ok(answer);
            }
        }
        Err(Fault::Busy)
    }

    async fn status(&self) -> Result<Status, Fault> {
        let alive = self.view.alive().await?;
        match self.ask(Request::Status { alive }).await? {
            Response::Status(status) => Ok(status),
            _ => Err(Fault::NotAsked),
        }
    }

    /// Takes over what the peer knows of this station's own log beyond what stands here, for a backup was restored or
    /// the store was lost, and the chain there may not be better. Whether it gave less than it told of.
    async fn own_log(&mut self, status: &Status) -> Result<bool, Fault> {
        let (own, end) = self.view.here().await?.own;
        if status.your_log.next <= end.next {
            return Ok(false);
        }
        self.fetch_logs(Wanted::from([(own, end.next)])).await?;
        Ok(status.your_log.next > self.view.here().await?.own.1.next)
    }

    /// Takes over the peer's chain where it is better, a page of headers at a time; whether it came to less work than
    /// the peer had claimed.
    async fn chain(&mut self, status: &Status) -> Result<bool, Fault> {
        let mut reached: Option<Tip> = None;
        loop {
            let here = self.view.here().await?;
            let is_known = self.view.anchor(status.head).await?.is_some();
            if is_known || status.work < here.tip.work {
                return Ok(false);
            }
            let Page { checked, work, end } = self.headers(&here, reached.map(|tip| tip.hash)).await?;
            let is_short = end == Some(End::Head) && work < status.work;
            let Some(checked) = checked else { return Ok(is_short) };
            if end.is_some() && !checked.tip.is_better_than(&here.tip) {
                return Ok(is_short);
            }
            // A peer that leads back would be followed without end.
            if reached.is_some_and(|reached| checked.tip.work <= reached.work) {
                return Ok(work < status.work);
            }
            let hashes: Vec<BlockHash> = checked.headers.iter().map(|header| header.hash).collect();
            let unknown: HashSet<BlockHash> = self.view.unknown(hashes).await?.into_iter().collect();
            let wanted: Vec<_> = checked.headers.into_iter().filter(|it| unknown.contains(&it.hash)).collect();
            let (taken, outcome) = self.bodies(chunks(&wanted)).await;
            self.blocks.add(&taken);
            outcome?;
            // Off the best chain only so much is kept: what is forgotten again leads nowhere.
            if end.is_some() || self.view.anchor(checked.tip.hash).await?.is_none() {
                return Ok(is_short);
            }
            reached = Some(checked.tip);
        }
    }

    /// The peer's headers after `reached`, or after the common ancestor, checked.
    async fn headers(&self, here: &Here, reached: Option<BlockHash>) -> Result<Page, Fault> {
        // A branch that is not better yet is on no best chain here; a locator has room for its end.
        let locator: Vec<BlockHash> = reached.into_iter().chain(here.locator.iter().copied()).collect();
        let most = max_headers(self.view.rules().scheme());
        let (after, headers) = match self.ask(Request::Headers { locator: locator.clone() }).await? {
            Response::Headers { after, headers } if headers.len() <= most => (after, headers),
            _ => return Err(Fault::NotAsked),
        };
        if !locator.contains(&after) {
            return Err(Fault::BrokenLink { hash: after });
        }
        let Some(anchor) = self.view.anchor(after).await? else {
            // It was reverted and forgotten here meanwhile.
            return Ok(Page { checked: None, work: Work::ZERO, end: Some(End::NotDue) });
        };
        if let Some(first) = headers.first().filter(|first| first.header.previous == after) {
            let station = first.header.producer;
            if self.view.rules().has_roster() && !self.view.may_produce(after, station).await? {
                let block = first.hash(self.view.rules());
                return Err(Fault::Block(ConnectError::NotAdmitted { block, station }.into()));
            }
        }
        let checked = self.check(&anchor, &headers).await?;
        let count = checked.as_ref().map_or(0, |checked| checked.headers.len());
        let end = if count < headers.len() { Some(End::NotDue) } else { (count < most).then_some(End::Head) };
        let work = checked.as_ref().map_or(anchor.work, |checked| checked.tip.work);
        Ok(Page { checked, work, end })
    }

    /// Checks headers, a few at a time: a whole page is a tenth of a second, and other tasks have this thread, too.
    async fn check(&self, anchor: &Anchor, headers: &[SealedHeader]) -> Result<Option<CheckedHeaders>, Fault> {
        let mut check = HeaderCheck::new(self.view.rules(), anchor, self.view.now());
        for (number, sealed) in (1..).zip(headers) {
            if !check.push(sealed)? {
                break;
            }
            if number % HEADERS_AT_ONCE == 0 {
                yield_now().await;
            }
        }
        Ok(check.finish())
    }

    /// Fetches and verifies bodies ahead while earlier ones are being connected, in order, and those before them
    /// written.
    async fn bodies(&self, chunks: Vec<Vec<BlockHash>>) -> (Taken, Result<(), Fault>) {
        let mut taken = Taken::default();
        let fetched = stream::iter(chunks).map(|hashes| self.body_chunk(hashes)).buffered(PARALLEL_REQUESTS);
        // What is buffered is begun in order, so parents are handed over before their children.
        let connect = |blocks: Result<Vec<VerifiedBlock>, Fault>| async {
            match blocks {
                Ok(blocks) => self.sink.blocks(self.peer.peer(), blocks).await,
                Err(fault) => (Taken::default(), Err(fault)),
            }
        };
        let connected = fetched.map(connect).buffered(PARALLEL_CONNECTIONS);
        futures::pin_mut!(connected);
        while let Some((more, outcome)) = connected.next().await {
            taken.add(&more);
            if outcome.is_err() {
                return (taken, outcome);
            }
        }
        (taken, Ok(()))
    }

    /// The blocks of one chunk: an answer may hold only the first ones, but always one.
    async fn body_chunk(&self, hashes: Vec<BlockHash>) -> Result<Vec<VerifiedBlock>, Fault> {
        let mut verified = Vec::with_capacity(hashes.len());
        while verified.len() < hashes.len() {
            let wanted = &hashes[verified.len()..];
            let blocks = match self.ask(Request::Blocks { hashes: wanted.to_vec() }).await? {
                Response::Blocks(blocks) if blocks.is_empty() => return Err(Fault::Withheld),
                Response::Blocks(blocks) if blocks.len() <= wanted.len() => blocks,
                // A reorganisation there may have dropped them meanwhile.
                Response::Unknown => return Err(Fault::Withheld),
                _ => return Err(Fault::NotAsked),
            };
            let rules = self.view.rules();
            if blocks.iter().zip(wanted).any(|(block, hash)| block.sealed.hash(rules) != *hash) {
                return Err(Fault::NotAsked);
            }
            verified.extend(self.sink.verify(blocks).await?);
        }
        Ok(verified)
    }

    /// Takes over what is pending there: only logs with batches beyond what stands here.
    async fn pending(&mut self, status: &Status) -> Result<(), Fault> {
        if self.view.here().await?.pending == status.pending {
            return Ok(());
        }
        let (mut after, mut withheld, mut bytes) = (None, 0, 0);
        for _ in 0..MAX_PAGES {
            let logs = match self.ask(Request::Pending { after }).await? {
                Response::Pending(logs) if logs.len() <= MAX_LOGS => logs,
                _ => return Err(Fault::NotAsked),
            };
            let is_ascending = logs.is_sorted_by(|a, b| a.0 < b.0);
            if !is_ascending || after.is_some_and(|after| logs.first().is_some_and(|first| first.0 <= after)) {
                return Err(Fault::NotAsked);
            }
            let stations: Vec<StationId> = logs.iter().map(|(station, _)| *station).collect();
            let ends = self.view.log_ends(stations).await?;
            let pairs = logs.iter().zip(&ends);
            let wanted: Wanted =
                pairs.filter_map(|((station, there), here)| wanted(station, there, here.as_ref()?)).collect();
            if !wanted.is_empty() {
                let given = self.fetch_logs(wanted).await?;
                bytes += given;
                withheld += u32::from(given == 0);
            }
            if withheld > MAX_WITHHELD {
                return Err(Fault::Withheld);
            }
            after = logs.last().map(|(station, _)| *station);
            if logs.len() < MAX_LOGS || bytes > MAX_PENDING_BYTES {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Fetches logs from these sequences on, as far as the peer gives them and they are taken in. Returns the bytes of
    /// batches that it gave.
    async fn fetch_logs(&mut self, mut wanted: Wanted) -> Result<usize, Fault> {
        let mut bytes = 0;
        while !wanted.is_empty() {
            let from = wanted.iter().map(|(station, from)| (*station, *from)).collect();
            let batches = match self.ask(Request::Logs { from }).await? {
                Response::Batches(batches) => batches,
                Response::Unknown => break,
                _ => return Err(Fault::NotAsked),
            };
            let is_asked = |batch: &SignedBatch| {
                let (station, sequence) = batch.place();
                wanted.get(&station).is_some_and(|from| sequence >= *from)
            };
            if !batches.iter().all(is_asked) {
                return Err(Fault::NotAsked);
            }
            let given: usize = batches.iter().map(encoded_len).sum();
            bytes += given;
            let (taken, outcome) = self.sink.batches(self.peer.peer(), batches).await;
            self.batches.add(&taken);
            outcome?;
            // Another batch would have fitted: this was all. Nor has an honest pool more than this.
            if given <= MAX_RESPONSE_BYTES - 2 * MAX_BATCH_BYTES as usize || bytes > MAX_PENDING_BYTES {
                break;
            }
            // Only what grew may have more to give; what did not would be asked for again without end.
            let ends = self.view.log_ends(wanted.keys().copied().collect()).await?;
            let ends = wanted.into_iter().zip(ends).filter_map(|(log, end)| Some((log, end?)));
            let grown = ends.filter(|((_, from), end)| end.next > *from);
            wanted = grown.map(|((station, _), end)| (station, end.next)).collect();
        }
        Ok(bytes)
    }
}

/// Logs to fetch, each from a sequence on.
type Wanted = BTreeMap<StationId, Sequence>;

/// From where on a log is wanted that ends `there` and `here`: what goes beyond; where both end alike but with another
/// batch, that one, for its author signed the place twice.
fn wanted(station: &StationId, there: &LogEnd, here: &LogEnd) -> Option<(StationId, Sequence)> {
    if there.next > here.next {
        return Some((*station, here.next));
    }
    let last = here.next.previous().filter(|_| there.next == here.next && there.last != here.last)?;
    Some((*station, last))
}

/// Lets other tasks of this thread run.
async fn yield_now() {
    let mut has_yielded = false;
    let once = poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    });
    once.await;
}

impl Taken {
    fn add(&mut self, more: &Self) {
        self.count += more.count;
        self.records += more.records;
        self.reorg_depth = self.reorg_depth.max(more.reorg_depth);
    }
}
