use super::*;

fn station(n: u8) -> StationId {
    StationId::from_bytes([n; 32])
}

fn address(n: u8) -> Multiaddr {
    format!("/ip4/10.0.0.{n}/tcp/4811").parse().expect("an address")
}

fn entry(n: u8) -> Entry {
    Entry { station: station(n), addresses: vec![address(n)], last_seen: Timestamp::EPOCH }
}

fn to(n: u8) -> Plan {
    Plan::Station { station: station(n), addresses: vec![address(n)] }
}

fn after(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

#[test]
fn the_station_with_the_lower_id_dials_first() {
    let start = Instant::now();
    let mut low = Peers::new(station(1), vec![entry(2)], vec![], true, start);
    let mut high = Peers::new(station(2), vec![entry(1)], vec![], true, start);
    assert_eq!(low.plan(start), [to(2)]);
    assert_eq!(low.plan(after(start, 60_000)), [], "it is being dialled");
    assert_eq!(high.plan(after(start, 999)), []);
    assert_eq!(high.plan(after(start, 1_000)), [to(1)]);
}

#[test]
fn failures_lengthen_the_wait_to_5_s_alone_and_30_s_in_company() {
    let start = Instant::now();
    let mut peers = Peers::new(station(1), vec![entry(2)], vec![], true, start);
    let mut waits = Vec::new();
    let mut now = start;
    for _ in 0..8 {
        assert_eq!(peers.plan(now), [to(2)]);
        peers.failed(Dialled::Station(station(2)), now, 0);
        let failed = now;
        while peers.clone_due(station(2), now, true).is_none() {
            now = after(now, 100);
        }
        waits.push(now.duration_since(failed).as_millis());
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000]);
    peers.confirmed(station(3), now, Timestamp::EPOCH);
    let last = now;
    assert_eq!(peers.plan(after(last, 24_900)), []);
    assert_eq!(peers.plan(after(last, 30_000)), [to(2)]);
}

impl Peers {
    /// Whether `station` would be dialled, without planning it.
    fn clone_due(&self, station: StationId, now: Instant, alone: bool) -> Option<()> {
        self.known.get(&station).filter(|known| known.attempts.is_due(now, alone)).map(|_| ())
    }
}

#[test]
fn a_station_is_dialled_again_soon_after_it_left_and_never_while_it_is_here() {
    let start = Instant::now();
    let mut peers = Peers::new(station(1), vec![entry(2)], vec![], true, start);
    assert_eq!(peers.plan(start), [to(2)]);
    peers.answered(Dialled::Station(station(2)), station(2));
    peers.confirmed(station(2), start, Timestamp::EPOCH);
    assert_eq!(peers.plan(after(start, 60_000)), []);
    let left = after(start, 60_000);
    peers.disconnected(station(2), Some(Duration::from_secs(60)), left, Timestamp::EPOCH, 0);
    assert_eq!(peers.plan(after(left, 500)), [to(2)]);
}

#[test]
fn a_station_that_keeps_closing_its_connections_is_dialled_less_and_less() {
    let start = Instant::now();
    let mut peers = Peers::new(station(1), vec![entry(2)], vec![], true, start);
    let mut now = start;
    for expected in [500, 1_000, 2_000] {
        assert_eq!(peers.plan(now), [to(2)]);
        peers.confirmed(station(2), now, Timestamp::EPOCH);
        peers.disconnected(station(2), Some(Duration::ZERO), now, Timestamp::EPOCH, 0);
        assert_eq!(peers.plan(after(now, expected - 1)), []);
        now = after(now, expected);
    }
}

#[test]
fn an_address_to_join_is_dialled_as_it_is_until_its_station_is_connected_and_again_after() {
    let start = Instant::now();
    let mut peers = Peers::new(station(5), vec![], vec![address(9)], true, start);
    let join = Plan::Join { number: 0, address: address(9) };
    assert_eq!(peers.plan(start), std::slice::from_ref(&join));
    peers.answered(Dialled::Join(0), station(9));
    peers.confirmed(station(9), start, Timestamp::EPOCH);
    assert_eq!(peers.plan(after(start, 60_000)), []);
    peers.disconnected(station(9), Some(Duration::from_secs(60)), after(start, 60_000), Timestamp::EPOCH, 0);
    assert_eq!(peers.plan(after(start, 60_500)), [join]);
    peers.leads_to_ourselves(0);
    peers.failed(Dialled::Join(0), after(start, 60_500), 0);
    assert_eq!(peers.plan(after(start, 600_000)), []);
}

#[test]
fn who_was_only_heard_of_is_tried_three_times_and_then_forgotten() {
    let start = Instant::now();
    let mut peers = Peers::new(station(1), vec![], vec![], true, start);
    peers.heard_of(station(2), vec![address(2)], start);
    let mut now = start;
    for attempt in 0..3 {
        now = after(now, 10_000);
        assert!(!peers.is_lost(station(2)), "attempt {attempt}");
        assert_eq!(peers.plan(now), [to(2)]);
        peers.failed(Dialled::Station(station(2)), now, 0);
    }
    assert!(peers.is_lost(station(2)));
    assert_eq!(peers.plan(after(now, 60_000)), []);
    assert_eq!(peers.changed_book(true), None, "it never was in the book");
}

#[test]
fn hearsay_never_pushes_out_a_station_that_was_seen() {
    let start = Instant::now();
    let mut peers = Peers::new(StationId::ZERO, vec![entry(1)], vec![], true, start);
    let stranger = |n: usize| {
        let mut bytes = [0xff; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        StationId::from_bytes(bytes)
    };
    for n in 0..2 * MAX_KNOWN {
        peers.heard_of(stranger(n), vec![address(2)], start);
    }
    assert_eq!(peers.known.len(), MAX_KNOWN);
    assert!(peers.known.contains_key(&station(1)));
    for n in 0..2 * MAX_KNOWN {
        peers.confirmed(stranger(n), start, Timestamp::EPOCH);
        peers.reachable_at(stranger(n), [address(2)]);
    }
    assert_eq!(peers.known.len(), MAX_KNOWN);
    assert!(peers.changed_book(true).is_some_and(|book| book.len() == MAX_KNOWN));
}

#[test]
fn blocked_paused_and_foreign_stations_are_left_alone() {
    let start = Instant::now();
    let mut peers = Peers::new(station(1), vec![entry(2), entry(3), entry(4)], vec![], true, start);
    peers.block(station(2));
    peers.pause(station(3), start);
    let federation = Some((FederationId::ZERO, Name::new("Others").expect("a name")));
    assert!(peers.is_foreign(station(4), federation.clone(), start));
    assert!(!peers.is_foreign(station(4), federation.clone(), start), "no news");
    assert_eq!(peers.foreign_federation(station(4)), Some(&federation));
    assert_eq!(peers.plan(after(start, 29_999)), []);
    assert_eq!(peers.plan(after(start, 30_000)), [to(3)]);
    peers.heard_of(station(4), vec![address(4)], start);
    peers.unblock(station(2), after(start, 30_000));
    assert_eq!(peers.plan(after(start, 60_000)), [to(2)]);
    assert!(peers.changed_book(true).is_some_and(|book| book.iter().all(|entry| entry.station != station(4))));
}

#[test]
fn of_many_blocked_stations_the_oldest_is_let_in_again() {
    let mut peers = Peers::new(station(1), vec![], vec![], true, Instant::now());
    let stranger = |n: usize| {
        let mut bytes = [0xff; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        StationId::from_bytes(bytes)
    };
    for n in 0..MAX_BLOCKED {
        assert_eq!(peers.block(stranger(n)), None);
    }
    assert_eq!(peers.block(stranger(0)), None, "it is blocked already");
    assert_eq!(peers.block(stranger(MAX_BLOCKED)), Some(stranger(0)));
    assert!(!peers.is_blocked(stranger(0)) && peers.is_blocked(stranger(1)));
}

#[test]
fn the_book_holds_who_was_seen_newest_first_and_is_written_when_it_changed() {
    let start = Instant::now();
    let mut peers = Peers::new(station(1), vec![entry(2)], vec![], true, start);
    assert_eq!(peers.changed_book(true), None);
    let seen = Timestamp::from_millis(5).expect("in range");
    peers.confirmed(station(3), start, seen);
    assert_eq!(peers.changed_book(true), Some(vec![entry(2)]), "nobody knows yet where 3 can be dialled");
    peers.reachable_at(station(3), [address(3), address(3), address(4)]);
    let three = Entry { station: station(3), addresses: vec![address(3), address(4)], last_seen: seen };
    assert_eq!(peers.changed_book(true), Some(vec![three, entry(2)]));
    peers.reachable_at(station(3), [address(3), address(4)]);
    assert_eq!(peers.changed_book(true), None);
}

#[test]
fn who_only_called_us_is_no_familiar_station_and_gets_into_the_book_where_callers_are_remembered() {
    let start = Instant::now();
    let named = format!("/ip4/10.0.0.9/tcp/4811/p2p/{}", crate::network::names::peer_of(named_station()))
        .parse()
        .expect("an address");
    let mut peers = Peers::new(station(1), vec![entry(2)], vec![named], true, start);
    peers.confirmed(station(3), start, Timestamp::EPOCH);
    peers.reachable_at(station(3), [address(3)]);
    let familiar = |peers: &Peers| [station(2), station(3), named_station()].map(|it| peers.is_familiar(it));
    assert_eq!(familiar(&peers), [true, false, true]);
    assert_eq!(peers.changed_book(false), Some(vec![entry(2)]));
    assert_eq!(peers.changed_book(false), None);
    assert_eq!(peers.changed_book(true).map(|book| book.len()), Some(2), "from now on");
    assert_eq!(peers.changed_book(true), None);
    peers.asked_for(station(3));
    assert_eq!(familiar(&peers), [true; 3]);
}

/// One whose id is a key, so that an address can name it.
fn named_station() -> StationId {
    qfzz_ledger_core::testing::station(9)
}
