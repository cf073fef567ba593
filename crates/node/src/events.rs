//! What happens in the node, told to whoever listens: the event streams of the API, the demo, tests.
//!
//! Nobody waits for a listener: one that falls behind by more than the capacity misses the oldest events and is told
//! how many.

use std::sync::{Arc, Mutex, PoisonError};

use qfzz_ledger_core::ids::{BlockHash, Height, RecordId, StationId};
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
    /// The number of the last event; held while sending, so that numbers leave in order.
    last: Arc<Mutex<u64>>,
}

impl Events {
    /// How many events a listener may be behind before it misses some, in the daemon.
    ///
    /// A full block's worth of single records, at less than 300 bytes each.
    pub const CAPACITY: usize = 4_096;

    /// A place whose listeners may be `capacity` events behind, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self { sender: broadcast::Sender::new(capacity.max(1)), last: Arc::default() }
    }

    /// Tells all who listen now; never waits.
    pub fn publish(&self, event: Event) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        // It fails only when nobody listens, which is no trouble.
        let _ = self.sender.send(Numbered { id: *last, event });
    }

    /// Listens to what is published from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Numbered> {
        self.sender.subscribe()
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
        Event::Peer { station: StationId::from_bytes([1; 32]), connected }
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
}
