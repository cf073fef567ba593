//! The program `qfzz`: where it is, and running it as a person would.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use serde_json::Value;

/// The path of the program: `QFZZ_BIN`, or what cargo builds once for the profile that the tests run in.
///
/// # Panics
/// If it cannot be built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| env::var_os("QFZZ_BIN").map_or_else(build, PathBuf::from))
}

/// Builds it into the target directory that this test was built into (`TARGET/PROFILE/deps/test-...`).
fn build() -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let profile_dir = test.ancestors().nth(2).expect("a test lies in TARGET/PROFILE/deps");
    let target_dir = profile_dir.parent().expect("a profile's directory lies in the target directory");
    let profile = match profile_dir.file_name().and_then(OsStr::to_str).expect("a profile's name is text") {
        "debug" => "dev",
        name => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo sets for this test would look like a changed environment to build scripts, and rebuild the tree.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name == "CARGO"
            || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"].iter().any(|p| name.starts_with(p))
        {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(["build", "--quiet", "--locked", "--package", "qfzz-node", "--bin", "qfzz", "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "the program qfzz does not build: {status}");
    profile_dir.join(format!("qfzz{}", env::consts::EXE_SUFFIX))
}

/// A command of the program on `data_dir`, without what the caller's environment says about `qfzz`.
pub fn qfzz(data_dir: &Path) -> Command {
    let mut command = Command::new(program());
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("QFZZ_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1").arg("--data-dir").arg(data_dir);
    command
}

/// What a command left behind.
#[derive(Debug)]
pub struct Finished {
    /// What was run, for messages.
    pub command: String,
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed as its result.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

impl Finished {
    /// Runs `command` to its end with `input` on its standard input.
    ///
    /// # Panics
    /// If it cannot be started, or prints what is not UTF-8.
    pub fn run(mut command: Command, input: &str) -> Self {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{shown} cannot be started: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = input.to_owned();
        // Beside the reading, so that neither side waits for the other; a program that reads nothing closes the pipe.
        let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("a child can be waited for");
        let _ = writer.join().expect("writing does not panic");
        Self {
            command: shown,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// Itself, if it ended with `code`.
    ///
    /// # Panics
    /// If it ended otherwise, or shows a panic.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of {self:#?}");
        assert!(!self.stderr.contains("panicked at"), "a panic is shown: {self:#?}");
        self
    }

    /// The one JSON value on its standard output.
    ///
    /// # Panics
    /// If there is anything else.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is no JSON value: {error}: {self:#?}"))
    }
}
