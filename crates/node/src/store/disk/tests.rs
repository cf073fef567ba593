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
fn a_flipped_bit_in_the_view_heals_equal_from_the_journal() {
    let (mut home, _) = eventful();
    let mut healed = 0;
    for trial in 0..60 {
        let opened = survives(&mut home, |dir| {
            let view = dir.join("view");
            let files = fs::read_dir(&view).unwrap().map(|entry| entry.unwrap().path());
            let mut files: Vec<_> =
                files.filter(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0).collect();
            files.sort();
            let file = &files[trial as usize % files.len()];
            let length = fs::metadata(file).unwrap().len();
            flip(file, (trial * 7_919) % length.min(60_000), trial);
        });
        healed += u32::from(opened.set_aside.is_some() || opened.replayed > 0);
        assert_eq!(opened.cut, None);
    }
    assert!(healed > 10, "{healed}");
    let names = fs::read_dir(&home.bench.dir).unwrap().map(|entry| entry.unwrap().file_name());
    let aside = names.filter(|name| name.to_str().unwrap().starts_with("view.damaged-")).count();
    assert!((1..=2).contains(&aside), "{aside}");
}

#[test]
fn a_journal_cut_at_any_byte_keeps_what_was_acknowledged() {
    let rules = rules();
    let (mut home, mut peer) = (Home::<OnDisk>::new(&rules), Peer::new(&rules, 2));
    home.sign(records(0));
    home.mine();
    home.commit();
    home.sign(records(1));
    home.commit();
    let acknowledged = tempfile::tempdir().unwrap();
    home.restart(|bench| {
        bench.close();
        copy(&bench.dir, acknowledged.path());
        bench.open().unwrap();
    });
    let (old_end, old_head, acknowledged_own) =
        (home.bench.store().writer.journal.end(), home.head(), home.own().to_vec());
    // What the crash comes upon are the transitions of one commit, a reorganisation among them. The view has none.
    home.take((0..2).map(|n| peer.mine(interaction(&format!("peer {n}")))).collect());
    home.sign(records(2));
    let heads: Vec<_> = home.commit().iter().map(|transition| transition.head).collect();
    let end = home.bench.store().writer.journal.end();
    let journal = fs::read(home.bench.dir.join("journal/00000001.log")).unwrap();
    assert!(journal[end.offset as usize..].iter().all(|byte| *byte == 0), "room for more");
    let mut last_reached = 0;
    for length in old_end.offset..=end.offset {
        // Every byte where frames begin and end, every ninth between them: opening takes its time.
        if length > old_end.offset + 40 && length < end.offset - 40 && length % 9 != 0 {
            continue;
        }
        let crashed = tempfile::tempdir().unwrap();
        copy(acknowledged.path(), crashed.path());
        fs::write(crashed.path().join("journal/00000001.log"), &journal[..length as usize]).unwrap();
        let (store, opened) = DiskStore::open(crashed.path(), Arc::clone(&rules), station(HOME)).unwrap();
        let reader = store.reader();
        let headers = reader.headers(Height::ZERO, usize::MAX).unwrap();
        let head = headers.last().unwrap().0;
        // Each transition is there whole or not at all, and those before it are there too.
        let reached = heads.iter().position(|new| *new == head).map_or(0, |index| index + 1);
        assert!(head == old_head || reached > 0, "cut at {length}");
        assert!(reached >= last_reached, "cut at {length}");
        last_reached = reached;
        assert_eq!(opened.replayed > 0, head != old_head);
        for batch in &acknowledged_own {
            let found = reader.batch(&batch.station(), batch.sequence()).unwrap();
            assert_eq!(found.map(|found| found.batch).as_ref(), Some(batch), "cut at {length}");
        }
        assert!(opened.cut.is_none_or(|cut| cut.at.offset >= old_end.offset));
        assert_eq!(opened.set_aside, None);
    }
    assert!(last_reached > 1);
}

#[test]
fn a_flipped_bit_in_the_journal_is_named_and_never_read() {
    let (mut home, _) = eventful();
    let (chain, own) = (home_chain(&mut home), home.own().to_vec());
    let path = home.bench.dir.join("journal/00000001.log");
    let length = u64::from(home.bench.store().writer.journal.end().offset);
    let reader = home.reader();
    let mut named = 0;
    for byte in (0..length).step_by(23) {
        flip(&path, byte, byte);
        // While it runs: each answer is right, or an error that says where.
        let blocks = chain.iter().map(|block| match reader.find_block(&block.hash()) {
            Ok(read) => read.as_ref().map(|read| assert_eq!(read, block)).map_or(0, |()| 0),
            Err(error) => says_where(&error, byte),
        });
        let batches = own.iter().map(|batch| match reader.batch(&batch.station(), batch.sequence()) {
            Ok(read) => read.map(|read| assert_eq!(read.batch, *batch)).map_or(0, |()| 0),
            Err(error) => says_where(&error, byte),
        });
        named += blocks.sum::<u32>() + batches.sum::<u32>();
        flip(&path, byte, byte);
    }
    assert!(named > 20, "{named}");
    drop(reader);
    let last_group = home.bench.store().writer.journal.end();
    home.sign(vec![interaction("last")]);
    home.commit();
    let length = u64::from(home.bench.store().writer.journal.end().offset);
    let closed = tempfile::tempdir().unwrap();
    home.restart(|bench| {
        bench.close();
        copy(&bench.dir, closed.path());
        bench.open().unwrap();
    });
    for (number, byte) in (0..length).step_by(211).enumerate() {
        let copied = tempfile::tempdir().unwrap();
        copy(closed.path(), copied.path());
        flip(&copied.path().join("journal/00000001.log"), byte, byte);
        // At the next start, with the view and the mark, with one of them, or with neither.
        let (without_view, without_mark) = (number % 2 == 0, number % 4 < 2);
        if without_view {
            fs::remove_dir_all(copied.path().join("view")).unwrap();
        }
        if without_mark {
            fs::remove_file(copied.path().join("journal.mark")).unwrap();
        }
        let opened = DiskStore::open(copied.path(), Arc::clone(&home.rules), station(HOME)).map(|(_, opened)| opened);
        match opened {
            Ok(opened) if byte < 28 => assert_eq!((opened.mended, opened.cut), (vec![1], None)),
            Err(error) => drop(says_where(&error, byte)),
            // With neither nothing tells damage in the very last group from a torn tail; it is cut and said.
            Ok(opened) => {
                let is_last = opened.cut.is_some_and(|cut| cut.at >= last_group);
                assert!(without_view && without_mark && is_last, "byte {byte}");
            }
        }
    }
}

/// Checks that an error names the damaged frame: it starts at or before the damaged byte.
fn says_where(error: &StoreError, byte: u64) -> u32 {
    match error {
        StoreError::Journal(JournalError::Damaged { file: 1, offset }) => {
            assert!(u64::from(*offset) <= byte, "{error}")
        }
        other => panic!("byte {byte}: {other}"),
    }
    1
}

/// What a repair must keep: the best chain and this station's own batches.
fn kept(home: &mut Home<OnDisk>) -> (Vec<BlockHash>, Vec<BatchId>) {
    (home_chain(home).iter().map(VerifiedBlock::hash).collect(), home.own().iter().map(|batch| batch.id()).collect())
}

#[test]
fn a_repair_keeps_all_that_is_whole_and_names_what_is_not() {
    let (mut home, _) = eventful();
    let (chain, own) = kept(&mut home);
    let whole =
        Reach { height: Height::new(chain.len() as u64), head: home.head(), own_next: Sequence::new(own.len() as u64) };
    let closed = tempfile::tempdir().unwrap();
    home.restart(|bench| {
        bench.close();
        copy(&bench.dir, closed.path());
        bench.open().unwrap();
    });
    let bytes = fs::read(closed.path().join("journal/00000001.log")).unwrap();
    let (mut complete, mut lacking, mut whats) = (0, 0, std::collections::BTreeSet::new());
    for (number, byte) in (28..bytes.len()).step_by(97).enumerate() {
        let copied = tempfile::tempdir().unwrap();
        copy(closed.path(), copied.path());
        let path = copied.path().join("journal/00000001.log");
        // A flipped bit, a cut tail, a zeroed stretch.
        match number % 3 {
            0 => flip(&path, byte as u64, byte as u64),
            1 => fs::write(&path, &bytes[..byte]).unwrap(),
            _ => {
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.write_all_at(&vec![0; 300.min(bytes.len() - byte)], byte as u64).unwrap();
            }
        }
        let (rules, damaged) = (Arc::clone(&home.rules), copied.path());
        let repaired = repair::repair(damaged, Arc::clone(&rules), station(HOME)).unwrap();
        assert!(!repaired.holes.is_empty(), "byte {byte}");
        assert!(repaired.holes.iter().all(|hole| hole.file == 1 && hole.offset <= byte as u64), "{:?}", repaired.holes);
        whats.extend(repaired.holes.iter().map(|hole| hole.what));
        assert_eq!(repaired.expected, whole, "byte {byte}");
        assert_eq!(repair::goal(damaged).unwrap(), Some(whole));
        assert!(repaired.aside.unwrap().join("00000001.log").exists());
        let (store, opened) = DiskStore::open(damaged, rules, station(HOME)).unwrap();
        assert_eq!((opened.cut, opened.set_aside), (None, None));
        let reader = store.reader();
        let found: Vec<BlockHash> =
            reader.headers(Height::new(1), usize::MAX).unwrap().into_iter().map(|(hash, _)| hash).collect();
        // A reorganised block may be the best that is whole: then what is there is that, from where the two part.
        assert!(found.len() <= chain.len());
        assert_eq!(found.len() as u64, repaired.here.height.get());
        let stranded = chain.iter().filter(|hash| !found.contains(hash) && reader.salvaged(hash).is_some()).count();
        if repaired.here == whole {
            assert_eq!(found, chain, "byte {byte}");
            complete += 1;
        } else {
            lacking += 1;
        }
        let entries = store.writer.entries.journal.replay(Position::START, store.writer.journal.end());
        let kept_own = entries.filter(|entry| entry.as_ref().unwrap().1.kind == OWN_BATCH_ENTRY).count();
        let lost: u64 = repaired.holes.iter().map(|hole| hole.bytes).sum();
        // One damaged frame costs one entry, not what follows it.
        if number % 3 == 0 {
            assert!(kept_own + 1 >= own.len() && lost < 70_000, "byte {byte}");
            assert!(found.len() + stranded + 1 >= chain.len(), "byte {byte}: {} and {stranded}", found.len());
        }
        drop((reader, store));
        repair::settle(damaged).unwrap();
        assert_eq!(repair::goal(damaged).unwrap(), None);
    }
    println!("{complete} complete, {lacking} lacking, damaged: {whats:?}");
    assert!(complete >= 3 && lacking > 20, "{complete} {lacking}");
    assert!(whats.contains("an own batch") && whats.contains("a block"), "{whats:?}");
}

#[test]
fn a_repair_that_was_interrupted_between_its_renames_is_finished_at_the_next_start() {
    let (mut home, _) = eventful();
    let before = kept(&mut home);
    home.restart(|bench| {
        bench.close();
        flip(&bench.dir.join("journal/00000001.log"), 40, 0);
        repair::repair(&bench.dir, Arc::clone(&bench.rules), station(HOME)).unwrap();
        // As if power had failed before the last rename, with the half of another attempt beside it.
        fs::rename(bench.dir.join("journal"), bench.dir.join("journal.new")).unwrap();
        bench.open().unwrap();
        bench.close();
        fs::create_dir(bench.dir.join("journal.new")).unwrap();
        bench.open().unwrap();
        assert!(!bench.dir.join("journal.new").exists());
    });
    assert_eq!(kept(&mut home), before, "the damaged entry names the federation, which is known");
}

#[test]
fn a_lost_journal_is_not_replaced_by_an_empty_one() {
    let (mut home, _) = eventful();
    home.restart(|bench| {
        bench.close();
        let journal = bench.dir.join("journal");
        fs::rename(&journal, bench.dir.join("elsewhere")).unwrap();
        assert!(matches!(bench.open(), Err(StoreError::Journal(JournalError::Missing { file: 1 }))));
        fs::remove_dir_all(&journal).unwrap();
        fs::rename(bench.dir.join("elsewhere"), &journal).unwrap();
        bench.open().unwrap();
    });
    home.check();
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
