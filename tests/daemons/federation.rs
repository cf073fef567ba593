//! Daemons that join by address, agree, catch up and find each other again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use qfzz_tests::harness::{Acknowledged, Daemon, Dice, Load, Plan, Recipe, alone, beside_others, millionths, wait_for};
use serde_json::{Value, json};

/// Within which a record reaches every station, and a block confirms it everywhere.
const SPREAD_LIMIT: Duration = Duration::from_secs(2);

/// Within which stations find each other again after a restart.
const REUNION_LIMIT: Duration = Duration::from_secs(15);

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

/// Three stations, the third of which was told of the second only.
fn three_stations(federation: &str) -> [Daemon; 3] {
    let first = Recipe::new("first").found(federation, &[]);
    let second = Recipe::new("second").run_joining(&first.address());
    let third = Recipe::new("third").run_joining(&second.address());
    let stations = [first, second, third];
    await_synced(&stations);
    stations
}

/// Waits until every station has a peer, is synced and ready, and is of one federation with the others.
fn await_synced(stations: &[Daemon]) {
    for station in stations {
        wait_for(&format!("{} is ready among its peers", station.name()), PATIENCE, || {
            let status = station.api().get("/v1/status");
            let ready = station.api().try_get("/readyz").map_err(|error| error.to_string())?;
            if status["peers"].as_u64() > Some(0) && status["synced"] == true && ready.status == 200 {
                Ok(())
            } else {
                Err(format!("{status} {ready:?}"))
            }
        });
    }
    let federations: BTreeSet<String> =
        stations.iter().map(|s| s.api().get("/v1/status")["federation_id"].to_string()).collect();
    assert_eq!(federations.len(), 1, "{federations:?}");
}

/// Waits until `station` shows the record `id` with one of `statuses`.
fn await_record(station: &Daemon, id: &str, statuses: &[&str], deadline: Duration) -> Duration {
    let what = format!("{} shows {id} as {statuses:?}", station.name());
    let ((), elapsed) = wait_for(&what, deadline, || {
        let answer = station.api().try_get(&format!("/v1/records/{id}")).map_err(|error| error.to_string())?;
        let shown =
            answer.status == 200 && answer.json()["status"].as_str().is_some_and(|status| statuses.contains(&status));
        if shown { Ok(()) } else { Err(answer.body) }
    });
    elapsed
}

/// Waits until all have one head, and returns it.
fn await_one_head(stations: &[Daemon]) -> (u64, String) {
    let (head, _) = wait_for("all stations have one head", PATIENCE, || {
        let heads: Vec<_> = stations.iter().map(|station| station.api().head()).collect();
        if heads.iter().all(|head| *head == heads[0]) { Ok(heads[0].clone()) } else { Err(format!("{heads:?}")) }
    });
    head
}

/// The answers of all stations to `path`, which must be one.
#[track_caller]
fn answer_of_all(stations: &[Daemon], path: &str) -> Value {
    let answers: Vec<Value> = stations.iter().map(|station| station.api().get(path)).collect();
    for answer in &answers {
        assert_eq!(answer, &answers[0], "{path} is answered differently");
    }
    answers[0].clone()
}

#[test]
fn a_record_posted_anywhere_is_shown_by_all_within_two_seconds_and_confirmed_within_two_of_a_block() {
    let _turn = alone();
    let stations = three_stations("spread");
    let (mut slowest_shown, mut slowest_confirmed) = (Duration::ZERO, Duration::ZERO);
    let actions = [("interaction", 0.01), ("rating", 0.03), ("verification", 0.02)];
    for (round, (action, delta)) in actions.into_iter().cycle().take(6).enumerate() {
        let poster = &stations[round % 3];
        let id = poster.api().record(&json!({
            "kind": "user_action", "user_id": "user_001", "action": action, "target": "dj", "trust_delta": delta
        }));
        let posted = Instant::now();
        for station in &stations {
            await_record(station, &id, &["pending"], SPREAD_LIMIT);
        }
        slowest_shown = slowest_shown.max(posted.elapsed());
        assert!(posted.elapsed() <= SPREAD_LIMIT, "shown by all after {:?}", posted.elapsed());

        // Not by its author, so that a block also travels.
        let producer = &stations[(round + 1 + round / 3) % 3];
        let block = producer.api().mine().expect("a record is pending");
        let mined = Instant::now();
        for station in &stations {
            await_record(station, &id, &["confirmed", "final"], SPREAD_LIMIT);
            assert_eq!(
                station.api().head().1,
                block["hash"].as_str().expect("a block has a hash"),
                "{}",
                station.name()
            );
        }
        slowest_confirmed = slowest_confirmed.max(mined.elapsed());
        assert!(mined.elapsed() <= SPREAD_LIMIT, "confirmed by all after {:?}", mined.elapsed());
    }
    println!("slowest of 6 records: shown by all after {slowest_shown:?}, confirmed after {slowest_confirmed:?}");

    // Each station wrote twice one action: +0.02, +0.06, +0.04.
    let ids: Vec<String> = stations.iter().map(Daemon::station).collect();
    let user = answer_of_all(&stations, "/v1/trust/users/user_001");
    assert_eq!((millionths(&user["score"]), millionths(&user["confirmed_score"])), (620_000, 620_000), "{user}");
    for (id, opinion) in ids.iter().zip([520_000, 560_000, 540_000]) {
        let answer = answer_of_all(&stations, &format!("/v1/trust/users/user_001?station={id}"));
        assert_eq!(millionths(&answer["score"]), opinion, "{answer}");
    }
    let global = answer_of_all(&stations, "/v1/trust/global?kind=user&id=user_001&policy=mean");
    assert_eq!(millionths(&global["score"]), 540_000, "{global}");
    assert_eq!(global["stations"].as_array().map(Vec::len), Some(3), "{global}");
    let subset = format!("/v1/trust/global?kind=user&id=user_001&policy=mean&nodes={},{}", ids[1], ids[2]);
    assert_eq!(millionths(&answer_of_all(&stations, &subset)["score"]), 550_000);
}

#[test]
fn content_and_creators_are_judged_alike_by_all_stations() {
    let _turn = beside_others();
    let stations = three_stations("judgement");
    let about = |kind: &str, content: &str| json!({ "kind": kind, "content_id": content, "creator_id": "artist_001" });
    let mut ids = Vec::new();
    for station in &stations {
        ids.push(station.api().record(&about("content_verified", "track_001")));
    }
    ids.push(stations[0].api().record(&about("content_reported", "track_001")));
    let mut added = about("content_added", "track_002");
    added["initial_score"] = json!(0.9);
    ids.push(stations[2].api().record(&added));
    for (station, id) in stations.iter().flat_map(|station| ids.iter().map(move |id| (station, id))) {
        await_record(station, id, &["pending"], PATIENCE);
    }
    stations[1].api().mine().expect("records are pending");
    await_one_head(&stations);

    let content = answer_of_all(&stations, "/v1/trust/content?content_id=track_001&creator_id=artist_001");
    assert_eq!(millionths(&content["confirmed_score"]), 700_000, "{content}");
    assert_eq!((&content["verifications"], &content["reports"]), (&json!(3), &json!(1)));
    assert_eq!(content["band"], "high");
    let creator = answer_of_all(&stations, "/v1/trust/creators/artist_001");
    assert_eq!(millionths(&creator["confirmed_score"]), 800_000, "{creator}");
    // Opinions: 0.5 of the first (one for, one against), 0.9 of the others.
    let global = "/v1/trust/global?kind=content&id=track_001&creator_id=artist_001&policy=mean";
    assert_eq!(millionths(&answer_of_all(&stations, global)["score"]), 766_666);
}

#[test]
fn a_late_joiner_catches_up_and_takes_part() {
    let _turn = beside_others();
    const BLOCKS: u64 = 30;
    let first = Recipe::new("first").found("late", &[]);
    for block in 0..BLOCKS {
        for _ in 0..3 {
            let user = format!("user_{:03}", block % 7);
            first.api().record(
                &json!({ "kind": "user_action", "user_id": user, "action": "interaction", "trust_delta": 0.01 }),
            );
        }
        first.api().mine().expect("records are pending");
    }
    let pending = first
        .api()
        .record(&json!({ "kind": "content_verified", "content_id": "track_001", "creator_id": "artist_001" }));
    let head = first.api().head();
    assert_eq!(head.0, BLOCKS);

    let late = Recipe::new("late").join(&first.address());
    let stations = [first, late];
    await_synced(&stations);
    assert_eq!(await_one_head(&stations), head);
    await_record(&stations[1], &pending, &["pending"], PATIENCE);
    let [first, late] = [stations[0].api(), stations[1].api()];
    assert_eq!(first.blocks(0), late.blocks(0), "the blocks are the same, byte by byte as shown");
    for user in 0..7 {
        answer_of_all(&stations, &format!("/v1/trust/users/user_{user:03}"));
    }
    assert_eq!(late.get("/v1/chain")["is_valid"], true);
    stations[1].qfzz(&["chain", "verify"]).exits(0);

    late.record(&json!({ "kind": "user_action", "user_id": "user_100", "action": "rating", "trust_delta": 0.03 }));
    let block = late.mine().expect("records are pending");
    assert_eq!(block["producer"].as_str(), Some(stations[1].station().as_str()), "{block}");
    assert_eq!(await_one_head(&stations).0, BLOCKS + 1);
    assert_eq!(millionths(&answer_of_all(&stations, "/v1/trust/users/user_100")["confirmed_score"]), 530_000);
    await_record(&stations[0], &pending, &["confirmed", "final"], PATIENCE);
}

#[test]
fn after_a_restart_of_all_they_find_each_other_again_by_themselves() {
    let _turn = alone();
    let mut stations = three_stations("reunion");
    let before = stations[0].api().record(&json!({ "kind": "content_verified", "content_id": "a", "creator_id": "b" }));
    for station in &stations {
        await_record(station, &before, &["pending"], PATIENCE);
    }
    stations.iter_mut().for_each(Daemon::kill);
    let restarted = Instant::now();
    for station in &mut stations {
        station.start();
    }
    for station in &stations {
        let left = REUNION_LIMIT.saturating_sub(restarted.elapsed());
        wait_for(&format!("{} has a peer again", station.name()), left, || {
            let peers = station.api().get("/v1/peers");
            if peers.as_array().is_some_and(|peers| !peers.is_empty()) { Ok(()) } else { Err(peers.to_string()) }
        });
    }
    // They do not merely know each other: what one says, all hear.
    let id = stations[2].api().record(&json!({ "kind": "content_reported", "content_id": "a", "creator_id": "b" }));
    for id in [&before, &id] {
        for station in &stations {
            await_record(station, id, &["pending"], REUNION_LIMIT.saturating_sub(restarted.elapsed()));
        }
    }
    println!("together again after {:?}", restarted.elapsed());
    stations[1].api().mine().expect("records are pending");
    await_one_head(&stations);
}

#[test]
fn a_station_killed_under_load_returns_and_all_agree_on_what_it_said() {
    let _turn = beside_others();
    let first = Recipe::new("first").found("returns", &Load::INIT_FLAGS);
    let second = Recipe::new("second").join(&first.address());
    let mut stations = [first, second];
    await_synced(&stations);
    let mut dice = Dice::from_environment(6);
    let plan = Plan { clients: 8, bulk_every: 8, bulk_records: 20, mine_every: Some(25) };
    let mut acknowledged = Vec::new();
    for _ in 0..3 {
        let load = Load::start(stations[1].api(), &plan, &mut dice);
        wait_for("the load is acknowledged", PATIENCE, || match load.count() {
            count if count > 200 => Ok(()),
            count => Err(format!("{count} acknowledged")),
        });
        stations[1].kill();
        let (more, refused) = load.stop();
        assert!(refused.is_empty(), "{refused:?}");
        acknowledged.extend(more);
        stations[1].start();
    }
    let last =
        stations[1].api().record(&json!({ "kind": "content_verified", "content_id": "last", "creator_id": "b" }));
    wait_for("all is on the chain", PATIENCE, || {
        stations[1].api().mine();
        let pending = stations[1].api().get("/v1/chain")["pending_records"].clone();
        if pending == 0 { Ok(()) } else { Err(pending.to_string()) }
    });
    await_record(&stations[0], &last, &["confirmed", "final"], PATIENCE);
    await_one_head(&stations);
    // On the chain that the other station holds stands what the clients of this one were promised.
    let blocks = stations[0].api().blocks(0);
    let records = blocks.iter().flat_map(|block| block["records"].as_array().expect("a block has records"));
    let on_chain: BTreeMap<&str, &Value> =
        records.map(|record| (record["record_id"].as_str().expect("a record has an id"), record)).collect();
    for Acknowledged { id, record } in &acknowledged {
        let shown = on_chain.get(id.as_str()).unwrap_or_else(|| panic!("{id} is not on the chain"));
        for field in ["kind", "user_id", "action", "content_id", "creator_id"] {
            assert_eq!(record[field], shown[field], "{field} of {id}");
        }
    }
    println!("3 kills: all {} acknowledged ids are on the chain of the other station", acknowledged.len());
}

#[test]
fn stations_also_join_over_quic() {
    let _turn = beside_others();
    let quic = "/ip4/127.0.0.1/udp/0/quic-v1";
    let first = Recipe::new("first").listen(quic).found("quic", &[]);
    assert!(first.address().ends_with("/quic-v1"), "{}", first.address());
    let second = Recipe::new("second").listen(quic).join(&first.address());
    let stations = [first, second];
    await_synced(&stations);
    let id = stations[1].api().record(&json!({ "kind": "content_verified", "content_id": "a", "creator_id": "b" }));
    await_record(&stations[0], &id, &["pending"], PATIENCE);
    stations[0].api().mine().expect("a record is pending");
    await_one_head(&stations);
}

/// South asks to join north, and is told that this is another federation.
#[track_caller]
fn assert_refused_by_name(south: &Daemon, north: &Daemon) {
    let answer = south.api().try_post("/v1/peers", &json!({ "address": north.address() })).expect("the daemon lives");
    assert!((400..500).contains(&answer.status), "{answer:?}");
    let problem = answer.json();
    assert!(problem["code"].is_string(), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("northern stations")), "{problem}");
    let refused = south.qfzz(&["join", &north.address()]).exits(1);
    assert!(refused.stderr.contains("northern stations"), "{refused:?}");
    assert_eq!(south.api().get("/v1/status")["federation"], "southern stations");
}

#[test]
fn a_station_of_another_federation_is_refused_by_name() {
    let _turn = beside_others();
    let north = Recipe::new("north").found("northern stations", &[]);
    let south = Recipe::new("south").found("southern stations", &[]);
    south.api().record(&json!({ "kind": "content_verified", "content_id": "a", "creator_id": "b" }));
    assert_refused_by_name(&south, &north);
}

#[test]
fn a_federation_that_was_founded_by_name_is_not_given_up_for_another_though_still_empty() {
    let _turn = beside_others();
    let north = Recipe::new("north").found("northern stations", &[]);
    let south = Recipe::new("south").found("southern stations", &[]);
    assert_refused_by_name(&south, &north);
}
