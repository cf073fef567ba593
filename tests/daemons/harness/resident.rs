//! What a process holds in memory, as the system counts it.

use std::fmt;
use std::fs;

/// Bytes of a MiB.
pub const MIB: u64 = 1024 * 1024;

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Now (`VmRSS`).
    pub now: u64,
    /// At its highest since the process began (`VmHWM`).
    pub peak: u64,
}

impl Resident {
    /// Of the process `pid`.
    ///
    /// # Panics
    /// If there is no such process.
    #[track_caller]
    pub fn of(pid: u32) -> Self {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
            number.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{path} tells {name} in kB: {status}"))
        };
        Self { now: kib("VmRSS") * 1024, peak: kib("VmHWM") * 1024 }
    }
}

impl fmt::Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB, at most {} MiB", self.now / MIB, self.peak.div_ceil(MIB))
    }
}
