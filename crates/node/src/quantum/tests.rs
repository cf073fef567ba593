//! The source with Pythons that are fakes, each a small script that says what it fakes. Q# itself runs in
//! `tests/daemons/quantum.rs`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::identity::Identity;

/// The most that a caller waits for a source that gives nothing.
const SOON: Duration = Duration::from_secs(2);

/// Far beyond what is asserted.
const DEADLINE: Duration = Duration::from_secs(20);

/// A directory with a fake Python of this text.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new(script: &str) -> Self {
        let fake = Self(tempfile::tempdir().expect("a directory"));
        fs::write(fake.path(), script).expect("written");
        fs::set_permissions(fake.path(), fs::Permissions::from_mode(0o755)).expect("executable");
        fake
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("python")
    }

    fn settings(&self) -> Settings {
        Settings { python: self.path().display().to_string(), ..Settings::default() }
    }

    fn start(&self) -> QuantumProvider {
        QuantumProvider::start(self.settings())
    }
}

/// A fake whose helper is ready and then does `answer` at each request; `$id` is its number.
fn ready_then(answer: &str) -> Fake {
    Fake::new(&format!(
        "#!/bin/sh\n# Fakes a helper that is ready, then: {answer}\nread -r order\n\
         echo '{{\"ready\":{{\"package\":\"qdk\",\"version\":\"0.0.0\"}}}}'\nid=0\n\
         while read -r line; do id=$((id+1)); {answer}; done\n"
    ))
}

/// A shell's words that answer with `raw`, a program's output as hex digits.
fn drawn(raw: &str) -> String {
    format!("printf '{{\"id\":%s,\"raw\":\"%s\"}}\\n' $id $({raw})")
}

fn random_raw() -> String {
    drawn("head -c 576 /dev/urandom | od -An -v -tx1 | tr -d ' \\n'")
}

/// Waits until `is_so`, for the condition that `what` names.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
    }
}

/// Whether a process still runs; a zombie does not.
fn runs(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn whatever_is_wrong_with_python_work_goes_on_classically_within_two_seconds() {
    let fakes = [
        (
            "without the package",
            Fake::new(
                "#!/bin/sh\n# Fakes a Python without packages.\nread -r order\necho '{\"missing\":\"python has neither the package `qdk` nor `qsharp`: install it with `qfzz quantum setup`\"}'\n",
            ),
            "qfzz quantum setup",
        ),
        ("one that hangs", Fake::new("#!/bin/sh\n# Fakes a Python that hangs.\nexec sleep 1000\n"), "is not ready yet"),
        (
            "one that hangs while it loads",
            Fake::new("#!/bin/sh\n# Fakes a package that hangs while it loads.\nread -r order; exec sleep 1000\n"),
            "is not ready yet",
        ),
        (
            "one whose first line never ends",
            Fake::new("#!/bin/sh\n# Fakes a slow helper.\nwhile :; do printf ' '; sleep 0.1; done\n"),
            "is not ready yet",
        ),
        ("one that ends at once", Fake::new("#!/bin/sh\n# Fakes a broken Python.\nexit 1\n"), "ended by itself"),
        ("one that dies in mid-answer", ready_then("printf '{\"id\":1,\"raw\":\"00'; kill -9 $$"), "ended by itself"),
        (
            "one that talks for ever",
            Fake::new("#!/bin/sh\n# Fakes a helper that never ends its line.\nexec cat /dev/zero\n"),
            "none of the helper's",
        ),
        (
            "one that talks nonsense",
            Fake::new("#!/bin/sh\n# Fakes another program.\necho hello; exec sleep 1000\n"),
            "none of the helper's",
        ),
        ("one that answers too little", ready_then(&drawn("echo 00ff")), "none of the helper's"),
        ("one that answers another question", ready_then("echo '{\"id\":77,\"raw\":\"00\"}'"), "none of the helper's"),
    ];
    for (what, fake, reason) in fakes {
        let started = Instant::now();
        let qrng = QuantumRandomNumberGenerator::new(source(fake.settings()));
        assert_eq!(qrng.backend(), Generator::Classical, "{what}");
        assert_eq!(qrng.random_bytes(32).expect("the operating system's").len(), 32);
        let provider = fake.start();
        assert!(started.elapsed() < SOON, "{what}: {:?}", started.elapsed());
        wait_until(what, || provider.status().reason.is_some_and(|told| told.contains(reason)));
        let status = provider.status();
        assert_eq!(
            (status.backend, status.available, status.generator),
            ("classical-fallback", false, "classical-csprng")
        );
        let stopping = Instant::now();
        provider.stop();
        assert!(stopping.elapsed() < SOON, "{what}: stopped after {:?}", stopping.elapsed());
    }
    let missing = Settings { python: "/nonexistent/python3".to_owned(), ..Settings::default() };
    let qrng = QuantumRandomNumberGenerator::new(source(missing.clone()));
    assert_eq!(qrng.backend(), Generator::Classical);
    let provider = QuantumProvider::start(missing);
    wait_until("no Python", || provider.status().reason.is_some_and(|told| told.contains("cannot be started")));
}

#[test]
fn a_full_pool_gives_32_bytes_within_ten_microseconds_and_fills_up_again() {
    let fake = ready_then(&random_raw());
    let provider = fake.start();
    assert!(provider.wait_for_bytes(u64::MAX, DEADLINE), "{:?}", provider.status());
    let status = provider.status();
    assert_eq!((status.backend, status.available, status.generator), ("microsoft-qdk", true, "qdk-qrng"));
    assert_eq!((status.version.as_deref(), status.kind, status.reason), (Some("0.0.0"), "simulator", None));
    let full = status.pool_capacity_bytes;
    assert_eq!((status.pool_bytes, full), (15 * 1024, 15 * 1024));
    let qrng = QuantumRandomNumberGenerator::new(provider.clone());
    let mut times: Vec<Duration> = (0..300)
        .map(|_| {
            let started = Instant::now();
            qrng.random_bytes(32).expect("there is a pool");
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("32 bytes of the pool: median {:?}, 99 of 100 within {:?}", times[150], times[297]);
    // Of many, for the machine has other work, too.
    assert!(times[150] < Duration::from_micros(10), "{:?}", times[150]);
    wait_until("it fills up again", || provider.status().pool_bytes > full - 12 * 32);
}

#[test]
fn an_empty_pool_keeps_nobody_waiting() {
    let fake = ready_then(&format!("if [ $id -gt 1 ]; then exec sleep 1000; fi; {}", random_raw()));
    let provider = fake.start();
    assert!(provider.wait_for_bytes(12 * 32, DEADLINE), "{:?}", provider.status());
    let qrng = QuantumRandomNumberGenerator::new(provider);
    let started = Instant::now();
    for taken in 0..100 {
        let expected = if taken < 12 { Generator::Qdk } else { Generator::Classical };
        assert_eq!(qrng.backend(), expected, "after {taken}");
        qrng.random_int(64).expect("a number");
    }
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[test]
fn a_new_key_takes_one_block_of_the_pool_and_does_without_where_there_is_none() {
    let fake = ready_then(&random_raw());
    let provider = fake.start();
    assert!(provider.wait_for_bytes(u64::MAX, DEADLINE), "{:?}", provider.status());
    let qrng = QuantumRandomNumberGenerator::new(provider.clone());
    let make = |qrng| Identity::generate_with(qrng).expect("there is randomness").station_id();
    let mut stations = Vec::new();
    for taken in 1..=3 {
        stations.push(make(&qrng));
        // It is filled again only when a whole draw finds room.
        let status = provider.status();
        assert_eq!(status.pool_bytes, status.pool_capacity_bytes - 32 * taken);
    }
    stations.push(make(&QuantumRandomNumberGenerator::new(QuantumProvider::off())));
    stations.sort_unstable();
    stations.dedup();
    assert_eq!(stations.len(), 4, "each is another one");
}

#[test]
fn a_source_that_fails_its_test_is_dropped_for_good() {
    for (raw, test) in [
        ("printf '%01152d' 0", HealthTest::RepetitionCount),
        ("yes ee | head -n 576 | tr -d '\\n'", HealthTest::AdaptiveProportion),
    ] {
        let fake = ready_then(&drawn(raw));
        let provider = fake.start();
        wait_until("it is dropped", || provider.failed_test().is_some());
        assert_eq!(provider.failed_test(), Some(test));
        let status = provider.status();
        assert_eq!((status.backend, status.pool_bytes, status.health_failures), ("classical-fallback", 0, 1));
        assert!(status.reason.is_some_and(|told| told.contains(&test.to_string())));
        assert!(!provider.wait_for_bytes(1, DEADLINE));
        assert_eq!(QuantumRandomNumberGenerator::new(provider).random_bytes(8).expect("classical").len(), 8);
    }
}

#[test]
fn a_helper_that_died_is_replaced() {
    let fake = ready_then(&random_raw());
    let provider = fake.start();
    assert!(provider.wait_for_bytes(1, DEADLINE), "{:?}", provider.status());
    let pid = || provider.helper_pid().map(|pid| pid.to_string());
    let first = pid().expect("it runs");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(first.parse().expect("a number")).expect("a process"),
        rustix::process::Signal::KILL,
    )
    .expect("killed");
    wait_until("another one draws", || pid().is_some_and(|now| now != first) && provider.status().available);
    let second = pid().expect("it runs");
    provider.stop();
    assert!(!runs(&first) && !runs(&second), "none is left");
    assert!(!provider.status().available);
}

#[test]
fn the_helper_gets_no_more_of_the_environment_than_it_needs() {
    let all = ["PATH", "HOME", "QFZZ_API", "PYTHONPATH", "LD_PRELOAD", "AWS_SECRET_ACCESS_KEY", "AZURE_CLIENT_SECRET"];
    let all = || all.map(|name| (OsString::from(name), OsString::from("x")));
    let seen = |target: &str| {
        let target = target.parse().expect("a target");
        process::environment(&target, all()).map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(seen("simulator"), ["PATH", "HOME"]);
    assert_eq!(seen("ionq.qpu.forte-1"), ["PATH", "HOME", "AZURE_CLIENT_SECRET"]);
}

#[test]
fn a_target_is_the_simulator_or_a_name_of_azure_quantum() {
    for (name, is_local, is_hardware) in [
        ("simulator", true, false),
        ("ionq.qpu.forte-1", false, true),
        ("quantinuum.qpu.h2-1", false, true),
        ("rigetti.sim.qvm", false, false),
        ("ionq.simulator", false, false),
    ] {
        let target: Target = name.parse().expect("a target");
        assert_eq!((target.is_local(), target.is_hardware()), (is_local, is_hardware), "{name}");
    }
}
