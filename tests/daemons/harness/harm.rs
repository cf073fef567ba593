//! Damage to files, as failing disks and careless hands do it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::Dice;

/// Bytes at the beginning and at the end of a file that are hit more often than the rest.
const ENDS: u64 = 96;

/// What is done to one file.
#[derive(Clone, Copy, Debug)]
pub enum Harm {
    /// One bit is turned.
    Flip {
        /// In which byte.
        at: usize,
        /// Which bit of it.
        bit: u32,
    },
    /// A stretch becomes zeros.
    Zero {
        /// From where.
        at: usize,
        /// How much.
        bytes: usize,
    },
    /// The rest is cut off.
    Cut {
        /// From where.
        at: usize,
    },
    /// Two stretches change places.
    Swap {
        /// The first.
        at: usize,
        /// The second.
        with: usize,
        /// How much.
        bytes: usize,
    },
}

impl Harm {
    /// Some harm to a file of `length` bytes, at least 1.
    pub fn to_file_of(length: u64, dice: &mut Dice) -> Self {
        let place = |dice: &mut Dice| {
            let end = ENDS.min(length);
            let at = match dice.below(3) {
                0 => dice.below(end),
                1 => length - 1 - dice.below(end),
                _ => dice.below(length),
            };
            usize::try_from(at).expect("files fit into memory")
        };
        let at = place(dice);
        let stretch = |dice: &mut Dice| usize::try_from(1 << dice.below(10)).expect("a small number fits");
        match dice.below(4) {
            0 => Self::Flip { at, bit: u32::try_from(dice.below(8)).expect("a small number fits") },
            1 => Self::Zero { at, bytes: stretch(dice) },
            2 => Self::Cut { at },
            _ => Self::Swap { at, with: place(dice), bytes: 1 + stretch(dice) / 8 },
        }
    }

    /// Does it to `bytes`.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match *self {
            Self::Flip { at, bit } => bytes[at] ^= 1 << bit,
            Self::Zero { at, bytes: count } => {
                let end = bytes.len().min(at + count);
                bytes[at..end].fill(0);
            }
            Self::Cut { at } => bytes.truncate(at),
            Self::Swap { at, with, bytes: count } => {
                for step in 0..count {
                    if at + step < bytes.len() && with + step < bytes.len() {
                        bytes.swap(at + step, with + step);
                    }
                }
            }
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip { .. } => f.write_str("flipped"),
            Self::Zero { .. } => f.write_str("zeroed"),
            Self::Cut { .. } => f.write_str("cut"),
            Self::Swap { .. } => f.write_str("swapped"),
        }
    }
}

/// Copies a directory with all that is in it.
///
/// # Panics
/// If a file cannot be read or written.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    let mode = fs::metadata(from).expect("it is there").permissions();
    for path in entries(from) {
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
    fs::set_permissions(to, mode).expect("an own directory");
}

/// All files below a directory that hold anything, in order.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let below = entries(dir).into_iter().flat_map(|path| {
        if path.is_dir() {
            files_below(&path)
        } else {
            let is_empty = fs::metadata(&path).is_ok_and(|data| data.len() == 0);
            if is_empty { Vec::new() } else { vec![path] }
        }
    });
    below.collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}
