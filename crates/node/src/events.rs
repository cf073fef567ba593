//! What happens in the node, told to whoever listens: the event streams of the API, the demo, tests.
//!
//! Nobody waits for a listener: one that falls behind by more than the capacity misses the oldest events and is told
//! how many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::Bytes;
use qfzz_ledger_core::ids::{BlockHash, Height, RecordId, Sequence, StationId};
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::report::SyncReport;
use tokio::sync::{broadcast, watch};

use crate::metrics::Metrics;
use crate::quantum::HealthTest;

/// Something that happened, after it was on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A block became part of the best chain.
    Block {
        /// Its hash.
        hash: BlockHash,
        /// Its height.
        index: Height,
        /// Records that it holds.
        records: u64,
    },
    /// The best chain gave up blocks for a branch that fork choice prefers.
    Reorganisation {
        /// Blocks given up, 1 or more.
        depth: u64,
        /// The head before.
        from: BlockHash,
        /// The head after.
        to: BlockHash,
    },
    /// A record became known, own or another station's.
    Record {
        /// Its id.
        record_id: RecordId,
    },
    /// A station connected or left.
    Peer {
        /// Which.
        station: StationId,
        /// Whether it is connected now.
        connected: bool,
        /// Why this station parted with it, in the past tense; none where it left by itself.
        reason: Option<String>,
    },
    /// A station was found to have signed two batches with one sequence.
    Equivocation {
        /// Which.
        station: StationId,
        /// The sequence.
        sequence: Sequence,
    },
    /// The quantum source failed a health test and was dropped.
    QuantumSourceFailed {
        /// Which.
        test: HealthTest,
    },
    /// A synchronisation with one peer ended.
    Sync(Box<SyncReport>),
}

/// An event with its number. Numbers rise by one within a start of the node, and from start to start.
#[derive(Debug)]
pub struct Numbered {
    /// Its number; every listener sees the same.
    pub id: u64,
    /// What happened.
    pub event: Event,
    written: OnceLock<Bytes>,
}

impl Numbered {
    /// What listeners are sent, which `write` makes for the first of them.
    pub fn written(&self, write: impl FnOnce(u64, &Event) -> Vec<u8>) -> Bytes {
        self.written.get_or_init(|| write(self.id, &self.event).into()).clone()
    }
}

/// Where events are published and listened to. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Arc<Numbered>>,
    /// Changed with each block that is told.
    blocks: watch::Sender<()>,
    /// Locked while sending, so that numbers leave in order.
    told: Arc<Mutex<Told>>,
    capacity: usize,
    /// The number before the first.
    before: u64,
}

/// Who is told of what happens: those who listen, and whoever reads the metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Observers {
    pub(crate) events: Events,
    pub(crate) metrics: Arc<Metrics>,
}

/// What was published so far.
#[derive(Debug)]
struct Told {
    /// The number of the last event, or the one before the first.
    last: u64,
    /// The last events, as many as the capacity, for those who come back.
    kept: VecDeque<Arc<Numbered>>,
}

/// What a listener that comes back has missed, and what it hears from now on.
#[derive(Debug)]
pub struct Resumed {
    /// What it has missed for good.
    pub gap: Gap,
    /// Those that are, by rising number.
    pub missed: VecDeque<Arc<Numbered>>,
    /// What is published from now on.
    pub listener: broadcast::Receiver<Arc<Numbered>>,
}

/// Events that a listener has missed for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gap {
    /// None.
    #[default]
    None,
    /// So many.
    Missed(u64),
    /// Nobody knows how many: what it names as its last is no event of this start of the node.
    Unknown,
}

impl Events {
    /// How many events a listener may be behind before it misses some, in the daemon.
    ///
    /// A full block's worth of single records, at less than 300 bytes each.
    pub const CAPACITY: usize = 4_096;

    /// A place whose listeners may be `capacity` events behind, at least 1. The first event is number 1.
    pub fn new(capacity: usize) -> Self {
        Self::after(capacity, 0)
    }

    /// The same, for a node that starts `now`: its first number is higher than any of an earlier start, as long as
    /// that had fewer than 1,000 events a millisecond. All of them are exact in a JSON number until the year 2255.
    pub fn starting(capacity: usize, now: Timestamp) -> Self {
        Self::after(capacity, now.as_millis().unsigned_abs().saturating_mul(1_000))
    }

    fn after(capacity: usize, before: u64) -> Self {
        let capacity = capacity.max(1);
        let told = Arc::new(Mutex::new(Told { last: before, kept: VecDeque::new() }));
        Self { sender: broadcast::Sender::new(capacity), blocks: watch::Sender::default(), told, capacity, before }
    }

    /// Tells all who listen now; never waits.
    pub fn publish(&self, event: Event) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.last += 1;
        if matches!(event, Event::Block { .. }) {
            self.blocks.send_replace(());
        }
        let numbered = Arc::new(Numbered { id: told.last, event, written: OnceLock::new() });
        if told.kept.len() == self.capacity {
            told.kept.pop_front();
        }
        told.kept.push_back(numbered.clone());
        // It fails only when nobody listens, which is no trouble.
        let _ = self.sender.send(numbered);
    }

    /// Listens to what is published from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Numbered>> {
        self.sender.subscribe()
    }

    /// Changes with each block that is published from now on; all else wakes nobody who waits for that.
    pub fn blocks(&self) -> watch::Receiver<()> {
        self.blocks.subscribe()
    }

    /// Listens to what was published after the event with the number `last`, without gap or repetition.
    ///
    /// 0 is before the first that is kept. So is a number that was not given out since the node's start, but then the
    /// gap is [`Gap::Unknown`].
    pub fn resume(&self, last: u64) -> Resumed {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = told.kept.front().map_or(told.last + 1, |numbered| numbered.id);
        let is_ours = (self.before..=told.last).contains(&last);
        let (from, gap) = match last {
            0 => (oldest, Gap::None),
            _ if !is_ours => (oldest, Gap::Unknown),
            last if last + 1 < oldest => (oldest, Gap::Missed(oldest - last - 1)),
            last => (last + 1, Gap::None),
        };
        Resumed {
            gap,
            missed: told.kept.iter().filter(|numbered| numbered.id >= from).cloned().collect(),
            // Under the lock: what comes next goes to the listener, and is not among those kept.
            listener: self.sender.subscribe(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(connected: bool) -> Event {
        Event::Peer { station: StationId::from_bytes([1; 32]), connected, reason: None }
    }

    fn heard(
        listener: &mut broadcast::Receiver<Arc<Numbered>>,
    ) -> Result<(u64, Event), broadcast::error::TryRecvError> {
        listener.try_recv().map(|numbered| (numbered.id, numbered.event.clone()))
    }

    #[test]
    fn events_are_numbered_also_while_nobody_listens() {
        let events = Events::new(4);
        events.publish(peer(true));
        let mut listener = events.clone().subscribe();
        events.publish(peer(false));
        assert_eq!(heard(&mut listener), Ok((2, peer(false))));
        assert_eq!(heard(&mut listener), Err(broadcast::error::TryRecvError::Empty));
    }

    #[test]
    fn a_listener_that_falls_behind_is_told_how_many_it_missed() {
        let events = Events::new(2);
        let mut listener = events.subscribe();
        for _ in 0..5 {
            events.publish(peer(true));
        }
        assert_eq!(heard(&mut listener), Err(broadcast::error::TryRecvError::Lagged(3)));
        assert_eq!(heard(&mut listener).map(|(id, _)| id), Ok(4));
    }

    #[test]
    fn one_that_comes_back_hears_what_it_missed_and_what_follows() {
        let events = Events::new(3);
        for _ in 0..5 {
            events.publish(peer(true));
        }
        let ids = |resumed: &Resumed| resumed.missed.iter().map(|numbered| numbered.id).collect::<Vec<_>>();
        for (last, gap, missed) in [
            (0, Gap::None, &[3, 4, 5][..]),
            (1, Gap::Missed(1), &[3, 4, 5]),
            (2, Gap::None, &[3, 4, 5]),
            (4, Gap::None, &[5]),
            (5, Gap::None, &[]),
            (9, Gap::Unknown, &[3, 4, 5]),
            (u64::MAX, Gap::Unknown, &[3, 4, 5]),
        ] {
            let mut resumed = events.resume(last);
            assert_eq!((resumed.gap, ids(&resumed)), (gap, missed.to_vec()), "after {last}");
            assert_eq!(heard(&mut resumed.listener), Err(broadcast::error::TryRecvError::Empty));
        }
        let mut resumed = events.resume(5);
        events.publish(peer(false));
        assert_eq!(heard(&mut resumed.listener).map(|(id, _)| id), Ok(6));
        assert_eq!(ids(&Events::new(3).resume(7)), Vec::<u64>::new());
    }

    #[test]
    fn a_number_of_an_earlier_start_is_known_as_such() {
        let at = |millis| Timestamp::from_millis(millis).expect("in range");
        let earlier = Events::starting(4, at(1_000));
        earlier.publish(peer(true));
        let last = earlier.resume(0).missed[0].id;
        let events = Events::starting(4, at(1_001));
        events.publish(peer(false));
        let resumed = events.resume(last);
        assert_eq!((resumed.gap, resumed.missed.len()), (Gap::Unknown, 1));
    }
}
