//! What happens in the node, told to whoever listens: the event streams of the API, the demo, tests.
//!
//! Nobody waits for a listener: one that falls behind by more than the capacity misses the oldest events and is told
//! how many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use qfzz_ledger_core::ids::{BlockHash, Height, RecordId, Sequence, StationId};
use qfzz_sync::report::SyncReport;
use tokio::sync::broadcast;

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
    /// A synchronisation with one peer ended.
    Sync(SyncReport),
}

/// An event with its number: 1, 2, 3, ... since the node's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Its number; every listener sees the same.
    pub id: u64,
    /// What happened.
    pub event: Event,
}

/// Where events are published and listened to. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Numbered>,
    /// Locked while sending, so that numbers leave in order.
    told: Arc<Mutex<Told>>,
    capacity: usize,
}

/// What was published so far.
#[derive(Debug, Default)]
struct Told {
    /// The number of the last event, 0 before the first.
    last: u64,
    /// The last events, as many as the capacity, for those who come back.
    kept: VecDeque<Numbered>,
}

/// What a listener that comes back has missed, and what it hears from now on.
#[derive(Debug)]
pub struct Resumed {
    /// Events after its last that are not kept any more.
    pub lost: u64,
    /// Those that are, by rising number.
    pub missed: VecDeque<Numbered>,
    /// What is published from now on.
    pub listener: broadcast::Receiver<Numbered>,
}

impl Events {
    /// How many events a listener may be behind before it misses some, in the daemon.
    ///
    /// A full block's worth of single records, at less than 300 bytes each.
    pub const CAPACITY: usize = 4_096;

    /// A place whose listeners may be `capacity` events behind, at least 1.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { sender: broadcast::Sender::new(capacity), told: Arc::default(), capacity }
    }

    /// Tells all who listen now; never waits.
    pub fn publish(&self, event: Event) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.last += 1;
        let numbered = Numbered { id: told.last, event };
        if told.kept.len() == self.capacity {
            told.kept.pop_front();
        }
        told.kept.push_back(numbered.clone());
        // It fails only when nobody listens, which is no trouble.
        let _ = self.sender.send(numbered);
    }

    /// Listens to what is published from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Numbered> {
        self.sender.subscribe()
    }

    /// Listens to what was published after the event with the number `last`, without gap or repetition.
    ///
    /// 0 is before the first that is kept. A number that was not given out yet is of an earlier start of the node, and
    /// means the same.
    pub fn resume(&self, last: u64) -> Resumed {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = told.kept.front().map_or(told.last + 1, |numbered| numbered.id);
        let from = if last == 0 || last > told.last { oldest } else { last + 1 };
        Resumed {
            lost: oldest.saturating_sub(from),
            missed: told.kept.iter().filter(|numbered| numbered.id >= from).cloned().collect(),
            // Under the lock: what comes next goes to the listener, and is not among those kept.
            listener: self.sender.subscribe(),
        }
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new(Self::CAPACITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(connected: bool) -> Event {
        Event::Peer { station: StationId::from_bytes([1; 32]), connected, reason: None }
    }

    #[test]
    fn events_are_numbered_also_while_nobody_listens() {
        let events = Events::new(4);
        events.publish(peer(true));
        let mut listener = events.clone().subscribe();
        events.publish(peer(false));
        assert_eq!(listener.try_recv(), Ok(Numbered { id: 2, event: peer(false) }));
        assert_eq!(listener.try_recv(), Err(broadcast::error::TryRecvError::Empty));
    }

    #[test]
    fn a_listener_that_falls_behind_is_told_how_many_it_missed() {
        let events = Events::new(2);
        let mut listener = events.subscribe();
        for _ in 0..5 {
            events.publish(peer(true));
        }
        assert_eq!(listener.try_recv(), Err(broadcast::error::TryRecvError::Lagged(3)));
        assert_eq!(listener.try_recv().map(|numbered| numbered.id), Ok(4));
    }
    #[test]
    fn one_that_comes_back_hears_what_it_missed_and_what_follows() {
        let events = Events::new(3);
        for _ in 0..5 {
            events.publish(peer(true));
        }
        let ids = |resumed: &Resumed| resumed.missed.iter().map(|numbered| numbered.id).collect::<Vec<_>>();
        for (last, lost, missed) in [
            (0, 0, &[3, 4, 5][..]),
            (1, 1, &[3, 4, 5]),
            (2, 0, &[3, 4, 5]),
            (4, 0, &[5]),
            (5, 0, &[]),
            (9, 0, &[3, 4, 5]),
        ] {
            let mut resumed = events.resume(last);
            assert_eq!((resumed.lost, ids(&resumed)), (lost, missed.to_vec()), "after {last}");
            assert_eq!(resumed.listener.try_recv(), Err(broadcast::error::TryRecvError::Empty));
        }
        let mut resumed = events.resume(5);
        events.publish(peer(false));
        assert_eq!(resumed.listener.try_recv().map(|numbered| numbered.id), Ok(6));
        assert_eq!(ids(&Events::new(3).resume(7)), Vec::<u64>::new());
    }
}
