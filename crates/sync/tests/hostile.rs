//! Hostile peers: each costs the station that syncs with it only that peer, which its report names, and a bounded
//! number of requests; its ledger stays valid and gets no worse, and the next honest peer makes it whole.

mod common;

use common::station::{Clock, Link, Station};
use qfzz_ledger_core::batch::{BatchError, Introduction, SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{BlockError, SealedHeader, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::chain::ChainError;
use qfzz_ledger_core::codec::{encode, encoded_len};
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::header::{BlockHeader, Difficulty, Work};
use qfzz_ledger_core::ids::{BatchId, BlockHash, Name, Sequence, StationId};
use qfzz_ledger_core::ledger::{BlockRefusal, Template};
use qfzz_ledger_core::limits::MAX_CLOCK_SKEW_MS;
use qfzz_ledger_core::merkle;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::score::Delta;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::{ConnectError, station_state};
use qfzz_ledger_core::testing::{at, interaction, key, rules, solve, station};
use qfzz_sync::message::{MAX_HEADERS, MAX_LOGS, MAX_RESPONSE_BYTES, Request, Response, Status};
use qfzz_sync::peer::SessionError;
use qfzz_sync::report::Fault;

/// The hostile peer.
const PEER: u8 = 9;

/// An honest station, and one that has the first part of its chain and two records of its own.
#[derive(Clone)]
struct World {
    honest: Station,
    here: Station,
}

impl World {
    fn new() -> Self {
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

    fn answer(&self, request: &Request) -> Response {
        self.honest.answer(&station(PEER), request)
    }

    /// A peer that answers as the honest one does, but for what `change` makes of it.
    fn but(
        &self,
        change: impl Fn(&Self, &Request, Response) -> Result<Response, SessionError> + Send + Sync + 'static,
    ) -> Link<'static> {
        let world = self.clone();
        Link::new(station(PEER), move |_, request| change(&world, request, world.answer(request)))
    }

    /// A peer whose chain goes on with `blocks` after the honest one's head.
    fn longer_by(&self, blocks: Vec<SignedBlock>) -> Link<'static> {
        let unit = Difficulty::new(1).expect("in range").work();
        self.but(move |world, request, answer| {
            let rules = world.honest.federation_rules();
            Ok(match (request, answer) {
                (Request::Status, Response::Status(mut status)) => {
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
                    headers.truncate(MAX_HEADERS);
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

    fn head(&self) -> VerifiedBlock {
        self.honest.blocks().pop().expect("it has blocks")
    }

    /// The reveal of the honest station's `number`-th next block.
    fn reveal(&self, number: u64) -> [u8; 32] {
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
    fn forged(&self, batches: Vec<SignedBatch>, change: impl FnOnce(&mut BlockHeader)) -> SignedBlock {
        let parent = self.head();
        forge(self, parent.header(), parent.hash(), self.reveal(0), batches, change)
    }

    /// The first batch of station 4, which nobody knows yet, signed whatever it holds.
    fn batch_of_stranger(&self, records: Vec<Record>) -> VerifiedBatch {
        let rules = self.honest.federation_rules();
        let introduction = introduction();
        let place = (Sequence::ZERO, BatchId::ZERO);
        SignedBatch::sign(rules, &key(4), place, rules.genesis_hash(), at(0), Some(introduction), records)
    }

    /// Syncs with `link`'s peer; the station gets no worse, stays valid, and a sync with the honest one makes it whole.
    fn survives(self, name: &str, link: &Link<'_>, most_requests: usize) -> Option<Fault> {
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

fn introduction() -> Introduction {
    Introduction { name: Name::new("hostile").expect("a name"), reveal_commitment: [0; 32], ml_dsa_key: None }
}

/// A block of station 1 after `parent`, with proof of work and seal.
fn forge(
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
fn valid_blocks(world: &World, count: u64) -> Vec<SignedBlock> {
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

type Make = fn(&World) -> Link<'static>;
type Expect = fn(&Fault) -> bool;

/// Runs each case in a world of its own: its peer is named with the fault expected, which is its own.
fn each_is_named(cases: &[(&str, Make, Expect)], most_requests: usize) {
    for (name, make, expected) in cases {
        let world = World::new();
        let link = make(&world);
        let fault = world.survives(name, &link, most_requests);
        let fault = fault.unwrap_or_else(|| panic!("{name}: nothing is named"));
        assert!(expected(&fault), "{name}: {fault:?}");
        assert_eq!(fault.severity(), Severity::Peer, "{name}: {fault:?}");
    }
}

const NOT_ASKED: Expect = |fault| *fault == Fault::NotAsked;
const BROKEN_LINK: Expect = |fault| matches!(fault, Fault::BrokenLink { .. });

fn block_error(fault: &Fault) -> Option<&BlockError> {
    match fault {
        Fault::Block(BlockRefusal::Block(error)) => Some(error),
        _ => None,
    }
}

fn no_batches(answer: Response) -> Response {
    match answer {
        Response::Headers { .. } | Response::Status(_) => Response::Batches(Vec::new()),
        _ => Response::Pending(Vec::new()),
    }
}

/// An answer that `is_for` this kind of request becomes one of another kind.
fn of_another_kind(world: &World, is_for: fn(&Request) -> bool) -> Link<'static> {
    world.but(move |_, request, answer| {
        Ok(match request {
            Request::Pending { .. } if is_for(request) => Response::Batches(Vec::new()),
            _ if is_for(request) => no_batches(answer),
            _ => answer,
        })
    })
}

#[test]
fn answers_of_another_kind_or_none() {
    each_is_named(
        &[
            ("another kind to status", |w| of_another_kind(w, |it| matches!(it, Request::Status)), NOT_ASKED),
            ("to headers", |w| of_another_kind(w, |it| matches!(it, Request::Headers { .. })), NOT_ASKED),
            ("to blocks", |w| of_another_kind(w, |it| matches!(it, Request::Blocks { .. })), NOT_ASKED),
            ("to pending", |w| of_another_kind(w, |it| matches!(it, Request::Pending { .. })), NOT_ASKED),
            ("to logs", |w| of_another_kind(w, |it| matches!(it, Request::Logs { .. })), NOT_ASKED),
            ("unknown to everything", |w| w.but(|_, _, _| Ok(Response::Unknown)), NOT_ASKED),
            (
                "unknown to headers",
                |w| {
                    w.but(|_, request, answer| {
                        let is_headers = matches!(request, Request::Headers { .. });
                        Ok(if is_headers { Response::Unknown } else { answer })
                    })
                },
                NOT_ASKED,
            ),
            (
                "unknown to blocks",
                |w| {
                    w.but(|_, request, answer| {
                        let is_blocks = matches!(request, Request::Blocks { .. });
                        Ok(if is_blocks { Response::Unknown } else { answer })
                    })
                },
                |fault| *fault == Fault::Withheld,
            ),
            (
                "silence",
                |w| {
                    w.but(|world, _, _| {
                        world.here.clock().advance(20_000);
                        Err(SessionError::Timeout)
                    })
                },
                |fault| *fault == Fault::Session(SessionError::Timeout),
            ),
            (
                "truncated",
                |w| {
                    w.but(|_, _, answer| {
                        let bytes = encode(&answer);
                        Ok(Response::decode(&bytes[..bytes.len() / 2])?)
                    })
                },
                |fault| *fault == Fault::Session(SessionError::Malformed),
            ),
        ],
        5,
    );
}

/// Headers with the last of them changed.
fn headers(
    world: &World,
    change: impl Fn(&World, &mut BlockHash, &mut Vec<SealedHeader>) + Send + Sync + 'static,
) -> Link<'static> {
    world.but(move |world, _, mut answer| {
        if let Response::Headers { after, headers } = &mut answer {
            change(world, after, headers);
        }
        Ok(answer)
    })
}

#[test]
fn headers_that_do_not_hold() {
    each_is_named(
        &[
            ("one left out", |w| headers(w, |_, _, headers| drop(headers.remove(5))), BROKEN_LINK),
            ("in another order", |w| headers(w, |_, _, headers| headers.reverse()), BROKEN_LINK),
            (
                "after a block that is not known",
                |w| headers(w, |_, after, _| *after = BlockHash::from_bytes([7; 32])),
                BROKEN_LINK,
            ),
            (
                "after a block that was not named",
                |w| {
                    // Deep enough that the locator leaves blocks out.
                    let all = w.honest.blocks();
                    w.here.take(&all[10..25]);
                    let sealed: Vec<_> = all.iter().map(|block| block.sealed().clone()).collect();
                    headers(w, move |world, after, headers| {
                        let rules = world.here.federation_rules();
                        let locator = world.here.ledger().chain().locator();
                        let at = sealed[..25].iter().rposition(|it| !locator.contains(&it.hash(rules)));
                        let at = at.expect("the locator leaves some out");
                        (*after, *headers) = (sealed[at].hash(rules), sealed[at + 1..].to_vec());
                    })
                },
                BROKEN_LINK,
            ),
            (
                "more than 2,000",
                |w| headers(w, |_, _, headers| headers.resize(MAX_HEADERS + 1, headers[0].clone())),
                NOT_ASKED,
            ),
            (
                "without work",
                |w| {
                    let mut block = w.forged(Vec::new(), |_| {});
                    let rules = w.honest.federation_rules();
                    while rules.parameters().difficulty.is_met_by(&block.sealed.hash(rules)) {
                        block.sealed.header.nonce += 1;
                    }
                    block.sealed = SealedHeader::seal(rules, &key(1), block.sealed.header);
                    w.longer_by(vec![block])
                },
                |fault| matches!(block_error(fault), Some(BlockError::Work { .. })),
            ),
            (
                "of another difficulty",
                |w| {
                    let harder = Difficulty::new(2).expect("in range");
                    w.longer_by(vec![w.forged(Vec::new(), |header| header.difficulty = harder)])
                },
                |fault| matches!(block_error(fault), Some(BlockError::Difficulty { .. })),
            ),
            (
                "with another's seal",
                |w| {
                    let mut block = w.forged(Vec::new(), |_| {});
                    let rules = w.honest.federation_rules();
                    block.sealed = SealedHeader::seal(rules, &key(PEER), block.sealed.header);
                    w.longer_by(vec![block])
                },
                |fault| matches!(block_error(fault), Some(BlockError::Seal { .. })),
            ),
            (
                "not later than the median",
                |w| {
                    let head = w.honest.head();
                    let median = w.honest.ledger().chain().median_time(&head);
                    w.longer_by(vec![w.forged(Vec::new(), |header| header.timestamp = median)])
                },
                |fault| matches!(fault, Fault::Block(BlockRefusal::Chain(ChainError::TooOld { .. }))),
            ),
            (
                "a fifth in a row without batches",
                |w| {
                    let mut blocks = vec![w.forged(Vec::new(), |_| {})];
                    for number in 1..5 {
                        let parent = &blocks[blocks.len() - 1].sealed;
                        let hash = parent.hash(w.honest.federation_rules());
                        blocks.push(forge(w, &parent.header, hash, w.reveal(number), Vec::new(), |_| {}));
                    }
                    w.longer_by(blocks)
                },
                |fault| matches!(fault, Fault::Block(BlockRefusal::Chain(ChainError::Empty { .. }))),
            ),
        ],
        2,
    );
}

/// Blocks changed on their way.
fn bodies(world: &World, change: fn(&mut Vec<SignedBlock>)) -> Link<'static> {
    world.but(move |_, _, mut answer| {
        if let Response::Blocks(blocks) = &mut answer {
            change(blocks);
        }
        Ok(answer)
    })
}

const BODY: Expect = |fault| matches!(block_error(fault), Some(BlockError::Body { .. }));

#[test]
fn bodies_that_do_not_hold() {
    each_is_named(
        &[
            (
                "another block's batches",
                |w| {
                    bodies(w, |blocks| {
                        let (first, second) = blocks.split_at_mut(1);
                        std::mem::swap(&mut first[0].batches, &mut second[0].batches);
                    })
                },
                BODY,
            ),
            ("a batch missing", |w| bodies(w, |blocks| drop(blocks[3].batches.pop())), BODY),
            ("its batches in another order", |w| bodies(w, |blocks| blocks[3].batches.reverse()), BODY),
            (
                "a batch too many",
                |w| {
                    bodies(w, |blocks| {
                        let more = blocks[4].batches.clone();
                        blocks[3].batches.extend(more);
                    })
                },
                BODY,
            ),
            ("none", |w| bodies(w, Vec::clear), |fault| *fault == Fault::Withheld),
            ("in another order", |w| bodies(w, |blocks| blocks.reverse()), NOT_ASKED),
            ("more than asked", |w| bodies(w, |blocks| blocks.extend(blocks.clone())), NOT_ASKED),
            (
                "a seal changed",
                |w| bodies(w, |blocks| blocks[2].sealed.seal = Signature::from_bytes(vec![1; 64])),
                |fault| matches!(block_error(fault), Some(BlockError::Seal { .. })),
            ),
            (
                "a batch with a bad signature",
                |w| {
                    let mut batch = w.batch_of_stranger(vec![interaction("u")]).signed().clone();
                    batch.signature = Signature::from_bytes(vec![1; 64]);
                    w.longer_by(vec![w.forged(vec![batch], |_| {})])
                },
                |fault| {
                    let error = block_error(fault);
                    matches!(error, Some(BlockError::Batch { error: BatchError::Signature { .. }, .. }))
                },
            ),
            (
                "a record whose delta is not its action's",
                |w| {
                    w.longer_by(vec![w.forged(vec![w.batch_of_stranger(vec![wrong_delta()]).signed().clone()], |_| {})])
                },
                |fault| matches!(block_error(fault), Some(BlockError::Batch { error: BatchError::Record { .. }, .. })),
            ),
            (
                "a batch dated after its block",
                |w| {
                    let rules = w.honest.federation_rules();
                    let late = w.head().header().timestamp.saturating_add(MAX_CLOCK_SKEW_MS + 2);
                    let (place, seen) = ((Sequence::ZERO, BatchId::ZERO), rules.genesis_hash());
                    let batch = SignedBatch::sign(rules, &key(4), place, seen, late, Some(introduction()), vec![]);
                    w.longer_by(vec![w.forged(vec![batch.signed().clone()], |_| {})])
                },
                |fault| matches!(block_error(fault), Some(BlockError::BatchTime { .. })),
            ),
            (
                "a gap in a log",
                |w| {
                    let rules = w.honest.federation_rules();
                    let place = (Sequence::new(1), w.batch_of_stranger(Vec::new()).id());
                    let records = vec![interaction("u")];
                    let batch = SignedBatch::sign(rules, &key(4), place, rules.genesis_hash(), at(0), None, records);
                    w.longer_by(vec![w.forged(vec![batch.signed().clone()], |_| {})])
                },
                |fault| matches!(fault, Fault::Block(BlockRefusal::Connect(ConnectError::NotNext { .. }))),
            ),
            (
                "a reveal that opens nothing",
                |w| w.longer_by(vec![w.forged(Vec::new(), |header| header.reveal = [7; 32])]),
                |fault| matches!(fault, Fault::Block(BlockRefusal::Connect(ConnectError::Reveal { .. }))),
            ),
            (
                "a producer that has not introduced itself",
                |w| {
                    let mut block = w.forged(Vec::new(), |header| header.producer = station(PEER));
                    block.sealed = SealedHeader::seal(w.honest.federation_rules(), &key(PEER), block.sealed.header);
                    w.longer_by(vec![block])
                },
                |fault| matches!(fault, Fault::Block(BlockRefusal::Connect(ConnectError::Introduction { .. }))),
            ),
        ],
        5,
    );
}

fn wrong_delta() -> Record {
    let Record::UserAction(mut action) = interaction("u") else { panic!("an interaction is a user action") };
    action.trust_delta = Delta::from_millionths(10_001).expect("in range");
    Record::UserAction(action)
}

/// What is pending changed on its way; the chain is not looked at, for the peer claims the station's own head.
fn pending(
    world: &World,
    change: impl Fn(&World, &Request, Response) -> Response + Send + Sync + 'static,
) -> Link<'static> {
    world.but(move |world, request, answer| {
        Ok(match (request, answer) {
            (Request::Status, Response::Status(status)) => {
                let Response::Status(own) = world.here.answer(&station(PEER), request) else { panic!("a status") };
                Response::Status(Status { pending: [9; 32], your_log: status.your_log, ..own })
            }
            (_, answer) => change(world, request, answer),
        })
    })
}

/// A page of `count` made-up logs after `after`, each ending at `next`.
fn page(after: Option<StationId>, count: usize, next: u64) -> Vec<(StationId, Sequence)> {
    let first = after.map_or(0, |after| u32::from_be_bytes(after.as_bytes()[..4].try_into().expect("four bytes")) + 1);
    let log = |number: u32| {
        let mut id = [5; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        (StationId::from_bytes(id), Sequence::new(next))
    };
    (first..).take(count).map(log).collect()
}

/// The pages of pending logs that `pages` makes, and nothing of the logs.
fn pages(world: &World, pages: fn(Option<StationId>) -> Vec<(StationId, Sequence)>) -> Link<'static> {
    pending(world, move |_, request, answer| match request {
        Request::Pending { after } => Response::Pending(pages(*after)),
        Request::Logs { .. } => Response::Batches(Vec::new()),
        _ => answer,
    })
}

/// One pending log, station 4's, of which `logs` gives what it likes.
fn logs(world: &World, logs: impl Fn(&World, Sequence) -> Vec<SignedBatch> + Send + Sync + 'static) -> Link<'static> {
    pending(world, move |world, request, answer| match request {
        Request::Pending { .. } => Response::Pending(vec![(station(4), Sequence::new(1_000))]),
        Request::Logs { from } => Response::Batches(logs(world, from[0].1)),
        _ => answer,
    })
}

#[test]
fn pending_batches_that_do_not_hold() {
    each_is_named(
        &[
            (
                "descending",
                |w| {
                    pages(w, |after| {
                        let mut page = page(after, MAX_LOGS, 1);
                        page.reverse();
                        page
                    })
                },
                NOT_ASKED,
            ),
            ("a log twice", |w| pages(w, |after| [page(after, 1, 1), page(after, 1, 1)].concat()), NOT_ASKED),
            ("one page for ever", |w| pages(w, |_| page(None, MAX_LOGS, 0)), NOT_ASKED),
            ("too many a page", |w| pages(w, |after| page(after, MAX_LOGS + 1, 0)), NOT_ASKED),
            ("promises for ever", |w| pages(w, |after| page(after, MAX_LOGS, 1)), |fault| *fault == Fault::Withheld),
            (
                "another log's batch",
                |w| {
                    logs(w, |world, _| {
                        let rules = world.honest.federation_rules();
                        let (place, seen) = ((Sequence::ZERO, BatchId::ZERO), rules.genesis_hash());
                        let batch = SignedBatch::sign(rules, &key(5), place, seen, at(0), Some(introduction()), vec![]);
                        vec![batch.signed().clone()]
                    })
                },
                NOT_ASKED,
            ),
            (
                "a batch before what was asked",
                |w| {
                    w.here.hear([w.batch_of_stranger(Vec::new())]);
                    w.honest.hear([w.batch_of_stranger(Vec::new())]);
                    logs(w, |world, _| vec![world.batch_of_stranger(Vec::new()).signed().clone()])
                },
                NOT_ASKED,
            ),
            (
                "a bad signature",
                |w| {
                    logs(w, |world, _| {
                        let mut batch = world.batch_of_stranger(Vec::new()).signed().clone();
                        batch.signature = Signature::from_bytes(vec![1; 64]);
                        vec![batch]
                    })
                },
                |fault| matches!(fault, Fault::Batch(BatchError::Signature { .. })),
            ),
            (
                "a record whose delta is not its action's",
                |w| logs(w, |world, _| vec![world.batch_of_stranger(vec![wrong_delta()]).signed().clone()]),
                |fault| matches!(fault, Fault::Batch(BatchError::Record { .. })),
            ),
        ],
        9,
    );
}

/// Runs a case in which nothing can be held against the peer; what is asked of it is bounded all the same.
fn nothing_is_named(name: &str, make: Make, most_requests: usize) {
    let world = World::new();
    let link = make(&world);
    assert_eq!(world.survives(name, &link, most_requests), None, "{name}");
}

#[test]
fn endless_pages_of_logs_that_hold_nothing_new_end_where_an_honest_pool_does() {
    nothing_is_named("pages", |w| pages(w, |after| page(after, MAX_LOGS, 0)), 1 + 256);
}

#[test]
fn logs_that_never_grow_or_grow_for_ever_end() {
    let gap: Make = |w| {
        logs(w, |world, _| {
            let rules = world.honest.federation_rules();
            let place = (Sequence::new(5), BatchId::from_bytes([1; 32]));
            let records = vec![interaction("u")];
            let batch = SignedBatch::sign(rules, &key(4), place, rules.genesis_hash(), at(0), None, records);
            vec![batch.signed().clone()]
        })
    };
    nothing_is_named("a gap that is never filled", gap, 3);
    let same: Make = |w| {
        logs(w, |world, _| {
            let batch = world.batch_of_stranger(vec![interaction("u")]).signed().clone();
            vec![batch.clone(); (MAX_RESPONSE_BYTES - 16) / encoded_len(&batch)]
        })
    };
    // The first answer brings one batch, so there is a second; that one holds what was not asked any more.
    let world = World::new();
    let link = same(&world);
    assert_eq!(world.survives("one batch for ever", &link, 4), Some(Fault::NotAsked));

    // One new batch each time, in an answer made full by repeating it.
    let slow: Make = |w| {
        let rules = w.honest.federation_rules();
        let mut place = (Sequence::ZERO, BatchId::ZERO);
        let mut log = Vec::new();
        for _ in 0..100 {
            let introduction = (place.0 == Sequence::ZERO).then(introduction);
            let records = (0..256).map(|number| interaction(&format!("{number:0>100}"))).collect();
            let seen = rules.genesis_hash();
            let batch = SignedBatch::sign(rules, &key(4), place, seen, at(0), introduction, records);
            place = (batch.sequence().next().expect("a short log"), batch.id());
            log.push(batch.signed().clone());
        }
        logs(w, move |_, from| {
            let batch = &log[from.get() as usize];
            vec![batch.clone(); (MAX_RESPONSE_BYTES - 16) / encoded_len(batch)]
        })
    };
    nothing_is_named("grows by one batch an answer", slow, 2 + 33);
}

#[test]
fn a_claim_to_this_stations_own_log_that_is_not_kept_costs_two_requests() {
    let make: Make = |w| {
        w.but(|world, request, answer| {
            Ok(match (request, answer) {
                (Request::Status, Response::Status(mut status)) => {
                    let Response::Status(own) = world.here.answer(&station(PEER), request) else { panic!("a status") };
                    status.your_log.next = Sequence::new(u64::MAX);
                    Response::Status(Status { your_log: status.your_log, ..own })
                }
                (Request::Logs { .. }, _) => Response::Batches(Vec::new()),
                (_, answer) => answer,
            })
        })
    };
    nothing_is_named("own log", make, 2);
}

#[test]
fn headers_dated_ahead_wait_and_those_before_them_are_taken() {
    let world = World::new();
    let ahead = world.here.clock().now().saturating_add(MAX_CLOCK_SKEW_MS + 1);
    let link = world.longer_by(vec![world.forged(Vec::new(), |header| header.timestamp = ahead)]);
    let honest = world.honest.clone();
    let report = world.here.sync_over(&link);
    assert_eq!((report.fault, report.blocks), (None, 20));
    assert_eq!(world.here.head(), honest.head());
    world.here.clock().advance(1);
    assert_eq!(world.here.sync_over(&link).blocks, 1);
    world.here.assert_valid();
}

/// Far more work than anybody has.
fn enormous() -> Work {
    (0..1_000).fold(Work::ZERO, |work, _| work.plus(Difficulty::new(8).expect("in range").work()))
}

/// Claims another head and other work than it has.
fn claims(world: &World, head: [u8; 32], work: fn(&World) -> Work, has: fn(&World) -> bool) -> Link<'static> {
    world.but(move |world, request, answer| {
        Ok(match (request, answer) {
            (Request::Status, Response::Status(status)) => {
                Response::Status(Status { head: BlockHash::from_bytes(head), work: work(world), ..status })
            }
            (Request::Headers { .. }, _) if !has(world) => {
                Response::Headers { after: world.here.head(), headers: Vec::new() }
            }
            (_, answer) => answer,
        })
    })
}

#[test]
fn who_claims_more_work_than_it_has_is_named_after_what_it_has_was_taken() {
    let world = World::new();
    let link = claims(&world, [7; 32], |_| enormous(), |_| true);
    let report = world.here.sync_over(&link);
    assert_eq!((report.fault, report.blocks), (Some(Fault::Withheld), 20));
    assert_eq!(Fault::Withheld.severity(), Severity::Peer);
    each_is_named(
        &[
            ("some headers", |w| claims(w, [7; 32], |_| enormous(), |_| true), |fault| *fault == Fault::Withheld),
            ("no headers", |w| claims(w, [7; 32], |_| enormous(), |_| false), |fault| *fault == Fault::Withheld),
        ],
        5,
    );
}

#[test]
fn a_flood_of_heads_of_equal_work_changes_nothing_and_fetches_no_body() {
    let world = World::new();
    let before = world.here.head();
    for number in 0..50 {
        let link = claims(&world, [number; 32], |world| world.here.tip().work, |_| false);
        let report = world.here.sync_over(&link);
        assert_eq!((report.fault, report.blocks), (None, 0));
        assert!(!link.requests().iter().any(|request| matches!(request, Request::Blocks { .. })));
    }
    assert_eq!(world.here.head(), before);
    let link = claims(&world, [1; 32], |world| world.here.tip().work, |_| false);
    assert_eq!(world.survives("equal work", &link, 4), None);
}

/// The peer behind `link`, but it claims far more work.
fn claiming_enormous_work(link: Link<'static>) -> Link<'static> {
    Link::new(station(PEER), move |_, request| {
        Ok(match link.ask_now(request)? {
            Response::Status(status) => {
                Response::Status(Status { work: enormous(), head: BlockHash::from_bytes([7; 32]), ..status })
            }
            answer => answer,
        })
    })
}

#[test]
fn endless_headers_cost_the_peer_the_work_of_each() {
    let world = World::new();
    let blocks = valid_blocks(&world, 2 * MAX_HEADERS as u64 + 100);
    let count = blocks.len() as u64;

    // The same page of valid headers for ever: the second one leads nowhere.
    let all = world.honest.blocks().into_iter().map(|block| block.sealed().clone());
    let page: Vec<_> = all.chain(blocks.iter().map(|block| block.sealed.clone())).take(MAX_HEADERS).collect();
    let genesis = world.honest.federation_rules().genesis_hash();
    let link = claiming_enormous_work(world.longer_by(blocks.clone()));
    let repeating = Link::new(station(PEER), move |_, request| match request {
        Request::Headers { .. } => Ok(Response::Headers { after: genesis, headers: page.clone() }),
        _ => link.ask_now(request),
    });
    let report = world.here.sync_over(&repeating);
    assert_eq!((report.fault, world.here.height()), (Some(Fault::Withheld), MAX_HEADERS as u64));
    assert!(repeating.requests().len() < 20, "{}", repeating.requests().len());

    // A peer that goes on as long as it has blocks, and claims more: each was worth its work.
    let endless = claiming_enormous_work(world.longer_by(blocks));
    let report = world.here.sync_over(&endless);
    assert_eq!((report.fault, world.here.height()), (Some(Fault::Withheld), 30 + count));
    assert!(endless.requests().len() < 30, "{}", endless.requests().len());
    world.here.assert_valid();
    assert_eq!(world.honest.sync_with(&world.here).fault, None);
    assert_eq!(world.honest.head(), world.here.head());
}

#[test]
fn who_is_busy_for_ever_is_left_after_a_minute() {
    let world = World::new();
    let link = world.but(|_, _, _| Ok(Response::Busy));
    let before = world.here.clock().now();
    let here = world.here.clone();
    assert_eq!(world.survives("busy", &link, 61), Some(Fault::Busy));
    assert_eq!(Fault::Busy.severity(), Severity::Later);
    assert!(here.clock().now().since(before) <= 61_000);
}

#[test]
fn who_gives_one_block_in_19_seconds_is_left_after_a_minute() {
    each_is_named(
        &[(
            "slow",
            |w| {
                w.but(|world, request, mut answer| {
                    if let (Request::Blocks { .. }, Response::Blocks(blocks)) = (request, &mut answer) {
                        world.here.clock().advance(19_000);
                        blocks.truncate(1);
                    }
                    Ok(answer)
                })
            },
            |fault| *fault == Fault::Session(SessionError::Timeout),
        )],
        6,
    );
}

#[test]
fn who_leaves_in_the_middle_is_not_at_fault_and_what_it_gave_is_kept() {
    for left_after in 0..5 {
        let world = World::new();
        let others = world.clone();
        let link = Link::new(station(PEER), move |number, request| {
            if number < left_after { Ok(others.answer(request)) } else { Err(SessionError::Disconnected) }
        });
        let fault = world.survives("left", &link, left_after + 1);
        assert_eq!(fault, Some(Fault::Session(SessionError::Disconnected)), "after {left_after} answers");
        assert_eq!(fault.map(|fault| fault.severity()), Some(Severity::Later));
    }
}
