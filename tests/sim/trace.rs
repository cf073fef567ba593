//! What happened, line by line: hashed always, printed when one seed is looked at alone.

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

/// The trace of one run.
pub(crate) struct Trace {
    hash: Sha256,
    line: String,
    is_shown: bool,
}

impl Trace {
    /// An empty trace.
    pub(crate) fn new(is_shown: bool) -> Self {
        Self { hash: Sha256::new(), line: String::new(), is_shown }
    }

    /// Takes down what happened at `now`, in virtual milliseconds.
    pub(crate) fn line(&mut self, now: i64, what: fmt::Arguments<'_>) {
        self.line.clear();
        writeln!(self.line, "{:>4}.{:03} {what}", now / 1_000, now % 1_000).expect("a string takes everything");
        self.hash.update(&self.line);
        if self.is_shown {
            print!("{}", self.line);
        }
    }

    /// The hash of all lines.
    pub(crate) fn finish(self) -> String {
        hex::encode(self.hash.finalize())
    }
}

/// The first four bytes of a hash.
pub(crate) struct Short<'a>(pub(crate) &'a [u8; 32]);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
