//! The operator's own program that checks what other stations claim.
//!
//! It runs as `/bin/sh -c COMMAND` in `/`, with the question as JSON on its standard input, and answers by its exit code:
//! 0 agrees, 1 contests; anything else, a signal or running over its time says nothing. Whoever asks does so one question
//! at a time. It runs with so much memory, and with an environment that holds none of the node's. What it started ends
//! with it.

use std::fmt;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use qfzz_ledger_core::testimony::Answer;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};

/// Kibibytes of address space of each process, at most.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;

/// Bytes of what it prints to standard error that are read, at most; whoever prints more is cut off. Standard output
/// leads nowhere.
const MAX_STDERR_BYTES: u64 = 4 * 1024;

/// How long what it printed last is waited for once it has ended: it is on its way already.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Variables that it gets where this program has them.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// Why a program said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It could not be started, or fed.
    NotRun(io::ErrorKind),
    /// It took longer than it may.
    TooLong(Duration),
    /// It ended otherwise: with its code, if no signal ended it, and the first line that it complained with.
    Ended(Option<i32>, String),
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun(kind) => write!(f, "it could not be run: {kind}"),
            Self::TooLong(time) => write!(f, "it took longer than {time:?}, and was killed"),
            Self::Ended(Some(code), complaint) => write!(f, "it ended with {code}, which is no answer: {complaint}"),
            Self::Ended(None, complaint) => write!(f, "a signal ended it: {complaint}"),
        }
    }
}

/// The operator's program.
#[derive(Clone, Debug)]
pub(crate) struct Checker {
    command: String,
    time: Duration,
}

impl Checker {
    /// Runs `command` for each question, for at most `time`.
    pub(crate) const fn new(command: String, time: Duration) -> Self {
        Self { command, time }
    }

    /// What the program says to `question`. Where nobody waits for it any more, it is killed.
    ///
    /// # Errors
    /// [`Silence`].
    pub(crate) async fn ask(&self, question: &[u8]) -> Result<Answer, Silence> {
        let limited = format!("ulimit -v {MAX_MEMORY_KIB} && exec /bin/sh -c \"$0\"");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &limited, &self.command]).current_dir("/").env_clear();
        command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let not_run = |error: io::Error| Silence::NotRun(error.kind());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(not_run)?;
        let _group = Group::of(&child);
        match tokio::time::timeout(self.time, answer(&mut child, question)).await {
            Ok(said) => said.map_err(not_run)?,
            Err(_) => Err(Silence::TooLong(self.time)),
        }
    }
}

/// A program with all that it started, which is killed when this goes.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Mostly nobody is left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn answer(child: &mut Child, question: &[u8]) -> io::Result<Result<Answer, Silence>> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    if let Some(mut stdin) = stdin {
        // A program that does not read its question may know the answer all the same.
        let _ = stdin.write_all(question).await;
    }
    let mut complaint = Vec::new();
    let status = {
        let mut listening = std::pin::pin!(listen(stderr, &mut complaint));
        tokio::select! {
            biased;
            () = &mut listening => child.wait().await?,
            // Something that it leaves running may hold its standard error open for good.
            status = child.wait() => {
                let _ = tokio::time::timeout(LAST_WORDS, listening).await;
                status?
            }
        }
    };
    Ok(match status.code() {
        Some(0) => Ok(Answer::Agree),
        Some(1) => Ok(Answer::Contest),
        code => {
            let text = String::from_utf8_lossy(&complaint);
            let line: String = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
            Err(Silence::Ended(code, line))
        }
    })
}

/// Reads what a program complains with; stops listening where it is too much.
async fn listen(stderr: Option<ChildStderr>, complaint: &mut Vec<u8>) {
    if let Some(stderr) = stderr {
        // What was read until it failed will do.
        let _ = stderr.take(MAX_STDERR_BYTES).read_to_end(complaint).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(20);

    async fn ask(command: &str, question: &[u8]) -> Result<Answer, Silence> {
        Checker::new(command.to_owned(), TIME).ask(question).await
    }

    #[tokio::test]
    async fn the_exit_code_is_the_answer() {
        assert_eq!(ask("exit 0", b"{}").await, Ok(Answer::Agree));
        assert_eq!(ask("exit 1", b"{}").await, Ok(Answer::Contest));
        let silence = ask("echo no idea >&2; exit 2", b"{}").await.expect_err("2 is no answer");
        assert_eq!(silence.to_string(), "it ended with 2, which is no answer: no idea");
        assert_eq!(ask("kill -TERM $$", b"{}").await, Err(Silence::Ended(None, String::new())));
        assert!(matches!(ask("/nowhere/at/all", b"{}").await, Err(Silence::Ended(Some(127), _))));
    }

    #[tokio::test]
    async fn the_question_is_on_standard_input() {
        assert_eq!(ask("grep -q track_001", br#"{"content_id":"track_001"}"#).await, Ok(Answer::Agree));
        assert_eq!(ask("grep -q track_002", br#"{"content_id":"track_001"}"#).await, Ok(Answer::Contest));
    }

    #[tokio::test]
    async fn nothing_of_the_nodes_environment_is_passed_on() {
        // `CARGO_PKG_NAME` stands in this test's environment for what an operator gave the node.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        assert_eq!(ask("test -z \"$CARGO_PKG_NAME\" && test -n \"$PATH\"", b"{}").await, Ok(Answer::Agree));
    }

    /// Waits until the process whose number is in a file has ended.
    async fn wait_for_end_of(pid: &std::path::Path) {
        let pid = std::fs::read_to_string(pid).expect("written");
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        let is_gone = || state().rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'));
        let ended = async {
            while !is_gone() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TIME, ended).await.expect("what it started has ended");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().expect("a directory");
        let (pid, time) = (dir.path().join("pid"), Duration::from_millis(500));
        let hanging = format!("sleep 600 & echo $! > {}; wait", pid.display());
        assert_eq!(Checker::new(hanging, time).ask(b"{}").await, Err(Silence::TooLong(time)));
        wait_for_end_of(&pid).await;
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_ends_and_does_not_hold_up_its_answer() {
        let dir = tempfile::tempdir().expect("a directory");
        let pid = dir.path().join("pid");
        let leaving = format!("sleep 600 & echo $! > {}; exit 1", pid.display());
        assert_eq!(ask(&leaving, b"{}").await, Ok(Answer::Contest));
        wait_for_end_of(&pid).await;
    }

    #[tokio::test]
    async fn a_program_that_nobody_waits_for_any_more_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().expect("a directory");
        let pid = dir.path().join("pid");
        let hanging = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let checker = Checker::new(hanging, TIME);
        let started = async {
            while !pid.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            said = checker.ask(b"{}") => panic!("{said:?}"),
            () = started => {}
        }
        wait_for_end_of(&pid).await;
    }

    #[tokio::test]
    async fn what_it_prints_and_the_memory_it_takes_are_bounded() {
        let complaining = ask("head -c 100000000 /dev/zero | tr '\\0' x >&2; exit 3", b"{}").await;
        let Err(Silence::Ended(Some(3), line)) = complaining else { panic!("{complaining:?}") };
        assert_eq!(line.len(), 4096);
        assert_eq!(ask("head -c 100000000 /dev/zero; exit 0", b"{}").await, Ok(Answer::Agree), "that leads nowhere");
        assert_eq!(ask("test $(ulimit -v) = 1048576", b"{}").await, Ok(Answer::Agree));
    }
}
