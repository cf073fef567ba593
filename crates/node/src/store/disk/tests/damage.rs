//! What is damaged heals from what is whole, or is named.

use super::*;

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
