//! The reference as one long-lived process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// Starts the reference: where to write scenarios, and where to read answers, in the same order.
pub(crate) fn start() -> (Child, ChildStdin, Answers) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/serve.py");
    let mut command = Command::new("python3");
    // Nothing is written beside the sources.
    command.arg("-B").arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 is installed");
    let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    (child, input, Answers(BufReader::new(output)))
}

pub(crate) struct Answers(BufReader<ChildStdout>);

impl Answers {
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the reference answers");
        serde_json::from_str(&line).expect("the reference writes JSON")
    }
}

pub(crate) fn ask(input: &mut ChildStdin, scenario: &Value) {
    // As one write: shown piece by piece it would be a thousand.
    input.write_all(format!("{scenario}\n").as_bytes()).expect("the reference listens");
}
