//! A token bucket: so much at once, and so much a time after that. Pure: the time is an argument.

/// Parts of a unit that are counted: a rate a minute then comes out even at every millisecond.
const PARTS: u64 = 60_000;

/// How much somebody may use of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    burst: u64,
    per_minute: u64,
}

impl Rate {
    /// `burst` at once, then `count` a second.
    pub(crate) const fn per_second(burst: u64, count: u64) -> Self {
        Self { burst, per_minute: count * 60 }
    }

    /// How much at once.
    pub(crate) const fn burst(self) -> u64 {
        self.burst
    }

    /// `burst` at once, then `count` a minute.
    pub(crate) const fn per_minute(burst: u64, count: u64) -> Self {
        Self { burst, per_minute: count }
    }
}

/// What is left of a [`Rate`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// In parts of a unit.
    left: u64,
    /// In milliseconds, by whichever clock the caller goes.
    since: i64,
}

impl Bucket {
    /// All of it.
    pub(crate) const fn full(rate: Rate, now_ms: i64) -> Self {
        Self { rate, left: rate.burst * PARTS, since: now_ms }
    }

    /// Uses `count`, or what is left of it; false if less than one was left.
    pub(crate) fn spend(&mut self, count: u64, now_ms: i64) -> bool {
        let is_left = self.has_left(now_ms);
        if is_left {
            self.left = self.left.saturating_sub(count.saturating_mul(PARTS));
        }
        is_left
    }

    /// Whether at least one is left.
    pub(crate) fn has_left(&mut self, now_ms: i64) -> bool {
        // A clock that was set back gives nothing; one that was set forward fills the bucket, and no more.
        let elapsed = u64::try_from(now_ms.saturating_sub(self.since)).unwrap_or(0);
        let earned = elapsed.saturating_mul(self.rate.per_minute);
        self.left = self.left.saturating_add(earned).min(self.rate.burst * PARTS);
        self.since = now_ms;
        self.left >= PARTS
    }

    /// Whether nothing of it is in use, so that it need not be remembered.
    pub(crate) fn is_full(&mut self, now_ms: i64) -> bool {
        self.has_left(now_ms) && self.left == self.rate.burst * PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_the_rate_to_the_tenth_of_a_second() {
        let mut bucket = Bucket::full(Rate::per_second(3, 10), 1_000);
        let taken = (0..5).filter(|_| bucket.spend(1, 1_000)).count();
        assert_eq!(taken, 3);
        assert!(!bucket.spend(1, 1_099));
        assert!(bucket.spend(1, 1_100));
        assert!(!bucket.spend(1, 1_100));
        assert_eq!((0..9).filter(|_| bucket.spend(1, 1_000_000)).count(), 3, "no more than the burst is saved up");
    }

    #[test]
    fn a_slow_rate_asked_every_millisecond_loses_nothing() {
        let mut bucket = Bucket::full(Rate::per_minute(1, 30), 0);
        assert!(bucket.spend(1, 0));
        let first = (1..10_000).find(|ms| bucket.spend(1, *ms));
        assert_eq!(first, Some(2_000));
    }

    #[test]
    fn what_costs_more_than_is_left_takes_the_rest_and_a_clock_set_back_gives_nothing() {
        let mut bucket = Bucket::full(Rate::per_second(10, 1), 5_000);
        assert!(bucket.spend(100, 5_000));
        assert!(!bucket.has_left(5_000));
        assert!(!bucket.has_left(0));
        assert!(bucket.has_left(1_000));
        assert!(!bucket.is_full(1_000));
        assert!(bucket.is_full(11_000));
    }
}
