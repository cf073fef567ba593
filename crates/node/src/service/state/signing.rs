//! Whether this station may sign, and why not: what it does not know of its own log, and another daemon with its key.
//!
//! It must not sign before it knows its own log: a log restored from a backup lacks its newest batches, and signing
//! their places again would be equivocation (protocol, section 3). Nor may two daemons sign with one key. They hear of
//! each other through their peers, and whoever started later signs no more until it starts again.

use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::alive::{OtherRun, REMEMBERED_MS, Run};

/// After the first answer about the own log, how long others are waited for, in milliseconds.
const OTHERS_MS: i64 = 5_000;

/// How long a station whose store was lost waits for somebody it knows after only a stranger has answered, in
/// milliseconds: those it knows come back within a minute.
const STRANGERS_MS: i64 = 60_000;

/// How long another daemon may be suspected, without a word of it, before it is taken for granted, in milliseconds.
const SUSPECTED_MS: i64 = 30_000;

/// How long after its start a station waits at most for a daemon that was seen elsewhere to be silent, in milliseconds:
/// clocks may differ by 120 s each way, and a stranger who repeats old statements gains no more than this.
const SEEN_AT_MOST_MS: i64 = 3 * REMEMBERED_MS;

/// Whether a station waits for its peers before it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It may sign at once.
    No,
    /// It waits for its peers' answers until this time, then goes on.
    Until(Timestamp),
    /// Its store is new or was lost: it waits for the answer of a peer whose word counts.
    UntilAnswered,
    /// It takes over what others have, and signs nothing while it runs.
    Throughout,
}

/// Why a station signs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSigning {
    /// It waits for what its peers know of its own log.
    #[error("this station asks its peers for the newest records of its own log, and signs nothing before it has them")]
    LearningLog,
    /// Its store is new or was lost, and nobody whose word counts has told of its log.
    #[error(
        "the store is new or was lost, and no station known here has told of this station's log: nothing is signed before that"
    )]
    LogUnknown,
    /// Its store is being repaired.
    #[error("the store is being repaired: nothing is signed meanwhile")]
    Repairing,
    /// Another daemon with this key was alive a moment before this one started, or signed since.
    #[error("another daemon was seen that signs with this station's key: nothing is signed while it may be running")]
    AnotherSeen,
    /// Another daemon with this key is running, and started earlier.
    #[error("another daemon signs with this station's key, and started earlier: this one signs nothing")]
    AnotherDaemon,
}

impl NotSigning {
    /// What programs know it by, in an answer's problems and in what it refuses.
    pub const fn code(self) -> &'static str {
        match self {
            Self::LearningLog | Self::LogUnknown => "log_unknown",
            Self::Repairing => "repairing",
            Self::AnotherSeen => "another_daemon_seen",
            Self::AnotherDaemon => "another_daemon",
        }
    }
}

/// What is known of another daemon with this station's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Another {
    /// None.
    Nowhere,
    /// It was alive before this one started, and may be gone by that time.
    Seen { until: Timestamp },
    /// It signed since this one started; by that time it would have been heard of if it were the later one.
    Suspected { until: Timestamp },
    /// It runs, and started earlier.
    Earlier,
}

/// What changed about signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Signing was held until a peer had told of this station's log, and one has.
    LogKnown,
    /// Another daemon with this key may be running: peers should be asked at once.
    Suspected,
    /// Another daemon with this key runs and started earlier.
    Stopped,
    /// Another daemon with this key runs and started later.
    OtherStopped,
}

pub(super) struct Signing {
    run: Run,
    hold: Hold,
    /// When the own log had first reached all that a peer told of it.
    answered: Option<Timestamp>,
    /// The same, of a stranger.
    answered_by_stranger: Option<Timestamp>,
    another: Another,
    /// Whether another daemon was heard of that started later.
    is_followed: bool,
}

impl Signing {
    pub(super) const fn new(run: Run, hold: Hold) -> Self {
        Self { run, hold, answered: None, answered_by_stranger: None, another: Another::Nowhere, is_followed: false }
    }

    pub(super) const fn run(&self) -> Run {
        self.run
    }

    /// Why nothing is signed; `None` where it is.
    pub(super) const fn reason(&self) -> Option<NotSigning> {
        match (self.another, self.hold) {
            (Another::Earlier, _) => Some(NotSigning::AnotherDaemon),
            (Another::Seen { .. } | Another::Suspected { .. }, _) => Some(NotSigning::AnotherSeen),
            (Another::Nowhere, Hold::Throughout) => Some(NotSigning::Repairing),
            (Another::Nowhere, Hold::UntilAnswered) => Some(NotSigning::LogUnknown),
            (Another::Nowhere, Hold::Until(_)) => Some(NotSigning::LearningLog),
            (Another::Nowhere, Hold::No) => None,
        }
    }

    pub(super) const fn may_sign(&self) -> bool {
        self.reason().is_none()
    }

    /// Whether another daemon with this key was heard of that started later.
    pub(super) const fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// Whether this station waits for its peers before it signs.
    pub(super) const fn is_holding(&self) -> bool {
        matches!(self.hold, Hold::Until(_) | Hold::UntilAnswered)
    }

    /// The own log has reached all that a peer told of it.
    pub(super) fn answered(&mut self, now: Timestamp) {
        self.answered.get_or_insert(now);
    }

    /// A stranger told of no more than the own log has: somebody better may come.
    pub(super) fn answered_by_stranger(&mut self, now: Timestamp) {
        self.answered_by_stranger.get_or_insert(now);
    }

    /// Goes on where what was waited for has come, or its time is over. `is_asking`: a sync is under way or due with
    /// somebody who may be bringing this station's own log. `may_believe_strangers`: in the end.
    pub(super) fn tick(&mut self, is_asking: bool, may_believe_strangers: bool, now: Timestamp) -> Option<Change> {
        let is_over = self.hold_ends_at(is_asking, may_believe_strangers).is_some_and(|at| now >= at);
        if is_over {
            let was = std::mem::replace(&mut self.hold, Hold::No);
            if was == Hold::UntilAnswered {
                return Some(Change::LogKnown);
            }
        }
        match self.another {
            Another::Seen { until } if now >= until => {
                self.another = Another::Nowhere;
                None
            }
            Another::Suspected { until } if now >= until => {
                self.another = Another::Earlier;
                Some(Change::Stopped)
            }
            _ => None,
        }
    }

    /// When the hold is over if nothing else comes.
    fn hold_ends_at(&self, is_asking: bool, may_believe_strangers: bool) -> Option<Timestamp> {
        let in_the_end = match self.hold {
            Hold::No | Hold::Throughout => return None,
            Hold::Until(until) => Some(until),
            Hold::UntilAnswered => {
                let at = self.answered_by_stranger.filter(|_| may_believe_strangers);
                at.map(|at| at.saturating_add(STRANGERS_MS))
            }
        };
        // At once where nobody is being asked, however the clock was set meanwhile.
        let answered = self.answered.map(|at| if is_asking { at.saturating_add(OTHERS_MS) } else { Timestamp::EPOCH });
        answered.into_iter().chain(in_the_end.filter(|_| !is_asking)).min()
    }

    /// When [`tick`](Self::tick) changes something by itself.
    pub(super) fn wake_at(&self, is_asking: bool, may_believe_strangers: bool) -> Option<Timestamp> {
        let hold = self.hold_ends_at(is_asking, may_believe_strangers);
        let another = match self.another {
            Another::Seen { until } | Another::Suspected { until } => Some(until),
            Another::Nowhere | Another::Earlier => None,
        };
        hold.into_iter().chain(another).min()
    }

    /// A peer told of another run with this key; the signature was verified.
    ///
    /// What was said and heard after this run's start shows that both run: nobody can repeat it from before. What was
    /// said before may come from a daemon that has ended, as the one before in this directory has.
    pub(super) fn heard_of(&mut self, other: &OtherRun, now: Timestamp) -> Option<Change> {
        let (run, own) = (other.statement.run, self.run);
        if run.id == own.id {
            return None;
        }
        let age = i64::try_from(other.age_ms).unwrap_or(i64::MAX);
        let heard = now.saturating_add(age.saturating_neg());
        let is_alive = other.statement.made_at > own.started_at && heard > own.started_at;
        if is_alive && run < own {
            let was = std::mem::replace(&mut self.another, Another::Earlier);
            return (was != Another::Earlier).then_some(Change::Stopped);
        }
        if is_alive {
            if matches!(self.another, Another::Suspected { .. }) {
                self.another = Another::Nowhere;
            }
            let was = std::mem::replace(&mut self.is_followed, true);
            return (!was).then_some(Change::OtherStopped);
        }
        let is_elsewhere = run.place != own.place && run < own;
        let latest = own.started_at.saturating_add(SEEN_AT_MOST_MS);
        let until = heard.saturating_add(REMEMBERED_MS).min(latest);
        let is_recent = own.started_at.since(other.statement.made_at) < SEEN_AT_MOST_MS && until > now;
        if is_elsewhere && is_recent && matches!(self.another, Another::Nowhere | Another::Seen { .. }) {
            let was = std::mem::replace(&mut self.another, Another::Seen { until });
            return (was == Another::Nowhere).then_some(Change::Suspected);
        }
        None
    }

    /// A batch of this station's log came that this daemon had not signed, dated `created_at`.
    pub(super) fn met_foreign(&mut self, created_at: Timestamp, now: Timestamp) -> Option<Change> {
        let is_news = self.hold == Hold::No && !self.is_followed && self.another == Another::Nowhere;
        if !is_news || created_at <= self.run.started_at {
            return None;
        }
        self.another = Another::Suspected { until: now.saturating_add(SUSPECTED_MS) };
        Some(Change::Suspected)
    }
}

#[cfg(test)]
mod tests {
    use qfzz_ledger_core::testing::{at, key, rules};
    use qfzz_sync::alive::Statement;

    use super::*;

    const START: i64 = 1_000_000;

    fn run(id: u8, started_at: i64) -> Run {
        Run { started_at: at(started_at), id: [id; 8], place: [id; 8] }
    }

    /// What a peer tells at `now` of a run: said at `made_at`, heard `age_ms` ago.
    fn told(run: Run, made_at: i64, age_ms: u64) -> OtherRun {
        OtherRun { statement: Statement::sign(&rules(), &key(1), run, at(made_at)), age_ms }
    }

    fn signing() -> Signing {
        Signing::new(run(5, START), Hold::No)
    }

    #[test]
    fn of_two_that_run_the_later_one_stops_for_good_and_the_earlier_one_goes_on() {
        let mut later = signing();
        let earlier = run(1, START - 10_000);
        assert_eq!(later.heard_of(&told(earlier, START + 5, 0), at(START + 10)), Some(Change::Stopped));
        assert_eq!(later.reason(), Some(NotSigning::AnotherDaemon));
        assert_eq!(later.heard_of(&told(earlier, START + 6, 0), at(START + 10)), None, "it is told once");
        assert_eq!(later.tick(false, true, at(START + 100 * REMEMBERED_MS)), None);
        assert!(!later.may_sign());

        let mut earlier = signing();
        let later = run(9, START + 10_000);
        assert_eq!(earlier.heard_of(&told(later, START + 10_005, 0), at(START + 10_010)), Some(Change::OtherStopped));
        assert_eq!(earlier.heard_of(&told(later, START + 10_006, 0), at(START + 10_010)), None);
        assert!(earlier.may_sign() && earlier.is_followed());
        for (id, stops) in [(4, true), (6, false)] {
            let mut tied = signing();
            tied.heard_of(&told(run(id, START), START + 5, 0), at(START + 10));
            assert_eq!(!tied.may_sign(), stops, "started at once, the ids decide: {id}");
        }
    }

    #[test]
    fn what_was_said_before_the_start_holds_signing_until_it_is_silent() {
        let mut signing = signing();
        let before = run(1, START - 50_000);
        assert_eq!(signing.heard_of(&told(before, START - 20, 20), at(START + 5)), Some(Change::Suspected));
        assert_eq!(signing.reason(), Some(NotSigning::AnotherSeen));
        let silent = START + 5 - 20 + REMEMBERED_MS;
        assert_eq!(signing.wake_at(false, true), Some(at(silent)));
        signing.tick(false, true, at(silent - 1));
        assert!(!signing.may_sign());
        signing.tick(false, true, at(silent));
        assert!(signing.may_sign(), "it has gone");
    }

    #[test]
    fn who_repeats_what_was_said_long_ago_silences_nobody() {
        let old = run(1, START - 10_000_000);
        let mut signing = signing();
        assert_eq!(signing.heard_of(&told(old, START - SEEN_AT_MOST_MS, 0), at(START + 5)), None);
        assert!(signing.may_sign());
        // What was recent at the start is repeated as if it were heard just now, again and again.
        for now in (0..10 * REMEMBERED_MS).step_by(1_000) {
            signing.tick(false, true, at(START + now));
            signing.heard_of(&told(old, START - 5_000, 0), at(START + now));
            assert_eq!(signing.may_sign(), now >= SEEN_AT_MOST_MS, "{now} ms after the start");
        }
        // Heard before the start, though dated after it by a clock that was ahead.
        let mut restarted = self::signing();
        let ahead = Run { place: [5; 8], ..old };
        assert_eq!(restarted.heard_of(&told(ahead, START + 60_000, 10), at(START + 5)), None);
        assert!(restarted.may_sign());
    }

    #[test]
    fn the_run_before_in_this_directory_is_no_other_daemon() {
        let mut signing = signing();
        let before = Run { place: [5; 8], ..run(1, START - 50_000) };
        assert_eq!(signing.heard_of(&told(before, START - 20, 20), at(START + 5)), None);
        assert_eq!(signing.heard_of(&told(run(5, START), START + 1, 0), at(START + 5)), None, "nor is this run");
        assert!(signing.may_sign());
    }

    #[test]
    fn a_batch_that_was_not_signed_here_is_held_against_another_daemon() {
        let mut signing = signing();
        assert_eq!(signing.met_foreign(at(START), at(START + 10)), None, "from before the start: a restored backup");
        assert_eq!(signing.met_foreign(at(START + 1), at(START + 10)), Some(Change::Suspected));
        assert_eq!(signing.reason(), Some(NotSigning::AnotherSeen));
        signing.heard_of(&told(run(9, START + 1), START + 2, 0), at(START + 20));
        assert!(signing.may_sign(), "the other one started later, and stops");
        assert_eq!(signing.met_foreign(at(START + 30), at(START + 30)), None);

        let mut unheard = self::signing();
        unheard.met_foreign(at(START + 1), at(START + 10));
        assert_eq!(unheard.tick(false, true, at(START + 9 + SUSPECTED_MS)), None);
        assert_eq!(unheard.tick(false, true, at(START + 10 + SUSPECTED_MS)), Some(Change::Stopped));
        let mut learning = Signing::new(run(5, START), Hold::Until(at(START + 5_000)));
        assert_eq!(learning.met_foreign(at(START + 1), at(START + 10)), None);
    }

    #[test]
    fn a_hold_ends_when_all_who_are_asked_have_answered_or_its_time_is_over() {
        let until = START + 5_000;
        let mut signing = Signing::new(run(5, START), Hold::Until(at(until)));
        signing.tick(true, true, at(until + 10));
        assert!(!signing.may_sign(), "a sync under way may bring it");
        signing.tick(false, true, at(until + 20));
        assert!(signing.may_sign(), "nobody told");

        let mut answered = Signing::new(run(5, START), Hold::Until(at(until)));
        answered.answered(at(START + 100));
        answered.tick(true, true, at(START + 200));
        assert!(!answered.may_sign(), "another one is being asked, who may know more");
        answered.tick(false, true, at(START + 300));
        assert!(answered.may_sign());

        let mut lost = Signing::new(run(5, START), Hold::UntilAnswered);
        assert_eq!(lost.tick(false, true, at(START + 10_000_000)), None);
        assert_eq!(lost.reason(), Some(NotSigning::LogUnknown));
        lost.answered(at(START + 10_000_000));
        assert_eq!(lost.tick(true, true, at(START + 10_000_000 + OTHERS_MS)), Some(Change::LogKnown));
        assert!(lost.may_sign());
    }
}
