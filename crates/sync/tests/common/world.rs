//! An honest station, one that syncs with a hostile peer, and what such a peer makes.
#![allow(dead_code, reason = "each test file uses a part of it")]

use super::station::{Clock, Link, Station};
use qfzz_ledger_core::batch::{Introduction, SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::codec::encoded_len;
use qfzz_ledger_core::crypto::SignatureScheme;
use qfzz_ledger_core::header::{BlockHeader, Difficulty};
use qfzz_ledger_core::ids::{BatchId, BlockHash, Name, Sequence};
use qfzz_ledger_core::ledger::Template;
use qfzz_ledger_core::merkle;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::score::Delta;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::station_state;
use qfzz_ledger_core::testing::{at, interaction, key, rules, solve, station};
use qfzz_sync::message::{Request, Response, max_headers};
use qfzz_sync::peer::SessionError;
use qfzz_sync::report::Fault;

/// The hostile peer.
pub(crate) const PEER: u8 = 9;

/// An honest station, and one that has the first part of its chain and two records of its own.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) honest: Station,
    pub(crate) here: Station,
}

impl World {
    pub(crate) fn new() -> Self {
        let (rules, clock) = (rules(), Clock::default());
        let [honest, here, third] = [1, 2, 3].map(|number| Station::new(&rules, number, &clock));
        for number in 0..30 {
            honest.say(vec![interaction(&format!("u{number}"))]);
            honest.say(vec![interaction(&format!("v{number}"))]);
            honest.mine();
        }
        here.take(&honest.blocks()[..10]);
        here.say(vec![interaction("here")]);
        here.say(vec![interaction("here, too")]);
        third.say(vec![interaction("elsewhere")]);
        third.say(vec![interaction("elsewhere, too")]);
        honest.hear(third.pending());
        honest.say(vec![interaction("pending")]);
        Self { honest, here }
    }

    pub(crate) fn answer(&self, request: &Request) -> Response {
        self.honest.answer(&station(PEER), request)
    }

    /// A peer that answers as the honest one does, but for what `change` makes of it.
    pub(crate) fn but(
        &self,
        change: impl Fn(&Self, &Request, Response) -> Result<Response, SessionError> + Send + Sync + 'static,
    ) -> Link<'static> {
        let world = self.clone();
        Link::new(station(PEER), move |_, request| change(&world, request, world.answer(request)))
    }

    /// A peer whose chain goes on with `blocks` after the honest one's head.
    pub(crate) fn longer_by(&self, blocks: Vec<SignedBlock>) -> Link<'static> {
        let unit = Difficulty::new(1).expect("in range").work();
        self.but(move |world, request, answer| {
            let rules = world.honest.federation_rules();
            Ok(match (request, answer) {
                (Request::Status { .. }, Response::Status(mut status)) => {
                    for block in &blocks {
                        (status.head, status.work) = (block.sealed.hash(rules), status.work.plus(unit));
                        status.height = block.sealed.header.index;
                    }
                    Response::Status(status)
                }
                (Request::Headers { locator }, answer) => {
                    let own: Vec<BlockHash> = blocks.iter().map(|block| block.sealed.hash(rules)).collect();
                    let reached = locator.first().and_then(|first| own.iter().position(|hash| hash == first));
                    let (after, mut headers, from) = match (reached, answer) {
                        (Some(at), _) => (own[at], Vec::new(), at + 1),
                        (None, Response::Headers { after, headers }) => (after, headers, 0),
                        (None, answer) => return Ok(answer),
                    };
                    headers.extend(blocks[from..].iter().map(|block| block.sealed.clone()));
                    headers.truncate(max_headers(SignatureScheme::Ed25519));
                    Response::Headers { after, headers }
                }
                (Request::Blocks { hashes }, _) => {
                    let own = |hash: &BlockHash| blocks.iter().find(|block| block.sealed.hash(rules) == *hash).cloned();
                    let of_honest = |hash: &BlockHash| match world.answer(&Request::Blocks { hashes: vec![*hash] }) {
                        Response::Blocks(mut blocks) => blocks.pop(),
                        _ => None,
                    };
                    Response::Blocks(hashes.iter().filter_map(|hash| own(hash).or_else(|| of_honest(hash))).collect())
                }
                (_, answer) => answer,
            })
        })
    }

    pub(crate) fn head(&self) -> VerifiedBlock {
        self.honest.blocks().pop().expect("it has blocks")
    }

    /// The reveal of the honest station's `number`-th next block.
    pub(crate) fn reveal(&self, number: u64) -> [u8; 32] {
        let ledger = self.honest.ledger();
        let state = station_state(ledger.read(), &station(1)).expect("the store is in memory").expect("it produced");
        let reveals = ledger.own().reveals();
        let mut last = state.reveal;
        for step in 0..number {
            last = reveals.reveal(state.produced + step, &last).expect("not used up");
        }
        reveals.reveal(state.produced + number, &last).expect("not used up")
    }

    /// A block on the honest station's head that is valid, but for its `batches` and what `change` does to it.
    pub(crate) fn forged(&self, batches: Vec<SignedBatch>, change: impl FnOnce(&mut BlockHeader)) -> SignedBlock {
        let parent = self.head();
        forge(self, parent.header(), parent.hash(), self.reveal(0), batches, change)
    }

    /// The first batch of station 4, which nobody knows yet, signed whatever it holds.
    pub(crate) fn batch_of_stranger(&self, records: Vec<Record>) -> VerifiedBatch {
        let rules = self.honest.federation_rules();
        let introduction = introduction();
        let place = (Sequence::ZERO, BatchId::ZERO);
        SignedBatch::sign(rules, &key(4), place, rules.genesis_hash(), at(0), Some(introduction), records)
    }

    /// Syncs with `link`'s peer; the station gets no worse, stays valid, and a sync with the honest one makes it whole.
    pub(crate) fn survives(self, name: &str, link: &Link<'_>, most_requests: usize) -> Option<Fault> {
        let before = self.here.tip();
        let report = self.here.sync_over(link);
        let requests = link.requests().len();
        assert!(requests <= most_requests, "{name}: {requests} requests");
        assert_eq!(report.peer, station(PEER), "{name}");
        assert!(!before.is_better_than(&self.here.tip()), "{name}");
        self.here.assert_valid();
        let own = self.here.ledger().log_end(&station(2)).expect("the store is in memory");
        assert_eq!(own.next, Sequence::new(2), "{name}: its own batches are still there");

        for _ in 0..2 {
            for report in [self.here.sync_with(&self.honest), self.honest.sync_with(&self.here)] {
                assert_eq!(report.fault, None, "{name}: the sync with an honest peer");
            }
        }
        assert_eq!(self.here.head(), self.honest.head(), "{name}");
        assert_eq!(self.here.pending_digest(), self.honest.pending_digest(), "{name}");
        self.here.assert_valid();
        report.fault
    }
}

pub(crate) fn introduction() -> Introduction {
    Introduction { name: Name::new("hostile").expect("a name"), reveal_commitment: [0; 32], ml_dsa_key: None }
}

/// A block of station 1 after `parent`, with proof of work and seal.
pub(crate) fn forge(
    world: &World,
    parent: &BlockHeader,
    previous: BlockHash,
    reveal: [u8; 32],
    batches: Vec<SignedBatch>,
    change: impl FnOnce(&mut BlockHeader),
) -> SignedBlock {
    let rules = world.honest.federation_rules();
    let ids: Vec<[u8; 32]> = batches.iter().map(|batch| *batch.id(rules).as_bytes()).collect();
    let mut header = BlockHeader {
        index: parent.index.next().expect("a short chain"),
        previous,
        merkle_root: merkle::root(&ids),
        batch_count: batches.len() as u32,
        body_bytes: batches.iter().map(encoded_len).sum::<usize>() as u32,
        timestamp: parent.timestamp.saturating_add(1),
        reveal,
        nonce: 0,
        ..parent.clone()
    };
    change(&mut header);
    let header = solve(rules, &Template { header, batches: Vec::new() });
    SignedBlock { sealed: SealedHeader::seal(rules, &key(1), header), batches }
}

/// `count` valid blocks on the honest station's head; only every fifth holds a batch.
pub(crate) fn valid_blocks(world: &World, count: u64) -> Vec<SignedBlock> {
    let rules = world.honest.federation_rules();
    let parent = world.head();
    let (mut header, mut hash) = (parent.header().clone(), parent.hash());
    let mut place = (Sequence::ZERO, BatchId::ZERO);
    let ledger = world.honest.ledger();
    let state = station_state(ledger.read(), &station(1)).expect("the store is in memory").expect("it produced");
    let mut last = state.reveal;
    let mut blocks = Vec::new();
    for number in 0..count {
        let mut batches = Vec::new();
        if number % 5 == 0 {
            let introduction = (place.0 == Sequence::ZERO).then(introduction);
            let records = vec![interaction("u")];
            let batch = SignedBatch::sign(rules, &key(4), place, hash, at(0), introduction, records);
            place = (batch.sequence().next().expect("a short log"), batch.id());
            batches.push(batch.signed().clone());
        }
        last = ledger.own().reveals().reveal(state.produced + number, &last).expect("not used up");
        let block = forge(world, &header, hash, last, batches, |_| {});
        (header, hash) = (block.sealed.header.clone(), block.sealed.hash(rules));
        blocks.push(block);
    }
    blocks
}

pub(crate) type Make = fn(&World) -> Link<'static>;
pub(crate) type Expect = fn(&Fault) -> bool;

/// Runs each case in a world of its own: its peer is named with the fault expected, which is its own.
pub(crate) fn each_is_named(cases: &[(&str, Make, Expect)], most_requests: usize) {
    for (name, make, expected) in cases {
        let world = World::new();
        let link = make(&world);
        let fault = world.survives(name, &link, most_requests);
        let fault = fault.unwrap_or_else(|| panic!("{name}: nothing is named"));
        assert!(expected(&fault), "{name}: {fault:?}");
        assert_eq!(fault.severity(), Severity::Peer, "{name}: {fault:?}");
    }
}

pub(crate) const NOT_ASKED: Expect = |fault| *fault == Fault::NotAsked;
pub(crate) fn wrong_delta() -> Record {
    let Record::UserAction(mut action) = interaction("u") else { panic!("an interaction is a user action") };
    action.trust_delta = Delta::from_millionths(10_001).expect("in range");
    Record::UserAction(action)
}

/// Runs a case in which nothing can be held against the peer; what is asked of it is bounded all the same.
pub(crate) fn nothing_is_named(name: &str, make: Make, most_requests: usize) {
    let world = World::new();
    let link = make(&world);
    assert_eq!(world.survives(name, &link, most_requests), None, "{name}");
}
