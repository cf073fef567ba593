//! The worker: the one task that owns the state, and carries out what it decides, in order.
//!
//! Effects after a `Persist` leave when it is on disk, and those that make somebody read the store when every reader
//! sees it. A verdict about what others signed leaves at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::header::BlockHeader;
use qfzz_ledger_core::ids::{BatchId, BlockHash, Sequence, StationId};
use qfzz_ledger_core::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::block_lines::BlockLines;
use super::command::{Answer, COMMAND_CAPACITY, Command, Request, ServiceHandle};
use super::effect::{self, Effect, Input, MessageToken, Reply, Token};
use super::journaling::Asker;
use super::miner::{FOUND_CAPACITY, Miner};
use super::state::State;
use super::writer::{HAS_ENDED, Progress, Writer};
use crate::clock;
use crate::disk_space::Watch;
use crate::events::{Event, Observers};
use crate::network::{MessageRef, Topic, Verdict};
use crate::quantum::QuantumRandomNumberGenerator;
use crate::rate::{Bucket, Rate};
use crate::store::{DiskStore, StoreReader};

/// The shortest time between two ticks: a wish that is overdue must not keep the worker busy.
const MIN_TICK: Duration = Duration::from_millis(2);

/// The longest time between two ticks: what the state wishes for is as far from now after each question.
const MAX_TICK: Duration = Duration::from_secs(1);

/// Gossiped messages whose verdict is owed, at most; the oldest are forgotten, and then not passed on.
const MAX_MESSAGES: usize = 4_096;

/// How often the log tells how syncs end, and of reorganisations: strangers must not fill it.
const TOLD: Rate = Rate::per_minute(200, 60);

/// Orders that may wait for the exchange; the worker waits when there are more.
const ORDER_CAPACITY: usize = 1_024;

/// What the service wants of the network.
#[derive(Debug)]
pub(crate) enum Order {
    PublishBatch(VerifiedBatch),
    PublishBlock(VerifiedBlock),
    Verdict(MessageRef, Verdict),
    Sync(StationId),
    FetchBatches { peer: StationId, block: BlockHash, indexes: Vec<u32>, ids: Vec<BatchId> },
    FetchLog { peer: StationId, station: StationId, from: Sequence },
    Ban { peer: StationId, reason: String, until: Timestamp },
}

/// Something that leaves when what is before it is on disk.
enum Outgoing {
    Effect(Effect),
    Answer { answer: Answer, is_read_up_on: bool },
}

impl Outgoing {
    /// Whether whoever gets it may look in the store for what it speaks of. What this station signed is read from the
    /// pool, too, and a sync reads nothing but the state.
    const fn is_read_up_on(&self) -> bool {
        match self {
            Self::Answer { is_read_up_on, .. } => *is_read_up_on,
            Self::Effect(effect) => !matches!(
                effect,
                Effect::PublishBatch(_)
                    | Effect::Event(effect::Event::Record(_))
                    | Effect::Reply(
                        _,
                        Reply::Submitted(_)
                            | Reply::Taken(..)
                            | Reply::Overloaded
                            | Reply::DiskFull
                            | Reply::NotSigning(_)
                    )
            ),
        }
    }
}

/// A running service, from outside.
pub(crate) struct Service {
    pub(crate) handle: ServiceHandle,
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Holds why the service cannot go on, once that is so.
    pub(crate) failure: watch::Receiver<Option<String>>,
}

struct Worker {
    state: State<StoreReader>,
    commands: mpsc::Receiver<Command>,
    found: mpsc::Receiver<BlockHeader>,
    progress: watch::Receiver<Progress>,
    writer: Writer,
    miner: Miner,
    orders: mpsc::Sender<Order>,
    observers: Observers,
    failure: watch::Sender<Option<String>>,
    /// Each waits until the transition with this number is on disk.
    unsynced: VecDeque<(u64, Outgoing)>,
    /// Each waits until all is on disk up to the first number, and seen by every reader up to the second.
    uncommitted: VecDeque<((u64, u64), Outgoing)>,
    /// The last transition that was handed to the writer.
    persisted: u64,
    /// The last of them that is read from the store: this station's own batches are read from the pool.
    reshaped: u64,
    synced: u64,
    committed: u64,
    replies: HashMap<Token, Asker>,
    messages: HashMap<MessageToken, MessageRef>,
    oldest_message: MessageToken,
    tokens: u64,
    last_tick: Instant,
    /// How often it may yet be told how syncs end, and of reorganisations.
    told: Bucket,
    block_lines: BlockLines,
    /// Takes note that a peer has told of this station's log.
    on_log_known: OnLogKnown,
    disk: Watch,
}

/// Called once when signing was held until a peer had answered, and one has.
pub(crate) type OnLogKnown = Box<dyn Fn() + Send + Sync>;

/// Starts the service on the current tokio runtime.
///
/// # Errors
/// An [`std::io::Error`] where its thread cannot be started.
pub(crate) fn start(
    state: State<StoreReader>,
    store: DiskStore,
    observers: Observers,
    on_log_known: OnLogKnown,
    disk: Watch,
    qrng: Option<QuantumRandomNumberGenerator>,
) -> std::io::Result<Service> {
    let writing = Writer::start(store, Arc::clone(&observers.metrics))?;
    Ok(start_on(writing, state, observers, on_log_known, disk, qrng))
}

/// Starts the service on a writer, and what tells how far that is.
fn start_on(
    (writer, progress): (Writer, watch::Receiver<Progress>),
    state: State<StoreReader>,
    observers: Observers,
    on_log_known: OnLogKnown,
    disk: Watch,
    qrng: Option<QuantumRandomNumberGenerator>,
) -> Service {
    let (commands, queue) = mpsc::channel(COMMAND_CAPACITY);
    let (orders, ordered) = mpsc::channel(ORDER_CAPACITY);
    let (found_sender, found) = mpsc::channel(FOUND_CAPACITY);
    let (failure, failed) = watch::channel(None);
    let miner = Miner::new(state.ledger().rules().federation(), found_sender, qrng);
    let worker = Worker {
        state,
        commands: queue,
        found,
        progress,
        writer,
        miner,
        orders,
        observers,
        failure,
        unsynced: VecDeque::new(),
        uncommitted: VecDeque::new(),
        persisted: 0,
        reshaped: 0,
        synced: 0,
        committed: 0,
        replies: HashMap::new(),
        messages: HashMap::new(),
        oldest_message: 0,
        tokens: 0,
        last_tick: Instant::now(),
        told: Bucket::full(TOLD, clock::now().as_millis()),
        block_lines: BlockLines::new(clock::now().as_millis()),
        on_log_known,
        disk,
    };
    tokio::spawn(worker.run());
    Service { handle: ServiceHandle { commands }, orders: ordered, failure: failed }
}

impl Worker {
    async fn run(mut self) {
        let stopped = loop {
            let wake = self.wake_at();
            tokio::select! {
                biased;
                changed = self.progress.changed() => match changed {
                    Ok(()) => self.on_progress().await,
                    Err(_) => self.fail(HAS_ENDED.to_owned()),
                },
                Some(header) = self.found.recv() => self.input(Input::Mined(header)).await,
                // Before the commands: however many there are, ticks come.
                () = sleep_until(wake) => {
                    self.last_tick = Instant::now();
                    self.input(Input::Tick).await;
                }
                command = self.commands.recv() => match command {
                    Some(Command::Stop { respond_to }) => break Some(respond_to),
                    Some(command) => self.on_command(command).await,
                    None => break None,
                },
            }
            // What was decided and is not on disk must lead to nothing more; a restart reads the disk.
            if self.failure.borrow().is_some() {
                break None;
            }
        };
        self.miner.stop();
        // Waits until what was handed over is on disk, as a stop should; whoever waits for it is told.
        tokio::task::block_in_place(|| self.writer.finish());
        self.release().await;
        if let Some(stopped) = stopped {
            let _ = stopped.send(());
        }
    }

    fn wake_at(&self) -> Instant {
        let now = clock::now();
        let wait = u64::try_from(self.state.wake_at(now).since(now)).unwrap_or(0);
        let wished = Instant::now() + Duration::from_millis(wait);
        wished.min(self.last_tick + MAX_TICK).max(self.last_tick + MIN_TICK)
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Ask { request, asker } => self.on_request(request, asker).await,
            Command::Gossip { message, source, topic, data, hand } => {
                let message = self.remember(message);
                self.input(match topic {
                    Topic::Batches => Input::GossipBatch { message, from: source, data },
                    Topic::Blocks => Input::GossipBlock { message, from: source, data },
                })
                .await;
                drop(hand);
            }
            Command::Tell(input) => self.input(input).await,
            Command::Query { question, is_read_up_on } => {
                let answer = question(&self.state);
                self.leave(Outgoing::Answer { answer, is_read_up_on }).await;
            }
            Command::Stop { respond_to } => drop(respond_to),
        }
    }

    async fn on_request(&mut self, request: Request, asker: Asker) {
        let token = self.next_token();
        self.replies.insert(token, asker);
        self.input(match request {
            Request::Submit(records) => Input::Submit { token, records },
            Request::Mine => Input::Mine { token },
            Request::Blocks(blocks) => Input::SyncedBlocks { token, blocks },
            Request::Batches(peer, checked) => Input::SyncedBatches { token, peer, checked },
        })
        .await;
    }

    fn next_token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn remember(&mut self, message: MessageRef) -> MessageToken {
        let token = self.next_token();
        self.messages.insert(token, message);
        while self.messages.len() > MAX_MESSAGES {
            self.messages.remove(&self.oldest_message);
            self.oldest_message += 1;
        }
        token
    }

    /// Takes note of what the writer wrote.
    async fn on_progress(&mut self) {
        let (synced, committed) = (self.synced, self.committed);
        self.release().await;
        if self.synced > synced {
            self.input(Input::Synced(self.synced)).await;
        }
        if self.committed > committed {
            self.input(Input::Committed(self.committed)).await;
        }
    }

    /// Lets leave what waited for what is on disk now.
    async fn release(&mut self) {
        let Progress { synced, committed, failure } = self.progress.borrow_and_update().clone();
        (self.synced, self.committed) = (synced, committed);
        while let Some((_, outgoing)) = self.unsynced.pop_front_if(|(number, _)| *number <= synced) {
            self.carry_out(outgoing).await;
        }
        let is_due = |upto: (u64, u64)| upto.0 <= synced && upto.1 <= committed;
        while let Some((_, outgoing)) = self.uncommitted.pop_front_if(|(upto, _)| is_due(*upto)) {
            self.carry_out(outgoing).await;
        }
        if let Some(failure) = failure {
            self.fail(failure);
        }
    }

    /// Whether the log may tell one more thing that strangers can cause.
    fn may_tell(&mut self) -> bool {
        self.told.spend(1, clock::now().as_millis())
    }

    fn fail(&self, reason: String) {
        fail(&self.failure, reason);
    }

    async fn input(&mut self, input: Input) {
        // Before anything is decided that would have to be written.
        if let Some(full) = self.disk.change() {
            self.writer.hurry(full);
            if full {
                // All that is on its way is written while there is room, before anybody hears that there is none.
                let persisted = self.persisted;
                let is_written = |progress: &Progress| progress.committed >= persisted || progress.failure.is_some();
                // An error means that the writer has ended, which the main loop notices.
                let _ = self.progress.clone().wait_for(is_written).await;
                tracing::error!("the disk is full: nothing is taken in until there is room again; reads go on");
            } else {
                tracing::info!("the disk has room again");
            }
            self.decide(Input::Disk { full }).await;
        }
        self.decide(input).await;
    }

    async fn decide(&mut self, input: Input) {
        let now: Timestamp = clock::now();
        let mut effects = self.state.handle(input, now).into_iter().peekable();
        while let Some(effect) = effects.next() {
            match effect {
                Effect::Persist(transition) => {
                    let mut answers = Vec::new();
                    while transition.is_own_only()
                        && let Some(Effect::Reply(token, reply)) = effects.next_if(Effect::is_reply)
                    {
                        answers.extend(self.replies.remove(&token).map(|asker| (asker, reply)));
                    }
                    self.persisted = transition.number;
                    if !transition.is_own_only() {
                        self.reshaped = transition.number;
                    }
                    // Waits in place while too much is on its way to the disk: nothing else may be decided then.
                    if !self.writer.push(*transition, answers, self.commands.is_empty()).await {
                        let reason = self.progress.borrow().failure.clone();
                        return self.fail(reason.unwrap_or_else(|| "the store has stopped".to_owned()));
                    }
                }
                Effect::Fatal(error) => return self.fail(error.to_string()),
                Effect::Verdict(..) | Effect::StopMining => self.carry_out(Outgoing::Effect(effect)).await,
                effect => self.leave(Outgoing::Effect(effect)).await,
            }
        }
    }

    /// Lets something leave once everything decided before it is on disk.
    async fn leave(&mut self, outgoing: Outgoing) {
        let (is_synced, is_seen) = (self.persisted <= self.synced, self.reshaped <= self.committed);
        if outgoing.is_read_up_on() && !(is_synced && is_seen) {
            self.uncommitted.push_back(((self.persisted, self.reshaped), outgoing));
        } else if !is_synced {
            self.unsynced.push_back((self.persisted, outgoing));
        } else {
            self.carry_out(outgoing).await;
        }
    }

    async fn carry_out(&mut self, outgoing: Outgoing) {
        let effect = match outgoing {
            Outgoing::Answer { answer, .. } => return answer(),
            Outgoing::Effect(effect) => effect,
        };
        match effect {
            Effect::Reply(token, reply) => {
                if let Some(asker) = self.replies.remove(&token) {
                    asker.answer(reply);
                }
            }
            Effect::Event(event) => self.publish(event),
            Effect::Verdict(token, verdict) => {
                self.observers.metrics.judged(word_of(verdict));
                if let Some(message) = self.messages.remove(&token) {
                    self.order(Order::Verdict(message, verdict_of(verdict))).await;
                }
            }
            Effect::PublishBatch(batch) => self.order(Order::PublishBatch(batch)).await,
            Effect::PublishBlock(block) => self.order(Order::PublishBlock(block)).await,
            Effect::Sync(peer) => self.order(Order::Sync(peer)).await,
            Effect::FetchBatches { peer, block, indexes, ids } => {
                self.order(Order::FetchBatches { peer, block, indexes, ids }).await;
            }
            Effect::FetchLog { peer, station, from } => self.order(Order::FetchLog { peer, station, from }).await,
            Effect::StartMining(template) => self.miner.start(template.header),
            Effect::StopMining => self.miner.stop(),
            Effect::Ban { peer, reason, until } => self.order(Order::Ban { peer, reason, until }).await,
            // Handled where they were decided.
            Effect::Persist(_) | Effect::Fatal(_) => {}
        }
    }

    async fn order(&mut self, order: Order) {
        // Without an exchange the node is stopping.
        let _ = self.orders.send(order).await;
    }

    fn publish(&mut self, event: effect::Event) {
        match event {
            effect::Event::Block { hash, index, records, producer } => {
                match self.block_lines.next(clock::now().as_millis()) {
                    Some(0) => tracing::info!(%index, %hash, records, %producer, "block"),
                    Some(more) => tracing::info!(%index, %hash, records, %producer, "block, and {more} before it"),
                    None => tracing::debug!(%index, %hash, records, %producer, "block"),
                }
                if producer == self.state.ledger().own().station() {
                    self.observers.metrics.mined();
                }
                self.observers.events.publish(Event::Block { hash, index, records });
            }
            effect::Event::Reorganisation { depth, from, to } => {
                self.observers.metrics.reorganised(depth);
                if depth > DEEP_REORGANISATION {
                    tracing::warn!(depth, %from, %to, "deep reorganisation: a long branch lost to one with more work");
                } else if self.may_tell() {
                    tracing::info!(depth, %from, %to, "reorganisation");
                } else {
                    tracing::debug!(depth, %from, %to, "reorganisation");
                }
                self.observers.events.publish(Event::Reorganisation { depth, from, to });
            }
            effect::Event::Record(record_id) => self.observers.events.publish(Event::Record { record_id }),
            effect::Event::Sync(report) => {
                self.observers.metrics.synced(&report);
                let may_tell = self.may_tell();
                match &report.fault {
                    Some(fault) if may_tell => {
                        tracing::info!(peer = %report.peer, "sync ended early: the peer {fault}")
                    }
                    Some(fault) => tracing::debug!(peer = %report.peer, "sync ended early: the peer {fault}"),
                    None if may_tell && (report.blocks > 0 || report.batches > 0) => {
                        let (blocks, records) = (report.blocks, report.records);
                        tracing::info!(peer = %report.peer, blocks, records, "caught up with a station");
                    }
                    None => tracing::debug!(peer = %report.peer, "a sync found nothing new"),
                }
                self.observers.events.publish(Event::Sync(report));
            }
            effect::Event::LogKnown => {
                tracing::info!("this station's own log is known now: it may sign");
                (self.on_log_known)();
            }
            effect::Event::Equivocation { station, sequence } => {
                if station == self.state.ledger().own().station() {
                    tracing::error!(
                        %sequence,
                        "this station's key signed two batches with this sequence: its opinions will count for nothing. \
                         Stop every daemon that has this key, and start a new station: qfzz init in an empty directory"
                    );
                } else {
                    tracing::warn!(%station, %sequence, "a station signed two batches with one sequence: its opinions will count for nothing");
                }
                self.observers.events.publish(Event::Equivocation { station, sequence });
            }
            effect::Event::AnotherDaemonSeen => {
                tracing::warn!(
                    "another daemon was seen that signs with this station's key: nothing is signed while it may be running"
                );
            }
            effect::Event::StoppedSigning => {
                tracing::error!(
                    "another daemon signs with this station's key, and started earlier: this one signs nothing. Stop one \
                     of the two; if it is the other one, restart this one"
                );
            }
            effect::Event::AnotherDaemonStopped => {
                tracing::warn!(
                    "another daemon was started with this station's key: it signs nothing, for this one started earlier. \
                     Stop it, and give it a key of its own"
                );
            }
            effect::Event::NewerVersion => {
                tracing::warn!("a peer speaks a newer version of the protocol: update qfzz");
            }
        }
    }
}

/// Says why a part of the node cannot go on; the first reason stays.
pub(crate) fn fail(failure: &watch::Sender<Option<String>>, reason: String) {
    failure.send_if_modified(|failure| {
        let is_first = failure.is_none();
        failure.get_or_insert(reason);
        is_first
    });
}

/// Reorganisations deeper than this are an alert (protocol, section 9).
const DEEP_REORGANISATION: u64 = 100;

const fn word_of(verdict: effect::Verdict) -> &'static str {
    match verdict {
        effect::Verdict::Accept => "accept",
        effect::Verdict::Ignore | effect::Verdict::Unseen => "ignore",
        effect::Verdict::Reject => "reject",
    }
}

const fn verdict_of(verdict: effect::Verdict) -> Verdict {
    match verdict {
        effect::Verdict::Accept => Verdict::Accept,
        effect::Verdict::Ignore => Verdict::Ignore,
        effect::Verdict::Unseen => Verdict::Unseen,
        effect::Verdict::Reject => Verdict::Reject,
    }
}

#[cfg(test)]
mod tests;
