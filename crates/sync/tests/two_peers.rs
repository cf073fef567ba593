//! Two honest stations become equal, at a cost that follows the difference between them.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::station::{Clock, Link, Station};
use qfzz_ledger_core::crypto::SignatureScheme;
use qfzz_ledger_core::limits::MAX_BODY_BYTES;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::testing::{
    Author, added, at, interaction, key, proof, rules, rules_hybrid, rules_with, verified,
};
use qfzz_sync::alive::{OtherRun, Run, Statement};
use qfzz_sync::message::{Request, Response, Status, max_headers};
use qfzz_sync::report::{Fault, SyncReport};
use qfzz_sync::serve::BURST_BYTES;

/// Stations with these numbers of one new federation.
fn stations<const N: usize>(numbers: [u8; N]) -> [Station; N] {
    let (rules, clock) = (rules(), Clock::default());
    numbers.map(|number| Station::new(&rules, number, &clock))
}

/// `count` blocks of one record each.
fn grow(station: &Station, count: u64) {
    for number in 0..count {
        station.say(vec![interaction(&format!("user {number}"))]);
        station.mine();
    }
}

/// Syncs both ways until neither gets anything; at most three times.
fn converge(a: &Station, b: &Station) {
    for _ in 0..3 {
        for report in [a.sync_with(b), b.sync_with(a)] {
            assert_eq!(report.fault, None);
        }
        if a.equals(b) {
            a.assert_valid();
            b.assert_valid();
            return;
        }
    }
    panic!("{} and {} are not equal after three syncs each way", a.head(), b.head());
}

#[test]
fn a_newcomer_catches_up_whatever_the_length_of_the_chain() {
    for count in [0, 1, 50, max_headers(SignatureScheme::Ed25519) as u64 + 100] {
        let [founder, newcomer] = stations([1, 2]);
        grow(&founder, count);
        let link = newcomer.link_to(&founder);
        let report = newcomer.sync_over(&link);
        assert_eq!((report.fault, report.blocks, report.reorg_depth), (None, count, 0));
        assert!(newcomer.equals(&founder), "{count} blocks");
        newcomer.assert_valid();
        // Status, one page of headers for 2,000 blocks, bodies for 256 blocks a request.
        let (pages, chunks) = (count.div_ceil(max_headers(SignatureScheme::Ed25519) as u64), count.div_ceil(200));
        assert!(link.requests().len() as u64 <= 1 + pages + chunks, "{count}: {}", link.requests().len());
        assert_eq!(newcomer.sync_with(&founder).blocks, 0);
    }
}

#[test]
fn with_hybrid_seals_a_page_has_fewer_headers_and_a_newcomer_catches_up_all_the_same() {
    let (rules, clock) = (rules_hybrid(|_| {}), Clock::default());
    let [founder, newcomer] = [1, 2].map(|number| Station::new(&rules, number, &clock));
    let count = max_headers(SignatureScheme::Hybrid) as u64 + 10;
    grow(&founder, count);
    let link = newcomer.link_to(&founder);
    let report = newcomer.sync_over(&link);
    assert_eq!((report.fault, report.blocks), (None, count));
    let is_page = |request: &&Request| matches!(request, Request::Headers { .. });
    assert_eq!(link.requests().iter().filter(is_page).count(), 2);
    assert!(newcomer.equals(&founder));
    newcomer.assert_valid();
}

#[test]
fn the_longer_branch_wins_whoever_asks() {
    for (shared, short, long) in [(0, 1, 2), (5, 2, 3), (3, 119, 120)] {
        let [a, b] = stations([1, 2]);
        grow(&a, shared);
        assert_eq!(b.sync_with(&a).blocks, shared);
        grow(&a, short);
        grow(&b, long);
        let (longest, losing) = (b.head(), a.head());

        let nothing = b.sync_with(&a);
        assert_eq!((nothing.fault, nothing.blocks, nothing.reorg_depth), (None, 0, 0));
        assert_eq!(b.head(), longest);

        let report = a.sync_with(&b);
        assert_eq!((report.fault, report.blocks, report.reorg_depth), (None, long, short));
        assert_eq!(a.head(), longest);
        assert!(a.ledger().chain().contains(&losing), "what lost is kept off the best chain");
        // What the shorter branch held waits for a block again: nothing is lost.
        assert_eq!(a.ledger().pool().records(), short);
        converge(&a, &b);
        assert_eq!(b.ledger().pool().records(), short);
    }
}

#[test]
fn a_fork_deeper_than_one_page_of_headers_ends_on_the_longer_branch() {
    let [a, b] = stations([1, 2]);
    let (short, long) =
        (max_headers(SignatureScheme::Ed25519) as u64 + 50, max_headers(SignatureScheme::Ed25519) as u64 + 60);
    grow(&a, short);
    grow(&b, long);
    let report = a.sync_with(&b);
    assert_eq!((report.fault, report.blocks, report.reorg_depth), (None, long, short));
    assert_eq!(a.head(), b.head());
}

#[test]
fn equal_work_is_settled_by_rank_whoever_asks() {
    let mut winners = std::collections::BTreeSet::new();
    for number in (2..18).step_by(2) {
        let [a, b] = stations([number, number + 1]);
        grow(&a, 1);
        assert_eq!(b.sync_with(&a).blocks, 1);
        grow(&a, 2);
        grow(&b, 2);
        let (tip_a, tip_b) = (a.tip(), b.tip());
        assert_eq!(tip_a.work, tip_b.work);
        let (better, worse) = if tip_a.is_better_than(&tip_b) { (&a, &b) } else { (&b, &a) };
        winners.insert(better.id() == a.id());

        let kept = better.sync_with(worse);
        assert_eq!((kept.fault, kept.blocks, kept.reorg_depth), (None, 0, 0));
        let taken = worse.sync_with(better);
        assert_eq!((taken.fault, taken.blocks, taken.reorg_depth), (None, 2, 2));
        assert_eq!(worse.tip(), better.tip());
    }
    assert_eq!(winners.len(), 2, "rank prefers now the one, now the other");
}

#[test]
fn where_only_pending_batches_differ_only_they_are_fetched() {
    let [a, b] = stations([1, 2]);
    grow(&a, 3);
    assert_eq!(b.sync_with(&a).fault, None);
    a.say(vec![interaction("u1"), interaction("u2")]);
    b.say(vec![interaction("u3")]);
    let link = b.link_to(&a);
    let report = b.sync_over(&link);
    assert_eq!((report.fault, report.blocks, report.batches, report.records), (None, 0, 1, 2));
    assert!(matches!(link.requests()[..], [Request::Status { .. }, Request::Pending { .. }, Request::Logs { .. }]));
    converge(&a, &b);
    assert_eq!(a.ledger().pool().records(), 3);
}

#[test]
fn a_station_restored_from_a_backup_gets_its_own_log_back() {
    // The backup has the chain but not what was pending, or nothing at all.
    for has_chain in [true, false] {
        let (rules, clock) = (rules(), Clock::default());
        let [founder, lost] = [1, 2].map(|number| Station::new(&rules, number, &clock));
        lost.say(vec![interaction("on the chain")]);
        assert_eq!(founder.sync_with(&lost).records, 1);
        founder.mine();
        assert_eq!(lost.sync_with(&founder).blocks, 1);
        lost.say(vec![interaction("pending")]);
        lost.say(vec![interaction("pending, too")]);
        assert_eq!(founder.sync_with(&lost).records, 2);

        let restored = Station::new(&rules, 2, &clock);
        if has_chain {
            restored.take(&founder.blocks());
        }
        let own = lost.id();
        let end = |station: &Station| station.ledger().log_end(&own).expect("the store is in memory");
        assert_ne!(end(&restored), end(&lost));
        let report = restored.sync_with(&founder);
        assert_eq!((report.fault, report.batches), (None, 2));
        assert_eq!(end(&restored), end(&lost));
        assert!(restored.equals(&founder));
        // It signs on after them, not in their place.
        restored.say(vec![interaction("next")]);
        assert_eq!(founder.sync_with(&restored).records, 1);
        assert_eq!(founder.mine().record_count(), 3);
    }
}

#[test]
fn the_own_log_is_got_back_also_from_a_chain_that_is_not_better() {
    for is_store_lost in [true, false] {
        let (rules, clock) = (rules(), Clock::default());
        let [founder, own, other] = [1, 2, 3].map(|number| Station::new(&rules, number, &clock));
        for number in 0..3 {
            own.say(vec![interaction(&format!("u{number}"))]);
            assert_eq!(founder.sync_with(&own).records, 1);
            founder.mine();
        }
        own.say(vec![interaction("pending")]);
        assert_eq!(founder.sync_with(&own).records, 1);
        // Meanwhile the station stood on a branch with more work.
        grow(&other, 5);
        let restored = Station::new(&rules, 2, &clock);
        assert_eq!(restored.sync_with(&other).blocks, 5);
        if !is_store_lost {
            restored.hear(own.blocks().iter().flat_map(|it| it.batches().to_vec()).chain(own.pending()).take(2));
        }
        let report = restored.sync_with(&founder);
        assert_eq!((report.fault, report.blocks, report.batches), (None, 0, if is_store_lost { 4 } else { 2 }));
        let id = own.id();
        let end = |station: &Station| station.ledger().log_end(&id).expect("the store is in memory");
        assert_eq!((report.your_log, end(&restored)), (Some(end(&own)), end(&own)));
        restored.say(vec![interaction("next")]);
        assert!(restored.ledger().take_proofs().expect("memory can be read").is_empty());
    }
}

#[test]
fn two_batches_of_one_place_that_wait_at_two_stations_meet_when_these_sync() {
    let (rules, clock) = (rules(), Clock::default());
    let [here, there] = [1, 2].map(|number| Station::new(&rules, number, &clock));
    let mut author = Author::new(&rules, 7);
    let first = author.batch(at(0), vec![interaction("a")]);
    let [one, other] = author.equivocate(at(0), [vec![interaction("b")], vec![interaction("c")]]);
    here.hear([first.clone(), one.clone()]);
    there.hear([first, other.clone()]);
    let report = here.sync_with(&there);
    assert_eq!((report.fault, report.batches), (None, 0), "the log is as long, and the first batch stands");
    let found = here.ledger().take_proofs().expect("memory can be read");
    let proofs: Vec<Record> = found.into_iter().map(|it| Record::BatchEquivocation(Box::new(it))).collect();
    assert_eq!(proofs, [proof(&rules, &one, &other)]);
}

#[test]
fn two_runs_of_one_station_hear_of_each_other_through_a_third_station() {
    let (rules, clock) = (rules(), Clock::default());
    let run = |id: u8, started_at: i64| Run { started_at: at(started_at), id: [id; 8], place: [id; 8] };
    let third = Station::new(&rules, 1, &clock);
    let [first, second] = [run(1, 0), run(2, 5)].map(|run| Station::new(&rules, 2, &clock).running(run));
    assert_eq!(first.sync_with(&third).other_run, None);
    clock.advance(10);
    let told = second.sync_with(&third).other_run.expect("the first one was there");
    assert_eq!((told.statement.run, told.statement.made_at, told.age_ms), (run(1, 0), at(0), 10));
    let told = first.sync_with(&third).other_run.expect("the second one was there");
    assert_eq!((told.statement.run, told.statement.made_at, told.age_ms), (run(2, 5), at(10), 0));
    let stranger = Station::new(&rules, 3, &clock).running(run(3, 0));
    assert_eq!(stranger.sync_with(&third).other_run, None);
}

#[test]
fn who_tells_of_a_run_that_the_station_did_not_sign_is_named() {
    let (rules, clock) = (rules(), Clock::default());
    let [here, there] = [1, 2].map(|number| Station::new(&rules, number, &clock));
    let run = Run { started_at: at(0), id: [1; 8], place: [1; 8] };
    for (signer, fault) in [(1, None), (2, Some(Fault::ForgedStatement))] {
        let statement = Statement::sign(&rules, &key(signer), run, at(0));
        let link = Link::new(there.id(), |_, request| {
            Ok(match there.answer(&here.id(), request) {
                Response::Status(status) => {
                    let other_run = Some(OtherRun { statement: statement.clone(), age_ms: 0 });
                    Response::Status(Status { other_run, ..status })
                }
                answer => answer,
            })
        });
        let report = here.sync_over(&link);
        assert_eq!(report.other_run.is_some(), fault.is_none());
        assert_eq!(report.fault, fault);
    }
    assert_eq!(Fault::ForgedStatement.severity(), Severity::Peer);
}

#[test]
fn where_nothing_differs_one_small_request_tells() {
    let [a, b] = stations([1, 2]);
    grow(&a, 60);
    a.say(vec![interaction("u")]);
    assert_eq!(b.sync_with(&a).fault, None);
    let link = b.link_to(&a);
    let report = b.sync_over(&link);
    assert!(matches!(link.requests()[..], [Request::Status { .. }]));
    assert!(report.bytes_in + report.bytes_out < 1_000, "{report:?}");
    assert_eq!((report.fault, report.blocks, report.batches, report.records), (None, 0, 0, 0));
}

#[test]
fn who_lacks_10_records_of_5000_fetches_about_10_records() {
    let (rules, clock) = (rules(), Clock::default());
    let all: Vec<Station> = (1..=5).map(|number| Station::new(&rules, number, &clock)).collect();
    let [first, second] = [8, 9].map(|number| Station::new(&rules, number, &clock));
    for author in &all {
        for number in 0..1_000 {
            author.say(vec![interaction(&format!("listener {number}"))]);
        }
        let batches = author.pending();
        first.hear(batches.clone());
        second.hear(batches.into_iter().take(998));
    }
    assert_eq!(first.ledger().pool().records(), 5_000);
    let report = second.sync_with(&first);
    assert_eq!((&report.fault, report.batches, report.records), (&None, 10, 10));
    assert!(second.equals(&first));
    assert!(report.bytes_in + report.bytes_out < 8_000, "{report:?}");
}

#[test]
fn what_is_pending_is_fetched_over_as_many_pages_and_answers_as_it_takes() {
    let [a, b] = stations([1, 2]);
    // 600 batches of 100 contents each: more than two answers of 2 MiB.
    for batch in 0..600 {
        let content = |number| added(&format!("track {batch}.{number}"), "artist", 500_000);
        a.say((0..100).map(content).collect());
    }
    let link = b.link_to(&a);
    let report = b.sync_over(&link);
    assert_eq!((report.fault, report.batches, report.records), (None, 600, 60_000));
    assert!(b.equals(&a));
    let logs = link.requests().iter().filter(|request| matches!(request, Request::Logs { .. })).count();
    assert_eq!(logs as u64, report.bytes_in.div_ceil(2 * 1024 * 1024));
}

#[test]
fn a_busy_peer_is_waited_for_and_the_sync_goes_on() {
    let [a, b] = stations([1, 2]);
    grow(&a, 10);
    a.say(vec![interaction("u")]);
    let (asker, busy) = (b.id(), AtomicUsize::new(0));
    // b has drawn its share already, and 3 MiB more; again after each answer.
    let link = Link::new(a.id(), |_, request| {
        let answer = a.answer(&asker, request);
        if answer == Response::Busy {
            busy.fetch_add(1, Ordering::SeqCst);
        } else {
            a.draw(&asker, BURST_BYTES);
        }
        Ok(answer)
    });
    let before = b.clock().now();
    let report = b.sync_over(&link);
    assert_eq!((report.fault, report.blocks, report.batches), (None, 10, 1));
    assert!(b.equals(&a));
    let waited = b.clock().now().since(before);
    let busy = busy.load(Ordering::SeqCst);
    assert!(busy >= 4, "{busy}");
    assert_eq!((waited, report.elapsed_ms), (1_000 * busy as i64, waited as u64));
}

#[test]
fn bodies_are_fetched_four_requests_at_a_time() {
    let [a, b] = stations([1, 2]);
    for block in 0..12 {
        for _ in 0..2 {
            let about = |number| verified(&format!("{:0>100}", block * 1_000 + number), &"c".repeat(100));
            a.say((0..256).map(about).collect());
        }
        a.mine();
    }
    let total: u64 = a.blocks().iter().map(|block| u64::from(block.header().body_bytes)).sum();
    assert!(total > u64::from(MAX_BODY_BYTES), "{total}");
    let link = b.link_to(&a);
    assert_eq!(b.sync_over(&link).fault, None);
    assert!(b.equals(&a));
    assert_eq!(link.most_under_way(), 4);
}

#[test]
fn the_reports_numbers_are_exact() {
    let [a, b] = stations([1, 2]);
    grow(&a, 1);
    assert_eq!(b.sync_with(&a).fault, None);
    grow(&b, 1);
    for count in [3, 4] {
        let record = |number: usize| -> Record { interaction(&format!("u{number}")) };
        a.say((0..count).map(record).collect());
        a.mine();
    }
    a.say((0..5).map(|number| interaction(&format!("v{number}"))).collect());
    a.say(vec![interaction("w")]);
    let (asker, bytes) = (b.id(), AtomicUsize::new(0));
    let link = Link::new(a.id(), |_, request| {
        let answer = a.answer(&asker, request);
        bytes.fetch_add(qfzz_ledger_core::codec::encode(&answer).len(), Ordering::SeqCst);
        b.clock().advance(7);
        Ok(answer)
    });
    let report = b.sync_over(&link);
    let requests = link.requests();
    let sent: usize = requests.iter().map(|request| qfzz_ledger_core::codec::encode(request).len()).sum();
    let expected = SyncReport {
        peer: a.id(),
        blocks: 2,
        batches: 2,
        records: 3 + 4 + 5 + 1,
        bytes_in: bytes.load(Ordering::SeqCst) as u64,
        bytes_out: sent as u64,
        round_trips: requests.len() as u64,
        reorg_depth: 1,
        elapsed_ms: 7 * requests.len() as u64,
        your_log: Some(a.ledger().log_end(&b.id()).expect("the store is in memory")),
        other_run: None,
        cpu_ms: 0,
        fault: None,
    };
    assert_eq!(report, expected);
}

#[test]
fn a_peer_of_another_federation_is_named_and_left_alone() {
    let clock = Clock::default();
    let here = Station::new(&rules(), 1, &clock);
    let others = rules_with(|parameters| parameters.created_at = parameters.created_at.saturating_add(1));
    let there = Station::new(&others, 2, &clock);
    grow(&there, 3);
    let link = here.link_to(&there);
    let report = here.sync_over(&link);
    assert_eq!(report.fault, Some(Fault::OtherFederation { found: others.federation() }));
    assert_eq!(report.fault.map(|fault| fault.severity()), Some(Severity::Later));
    assert!(matches!(link.requests()[..], [Request::Status { .. }]));
    assert_eq!((report.blocks, here.height()), (0, 0));
}
