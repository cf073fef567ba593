//! The source of random numbers with Pythons that are fakes, each a small script that says what it fakes: what is broken
//! delays nobody, what is not random is dropped, and what is good is mixed in. The real package runs in `quantum.rs`.

use std::fs;
use std::time::{Duration, Instant};

use qfzz_tests::harness::{Recipe, beside_others, children, ends, fake_python, station_with_python, wait_for};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most that anybody waits for a source that gives nothing.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn without_a_python_that_works_everything_else_does_and_nobody_waits() {
    let _turn = beside_others();
    let directory = tempfile::tempdir().expect("a directory");
    let hangs = fake_python(&directory, "#!/bin/sh\n# Fakes a Python that hangs.\nexec sleep 1000\n");
    let bare = tempfile::tempdir().expect("a directory");
    let bare = fake_python(&bare, "#!/bin/sh\n# A real Python, without any package.\nexec python3 -I -S \"$@\"\n");
    for (name, python, reason) in [
        ("hangs", hangs, "is not ready yet"),
        ("bare", bare, "qfzz quantum setup"),
        ("none", "/nonexistent".to_owned(), "cannot be started"),
    ] {
        let mut station = station_with_python(name, &python);
        let asked = Instant::now();
        let mut status = station.api().get("/v1/quantum");
        assert!(asked.elapsed() < SOON);
        wait_for("it says why", PATIENCE, || {
            status = station.api().get("/v1/quantum");
            if status["reason"].as_str().is_some_and(|told| told.contains(reason)) {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
        assert_eq!(
            (&status["backend"], &status["available"]),
            (&json!("classical-fallback"), &json!(false)),
            "{status}"
        );
        station.api().record(&json!({ "kind": "user_action", "user_id": "u", "action": "rating", "target": "t" }));
        assert_eq!(station.api().mine().expect("a record is pending")["index"], 1, "{name}");
        assert_eq!(station.api().get("/v1/status")["problems"], json!([]), "{name}");
        let helpers = children(station.pid());
        let (ended, elapsed) = station.signal(Signal::TERM, Duration::from_secs(5));
        assert_eq!(ended.code(), Some(0), "{name}: {elapsed:?}");
        helpers.into_iter().for_each(ends);
        let said = station.said("stderr");
        let lines: Vec<&str> =
            said.lines().filter(|line| line.contains("random numbers") || line.contains("quantum")).collect();
        assert!(lines.len() <= 1 && !said.contains("WARN"), "{name}: {said}");
        // And without the daemon.
        for arguments in [&["quantum", "status"][..], &["quantum", "int", "16"], &["quantum", "bytes", "32"]] {
            let started = Instant::now();
            station.qfzz(arguments).exits(0);
            assert!(started.elapsed() < SOON, "{name}: {arguments:?} took {:?}", started.elapsed());
        }
    }
}

/// A Python with a package `qdk` of this text, which notes in the file `pids` beside which process loads it.
fn fake_package(directory: &TempDir, init: &str) -> String {
    let package = directory.path().join("qdk");
    fs::create_dir(&package).expect("a directory");
    let own = directory.path().display();
    let note = format!("import os\nwith open('{own}/pids', 'a') as pids:\n    print(os.getpid(), file=pids)\n");
    fs::write(package.join("__init__.py"), format!("{note}{init}")).expect("written");
    fake_python(
        directory,
        &format!("#!/bin/sh\n# The real Python, with a fake of qdk.\nexport PYTHONPATH='{own}'\nexec python3 \"$@\"\n"),
    )
}

/// The processes that a fake has noted.
fn noted(directory: &TempDir) -> Vec<u32> {
    let pids = fs::read_to_string(directory.path().join("pids")).unwrap_or_default();
    pids.lines().map(|pid| pid.parse().expect("a process id")).collect()
}

/// Demands that one of three tries is done [`SOON`], by what each says that it took: a source that hangs delays them all,
/// other processes do not.
#[track_caller]
fn one_is_soon(what: &str, mut attempt: impl FnMut() -> Duration) {
    let mut took = Vec::new();
    while took.iter().all(|took| *took >= SOON) {
        assert!(took.len() < 3, "{what} took {took:?}");
        took.push(attempt());
    }
}

#[test]
fn a_source_that_hangs_delays_no_command_and_no_daemon_and_leaves_no_process() {
    let _turn = beside_others();
    let [slow, loading, stuck] = std::array::from_fn(|_| tempfile::tempdir().expect("a directory"));
    let dribble = format!(
        "#!/bin/sh\n# Fakes a Python whose first line never ends.\necho $$ >> '{}/pids'\n\
         while :; do printf ' '; sleep 0.2; done\n",
        slow.path().display()
    );
    let slow = (fake_python(&slow, &dribble), slow);
    let sleeps = "# Fakes a package that waits while it loads.\nimport time\ntime.sleep(1000)\n";
    let loading = (fake_package(&loading, sleeps), loading);
    // As native code may: no other thread of this Python runs while it sleeps.
    let holds = "# Fakes a package that holds the interpreter's lock while it loads.\nimport ctypes\n\
                 ctypes.PyDLL(None).sleep(1000)\n";
    let stuck = (fake_package(&stuck, holds), stuck);
    let empty = |enabled: &str, python: &str| {
        Recipe::new("hangs").set("quantum.enabled", enabled).set("quantum.python", python).prepare()
    };
    for (what, (python, directory)) in [("slow", slow), ("loading", loading), ("holding the lock", stuck)] {
        let mut station = empty("true", &python);
        for arguments in [&["init"][..], &["quantum", "status"], &["quantum", "int", "16"], &["quantum", "bytes", "32"]]
        {
            one_is_soon(&format!("{what}: {arguments:?}"), || {
                // `init` makes a new one each time; the others need none.
                let _ = fs::remove_dir_all(station.data_dir());
                let started = Instant::now();
                let done = station.qfzz(arguments).exits(0);
                let took = started.elapsed();
                let says = if arguments == ["quantum", "status"] { &done.stdout } else { &done.stderr };
                assert!(says.contains("is not ready yet") && says.contains("quantum.python"), "{what}: {done:?}");
                took
            });
        }
        assert!(noted(&directory).len() >= 4, "{what}");
        noted(&directory).into_iter().for_each(ends);

        // The daemon, which makes its station itself.
        one_is_soon(&format!("{what}: the start, beyond the usual,"), || {
            station.kill();
            let _ = fs::remove_dir_all(station.data_dir());
            let usual = empty("false", "").start();
            station.start().saturating_sub(usual)
        });
        let (ended, elapsed) = station.signal(Signal::TERM, Duration::from_secs(5));
        assert!(ended.code() == Some(0) && elapsed < SOON, "{what}: {ended} after {elapsed:?}");
        assert!(station.said("stderr").contains("is not ready yet"), "{what}: {}", station.said("stderr"));
        noted(&directory).into_iter().for_each(ends);
        // A shell would not notice that nobody listens to it any more.
        if what != "slow" {
            let before = noted(&directory).len();
            station.start();
            wait_for("the helper loads the package", PATIENCE, || {
                if noted(&directory).len() > before { Ok(()) } else { Err(format!("{:?}", noted(&directory))) }
            });
            station.kill();
            noted(&directory).into_iter().for_each(ends);
        }
    }
}

/// A directory and, in it, a Python whose helper is ready at once and answers each request with what the program `raw` prints:
/// 1,152 hex digits. Each request is noted in the file `drawn` beside.
fn drawing(raw: &str) -> (String, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let script = format!(
        "#!/bin/sh\n# Fakes a helper that draws what this prints: {raw}\nread -r order\n\
         echo '{{\"ready\":{{\"package\":\"qdk\",\"version\":\"0.0.0\"}}}}'\nid=0\n\
         while read -r line; do id=$((id+1)); echo $id >> '{}/drawn'\n\
         printf '{{\"id\":%s,\"raw\":\"%s\"}}\\n' $id $({raw}); done\n",
        directory.path().display()
    );
    (fake_python(&directory, &script), directory)
}

#[test]
fn a_source_that_is_not_random_is_dropped_and_status_log_and_metrics_say_so() {
    let _turn = beside_others();
    let (python, _directory) = drawing("printf '%01152d' 0");
    let station = station_with_python("zeros", &python);
    let problem = || {
        let problems = station.api().get("/v1/status")["problems"].clone();
        problems.as_array().and_then(|it| it.iter().find(|it| it["code"] == "quantum_source_failed")).cloned()
    };
    wait_for("the status tells", PATIENCE, || problem().map(|_| ()).ok_or_else(|| "no problem".to_owned()));
    let told = problem().expect("it was just there");
    assert!(told["problem"].as_str().is_some_and(|it| it.contains("repetition count")), "{told}");
    assert!(told["remedy"].as_str().is_some_and(|it| it.contains("quantum.python")), "{told}");
    let status = station.api().get("/v1/quantum");
    assert_eq!((&status["backend"], &status["health_failures"]), (&json!("classical-fallback"), &json!(1)), "{status}");
    assert!(status["reason"].as_str().is_some_and(|it| it.contains("restart qfzz")), "{status}");
    let shown = station.qfzz(&["status"]).exits(0).stdout;
    assert!(shown.contains("repetition count") && shown.contains("quantum.python"), "{shown}");
    let warned = |line: &str| line.contains("WARN") && line.contains("repetition count") && line.contains("dropped");
    assert_eq!(station.said("stderr").lines().filter(|line| warned(line)).count(), 1, "{}", station.said("stderr"));
    let metrics = station.api().try_get("/metrics").expect("it answers").body;
    assert!(metrics.contains("qfzz_quantum_health_failures_total{test=\"repetition_count\"} 1"), "{metrics}");
    station.api().record(&json!({ "kind": "user_action", "user_id": "u", "action": "rating", "target": "t" }));
    assert_eq!(station.api().mine().expect("a record is pending")["index"], 1);
    assert_eq!(children(station.pid()), [0_u32; 0]);
}

#[test]
fn a_new_key_and_an_invitation_have_a_block_of_the_pool_mixed_in() {
    let _turn = beside_others();
    let (python, directory) = drawing("head -c 576 /dev/urandom | od -An -v -tx1 | tr -d ' \\n'");
    let mut station = Recipe::new("founder").set("quantum.enabled", "true").set("quantum.python", &python).prepare();
    let made = station.qfzz(&["init", "--new-federation", "closed", "--admission", "roster", "--yes"]).exits(0);
    assert!(!made.stderr.contains("generator alone"), "{made:?}");
    assert!(directory.path().join("drawn").exists(), "`init` drew");
    station.start();
    let pool = || station.api().get("/v1/quantum")["pool_bytes"].as_u64().expect("a number");
    let full = station.api().get("/v1/quantum")["pool_capacity_bytes"].as_u64().expect("a number");
    wait_for("the pool is full", PATIENCE, || {
        let pool = pool();
        if pool == full { Ok(()) } else { Err(pool.to_string()) }
    });
    // It is filled again only when a whole draw of 12 blocks finds room.
    for taken in 1..=3 {
        station.qfzz(&["ticket", "--invite"]).exits(0);
        assert_eq!(pool(), full - 32 * taken, "after {taken}");
    }
}
