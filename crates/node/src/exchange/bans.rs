//! Peers that were parted with: why, and until when. Pure: the time is an argument.

use std::collections::HashMap;

use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::time::Timestamp;

/// Peers that are kept away at once, at most; of more, the one that may come back first does so at once.
const MAX_BANS: usize = 1_024;

/// How much longer than before a peer has to be kept away for that to be news, in milliseconds: what it sent until it is
/// gone is one offence.
const LONGER_MS: i64 = 10_000;

/// A peer that is kept away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    /// Who.
    pub(crate) peer: StationId,
    /// What it did, in the past tense.
    pub(crate) reason: String,
    /// When it may come back.
    pub(crate) until: Timestamp,
}

/// Who is kept away.
#[derive(Debug, Default)]
pub(super) struct Bans(HashMap<StationId, Ban>);

impl Bans {
    /// Keeps a peer away; one that is kept away about as long already stays so. Returns whether that is news, and who
    /// has to be let in for it.
    pub(super) fn insert(&mut self, ban: Ban) -> (bool, Option<StationId>) {
        if self.0.get(&ban.peer).is_some_and(|before| ban.until.since(before.until) < LONGER_MS) {
            return (false, None);
        }
        self.0.insert(ban.peer, ban);
        if self.0.len() <= MAX_BANS {
            return (true, None);
        }
        let first = self.0.values().min_by_key(|ban| (ban.until, ban.peer)).map(|ban| ban.peer);
        (true, first.inspect(|peer| drop(self.0.remove(peer))))
    }

    /// Takes out those that may come back.
    pub(super) fn over(&mut self, now: Timestamp) -> Vec<StationId> {
        self.0.extract_if(|_, ban| ban.until <= now).map(|(peer, _)| peer).collect()
    }

    /// Why a peer is kept away; `None` if it is not.
    pub(super) fn reason(&self, peer: &StationId) -> Option<String> {
        self.0.get(peer).map(|ban| ban.reason.clone())
    }

    /// Whether a peer is kept away.
    pub(super) fn contains(&self, peer: &StationId) -> bool {
        self.0.contains_key(peer)
    }

    /// Who is kept away, the longest first, at most `limit`.
    pub(super) fn longest(&self, limit: usize) -> Vec<Ban> {
        let mut bans: Vec<&Ban> = self.0.values().collect();
        bans.sort_unstable_by_key(|ban| (std::cmp::Reverse(ban.until), ban.peer));
        bans.into_iter().take(limit).cloned().collect()
    }

    /// How many are kept away.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms).expect("in range")
    }

    fn ban(number: u16, until: i64) -> Ban {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Ban { peer: StationId::from_bytes(bytes), reason: "did something".to_owned(), until: at(until) }
    }

    #[test]
    fn an_earlier_ban_does_not_end_a_later_one() {
        let mut bans = Bans::default();
        assert_eq!(bans.insert(ban(1, 1_000)), (true, None));
        assert_eq!(bans.insert(ban(1, 60_000)), (true, None));
        assert_eq!(bans.insert(ban(1, 2_000)), (false, None), "nor shorten it");
        assert_eq!(bans.insert(ban(1, 60_100)), (false, None), "the same offence");
        assert_eq!(bans.over(at(59_999)), []);
        assert_eq!(bans.reason(&ban(1, 0).peer).as_deref(), Some("did something"));
        assert!(bans.contains(&ban(1, 0).peer) && !bans.contains(&ban(2, 0).peer));
        assert_eq!(bans.over(at(60_000)), [ban(1, 0).peer]);
        assert_eq!(bans.len(), 0);
    }

    #[test]
    fn more_than_can_be_kept_let_in_whoever_may_come_back_first() {
        let mut bans = Bans::default();
        for number in 0..1_024 {
            assert_eq!(bans.insert(ban(number, 1_000 - i64::from(number % 7))), (true, None));
        }
        assert_eq!(bans.insert(ban(5_000, 2_000)), (true, Some(ban(6, 0).peer)));
        assert_eq!(bans.len(), MAX_BANS);
        assert_eq!(bans.longest(1)[0].peer, ban(5_000, 0).peer);
    }
}
