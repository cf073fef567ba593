//! A look at a data directory, without a daemon: what is wrong, what helps, and doing it where that is asked for.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use qfzz_ledger_core::federation::{Genesis, Rules};
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::limits::MAX_CLOCK_SKEW_MS;
use qfzz_ledger_core::time::Timestamp;
use serde::Serialize;

use super::{NodeError, Shared, mending};
use crate::clock;
use crate::config::{Config, ListenMultiaddr};
use crate::data_dir::{DataDir, DataDirError, LockedDataDir};
use crate::disk_space::{self, RESERVE_BYTES, in_mib};
use crate::identity::Identity;
use crate::quantum::QuantumProvider;
use crate::store::repair::{self, ViewFound};
use crate::store::{DiskStore, Salvage, StoreError};

/// Open files that a station needs: 32 of the journal, a few of sled, and connections.
const MIN_OPEN_FILES: u64 = 1_024;

/// How long a daemon may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// Before this a clock is wrong: the year in which this program was written.
const EARLIEST: &str = "2026-01-01T00:00:00Z";

/// After this a clock is wrong, too.
const LATEST: &str = "2100-01-01T00:00:00Z";

/// What one check found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: &'static str,
    /// Whether it is as it should be.
    pub(crate) ok: bool,
    /// What was found.
    pub(crate) detail: String,
    /// What helps, where something is wrong.
    pub(crate) remedy: Option<String>,
}

/// What all checks found, and what was done.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Checkup {
    /// Whether all is as it should be.
    pub(crate) ok: bool,
    /// The daemon that has the directory.
    pub(crate) daemon: Option<u32>,
    /// Whether the chain does not verify, or could not be verified.
    pub(crate) chain_invalid: bool,
    /// One for each check.
    pub(crate) checks: Vec<Finding>,
    /// What was repaired.
    pub(crate) repaired: Vec<String>,
}

/// What is to be done about what is found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Treatment {
    /// Repair it.
    pub(crate) repair: bool,
    /// Go on without what nobody has any more.
    pub(crate) accept_loss: bool,
}

/// What helps against most.
const REPAIR: &str = "run `qfzz doctor --repair`";
/// What helps where something must come back from another station.
const WITH_A_PEER: &str =
    "make sure that another station can be reached (`network.join`), and run `qfzz doctor --repair`";

impl Checkup {
    fn fine(&mut self, check: &'static str, detail: impl Into<String>) {
        self.checks.push(Finding { check, ok: true, detail: detail.into(), remedy: None });
    }

    fn wrong(&mut self, check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) {
        self.checks.push(Finding { check, ok: false, detail: detail.into(), remedy: Some(remedy.into()) });
    }

    fn did(&mut self, what: impl Into<String>) {
        self.repaired.push(what.into());
    }

    fn end(mut self) -> Self {
        self.ok = self.checks.iter().all(|finding| finding.ok);
        self
    }
}

/// Looks at everything in `dir`. `config` holds the settings, or what is wrong with them.
///
/// # Errors
/// [`NodeError`] where a repair was asked for and a daemon has the directory, or the system refuses.
pub(crate) async fn checkup(
    dir: DataDir,
    config: Result<Config, String>,
    treatment: Treatment,
) -> Result<Checkup, NodeError> {
    let mut checkup = Checkup::default();
    if !dir.path().is_dir() {
        let detail = format!("{} is not there", dir.path().display());
        checkup.wrong("data directory", detail, "make a station with `qfzz init`, or give its --data-dir");
        return Ok(checkup.end());
    }
    let locked = match dir.clone().lock() {
        Ok(locked) => Some(locked),
        Err(error @ DataDirError::InUse { .. }) if treatment.repair => return Err(error.into()),
        Err(DataDirError::InUse { pid, .. }) => {
            checkup.daemon = pid;
            None
        }
        Err(error) => {
            checkup.wrong("lock", error.to_string(), "free some space, and run this as the station's user");
            None
        }
    };
    directory(&dir, treatment, &mut checkup)?;
    let identity = key(&dir, treatment, locked.is_some(), &mut checkup)?;
    match &config {
        Ok(_) => checkup.fine("settings", dir.config_file().display().to_string()),
        Err(why) => checkup.wrong(
            "settings",
            why.trim().replace('\n', "; "),
            format!(
                "mend {}, or restore it from a backup: `qfzz config check` shows what is wrong",
                dir.config_file().display()
            ),
        ),
    }
    token(&dir, treatment, &mut checkup)?;
    let config = config.unwrap_or_default();
    let is_daemon = checkup.daemon.is_some();
    ports(&dir, &config, is_daemon, &mut checkup);
    disk(&dir, &mut checkup);
    open_files(&mut checkup);
    let genesis = genesis(&dir, treatment, &mut checkup)?;
    let newest = match (locked, identity, genesis) {
        (Some(locked), Some(identity), Some(genesis)) => {
            store(locked, config, identity, genesis, treatment, &mut checkup).await?
        }
        (None, _, _) => {
            let detail = "left out: the daemon has the store, and checks what it reads";
            checkup.fine("store", format!("{detail}; stop it to check every byte"));
            None
        }
        (Some(_), _, None) if dir.journal_dir().exists() => {
            checkup.wrong("store", "it cannot be read without the genesis", "restore `genesis` from a backup");
            None
        }
        _ => None,
    };
    time(&dir, newest, &mut checkup);
    Ok(checkup.end())
}

fn directory(dir: &DataDir, treatment: Treatment, checkup: &mut Checkup) -> Result<(), NodeError> {
    let exposed = dir.exposed();
    if treatment.repair && (dir.mode()? & 0o077 != 0 || !exposed.is_empty()) {
        dir.make_private()?;
        checkup.did("the directory and its secret files are open to their owner alone again");
    }
    let mode = dir.mode()?;
    let place = dir.path().display();
    if mode & 0o077 == 0 {
        checkup.fine("data directory", format!("{place}, mode {mode:o}"));
    } else {
        let detail = format!("{place} has mode {mode:o}: others can look into it");
        checkup.wrong("data directory", detail, format!("chmod 700 {place}, or {REPAIR}"));
    }
    for path in dir.exposed() {
        let path = path.display();
        checkup.wrong("secrets", format!("{path} can be read by others"), format!("chmod 600 {path}, or {REPAIR}"));
    }
    Ok(())
}

fn key(
    dir: &DataDir,
    treatment: Treatment,
    is_ours: bool,
    checkup: &mut Checkup,
) -> Result<Option<Identity>, NodeError> {
    let identity = match Identity::load(dir) {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            let remedy = "restore `key` from a backup; if there is none, the station is lost: make another one with \
                          `qfzz init` in an empty directory";
            checkup.wrong("key", "there is none", remedy);
            return Ok(None);
        }
        Err(error) => {
            checkup.wrong("key", error.to_string(), "restore `key` from a backup");
            return Ok(None);
        }
    };
    if treatment.repair && is_ours && Identity::mend(dir)? {
        checkup.did("the key file is written again from its copy");
    }
    let id = identity.station_id();
    if Identity::is_whole(dir) {
        checkup.fine("key", format!("of station {id}"));
    } else {
        checkup.wrong("key", format!("{} is damaged, its copy is whole", dir.key_file().display()), REPAIR);
    }
    Ok(Some(identity))
}

fn token(dir: &DataDir, treatment: Treatment, checkup: &mut Checkup) -> Result<(), NodeError> {
    if treatment.repair && dir.renew_damaged_token()? {
        checkup.did("api.token was damaged: a new one is made");
    }
    if !dir.token_file().exists() {
        checkup.fine("api token", "none yet: the daemon makes one");
        return Ok(());
    }
    match dir.token() {
        Ok(_) => checkup.fine("api token", dir.token_file().display().to_string()),
        Err(error) => checkup.wrong("api token", error.to_string(), REPAIR),
    }
    Ok(())
}

fn ports(dir: &DataDir, config: &Config, is_daemon: bool, checkup: &mut Checkup) {
    let api = config.api.listen.get();
    if is_daemon {
        let Some(told) = dir.read_api_address().ok().flatten() else {
            return checkup.fine("api port", "the daemon starts or stops, and does not answer at the moment");
        };
        let address = told.parse::<SocketAddr>().ok();
        match address.filter(|address| TcpStream::connect_timeout(address, CONNECT).is_ok()) {
            Some(address) => checkup.fine("api port", format!("the daemon answers on {address}")),
            None => checkup.wrong("api port", "the daemon does not answer", "look at its log, and restart it"),
        }
        return;
    }
    match TcpListener::bind(api) {
        Ok(_) => checkup.fine("api port", format!("{api} is free")),
        Err(error) => checkup.wrong(
            "api port",
            format!("{api} cannot be listened on: {error}"),
            "stop what listens there, or set api.listen to another port",
        ),
    }
    for address in &config.network.listen {
        // For a moment.
        let listened = match address {
            ListenMultiaddr::Tcp(socket) => TcpListener::bind(socket).map(drop),
            ListenMultiaddr::Quic(socket) => UdpSocket::bind(socket).map(drop),
        };
        match listened {
            Ok(()) => checkup.fine("libp2p port", format!("{address} is free")),
            Err(error) => checkup.wrong(
                "libp2p port",
                format!("{address} cannot be listened on: {error}"),
                "stop what listens there, or set network.listen to another port",
            ),
        }
    }
}

fn disk(dir: &DataDir, checkup: &mut Checkup) {
    match disk_space::free(dir.path()) {
        Ok(free) if free >= RESERVE_BYTES => checkup.fine("disk", format!("{} free", in_mib(free))),
        Ok(free) => checkup.wrong(
            "disk",
            format!("{} free: a station takes nothing more below {}", in_mib(free), in_mib(RESERVE_BYTES)),
            format!("free some space where {} lies", dir.path().display()),
        ),
        Err(error) => checkup.wrong("disk", format!("its free space is unknown: {error}"), "look at the disk"),
    }
}

fn open_files(checkup: &mut Checkup) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < MIN_OPEN_FILES => checkup.wrong(
            "open files",
            format!("{limit} at most, a station needs {MIN_OPEN_FILES}"),
            "raise the limit: `ulimit -n`, or LimitNOFILE= in the unit",
        ),
        Some(limit) => checkup.fine("open files", format!("{limit} at most")),
        None => checkup.fine("open files", "without limit"),
    }
}

fn genesis(dir: &DataDir, treatment: Treatment, checkup: &mut Checkup) -> Result<Option<Genesis>, NodeError> {
    let (genesis, is_damaged) = match mending::genesis(dir) {
        Ok(Some(found)) => found,
        Ok(None) => {
            checkup.fine("genesis", "none: this station has no federation yet");
            return Ok(None);
        }
        Err(error) => {
            checkup.wrong("genesis", error.to_string(), "restore it from a backup, or move it away and join again");
            return Ok(None);
        }
    };
    let federation = format!("federation {} ({})", genesis.parameters.name, genesis.id());
    if !is_damaged {
        checkup.fine("genesis", federation);
    } else if treatment.repair {
        dir.write_genesis(&genesis.encode())?;
        checkup.did("the genesis file was lost or damaged: written again from the journal");
        checkup.fine("genesis", federation);
    } else {
        checkup.wrong("genesis", "the file is lost or damaged; the journal holds it", REPAIR);
    }
    Ok(Some(genesis))
}

/// Checks the store, and repairs it; the time of its newest block.
async fn store(
    dir: LockedDataDir,
    config: Config,
    identity: Identity,
    genesis: Genesis,
    treatment: Treatment,
    checkup: &mut Checkup,
) -> Result<Option<Timestamp>, NodeError> {
    if !dir.journal_dir().exists() && !repair::remembers(dir.path()) {
        checkup.fine("journal", "none yet");
        return Ok(None);
    }
    let rules = Arc::new(Rules::new(genesis.clone())?);
    let station = identity.station_id();
    let (shared, _failure) = Shared::new(config, dir, identity, QuantumProvider::off());
    let examine = || repair::examine(shared.dir.path(), Arc::clone(&rules), station);
    let (mut salvage, mut view) = match examine() {
        Ok(found) => found,
        Err(error) => {
            checkup.wrong(
                "journal",
                error.to_string(),
                "look at the disk; an entry of an unknown kind needs a newer qfzz",
            );
            return Ok(None);
        }
    };
    let is_pending = |shared: &Shared| !matches!(repair::goal(shared.dir.path()), Ok(None));
    if treatment.repair {
        if !salvage.holes().is_empty() || !salvage.is_complete() && !is_pending(&shared) {
            let repaired = mending::mend(&shared, &genesis)?;
            for hole in &repaired.holes {
                checkup.did(format!("the journal was damaged: {hole}"));
            }
            if let Some(aside) = &repaired.aside {
                let what = "the damaged journal is set aside, with all that was signed in it";
                checkup.did(format!("{what}: {}", aside.display()));
            }
        }
        if is_pending(&shared) {
            match mending::fetch(&shared, genesis.clone()).await {
                Ok(()) => checkup.did("all that this station had is there again"),
                Err(NodeError::Unrepaired { missing }) if treatment.accept_loss => {
                    let given_up = repair::give_up(shared.dir.path(), Arc::clone(&rules), station)?;
                    checkup.did(format!("given up, as asked: {missing}"));
                    if let Some(aside) = given_up.aside {
                        checkup.did(format!("what cannot stand without that is set aside: {}", aside.display()));
                    }
                }
                // What is missing is told below.
                Err(NodeError::Unrepaired { .. }) => {}
                Err(error) => checkup.wrong("repair", error.to_string(), WITH_A_PEER),
            }
        }
        if let Some(what) = open_once(&shared, &rules, station)? {
            checkup.did(what);
        }
        (salvage, view) = examine()?;
    }
    journal(&salvage, is_pending(&shared), checkup);
    own_log(&shared.dir, &salvage, checkup);
    chain(&salvage, checkup)?;
    show_view(&view, checkup);
    side(&shared.dir, &rules, checkup);
    Ok(salvage.head_time()?)
}

/// Opens the store once, which cuts a torn tail, mends headers and makes a damaged view anew; what was done about that.
fn open_once(shared: &Shared, rules: &Arc<Rules>, station: StationId) -> Result<Option<String>, StoreError> {
    match DiskStore::open(shared.dir.path(), Arc::clone(rules), station) {
        Ok((_, opened)) => {
            let rebuilt = opened.set_aside.map(|(path, problem)| {
                format!("the view was damaged ({problem}): set aside in {}, and made anew", path.display())
            });
            let mended = opened.mended.first().map(|file| format!("the header of {file:08}.log is written again"));
            Ok(rebuilt.or(mended))
        }
        // It is told by what follows.
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(error),
    }
}

fn journal(salvage: &Salvage, is_pending: bool, checkup: &mut Checkup) {
    let holes = salvage.holes();
    for hole in holes {
        let remedy = if salvage.is_complete() { REPAIR } else { WITH_A_PEER };
        checkup.wrong("journal", format!("damaged: {hole}"), remedy);
    }
    let (here, expected) = (salvage.here(), salvage.expected());
    if !salvage.is_complete() {
        let has_head = expected.height < here.height || expected.head == here.head;
        let missing = mending::missing(&expected, (has_head, here.height), here.own_next);
        let remedy = format!("{WITH_A_PEER}; or go on without, for good: `qfzz doctor --repair --accept-loss`");
        checkup.wrong("journal", format!("it lacks {missing}"), remedy);
    } else if is_pending {
        checkup.wrong("journal", "a repair of it has not ended", REPAIR);
    } else if holes.is_empty() {
        let (batches, height) = (salvage.batches(), here.height);
        checkup.fine("journal", format!("every entry is as it was written: {batches} batches, height {height}"));
    }
}

fn own_log(dir: &DataDir, salvage: &Salvage, checkup: &mut Checkup) {
    if let Some(other) = salvage.stranger() {
        let detail = format!("the journal holds batches that {other} signed as its own: the key is another station's");
        checkup.wrong("own log", detail, "restore this station's `key` from a backup");
    } else if dir.is_log_unknown() {
        let detail = "nothing is signed before a station known here has told how far this station's log goes";
        checkup.wrong("own log", detail, "start the daemon where another station can be reached");
    } else {
        let (next, pending) = (salvage.here().own_next, salvage.own_pending());
        checkup.fine("own log", format!("{next} batches, {pending} of them wait for a block"));
    }
}

fn chain(salvage: &Salvage, checkup: &mut Checkup) -> Result<(), NodeError> {
    match salvage.verify()? {
        Ok(blocks) if salvage.is_complete() => {
            checkup.fine("chain", format!("{blocks} blocks verify, from genesis to the head"));
        }
        Ok(blocks) => checkup.fine("chain", format!("{blocks} blocks verify, as far as they are there")),
        Err(fault) => {
            checkup.chain_invalid = true;
            checkup.wrong("chain", format!("it does not verify: {fault}"), "restore the journal from a backup");
        }
    }
    Ok(())
}

fn show_view(view: &ViewFound, checkup: &mut Checkup) {
    match view {
        ViewFound::Whole { .. } => checkup.fine("view", "every entry adds up"),
        ViewFound::Missing => checkup.fine("view", "none: it is made from the journal at the next start"),
        ViewFound::Damaged { problem } => {
            checkup.wrong(
                "view",
                problem.clone(),
                format!("none is needed, the next start makes it anew; or {REPAIR}"),
            );
        }
    }
}

fn side(dir: &DataDir, rules: &Rules, checkup: &mut Checkup) {
    match repair::examine_side(dir.path(), rules) {
        Ok((whole, 0)) => checkup.fine("side blocks", format!("{whole} off the best chain")),
        Ok((_, damaged)) => checkup.wrong(
            "side blocks",
            format!("{damaged} of those off the best chain cannot be read"),
            format!("none is needed, the next start drops them; or {REPAIR}"),
        ),
        Err(error) => checkup.wrong("side blocks", error.to_string(), "look at the disk"),
    }
}

fn time(dir: &DataDir, newest: Option<Timestamp>, checkup: &mut Checkup) {
    let now = clock::now();
    let bound = |text: &str| text.parse::<Timestamp>().unwrap_or(now);
    let remedy = "set the computer's clock, and keep it right (NTP)";
    if now < bound(EARLIEST) || now > bound(LATEST) {
        return checkup.wrong("clock", format!("it says {now}"), remedy);
    }
    if let Some(newest) = newest.filter(|newest| *newest > now.saturating_add(MAX_CLOCK_SKEW_MS)) {
        return checkup.wrong("clock", format!("it says {now}, but the newest block is of {newest}"), remedy);
    }
    let written = fs::metadata(dir.journal_dir()).and_then(|data| data.modified());
    if let Ok(ahead) = written.and_then(|at| at.duration_since(SystemTime::now()).map_err(std::io::Error::other))
        && ahead.as_millis() > u128::from(MAX_CLOCK_SKEW_MS.unsigned_abs())
    {
        return checkup.wrong("clock", format!("the journal was written {} s in its future", ahead.as_secs()), remedy);
    }
    checkup.fine("clock", now.to_string());
}
