use std::fs::OpenOptions;

use super::files::MAX_OPEN_FILES;
use super::*;

/// A journal in its own directory, and what was written to it.
struct Bench {
    dir: tempfile::TempDir,
    journal: Journal,
    written: Vec<(Place, Entry)>,
}

impl Bench {
    fn new(file_bytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (journal, cut) = Journal::open_sized(dir.path(), Position::START, file_bytes).unwrap();
        assert_eq!(cut, None);
        Self { dir, journal, written: Vec::new() }
    }

    /// Writes one group of `count` entries that differ from all others.
    fn write(&mut self, count: u32) {
        let mut group = self.journal.begin().unwrap();
        for _ in 0..count {
            let number = self.written.len();
            let entry =
                Entry { kind: 1 + (number % 3) as u8, bytes: format!("entry {number}").repeat(1 + number % 5).into() };
            let place = group.push(entry.kind, &entry.bytes).unwrap();
            self.written.push((place, entry));
        }
        group.finish().unwrap();
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.path().join(format!("{number:08}.log"))
    }

    fn reopen(&self, known: Position) -> Result<(Journal, Option<Cut>), JournalError> {
        Journal::open_sized(self.dir.path(), known, self.journal.file_bytes)
    }
}

fn all(journal: &Journal) -> Result<Vec<(Place, Entry)>, JournalError> {
    journal.reader().replay(Position::START, journal.end()).collect()
}

fn flip(path: &Path, byte: u64, bit: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut old = [0];
    file.read_exact_at(&mut old, byte).unwrap();
    file.write_all_at(&[old[0] ^ (1 << bit)], byte).unwrap();
}

#[test]
fn entries_are_read_by_place_and_in_order_across_files() {
    let mut bench = Bench::new(150);
    for count in [1, 3, 0, 7, 1, 1, 4] {
        bench.write(count);
        bench.journal.sync().unwrap();
    }
    assert!(bench.journal.end().file > 2);
    let reader = bench.journal.reader();
    for (place, entry) in &bench.written {
        assert_eq!(reader.read(*place).unwrap(), *entry);
    }
    assert_eq!(all(&bench.journal).unwrap(), bench.written);
    let (journal, cut) = bench.reopen(bench.journal.end()).unwrap();
    assert_eq!(cut, None);
    assert_eq!(journal.end(), bench.journal.end());
    assert_eq!(all(&journal).unwrap(), bench.written);
}

#[test]
fn groups_that_wait_share_one_sync() {
    let mut bench = Bench::new(FILE_BYTES);
    for _ in 0..5 {
        bench.write(4);
    }
    bench.journal.sync().unwrap();
    bench.journal.sync().unwrap();
    assert_eq!(bench.journal.syncs(), 1);
}

#[test]
fn a_tail_cut_at_any_byte_leaves_what_was_synced_and_whole_groups() {
    let mut bench = Bench::new(FILE_BYTES);
    bench.write(5);
    bench.journal.sync().unwrap();
    let synced = bench.journal.end();
    bench.write(2);
    let first_group = bench.journal.end();
    bench.write(3);
    let end = bench.journal.end();
    let whole = std::fs::read(bench.path(1)).unwrap();
    for length in synced.offset..end.offset {
        std::fs::write(bench.path(1), &whole[..length as usize]).unwrap();
        let (mut journal, cut) = bench.reopen(synced).unwrap();
        let kept = if length < first_group.offset { synced } else { first_group };
        assert_eq!(journal.end(), kept, "cut at {length}");
        // Zeros at which a frame would start are taken for room, though they may be the beginning of one.
        let (lost, counted) = (u64::from(length - kept.offset), cut.map_or(0, |cut| cut.bytes));
        assert!(counted <= lost && lost <= counted + u64::from(FRAME_HEADER_BYTES) && (counted > 0) == (lost > 0));
        let entries = if kept == synced { 5 } else { 7 };
        assert_eq!(all(&journal).unwrap(), bench.written[..entries]);
        let mut group = journal.begin().unwrap();
        let place = group.push(9, b"after").unwrap();
        group.finish().unwrap();
        assert_eq!(journal.reader().read(place).unwrap().bytes, b"after");
    }
}

#[test]
fn the_room_after_small_groups_is_nothing_that_was_lost() {
    let mut bench = Bench::new(FILE_BYTES);
    bench.write(3);
    bench.journal.sync().unwrap();
    let end = bench.journal.end();
    let length = || std::fs::metadata(bench.path(1)).unwrap().len();
    assert_eq!(length(), u64::from(end.offset + ROOM_BYTES));
    let as_it_is = std::fs::read(bench.path(1)).unwrap();

    // As after a crash: the room is there, and nothing was cut.
    let (journal, cut) = bench.reopen(end).unwrap();
    assert_eq!((journal.end(), cut), (end, None));
    assert_eq!(length(), u64::from(end.offset));

    // A group that was torn within the room is counted without it.
    let mut torn = as_it_is.clone();
    torn[end.offset as usize..][..5].copy_from_slice(b"noise");
    std::fs::write(bench.path(1), &torn).unwrap();
    let (journal, cut) = bench.reopen(end).unwrap();
    assert_eq!((journal.end(), cut.map(|cut| cut.at)), (end, Some(end)));

    // Where the room begins too early, something is missing.
    let mut short = as_it_is;
    short[end.offset as usize - 30..].fill(0);
    std::fs::write(bench.path(1), &short).unwrap();
    assert!(matches!(bench.reopen(end), Err(JournalError::Damaged { file: 1, .. })));
}

#[test]
fn a_closed_journal_and_a_full_file_keep_no_room() {
    let mut bench = Bench::new(300);
    while bench.journal.end().file < 3 {
        bench.write(2);
        bench.journal.sync().unwrap();
    }
    let (paths, end) = ([bench.path(1), bench.path(2), bench.path(3)], bench.journal.end());
    let length = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(length(&paths[0]) < 600 && length(&paths[1]) < 600);
    drop(bench.journal);
    assert_eq!(length(&paths[2]), u64::from(end.offset));
}

#[test]
fn a_tail_of_which_only_later_pages_arrived_is_torn_and_not_damage() {
    let mut bench = Bench::new(FILE_BYTES);
    bench.write(5);
    bench.journal.sync().unwrap();
    let synced = bench.journal.end();
    bench.write(2);
    let hole = bench.journal.end().offset - synced.offset;
    bench.write(3);
    let file = OpenOptions::new().write(true).open(bench.path(1)).unwrap();
    file.write_all_at(&vec![0; hole as usize], u64::from(synced.offset)).unwrap();
    let (journal, cut) = bench.reopen(synced).unwrap();
    assert!(cut.is_some());
    assert_eq!(journal.end(), synced);
    assert_eq!(all(&journal).unwrap(), bench.written[..5]);
}

#[test]
fn a_flipped_bit_in_what_was_synced_is_named_by_file_and_offset() {
    let mut bench = Bench::new(FILE_BYTES);
    for _ in 0..4 {
        bench.write(2);
        bench.journal.sync().unwrap();
    }
    let end = bench.journal.end();
    let mut bytes = std::fs::read(bench.path(1)).unwrap();
    bytes.truncate(end.offset as usize);
    let last_group = bench.written[6].0.offset;
    for byte in 0..u64::from(end.offset) {
        flip(&bench.path(1), byte, (byte % 8) as u8);
        if byte < u64::from(FILE_HEADER_BYTES) {
            let (journal, cut) = bench.reopen(end).unwrap();
            assert_eq!((journal.mended(), cut), (&[1][..], None), "byte {byte}");
            assert_eq!(std::fs::read(bench.path(1)).unwrap(), bytes, "the header is written again from its copy");
            continue;
        }
        // What the view knows to be synced is never cut; without it the last group could be a torn tail.
        match bench.reopen(end) {
            Err(JournalError::Damaged { file: 1, offset }) => {
                let next = bench.written.iter().map(|(place, _)| place.offset).find(|start| *start > offset);
                assert!(u64::from(offset) <= byte && byte < u64::from(next.unwrap_or(end.offset)), "{byte}: {offset}");
            }
            other => panic!("byte {byte}: {:?}", other.map(|(_, cut)| cut)),
        }
        if byte < u64::from(last_group) {
            assert!(matches!(bench.reopen(Position::START), Err(JournalError::Damaged { file: 1, .. })), "byte {byte}");
        }
        let damaged = bench.written.iter().filter(|(place, entry)| match bench.journal.reader().read(*place) {
            Ok(read) => {
                assert_eq!(read, *entry);
                false
            }
            Err(JournalError::Damaged { file: 1, offset }) => {
                assert_eq!(offset, place.offset);
                true
            }
            Err(other) => panic!("{other}"),
        });
        assert!(damaged.count() <= 1);
        std::fs::write(bench.path(1), &bytes).unwrap();
    }
}

#[test]
fn a_header_and_its_copy_are_written_again_from_each_other_and_one_of_them_is_enough() {
    let mut bench = Bench::new(200);
    bench.write(20);
    bench.write(2);
    bench.journal.sync().unwrap();
    let end = bench.journal.end();
    for number in [1, 2] {
        let (path, copy) = (bench.path(number), bench.path(number).with_extension("head"));
        let whole = std::fs::read(&copy).unwrap();
        for harm in [&[][..], &[0; 10], &[9; FILE_HEADER_BYTES as usize]] {
            std::fs::write(&copy, harm).unwrap();
            assert_eq!(bench.reopen(end).unwrap().0.mended(), [0; 0]);
            assert_eq!(std::fs::read(&copy).unwrap(), whole);
        }
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0; FILE_HEADER_BYTES as usize], 0).unwrap();
        let (journal, _) = bench.reopen(end).unwrap();
        assert_eq!((journal.mended(), all(&journal).unwrap()), (&[number][..], bench.written.clone()));
    }
    let (path, copy) = (bench.path(1), bench.path(1).with_extension("head"));
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; FILE_HEADER_BYTES as usize], 0).unwrap();
    std::fs::remove_file(copy).unwrap();
    assert!(
        all(&bench.reopen(end).unwrap().0)
            .is_err_and(|error| matches!(error, JournalError::Damaged { file: 1, offset: 0 }))
    );
}

#[test]
fn damage_in_an_earlier_file_is_named_when_it_is_read() {
    let mut bench = Bench::new(200);
    for _ in 0..12 {
        bench.write(2);
        bench.journal.sync().unwrap();
    }
    let end = bench.journal.end();
    let victim = bench.written[3].0;
    flip(&bench.path(victim.file), u64::from(victim.offset + FRAME_HEADER_BYTES), 0);
    let (journal, _) = bench.reopen(end).unwrap();
    let error = all(&journal).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { file, offset } if file == victim.file && offset == victim.offset));
    assert!(error.to_string().contains(&format!("{:08}.log", victim.file)), "{error}");

    // A file that lost whole groups at its end has no torn frame, and is noticed by its length.
    let shortened = OpenOptions::new().write(true).open(bench.path(2)).unwrap();
    let group = bench.written.iter().find(|(place, _)| place.file == 2).unwrap().0.offset;
    shortened.set_len(u64::from(group)).unwrap();
    let from = Position { file: 2, offset: FILE_HEADER_BYTES };
    let found: Result<Vec<_>, _> = journal.reader().replay(from, end).collect();
    assert!(matches!(found, Err(JournalError::Damaged { file: 2, .. })));

    std::fs::remove_file(bench.path(2)).unwrap();
    assert!(matches!(bench.reopen(end), Err(JournalError::Missing { file: 2 })));
}

#[test]
fn files_that_the_view_has_seen_must_be_there() {
    let mut bench = Bench::new(200);
    for _ in 0..6 {
        bench.write(2);
        bench.journal.sync().unwrap();
    }
    let end = bench.journal.end();
    std::fs::remove_file(bench.path(end.file)).unwrap();
    assert!(matches!(bench.reopen(end), Err(JournalError::Missing { file }) if file == end.file));
}

#[test]
fn a_file_whose_making_was_interrupted_is_made_again() {
    let mut bench = Bench::new(200);
    bench.write(20);
    bench.journal.sync().unwrap();
    let end = bench.journal.end();
    for half in [&[][..], &[0; 10], &[0; FILE_HEADER_BYTES as usize]] {
        std::fs::write(bench.path(2), half).unwrap();
        let (mut journal, _) = bench.reopen(end).unwrap();
        assert_eq!(journal.end(), end);
        journal.begin().unwrap().finish().unwrap();
        assert_eq!(journal.end().file, 2);
        std::fs::remove_file(bench.path(2)).unwrap();
        // Its header's copy is written last.
        std::fs::remove_file(bench.path(2).with_extension("head")).unwrap();
    }
}

#[test]
fn a_group_that_was_not_finished_is_cut_and_nothing_more_is_taken() {
    let mut bench = Bench::new(FILE_BYTES);
    bench.write(1);
    bench.journal.sync().unwrap();
    let end = bench.journal.end();
    let mut group = bench.journal.begin().unwrap();
    group.push(1, &vec![7; MAX_ENTRY_BYTES as usize]).unwrap();
    assert!(matches!(
        group.push(1, &vec![7; MAX_ENTRY_BYTES as usize + 1]),
        Err(JournalError::EntryTooLarge { bytes }) if bytes == MAX_ENTRY_BYTES as usize + 1
    ));
    drop(group);
    assert!(matches!(bench.journal.begin().map(|_| ()), Err(JournalError::Failed)));
    assert!(matches!(bench.journal.sync(), Err(JournalError::Failed)));
    let (journal, _) = bench.reopen(end).unwrap();
    assert_eq!(all(&journal).unwrap(), bench.written);
}

#[test]
fn more_files_than_may_be_open_are_read_all_the_same() {
    let mut bench = Bench::new(1);
    for _ in 0..3 * MAX_OPEN_FILES {
        bench.write(1);
    }
    let reader = bench.journal.reader();
    for (place, entry) in bench.written.iter().rev() {
        assert_eq!(reader.read(*place).unwrap(), *entry);
    }
    assert!(reader.files.open.lock().unwrap().len() <= MAX_OPEN_FILES);
}
