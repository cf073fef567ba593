use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::pace::{share_of, wait_until_due};

/// Appends a second.
const RATE: u64 = 50;

/// What the machine itself takes at a time, disk and scheduler: appends to a file on the disk of the daemons, each synced,
/// and each when it is due, whether the one before took long or not.
pub struct Appends {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Appends {
    /// As many times what an append takes is what a daemon may take where that is longer than its limit: a machine that stands
    /// still holds everybody.
    pub const FACTOR: u32 = 3;

    /// Starts to append.
    pub fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        Self { is_over, thread: thread::spawn(move || append(&ends)) }
    }

    /// Ends it: of 100 appends, how long from when it was due until it was on the disk 99 took at most.
    pub fn p99(self) -> Duration {
        self.is_over.store(true, Ordering::Release);
        let mut took = self.thread.join().expect("appending does not panic");
        took.sort_unstable();
        share_of(&took, 99)
    }
}

fn append(is_over: &AtomicBool) -> Vec<Duration> {
    let dir = tempfile::tempdir().expect("a directory on the disk of the daemons");
    let mut file = File::create(dir.path().join("appended")).expect("a file");
    let start = Instant::now();
    let mut took = Vec::new();
    while took.is_empty() || !is_over.load(Ordering::Acquire) {
        let due = wait_until_due(start, took.len() as u64, RATE);
        file.write_all(&[1; 512]).and_then(|()| file.sync_data()).expect("the disk takes it");
        took.push(due.elapsed());
    }
    took
}
