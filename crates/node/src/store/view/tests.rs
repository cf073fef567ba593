use std::sync::atomic::AtomicUsize;

use super::super::sealed::seal;
use super::*;

fn position(offset: u32) -> Position {
    Position { file: 1, offset }
}

/// `count` writes that depend on `round`: most set a value, every fifth removes one.
fn writes(round: usize, count: usize) -> Writes {
    let write = |number: usize| {
        let value = format!("round {round} of {number}").repeat(1 + number % 7).into_bytes();
        (key(number), (!(number + round).is_multiple_of(5)).then_some(value))
    };
    (0..count).map(write).collect()
}

fn key(number: usize) -> Vec<u8> {
    [&[7][..], &(number as u64).to_be_bytes()].concat()
}

fn content(reader: &ViewReader) -> Vec<(Vec<u8>, Vec<u8>)> {
    reader.range(&[FIRST_KEY_BYTE], &[u8::MAX]).collect::<Result<_, _>>().unwrap()
}

fn merged(all: &[Writes]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut map = BTreeMap::new();
    for (key, value) in all.iter().flatten() {
        match value {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
    }
    map.into_iter().collect()
}

#[test]
fn a_view_is_opened_as_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<Writes> = [3, 100, 101, 450, 7].into_iter().enumerate().map(|(i, n)| writes(i, n)).collect();
    let mut view = View::open(dir.path()).unwrap();
    for (writes, offset) in all.iter().zip(100..) {
        view.apply(writes, position(offset)).unwrap();
    }
    assert_eq!(content(&view.reader()), merged(&all));
    drop(view);
    let view = View::open(dir.path()).unwrap();
    assert_eq!(view.position(), position(104));
    assert_eq!(content(&view.reader()), merged(&all));
    assert_eq!(
        view.reader().get(&key(1)).unwrap(),
        merged(&all).into_iter().find(|(k, _)| *k == key(1)).map(|(_, v)| v)
    );
    assert_eq!(view.reader().shared.tree.scan_prefix([0]).count(), 1, "the standing");
}

#[test]
fn a_commit_interrupted_after_any_batch_is_finished_by_the_next_opening() {
    let (before, after) = (writes(0, 150), writes(1, 420));
    for batches in 0..=4 {
        let dir = tempfile::tempdir().unwrap();
        let mut view = View::open(dir.path()).unwrap();
        view.apply(&before, position(100)).unwrap();
        view.apply_batches(&after, position(200), batches).unwrap();
        assert_eq!(view.reader().standing().unwrap().position == position(200), batches == 4);
        drop(view);
        let view = View::open(dir.path()).unwrap();
        assert_eq!(view.position(), position(200), "after {batches} batches");
        assert_eq!(content(&view.reader()), merged(&[before.clone(), after.clone()]));
    }
}

#[test]
fn a_finish_that_is_interrupted_is_finished_by_the_next_opening() {
    let (before, after) = (writes(0, 150), writes(1, 420));
    for again in 0..=4 {
        let dir = tempfile::tempdir().unwrap();
        let mut view = View::open(dir.path()).unwrap();
        view.apply(&before, position(100)).unwrap();
        view.apply_batches(&after, position(200), 2).unwrap();
        let found = view.redo.begun_at(&view.reader().standing().unwrap()).unwrap();
        for batch in found.expect("it was written").into_iter().take(again) {
            view.reader.shared.tree.apply_batch(batch.batch).unwrap();
        }
        drop(view);
        let view = View::open(dir.path()).unwrap();
        assert_eq!(view.position(), position(200));
        assert_eq!(content(&view.reader()), merged(&[before.clone(), after.clone()]));
    }
}

/// A view with one commit of 150 keys, in which a commit of 420 was interrupted after so many batches.
fn interrupted(dir: &Path, batches: usize) {
    let mut view = View::open(dir).unwrap();
    view.apply(&writes(0, 150), position(100)).unwrap();
    view.apply_batches(&writes(1, 420), position(200), batches).unwrap();
}

#[test]
fn a_redo_file_that_is_not_whole_is_not_followed() {
    let damage: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes.clear(),
        |bytes| bytes.truncate(7),
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes[0] ^= 1,
        |bytes| *bytes.last_mut().unwrap() ^= 0x10,
    ];
    for (number, damage) in damage.into_iter().enumerate() {
        for batches in [0, 2] {
            let dir = tempfile::tempdir().unwrap();
            interrupted(dir.path(), batches);
            let path = dir.path().join("redo");
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, &bytes).unwrap();
            match (batches, View::open(dir.path())) {
                (0, Ok(view)) => {
                    assert_eq!(view.position(), position(100), "damage {number}");
                    assert_eq!(content(&view.reader()), merged(&[writes(0, 150)]));
                }
                (2, Err(ViewError::Damaged { damage: Damage::Sum })) => {}
                (_, other) => panic!("damage {number} after {batches} batches: {:?}", other.map(|_| ())),
            }
        }
    }
}

#[test]
fn a_redo_file_of_a_commit_that_is_done_is_not_followed_and_a_large_one_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let large: Writes = (0..3_000).map(|number| (key(number), Some(vec![1; MAX_VALUE_BYTES]))).collect();
    let mut view = View::open(dir.path()).unwrap();
    view.apply(&large, position(100)).unwrap();
    let length = || std::fs::metadata(dir.path().join("redo")).unwrap().len();
    assert!(length() > (3_000 * MAX_VALUE_BYTES) as u64);
    view.apply(&writes(1, 420), position(200)).unwrap();
    assert!(length() < 100_000, "{}", length());
    view.apply(&writes(2, 7), position(300)).unwrap();
    drop(view);
    let view = View::open(dir.path()).unwrap();
    assert_eq!(view.position(), position(300));
    assert_eq!(content(&view.reader()), merged(&[large, writes(1, 420), writes(2, 7)]));
}

#[test]
fn an_entry_that_is_lost_old_false_or_too_many_is_noticed() {
    let one = [key(3)].into_iter().collect::<std::collections::BTreeSet<_>>();
    let first = writes(0, 50);
    type Tamper = fn(&sled::Db);
    let tamper: [(&str, Tamper); 4] = [
        ("lost", |tree| drop(tree.remove(key(3)).unwrap())),
        ("old", |tree| drop(tree.insert(key(3), seal(&key(3), writes(0, 50)[&key(3)].as_ref().unwrap())).unwrap())),
        ("moved", |tree| drop(tree.insert(key(3), tree.get(key(4)).unwrap().unwrap()).unwrap())),
        ("added", |tree| drop(tree.insert(key(99), seal(&key(99), b"x")).unwrap())),
    ];
    for (what, tamper) in tamper {
        let dir = tempfile::tempdir().unwrap();
        let mut view = View::open(dir.path()).unwrap();
        view.apply(&first, position(100)).unwrap();
        view.apply(&one.iter().map(|key| (key.clone(), Some(b"new".to_vec()))).collect(), position(200)).unwrap();
        tamper(&view.reader.shared.tree);
        drop(view);
        let damage = View::open(dir.path()).map(|_| ()).unwrap_err();
        assert!(matches!(damage, ViewError::Damaged { damage: Damage::Sum | Damage::Checksum }), "{what}: {damage}");
    }
}

#[test]
fn a_flipped_bit_in_any_file_never_gives_a_wrong_entry() {
    let original = tempfile::tempdir().unwrap();
    let all: Vec<Writes> = (0..12).map(|round| writes(round, 40 + 20 * round)).collect();
    let mut view = View::open(original.path()).unwrap();
    for (writes, offset) in all.iter().zip(100..) {
        view.apply(writes, position(offset)).unwrap();
    }
    drop(view);
    let (mut intact, mut older, mut damaged) = (0, 0, 0);
    for file in files(original.path()) {
        let length = std::fs::metadata(original.path().join(&file)).unwrap().len();
        for trial in 0..60 {
            let copy = tempfile::tempdir().unwrap();
            copy_view(original.path(), copy.path());
            let path = copy.path().join(&file);
            let mut bytes = std::fs::read(&path).unwrap();
            // A fixed spread over the file, more of it near the start, where sled keeps what it must read.
            let byte = if trial % 2 == 0 { trial * length / 60 } else { (trial * 37) % length.min(4_096) };
            bytes[byte as usize] ^= 1 << (trial % 8);
            std::fs::write(&path, &bytes).unwrap();
            match View::open(copy.path()) {
                Ok(view) => {
                    let commits = view.position().offset.saturating_sub(99).min(12) as usize;
                    assert_eq!(content(&view.reader()), merged(&all[..commits]), "{} byte {byte}", file.display());
                    if commits == 12 { intact += 1 } else { older += 1 }
                }
                Err(ViewError::Damaged { .. }) => damaged += 1,
                Err(other) => panic!("{} byte {byte}: {other}", file.display()),
            }
        }
    }
    assert!(damaged > 0 && intact > 0, "intact {intact}, older {older}, damaged {damaged}");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.metadata().unwrap().len() > 0)
        .filter(|e| e.path().is_file())
        .map(|e| e.file_name().into())
        .collect()
}

fn copy_view(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("blobs")).unwrap();
    for file in files(from) {
        std::fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
}

#[test]
fn a_consistent_reading_never_sees_half_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut view = View::open(dir.path()).unwrap();
    let all_equal = |round: u64| -> Writes { (0..250).map(|n| (key(n), Some(round.to_le_bytes().to_vec()))).collect() };
    view.apply(&all_equal(0), position(100)).unwrap();
    let (stop, readings) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (reader, stop, readings) = (view.reader(), &stop, &readings);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let values: Vec<_> = reader
                        .consistent(|view| (0..250).step_by(31).map(|n| view.get(&key(n))).collect::<Result<_, _>>())
                        .unwrap();
                    assert!(values.iter().all(|value: &Option<Vec<u8>>| *value == values[0]), "half a commit was seen");
                    readings.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut round = 0;
        while round < 60 || readings.load(Ordering::Relaxed) < 60 {
            round += 1;
            view.apply(&all_equal(round), position(100)).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_too_large_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut view = View::open(dir.path()).unwrap();
    let fits: Writes = [(vec![1; MAX_KEY_BYTES], Some(vec![2; MAX_VALUE_BYTES]))].into();
    view.apply(&fits, position(100)).unwrap();
    for (key, value) in [(vec![1; MAX_KEY_BYTES + 1], vec![]), (vec![1], vec![2; MAX_VALUE_BYTES + 1])] {
        let writes = [(vec![0xAA], Some(vec![1])), (key, Some(value))].into();
        assert!(matches!(view.apply(&writes, position(200)), Err(ViewError::TooLarge { .. })));
    }
    assert_eq!(content(&view.reader()), merged(&[fits]));
    assert_eq!(view.position(), position(100));
}

#[test]
fn a_view_in_use_is_not_taken_for_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let _view = View::open(dir.path()).unwrap();
    assert!(matches!(View::open(dir.path()).map(|_| ()), Err(ViewError::InUse)));
}

#[test]
fn the_newest_two_views_set_aside_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let view = dir.path().join("view");
    for number in 1..=4 {
        std::fs::create_dir(&view).unwrap();
        std::fs::write(view.join("db"), format!("{number}")).unwrap();
        assert_eq!(set_aside(&view).unwrap(), dir.path().join(format!("view.damaged-{number}")));
    }
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["view.damaged-3", "view.damaged-4"]);
}
