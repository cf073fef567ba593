//! Batches of stations that are not admitted: held for a while, unread, for their admission may be under way, and
//! counted, for whoever is not admitted has little to say.

use std::collections::{BTreeMap, VecDeque};

use qfzz_ledger_core::batch::{SignedBatch, VerifiedBatch};
use qfzz_ledger_core::ids::{Sequence, StationId};
use qfzz_ledger_core::ledger::BatchOutcome;
use qfzz_ledger_core::limits::{HELD_FOR_MS, MAX_UNADMITTED_PER_PEER};
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::{ReadError, Standing};
use qfzz_ledger_core::time::Timestamp;

use super::State;
use super::gossip::{Newest, pass_on};
use super::syncing::PAUSE_MS;
use crate::rate::{Bucket, Rate};
use crate::service::effect::Effect;

/// Bytes of batches that are held over all peers, at most: four peers' share of the largest ones.
const MAX_HELD_BYTES: usize = 16 * 1024 * 1024;

/// Batches that left the chain or the pool with their authors' admission, and are remembered, at most, and their bytes.
const MAX_LEFT_OUT: (usize, usize) = (256, 4 * 1024 * 1024);

/// What a peer that is not admitted may send of such batches: a message costs 16 and one for each KiB. So 64 of the
/// largest fit, as many as are held, or 300 small ones; then 4 small ones a second.
const MEASURE: Rate = Rate::per_second(5_120, 64);

/// What a message costs beside its length.
const MESSAGE_COST: u64 = 16;

/// A batch as it came.
struct Waiting {
    author: StationId,
    data: Vec<u8>,
    since: Timestamp,
}

#[derive(Default)]
pub(super) struct Strangers {
    /// By who sent them, in the order in which they came.
    held: BTreeMap<StationId, VecDeque<Waiting>>,
    held_bytes: usize,
    left_out: VecDeque<(VerifiedBatch, Timestamp)>,
    left_out_bytes: usize,
    /// What connected peers that are not admitted may yet send.
    measures: BTreeMap<StationId, Bucket>,
    /// Whether this station was admitted when it was last looked at.
    is_own_admitted: Option<bool>,
}

impl Strangers {
    /// Holds a batch; false where too much is held, of its sender or in all, or it is held already.
    fn hold(&mut self, from: StationId, author: StationId, data: &[u8], now: Timestamp) -> bool {
        let of_peer = self.held.get(&from);
        let is_known = of_peer.is_some_and(|held| held.iter().any(|waiting| waiting.data == data));
        let is_full = of_peer.is_some_and(|held| held.len() >= MAX_UNADMITTED_PER_PEER);
        if is_known || is_full || self.held_bytes + data.len() > MAX_HELD_BYTES {
            return false;
        }
        self.held_bytes += data.len();
        self.held.entry(from).or_default().push_back(Waiting { author, data: data.to_vec(), since: now });
        true
    }

    /// Counts a message of `bytes` about a station that is not admitted; false if its sender has sent too much.
    fn may_send(&mut self, from: StationId, bytes: usize, now: Timestamp) -> bool {
        let cost = MESSAGE_COST + bytes as u64 / 1_024;
        self.measures.entry(from).or_insert_with(|| Bucket::full(MEASURE, now.as_millis())).spend(cost, now.as_millis())
    }

    /// Forgets what was counted of a peer; what it sent is held on.
    pub(super) fn disconnected(&mut self, peer: &StationId) {
        self.measures.remove(peer);
    }

    /// Drops what was held long enough.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let is_late = |since: Timestamp| now.since(since) >= HELD_FOR_MS;
        self.retain(|waiting| !is_late(waiting.since));
        while let Some((batch, _)) = self.left_out.pop_front_if(|(_, since)| is_late(*since)) {
            self.left_out_bytes -= batch.encoded_len();
        }
    }

    fn retain(&mut self, keep: impl Fn(&Waiting) -> bool) {
        self.held.retain(|_, held| {
            held.retain(&keep);
            !held.is_empty()
        });
        self.held_bytes = self.held.values().flatten().map(|waiting| waiting.data.len()).sum();
    }

    /// Remembers what left the chain or the pool with its author's admission; the oldest is forgotten first.
    pub(super) fn leave_out(&mut self, batches: Vec<VerifiedBatch>, now: Timestamp) {
        for batch in batches {
            self.left_out_bytes += batch.encoded_len();
            self.left_out.push_back((batch, now));
        }
        while (self.left_out.len() > MAX_LEFT_OUT.0 || self.left_out_bytes > MAX_LEFT_OUT.1)
            && let Some((batch, _)) = self.left_out.pop_front()
        {
            self.left_out_bytes -= batch.encoded_len();
        }
    }

    /// Authors of what is held or was left out, each once.
    fn authors(&self) -> Vec<StationId> {
        let held = self.held.values().flatten().map(|waiting| waiting.author);
        let mut authors: Vec<StationId> = held.chain(self.left_out.iter().map(|(batch, _)| batch.station())).collect();
        authors.sort_unstable();
        authors.dedup();
        authors
    }

    /// Takes out what was left out of `author`, and what is held of it with who sent it; each in its order.
    fn take(&mut self, author: &StationId) -> (Vec<VerifiedBatch>, Vec<(StationId, Vec<u8>)>) {
        let mut held = Vec::new();
        for (from, waiting) in &mut self.held {
            while let Some(at) = waiting.iter().position(|it| it.author == *author)
                && let Some(found) = waiting.remove(at)
            {
                held.push((*from, found.data));
            }
        }
        self.retain(|_| true);
        let (taken, kept) = self.left_out.drain(..).partition(|(batch, _)| batch.station() == *author);
        self.left_out = kept;
        self.left_out_bytes = self.left_out.iter().map(|(batch, _)| batch.encoded_len()).sum();
        let taken: VecDeque<(VerifiedBatch, Timestamp)> = taken;
        (taken.into_iter().map(|(batch, _)| batch).collect(), held)
    }
}

/// Who wrote a batch, by the first bytes of its encoding: nothing else of it has been read.
fn author_of(data: &[u8]) -> Option<StationId> {
    data.first_chunk().copied().map(StationId::from_bytes)
}

impl<R: LedgerRead> State<R> {
    /// Whether a gossiped batch is of a station that is not admitted. Then it is held, unread, as far as there is room.
    ///
    /// That alone is no offence: the admission may be under way, or this station behind. A peer that is not admitted
    /// itself has its measure, and is left when it passes it.
    pub(super) fn holds_stranger(
        &mut self,
        from: StationId,
        data: &[u8],
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, ReadError> {
        let Some(author) = author_of(data) else { return Ok(false) };
        if author == self.ledger.own().station() || self.ledger.is_admitted(&author)? {
            return Ok(false);
        }
        self.strangers.hold(from, author, data, now);
        self.measure(from, data.len(), now, effects)?;
        Ok(true)
    }

    /// Counts what a peer sent about a station that is not admitted. Nobody is blamed before this station has caught up
    /// with some peer, for until then it does not know who is admitted.
    pub(super) fn measure(
        &mut self,
        from: StationId,
        bytes: usize,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadError> {
        let is_judged = self.is_synced() || self.ledger.rules().is_founder(&self.ledger.own().station());
        if is_judged && !self.ledger.is_admitted(&from)? && !self.strangers.may_send(from, bytes, now) {
            let reason = "is not admitted, and gossiped without measure what nobody may publish".to_owned();
            self.part_from(from, reason, PAUSE_MS, now, effects);
        }
        Ok(())
    }

    /// After a change of head: takes in what is held of stations that are admitted now, and tells of this station's own
    /// batches if it is.
    pub(super) fn admit_strangers(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Result<(), ReadError> {
        if !self.ledger.rules().has_roster() {
            return Ok(());
        }
        let mut newest = Newest::new();
        for author in self.strangers.authors() {
            if !self.ledger.is_admitted(&author)? {
                continue;
            }
            let (left_out, held) = self.strangers.take(&author);
            for batch in left_out {
                let outcome = self.ledger.add_verified(batch, now)?;
                self.on_batch_outcome(outcome, &mut newest, effects);
            }
            for (from, data) in held {
                let outcome = match SignedBatch::decode(&data) {
                    Ok(batch) => self.ledger.add_batch(batch, now)?,
                    Err(error) => BatchOutcome::Invalid(error),
                };
                match &outcome {
                    BatchOutcome::Invalid(error) => drop(self.judge(error.severity(), from, error, now, effects)),
                    BatchOutcome::Gap { from: missing } => self.ask_for_log(from, author, *missing, now, effects),
                    _ => {}
                }
                self.on_batch_outcome(outcome, &mut newest, effects);
            }
        }
        pass_on(newest, effects);
        let own = self.ledger.own().station();
        let is_admitted = self.ledger.is_admitted(&own)?;
        if self.strangers.is_own_admitted.replace(is_admitted) == Some(false) && is_admitted {
            // Others hold no more than a few of them, and ask for what precedes this one.
            let last = self.ledger.pool().log_from(&own, Sequence::ZERO).last().cloned();
            effects.extend(last.map(Effect::PublishBatch));
        }
        Ok(())
    }

    /// Whether what this station signs is gossiped: while it is not admitted, only as much as others hold of it.
    pub(super) fn may_publish(&self) -> Result<bool, ReadError> {
        let own = self.ledger.own().station();
        Ok(self.ledger.pool().len_of(&own) <= MAX_UNADMITTED_PER_PEER || self.ledger.is_admitted(&own)?)
    }

    /// A batch that waits for a block, or waited until its author was not admitted any more; and whether it is refused,
    /// because its author was expelled.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn waiting(&self, station: &StationId, sequence: Sequence) -> Result<Option<(VerifiedBatch, bool)>, ReadError> {
        let left_out = || {
            let mut batches = self.strangers.left_out.iter().map(|(batch, _)| batch);
            batches.find(|batch| batch.signed().place() == (*station, sequence))
        };
        let Some(batch) = self.ledger.pool().batch(station, sequence).or_else(left_out) else { return Ok(None) };
        Ok(Some((batch.clone(), self.ledger.standing(station)? == Standing::Expelled)))
    }
}

#[cfg(test)]
mod tests {
    use qfzz_ledger_core::codec::encode;
    use qfzz_ledger_core::federation::Rules;
    use qfzz_ledger_core::ids::{BlockHash, Height};
    use qfzz_ledger_core::memory::MemoryStore;
    use qfzz_ledger_core::record::Record;
    use qfzz_ledger_core::testing::{Author, admits, at, expels, interaction, ledger, rules_with_roster, station};
    use qfzz_sync::alive::Run;
    use std::sync::Arc;

    use super::*;
    use crate::service::effect::{Input, Verdict};
    use crate::service::state::{Hold, MiningConfig, StateConfig, SyncConfig};

    /// Founder 1's state, connected with stations 4 and 5, whom nobody has admitted.
    fn state(rules: &Arc<Rules>) -> State<MemoryStore> {
        let config = StateConfig {
            mining: MiningConfig { enabled: false, interval_ms: 1_000, records: 100, slot_ms: 0 },
            sync: SyncConfig { interval_ms: 30_000 },
            hold: Hold::No,
            run: Run { started_at: at(0), id: [1; 8], place: [1; 8] },
        };
        let mut state = State::new(ledger(rules, 1).0, config);
        for peer in [4, 5] {
            state.handle(Input::Connected(station(peer)), at(0));
        }
        state
    }

    /// A chain of founder 2's blocks, each with these records of its.
    struct Founder(Author, (Height, BlockHash), u64);

    impl Founder {
        fn new(rules: &Arc<Rules>) -> Self {
            Self(Author::new(rules, 2), (Height::ZERO, rules.genesis_hash()), 0)
        }

        fn says(&mut self, records: Vec<Record>, others: Vec<VerifiedBatch>) -> Input {
            let batch = self.0.batch(at(0), records);
            let body = std::iter::once(batch).chain(others).collect();
            let block = self.0.block(self.1, self.2, at(1 + i64::try_from(self.2).expect("few")), body);
            (self.1, self.2) = ((block.index(), block.hash()), self.2 + 1);
            Input::SyncedBlocks { token: 9, blocks: vec![block] }
        }
    }

    fn gossiped(from: u8, batch: &VerifiedBatch) -> Input {
        Input::GossipBatch { message: 7, from: station(from), data: encode(batch.signed()) }
    }

    fn is_ignored(effects: &[Effect]) -> bool {
        matches!(effects, [Effect::Verdict(7, Verdict::Ignore)])
    }

    fn bans(effects: &[Effect]) -> Vec<StationId> {
        let banned = |effect: &Effect| match effect {
            Effect::Ban { peer, .. } => Some(*peer),
            _ => None,
        };
        effects.iter().filter_map(banned).collect()
    }

    #[test]
    fn what_a_newcomer_gossiped_is_held_and_taken_in_once_it_is_admitted() {
        let rules = rules_with_roster(2);
        let (mut state, mut founder, mut newcomer) = (state(&rules), Founder::new(&rules), Author::new(&rules, 4));
        let batches = [newcomer.batch(at(0), vec![interaction("a")]), newcomer.batch(at(0), vec![interaction("b")])];
        for batch in &batches {
            assert!(is_ignored(&state.handle(gossiped(4, batch), at(10))));
            assert!(is_ignored(&state.handle(gossiped(4, batch), at(10))), "twice is once");
        }
        assert_eq!(state.ledger().pool().records(), 0);
        let effects = state.handle(founder.says(vec![admits(station(4))], vec![]), at(20));
        assert_eq!(state.ledger().pool().len_of(&station(4)), 2);
        assert!(effects.iter().any(|it| matches!(it, Effect::PublishBatch(batch) if *batch == batches[1])));
    }

    #[test]
    fn only_so_much_is_held_of_a_peer_and_for_so_long() {
        let rules = rules_with_roster(2);
        let (mut state, mut founder, mut newcomer) = (state(&rules), Founder::new(&rules), Author::new(&rules, 4));
        let batches: Vec<VerifiedBatch> = (0..70).map(|_| newcomer.batch(at(0), vec![interaction("a")])).collect();
        for batch in &batches {
            state.handle(gossiped(4, batch), at(10));
        }
        assert_eq!(state.strangers.held[&station(4)].len(), MAX_UNADMITTED_PER_PEER);
        let other = Author::new(&rules, 5).batch(at(0), vec![interaction("a")]);
        state.handle(gossiped(5, &other), at(10 + HELD_FOR_MS - 1));
        state.handle(Input::Tick, at(10 + HELD_FOR_MS));
        state.handle(founder.says(vec![admits(station(4)), admits(station(5))], vec![]), at(10 + HELD_FOR_MS));
        assert_eq!((state.ledger().pool().len_of(&station(4)), state.ledger().pool().len_of(&station(5))), (0, 1));
        assert_eq!(state.strangers.held_bytes, 0);
    }

    #[test]
    fn a_stranger_is_left_for_a_flood_and_an_admitted_peer_is_not() {
        let rules = rules_with_roster(2);
        let mut state = state(&rules);
        state.handle(Input::Connected(station(2)), at(0));
        let mut stranger = Author::new(&rules, 6);
        let batches: Vec<VerifiedBatch> = (0..1_000).map(|_| stranger.batch(at(0), vec![interaction("a")])).collect();
        let mut first = None;
        for (number, batch) in batches.iter().enumerate() {
            assert_eq!(bans(&state.handle(gossiped(2, batch), at(10))), [], "it may know more than we do");
            if bans(&state.handle(gossiped(4, batch), at(10))) == [station(4)] {
                first.get_or_insert(number);
            }
        }
        assert!(first.is_some_and(|first| (300..400).contains(&first)), "{first:?}");
        for batch in &batches[..64] {
            assert_eq!(bans(&state.handle(gossiped(5, batch), at(20))), [], "as many as are held are no flood");
        }
    }

    #[test]
    fn what_an_expelled_station_had_pending_is_refused_and_comes_back_with_it() {
        let rules = rules_with_roster(1);
        let mut state = state(&rules);
        let mut founder = Founder(Author::new(&rules, 1), (Height::ZERO, rules.genesis_hash()), 0);
        state.handle(founder.says(vec![admits(station(4))], vec![]), at(10));
        let batch = Author::new(&rules, 4).batch(at(0), vec![interaction("a")]);
        state.handle(gossiped(4, &batch), at(20));
        let place = (station(4), Sequence::ZERO);
        assert_eq!(state.waiting(&place.0, place.1), Ok(Some((batch.clone(), false))));
        state.handle(founder.says(vec![expels(station(4))], vec![]), at(30));
        assert_eq!(state.ledger().pool().records(), 0);
        assert_eq!(state.waiting(&place.0, place.1), Ok(Some((batch.clone(), true))));
        state.handle(founder.says(vec![admits(station(4))], vec![]), at(40));
        assert_eq!(state.waiting(&place.0, place.1), Ok(Some((batch, false))));
        assert_eq!(state.ledger().pool().records(), 1);
    }

    #[test]
    fn a_station_that_is_not_admitted_gossips_no_more_than_others_hold() {
        let rules = rules_with_roster(2);
        let mut newcomer = {
            let config = StateConfig {
                mining: MiningConfig { enabled: true, interval_ms: 1_000, records: 100, slot_ms: 0 },
                sync: SyncConfig { interval_ms: 30_000 },
                hold: Hold::No,
                run: Run { started_at: at(0), id: [1; 8], place: [1; 8] },
            };
            State::new(ledger(&rules, 4).0, config)
        };
        let mut published = 0;
        for token in 0..100 {
            let effects = newcomer.handle(Input::Submit { token, records: vec![interaction("a")] }, at(10));
            published += effects.iter().filter(|it| matches!(it, Effect::PublishBatch(_))).count();
            let number = effects.iter().find_map(|it| match it {
                Effect::Persist(transition) => Some(transition.number),
                _ => None,
            });
            newcomer.handle(Input::Committed(number.expect("signed")), at(10));
        }
        assert_eq!(published, MAX_UNADMITTED_PER_PEER);
        let mut founder = Founder::new(&rules);
        newcomer.handle(founder.says(vec![interaction("x")], vec![]), at(20));
        let admitted = newcomer.handle(founder.says(vec![admits(station(4))], vec![]), at(30));
        let last = |it: &Effect| matches!(it, Effect::PublishBatch(batch) if batch.sequence() == Sequence::new(99));
        assert!(admitted.iter().any(last), "others ask for what precedes it");
    }
}
