//! The provider: keeps a helper running, tests what it draws, and fills the pool ahead.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use super::health::{HealthTest, HealthTests};
use super::pool::{BLOCK_BYTES, LOCAL_CAPACITY, Pool, REMOTE_CAPACITY};
use super::process::{Helper, Package, Stopper, Trouble};
use super::{Target, setup};
use crate::config;
use crate::data_dir::DataDir;

/// How long Python and its package may take to be ready: a small computer with a slow disk. Nobody waits for it.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a draw on the package's simulator may take; 50 ms are usual.
const LOCAL_LIMIT: Duration = Duration::from_secs(10);

/// The same on a target of Azure Quantum, where a job waits in a queue.
const REMOTE_LIMIT: Duration = Duration::from_secs(30 * 60);

/// How long to wait after the first failure, twice as long after each further one, and the longest such wait.
const LOCAL_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));

/// The same on a target of Azure Quantum, where each try may be a job that is paid for.
const REMOTE_PAUSES: (Duration, Duration) = (Duration::from_secs(5 * 60), Duration::from_secs(24 * 3_600));

/// After a helper that drew and ran so long it is the first pause again.
const STEADY: Duration = Duration::from_secs(60);

/// How often to look whether an idle helper still lives, or the Python that was missing has been set up.
const LOOK: Duration = Duration::from_secs(2);

/// Where the random numbers are to come from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether to start a helper at all.
    pub enabled: bool,
    /// The Python to run it with; empty: that of `environment` where it is set up, else `python3`.
    pub python: String,
    /// Where `qfzz quantum setup` makes its virtual environment, if anywhere.
    pub environment: Option<PathBuf>,
    /// Where the Q# runs.
    pub target: Target,
    /// The Q#, at most 32 KiB.
    pub source: String,
}

impl Default for Settings {
    /// Q# as it stands in this program, run by `python3` on the package's simulator.
    fn default() -> Self {
        Self {
            enabled: true,
            python: String::new(),
            environment: None,
            target: Target::default(),
            source: include_str!("qsharp/QRNG.qs").to_owned(),
        }
    }
}

impl Settings {
    /// What is configured for the station in `dir`.
    pub fn of(config: &config::Quantum, dir: &DataDir) -> Self {
        Self {
            enabled: config.enabled,
            python: config.python.clone(),
            environment: Some(dir.quantum_dir()),
            target: config.target.clone(),
            ..Self::default()
        }
    }

    /// The Python to start now.
    fn python(&self) -> String {
        if !self.python.is_empty() {
            return self.python.clone();
        }
        let of_environment = self.environment.as_deref().and_then(setup::python_in);
        of_environment.map_or_else(|| setup::PYTHON.to_owned(), |path| path.to_string_lossy().into_owned())
    }
}

/// What there is to say of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct QuantumStatus {
    /// `microsoft-qdk` where Q# runs and passes the health tests, else `classical-fallback`.
    pub backend: &'static str,
    /// Whether Q# runs and passes the health tests.
    pub available: bool,
    /// The generator that callers have: `qdk-qrng` while there are numbers of Q# to mix in, else `classical-csprng`.
    pub generator: &'static str,
    /// The Python package, `qdk` or `qsharp`; null where none runs.
    pub package: Option<String>,
    /// Its version; null where none runs.
    pub version: Option<String>,
    /// Why Q# does not run, and what helps; null where it does.
    pub reason: Option<String>,
    /// `quantum.enabled`.
    pub enabled: bool,
    /// `quantum.target`.
    pub target: String,
    /// What the target is: `simulator` or `hardware`.
    pub kind: &'static str,
    /// The Python that is started.
    pub python: String,
    /// Bytes that are drawn ahead.
    pub pool_bytes: u64,
    /// Bytes that are drawn ahead at most.
    pub pool_capacity_bytes: u64,
    /// Health tests that the source failed; it is dropped at the first.
    pub health_failures: u64,
}

/// How the source is.
enum Phase {
    /// Nothing is started, for this reason.
    Off(&'static str),
    Starting {
        since: Instant,
    },
    Ready(Package),
    Lost {
        reason: String,
    },
    Dropped(HealthTest),
}

struct State {
    phase: Phase,
    python: String,
    pool: Pool,
    stopping: bool,
    running: Option<Stopper>,
}

struct Shared {
    settings: Settings,
    state: Mutex<State>,
    /// Notified when anything of the state changes.
    changed: Condvar,
}

/// The source of quantum random numbers. Clones are the same one, which ends with the last of them.
#[derive(Clone)]
pub struct QuantumProvider(Arc<Keeper>);

/// Ends the source when it is dropped.
struct Keeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for QuantumProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QuantumProvider").field(&self.status()).finish()
    }
}

impl QuantumProvider {
    /// Starts the source; returns at once. Whatever is wrong with it stands in the status and keeps nobody from anything.
    pub fn start(settings: Settings) -> Self {
        let is_enabled = settings.enabled;
        let state = State {
            phase: if is_enabled {
                Phase::Starting { since: Instant::now() }
            } else {
                Phase::Off("`quantum.enabled` is false")
            },
            python: settings.python(),
            pool: Pool::new(if settings.target.is_local() { LOCAL_CAPACITY } else { REMOTE_CAPACITY }),
            stopping: false,
            running: None,
        };
        let shared = Arc::new(Shared { settings, state: Mutex::new(state), changed: Condvar::new() });
        let mut thread = None;
        if is_enabled {
            let kept = Arc::clone(&shared);
            match std::thread::Builder::new().name("qfzz-quantum".to_owned()).spawn(move || kept.keep()) {
                Ok(started) => thread = Some(started),
                Err(error) => shared.set(Phase::Lost { reason: format!("cannot start a thread: {error}") }),
            }
        }
        Self(Arc::new(Keeper { shared, thread: Mutex::new(thread) }))
    }

    /// One that never starts anything.
    pub fn off() -> Self {
        Self::start(Settings { enabled: false, ..Settings::default() })
    }

    /// How the source is; never waits for it.
    pub fn status(&self) -> QuantumStatus {
        let (state, settings) = (self.0.shared.lock(), &self.0.shared.settings);
        let (package, reason) = match &state.phase {
            Phase::Ready(package) => (Some(package.clone()), None),
            Phase::Off(reason) => (None, Some((*reason).to_owned())),
            Phase::Starting { since } => {
                let seconds = since.elapsed().as_secs_f32();
                let started = format!("`{}` was started {seconds:.1} s ago and is not ready yet", state.python);
                (None, Some(format!("{started}: if it never is, name another with quantum.python")))
            }
            Phase::Lost { reason } => (None, Some(reason.clone())),
            Phase::Dropped(test) => {
                let reason = format!("the source failed {test} and was dropped: restart qfzz to try it again");
                (None, Some(reason))
            }
        };
        let (name, version) = package.map(|package| (package.name, package.version)).unzip();
        QuantumStatus {
            backend: if name.is_some() { "microsoft-qdk" } else { "classical-fallback" },
            available: name.is_some(),
            generator: if state.pool.bytes() > 0 { "qdk-qrng" } else { "classical-csprng" },
            package: name,
            version,
            reason,
            enabled: settings.enabled,
            target: settings.target.to_string(),
            kind: if settings.target.is_hardware() { "hardware" } else { "simulator" },
            python: state.python.clone(),
            pool_bytes: state.pool.bytes() as u64,
            pool_capacity_bytes: state.pool.capacity_bytes() as u64,
            health_failures: u64::from(matches!(state.phase, Phase::Dropped(_))),
        }
    }

    /// The health test that the source failed, once it has.
    pub fn failed_test(&self) -> Option<HealthTest> {
        match self.0.shared.lock().phase {
            Phase::Dropped(test) => Some(test),
            Phase::Off(_) | Phase::Starting { .. } | Phase::Ready(_) | Phase::Lost { .. } => None,
        }
    }

    /// Why a source that was started is neither there nor known not to come; `None` where that is decided.
    pub fn undecided(&self) -> Option<String> {
        let is_starting = matches!(self.0.shared.lock().phase, Phase::Starting { .. });
        if is_starting { self.status().reason } else { None }
    }

    /// Waits until the pool holds `bytes` (at most its capacity), or it is known that it will not, for at most `limit`.
    /// Whether it holds them.
    pub fn wait_for_bytes(&self, bytes: u64, limit: Duration) -> bool {
        let wanted = |state: &State| bytes.min(state.pool.capacity_bytes() as u64);
        let is_undecided = |state: &mut State| {
            let may_come = matches!(state.phase, Phase::Starting { .. } | Phase::Ready(_));
            may_come && (state.pool.bytes() as u64) < wanted(state)
        };
        let waited = self.0.shared.changed.wait_timeout_while(self.0.shared.lock(), limit, is_undecided);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.pool.bytes() > 0 && state.pool.bytes() as u64 >= wanted(&state)
    }

    /// A block of the pool, which nobody else gets; `None` while there is none.
    pub(super) fn take(&self) -> Option<[u8; BLOCK_BYTES]> {
        let block = self.0.shared.lock().pool.take()?;
        self.0.shared.changed.notify_all();
        Some(block)
    }

    /// The process id of the helper, while one runs.
    #[cfg(test)]
    pub(super) fn helper_pid(&self) -> Option<i32> {
        self.0.shared.lock().running.as_ref().map(|running| running.pid().as_raw_pid())
    }

    /// Ends the helper; nothing of it runs when this returns. The status and the generator stay usable.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl Keeper {
    fn stop(&self) {
        {
            let mut state = self.shared.lock();
            state.stopping = true;
            if let Some(running) = state.running.take() {
                running.stop();
            }
        }
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It ends at once, and one that has panicked has told so.
        let _ = thread.map(JoinHandle::join);
    }
}

/// Why a helper is no longer used.
enum End {
    Trouble(Trouble),
    Unhealthy(HealthTest),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        self.lock().phase = phase;
        self.changed.notify_all();
    }

    /// Runs one helper after the other until it is told to stop, or the source fails its tests.
    fn keep(&self) {
        let (first_pause, last_pause) = if self.settings.target.is_local() { LOCAL_PAUSES } else { REMOTE_PAUSES };
        let mut pause = first_pause;
        let mut told = String::new();
        loop {
            let (python, started) = (self.settings.python(), Instant::now());
            let Err(end) = self.run(&python);
            let (was_ready, is_stopping) = {
                let mut state = self.lock();
                // What is left of it is tested, but a source that is gone is not said to be there.
                state.pool.clear();
                state.running = None;
                (matches!(state.phase, Phase::Ready(_)), state.stopping)
            };
            match end {
                End::Trouble(_) if is_stopping => return self.set(Phase::Off("it was stopped")),
                End::Unhealthy(test) => {
                    tracing::warn!(
                        "the quantum source failed {test} and is dropped: random numbers come from the operating system alone"
                    );
                    return self.set(Phase::Dropped(test));
                }
                End::Trouble(trouble) => {
                    let reason = trouble.to_string();
                    if was_ready {
                        tracing::warn!("the quantum source is gone, and will be started again: {reason}");
                    } else if told != reason {
                        tracing::info!("random numbers come from the operating system alone: {reason}");
                    }
                    told.clone_from(&reason);
                    self.set(Phase::Lost { reason });
                }
            }
            if was_ready && started.elapsed() >= STEADY {
                pause = first_pause;
            }
            if !self.wait(pause, &python) {
                return;
            }
            pause = (pause * 2).min(last_pause);
        }
    }

    /// Waits so long, or until another Python than `python` is there; false if it is told to stop.
    fn wait(&self, pause: Duration, python: &str) -> bool {
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(LOOK);
            let waited = self.changed.wait_timeout_while(self.lock(), left, |state| !state.stopping);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.stopping {
                return false;
            }
            drop(state);
            if Instant::now() >= end || self.settings.python() != python {
                return true;
            }
        }
    }

    /// Starts a helper and draws from it as long as that works.
    fn run(&self, python: &str) -> Result<std::convert::Infallible, End> {
        {
            let mut state = self.lock();
            python.clone_into(&mut state.python);
            if !matches!(state.phase, Phase::Lost { .. }) {
                state.phase = Phase::Starting { since: Instant::now() };
            }
        }
        let mut helper = Helper::spawn(python, &self.settings.target)?;
        {
            let mut state = self.lock();
            if state.stopping {
                return Err(Trouble::Stopped.into());
            }
            state.running = Some(helper.stopper());
        }
        let ended = self.draw(&mut helper);
        // Before it is waited for: its process id may be another's after that.
        self.lock().running = None;
        ended
    }

    fn draw(&self, helper: &mut Helper) -> Result<std::convert::Infallible, End> {
        let Settings { target, source, .. } = &self.settings;
        let limit = if target.is_local() { LOCAL_LIMIT } else { REMOTE_LIMIT };
        let package = helper.prepare(source, target, START_LIMIT)?;
        let mut tests = HealthTests::default();
        loop {
            // A whole draw is tested before any of it is used: more than the 1,024 samples that SP 800-90B, 4.3 asks for
            // at a start.
            let raw = helper.draw(limit)?;
            tests.feed(&raw).map_err(End::Unhealthy)?;
            let mut state = self.lock();
            state.pool.add(&raw);
            if !matches!(state.phase, Phase::Ready(_)) {
                tracing::info!("quantum source ready: {} {}, {target}", package.name, package.version);
                state.phase = Phase::Ready(package.clone());
            }
            self.changed.notify_all();
            while !state.stopping && state.pool.room() < REMOTE_CAPACITY {
                (state, _) = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
                if let Some(trouble) = helper.unasked() {
                    return Err(trouble.into());
                }
            }
            if state.stopping {
                return Err(Trouble::Stopped.into());
            }
        }
    }
}
