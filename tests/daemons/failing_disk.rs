//! I/O errors: the n-th write or sync of a daemon under load fails, or never returns.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use qfzz_tests::harness::{
    CallOutcome, Dice, Fault, Load, Plan, Recipe, Witness, alone, beside_others, copy_dir, wait_for,
};
use rustix::process::Signal;
use tempfile::TempDir;

/// Up to which call each kind of call fails.
const CALLS: u32 = 40;

/// Daemons that fail at once.
const WORKERS: usize = 4;

/// Records after which a daemon that met no error is asked to stop. `strace` counts the calls of each thread by itself, and
/// several threads sync: enough for some of them to reach the last call that fails.
const ENOUGH: usize = 480;

/// Within which a daemon that met an error ends, or takes things again.
const END: Duration = Duration::from_secs(10);

/// Within which a daemon whose disk hangs has ended: it notices after 60 s, and strace lets it go after 70.
const HANGS: Duration = Duration::from_secs(120);

/// Many small commits.
const PLAN: Plan = Plan { clients: 3, bulk_every: 3, bulk_records: 4, mine_every: Some(6) };

/// What became of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It ended with 1 at its start.
    DidNotStart,
    /// It ended with 1 while it was at work.
    Stopped,
    /// It met no error, or one that does no harm, and ended with 0 when it was asked to.
    WentOn,
}

/// Starts on a copy of `base` with `fault`, works until it ends, and demands all that was acknowledged of the next
/// start.
fn run(base: &std::path::Path, promised: &Witness, fault: Fault, dice: &mut Dice) -> (Outcome, usize) {
    let home = TempDir::new().expect("a temporary directory can be made");
    let dir = home.path().join("data");
    copy_dir(base, &dir);
    let mut witness = promised.clone();
    let mut daemon = Recipe::new(&format!("{} {}", fault.call, fault.number)).at(dir.clone()).prepare();
    let outcome = if daemon.try_start_with_fault(&fault).is_err() {
        Outcome::DidNotStart
    } else {
        let load = Load::start(daemon.api(), &PLAN, dice);
        let (status, _) = wait_for(&format!("{fault:?}: it ends, or takes enough"), END, || match daemon.try_end() {
            None if load.count() < ENOUGH => Err(format!("{} records", load.count())),
            status => Ok(status),
        });
        let outcome = match status {
            Some(status) => {
                assert_eq!(status.code(), Some(1), "{fault:?}: {}", daemon.said("stderr"));
                Outcome::Stopped
            }
            // It may still meet the error while it stops.
            None => match daemon.signal(Signal::TERM, END).0.code() {
                Some(0) => Outcome::WentOn,
                Some(1) => Outcome::Stopped,
                other => panic!("{fault:?}: ended with {other:?}: {}", daemon.said("stderr")),
            },
        };
        witness.promise(load.stop().0);
        outcome
    };
    let said = daemon.said("stderr");
    assert!(!said.contains("panicked"), "{fault:?}: {said}");
    if outcome != Outcome::WentOn {
        assert!(said.contains("qfzz: ") && said.contains("os error"), "{fault:?}: it says why: {said}");
    }
    let mut after = Recipe::new("after").at(dir).prepare();
    after.start();
    witness.examine(&after);
    after.qfzz(&["chain", "verify"]).exits(0);
    assert!(!after.said("stderr").contains("panicked"), "{fault:?}: {}", after.said("stderr"));
    (outcome, witness.promised())
}

#[test]
fn an_error_at_the_nth_write_or_sync_acknowledges_nothing_that_is_lost_and_hangs_nothing() {
    let _turn = alone();
    let mut dice = Dice::from_environment(46);
    let home = TempDir::new().expect("a temporary directory can be made");
    let base = home.path().join("base");
    let mut daemon = Recipe::new("base").at(base.clone()).found("failing", &Load::INIT_FLAGS);
    let mut promised = Witness::default();
    let load = Load::start(daemon.api(), &PLAN, &mut dice);
    wait_for("enough records are taken", END, || match load.count() {
        count if count < ENOUGH => Err(format!("{count} records")),
        _ => Ok(()),
    });
    promised.promise(load.stop().0);
    promised.examine(&daemon);
    assert_eq!(daemon.signal(Signal::TERM, END).0.code(), Some(0));

    let began = Instant::now();
    let mut faults = Vec::new();
    for number in 1..=CALLS {
        let for_good = number % 2 == 0;
        faults.push(Fault { call: "fdatasync", outcome: CallOutcome::Error("EIO"), number, for_good });
        let error = if number % 4 == 1 { "ENOSPC" } else { "EIO" };
        faults.push(Fault { call: "pwrite64", outcome: CallOutcome::Error(error), number, for_good });
        if number % 8 == 1 {
            faults.push(Fault { call: "fsync", outcome: CallOutcome::Error("EIO"), number: number / 8 + 1, for_good });
        }
    }
    let seeds: Vec<u64> = faults.iter().map(|_| dice.roll()).collect();
    let (next, totals) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(fault), Some(seed)) = (faults.get(number), seeds.get(number)) else { return };
                    let (outcome, ids) = run(&base, &promised, *fault, &mut Dice::new(*seed));
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    let (count, all) = totals.entry((fault.call, outcome)).or_insert((0, 0));
                    (*count, *all) = (*count + 1, *all + ids);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    for ((call, outcome), (count, ids)) in &totals {
        println!("{call:10} {outcome:?}: {count}, {ids} acknowledged ids found");
    }
    println!("{} faults in {:?}", faults.len(), began.elapsed());
    let stopped = |call| totals.get(&(call, Outcome::Stopped)).map_or(0, |(count, _)| *count);
    assert!(stopped("fdatasync") > CALLS as usize / 2 && stopped("pwrite64") > CALLS as usize / 2, "{totals:?}");
}

#[test]
fn a_disk_that_hangs_ends_the_daemon_which_says_so_and_loses_nothing() {
    let _turn = beside_others();
    let home = TempDir::new().expect("a temporary directory can be made");
    let mut daemon = Recipe::new("hanging").at(home.path().join("data")).found("hanging", &Load::INIT_FLAGS);
    assert_eq!(daemon.signal(Signal::TERM, END).0.code(), Some(0));
    // Only sled calls this, from each of its threads: the journal goes on, the view doesn't.
    let fault = Fault { call: "sync_file_range", outcome: CallOutcome::Hangs, number: 3, for_good: true };
    daemon.try_start_with_fault(&fault).unwrap_or_else(|ended| panic!("it starts: {ended}"));
    // One client, which waits for each block: little is pending when it waits for good.
    let plan = Plan { clients: 1, bulk_every: 1, bulk_records: 40, mine_every: Some(40) };
    let load = Load::start(daemon.api(), &plan, &mut Dice::from_environment(47));
    let mut status = None;
    wait_for("the daemon ends", HANGS, || {
        status = daemon.try_end();
        status.map(|_| ()).ok_or_else(|| format!("it runs after {} records", load.count()))
    });
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{}", daemon.said("stderr"));
    let said = daemon.said("stderr");
    assert!(said.contains("nothing could be written for 60 s") && !said.contains("panicked"), "{said}");
    let mut witness = Witness::default();
    witness.promise(load.stop().0);
    assert!(witness.promised() > 0, "something was acknowledged");
    daemon.start();
    witness.examine(&daemon);
    daemon.qfzz(&["chain", "verify"]).exits(0);
}
