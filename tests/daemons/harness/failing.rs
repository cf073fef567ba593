//! A disk that fails: errors that strace puts in the place of a system call.

use std::process::Command;

/// Which call fails, and when.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The system call.
    pub call: &'static str,
    /// What it returns.
    pub error: &'static str,
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
        let Self { call, error, number, for_good } = self;
        let all = if *for_good { "+" } else { "" };
        let mut traced = Command::new("strace");
        traced.args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
        traced.arg("-e").arg(format!("inject={call}:error={error}:when={number}{all}"));
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
