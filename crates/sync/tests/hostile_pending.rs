//! Hostile peers that lie about what is pending: bounded requests, and only the peer is lost.

mod common;

use common::station::Link;
use common::world::{Make, NOT_ASKED, PEER, World, each_is_named, introduction, nothing_is_named, wrong_delta};
use qfzz_ledger_core::batch::{BatchError, SignedBatch};
use qfzz_ledger_core::codec::encoded_len;
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::ids::{BatchId, Sequence, StationId};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::testing::{at, interaction, key, station};
use qfzz_sync::message::{MAX_LOGS, MAX_RESPONSE_BYTES, Request, Response, Status};
use qfzz_sync::report::Fault;

/// What is pending changed on its way; the chain is not looked at, for the peer claims the station's own head.
fn pending(
    world: &World,
    change: impl Fn(&World, &Request, Response) -> Response + Send + Sync + 'static,
) -> Link<'static> {
    world.but(move |world, request, answer| {
        Ok(match (request, answer) {
            (Request::Status { .. }, Response::Status(status)) => {
                let Response::Status(own) = world.here.answer(&station(PEER), request) else { panic!("a status") };
                Response::Status(Status { pending: [9; 32], your_log: status.your_log, ..own })
            }
            (_, answer) => change(world, request, answer),
        })
    })
}

/// A log's end at `next`.
fn end(next: u64) -> LogEnd {
    LogEnd { next: Sequence::new(next), last: BatchId::ZERO }
}

/// A page of `count` made-up logs after `after`, each ending at `next`.
fn page(after: Option<StationId>, count: usize, next: u64) -> Vec<(StationId, LogEnd)> {
    let first = after.map_or(0, |after| u32::from_be_bytes(after.as_bytes()[..4].try_into().expect("four bytes")) + 1);
    let log = |number: u32| {
        let mut id = [5; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        (StationId::from_bytes(id), end(next))
    };
    (first..).take(count).map(log).collect()
}

/// The pages of pending logs that `pages` makes, and nothing of the logs.
fn pages(world: &World, pages: fn(Option<StationId>) -> Vec<(StationId, LogEnd)>) -> Link<'static> {
    pending(world, move |_, request, answer| match request {
        Request::Pending { after } => Response::Pending(pages(*after)),
        Request::Logs { .. } => Response::Batches(Vec::new()),
        _ => answer,
    })
}

/// One pending log, station 4's, of which `logs` gives what it likes.
fn logs(world: &World, logs: impl Fn(&World, Sequence) -> Vec<SignedBatch> + Send + Sync + 'static) -> Link<'static> {
    pending(world, move |world, request, answer| match request {
        Request::Pending { .. } => Response::Pending(vec![(station(4), end(1_000))]),
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
                (Request::Status { .. }, Response::Status(mut status)) => {
                    let Response::Status(own) = world.here.answer(&station(PEER), request) else { panic!("a status") };
                    status.your_log.next = Sequence::new(u64::MAX);
                    Response::Status(Status { your_log: status.your_log, ..own })
                }
                (Request::Logs { .. }, _) => Response::Batches(Vec::new()),
                (_, answer) => answer,
            })
        })
    };
    each_is_named(&[("own log", make, |fault| *fault == Fault::Withheld)], 2);
}
