//! Real daemons: the released program, each with a process and a data directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Events, Http};
use crate::samples::json_record;

/// How long a start, a stop or an agreement may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often to look again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Records of one bulk request: a few MiB.
const BULK_RECORDS: usize = 32 * 1_024;

/// The released program: `QFZZ_BIN`, else the one beside this program.
///
/// # Errors
/// Where there is none.
pub fn program() -> Result<PathBuf> {
    let path = match std::env::var_os("QFZZ_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("qfzz"),
    };
    ensure!(path.exists(), "{} is missing: run scripts/bench.sh, which builds it", path.display());
    Ok(path)
}

/// Waits until `look` finds something.
///
/// # Errors
/// After five minutes, or what `look` failed with.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A daemon that runs, or ran.
pub struct Daemon {
    dir: TempDir,
    /// What the program is started under, such as `strace` with its arguments.
    under: Vec<String>,
    process: Option<Child>,
    http: Option<Http>,
    /// Where it listens, from its first start on.
    listen: String,
}

impl Daemon {
    /// A station that founds a federation, and runs.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn found(parent: &Path) -> Result<Self> {
        Self::found_under(parent, &[])
    }

    /// The same, with the program started under another one.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn found_under(parent: &Path, under: &[&str]) -> Result<Self> {
        let mut daemon = Self::prepare(parent, under.iter().map(|part| (*part).to_owned()).collect())?;
        daemon.qfzz(&["init", "--name", "bench", "--new-federation", "benchmark", "--difficulty", "1", "--yes"])?;
        daemon.start()?;
        Ok(daemon)
    }

    /// A station that joins by `other`'s address, and runs, started under what that was; returns before it has caught up.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn join(parent: &Path, other: &mut Self) -> Result<Self> {
        let mut daemon = Self::prepare(parent, other.under.clone())?;
        let address = other.address()?;
        daemon.qfzz(&["init", "--name", "bench", "--join", &address, "--yes"])?;
        daemon.start()?;
        Ok(daemon)
    }

    fn prepare(parent: &Path, under: Vec<String>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("station-").tempdir_in(parent)?;
        Ok(Self { dir, under, process: None, http: None, listen: "/ip4/127.0.0.1/tcp/0".to_owned() })
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, under: &[String]) -> Result<Command> {
        let program = program()?;
        let mut command = match under.split_first() {
            Some((outer, more)) => {
                let mut command = Command::new(outer);
                command.args(more).arg(program);
                command
            }
            None => Command::new(program),
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("QFZZ_") {
                command.env_remove(name);
            }
        }
        command.env("QFZZ_MINING_ENABLED", "false").env("QFZZ_LOG_LEVEL", "warn");
        // Only the syncs that are measured.
        command.env("QFZZ_SYNC_INTERVAL", "1h").env("QFZZ_QUANTUM_ENABLED", "false");
        command.arg("--data-dir").arg(self.data_dir()).stdin(Stdio::null());
        Ok(command)
    }

    fn qfzz(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command(&[])?.args(arguments).output()?;
        ensure!(output.status.success(), "qfzz {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Starts it, and returns after which time it answered.
    ///
    /// # Errors
    /// Where it ends or does not answer.
    pub fn start(&mut self) -> Result<Duration> {
        let addr_file = self.data_dir().join("api.addr");
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("stderr"))?;
        let mut command = self.command(&self.under)?;
        command.args(["run", "--listen", &self.listen, "--api-listen", "127.0.0.1:0"]);
        let start = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn()?;
        let http = wait_for("a daemon starts", || {
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(self.dir.path().join("stderr"))?;
                bail!("a daemon ended at its start: {status}: {said}");
            }
            let read = |name: &str| fs::read_to_string(self.data_dir().join(name)).unwrap_or_default();
            let address = fs::read_to_string(&addr_file).unwrap_or_default();
            let Ok(address) = address.trim().parse::<SocketAddr>() else { return Ok(None) };
            Ok(Http::connect(address, read("api.token").trim()).ok())
        });
        self.process = Some(child);
        let mut http = http?;
        http.get("/livez")?;
        let elapsed = start.elapsed();
        self.http = Some(http);
        self.listen = self.address().unwrap_or_else(|_| self.listen.clone());
        Ok(elapsed)
    }

    /// Stops it as an operator does.
    ///
    /// # Errors
    /// Where it does not end.
    pub fn stop(&mut self) -> Result<()> {
        let pid = self.pid()?;
        self.http = None;
        let Some(mut child) = self.process.take() else { return Ok(()) };
        kill_process(pid, Signal::TERM)?;
        wait_for("a daemon stops", || Ok(child.try_wait()?))?;
        Ok(())
    }

    /// The process that serves: not the one that it was started under.
    fn pid(&self) -> Result<Pid> {
        let lock = fs::read_to_string(self.data_dir().join("lock"))?;
        Pid::from_raw(lock.trim().parse()?).context("a process id")
    }

    /// A connection to its API.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn http(&mut self) -> Result<&mut Http> {
        self.http.as_mut().context("the daemon runs")
    }

    /// Its events, from the oldest that is kept.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn events(&mut self) -> Result<Events> {
        self.http()?.another()?.events()
    }

    /// The address that others join by.
    ///
    /// # Errors
    /// Where it listens nowhere.
    pub fn address(&mut self) -> Result<String> {
        let status = self.http()?.get("/v1/status")?;
        let address = status["listen"][0].as_str().context("a daemon listens")?;
        Ok(address.split("/p2p/").next().unwrap_or(address).to_owned())
    }

    /// Its head's index and hash, and its pending records.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn standing(&mut self) -> Result<(Value, u64)> {
        let status = self.http()?.get("/v1/status")?;
        Ok((status["head"].clone(), status["pending_records"].as_u64().context("a number of pending records")?))
    }

    /// Resident memory now, and at its highest, in MiB.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn resident_mib(&self) -> Result<[f64; 2]> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?.as_raw_nonzero()))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a field of /proc")?;
            let kib: f64 = line.trim_end_matches("kB").trim().parse()?;
            Ok(kib / 1_024.0)
        };
        Ok([field("VmRSS:")?, field("VmHWM:")?])
    }

    /// Takes in `count` records from number `from` on, about `subjects` users, in bulk, and mines until none is
    /// pending. Returns how long the bulk requests took.
    ///
    /// # Errors
    /// Where a record is refused.
    pub fn fill(&mut self, from: usize, count: usize, subjects: usize) -> Result<Duration> {
        let mut elapsed = Duration::ZERO;
        let end = from + count;
        let mut next = from;
        while next < end {
            let group = next..end.min(next + BULK_RECORDS);
            next = group.end;
            let lines: Vec<String> = group.clone().map(|number| json_record(number, subjects).to_string()).collect();
            let body = lines.join("\n").into_bytes();
            let http = self.http()?;
            let start = Instant::now();
            let answer = http.post_lines("/v1/records/bulk", &body)?;
            elapsed += start.elapsed();
            let stored = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let refused = stored.clone().find(|line| !line.windows(11).any(|part| part == b"\"record_id\""));
            ensure!(refused.is_none(), "refused: {}", String::from_utf8_lossy(refused.unwrap_or_default()));
            ensure!(stored.count() == group.len(), "an answer for each record");
            self.mine_all()?;
        }
        Ok(elapsed)
    }

    /// Mines until nothing is pending.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn mine_all(&mut self) -> Result<()> {
        while !self.http()?.post("/v1/mine", &json!({}))?.is_null() {}
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = self.pid();
        if let Some(mut child) = self.process.take() {
            // All fail only where it has ended already.
            if let Ok(pid) = pid {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = child.wait();
        }
    }
}
