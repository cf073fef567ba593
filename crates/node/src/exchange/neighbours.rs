//! What each connected peer has asked of us and been asked, counted. Pure: the time is an argument.

use std::collections::HashMap;

use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::message::Request;

use crate::rate::{Bucket, Rate};

/// Requests that a peer is answered. A sync over loopback makes hundreds a second, over any other link far fewer.
const REQUESTS: Rate = Rate::per_second(1_024, 256);

/// What a question for the status counts as: where much waits, its digest reads all of it in the service's turn. An honest
/// peer asks once a sync, that is five times a second at most, and once a second for its clients.
const STATUS: u64 = 8;

/// As how many a request counts; `None` for one that cannot be read.
pub(super) const fn cost_of(request: Option<&Request>) -> u64 {
    if let Some(Request::Status { .. }) = request { STATUS } else { 1 }
}

/// How often a peer may ask again while it is told that we are busy: an honest one waits a second each time.
const BUSY: Rate = Rate::per_second(512, 64);

/// How often a peer may ask for what is not here. After a reorganisation, or for a body that has yet to come, an honest
/// one does.
const UNKNOWN: Rate = Rate::per_second(256, 4);

/// How often a peer may fail to give what precedes a batch that it sent. Mined meanwhile, it is not pending any more.
const WITHHELD: Rate = Rate::per_second(32, 2);

/// What a peer that does not answer such a request at all costs, compared with one that gives nothing.
const SILENCE: u64 = 8;

/// Questions for a live opinion that a peer is answered.
const QUESTIONS: Rate = Rate::per_second(5, 5);

/// The same, of all peers together: each is a look at the state and a signature in the worker's turn.
const ALL_QUESTIONS: Rate = Rate::per_second(50, 50);

/// Requests of one peer that are being answered, at most, of [`MAX_ANSWERS`](super::MAX_ANSWERS) in all.
const MAX_ANSWERING: usize = 12;

/// Requests of ours beside syncs that are under way to one peer, at most, of [`MAX_FETCHES`](super::MAX_FETCHES) in all.
const MAX_FETCHING: usize = 8;

/// Questions of ours for a live opinion that are under way to one peer, at most: those that it does not answer stand for 20 s.
const MAX_ASKING: usize = 8;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    /// Answer it.
    Answer,
    /// Tell the peer that we are busy.
    Busy,
    /// Part with it: it was told that often enough.
    Enough,
}

/// What a request of ours for what precedes a batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gave {
    /// Something.
    Something,
    /// Nothing.
    Nothing,
    /// No answer in time.
    Silence,
}

/// Requests of one kind that are under way, at most so many.
struct UnderWay {
    count: usize,
    most: usize,
}

impl UnderWay {
    /// None yet.
    const fn none(most: usize) -> Self {
        Self { count: 0, most }
    }

    /// Whether one more may be; then it is, until [`end`](Self::end).
    fn begin(&mut self) -> bool {
        let may_begin = self.count < self.most;
        self.count += usize::from(may_begin);
        may_begin
    }

    /// One of them has ended.
    fn end(&mut self) {
        self.count = self.count.saturating_sub(1);
    }
}

struct Neighbour {
    requests: Bucket,
    busy: Bucket,
    unknown: Bucket,
    withheld: Bucket,
    questions: Bucket,
    answering: UnderWay,
    fetching: UnderWay,
    asking: UnderWay,
}

/// All connected peers.
pub(super) struct Neighbours {
    peers: HashMap<StationId, Neighbour>,
    /// Live opinions that all of them together may yet be given.
    questions: Bucket,
}

impl Neighbours {
    /// None yet.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { peers: HashMap::new(), questions: Bucket::full(ALL_QUESTIONS, now.as_millis()) }
    }

    /// A peer has connected.
    pub(super) fn connected(&mut self, peer: StationId, now: Timestamp) {
        let full = |rate| Bucket::full(rate, now.as_millis());
        self.peers.entry(peer).or_insert_with(|| Neighbour {
            requests: full(REQUESTS),
            busy: full(BUSY),
            unknown: full(UNKNOWN),
            withheld: full(WITHHELD),
            questions: full(QUESTIONS),
            answering: UnderWay::none(MAX_ANSWERING),
            fetching: UnderWay::none(MAX_FETCHING),
            asking: UnderWay::none(MAX_ASKING),
        });
    }

    /// It is gone, and all that was counted of it.
    pub(super) fn disconnected(&mut self, peer: &StationId) {
        self.peers.remove(peer);
    }

    /// Whether a peer is connected.
    pub(super) fn contains(&self, peer: &StationId) -> bool {
        self.peers.contains_key(peer)
    }

    /// A request came that counts as `cost` of them; `has_drawn_all` where the peer has drawn its share of bytes. What is to
    /// be answered counts as being answered until [`answered`](Self::answered).
    pub(super) fn asks(&mut self, peer: &StationId, cost: u64, has_drawn_all: bool, now: Timestamp) -> Welcome {
        let Some(neighbour) = self.peers.get_mut(peer) else { return Welcome::Busy };
        let now = now.as_millis();
        if neighbour.requests.spend(cost, now) && !has_drawn_all && neighbour.answering.begin() {
            return Welcome::Answer;
        }
        if neighbour.busy.spend(1, now) { Welcome::Busy } else { Welcome::Enough }
    }

    /// A request was answered, or will not be; `is_unknown` where it was for what is not here. False if that was so
    /// too often.
    pub(super) fn answered(&mut self, peer: &StationId, is_unknown: bool, now: Timestamp) -> bool {
        let Some(neighbour) = self.peers.get_mut(peer) else { return true };
        neighbour.answering.end();
        !is_unknown || neighbour.unknown.spend(1, now.as_millis())
    }

    /// Whether one more thing may be asked of a peer now; then it counts as under way until [`fetched`](Self::fetched).
    pub(super) fn may_fetch(&mut self, peer: &StationId) -> bool {
        self.peers.get_mut(peer).is_some_and(|neighbour| neighbour.fetching.begin())
    }

    /// A request of ours has ended.
    pub(super) fn fetched(&mut self, peer: &StationId) {
        if let Some(neighbour) = self.peers.get_mut(peer) {
            neighbour.fetching.end();
        }
    }

    /// Whether a peer may be given one more live opinion now.
    pub(super) fn may_question(&mut self, peer: &StationId, now: Timestamp) -> bool {
        let now = now.as_millis();
        let may_ask = self.peers.get_mut(peer).is_some_and(|neighbour| neighbour.questions.spend(1, now));
        may_ask && self.questions.spend(1, now)
    }

    /// Whether a peer may be asked for one more live opinion; then that is under way until [`asked`](Self::asked).
    pub(super) fn may_ask(&mut self, peer: &StationId) -> bool {
        self.peers.get_mut(peer).is_some_and(|neighbour| neighbour.asking.begin())
    }

    /// A question of ours has ended.
    pub(super) fn asked(&mut self, peer: &StationId) {
        if let Some(neighbour) = self.peers.get_mut(peer) {
            neighbour.asking.end();
        }
    }

    /// What a request for what precedes a batch came to; false if there was nothing too often.
    pub(super) fn gave(&mut self, peer: &StationId, gave: Gave, now: Timestamp) -> bool {
        let Some(neighbour) = self.peers.get_mut(peer) else { return true };
        let now = now.as_millis();
        match gave {
            Gave::Something => {
                neighbour.withheld = Bucket::full(WITHHELD, now);
                true
            }
            Gave::Nothing => neighbour.withheld.spend(1, now),
            Gave::Silence => neighbour.withheld.spend(SILENCE, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: StationId = StationId::from_bytes([1; 32]);
    const NOW: Timestamp = Timestamp::EPOCH;

    fn one() -> Neighbours {
        let mut neighbours = Neighbours::new(NOW);
        neighbours.connected(PEER, NOW);
        neighbours
    }

    #[test]
    fn a_status_counts_for_several_requests() {
        let mut neighbours = one();
        let answered = (0..1_000).filter(|_| {
            let welcome = neighbours.asks(&PEER, cost_of(Some(&Request::Status { alive: None })), false, NOW);
            neighbours.answered(&PEER, false, NOW);
            welcome == Welcome::Answer
        });
        assert_eq!(answered.count() as u64, REQUESTS.burst() / STATUS);
    }

    #[test]
    fn who_asks_on_and_on_is_told_that_we_are_busy_and_then_left() {
        let mut neighbours = one();
        let mut welcomes = Vec::new();
        for _ in 0..2_000 {
            let welcome = neighbours.asks(&PEER, 1, false, NOW);
            if welcome == Welcome::Answer {
                assert!(neighbours.answered(&PEER, false, NOW));
            }
            welcomes.push(welcome);
        }
        let count = |wanted| welcomes.iter().filter(|welcome| **welcome == wanted).count();
        assert_eq!((count(Welcome::Answer), count(Welcome::Busy)), (1_024, 512));
        assert_eq!(welcomes.last(), Some(&Welcome::Enough));
    }

    #[test]
    fn one_peer_has_only_its_share_of_what_is_under_way() {
        let mut neighbours = one();
        let asked = (0..50).filter(|_| neighbours.asks(&PEER, 1, false, NOW) == Welcome::Answer).count();
        assert_eq!(asked, MAX_ANSWERING);
        assert_eq!((0..50).filter(|_| neighbours.may_fetch(&PEER)).count(), MAX_FETCHING);
        neighbours.fetched(&PEER);
        assert!(neighbours.may_fetch(&PEER));
        assert!(!neighbours.may_fetch(&StationId::from_bytes([2; 32])), "nor one that is gone");
    }

    #[test]
    fn a_peer_is_given_five_opinions_a_second_and_asked_for_eight_at_a_time() {
        let mut neighbours = one();
        let mut given = |millis: i64| {
            let now = NOW.saturating_add(millis);
            (0..100).filter(|_| neighbours.may_question(&PEER, now)).count()
        };
        assert_eq!([given(0), given(199), given(200), given(1_200), given(60_000)], [5, 0, 1, 5, 5]);
        assert_eq!((0..50).filter(|_| neighbours.may_ask(&PEER)).count(), MAX_ASKING);
        neighbours.asked(&PEER);
        assert!(neighbours.may_ask(&PEER) && !neighbours.may_ask(&PEER));
        let gone = StationId::from_bytes([2; 32]);
        assert!(!neighbours.may_ask(&gone) && !neighbours.may_question(&gone, NOW));
    }

    #[test]
    fn all_peers_together_are_given_fifty_opinions_a_second_and_one_cannot_take_them_all() {
        let mut neighbours = Neighbours::new(NOW);
        let peers: Vec<StationId> = (0..40).map(|number| StationId::from_bytes([number; 32])).collect();
        peers.iter().for_each(|peer| neighbours.connected(*peer, NOW));
        let flood = |neighbours: &mut Neighbours, peer: &StationId, now: Timestamp| {
            (0..1_000).filter(|_| neighbours.may_question(peer, now)).count()
        };
        assert_eq!(flood(&mut neighbours, &peers[0], NOW), 5);
        assert_eq!(flood(&mut neighbours, &peers[1], NOW), 5, "who asks too often takes nothing from others");
        let rest: usize = peers.iter().map(|peer| flood(&mut neighbours, peer, NOW)).sum();
        assert_eq!(rest, 40);
        let later = NOW.saturating_add(1_000);
        assert_eq!(peers.iter().map(|peer| flood(&mut neighbours, peer, later)).sum::<usize>(), 50);
    }

    #[test]
    fn who_does_not_give_what_precedes_its_batches_is_left_and_giving_clears_it() {
        let mut neighbours = one();
        assert_eq!((0..31).filter(|_| neighbours.gave(&PEER, Gave::Nothing, NOW)).count(), 31);
        assert!(neighbours.gave(&PEER, Gave::Something, NOW));
        assert_eq!((0..100).filter(|_| neighbours.gave(&PEER, Gave::Nothing, NOW)).count(), 32);
        let mut silent = one();
        assert_eq!((0..100).filter(|_| silent.gave(&PEER, Gave::Silence, NOW)).count(), 4);
    }

    #[test]
    fn questions_for_what_is_not_here_are_forgiven_up_to_a_measure() {
        let mut neighbours = one();
        assert_eq!((0..1_000).filter(|_| neighbours.answered(&PEER, true, NOW)).count(), 256);
        assert!(neighbours.answered(&PEER, false, NOW));
    }
}
