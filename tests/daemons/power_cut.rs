//! Power cuts: the store on a disk of its own, an ext4 image in a loop device.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use qfzz_tests::harness::{Daemon, Dice, DiskImage, Load, Plan, Recipe, Witness, alone, beside_others, wait_for};

/// How often the disk is frozen and copied, and how often its power is cut.
const ROUNDS: usize = 10;

/// Ids that are acknowledged before each of them, at least.
const RECORDS_A_ROUND: usize = 200;

/// Within which a daemon ends that cannot write any more.
const END_LIMIT: Duration = Duration::from_secs(15);

const PLAN: Plan = Plan { clients: 8, bulk_every: 8, bulk_records: 20, mine_every: Some(20) };

/// Load until at least [`RECORDS_A_ROUND`] ids are acknowledged, and a few more by chance.
fn load(daemon: &Daemon, dice: &mut Dice) -> Load {
    let load = Load::start(daemon.api(), &PLAN, dice);
    let enough = RECORDS_A_ROUND + usize::try_from(dice.below(200)).expect("a small number fits");
    wait_for("the load is acknowledged", Duration::from_secs(60), || {
        let count = load.count();
        if count > enough { Ok(()) } else { Err(format!("{count} acknowledged")) }
    });
    load
}

#[test]
fn ten_frozen_copies_hold_all_that_was_acknowledged() {
    let _turn = alone();
    let mut dice = Dice::from_environment(4);
    let image = DiskImage::format();
    let mount = image.mount();
    let daemon = Recipe::new("frozen").at(mount.path().join("data")).found("frozen", &Load::INIT_FLAGS);
    let (mut promised, began) = (Vec::new(), Instant::now());
    for _ in 0..ROUNDS {
        let load = load(&daemon, &mut dice);
        let (copy, acknowledged) = mount.frozen(|| {
            // What is acknowledged from now on may be missing; nothing can be, as the disk takes no write.
            let acknowledged = load.acknowledged();
            (DiskImage::copy_of(&image), acknowledged)
        });
        let mut witness = Witness::default();
        witness.promise(promised.clone());
        witness.promise(acknowledged);
        promised.extend(load.stop().0);

        let copied = copy.mount();
        let mut after = Recipe::new("after the cut").at(copied.path().join("data")).prepare();
        after.start();
        witness.examine(&after);
        after.qfzz(&["chain", "verify"]).exits(0);
    }
    println!("{ROUNDS} frozen copies in {:?}: {} acknowledged ids, all found", began.elapsed(), promised.len());
}

#[test]
fn ten_power_cuts_that_drop_every_unsynced_page_lose_nothing_that_was_acknowledged() {
    let _turn = alone();
    let mut dice = Dice::from_environment(5);
    let image = DiskImage::format();
    let mut mount = image.mount();
    let mut daemon = Recipe::new("cut").at(mount.path().join("data")).found("cut", &Load::INIT_FLAGS);
    let (mut witness, began) = (Witness::default(), Instant::now());
    for round in 1..=ROUNDS {
        let load = load(&daemon, &mut dice);
        witness.promise(mount.cut_power(|| load.acknowledged()));
        let (status, _) = daemon.wait_end(END_LIMIT);
        assert_eq!(status.code(), Some(1), "round {round}: a failed commit stops the node");
        load.stop();

        drop(mount);
        mount = image.mount();
        daemon.start();
        witness.examine(&daemon);
        daemon.qfzz(&["chain", "verify"]).exits(0);
    }
    println!("{ROUNDS} power cuts in {:?}: {} acknowledged ids, all found", began.elapsed(), witness.promised());
}

#[test]
fn the_simulated_cut_drops_what_was_not_synced_and_keeps_what_was() {
    let _turn = beside_others();
    let image = DiskImage::format();
    let mount = image.mount();
    let mut synced = File::create(mount.path().join("synced")).expect("the disk is writable");
    synced.write_all(b"kept").and_then(|()| synced.sync_all()).expect("the disk is writable");
    fs::write(mount.path().join("unsynced"), b"lost").expect("the disk is writable");
    mount.cut_power(|| ());
    assert!(fs::write(mount.path().join("later"), b"refused").is_err());
    drop(mount);
    let mount = image.mount();
    assert_eq!(fs::read(mount.path().join("synced")).expect("it was synced"), b"kept");
    assert_ne!(fs::read(mount.path().join("unsynced")).unwrap_or_default(), b"lost");
}
