//! Syncs where admission is by roster: nothing pending is taken of a stranger, and no body of a block that it made.

mod common;

use common::station::{Clock, Link, Station};
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::ids::Height;
use qfzz_ledger_core::ledger::BlockRefusal;
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::ConnectError;
use qfzz_ledger_core::testing::{Author, admits, at, interaction, rules_with_roster, station};
use qfzz_sync::message::{Request, Response, Status};
use qfzz_sync::report::Fault;

#[test]
fn what_a_stranger_has_pending_is_fetched_once_it_is_admitted() {
    let (rules, clock) = (rules_with_roster(2), Clock::default());
    let [founder, stranger] = [1, 5].map(|number| Station::new(&rules, number, &clock));
    stranger.say(vec![interaction("u")]);
    let link = founder.link_to(&stranger);
    let report = founder.sync_over(&link);
    assert_eq!((report.fault, report.batches), (None, 0));
    assert!(!link.requests().iter().any(|request| matches!(request, Request::Logs { .. })), "nothing is asked for");

    founder.say(vec![admits(station(5))]);
    founder.mine();
    assert_eq!(founder.sync_with(&stranger).batches, 1);
    let report = stranger.sync_with(&founder);
    assert_eq!((report.fault, report.blocks), (None, 1));
    assert!(founder.equals(&stranger));
    stranger.mine();
    assert_eq!(founder.sync_with(&stranger).blocks, 1);
}

#[test]
fn a_strangers_block_on_the_head_is_named_by_its_header_alone() {
    let (rules, clock) = (rules_with_roster(2), Clock::default());
    let founder = Station::new(&rules, 1, &clock);
    let mut stranger = Author::new(&rules, 5);
    let batch = stranger.batch(at(0), vec![interaction("u")]);
    let block: VerifiedBlock = stranger.block((Height::ZERO, rules.genesis_hash()), 0, at(1), vec![batch]);
    let (federation, sealed, hash) = (rules.federation(), block.sealed().clone(), block.hash());
    let (genesis, work) = (rules.genesis_hash(), rules.parameters().difficulty.work());
    let link = Link::new(station(5), move |_, request| {
        Ok(match request {
            Request::Status { .. } => Response::Status(Status {
                federation,
                head: hash,
                height: Height::new(1),
                work: work.plus(work),
                pending: [0; 32],
                your_log: LogEnd::EMPTY,
                other_run: None,
            }),
            Request::Headers { .. } => Response::Headers { after: genesis, headers: vec![sealed.clone()] },
            _ => Response::Unknown,
        })
    });
    let fault = founder.sync_over(&link).fault.expect("it is named");
    let is_named = |error: &ConnectError| *error == ConnectError::NotAdmitted { block: hash, station: station(5) };
    assert!(matches!(&fault, Fault::Block(BlockRefusal::Connect(error)) if is_named(error)), "{fault}");
    assert_eq!(fault.severity(), Severity::Peer);
    assert!(!link.requests().iter().any(|request| matches!(request, Request::Blocks { .. })));
}
