//! Memory and time to open with very many subjects: records loaded over HTTP, gossiped, synced, opened again, exported
//! and imported.
//!
//! `QFZZ_MEMORY_RECORDS` sets how many; with 1,000,000 only the time to open, the export, the import and the statistics
//! have a limit.

use std::env;
use std::fmt::Write;
use std::time::{Duration, Instant};

use qfzz_tests::harness::{Daemon, MIB, Recipe, Resident, alone, wait_for};
use rustix::process::Signal;

/// Records without `QFZZ_MEMORY_RECORDS`, each about another user or content.
const RECORDS: u64 = 200_000;

/// Records up to which memory is promised.
const SMALL: u64 = 200_000;

/// Resident memory of a daemon with so many, at most, in bytes.
const MEMORY_LIMIT: u64 = 200 * MIB;

/// Resident memory of a daemon that exports or imports a chain, at most, in bytes; also with 1,000,000 records.
const EXPORT_LIMIT: u64 = 250 * MIB;

/// For the figures about a chain, however many records it has, at most.
const FIGURES_LIMIT: Duration = Duration::from_millis(50);

/// Lines of one bulk request.
const LINES: u64 = 10_000;

/// How long the stations may take to become one: far more than they need.
const PATIENCE: Duration = Duration::from_secs(600);

/// From the start of the process until it answers reads, at most.
const fn opening_limit(records: u64) -> Duration {
    Duration::from_secs(if records <= SMALL { 2 } else { 4 })
}

/// The record with this number: every other one is about a new user, the rest about a new content.
fn record(number: u64) -> String {
    if number.is_multiple_of(2) {
        format!(
            r#"{{"kind":"user_action","user_id":"user_{number:07}","action":"interaction","target":"dj_{}","trust_delta":0.01}}"#,
            number % 50
        )
    } else {
        format!(
            r#"{{"kind":"content_added","content_id":"track_{number:07}","creator_id":"artist_{:04}","initial_score":0.6}}"#,
            number % 5_000
        )
    }
}

/// Posts the records in bulk; each must be acknowledged.
fn load(station: &Daemon, records: u64) {
    for first in (0..records).step_by(usize::try_from(LINES).expect("it fits")) {
        let numbers = first..records.min(first + LINES);
        let count = numbers.end - numbers.start;
        let lines = numbers.fold(String::new(), |mut lines, number| {
            writeln!(lines, "{}", record(number)).expect("memory can be written");
            lines
        });
        let answer = station.api().try_post_lines("/v1/records/bulk", &lines).expect("the daemon lives");
        let acknowledged = answer.body.lines().filter(|line| line.contains("\"record_id\"")).count() as u64;
        assert_eq!((answer.status, acknowledged), (200, count), "from record {first} on");
    }
}

/// Waits until `station` has so many records, on the chain and pending.
fn await_records(station: &Daemon, confirmed: u64, pending: u64) {
    let what = format!("{} has {confirmed} records on the chain and {pending} pending", station.name());
    wait_for(&what, PATIENCE, || {
        let chain = station.api().try_get("/v1/chain").map_err(|error| error.to_string())?.json();
        let found = (chain["total_records"].as_u64(), chain["pending_records"].as_u64());
        if found == (Some(confirmed), Some(pending)) { Ok(()) } else { Err(chain.to_string()) }
    });
}

/// Starts it, and returns after which time it answered a read.
fn open(station: &mut Daemon) -> Duration {
    let started = Instant::now();
    station.start();
    station.api().get("/v1/chain");
    started.elapsed()
}

/// Exports the chain of a daemon that was just opened and imports it into a new one: both in bounded memory. Neither
/// counts its records when it is asked for figures.
fn export_and_import(station: &Daemon) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("chain.json");
    let file = file.to_str().expect("UTF-8");
    let figures = |station: &Daemon| {
        let mut times: Vec<_> = (0..20)
            .map(|_| {
                let started = Instant::now();
                let figures = station.api().get("/v1/chain");
                (started.elapsed(), figures)
            })
            .collect();
        times.sort_by_key(|(time, _)| *time);
        // The slowest may have waited for the machine.
        let (median, figures) = times.swap_remove(times.len() / 2);
        println!("{}: figures in {median:?}", station.name());
        assert!(median < FIGURES_LIMIT, "{} took {median:?} for its figures", station.name());
        figures
    };
    let in_bounds = |station: &Daemon, what: &str, started: Instant| {
        let resident = Resident::of(station.pid());
        println!("{}, {what} in {:?}: {resident}", station.name(), started.elapsed());
        assert!(resident.peak < EXPORT_LIMIT, "{}, {what}: {resident}", station.name());
    };
    let started = Instant::now();
    station.qfzz(&["chain", "export", file]).exits(0);
    in_bounds(station, "exported", started);
    let mut reader = Recipe::new("reader").prepare();
    reader.start();
    let started = Instant::now();
    reader.qfzz(&["chain", "import", file]).exits(0);
    in_bounds(&reader, "imported", started);
    assert_eq!(figures(&reader), figures(station));
}

#[test]
fn many_subjects_take_bounded_memory_over_load_gossip_sync_and_restart_and_are_open_in_time() {
    let _turn = alone();
    let records = env::var("QFZZ_MEMORY_RECORDS").map_or(RECORDS, |text| text.parse().expect("a number of records"));
    let writer = Recipe::new("writer").found("scale", &[]);
    let listener = Recipe::new("listener").run_joining(&writer.address());
    wait_for("the listener hears gossip", PATIENCE, || {
        let status = listener.api().get("/v1/status");
        if status["synced"] == true { Ok(()) } else { Err(status.to_string()) }
    });

    let started = Instant::now();
    load(&writer, records);
    println!("{records} records acknowledged after {:?}", started.elapsed());
    // All of them wait at once, then all of them join the chain.
    await_records(&listener, 0, records);
    println!("pending: {} at the writer, {} at the listener", Resident::of(writer.pid()), Resident::of(listener.pid()));
    let started = Instant::now();
    let blocks = std::iter::from_fn(|| writer.api().mine()).count();
    println!("{blocks} blocks mined after {:?}", started.elapsed());
    await_records(&writer, records, 0);
    await_records(&listener, records, 0);

    let started = Instant::now();
    let newcomer = Recipe::new("newcomer").run_joining(&writer.address());
    await_records(&newcomer, records, 0);
    println!("the newcomer had all after {:?}", started.elapsed());

    let mut wrong = Vec::new();
    let mut check = |what: String, resident: Resident| {
        println!("{what}: {resident}");
        if records <= SMALL && resident.peak >= MEMORY_LIMIT {
            wrong.push(format!("{what}: {resident}"));
        }
    };
    let mut stations = [writer, listener, newcomer];
    for station in &stations {
        check(format!("{}, since its start", station.name()), Resident::of(station.pid()));
    }
    let head = stations[0].api().head();
    let limit = opening_limit(records);
    for station in &mut stations {
        for how in ["a stop", "a kill"] {
            match how {
                "a stop" => assert!(station.signal(Signal::TERM, Duration::from_secs(5)).0.success()),
                _ => station.kill(),
            }
            let opening = open(station);
            assert_eq!(station.api().head(), head, "{} after {how}", station.name());
            await_records(station, records, 0);
            check(format!("{}, opened in {opening:?} after {how}", station.name()), Resident::of(station.pid()));
            assert!(opening < limit, "{} took {opening:?} to open after {how}, not {limit:?}", station.name());
        }
        let user = station.api().get("/v1/trust/users/user_0000000");
        assert_eq!((&user["evidence"], &user["pending"]), (&1.into(), &0.into()), "{user}");
    }
    export_and_import(&stations[0]);
    assert!(wrong.is_empty(), "above {} MiB: {wrong:#?}", MEMORY_LIMIT / MIB);
}
