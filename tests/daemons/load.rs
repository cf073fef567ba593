//! A steady load: three daemons, 500 records a second one by one, a block every two seconds.
//!
//! `QFZZ_LOAD_SECONDS` sets for how long; 300 is the promise, the default keeps CI short.

use std::collections::HashSet;
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use qfzz_tests::harness::{
    Answer, Api, Appends, Daemon, Dice, MIB, Recipe, Resident, alone, share_of, wait_for, wait_until_due,
};
use serde_json::{Value, json};

/// Seconds of load without `QFZZ_LOAD_SECONDS`.
const SECONDS: u64 = 25;

/// Records a second, over all three stations.
const RATE: u64 = 500;

/// Connections over which they are posted, to each station: more requests than are under way at once on time.
const CLIENTS: u64 = 16;

/// From when a record should be posted until it is acknowledged, for 99 of 100, at most.
const P99_LIMIT: Duration = Duration::from_millis(100);

/// How much more a daemon may hold on the mean of the last quarter than on that of the third, in bytes.
const GROWTH_LIMIT: u64 = 16 * MIB;

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(120);

/// Users that the records are about: as many as a station of some size knows.
const USERS: u64 = 5_000;

/// What became of one post: after which time, and its id if it was acknowledged.
struct Posted {
    latency: Duration,
    id: Result<String, String>,
}

fn statement(dice: &mut Dice) -> Value {
    let (user, content) = (format!("user_{:05}", dice.below(USERS)), dice.below(USERS));
    match dice.below(3) {
        0 => {
            let (content_id, creator_id) = (format!("track_{content:05}"), format!("artist_{:04}", content % 500));
            json!({ "kind": "content_verified", "content_id": content_id, "creator_id": creator_id })
        }
        _ => {
            json!({ "kind": "user_action", "user_id": user, "action": "interaction", "target": "dj", "trust_delta": 0.01 })
        }
    }
}

fn id_of(answer: Result<Answer, impl std::fmt::Debug>) -> Result<String, String> {
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    let id = if answer.status == 201 { answer.json()["record_id"].as_str().map(str::to_owned) } else { None };
    id.ok_or_else(|| format!("{answer:?}"))
}

/// Posts every `step`-th record from the `first` on, each at its time whether those before were answered or not, as far
/// as one connection can: what is late because of them counts as late.
fn post(api: &Api, mut dice: Dice, start: Instant, numbers: impl Iterator<Item = u64>) -> Vec<Posted> {
    let posts = numbers.map(|number| {
        let due = wait_until_due(start, number, RATE);
        let id = id_of(api.try_post("/v1/records", &statement(&mut dice)));
        Posted { latency: due.elapsed(), id }
    });
    posts.collect()
}

/// The mean of `values`.
fn mean(values: &[u64]) -> u64 {
    values.iter().sum::<u64>() / (values.len() as u64).max(1)
}

/// All ids of records on the chain of a station, each once.
fn confirmed(station: &Daemon) -> HashSet<String> {
    let (head, _) = station.api().head();
    let mut ids = HashSet::new();
    for index in 1..=head {
        let block = station.api().get(&format!("/v1/chain/blocks/{index}"));
        for record in block["records"].as_array().unwrap_or_else(|| panic!("block {index} has records")) {
            let id = record["record_id"].as_str().unwrap_or_else(|| panic!("a record has an id: {record}"));
            assert!(ids.insert(id.to_owned()), "{id} is on the chain twice");
        }
    }
    ids
}

/// Three stations that mine every two seconds, all connected.
fn three_stations(dice: &mut Dice) -> [Daemon; 3] {
    // Without the second way to a block, many pending records, which would come five times a second.
    let mines = |recipe: Recipe| recipe.set("mining.enabled", "true").set("mining.interval", "2s");
    let recipe = |name: &str| mines(Recipe::new(name)).set("mining.records", "100000");
    let first = recipe("first").found("load", &[]);
    let second = recipe("second").run_joining(&first.address());
    let third = recipe("third").run_joining(&first.address());
    let stations = [first, second, third];
    for station in &stations {
        wait_for(&format!("{} is synced with both others", station.name()), PATIENCE, || {
            let status = station.api().get("/v1/status");
            let is_ready = status["synced"] == true && status["peers"].as_u64() == Some(2);
            if is_ready { Ok(()) } else { Err(status.to_string()) }
        });
    }
    // Producers take turns among those that the chain has seen produce: before each has, they mine at once.
    for (height, station) in (1..).zip(&stations) {
        station.api().post("/v1/records", &statement(dice));
        assert!(station.api().mine().is_some(), "{} mines it", station.name());
        for other in &stations {
            wait_for(&format!("{} has block {height}", other.name()), PATIENCE, || match other.api().head().0 {
                found if found >= height => Ok(()),
                found => Err(format!("it is at {found}")),
            });
        }
    }
    stations
}

#[test]
fn three_stations_take_500_records_a_second_lose_none_answer_in_time_and_stay_as_large_as_they_are() {
    let _turn = alone();
    let seconds = env::var("QFZZ_LOAD_SECONDS").map_or(SECONDS, |text| text.parse().expect("a number of seconds"));
    let mut dice = Dice::from_environment(500);
    let stations = three_stations(&mut dice);
    let before = stations[0].api().get("/v1/chain")["total_records"].as_u64().expect("a number");
    let (start, total) = (Instant::now() + Duration::from_millis(100), RATE * seconds);
    let posted = Mutex::new(Vec::new());
    let is_over = AtomicBool::new(false);
    let mut sizes: [Vec<u64>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    let appends = Appends::start();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3 * CLIENTS)
            .map(|client| {
                let (dice, posted) = (Dice::new(dice.roll()), &posted);
                let api = stations[usize::try_from(client % 3).expect("0, 1 or 2")].api();
                scope.spawn(move || {
                    let step = usize::try_from(3 * CLIENTS).expect("it fits");
                    let made = post(api, dice, start, (client..total).step_by(step));
                    posted.lock().expect("no client panics while it holds the lock").extend(made);
                })
            })
            .collect();
        let sampler = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                for (station, sizes) in stations.iter().zip(&mut sizes) {
                    sizes.push(Resident::of(station.pid()).now);
                }
                thread::sleep(Duration::from_millis(500));
            }
        });
        for thread in threads {
            thread.join().expect("a client does not panic");
        }
        is_over.store(true, Ordering::Release);
        sampler.join().expect("sampling does not panic");
    });
    let disk = appends.p99();
    let posted = posted.into_inner().expect("no client panics while it holds the lock");
    let elapsed = start.elapsed();

    let mut latencies: Vec<Duration> = posted.iter().map(|posted| posted.latency).collect();
    latencies.sort_unstable();
    let [p50, p99, slowest] = [50, 99, 100].map(|of_100| share_of(&latencies, of_100));
    let refused: Vec<_> = posted.iter().filter_map(|posted| posted.id.as_ref().err()).collect();
    println!(
        "{} posts in {elapsed:?}: p50 {p50:?}, p99 {p99:?}, slowest {slowest:?}, {} refused; an append p99 {disk:?}",
        posted.len(),
        refused.len()
    );
    assert!(refused.is_empty(), "{} refused, such as {}", refused.len(), refused[0]);

    let acknowledged: HashSet<String> = posted.into_iter().filter_map(|posted| posted.id.ok()).collect();
    assert_eq!(acknowledged.len() as u64, total, "each has its own id");
    wait_for("everything is on one chain", PATIENCE, || {
        let chains: Vec<Value> = stations.iter().map(|station| station.api().get("/v1/chain")).collect();
        let is_done = |chain: &Value| {
            chain["total_records"].as_u64() == Some(before + total) && chain["head"] == chains[0]["head"]
        };
        if chains.iter().all(is_done) { Ok(()) } else { Err(format!("{chains:?}")) }
    });
    for station in &stations {
        let found = confirmed(station);
        let lost: Vec<_> = acknowledged.difference(&found).take(5).collect();
        assert!(lost.is_empty(), "{} lacks {lost:?}, and perhaps more", station.name());
        assert_eq!(found.len() as u64, before + total);
    }
    let status = stations[0].api().get("/v1/status");
    println!("{} blocks, {} reorganisations at the first", status["head"]["index"], status["reorganisations"]);

    let mut grown = Vec::new();
    for (station, sizes) in stations.iter().zip(&sizes) {
        let quarter = sizes.len() / 4;
        let [second, third, last] = [1, 2, 3].map(|number| mean(&sizes[number * quarter..(number + 1) * quarter]));
        println!(
            "{}: {} MiB in the second quarter, {} in the third, {} in the last; {}",
            station.name(),
            second / MIB,
            third / MIB,
            last / MIB,
            Resident::of(station.pid())
        );
        if last.saturating_sub(third) > GROWTH_LIMIT {
            grown.push(station.name());
        }
    }
    assert!(grown.is_empty(), "still growing in the second half: {grown:?}");
    let limit = P99_LIMIT.max(Appends::FACTOR * disk);
    assert!(p99 < limit, "p99 of a post is {p99:?}, not below {limit:?}; of an append to the disk {disk:?}");
}
