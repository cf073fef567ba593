//! Hostile peers: each costs the station that syncs with it only that peer, which its report names, and a bounded
//! number of requests; its ledger stays valid and gets no worse, and the next honest peer makes it whole.

mod common;

use common::station::Link;
use common::world::{Expect, NOT_ASKED, PEER, World, each_is_named, forge, introduction, valid_blocks, wrong_delta};
use qfzz_ledger_core::batch::{BatchError, SignedBatch};
use qfzz_ledger_core::block::{BlockError, SealedHeader, SignedBlock};
use qfzz_ledger_core::chain::ChainError;
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::crypto::SignatureScheme;
use qfzz_ledger_core::header::{Difficulty, Work};
use qfzz_ledger_core::ids::{BatchId, BlockHash, Sequence};
use qfzz_ledger_core::ledger::BlockRefusal;
use qfzz_ledger_core::limits::MAX_CLOCK_SKEW_MS;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::ConnectError;
use qfzz_ledger_core::testing::{at, interaction, key, station};
use qfzz_sync::message::{Request, Response, Status, max_headers};
use qfzz_sync::peer::SessionError;
use qfzz_sync::report::Fault;

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
            ("another kind to status", |w| of_another_kind(w, |it| matches!(it, Request::Status { .. })), NOT_ASKED),
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
                |w| {
                    headers(w, |_, _, headers| {
                        headers.resize(max_headers(SignatureScheme::Ed25519) + 1, headers[0].clone())
                    })
                },
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
            (Request::Status { .. }, Response::Status(status)) => {
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
    let blocks = valid_blocks(&world, 2 * max_headers(SignatureScheme::Ed25519) as u64 + 100);
    let count = blocks.len() as u64;

    // The same page of valid headers for ever: the second one leads nowhere.
    let all = world.honest.blocks().into_iter().map(|block| block.sealed().clone());
    let page: Vec<_> = all
        .chain(blocks.iter().map(|block| block.sealed.clone()))
        .take(max_headers(SignatureScheme::Ed25519))
        .collect();
    let genesis = world.honest.federation_rules().genesis_hash();
    let link = claiming_enormous_work(world.longer_by(blocks.clone()));
    let repeating = Link::new(station(PEER), move |_, request| match request {
        Request::Headers { .. } => Ok(Response::Headers { after: genesis, headers: page.clone() }),
        _ => link.ask_now(request),
    });
    let report = world.here.sync_over(&repeating);
    assert_eq!(
        (report.fault, world.here.height()),
        (Some(Fault::Withheld), max_headers(SignatureScheme::Ed25519) as u64)
    );
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
fn who_takes_long_gives_way_after_half_a_minute_where_others_wait() {
    for others_wait in [false, true] {
        let world = World::new();
        world.here.others_wait(others_wait);
        let (before, height) = (world.here.clock().now(), world.here.height());
        let link = world.but(|world, request, mut answer| {
            if let (Request::Blocks { .. }, Response::Blocks(blocks)) = (request, &mut answer) {
                world.here.clock().advance(9_000);
                blocks.truncate(1);
            }
            Ok(answer)
        });
        let report = world.here.sync_over(&link);
        let took = world.here.clock().now().since(before);
        if others_wait {
            assert_eq!(report.fault, Some(Fault::GaveWay));
            assert!((30_000..40_000).contains(&took), "{took}");
            assert_eq!(Fault::GaveWay.severity(), Severity::Later);
        } else {
            assert_eq!(report.fault, Some(Fault::Session(SessionError::Timeout)));
            assert!(took > 50_000, "{took}");
        }
        assert_eq!(world.here.height(), height + report.blocks);
    }
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
