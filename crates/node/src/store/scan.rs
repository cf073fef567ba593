//! The sum over all entries of the view, for its opening: two threads, one from each end, until they meet.
//!
//! Reading is what it costs (of 1,000,000 records' 3 s, hashing was a twentieth), and where the middle lies is not known
//! before. So each reads a piece, and what the other has counted meanwhile is left out when it is added.

use std::ops::{Bound, RangeBounds};
use std::sync::{Mutex, PoisonError};

use super::journal::Position;
use super::sealed::unseal;
use super::standing::{Standing, entry_hash};
use super::view::{FIRST_KEY_BYTE, ViewError, guarded};

/// Entries that a thread reads before it adds them: so many are read twice, at most.
const PIECE: usize = 4_096;

/// What is left to read, and the sum of the rest.
struct Scan {
    low: Bound<sled::IVec>,
    high: Bound<sled::IVec>,
    found: Standing,
}

/// From which end a thread reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Low,
    High,
}

/// Number and sum of the entries of `tree` that are its users'; each must be as it was written.
///
/// # Errors
/// [`ViewError::Damaged`] if one is not.
pub(super) fn add_up(tree: &sled::Tree, position: Position) -> Result<Standing, ViewError> {
    let low = Bound::Included(sled::IVec::from(&[FIRST_KEY_BYTE]));
    let found = Standing { position, ..Standing::EMPTY };
    let scan = Mutex::new(Scan { low, high: Bound::Unbounded, found });
    let (from_low, from_high) = std::thread::scope(|scope| {
        let from_high = scope.spawn(|| guarded(|| read(tree, &scan, End::High)));
        let from_low = guarded(|| read(tree, &scan, End::Low));
        (from_low, from_high.join().expect("panics are caught inside"))
    });
    from_low.and(from_high)?;
    Ok(scan.into_inner().unwrap_or_else(PoisonError::into_inner).found)
}

fn read(tree: &sled::Tree, scan: &Mutex<Scan>, end: End) -> Result<(), ViewError> {
    let lock = || scan.lock().unwrap_or_else(PoisonError::into_inner);
    let mut piece = Vec::with_capacity(PIECE);
    loop {
        let (low, high) = {
            let scan = lock();
            (scan.low.clone(), scan.high.clone())
        };
        if !is_before(&low, &high) {
            return Ok(());
        }
        let mut entries = tree.range::<sled::IVec, _>((low, high));
        let mut next = || if end == End::Low { entries.next() } else { entries.next_back() };
        while piece.len() < PIECE
            && let Some(entry) = next()
        {
            let (key, sealed) = entry?;
            let hash = entry_hash(&key, unseal(&key, &sealed)?);
            piece.push((key, hash));
        }
        let mut scan = lock();
        let Some((last, _)) = piece.last().cloned() else { return Ok(()) };
        for (key, hash) in piece.drain(..) {
            if (scan.low.as_ref(), scan.high.as_ref()).contains(&key) {
                scan.found.add_hash(hash);
            }
        }
        match end {
            End::Low => scan.low = Bound::Excluded(last),
            End::High => scan.high = Bound::Excluded(last),
        }
    }
}

/// Whether anything may lie between the bounds.
fn is_before(low: &Bound<sled::IVec>, high: &Bound<sled::IVec>) -> bool {
    match (low, high) {
        (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => low < high,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sealed::seal;
    use super::*;

    #[test]
    fn both_ends_together_count_every_entry_once_whatever_their_number() {
        for count in [0, 1, 2, 100, PIECE, 3 * PIECE + 17] {
            let tree = sled::Config::new().temporary(true).open().expect("a temporary database");
            let mut expected = Standing::EMPTY;
            for number in 0..count as u64 {
                let (key, value) = ([&[FIRST_KEY_BYTE][..], &number.to_be_bytes()].concat(), number.to_le_bytes());
                tree.insert(&key, seal(&key, &value)).expect("it can be written");
                expected.add_hash(entry_hash(&key, &value));
            }
            tree.insert([0, 9], &b"the view's own"[..]).expect("it can be written");
            assert_eq!(add_up(&tree, Position::START).expect("all are whole"), expected, "{count} entries");
        }
    }

    #[test]
    fn an_entry_that_is_not_as_it_was_written_is_found_wherever_it_lies() {
        for damaged in [0, 1, 2_500, 4_999] {
            let tree = sled::Config::new().temporary(true).open().expect("a temporary database");
            for number in 0..5_000_u64 {
                let key = [&[FIRST_KEY_BYTE][..], &number.to_be_bytes()].concat();
                let mut sealed = seal(&key, b"value");
                sealed[0] ^= u8::from(number == damaged);
                tree.insert(&key, sealed).expect("it can be written");
            }
            let found = add_up(&tree, Position::START);
            assert!(matches!(found, Err(ViewError::Damaged { .. })), "{damaged}: {found:?}");
        }
    }
}
