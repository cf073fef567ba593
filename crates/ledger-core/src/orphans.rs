//! Announcements whose parent is not known yet: header, seal and ids, never bodies; bounded in number and time.

use std::collections::HashMap;

use crate::block::Announcement;
use crate::ids::{BlockHash, StationId};
use crate::limits::{MAX_ORPHANS, MAX_ORPHANS_PER_PEER, ORPHAN_FOR_MS};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
struct Orphan {
    announcement: Announcement,
    from: StationId,
    since: Timestamp,
}

/// At most 100 announcements, 10 from a peer, for 300 s.
#[derive(Clone, Debug, Default)]
pub struct Orphans {
    by_hash: HashMap<BlockHash, Orphan>,
}

impl Orphans {
    /// Keeps an announcement until its parent is known. Over the peer's share its oldest goes, over all the oldest.
    pub fn insert(&mut self, hash: BlockHash, announcement: Announcement, from: StationId, now: Timestamp) {
        if self.by_hash.contains_key(&hash) {
            return;
        }
        self.expire(now);
        if self.by_hash.values().filter(|orphan| orphan.from == from).count() >= MAX_ORPHANS_PER_PEER {
            self.remove_oldest(|orphan| orphan.from == from);
        }
        if self.by_hash.len() >= MAX_ORPHANS {
            self.remove_oldest(|_| true);
        }
        self.by_hash.insert(hash, Orphan { announcement, from, since: now });
    }

    fn remove_oldest(&mut self, among: impl Fn(&Orphan) -> bool) {
        let candidates = self.by_hash.iter().filter(|(_, orphan)| among(orphan));
        let oldest = candidates.min_by_key(|(hash, orphan)| (orphan.since, **hash)).map(|(hash, _)| *hash);
        oldest.map(|hash| self.by_hash.remove(&hash));
    }

    /// Takes out the announcements that follow `parent`, in order of their hashes, each with its sender.
    pub fn take_children(&mut self, parent: &BlockHash) -> Vec<(Announcement, StationId)> {
        let is_child = |orphan: &Orphan| orphan.announcement.sealed.header.previous == *parent;
        let mut children: Vec<BlockHash> =
            self.by_hash.iter().filter(|(_, orphan)| is_child(orphan)).map(|(hash, _)| *hash).collect();
        children.sort_unstable();
        let taken = children.iter().filter_map(|hash| self.by_hash.remove(hash));
        taken.map(|orphan| (orphan.announcement, orphan.from)).collect()
    }

    /// Drops what has waited for 300 s.
    pub fn expire(&mut self, now: Timestamp) {
        self.by_hash.retain(|_, orphan| now.since(orphan.since) < ORPHAN_FOR_MS);
    }

    /// Announcements that wait.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }
}
