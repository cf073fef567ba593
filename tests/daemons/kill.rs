//! `kill -9` at random moments under load.

use std::thread;
use std::time::{Duration, Instant};

use qfzz_tests::harness::{Dice, Load, Plan, Recipe, Witness, alone, wait_for};

/// How often the daemon is killed.
const ROUNDS: usize = 50;

/// Ids that are acknowledged before each kill, at least.
const RECORDS_A_ROUND: usize = 1_000;

/// Within which the daemon answers after the start.
const OPEN_LIMIT: Duration = Duration::from_secs(2);

#[test]
fn fifty_kills_under_load_lose_nothing_that_was_acknowledged() {
    let _turn = alone();
    let mut dice = Dice::from_environment(3);
    let mut daemon = Recipe::new("killed").set("mining.interval", "300ms").found("killed", &Load::INIT_FLAGS);
    let mut witness = Witness::default();
    let (mut slowest, began) = (Duration::ZERO, Instant::now());
    for round in 1..=ROUNDS {
        // Every other time the daemon mines by itself, else when a client asks: then records stay pending over the kill.
        let by_itself = round % 2 == 0;
        let plan = Plan { clients: 16, bulk_every: 16, bulk_records: 20, mine_every: (!by_itself).then_some(30) };
        let load = Load::start(daemon.api(), &plan, &mut dice);
        let surplus = usize::try_from(dice.below(400)).expect("a small number fits");
        wait_for("the load is acknowledged", Duration::from_secs(60), || {
            let count = load.count();
            if count > RECORDS_A_ROUND + surplus { Ok(()) } else { Err(format!("{count} acknowledged")) }
        });
        // Not a wait for anything: the moment of the kill is chance.
        thread::sleep(Duration::from_micros(dice.below(50_000)));
        daemon.kill();
        let (acknowledged, refused) = load.stop();
        assert!(refused.is_empty(), "round {round}: {refused:?}");
        assert!(acknowledged.len() > RECORDS_A_ROUND);
        witness.promise(acknowledged);

        daemon.set("mining.enabled", if round % 2 == 1 { "true" } else { "false" });
        let opened = daemon.start();
        assert!(opened < OPEN_LIMIT, "round {round}: the store opened in {opened:?}");
        slowest = slowest.max(opened);
        witness.examine(&daemon);
        daemon.qfzz(&["chain", "verify"]).exits(0);
    }
    // The whole history once more, from nothing.
    let promised = witness.promised();
    let mut anew = witness.forget_chain();
    anew.examine(&daemon);
    let (height, hash) = daemon.api().head();
    println!(
        "{ROUNDS} kills in {:?}: {promised} acknowledged ids, all found; slowest start {slowest:?}; head {height} {hash}",
        began.elapsed()
    );
}
