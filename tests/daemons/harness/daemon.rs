//! One daemon: a process, its data directory and what it says.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{Api, Fault, Finished, Namespace, qfzz, wait_for};

/// How long a start may take before the test gives up: far above the limits that tests assert.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What a daemon is made of, before it exists.
pub struct Recipe {
    name: String,
    data_dir: Option<PathBuf>,
    settings: Vec<(String, String)>,
    namespace: Option<Namespace>,
    listen: String,
}

impl Recipe {
    /// A station of this name in a directory of its own, on loopback, that mines only when asked and starts no Python.
    pub fn new(name: &str) -> Self {
        let recipe = Self {
            name: name.to_owned(),
            data_dir: None,
            settings: Vec::new(),
            namespace: None,
            listen: "/ip4/127.0.0.1/tcp/0".to_owned(),
        };
        recipe.set("station.name", name).set("mining.enabled", "false").set("quantum.enabled", "false")
    }

    /// Sets a configuration key, by way of its environment variable.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let variable = format!("QFZZ_{}", key.replace('.', "_").to_uppercase());
        self.settings.retain(|(name, _)| *name != variable);
        self.settings.push((variable, value.to_owned()));
        self
    }

    /// Keeps its data in `data_dir`, which someone else owns.
    pub fn at(mut self, data_dir: PathBuf) -> Self {
        self.data_dir = Some(data_dir);
        self
    }

    /// Listens on `address`, with 0 for a port of the system's choice.
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = address.to_owned();
        self
    }

    /// Lives inside `namespace`, at that namespace's address.
    pub fn inside(mut self, namespace: &Namespace) -> Self {
        self.listen = format!("/ip4/{}/tcp/4811", namespace.address());
        self.namespace = Some(namespace.clone());
        self
    }

    /// Founds a federation (`init --new-federation`, with `more` flags) and starts.
    pub fn found(self, federation: &str, more: &[&str]) -> Daemon {
        let mut daemon = self.prepare();
        let name = daemon.name.clone();
        let mut flags = vec!["init", "--name", &name, "--new-federation", federation, "--difficulty", "1", "--yes"];
        flags.extend(more);
        daemon.qfzz(&flags).exits(0);
        daemon.start();
        daemon
    }

    /// Joins by `address` (`init --join`) and starts.
    pub fn join(self, address: &str) -> Daemon {
        let mut daemon = self.prepare();
        let name = daemon.name.clone();
        daemon.qfzz(&["init", "--name", &name, "--join", address, "--yes"]).exits(0);
        daemon.start();
        daemon
    }

    /// Starts on an empty directory with `run --join`.
    pub fn run_joining(self, address: &str) -> Daemon {
        let mut daemon = self.prepare();
        daemon.start_with(&["--join", address]);
        daemon
    }

    /// Neither initialised nor started.
    pub fn prepare(self) -> Daemon {
        let home = TempDir::new().expect("a temporary directory can be made");
        Daemon {
            data_dir: self.data_dir.unwrap_or_else(|| home.path().join("data")),
            home,
            name: self.name,
            settings: self.settings,
            namespace: self.namespace,
            listen: self.listen,
            process: None,
            api: None,
        }
    }
}

/// A daemon; its process is killed when it is dropped, and what it said is shown when the test fails.
pub struct Daemon {
    name: String,
    home: TempDir,
    data_dir: PathBuf,
    settings: Vec<(String, String)>,
    namespace: Option<Namespace>,
    listen: String,
    process: Option<Child>,
    api: Option<Api>,
}

impl Daemon {
    /// What the test calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The API of the running process.
    #[track_caller]
    pub fn api(&self) -> &Api {
        self.api.as_ref().unwrap_or_else(|| panic!("{} runs", self.name))
    }

    /// Its process id.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap_or_else(|| panic!("{} runs", self.name)).id()
    }

    /// Its station id.
    #[track_caller]
    pub fn station(&self) -> String {
        let status = self.api().get("/v1/status");
        status["station_id"].as_str().unwrap_or_else(|| panic!("a station has an id: {status}")).to_owned()
    }

    /// The address that others join by, without peer id.
    #[track_caller]
    pub fn address(&self) -> String {
        let status = self.api().get("/v1/status");
        let listen = status["listen"].as_array().unwrap_or_else(|| panic!("listen is an array: {status}"));
        let address = listen.first().and_then(Value::as_str).unwrap_or_else(|| panic!("it listens: {status}"));
        address.split("/p2p/").next().expect("split gives at least one part").to_owned()
    }

    /// Sets a configuration key from the next start on.
    pub fn set(&mut self, key: &str, value: &str) {
        let variable = format!("QFZZ_{}", key.replace('.', "_").to_uppercase());
        self.settings.retain(|(name, _)| *name != variable);
        self.settings.push((variable, value.to_owned()));
    }

    /// Starts it on the address that it had before, and returns after which time it answered `/livez`.
    ///
    /// # Panics
    /// If it ends, or does not answer.
    pub fn start(&mut self) -> Duration {
        self.start_with(&[])
    }

    /// Starts it with `more` flags.
    fn start_with(&mut self, more: &[&str]) -> Duration {
        self.try_start_with(more, None).unwrap_or_else(|status| panic!("{} ended at its start: {status}", self.name))
    }

    /// Starts it, or says how it ended instead.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// If it neither ends nor answers.
    pub fn try_start(&mut self) -> Result<Duration, ExitStatus> {
        self.try_start_with(&[], None)
    }

    /// As [`try_start`](Self::try_start), with a system call that fails.
    ///
    /// # Errors
    /// How it ended.
    ///
    /// # Panics
    /// If it neither ends nor answers.
    pub fn try_start_with_fault(&mut self, fault: &Fault) -> Result<Duration, ExitStatus> {
        self.try_start_with(&[], Some(fault))
    }

    /// How it ended, if it has.
    pub fn try_end(&mut self) -> Option<ExitStatus> {
        let child = self.process.as_mut().unwrap_or_else(|| panic!("{} runs", self.name));
        let status = child.try_wait().expect("a child can be asked")?;
        self.process = None;
        self.api = None;
        Some(status)
    }

    fn try_start_with(&mut self, more: &[&str], fault: Option<&Fault>) -> Result<Duration, ExitStatus> {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let address_file = self.data_dir.join("api.addr");
        // What a killed process left behind names a port that is nobody's, or somebody else's.
        if address_file.exists() {
            fs::remove_file(&address_file).expect("the address of the process before can be removed");
        }
        let (stdout, stderr) = (self.append("stdout"), self.append("stderr"));
        let mut command = self.command();
        command.args(["run", "--listen", &self.listen, "--api-listen", "127.0.0.1:0"]).args(more);
        let mut command = match fault {
            Some(fault) => fault.in_command(&command),
            None => command,
        };
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let start = Instant::now();
        let child = self.spawn(&mut command);
        self.process = Some(child);
        let (mut api, mut ended) = (None, None);
        wait_for(&format!("{} answers /livez", self.name), START_LIMIT, || {
            let child = self.process.as_mut().expect("it was just started");
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                ended = Some(status);
                return Ok(());
            }
            if api.is_none() {
                api = Some(self.find_api()?);
            }
            let found = api.as_ref().expect("it was just found");
            let answer = found.try_get("/livez").map_err(|error| format!("{error:?}"))?;
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        });
        if let Some(status) = ended {
            self.process = None;
            return Err(status);
        }
        let elapsed = start.elapsed();
        self.api = api;
        // Without a federation it listens nowhere yet.
        let listens = |status: &Value| status["listen"].as_array().is_some_and(|listen| !listen.is_empty());
        if self.listen.split('/').any(|part| part == "0") && listens(&self.api().get("/v1/status")) {
            self.listen = self.address();
        }
        Ok(elapsed)
    }

    /// A client for the address that the process wrote.
    fn find_api(&self) -> Result<Api, String> {
        let read =
            |name: &str| fs::read_to_string(self.data_dir.join(name)).map_err(|error| format!("{name}: {error}"));
        let (address, token) = (read("api.addr")?, read("api.token")?);
        let address = address.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        if address.is_empty() {
            return Err("api.addr is empty".to_owned());
        }
        Ok(Api::new(&address, token.trim().to_owned(), self.namespace.as_ref()))
    }

    /// A command of the program with this station's directory, settings and network.
    pub fn command(&self) -> Command {
        let mut command = qfzz(&self.data_dir);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts `command` in this station's network.
    fn spawn(&self, command: &mut Command) -> Child {
        let spawned = match &self.namespace {
            Some(namespace) => namespace.enter(|| command.spawn()),
            None => command.spawn(),
        };
        spawned.unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.name))
    }

    /// Runs `qfzz ARGUMENTS` on this station's directory, to its end.
    pub fn qfzz(&self, arguments: &[&str]) -> Finished {
        self.qfzz_reading(arguments, "")
    }

    /// As [`qfzz`](Self::qfzz), with `input` on standard input.
    pub fn qfzz_reading(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = self.command();
        command.args(arguments);
        match &self.namespace {
            Some(namespace) => namespace.enter(|| Finished::run(command, input)),
            None => Finished::run(command, input),
        }
    }

    /// Ends the process at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.api = None;
        if let Some(mut child) = self.process.take() {
            child.kill().expect("an own child can be killed");
            child.wait().expect("a child can be waited for");
        }
    }

    /// Sends `signal` and waits for the end: with what status, after which time.
    ///
    /// # Panics
    /// After `deadline`.
    pub fn signal(&mut self, signal: Signal, deadline: Duration) -> (ExitStatus, Duration) {
        let pid = Pid::from_child(self.process.as_ref().unwrap_or_else(|| panic!("{} runs", self.name)));
        kill_process(pid, signal).expect("an own child can be signalled");
        self.wait_end(deadline)
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// After `deadline`.
    pub fn wait_end(&mut self, deadline: Duration) -> (ExitStatus, Duration) {
        let child = self.process.as_mut().unwrap_or_else(|| panic!("{} runs", self.name));
        let end = wait_for(&format!("{} ends", self.name), deadline, || {
            child.try_wait().expect("a child can be asked").ok_or_else(|| "it still runs".to_owned())
        });
        self.process = None;
        self.api = None;
        end
    }

    /// What it printed so far: `stdout` or `stderr`.
    pub fn said(&self, stream: &str) -> String {
        fs::read_to_string(self.home.path().join(stream)).unwrap_or_default()
    }

    /// Its `stdout` or `stderr`, over all starts.
    fn append(&self, stream: &str) -> File {
        let path = self.home.path().join(stream);
        File::options().create(true).append(true).open(path).expect("a file in an own directory can be opened")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            // Both fail only where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let said = self.said("stderr");
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.len().saturating_sub(80);
            eprintln!("---- {} said at last:\n{}\n----", self.name, lines[last..].join("\n"));
        }
    }
}
