//! A disk that fails or hangs: what strace puts in the place of a system call.

use std::process::Command;

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub enum CallOutcome {
    /// It fails with this error.
    Error(&'static str),
    /// It doesn't return for 70 s. No longer: a killed process is not gone before strace lets go of its threads.
    Hangs,
}

/// Which call fails, and when.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The system call.
    pub call: &'static str,
    /// What becomes of it.
    pub outcome: CallOutcome,
    /// The how manieth call of each thread.
    pub number: u32,
    /// Whether all that follow fail, too.
    pub for_good: bool,
}

impl Fault {
    /// `command`, with this fault in it. Its process stays the child: strace stands beside it.
    ///
    /// # Panics
    /// Without strace.
    pub fn in_command(&self, command: &Command) -> Command {
        assert!(is_there(), "strace is missing: apt-get install strace");
        let Self { call, outcome, number, for_good } = self;
        let outcome = match outcome {
            CallOutcome::Error(error) => format!("error={error}"),
            CallOutcome::Hangs => "delay_enter=70000000".to_owned(),
        };
        let all = if *for_good { "+" } else { "" };
        let mut traced = Command::new("strace");
        traced.args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
        traced.arg("-e").arg(format!("inject={call}:{outcome}:when={number}{all}"));
        traced.arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => traced.env(name, value),
                None => traced.env_remove(name),
            };
        }
        traced
    }
}

fn is_there() -> bool {
    Command::new("strace").arg("--version").output().is_ok_and(|output| output.status.success())
}
