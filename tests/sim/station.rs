//! One station: its disk, and while it runs its state, whose effects are carried out as the daemon's worker does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::channel::oneshot;
use qfzz_ledger_core::block::SealedHeader;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, StationId};
use qfzz_ledger_core::ledger::{Ledger, Template, Transition};
use qfzz_ledger_core::own_log::OwnLog;
use qfzz_ledger_core::testing::{at, solve};
use qfzz_ledger_core::time::Timestamp;
use qfzz_node::service::effect::{Effect, Event as Told, Input, Reply, Token, Verdict};
use qfzz_node::service::state::{Hold, MiningConfig, NotSigning, State, StateConfig, SyncConfig};
use qfzz_node::store::{MemoryReader, StoreError, StoreRead};
use qfzz_sync::alive::{Run, Runs};
use qfzz_sync::message::Response;
use qfzz_sync::serve::Allowances;
use qfzz_sync::session::Handed;

use crate::disk::Disk;
use crate::gossip::Gossip;
use crate::session::Shared;
use crate::trace::Short;
use crate::world::{Event, World};

/// Between two syncs with the same peer, in milliseconds: the daemon's default.
const SYNC_EVERY_MS: i64 = 30_000;

/// How long a station with known peers waits for an answer before it signs, in milliseconds: as the daemon does.
const HOLD_MS: i64 = 5_000;

/// A station. Its disk outlives its lives.
pub(crate) struct Station {
    pub(crate) id: StationId,
    log: OwnLog,
    pub(crate) disk: Disk,
    /// Counts its starts and ends, so that nothing of one life reaches the next.
    pub(crate) life: u32,
    pub(crate) running: Option<Running>,
    /// Its power is going to fail while the disk writes next; how long it is down then, in milliseconds.
    pub(crate) crash_when_writing: Option<i64>,
}

/// Something that leaves once everything decided before it is on disk.
enum Outgoing {
    Effect(Effect),
    Answer { exchange: u64, response: Response },
}

/// What a station has while it runs.
pub(crate) struct Running {
    pub(crate) node: Shared,
    pub(crate) gossip: Gossip,
    pub(crate) allowances: Allowances,
    outbox: VecDeque<(u64, Outgoing)>,
    persisted: u64,
    committed: u64,
    tick_at: Option<i64>,
    /// What the miner works on, and the number of its newest job.
    job: Option<(u64, Box<Template>)>,
    jobs: u64,
    /// Syncs that wait for what they handed over to be on disk.
    pub(crate) syncs: BTreeMap<Token, oneshot::Sender<Handed>>,
    /// Which daemons of other stations are alive.
    pub(crate) runs: Runs,
}

impl Station {
    /// A station that has not started yet.
    pub(crate) fn new(rules: &Rules, log: OwnLog) -> Self {
        let id = log.station();
        let disk = Disk::new(rules, id);
        Self { id, log, disk, life: 0, running: None, crash_when_writing: None }
    }

    /// Whether its disk holds a connected block.
    pub(crate) fn has_block(&self, hash: &BlockHash) -> bool {
        let mut connected = self.disk.journal().iter().flat_map(|transition| &transition.connected);
        connected.any(|(block, _)| block.hash() == *hash)
    }

    /// Opens the ledger from what the disk holds.
    fn open(&self, rules: &Arc<Rules>, now: Timestamp) -> Result<Ledger<MemoryReader>, StoreError> {
        let store = self.disk.reader();
        let headers =
            |headers: Vec<(BlockHash, SealedHeader)>| headers.into_iter().map(|(hash, sealed)| (hash, sealed.header));
        let best = headers(store.headers(Height::new(1), usize::MAX)?);
        let side = headers(store.side_headers()?);
        let own = store.own_pending()?;
        let opened = Ledger::open(Arc::clone(rules), store, self.log.clone(), best, side, own, now);
        Ok(opened.expect("a store in memory can be read"))
    }
}

impl Running {
    /// Whether nothing waits for the disk, and nobody mines.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.job.is_none()
    }
}

impl World {
    /// The clock of a station.
    pub(crate) fn clock(&self, station: usize) -> Timestamp {
        at(self.now + self.scenario.skew_ms[station])
    }

    pub(crate) fn on_start(&mut self, number: usize) {
        let (now, rules) = (self.clock(number), Arc::clone(&self.rules));
        let station = &mut self.stations[number];
        if station.running.is_some() {
            return;
        }
        let is_founder = number == 0 && station.disk.journal().is_empty();
        station.disk.restart(&rules, station.id);
        let ledger = match station.open(&rules, now) {
            Ok(ledger) => ledger,
            Err(error) => return self.fail(format_args!("s{number} cannot read its store: {error}")),
        };
        let config = StateConfig {
            mining: MiningConfig { enabled: self.scenario.mines[number], ..self.scenario.mining.clone() },
            sync: SyncConfig { interval_ms: SYNC_EVERY_MS },
            hold: if is_founder { Hold::No } else { Hold::Until(now.saturating_add(HOLD_MS)) },
            run: Run { started_at: now, id: u64::from(station.life).to_le_bytes(), place: number.to_le_bytes() },
        };
        let (height, head) = (ledger.chain().height(), ledger.chain().head());
        station.running = Some(Running {
            node: Shared::new(State::new(ledger, config), now),
            gossip: Gossip::default(),
            allowances: Allowances::default(),
            outbox: VecDeque::new(),
            persisted: 0,
            committed: 0,
            tick_at: None,
            job: None,
            jobs: 0,
            syncs: BTreeMap::new(),
            runs: Runs::default(),
        });
        self.line(format_args!("s{number} starts at height {height}, head {}", Short(head.as_bytes())));
        self.update_links();
        self.input(number, Input::Tick);
        self.check_promise(number);
    }

    /// Whether this life of the station goes on.
    pub(crate) fn lives(&self, station: usize, life: u32) -> bool {
        self.stations[station].life == life && self.stations[station].running.is_some()
    }

    pub(crate) fn on_tick(&mut self, station: usize, life: u32) {
        let now = self.now;
        if !self.lives(station, life) {
            return;
        }
        let Some(running) = self.stations[station].running.as_mut().filter(|running| running.tick_at == Some(now))
        else {
            return;
        };
        running.tick_at = None;
        self.input(station, Input::Tick);
        let clock = self.clock(station);
        let wish = self.stations[station].running.as_ref().map(|running| running.node.lock().state.wake_at(clock));
        if let Some(wish) = wish.filter(|wish| *wish <= clock) {
            self.fail(format_args!("s{station} wants a tick at {wish}, which has just been: it would never rest"));
        }
    }

    /// Hands an input to a running station and carries out what follows.
    pub(crate) fn input(&mut self, station: usize, input: Input) {
        let now = self.clock(station);
        let Some(running) = &mut self.stations[station].running else { return };
        let effects = {
            let mut node = running.node.lock();
            node.now = now;
            node.state.handle(input, now)
        };
        for effect in effects {
            match effect {
                Effect::Persist(transition) => self.persist(station, *transition),
                Effect::Verdict(..) | Effect::StopMining | Effect::Fatal(_) => {
                    self.carry_out(station, Outgoing::Effect(effect));
                }
                effect => self.leave(station, Outgoing::Effect(effect)),
            }
        }
        self.schedule_tick(station);
    }

    fn schedule_tick(&mut self, number: usize) {
        let (clock, now) = (self.clock(number), self.now);
        let station = &mut self.stations[number];
        let life = station.life;
        let Some(running) = &mut station.running else { return };
        let wish = running.node.lock().state.wake_at(clock);
        let when = now + wish.since(clock).max(1);
        if running.tick_at.is_none_or(|tick| when < tick) {
            running.tick_at = Some(when);
            self.at(when, Event::Tick { station: number, life });
        }
    }

    fn persist(&mut self, number: usize, transition: Transition) {
        let height = transition.height;
        self.line(format_args!(
            "s{number} writes {}: {} own batches, {} kept, {} reverted, {} connected, height {height}, head {}",
            transition.number,
            transition.own_batches.len(),
            transition.kept.len(),
            transition.reverted.len(),
            transition.connected.len(),
            Short(transition.head.as_bytes())
        ));
        let station = &mut self.stations[number];
        if let Some(running) = &mut station.running {
            running.persisted = transition.number;
        }
        station.disk.write(transition);
        self.start_sync(number);
    }

    fn start_sync(&mut self, number: usize) {
        let is_quiet = self.is_quiet();
        let station = &mut self.stations[number];
        if !station.disk.start_sync() {
            return;
        }
        let life = station.life;
        let takes = self.disks.between(self.scenario.disk_ms.0, self.scenario.disk_ms.1);
        let crash = station.crash_when_writing.take().filter(|_| !is_quiet);
        self.after(takes, Event::Synced { station: number, life });
        if let Some(down_ms) = crash {
            let before = self.disks.between(0, takes - 1);
            self.after(before, Event::Crash { station: number, life, down_ms });
        }
    }

    pub(crate) fn on_synced(&mut self, number: usize, life: u32) {
        if !self.lives(number, life) {
            return;
        }
        let station = &mut self.stations[number];
        let committed = station.disk.finish_sync();
        self.line(format_args!("s{number} has committed {committed}"));
        if let Some(running) = &mut self.stations[number].running {
            running.committed = committed;
        }
        while let Some(outgoing) = self.next_outgoing(number, committed) {
            self.carry_out(number, outgoing);
        }
        self.input(number, Input::Committed(committed));
        self.start_sync(number);
    }

    fn next_outgoing(&mut self, number: usize, committed: u64) -> Option<Outgoing> {
        let outbox = &mut self.stations[number].running.as_mut()?.outbox;
        if outbox.front()?.0 > committed {
            return None;
        }
        outbox.pop_front().map(|(_, outgoing)| outgoing)
    }

    fn leave(&mut self, number: usize, outgoing: Outgoing) {
        let Some(running) = &mut self.stations[number].running else { return };
        if running.persisted > running.committed {
            running.outbox.push_back((running.persisted, outgoing));
        } else {
            self.carry_out(number, outgoing);
        }
    }

    /// Answers a request once everything that the answer may speak of is on disk.
    pub(crate) fn leave_answer(&mut self, number: usize, exchange: u64, response: Response) {
        self.leave(number, Outgoing::Answer { exchange, response });
    }

    fn carry_out(&mut self, number: usize, outgoing: Outgoing) {
        let effect = match outgoing {
            Outgoing::Answer { exchange, response } => return self.send_answer(exchange, &response),
            Outgoing::Effect(effect) => effect,
        };
        match effect {
            Effect::PublishBatch(batch) => self.publish_batch(number, &batch),
            Effect::PublishBlock(block) => self.publish_block(number, &block),
            Effect::Verdict(message, Verdict::Accept) => self.pass_on(number, message),
            Effect::Verdict(_, Verdict::Ignore | Verdict::Unseen) => {}
            Effect::Verdict(_, Verdict::Reject) => self.fail(format_args!("s{number} rejects an honest message")),
            Effect::Reply(token, reply) => self.on_reply(number, token, reply),
            Effect::Event(told) => self.on_told(number, &told),
            Effect::Sync(peer) => self.start_sync_with(number, peer),
            Effect::FetchBatches { peer, block, indexes, .. } => self.fetch_batches(number, peer, block, indexes),
            Effect::FetchLog { peer, station, from } => self.fetch_log(number, peer, station, from),
            Effect::StartMining(template) => self.start_mining(number, template),
            Effect::StopMining => {
                if let Some(running) = &mut self.stations[number].running {
                    running.job = None;
                }
            }
            Effect::Ban { peer, reason, .. } => {
                let peer = self.numbers[&peer];
                self.fail(format_args!("s{number} bans s{peer}, which {reason}"));
            }
            Effect::Fatal(error) => self.fail(format_args!("s{number} stops: {error}")),
            Effect::Persist(transition) => self.persist(number, *transition),
        }
    }

    fn on_told(&mut self, number: usize, told: &Told) {
        match told {
            Told::Reorganisation { depth, from, to } => {
                *self.totals.reorganisations.entry(*depth).or_default() += 1;
                let (from, to) = (Short(from.as_bytes()), Short(to.as_bytes()));
                self.line(format_args!("s{number} reorganised {depth} deep from {from} to {to}"));
            }
            Told::Sync(report) => {
                self.totals.syncs += 1;
                let peer = self.numbers[&report.peer];
                let fault =
                    report.fault.as_ref().map_or("nothing wrong".to_owned(), |fault| format!("the peer {fault}"));
                self.line(format_args!(
                    "s{number} ended its sync with s{peer} after {} ms: {} blocks, {} batches, {fault}",
                    report.elapsed_ms, report.blocks, report.batches
                ));
            }
            Told::NewerVersion => self.fail(format_args!("s{number} hears of a newer version")),
            Told::Equivocation { station, sequence } => {
                self.line(format_args!("s{number} met two batches {sequence} of one station"));
                if self.numbers.contains_key(station) {
                    self.fail(format_args!("s{number} found that an honest station signed two batches {sequence}"));
                }
            }
            Told::AnotherDaemonSeen | Told::StoppedSigning | Told::AnotherDaemonStopped => {
                self.fail(format_args!("s{number} sees another daemon where there is none"));
            }
            Told::Block { .. } | Told::Record(_) | Told::LogKnown => {}
        }
    }

    fn on_reply(&mut self, number: usize, token: Token, reply: Reply) {
        match reply {
            Reply::Submitted(receipts) => {
                self.line(format_args!("s{number} acknowledges {} records", receipts.len()));
                if let Err(broken) = self.clients.acknowledged(number, token, receipts) {
                    self.fail(format_args!("s{number} {broken}"));
                }
            }
            Reply::Taken(taken, outcome) => {
                let waiting = self.stations[number].running.as_mut().and_then(|running| running.syncs.remove(&token));
                // The sync may have ended meanwhile.
                waiting.map(|waiting| waiting.send((taken, outcome)));
            }
            Reply::Mined(block) => {
                let outcome = if block.is_some() { "its block" } else { "nothing pending" };
                self.line(format_args!("s{number} answers its operator: {outcome}"));
            }
            Reply::NotSigning(NotSigning::LearningLog) => {
                self.line(format_args!("s{number} does not know its log yet, and signs nothing"));
                self.clients.turned_away(token);
            }
            Reply::NotSigning(reason) => self.fail(format_args!("s{number} signs nothing: {reason}")),
            Reply::Overloaded | Reply::DiskFull | Reply::NotMined(_) => {
                self.fail(format_args!("s{number} is overloaded"))
            }
        }
    }

    fn start_mining(&mut self, number: usize, template: Box<Template>) {
        let (index, batches) = (template.header.index, template.batches.len());
        self.line(format_args!("s{number} mines block {index} with {batches} batches"));
        let takes = 1 + self.network.between(0, self.scenario.nonce_ms) * self.network.between(0, 200) / 100;
        let life = self.stations[number].life;
        let Some(running) = &mut self.stations[number].running else { return };
        running.jobs += 1;
        let job = running.jobs;
        running.job = Some((job, template));
        self.after(takes, Event::NonceFound { station: number, life, job });
    }

    pub(crate) fn on_nonce_found(&mut self, number: usize, life: u32, job: u64) {
        if !self.lives(number, life) {
            return;
        }
        let Some(running) = &mut self.stations[number].running else { return };
        if let Some((_, template)) = running.job.take_if(|(newest, _)| *newest == job) {
            let header = solve(&self.rules, &template);
            self.input(number, Input::Mined(header));
        }
    }
}
