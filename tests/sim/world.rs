//! The virtual federation: its clock, and everything that is going to happen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::channel::oneshot;
use qfzz_ledger_core::federation::{Rules, SignatureScheme};
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::testing::{own_log, rules, rules_hybrid};

use crate::chance::Chance;
use crate::clients::Clients;
use crate::exchange::Exchange;
use crate::gossip::Message;
use crate::liar::Liar;
use crate::links::Links;
use crate::scenario::{BEGIN, Fault, Scenario};
use crate::station::Station;
use crate::tasks::Tasks;
use crate::totals::Totals;
use crate::trace::Trace;

/// Events of one run, at most: a federation that never comes to rest is a failure.
const MAX_EVENTS: u64 = 3_000_000;

/// How long a federation may take to agree after the faults, in virtual milliseconds: at each of a few stations in a
/// row a lost request costs 20 s, and a lost message up to the 30 s between two syncs.
const MAX_SETTLING_MS: i64 = 120_000;

/// How often it is looked at whether all agree, in virtual milliseconds.
const LOOK_EVERY_MS: i64 = 250;

/// Something that is going to happen. What belongs to one life of a station ends with it.
pub(crate) enum Event {
    Start { station: usize },
    Tick { station: usize, life: u32 },
    Synced { station: usize, life: u32 },
    NonceFound { station: usize, life: u32, job: u64 },
    PauseEnds { until: oneshot::Sender<()> },
    Connected { link: (usize, usize), epoch: u64 },
    Subscribed { link: (usize, usize), side: usize, epoch: u64 },
    Disconnected { station: usize, life: u32, peer: usize },
    Gossip { from: usize, to: usize, epoch: u64, message: Arc<Message> },
    Request { exchange: u64 },
    Answer { exchange: u64, response: Vec<u8> },
    TimedOut { exchange: u64 },
    Fault(Fault),
    Crash { station: usize, life: u32, down_ms: i64 },
    Detected,
    Healed,
    Mended { link: (usize, usize) },
    Submit,
    Mine,
    Lie { is_repeated: bool },
    Look,
}

/// The federation. See the module.
pub(crate) struct World {
    pub(crate) rules: Arc<Rules>,
    pub(crate) scenario: Scenario,
    /// Virtual milliseconds.
    pub(crate) now: i64,
    events: BTreeMap<(i64, u64), Event>,
    scheduled: u64,
    pub(crate) stations: Vec<Station>,
    pub(crate) numbers: BTreeMap<StationId, usize>,
    pub(crate) links: Links,
    pub(crate) exchanges: BTreeMap<u64, Exchange>,
    pub(crate) tasks: Tasks,
    pub(crate) clients: Clients,
    pub(crate) liar: Option<Liar>,
    pub(crate) network: Chance,
    pub(crate) disks: Chance,
    pub(crate) totals: Totals,
    pub(crate) trace: Trace,
    /// The first promise that was broken.
    failure: Option<String>,
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) totals: Totals,
    /// The hash of the trace.
    pub(crate) trace: String,
    /// The promise that was broken, if one was.
    pub(crate) failure: Option<String>,
}

impl World {
    /// The federation of a seed, before anything happened.
    pub(crate) fn new(scheme: SignatureScheme, seed: u64, is_shown: bool) -> Self {
        let rules = match scheme {
            SignatureScheme::Ed25519 => rules(),
            SignatureScheme::Hybrid => rules_hybrid(|_| {}),
        };
        let scenario = Scenario::of(seed);
        let stations: Vec<Station> = (0..scenario.stations)
            .map(|number| Station::new(&rules, own_log(&rules, 1 + u8::try_from(number).expect("at most 9 stations"))))
            .collect();
        let numbers = stations.iter().enumerate().map(|(number, station)| (station.id, number)).collect();
        let liar = scenario.lied_to.map(|told| Liar::new(&rules, told));
        let mut world = Self {
            links: Links::new(&scenario.links),
            rules,
            now: BEGIN,
            events: BTreeMap::new(),
            scheduled: 0,
            stations,
            numbers,
            exchanges: BTreeMap::new(),
            tasks: Tasks::default(),
            clients: Clients::new(seed),
            liar,
            network: Chance::new(seed, 2),
            disks: Chance::new(seed, 3),
            totals: Totals { seeds: 1, stations: scenario.stations as u64, ..Totals::default() },
            trace: Trace::new(is_shown),
            failure: None,
            scenario,
        };
        let stations = world.scenario.stations;
        world.line(format_args!("seed {seed}: {stations} stations"));
        for station in 0..world.scenario.stations {
            world.at(world.scenario.starts[station], Event::Start { station });
        }
        for (when, fault) in std::mem::take(&mut world.scenario.faults) {
            world.at(when, Event::Fault(fault));
        }
        world.after(world.scenario.submit_ms, Event::Submit);
        world.after(5_000, Event::Mine);
        if world.liar.is_some() {
            world.at(world.scenario.lied_at, Event::Lie { is_repeated: false });
            // Stations that crashed have forgotten what was not on the chain.
            world.at(world.scenario.quiet_at, Event::Lie { is_repeated: true });
        }
        world.at(world.scenario.quiet_at, Event::Look);
        world
    }

    /// Lets everything happen, until all agree or a promise is broken.
    pub(crate) fn run(mut self) -> Outcome {
        let mut events = 0;
        let mut is_settled = false;
        while let Some(((now, _), event)) = self.events.pop_first() {
            self.now = now;
            is_settled = matches!(event, Event::Look) && self.look();
            if !matches!(event, Event::Look) {
                self.happen(event);
                self.run_tasks();
            }
            events += 1;
            if events > MAX_EVENTS {
                self.fail(format_args!("the federation does not come to rest"));
            }
            if is_settled || self.failure.is_some() {
                break;
            }
        }
        if !is_settled && self.failure.is_none() {
            self.fail(format_args!("nothing is going to happen any more"));
        }
        if self.failure.is_none()
            && let Err(broken) = self.check()
        {
            self.fail(format_args!("{broken}"));
        }
        self.totals.virtual_ms = self.now - BEGIN;
        Outcome { totals: self.totals, trace: self.trace.finish(), failure: self.failure }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { station } => self.on_start(station),
            Event::Tick { station, life } => self.on_tick(station, life),
            Event::Synced { station, life } => self.on_synced(station, life),
            Event::NonceFound { station, life, job } => self.on_nonce_found(station, life, job),
            // The sync that waits may have ended with its station.
            Event::PauseEnds { until } => drop(until.send(())),
            Event::Connected { link, epoch } => self.on_connected(link, epoch),
            Event::Subscribed { link, side, epoch } => self.on_subscribed(link, side, epoch),
            Event::Disconnected { station, life, peer } => self.on_disconnected(station, life, peer),
            Event::Gossip { from, to, epoch, message } => self.on_gossip(from, to, epoch, &message),
            Event::Request { exchange } => self.on_request(exchange),
            Event::Answer { exchange, response } => self.on_answer(exchange, &response),
            Event::TimedOut { exchange } => self.on_timed_out(exchange),
            Event::Fault(fault) => self.on_fault(fault),
            Event::Crash { station, life, down_ms } => self.on_crash(station, life, down_ms),
            Event::Detected => self.on_detected(),
            Event::Healed => self.on_healed(),
            Event::Mended { link } => self.on_mended(link),
            Event::Submit => self.on_submit(),
            Event::Mine => self.on_mine(),
            Event::Lie { is_repeated } => self.on_lie(is_repeated),
            Event::Look => {}
        }
    }

    /// Whether the faults are over and all agree; otherwise looks again later.
    fn look(&mut self) -> bool {
        let since = self.now - self.scenario.quiet_at;
        match self.unsettled() {
            None => {
                self.totals.longest_settling_ms = since;
                return true;
            }
            Some(reason) if since > MAX_SETTLING_MS => {
                self.fail(format_args!("{} s after the faults: {reason}", MAX_SETTLING_MS / 1_000));
            }
            Some(_) => self.after(LOOK_EVERY_MS, Event::Look),
        }
        false
    }

    /// Whether the faults are over.
    pub(crate) fn is_quiet(&self) -> bool {
        self.now >= self.scenario.quiet_at
    }

    /// Schedules an event in so many milliseconds.
    pub(crate) fn after(&mut self, millis: i64, event: Event) {
        self.at(self.now + millis, event);
    }

    /// Schedules an event. Those of one moment happen in the order in which they were scheduled.
    pub(crate) fn at(&mut self, when: i64, event: Event) {
        self.scheduled += 1;
        self.events.insert((when, self.scheduled), event);
    }

    /// Takes down what happened.
    pub(crate) fn line(&mut self, what: fmt::Arguments<'_>) {
        self.trace.line(self.now - BEGIN, what);
    }

    /// A promise is broken: the run ends here.
    pub(crate) fn fail(&mut self, what: fmt::Arguments<'_>) {
        self.line(format_args!("FAILURE: {what}"));
        self.failure.get_or_insert_with(|| what.to_string());
    }
}
