//! Random numbers of Q#, run by the real package, which `qfzz quantum setup` installs from PyPI into the target directory:
//! without a way there these tests fail, for what they show could not be shown.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qfzz_ledger_core::federation::{Genesis, Parameters};
use qfzz_ledger_core::header::{BlockHeader, Difficulty};
use qfzz_ledger_core::ids::{Name, StationId};
use qfzz_ledger_core::pow::NonceSearch;
use qfzz_ledger_core::time::Timestamp;
use qfzz_node::quantum::setup::python_in;
use qfzz_node::quantum::{Generator, HealthTest, QuantumProvider, QuantumRandomNumberGenerator, Settings};
use qfzz_tests::harness::{
    Daemon, Finished, Recipe, alone, beside_others, children, ends, fake_python, qfzz, station_with_python, wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long the real package may take to be ready; a second is usual.
const PATIENCE: Duration = Duration::from_secs(30);

/// A data directory in which `qfzz quantum setup` has worked: once for all tests and runs.
fn set_up() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quantum-setup");
    fs::create_dir_all(&directory).expect("a directory");
    // Tests are processes of their own, and one sets it up while the others wait.
    let lock = File::create(directory.join("lock")).expect("a file");
    lock.lock().expect("locked");
    let data_dir = directory.join("data");
    if python_in(&data_dir.join("quantum")).is_none() {
        run(&data_dir, &["quantum", "setup"]).exits(0);
    }
    data_dir
}

fn run(data_dir: &Path, arguments: &[&str]) -> Finished {
    let mut command = qfzz(data_dir);
    command.args(arguments);
    Finished::run(command, "")
}

/// The Python that has the package.
fn python() -> String {
    python_in(&set_up().join("quantum")).expect("it is set up").display().to_string()
}

/// A source that runs `source` on the real package.
fn provider(source: &str) -> QuantumProvider {
    QuantumProvider::start(Settings { python: python(), source: source.to_owned(), ..Settings::default() })
}

/// Waits until the station's source is there, and returns what it says of it.
fn ready(station: &Daemon) -> Value {
    let mut status = Value::Null;
    wait_for("Q# runs", PATIENCE, || {
        status = station.api().get("/v1/quantum");
        if status["available"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    status
}

#[test]
fn what_setup_installs_is_used_with_a_daemon_and_without() {
    let _turn = beside_others();
    let data_dir = set_up();
    let mut local = Value::Null;
    // No command waits long: on a computer that has much else to do, some do without Q#.
    wait_for("a command has Q#", PATIENCE, || {
        local = run(&data_dir, &["quantum", "status", "--json"]).exits(0).json();
        if local["available"] == true { Ok(()) } else { Err(local.to_string()) }
    });
    assert_eq!((&local["backend"], &local["generator"]), (&json!("microsoft-qdk"), &json!("qdk-qrng")), "{local}");
    assert_eq!(
        (&local["package"], &local["kind"], &local["reason"]),
        (&json!("qdk"), &json!("simulator"), &Value::Null),
        "{local}"
    );
    let number = run(&data_dir, &["quantum", "int", "16", "--json"]).exits(0).json();
    assert!(number["value"].as_u64().is_some_and(|value| value < 1 << 16), "{number}");
    let nonce: u32 = run(&data_dir, &["quantum", "nonce"]).exits(0).stdout.trim().parse().expect("32 bits");
    println!("nonce {nonce}");
    let bytes = run(&data_dir, &["quantum", "bytes", "32", "--json"]).exits(0).json();
    assert_eq!(hex::decode(bytes["value"].as_str().expect("text")).expect("hex").len(), 32);

    // The daemon of a directory finds what was set up there by itself.
    let mut own = Recipe::new("own").set("quantum.enabled", "true").prepare();
    fs::create_dir(own.data_dir()).expect("a directory");
    std::os::unix::fs::symlink(data_dir.join("quantum"), own.data_dir().join("quantum")).expect("linked");
    own.start();
    let status = ready(&own);
    assert_eq!(status["version"], local["version"], "{status}");
    let asked = own.qfzz(&["quantum", "status", "--json"]).exits(0).json();
    assert_eq!(asked["backend"], "microsoft-qdk");
    wait_for("the pool is full", PATIENCE, || {
        let status = own.api().get("/v1/quantum");
        let is_full = status["pool_bytes"] == status["pool_capacity_bytes"];
        if is_full { Ok(()) } else { Err(status.to_string()) }
    });
    let metrics = own.api().try_get("/metrics").expect("it answers").body;
    for line in [
        "qfzz_quantum_available 1",
        "qfzz_quantum_pool_bytes 15360",
        "qfzz_quantum_health_failures_total{test=\"repetition_count\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    own.api().record(&json!({ "kind": "user_action", "user_id": "u", "action": "rating", "target": "t" }));
    let block = own.api().mine().expect("a record is pending");
    assert_eq!(block["index"], 1);
    // From 0 on, a nonce of difficulty 2 is found within some thousand attempts; a random start is lower once in 65,536.
    assert!(block["nonce"].as_u64().is_some_and(|nonce| nonce > 1 << 16), "{block}");
    let helpers = children(own.pid());
    let memory = fs::read_to_string(format!("/proc/{}/status", helpers[0])).expect("it runs");
    println!("the helper: {}", memory.lines().find(|line| line.starts_with("VmRSS")).expect("Linux tells"));
    let (status, elapsed) = own.signal(Signal::TERM, Duration::from_secs(5));
    assert_eq!(status.code(), Some(0), "stopped after {elapsed:?}");
    helpers.into_iter().for_each(ends);
}

#[test]
fn the_helper_of_a_killed_daemon_ends_and_one_that_is_killed_is_replaced() {
    let _turn = beside_others();
    let mut station = station_with_python("killed", &python());
    ready(&station);
    let first = children(station.pid());
    let pid = |pid: u32| rustix::process::Pid::from_raw(i32::try_from(pid).expect("small")).expect("a process");
    first.iter().for_each(|helper| rustix::process::kill_process(pid(*helper), Signal::KILL).expect("killed"));
    wait_for("another one runs", PATIENCE, || {
        let now = children(station.pid());
        let is_new = !now.is_empty() && now.iter().all(|pid| !first.contains(pid));
        let is_ready = station.api().get("/v1/quantum")["available"] == true;
        if is_new && is_ready { Ok(()) } else { Err(format!("{now:?}")) }
    });
    let second = children(station.pid());
    station.kill();
    second.into_iter().for_each(ends);
}

#[test]
fn switched_off_it_starts_nothing_and_mining_begins_at_zero() {
    let _turn = beside_others();
    let station = Recipe::new("off").set("quantum.python", &python()).found("off", &[]);
    let status = station.api().get("/v1/quantum");
    assert_eq!((&status["backend"], &status["enabled"]), (&json!("classical-fallback"), &json!(false)), "{status}");
    assert!(status["reason"].as_str().is_some_and(|told| told.contains("quantum.enabled")), "{status}");
    station.api().record(&json!({ "kind": "user_action", "user_id": "u", "action": "rating", "target": "t" }));
    let block = station.api().mine().expect("a record is pending");
    assert!(block["nonce"].as_u64().is_some_and(|nonce| nonce < 1 << 16), "{block}");
    assert_eq!(children(station.pid()), [0_u32; 0]);
}

#[test]
fn what_is_out_of_range_is_refused_by_naming_the_range() {
    let _turn = beside_others();
    let directory = tempfile::tempdir().expect("a directory");
    for (arguments, range) in [
        (["quantum", "int", "0"], "1 to 64"),
        (["quantum", "int", "65"], "1 to 64"),
        (["quantum", "int", "99999999999999999999"], "1 to 64"),
        (["quantum", "bytes", "0"], "1 to 1048576"),
        (["quantum", "bytes", "1000000000"], "1 to 1048576"),
        (["quantum", "bytes", "-1"], "--help"),
    ] {
        let refused = run(directory.path(), &arguments).exits(2);
        assert!(refused.stderr.contains(range) && refused.stdout.is_empty(), "{refused:?}");
    }
}

#[test]
fn a_changed_operation_is_seen_in_the_raw_bits_and_the_source_is_dropped() {
    let _turn = beside_others();
    let own = Settings::default().source;
    let superposition = "ApplyToEach(H, qubits);";
    assert_eq!(own.matches(superposition).count(), 2);
    let provider_of = |operation: &str| provider(&own.replace(superposition, operation));
    for (operation, test) in [
        // All zeros, all ones, and of eight qubits six zeros, a one that ends each run of them, and a random one.
        ("", HealthTest::RepetitionCount),
        ("ApplyToEach(X, qubits);", HealthTest::RepetitionCount),
        (
            "for place in 1..8..nBits - 1 { X(qubits[place]); } for place in 4..8..nBits - 1 { H(qubits[place]); }",
            HealthTest::AdaptiveProportion,
        ),
    ] {
        let changed = provider_of(operation);
        assert!(!changed.wait_for_bytes(1, PATIENCE), "`{operation}` passes");
        assert_eq!(changed.failed_test(), Some(test), "`{operation}`: {:?}", changed.status());
        let status = changed.status();
        assert_eq!((status.backend, status.available, status.health_failures), ("classical-fallback", false, 1));
        let qrng = QuantumRandomNumberGenerator::new(changed);
        assert_eq!((qrng.backend(), qrng.random_bytes(32).expect("classical").len()), (Generator::Classical, 32));
    }
    let broken = provider_of("this is no Q#;");
    assert!(!broken.wait_for_bytes(1, PATIENCE));
    assert!(broken.status().reason.is_some_and(|told| told.starts_with("Q# does not run: ")), "{:?}", broken.status());
    assert!(provider(&own).wait_for_bytes(1, PATIENCE), "the operation as it is");
}

#[test]
fn an_azure_target_says_what_is_missing() {
    let _turn = beside_others();
    let target = "ionq.qpu.forte-1".parse().expect("a target");
    let provider = QuantumProvider::start(Settings { python: python(), target, ..Settings::default() });
    assert!(!provider.wait_for_bytes(1, PATIENCE));
    let status = provider.status();
    assert_eq!((status.kind, status.available), ("hardware", false));
    assert!(status.reason.is_some_and(|told| told.contains("needs the package `azure-quantum`")));
}

#[test]
fn a_job_of_an_azure_target_gives_what_the_pool_of_hardware_holds() {
    let _turn = beside_others();
    let directory = tempfile::tempdir().expect("a directory");
    let package = directory.path().join("azure").join("quantum");
    fs::create_dir_all(&package).expect("a directory");
    let workspace = r#""""Fakes azure.quantum: a workspace with one machine that measures random bits, for programs in QIR with 8 qubits."""
import secrets


class Job:
    def __init__(self, shots):
        self.shots = shots

    def get_results_shots(self, timeout_secs):
        return [[secrets.randbits(1) for _ in range(8)] for _ in range(self.shots)]


class Machine:
    def submit(self, program, name, shots):
        assert str(program).count("call void @__quantum__qis__h__body") == 8, program
        return Job(shots)


class Workspace:
    def get_targets(self, name):
        return Machine() if name == "ionq.qpu.forte-1" else None
"#;
    fs::write(package.join("__init__.py"), workspace).expect("written");
    let script = format!(
        "#!/bin/sh\n# The real Python and package, with a fake of azure.quantum.\n\
         export PYTHONPATH='{}' AZURE_QUANTUM_CONNECTION_STRING=fake\nexec '{}' \"$@\"\n",
        directory.path().display(),
        python()
    );
    let python = fake_python(&directory, &script);
    let start = |target: &str| {
        let target = target.parse().expect("a target");
        QuantumProvider::start(Settings { python: python.clone(), target, ..Settings::default() })
    };
    let machine = start("ionq.qpu.forte-1");
    assert!(machine.wait_for_bytes(u64::MAX, PATIENCE), "{:?}", machine.status());
    let status = machine.status();
    assert_eq!((status.backend, status.kind, status.pool_bytes), ("microsoft-qdk", "hardware", 12 * 32));
    let other = start("ionq.qpu.aria-1");
    assert!(!other.wait_for_bytes(1, PATIENCE));
    assert_eq!(other.status().reason.as_deref(), Some("the workspace has no target `ionq.qpu.aria-1`"));
}

/// Bits of a sequence that the tests look at.
const BITS: usize = 1_000_000;

/// Whether a million bits pass the monobit and runs tests of NIST SP 800-22 and a chi-square test of their bytes, each at
/// 0.001; else which they fail.
fn fails(bytes: &[u8]) -> Vec<&'static str> {
    // Quantiles: of the normal distribution (two-sided), and of chi-square with 255 degrees of freedom.
    const NORMAL: f64 = 3.290_5;
    const CHI_SQUARE: f64 = 330.52;
    let bits: Vec<bool> = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).collect();
    assert_eq!(bits.len(), BITS);
    let n = BITS as f64;
    let ones = bits.iter().filter(|bit| **bit).count() as f64;
    let runs = 1.0 + bits.windows(2).filter(|pair| pair[0] != pair[1]).count() as f64;
    let share = ones / n;
    let even = share * (1.0 - share);
    let mut counts = [0_u32; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let expected = bytes.len() as f64 / 256.0;
    let chi_square: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    let tests = [
        ("monobit", (2.0 * ones - n).abs() / n.sqrt() < NORMAL),
        ("runs", (runs - 2.0 * n * even).abs() / (2.0 * n.sqrt() * even) < NORMAL),
        ("chi-square", chi_square < CHI_SQUARE),
    ];
    println!("ones {ones}, runs {runs}, chi-square {chi_square:.1}");
    tests.into_iter().filter(|(_, passes)| !passes).map(|(name, _)| name).collect()
}

#[test]
fn a_million_bits_of_each_generator_look_random() {
    let _turn = beside_others();
    let classical = QuantumRandomNumberGenerator::new(QuantumProvider::off());
    let source = provider(&Settings::default().source);
    let quantum = QuantumRandomNumberGenerator::new(source.clone());
    let drawn = || {
        let block = || {
            assert!(source.wait_for_bytes(1, PATIENCE), "{:?}", source.status());
            assert_eq!(quantum.backend(), Generator::Qdk);
            quantum.random_bytes(25).expect("there is a pool")
        };
        (0..BITS / 200).flat_map(|_| block()).collect::<Vec<u8>>()
    };
    let of_system = || classical.random_bytes(BITS / 8).expect("the operating system's");
    for (name, bytes) in [("qdk-qrng", &drawn as &dyn Fn() -> Vec<u8>), ("classical-csprng", &of_system)] {
        // An honest generator fails one of three such tests once in 333 times, and the same one twice in a row once in 333,000.
        let failed = fails(&bytes());
        let twice: Vec<_> = if failed.is_empty() { Vec::new() } else { fails(&bytes()) };
        assert!(!failed.iter().any(|test| twice.contains(test)), "{name} fails {twice:?}");
    }
    // What is not random is told from it.
    assert_eq!(fails(&[0x55; BITS / 8]), ["runs", "chi-square"]);
    assert_eq!(fails(&[0xff; BITS / 8]).len(), 3);
}

#[test]
fn mining_is_as_fast_with_a_source_as_without() {
    let _turn = alone();
    /// Attempts of one search: some milliseconds.
    const ATTEMPTS: u32 = 200_000;
    /// The shares of the two differ by less where nothing else runs; a helper that was in the way would halve one.
    const NOISE: f64 = 0.15;
    let parameters =
        Parameters::new(Name::new("Fast").expect("a name"), StationId::from_bytes([1; 32]), Timestamp::EPOCH);
    let genesis = Genesis::mine(parameters).expect("mined");
    // So difficult that no search ends before its attempts do.
    let header = BlockHeader { difficulty: Difficulty::new(8).expect("in range"), ..genesis.header() };
    let source = provider(&Settings::default().source);
    assert!(source.wait_for_bytes(u64::MAX, PATIENCE), "{:?}", source.status());
    let qrng = QuantumRandomNumberGenerator::new(source);
    let search = |nonce: Option<u32>| {
        let header = BlockHeader { nonce: nonce.unwrap_or(0).into(), ..header.clone() };
        NonceSearch::new(&genesis.id(), header).run(ATTEMPTS)
    };
    let timed = |with_source: bool| {
        let started = Instant::now();
        let found = search(with_source.then(|| qrng.random_nonce().expect("a nonce")));
        if found.is_some() { None } else { Some(started.elapsed().as_secs_f64()) }
    };
    // Of searches in turn the fastest tenth of each kind, which other processes disturbed least.
    let series = || {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..200 {
            times[round % 2].extend(timed(round % 2 == 1));
        }
        let [without, with] = times.map(|mut times| {
            times.sort_unstable_by(f64::total_cmp);
            times[times.len() / 10]
        });
        let speed = |time: f64| f64::from(ATTEMPTS) / time / 1e6;
        let ratio = without / with;
        println!(
            "{:.2} and {:.2} million attempts a second without and with a source: ratio {ratio:.3}",
            speed(without),
            speed(with)
        );
        ratio
    };
    // What is always slower is so in each of three series; what other processes do is not.
    let ratios: Vec<f64> = std::iter::repeat_with(series).take(3).collect();
    assert!(ratios.iter().any(|ratio| (1.0 - NOISE..1.0 + NOISE).contains(ratio)), "{ratios:?}");
}
