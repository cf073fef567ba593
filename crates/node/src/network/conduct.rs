//! What a connected peer did that is counted, and when it is enough. Pure: the time is an argument.

use std::time::{Duration, Instant};

use super::gossip::LEAVE_BELOW;
use crate::rate::{Bucket, Rate};

/// Messages of a peer that were good for nothing, though it need not have known: a station that is far behind sees that
/// many from a busy neighbour until its sync is through.
const USELESS: Rate = Rate::per_second(8_192, 1_024);

/// How often a peer may ask for the genesis. A newcomer needs it once, and again when its answer was lost.
const GENESIS: Rate = Rate::per_minute(8, 6);

/// How often a peer may show that it has an invitation. A newcomer does once, and again when the answer was lost.
const INVITATION: Rate = Rate::per_minute(8, 6);

/// Requests of one peer that may wait for an answer, at most: a sync has four under way, gossip asks eight more.
const MAX_UNANSWERED: usize = 32;

/// Bytes and number of gossiped messages of one peer that may wait for their verdict, at most.
const MAX_UNJUDGED: (usize, usize) = (4 * 1024 * 1024, 1_024);

/// How long a score may be too low before the peer is left. What it was rejected for is told within that time.
const LOW_FOR: Duration = Duration::from_secs(1);

/// One peer's account.
#[derive(Debug)]
pub(super) struct Conduct {
    since: Instant,
    useless: Bucket,
    genesis: Bucket,
    invitation: Bucket,
    low_since: Option<Instant>,
    /// It is being disconnected for what it did.
    pub(super) is_left: bool,
    /// Requests that wait for an answer.
    unanswered: usize,
    unjudged: (usize, usize),
}

impl Conduct {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            useless: Bucket::full(USELESS, 0),
            genesis: Bucket::full(GENESIS, 0),
            invitation: Bucket::full(INVITATION, 0),
            low_since: None,
            is_left: false,
            unanswered: 0,
            unjudged: (0, 0),
        }
    }

    fn ms(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(i64::MAX)
    }

    /// Counts a message that was good for nothing; false if there were too many.
    pub(super) fn sent_useless(&mut self, now: Instant) -> bool {
        let now = self.ms(now);
        self.useless.spend(1, now)
    }

    /// Counts a request for the genesis; false if there were too many.
    pub(super) fn asked_for_genesis(&mut self, now: Instant) -> bool {
        let now = self.ms(now);
        self.genesis.spend(1, now)
    }

    /// Counts that it showed an invitation; false if it did too often.
    pub(super) fn showed_invitation(&mut self, now: Instant) -> bool {
        let now = self.ms(now);
        self.invitation.spend(1, now)
    }

    /// Takes note of its score; false if it has been too low for too long.
    pub(super) fn scored(&mut self, score: f64, now: Instant) -> bool {
        if score > LEAVE_BELOW {
            self.low_since = None;
            return true;
        }
        now.saturating_duration_since(*self.low_since.get_or_insert(now)) < LOW_FOR
    }

    /// Counts a request; false if too many wait, and then it is not counted.
    pub(super) fn asked(&mut self) -> bool {
        let fits = self.unanswered < MAX_UNANSWERED;
        self.unanswered += usize::from(fits);
        fits
    }

    /// A request that was counted is answered, or will not be.
    pub(super) fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Counts a message that waits for its verdict; false if too much does, and then it is not counted.
    pub(super) fn gossiped(&mut self, bytes: usize) -> bool {
        let fits = self.unjudged.0 + bytes <= MAX_UNJUDGED.0 && self.unjudged.1 < MAX_UNJUDGED.1;
        if fits {
            self.unjudged = (self.unjudged.0 + bytes, self.unjudged.1 + 1);
        }
        fits
    }

    /// A message that was counted has its verdict, or will not get one.
    pub(super) fn judged(&mut self, bytes: usize) {
        self.unjudged = (self.unjudged.0.saturating_sub(bytes), self.unjudged.1.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn useless_messages_are_forgiven_up_to_a_measure() {
        let now = Instant::now();
        let mut conduct = Conduct::new(now);
        assert_eq!((0..10_000).filter(|_| conduct.sent_useless(now)).count(), 8_192);
        assert!(conduct.sent_useless(now + Duration::from_millis(2)));
    }

    #[test]
    fn a_low_score_counts_after_a_second_and_a_better_one_clears_it() {
        let now = Instant::now();
        let mut conduct = Conduct::new(now);
        assert!(conduct.scored(-50.0, now));
        assert!(conduct.scored(0.0, now + LOW_FOR));
        assert!(conduct.scored(-50.0, now + LOW_FOR));
        assert!(!conduct.scored(-50.0, now + 2 * LOW_FOR));
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes() {
        let mut conduct = Conduct::new(Instant::now());
        assert_eq!((0..100).filter(|_| conduct.asked()).count(), MAX_UNANSWERED);
        conduct.answered();
        assert!(conduct.asked());
        assert_eq!((0..100).filter(|_| conduct.gossiped(64 * 1024)).count(), 64);
        conduct.judged(64 * 1024);
        assert!(conduct.gossiped(64 * 1024));
        assert!(!conduct.gossiped(1));
    }
}
