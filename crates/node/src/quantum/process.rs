//! The helper process: Python running `helper.py`, one line of JSON to it and one from it.
//!
//! What it writes is judged like a stranger's words: lines are bounded, every wait has an end, and an answer must be of
//! the very length that was asked for. It gets no more of the environment than it needs, and ends with its standard
//! input, so also with a daemon that was killed.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::json;

use super::Target;

/// The program that Python runs.
const HELPER: &str = include_str!("helper.py");

/// Bytes of a line that the helper may write, at most.
const MAX_LINE: u64 = 16 * 1024;

/// Numbers that one request asks for, and bits of each: 576 bytes, 12 blocks of the pool.
const COUNT: usize = 144;
const BITS: usize = 32;

/// Raw bytes of an answer.
pub(super) const DRAWN_BYTES: usize = COUNT * BITS / 8;

/// What of the environment the helper gets.
const ENVIRONMENT: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH"];

/// What it gets beside that where it has to reach Azure, and the beginning of the names of the rest.
const NETWORK_ENVIRONMENT: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"];
const AZURE_PREFIX: &str = "AZURE_";

/// Why a helper gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("`{python}` cannot be started: {source}; install Python 3.10 or newer, or name one with quantum.python")]
    NotStarted { python: String, source: io::Error },
    /// Something has to be installed or set; it says what.
    #[error("{0}")]
    Missing(String),
    #[error("Q# does not run: {0}")]
    Failed(String),
    #[error(
        "`{python}` gave no answer within {seconds} s: name another with quantum.python, or set it up with `qfzz quantum setup`"
    )]
    Silent { python: String, seconds: u64 },
    #[error("`{python}` ended by itself")]
    Ended { python: String },
    #[error("`{python}` gave an answer that is none of the helper's")]
    Nonsense { python: String },
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
}

/// The package that runs the Q#.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Package {
    #[serde(rename = "package")]
    pub(super) name: String,
    pub(super) version: String,
}

/// What the helper says.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Said {
    Ready { ready: Package },
    Missing { missing: String },
    Failed { failed: String },
    Drawn { id: u64, raw: String },
}

/// What comes from the thread that reads, or from whoever stops it.
pub(super) enum Line {
    Read(Vec<u8>),
    TooLong,
    Ended,
    Stop,
}

/// Ends a helper from another thread.
pub(super) struct Stopper {
    group: Pid,
    lines: SyncSender<Line>,
}

impl Stopper {
    /// The helper's process id.
    #[cfg(test)]
    pub(super) const fn pid(&self) -> Pid {
        self.group
    }

    /// Kills the helper and whatever it started; who waits for its answer waits no more.
    pub(super) fn stop(&self) {
        // Its leader is not waited for before the helper is dropped, so the id is still its own.
        let _ = kill_process_group(self.group, Signal::KILL);
        // A full channel wakes the receiver, too.
        let _ = self.lines.try_send(Line::Stop);
    }
}

/// A helper that runs. It is killed when this is dropped.
pub(super) struct Helper {
    python: String,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Line>,
    sender: SyncSender<Line>,
    asked: u64,
}

impl Helper {
    /// Starts Python; it has said nothing yet.
    pub(super) fn spawn(python: &str, target: &Target) -> Result<Self, Trouble> {
        let mut command = Command::new(python);
        command.args(["-u", "-c", HELPER]).env_clear().envs(environment(target, std::env::vars_os())).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // One group for it and what it starts; and Ctrl-C is for the daemon, which stops it in order.
        command.process_group(0);
        let not_started = |source| Trouble::NotStarted { python: python.to_owned(), source };
        let mut child = command.spawn().map_err(not_started)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (sender, lines) = sync_channel(1);
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(not_started(io::Error::other("no pipes")));
        };
        let to = sender.clone();
        let reader = std::thread::Builder::new().name("qfzz-q#-lines".to_owned());
        let reading = reader.spawn(move || read_lines(stdout, &to));
        let helper = Self { python: python.to_owned(), child, stdin, lines, sender, asked: 0 };
        // Dropped on an error, so killed.
        reading.map_err(not_started).map(|_| helper)
    }

    /// What ends it from another thread, as long as this is not dropped.
    pub(super) fn stopper(&self) -> Stopper {
        Stopper { group: Pid::from_child(&self.child), lines: self.sender.clone() }
    }

    /// Gives it the Q# source; waits at most `limit` until Python runs, the package is loaded and the source compiled.
    pub(super) fn prepare(&mut self, source: &str, target: &Target, limit: Duration) -> Result<Package, Trouble> {
        self.say(&json!({ "source": source, "target": target.to_string() }))?;
        match self.hear(limit)? {
            Said::Ready { ready } if is_word(&ready.name) && is_word(&ready.version) => Ok(ready),
            _ => Err(self.nonsense()),
        }
    }

    /// [`DRAWN_BYTES`] raw bytes; waits at most `limit`.
    pub(super) fn draw(&mut self, limit: Duration) -> Result<Vec<u8>, Trouble> {
        self.asked += 1;
        self.say(&json!({ "id": self.asked, "count": COUNT, "bits": BITS }))?;
        match self.hear(limit)? {
            Said::Drawn { id, raw } if id == self.asked => {
                hex::decode(raw).ok().filter(|raw| raw.len() == DRAWN_BYTES).ok_or_else(|| self.nonsense())
            }
            _ => Err(self.nonsense()),
        }
    }

    /// What went wrong while nothing was asked, if anything did.
    pub(super) fn unasked(&self) -> Option<Trouble> {
        match self.lines.try_recv() {
            Err(TryRecvError::Empty) => None,
            Ok(Line::Stop) => Some(Trouble::Stopped),
            Ok(Line::Read(_) | Line::TooLong) => Some(self.nonsense()),
            Ok(Line::Ended) | Err(TryRecvError::Disconnected) => Some(self.ended()),
        }
    }

    fn say(&mut self, line: &serde_json::Value) -> Result<(), Trouble> {
        let written = self.stdin.write_all(format!("{line}\n").as_bytes());
        // It may have said why before it ended; if not, its end is heard.
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(self.ended()),
            _ => Ok(()),
        }
    }

    fn hear(&self, limit: Duration) -> Result<Said, Trouble> {
        let line = match self.lines.recv_timeout(limit) {
            Ok(Line::Read(line)) => line,
            Ok(Line::TooLong) => return Err(self.nonsense()),
            Ok(Line::Stop) => return Err(Trouble::Stopped),
            Ok(Line::Ended) | Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
            Err(RecvTimeoutError::Timeout) => {
                return Err(Trouble::Silent { python: self.python.clone(), seconds: limit.as_secs() });
            }
        };
        match serde_json::from_slice(&line) {
            Ok(Said::Missing { missing }) => Err(Trouble::Missing(clean(&missing))),
            Ok(Said::Failed { failed }) => Err(Trouble::Failed(clean(&failed))),
            Ok(said) => Ok(said),
            Err(_) => Err(self.nonsense()),
        }
    }

    fn ended(&self) -> Trouble {
        Trouble::Ended { python: self.python.clone() }
    }

    fn nonsense(&self) -> Trouble {
        Trouble::Nonsense { python: self.python.clone() }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stopper().stop();
        let _ = self.child.wait();
    }
}

/// Reads lines until one is too long, there are no more, or nobody wants them.
fn read_lines(stdout: ChildStdout, to: &SyncSender<Line>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        let read = stdout.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        let line = match read {
            Ok(_) if line.ends_with(b"\n") => Line::Read(line),
            Ok(read) if read as u64 == MAX_LINE => Line::TooLong,
            // What was cut off in the middle is no line.
            Ok(_) | Err(_) => Line::Ended,
        };
        let is_last = !matches!(line, Line::Read(_));
        if to.send(line).is_err() || is_last {
            return;
        }
    }
}

/// What of the environment `all` a helper for `target` gets.
pub(super) fn environment(
    target: &Target,
    all: impl IntoIterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    let is_local = target.is_local();
    let is_wanted = move |name: &str| {
        let of_network = || NETWORK_ENVIRONMENT.contains(&name) || name.starts_with(AZURE_PREFIX);
        ENVIRONMENT.contains(&name) || (!is_local && of_network())
    };
    all.into_iter().filter(move |(name, _)| name.to_str().is_some_and(is_wanted))
}

/// Whether it can be a package's name or version.
fn is_word(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+!".contains(&byte))
}

/// An error's text as one line of bounded length.
fn clean(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|it| !it.is_empty()).collect();
    words.join(" ").chars().take(300).collect()
}
