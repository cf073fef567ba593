//! The service's state: everything that this station decides.
//!
//! Pure: [`State::handle`] takes what happened and the time, and returns what is to be done. The same code runs in
//! the daemon and in the simulator. Each concern has its file: `clients` (records and queries), `gossip`, `mining`,
//! `signing` (whether it may), `accusing` (who equivocated), `strangers` (who is not admitted), `syncing`.

mod accusing;
mod clients;
mod disk;
mod gossip;
mod mining;
mod signing;
mod strangers;
mod syncing;

use std::collections::BTreeMap;

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::ids::{Sequence, StationId};
use qfzz_ledger_core::ledger::{BlocksOutcome, Ledger, Transition};
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::ReadError;
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::alive::Run;

use super::effect::{Effect, Event, Input};
use accusing::Accusing;
use clients::Clients;
use gossip::Gossip;
use mining::Mining;
use signing::{Change, Signing};
use strangers::Strangers;
use syncing::Syncing;

pub use mining::MiningConfig;
pub use signing::{Hold, NotSigning};
pub use syncing::SyncConfig;

/// How this station behaves; nothing here is a rule of validity.
#[derive(Clone, Debug)]
pub struct StateConfig {
    /// When it mines.
    pub mining: MiningConfig,
    /// When it syncs.
    pub sync: SyncConfig,
    /// Whether it may sign at once after the start.
    pub hold: Hold,
    /// Which run of the station's daemon this is.
    pub run: Run,
}

/// A connected peer.
#[derive(Clone, Debug, Default)]
struct Peer {
    subscribed: bool,
    /// Known from before the start, or found where the operator said.
    is_familiar: bool,
}

/// The service's state. See the module.
pub struct State<R> {
    ledger: Ledger<R>,
    peers: BTreeMap<StationId, Peer>,
    clients: Clients,
    gossip: Gossip,
    mining: Mining,
    signing: Signing,
    accusing: Accusing,
    strangers: Strangers,
    syncing: Syncing,
    is_disk_full: bool,
    reorganisations: u64,
}

impl<R: LedgerRead> State<R> {
    /// Takes up a ledger.
    pub fn new(ledger: Ledger<R>, config: StateConfig) -> Self {
        Self {
            ledger,
            peers: BTreeMap::new(),
            clients: Clients::default(),
            gossip: Gossip::default(),
            mining: Mining::new(config.mining),
            signing: Signing::new(config.run, config.hold),
            accusing: Accusing::default(),
            strangers: Strangers::default(),
            syncing: Syncing::new(config.sync),
            is_disk_full: false,
            reorganisations: 0,
        }
    }

    /// The ledger, with what is on its way to the store.
    pub const fn ledger(&self) -> &Ledger<R> {
        &self.ledger
    }

    /// Reorganisations since the start.
    pub const fn reorganisations(&self) -> u64 {
        self.reorganisations
    }

    /// Connected peers, in order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = StationId> {
        self.peers.keys().copied()
    }

    /// Handles one input at `now`; does no I/O and never waits.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        let handled = self.dispatch(input, now, &mut effects).and_then(|()| self.follow_up(now, &mut effects));
        if let Err(error) = handled {
            effects.push(Effect::Fatal(error));
        }
        effects
    }

    fn dispatch(&mut self, input: Input, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), ReadError> {
        let input = if self.is_disk_full { Self::refuse_writes(input, effects) } else { Some(input) };
        let Some(input) = input else { return Ok(()) };
        match input {
            Input::Disk { full } => self.on_disk(full, now, effects),
            Input::Tick => self.retry_waiting(now, effects)?,
            Input::Submit { token, records } => self.on_submit(token, records, now, effects),
            Input::Mine { token } => self.on_mine(token, now, effects),
            Input::Connected(peer) => self.on_connected(peer, now),
            Input::Familiar(peer) => self.on_familiar(peer, now),
            Input::Subscribed(peer) => self.on_subscribed(peer, now),
            Input::Disconnected(peer) => self.on_disconnected(peer),
            Input::GossipBatch { message, from, data } => self.on_gossip_batch(message, from, &data, now, effects)?,
            Input::GossipBlock { message, from, data } => self.on_gossip_block(message, from, &data, now, effects)?,
            Input::SyncedBlocks { token, blocks } => self.on_synced_blocks(token, blocks, now, effects)?,
            Input::SyncedBatches { token, peer, checked } => {
                self.on_synced_batches(token, peer, checked, now, effects)?;
            }
            Input::SyncEnded(report) => self.on_sync_ended(*report, now, effects)?,
            Input::FetchedBatches { block, from, checked } => {
                self.on_fetched_batches(block, from, checked, now, effects)?;
            }
            Input::FetchedLog { from, checked } => self.on_fetched_log(from, checked, now, effects)?,
            Input::Mined(header) => self.on_mined(header, now, effects)?,
            Input::Synced(number) => self.clients.synced(number),
            Input::Committed(number) => self.on_committed(number),
        }
        Ok(())
    }

    /// What may be due after any input: signing, mining, syncing.
    fn follow_up(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), ReadError> {
        if let Some(created_at) = self.ledger.take_foreign() {
            let change = self.signing.met_foreign(created_at, now);
            self.on_signing_changed(change, now, effects);
        }
        let change = self.signing.tick(self.is_asking_for_own_log(now), self.may_believe_strangers(), now);
        self.on_signing_changed(change, now, effects);
        if self.is_disk_full {
            return Ok(());
        }
        self.accuse(now, effects)?;
        self.sign_submitted(now, effects)?;
        self.decide_mining(now, effects)?;
        self.decide_syncs(now, effects);
        Ok(())
    }

    /// Why nothing is signed; `None` where it is.
    pub const fn not_signing(&self) -> Option<NotSigning> {
        self.signing.reason()
    }

    /// Whether another daemon with this station's key was heard of, which started later and so signs nothing.
    pub const fn is_followed(&self) -> bool {
        self.signing.is_followed()
    }

    /// Tells what changed about signing, and asks peers where that may decide it.
    fn on_signing_changed(&mut self, change: Option<Change>, now: Timestamp, effects: &mut Vec<Effect>) {
        let event = match change {
            None => return,
            Some(Change::LogKnown) => Event::LogKnown,
            Some(Change::Suspected) => {
                self.syncing.want_all(now);
                Event::AnotherDaemonSeen
            }
            Some(Change::Stopped) => Event::StoppedSigning,
            Some(Change::OtherStopped) => {
                // The other one hears the sooner that this one is alive.
                self.syncing.want_all(now);
                Event::AnotherDaemonStopped
            }
        };
        effects.push(Effect::Event(event));
    }

    /// When the next [`Input::Tick`] is wanted, at the latest.
    pub fn wake_at(&self, now: Timestamp) -> Timestamp {
        let latest = now.saturating_add(MAX_TICK_MS);
        if self.is_disk_full {
            return latest;
        }
        let signing = [self.clients.wake_at(), self.mining.wake_at()].into_iter().filter(|_| self.signing.may_sign());
        let held = self.signing.wake_at(self.is_asking_for_own_log(now), self.may_believe_strangers());
        let wishes = signing.chain([held, self.gossip.wake_at(), self.syncing.wake_at()]);
        wishes.flatten().min().unwrap_or(latest).min(latest)
    }

    fn on_committed(&mut self, number: u64) {
        self.ledger.committed(number);
        self.clients.synced(number);
    }

    /// Carries out what taking in blocks changed, and goes on with what waited for them.
    fn adopt(&mut self, outcome: BlocksOutcome, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), ReadError> {
        let mut parents = Vec::new();
        // Events follow what they tell of to the disk.
        let mut events = Vec::new();
        let mut has_reverted = false;
        for transition in outcome.transitions {
            let connected = transition.connected.iter().map(|(block, _)| block);
            parents.extend(transition.kept.iter().chain(connected).map(VerifiedBlock::hash));
            events.extend(events_of(&transition));
            let is_reorganisation = !transition.reverted.is_empty();
            self.reorganisations += u64::from(is_reorganisation);
            has_reverted |= is_reorganisation;
            if transition.moves_head() {
                self.mining.head_moved(effects);
            }
            effects.push(Effect::Persist(Box::new(transition)));
        }
        effects.extend(events);
        if has_reverted {
            // What left the chain waits again, and others may have forgotten it: they ask for what precedes this one.
            let own = self.ledger.own().station();
            let newest = self.ledger.pool().log_from(&own, Sequence::ZERO).last().cloned();
            effects.extend(newest.map(Effect::PublishBatch));
        }
        self.strangers.leave_out(outcome.left_out, now);
        self.admit_strangers(now, effects)?;
        self.attach_orphans(&parents, now, effects)
    }
}

fn events_of(transition: &Transition) -> Vec<Effect> {
    let reorganisation = transition.reverted.first().map(|from| Event::Reorganisation {
        depth: transition.reverted.len() as u64,
        from: *from,
        to: transition.head,
    });
    let blocks = transition.connected.iter().map(|(block, _)| Event::Block {
        hash: block.hash(),
        index: block.index(),
        records: block.record_count(),
        producer: block.header().producer,
    });
    reorganisation.into_iter().chain(blocks).map(Effect::Event).collect()
}

/// The longest time between two ticks, in milliseconds: held batches and announcements are looked at that often.
const MAX_TICK_MS: i64 = 1_000;

#[cfg(test)]
mod tests;
