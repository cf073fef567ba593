mod damage;

use std::fs;
use std::io::BufRead;
use std::os::unix::fs::FileExt;

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, Sequence};
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::StateRead;
use qfzz_ledger_core::testing::{added, interaction, rules, rules_with, station, verified};
use qfzz_ledger_core::verify::Verifier;

use super::*;
use crate::store::journal::JournalError;
use crate::store::mark::Reach;
use crate::store::repair;
use crate::store::schema::{BATCH_ENTRY, BLOCK_ENTRY, OWN_BATCH_ENTRY};
use crate::store::suite::{Bench, HOME, Home, OnDisk, Peer, home_chain};
use crate::store::view::FIRST_KEY_BYTE;
use crate::store::{LedgerStore, StoreRead};

type Raw = Vec<(Vec<u8>, Vec<u8>)>;

/// Every entry of the view.
fn raw(store: &DiskStore) -> Raw {
    store.writer.view.clone().range(&[FIRST_KEY_BYTE], &[u8::MAX]).collect::<Result<_, _>>().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

fn flip(path: &Path, byte: u64, bit: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut old = [0];
    file.read_exact_at(&mut old, byte).unwrap();
    file.write_all_at(&[old[0] ^ (1 << (bit % 8))], byte).unwrap();
}

fn records(round: u32) -> Vec<Record> {
    vec![interaction(&format!("user {}", round % 5)), added(&format!("track {round}"), "artist", 500_000 + round)]
}

/// Two own blocks, a reorganisation to a peer's three, one own block on top, one batch pending, one block aside.
fn eventful() -> (Home<OnDisk>, Peer) {
    let rules = rules();
    let (mut home, mut peer) = (Home::<OnDisk>::new(&rules), Peer::new(&rules, 2));
    for round in 0..2 {
        home.sign(records(round));
        home.commit();
        home.mine();
        home.commit();
    }
    home.take((2..5).map(|round| peer.mine(records(round).remove(1))).collect());
    home.commit();
    home.mine();
    home.commit();
    home.sign(vec![verified("track 2", "artist")]);
    home.commit();
    let mut third = Peer::new(&rules, 3);
    home.take(vec![third.mine(interaction("aside"))]);
    home.commit();
    (home, peer)
}

/// Closes the store, does `harm` to its directory, opens it and compares all with a walk from genesis.
fn survives(home: &mut Home<OnDisk>, harm: impl FnOnce(&Path)) -> Opened {
    let before = raw(home.bench.store());
    home.restart(|bench| {
        bench.close();
        harm(&bench.dir);
        bench.open().unwrap();
    });
    home.check();
    assert_eq!(raw(home.bench.store()), before);
    home.bench.opened.clone()
}

#[test]
fn transitions_that_wait_share_one_sync() {
    let mut home = Home::<OnDisk>::new(&rules());
    let before = home.bench.store().syncs();
    for round in 0..7 {
        home.sign(records(round));
        home.mine();
    }
    assert!(home.commit().len() >= 14);
    assert_eq!(home.bench.store().syncs(), before + 1);
    home.commit();
    assert_eq!(home.bench.store().syncs(), before + 1, "nothing was written, so nothing was synced");
}

#[test]
fn steps_that_are_shown_as_one_leave_what_they_leave_one_by_one() {
    let (mut home, mut peer) = (Home::<OnDisk>::new(&rules()), Peer::new(&rules(), 2));
    for round in 0..2 {
        home.sign(records(round));
        home.mine();
    }
    // A reorganisation, and blocks about subjects of before on top.
    home.take((2..5).map(|round| peer.mine(records(round).remove(1))).collect());
    home.mine();
    home.sign(vec![verified("track 2", "artist")]);
    let transitions = home.commit();
    assert!(home.reorganisations == 1 && transitions.len() > 6);
    let expected = raw(home.bench.store());

    for together in [1, 2, transitions.len()] {
        let dir = tempfile::tempdir().unwrap();
        let open = || DiskStore::open(dir.path(), rules(), station(HOME)).unwrap().0;
        let (mut journal, mut view) = open().split();
        let write = |transition: &Transition| journal.write(std::slice::from_ref(transition)).unwrap();
        let steps: Vec<_> = transitions.iter().map(write).collect();
        steps.chunks(together).for_each(|steps| view.show(steps).unwrap());
        drop((journal, view));
        assert_eq!(raw(&open()), expected, "{together} at once");
    }
}

#[test]
fn a_batch_lies_in_the_journal_once() {
    let (mut home, _) = eventful();
    let chain = home_chain(&mut home);
    let batches = home.own().len() + chain.iter().flat_map(|block| block.batches()).count();
    let store = home.bench.store();
    let replay = store.writer.entries.journal.replay(Position::START, store.writer.journal.end());
    let kinds: Vec<u8> = replay.map(|entry| entry.unwrap().1.kind).collect();
    let own = kinds.iter().filter(|kind| **kind == OWN_BATCH_ENTRY).count();
    let others = kinds.iter().filter(|kind| **kind == BATCH_ENTRY).count();
    assert_eq!(own, home.own().len());
    let on_chain =
        chain.iter().flat_map(|block| block.batches()).filter(|batch| batch.station() == station(HOME)).count();
    assert_eq!(others, batches - home.own().len() - on_chain);
}

#[test]
fn a_view_that_is_lost_is_rebuilt_equal_from_the_journal() {
    let (mut home, _) = eventful();
    let opened = survives(&mut home, |dir| fs::remove_dir_all(dir.join("view")).unwrap());
    assert_eq!((opened.cut, opened.set_aside, opened.replayed), (None, None, 4));
}

#[test]
fn a_view_that_lags_is_replayed_from_where_it_stands() {
    let rules = rules();
    let (mut home, mut peer) = (Home::<OnDisk>::new(&rules), Peer::new(&rules, 2));
    let mut views = Vec::new();
    // Each copy of the view stands for an earlier commit: before, between and after own batches and reorganisations.
    for round in 0..8 {
        let old = tempfile::tempdir().unwrap();
        home.restart(|bench| {
            bench.close();
            copy(&bench.dir.join("view"), &old.path().join("view"));
            bench.open().unwrap();
        });
        views.push(old);
        match round % 4 {
            0 => home.sign(records(round)),
            1 => drop(home.mine()),
            2 => home.take((0..3).map(|n| peer.mine(interaction(&format!("peer {round} {n}")))).collect()),
            _ => {
                home.mine();
                peer.take(home_chain(&mut home));
            }
        }
        home.commit();
    }
    home.check();
    let mut replayed = Vec::new();
    for old in views.iter().rev() {
        let opened = survives(&mut home, |dir| {
            fs::remove_dir_all(dir.join("view")).unwrap();
            copy(&old.path().join("view"), &dir.join("view"));
        });
        assert_eq!((opened.cut, opened.set_aside), (None, None));
        replayed.push(opened.replayed);
    }
    assert!(replayed.is_sorted() && replayed.last() > replayed.first(), "{replayed:?}");
}

#[test]
fn a_store_is_opened_once_and_for_its_own_federation() {
    let (mut home, _) = eventful();
    let (dir, rules) = (home.bench.dir.clone(), Arc::clone(&home.rules));
    let again = DiskStore::open(&dir, Arc::clone(&rules), station(HOME)).map(|_| ());
    assert!(matches!(again, Err(StoreError::InUse { path }) if path == dir));
    let other = rules_with(|parameters| parameters.set_action("dance".parse().unwrap(), "0.5".parse().unwrap()));
    home.restart(|bench| {
        bench.close();
        let wrong = DiskStore::open(&dir, Arc::clone(&other), station(HOME)).map(|_| ());
        let expected = (rules.federation(), other.federation());
        assert!(
            matches!(wrong, Err(StoreError::OtherFederation { found, expected: asked }) if (found, asked) == expected)
        );
        bench.open().unwrap();
    });
    home.check();
}

#[test]
fn a_side_block_that_is_damaged_or_follows_nothing_is_as_if_it_had_never_come() {
    let (mut home, mut peer) = eventful();
    let mut third = Peer::new(&home.rules.clone(), 3);
    let side: Vec<_> = (0..4).map(|n| third.mine(interaction(&format!("side {n}")))).collect();
    home.take(side[..3].to_vec());
    home.commit();
    let path = |dir: &Path, hash: &BlockHash| dir.join("side").join(format!("{hash}.block"));
    let held = home.reader().side_headers().unwrap();
    assert!(side[..3].iter().all(|block| held.iter().any(|(hash, _)| *hash == block.hash())));
    home.restart(|bench| {
        bench.close();
        fs::write(bench.dir.join("side/left over.draft"), b"x").unwrap();
        flip(&path(&bench.dir, &side[1].hash()), 400, 3);
        bench.open().unwrap();
        assert!(!path(&bench.dir, &side[1].hash()).exists());
        assert!(!path(&bench.dir, &side[2].hash()).exists(), "its parent is gone");
        assert!(!bench.dir.join("side/left over.draft").exists());
    });
    let reader = home.reader();
    assert!(reader.find_block(&side[0].hash()).unwrap().is_some());
    assert!(side[1..].iter().all(|block| reader.find_block(&block.hash()).unwrap().is_none()));
    drop(reader);
    home.take(vec![peer.mine(interaction("another"))]);
    home.commit();
    home.check();
}

#[test]
fn own_batches_of_a_branch_that_was_left_are_pending_after_a_rebuild() {
    let rules = rules();
    let (mut home, mut peer) = (Home::<OnDisk>::new(&rules), Peer::new(&rules, 2));
    home.sign(records(0));
    let ours = home.mine();
    home.commit();
    home.take((0..2).map(|n| peer.mine(interaction(&format!("peer {n}")))).collect());
    home.commit();
    assert_eq!(home.reader().own_pending().unwrap(), ours.batches());
    survives(&mut home, |dir| fs::remove_dir_all(dir.join("view")).unwrap());
    assert_eq!(home.reader().own_pending().unwrap(), ours.batches());
    assert!(home.reader().find_block(&ours.hash()).unwrap().is_some());
}

#[test]
fn a_replay_that_is_interrupted_goes_on_where_it_was() {
    let (mut home, _) = eventful();
    let before = raw(home.bench.store());
    home.restart(|bench| {
        bench.close();
        let (view_dir, journal_dir) = (bench.dir.join("view"), bench.dir.join("journal"));
        // What an interrupted rebuild leaves: some blocks connected, the position still at the start.
        fs::remove_dir_all(&view_dir).unwrap();
        let (journal, _) = Journal::open(&journal_dir, Position::START).unwrap();
        let rules = rules();
        let entries = Entries { rules, journal: journal.reader() };
        let mut partial = View::open(&view_dir).unwrap();
        let blocks = entries.journal.replay(Position::START, journal.end());
        let second = blocks.filter(|entry| entry.as_ref().unwrap().1.kind == BLOCK_ENTRY).nth(1).unwrap().unwrap().0;
        let middle = Position { file: second.file, offset: second.offset };
        replay::replay(&mut partial, middle, &entries, station(HOME)).unwrap();
        let writes = [(vec![FIRST_KEY_BYTE, 0], None)].into();
        partial.apply(&writes, Position::START).unwrap();
        drop((partial, journal, entries));
        bench.open().unwrap();
    });
    home.check();
    assert_eq!(raw(home.bench.store()), before);
}

/// Set for the process that is going to be killed.
const VICTIM: &str = "QFZZ_TEST_STORE_VICTIM";

#[test]
fn a_process_that_is_killed_loses_nothing_that_it_acknowledged() {
    let rules = rules();
    if let Some(dir) = std::env::var_os(VICTIM) {
        let mut home = Home::on(OnDisk::at(dir.into(), &rules), &rules);
        for round in 0..500 {
            home.sign(records(round));
            if round % 3 == 2 {
                home.mine();
            }
            home.commit();
            println!("acknowledged {}", home.own().last().unwrap().id());
        }
        return;
    }
    for lines in [1, 2, 5, 17, 40, 90] {
        let dir = tempfile::tempdir().unwrap();
        let name = std::thread::current().name().unwrap().to_owned();
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args([&name, "--exact", "--nocapture"])
            .env(VICTIM, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let output = std::io::BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
        let acknowledged = output.filter_map(|line| line.split_once("acknowledged ").map(|(_, id)| id.to_owned()));
        let acknowledged: Vec<String> = acknowledged.take(lines).collect();
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert_eq!(acknowledged.len(), lines);
        let (store, opened) = DiskStore::open(dir.path(), Arc::clone(&rules), station(HOME)).unwrap();
        assert_eq!(opened.set_aside, None);
        let reader = store.reader();
        for (sequence, id) in (0..).map(Sequence::new).zip(&acknowledged) {
            let found = reader.batch(&station(HOME), sequence).unwrap().expect("an acknowledged batch is there");
            assert_eq!(found.batch.id().to_string(), *id);
        }
        let mut verifier = Verifier::from_genesis(&rules);
        for (hash, _) in reader.headers(Height::new(1), usize::MAX).unwrap() {
            verifier.next(reader.find_block(&hash).unwrap().unwrap().to_signed()).unwrap();
        }
        for (key, value) in verifier.state() {
            assert_eq!(StateRead::get(&reader, key).unwrap(), *value);
        }
    }
}

#[test]
fn a_hundred_thousand_entries_open_in_under_two_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(&dir.path().join("journal"), Position::START).unwrap();
    let mut view = View::open(&dir.path().join("view")).unwrap();
    for chunk in 0..100u64 {
        let mut group = journal.begin().unwrap();
        let mut writes = crate::store::view::Writes::new();
        for number in 0..1_000 {
            let number = chunk * 1_000 + number;
            let key = [&[9][..], &number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()].concat();
            group.push(BATCH_ENTRY, &[7; 200]).unwrap();
            writes.insert(key, Some(vec![number as u8; 60]));
        }
        group.finish().unwrap();
        view.apply(&writes, journal.end()).unwrap();
    }
    journal.sync().unwrap();
    let end = journal.end();
    drop((journal, view));
    let started = std::time::Instant::now();
    let view = View::open(&dir.path().join("view")).unwrap();
    let (journal, cut) = Journal::open(&dir.path().join("journal"), view.position()).unwrap();
    let took = started.elapsed();
    assert_eq!((journal.end(), view.position(), cut), (end, end, None));
    assert_eq!(journal.reader().replay(Position::START, end).filter(Result::is_ok).count(), 100_000);
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
}
