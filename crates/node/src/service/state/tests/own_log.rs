//! Whether this station signs while it may not know its own log.

use super::*;

#[test]
fn signing_is_held_beyond_its_time_while_a_sync_may_bring_the_own_log() {
    let mut state = state(&rules());
    state.handle(Input::Submit { token: 1, records: vec![interaction("u")] }, at(10));
    let late = at(HOLD_UNTIL + 1_000);
    assert!(!signs(&state.handle(Input::Tick, late)));
    assert!(!signs(&state.handle(sync_ended(2, Some(Fault::Busy)), late)));
    assert!(signs(&state.handle(sync_ended(3, Some(Fault::Busy)), late)));
}

#[test]
fn who_is_asked_for_the_own_log_is_asked_again_soon_where_the_connection_breaks() {
    let rules = rules();
    let mut state = state(&rules);
    let broke = report(2, LogEnd::EMPTY, Some(Fault::Session(SessionError::Disconnected)));
    state.handle(Input::SyncEnded(Box::new(broke)), at(20));
    assert_eq!(state.not_signing(), Some(NotSigning::LearningLog));
    let asks = |effects: &[Effect]| effects.iter().any(|it| matches!(it, Effect::Sync(peer) if *peer == station(2)));
    assert!(!asks(&state.handle(Input::Tick, at(269))));
    assert!(asks(&state.handle(Input::Tick, at(270))));
}

#[test]
fn signing_goes_on_only_when_the_own_log_is_as_long_as_a_peer_told() {
    let rules = rules();
    let own: Vec<VerifiedBatch> = {
        let mut author = Author::new(&rules, 1);
        (0..2).map(|_| author.batch(at(-50), vec![interaction("before")])).collect()
    };
    let told = LogEnd { next: Sequence::new(2), last: own[1].id() };
    let mut state = state(&rules);
    state.handle(Input::Submit { token: 1, records: vec![interaction("new")] }, at(10));
    // One peer tells more than it gives, the other one knows nothing: both may be asked again.
    assert!(!signs(&state.handle(Input::SyncEnded(Box::new(report(2, told, Some(Fault::Withheld)))), at(20))));
    state.handle(Input::SyncedBatches { token: 9, peer: station(3), checked: valid(&own) }, at(30));
    assert_eq!(state.not_signing(), Some(NotSigning::LearningLog));
    let effects = state.handle(Input::SyncEnded(Box::new(report(3, told, None))), at(40));
    let signed = effects.iter().find_map(|effect| match effect {
        Effect::Persist(transition) => transition.own_batches.first().cloned(),
        _ => None,
    });
    let signed = signed.expect("it signs now");
    assert_eq!((signed.sequence(), signed.header().previous), (Sequence::new(2), own[1].id()));
    assert_eq!(state.own_equivocation(), None);
}

/// Test station 1, which connects with station 4, a stranger, and with nobody else.
fn met_by_a_stranger(rules: &Arc<Rules>, hold: Hold) -> State<MemoryStore> {
    met_as(1, rules, hold)
}

/// The same, of the test station `own`.
fn met_as(own: u8, rules: &Arc<Rules>, hold: Hold) -> State<MemoryStore> {
    let config = StateConfig {
        mining: MiningConfig { enabled: false, interval_ms: 1_000, records: 100, slot_ms: 0 },
        sync: SyncConfig { interval_ms: 30_000 },
        hold,
        run: run(1, 0),
    };
    let mut state = State::new(ledger(rules, own).0, config);
    assert_eq!(begun(&state.handle(Input::Connected(station(4)), at(0))), [station(4)]);
    state
}

#[test]
fn a_stranger_who_says_that_the_log_is_empty_lets_nobody_sign_while_somebody_known_may_come() {
    let told_by = |state: &mut State<MemoryStore>, peer: u8, now: i64| {
        state.handle(Input::SyncEnded(Box::new(report(peer, LogEnd::EMPTY, None))), at(now));
        state.not_signing()
    };
    let mut open = met_by_a_stranger(&rules(), Hold::UntilAnswered);
    assert_eq!(told_by(&mut open, 4, 10), Some(NotSigning::LogUnknown));
    assert_eq!(told_by(&mut open, 4, 50_000), Some(NotSigning::LogUnknown));
    assert_eq!(open.wake_at(at(60_009)), at(60_010));
    open.handle(Input::Tick, at(60_010));
    assert_eq!(open.not_signing(), None, "nobody else came within a minute");

    let mut known = met_by_a_stranger(&rules(), Hold::UntilAnswered);
    told_by(&mut known, 4, 10);
    known.handle(Input::Connected(station(5)), at(20));
    known.handle(Input::Familiar(station(5)), at(20));
    assert_eq!(told_by(&mut known, 5, 30), None);

    let mut later = met_by_a_stranger(&rules(), Hold::UntilAnswered);
    told_by(&mut later, 4, 10);
    assert_eq!(begun(&later.handle(Input::Familiar(station(4)), at(20))), [], "it takes a breath");
    assert_eq!(begun(&later.handle(Input::Tick, at(210))), [station(4)], "it is asked again when it is known");
    assert_eq!(told_by(&mut later, 4, 220), None);

    let mut founder = met_by_a_stranger(&rules_with(|it| it.add_founder(station(4), None)), Hold::UntilAnswered);
    assert_eq!(told_by(&mut founder, 4, 10), None, "whom genesis names is no stranger");

    let mut alone = met_by_a_stranger(&rules_with_roster(1), Hold::UntilAnswered);
    told_by(&mut alone, 4, 10);
    alone.handle(Input::Tick, at(60_010));
    assert_eq!(alone.not_signing(), None, "the roster names nobody who could come");

    let mut member = met_as(2, &rules_with_roster(1), Hold::UntilAnswered);
    told_by(&mut member, 4, 10);
    member.handle(Input::Tick, at(600_000));
    assert_eq!(member.not_signing(), Some(NotSigning::LogUnknown), "it names the founder");

    let mut roster = met_by_a_stranger(&rules_with_roster(2), Hold::UntilAnswered);
    told_by(&mut roster, 4, 10);
    roster.handle(Input::Familiar(station(4)), at(20));
    assert_eq!(told_by(&mut roster, 4, 60_000_000), Some(NotSigning::LogUnknown), "it is not admitted");
    roster.handle(Input::Connected(station(2)), at(60_000_000));
    told_by(&mut roster, 2, 60_000_010);
    roster.handle(Input::Tick, at(60_005_010));
    assert_eq!(roster.not_signing(), None, "a founder is");
}

#[test]
fn a_sync_with_an_admitted_station_that_called_is_waited_for() {
    let rules = rules_with_roster(2);
    let mut state = met_by_a_stranger(&rules, Hold::Until(at(HOLD_UNTIL)));
    let mut founder = Author::new(&rules, 2);
    let batch = founder.batch(at(0), vec![admits(station(5))]);
    let block = founder.block((Height::ZERO, rules.genesis_hash()), 0, at(1), vec![batch]);
    state.handle(Input::SyncedBlocks { token: 9, blocks: vec![block] }, at(10));
    state.handle(Input::Connected(station(5)), at(4_000));
    state.handle(Input::Tick, at(HOLD_UNTIL));
    assert_eq!(state.not_signing(), Some(NotSigning::LearningLog), "it may be bringing this station's log");
    state.handle(Input::SyncEnded(Box::new(report(5, LogEnd::EMPTY, None))), at(7_000));
    assert_eq!(state.not_signing(), None, "the stranger is not waited for");
}

#[test]
fn who_is_silent_keeps_nobody_from_signing_for_long() {
    for (took, often) in [(20_000, 6), (900, 112)] {
        let mut state = met_by_a_stranger(&rules(), Hold::Until(at(HOLD_UNTIL)));
        let come = |state: &mut State<MemoryStore>, peer: u8, now: i64| {
            state.handle(Input::Connected(station(peer)), at(now));
            state.handle(Input::Familiar(station(peer)), at(now));
        };
        come(&mut state, 5, 0);
        come(&mut state, 6, 0);
        // Two take turns: each leaves when the other is being asked, and comes back, so that it is asked again at once.
        for (now, peer) in (20_000..).step_by(400).zip([5, 6].into_iter().cycle()).take(often) {
            assert_eq!(state.not_signing(), Some(NotSigning::LearningLog), "{now}: somebody known is being asked");
            let silent = report(peer, LogEnd::EMPTY, Some(Fault::Session(SessionError::Disconnected)));
            let silent = SyncReport { elapsed_ms: took, ..silent };
            state.handle(Input::SyncEnded(Box::new(silent)), at(now));
            state.handle(Input::Disconnected(station(peer)), at(now));
            come(&mut state, peer, now);
        }
        assert_eq!(state.not_signing(), None, "each was waited for long enough, the stranger is not waited for");
    }
}

#[test]
fn who_waits_for_a_station_that_does_not_know_its_log_is_told_why() {
    let mut state = state(&rules());
    state.handle(Input::Submit { token: 1, records: vec![interaction("u")] }, at(10));
    state.handle(Input::Mine { token: 2 }, at(20));
    assert_eq!(reasons(&state.handle(Input::Tick, at(8_009))), []);
    let first = state.handle(Input::Tick, at(8_010));
    assert_eq!(reasons(&first), [(1, NotSigning::LearningLog)]);
    assert_eq!(reasons(&state.handle(Input::Tick, at(8_020))), [(2, NotSigning::LearningLog)]);
}
