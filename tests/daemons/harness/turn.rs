//! Who may use the machine: tests that measure times run alone, also between test binaries.

use std::env;
use std::fs::File;

/// The right to run, held until dropped.
#[must_use = "the turn ends when it is dropped"]
pub struct Turn(File);

impl Drop for Turn {
    fn drop(&mut self) {
        // Closing the file gives the lock back too, should this fail.
        let _ = self.0.unlock();
    }
}

/// Waits until no other test of daemons runs, and keeps them away: for tests that measure.
pub fn alone() -> Turn {
    let file = lock_file();
    file.lock().expect("the lock beside the test binary can be taken");
    Turn(file)
}

/// Waits until no test runs that must be alone: for tests of outcomes only.
pub fn beside_others() -> Turn {
    let file = lock_file();
    file.lock_shared().expect("the lock beside the test binary can be taken");
    Turn(file)
}

/// One file for all test binaries of a profile, so that it also holds between processes.
fn lock_file() -> File {
    let path = env::current_exe().expect("a test has a path").with_file_name("qfzz-daemons.lock");
    File::create(&path).unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()))
}
