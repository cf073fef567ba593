//! Damage to any file of a data directory: the daemon heals, or names the damage and what repairs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use qfzz_tests::harness::{Daemon, Dice, Harm, Recipe, alone, copy_dir, files_below, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How often a file is damaged.
const MUTATIONS: usize = 200;

/// Damaged directories that are looked at at once.
const WORKERS: usize = 3;

/// How long anything between daemons may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the station answered before its files were damaged.
struct Before {
    export: String,
    statistics: Value,
    pending: BTreeMap<String, Value>,
}

impl Before {
    fn of(daemon: &Daemon, pending: &[String]) -> Self {
        let api = daemon.api();
        let export = api.try_get("/v1/chain/export").expect("the daemon lives");
        assert_eq!(export.status, 200, "{export:?}");
        let pending = pending.iter().map(|id| (id.clone(), api.get(&format!("/v1/records/{id}"))["record"].clone()));
        Self { export: export.body, statistics: api.get("/v1/chain"), pending: pending.collect() }
    }

    /// What is otherwise now.
    fn differs(&self, daemon: &Daemon) -> Option<String> {
        let ids: Vec<String> = self.pending.keys().cloned().collect();
        for id in &ids {
            let record = daemon.api().try_get(&format!("/v1/records/{id}")).expect("the daemon lives");
            if record.status != 200 || record.json()["status"] != "pending" {
                return Some(format!("{id}: {record:?}"));
            }
        }
        let now = Self::of(daemon, &ids);
        if now.export != self.export {
            return Some(format!("the export has {} bytes, it had {}", now.export.len(), self.export.len()));
        }
        (now.statistics != self.statistics || now.pending != self.pending)
            .then(|| format!("{} {:?}", now.statistics, now.pending))
    }
}

/// A station that goes by `address`, keeps its data in `dir`, and is neither initialised nor started.
fn at(name: &str, dir: &Path, address: Option<&str>) -> Daemon {
    let recipe = Recipe::new(name).at(dir.to_path_buf()).set("network.join", address.unwrap_or_default());
    // For `doctor`, which looks whether the ports are free.
    recipe.set("network.listen", "/ip4/127.0.0.1/tcp/0").set("api.listen", "127.0.0.1:0").prepare()
}

fn record(daemon: &Daemon, number: usize) -> String {
    let name = daemon.name();
    daemon.api().record(&match number % 3 {
        0 => json!({ "kind": "user_action", "user_id": format!("user {}", number % 7), "action": "interaction" }),
        1 => json!({
            "kind": "content_added", "content_id": format!("{name} {number}"), "creator_id": "artist",
            "metadata": { "tags": ["x".repeat(number * 20)] },
        }),
        _ => json!({ "kind": "content_verified", "content_id": format!("{name} {}", number - 1), "creator_id": "artist" }),
    })
}

fn record_many(daemon: &Daemon) {
    let records = (0..120).map(
        |number| json!({ "kind": "user_action", "user_id": format!("one of many {number}"), "action": "interaction" }),
    );
    let lines: String = records.map(|record| format!("{record}\n")).collect();
    let answer = daemon.api().try_post_lines("/v1/records/bulk", &lines).expect("the daemon lives");
    assert_eq!(answer.body.matches("record_id").count(), 120, "{}", answer.body);
}

fn mine(daemon: &Daemon) -> String {
    let block = daemon.api().mine().expect("something is pending");
    block["hash"].as_str().expect("a block has a hash").to_owned()
}

fn agree(stations: &[&Daemon]) {
    wait_for("all have one head", PATIENCE, || {
        let heads: Vec<_> = stations.iter().map(|station| station.api().head()).collect();
        if heads.windows(2).all(|pair| pair[0] == pair[1]) { Ok(()) } else { Err(format!("{heads:?}")) }
    });
}

/// A station with a history: batches of three stations, blocks that lost to others, and own batches that wait. Returned
/// with a peer that has all of it and goes on, the ids that wait, and the station's directory, stopped and killed.
struct History {
    home: TempDir,
    peer: Daemon,
    before: Before,
}

impl History {
    fn make() -> Self {
        let home = TempDir::new().expect("a temporary directory can be made");
        let peer = Recipe::new("peer").found("damage", &[]);
        let address = peer.address();
        let mut victim = Recipe::new("victim").at(home.path().join("live")).join(&address);
        let mut third = Recipe::new("third").join(&address);
        for number in 0..12 {
            for station in [&peer, &victim, &third] {
                record(station, number);
            }
            if number % 2 == 1 {
                mine([&peer, &victim, &third][number / 2 % 3]);
                agree(&[&peer, &victim, &third]);
            }
        }
        let stop = |daemon: &mut Daemon| {
            let (status, _) = daemon.signal(Signal::TERM, Duration::from_secs(5));
            assert_eq!(status.code(), Some(0));
        };
        // Alone it mines two blocks; the others three, which win.
        stop(&mut victim);
        for number in 12..15 {
            record(&peer, number);
            record(&third, number);
            mine(&peer);
        }
        agree(&[&peer, &third]);
        let head = peer.api().head();
        let mut off_air = at("victim", &home.path().join("live"), None);
        fs::rename(home.path().join("live/peers"), home.path().join("peers")).expect("it has met others");
        off_air.start();
        // It founded nothing, so it waits a moment for somebody to tell of its log, and then goes on.
        for number in 12..14 {
            record(&off_air, number);
            mine(&off_air);
        }
        assert!(off_air.api().head().0 + 1 == head.0);
        stop(&mut off_air);
        fs::rename(home.path().join("peers"), home.path().join("live/peers")).expect("an own file");
        victim.start();
        agree(&[&peer, &victim]);
        assert_eq!(victim.api().head(), head, "the longer chain won");
        // More subjects than the view writes at once: it notes them in a file of their own first.
        record_many(&victim);
        mine(&victim);
        agree(&[&peer, &victim, &third]);
        // Blocks that are made at once: one of them ends off the best chain.
        let side = home.path().join("live/side");
        wait_for("a block is kept off the best chain", PATIENCE, || {
            for station in [&victim, &peer] {
                record(station, 15);
            }
            wait_for("both know both", PATIENCE, || {
                let pending = [&victim, &peer].map(|it| it.api().get("/v1/chain")["pending_records"].clone());
                if pending[0] == pending[1] && pending[0] != 0 { Ok(()) } else { Err(format!("{pending:?}")) }
            });
            thread::scope(|scope| {
                for station in [&victim, &peer] {
                    scope.spawn(|| station.api().mine());
                }
            });
            agree(&[&peer, &victim, &third]);
            if files_below(&side).is_empty() { Err("all blocks are on it".to_owned()) } else { Ok(()) }
        });
        let pending: Vec<String> = (18..24).map(|number| record(&victim, number)).collect();
        wait_for("the peer has what waits", PATIENCE, || {
            let missing = pending
                .iter()
                .find(|id| peer.api().try_get(&format!("/v1/records/{id}")).expect("the peer lives").status != 200);
            missing.map_or(Ok(()), |id| Err(id.clone()))
        });
        stop(&mut third);
        let before = Before::of(&victim, &pending);
        // Once as a killed process leaves it, and once as one leaves it that was asked to stop.
        victim.kill();
        copy_dir(&home.path().join("live"), &home.path().join("killed"));
        victim.start();
        assert_eq!(before.differs(&victim), None);
        stop(&mut victim);
        copy_dir(&home.path().join("live"), &home.path().join("stopped"));
        Self { home, peer, before }
    }
}

/// What became of a damaged directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The daemon started, and all was there.
    HealedAlone,
    /// It did with a peer's help.
    HealedWithPeer,
    /// It ended and named `doctor --repair`, after which all was there without anybody's help.
    RepairedAlone,
    /// The repair needed a peer.
    RepairedWithPeer,
    /// Only a copy from elsewhere helps: it ended and said so.
    NeedsBackup,
}

/// What a file is, as the totals name it.
fn class(file: &Path) -> &'static str {
    let text = file.to_str().expect("the names are UTF-8");
    let classes = [
        (".log", "journal/*.log"),
        (".head", "journal/*.head"),
        ("view/db", "view/db"),
        ("view/redo", "view/redo"),
        ("view/conf", "view/conf"),
        ("view/snap", "view/snap.*"),
        ("view/blobs", "view/blobs/*"),
        ("side/", "side/*"),
        ("journal.mark", "journal.mark"),
        ("key.copy", "key.copy"),
        ("key", "key"),
        ("qfzz.toml", "qfzz.toml"),
        ("genesis", "genesis"),
        ("api.token", "api.token"),
        ("api.addr", "api.addr"),
        ("peers", "peers"),
        ("reveal.cache", "reveal.cache"),
        ("lock", "lock"),
    ];
    let found = classes.iter().find(|(part, _)| text.contains(part));
    found.unwrap_or_else(|| panic!("nobody has thought of the file {text}")).1
}

/// One damaged file.
struct Case {
    number: usize,
    base: &'static str,
    file: PathBuf,
    harm: Harm,
    /// Whether a peer can be reached at the first start.
    with_peer: bool,
}

impl Case {
    /// Every file has its turn; of the journal and the view, which are most of the directory, more than that.
    fn draw(number: usize, history: &History, dice: &mut Dice) -> Self {
        let base = if number.is_multiple_of(3) { "killed" } else { "stopped" };
        let dir = history.home.path().join(base);
        let files: Vec<PathBuf> =
            files_below(&dir).into_iter().map(|file| file.strip_prefix(&dir).expect("below it").to_owned()).collect();
        let of = |part: &str| -> Vec<PathBuf> {
            files.iter().filter(|file| class(file).starts_with(part)).cloned().collect()
        };
        let choices = match number % 5 {
            0 | 1 => of("journal/*.log"),
            2 => of("view/"),
            _ => files.clone(),
        };
        let file = match number % 5 {
            // In turn, so that none is left out.
            turn @ (3 | 4) => choices[(number / 5 * 2 + turn - 3) % choices.len()].clone(),
            _ => dice.pick(&choices).clone(),
        };
        loop {
            let length = fs::metadata(dir.join(&file)).expect("it is there").len();
            let harm = Harm::to_file_of(length, dice);
            let whole = fs::read(dir.join(&file)).expect("it is there");
            let mut harmed = whole.clone();
            harm.apply(&mut harmed);
            if harmed != whole {
                // What follows from the journal heals without anybody's help.
                let is_own_affair = ["view/", "side/"].iter().any(|part| class(&file).starts_with(part));
                let with_peer =
                    !is_own_affair && number.is_multiple_of(if class(&file) == "journal/*.log" { 2 } else { 4 });
                return Self { number, base, file, harm, with_peer };
            }
        }
    }

    fn shown(&self) -> String {
        format!(
            "case {} ({}): {} {:?}, peer {}",
            self.number,
            self.base,
            self.file.display(),
            self.harm,
            self.with_peer
        )
    }

    /// Damages a copy, starts, repairs, and looks at what is there.
    fn run(&self, history: &History, one_at_the_peer: &Mutex<()>) -> Outcome {
        let home = TempDir::new().expect("a temporary directory can be made");
        let dir = home.path().join("data");
        let base = history.home.path().join(self.base);
        copy_dir(&base, &dir);
        let path = dir.join(&self.file);
        let mut bytes = fs::read(&path).expect("it is there");
        self.harm.apply(&mut bytes);
        fs::write(&path, bytes).expect("an own file");
        let name = format!("victim {}", self.number);
        // The peer keeps one connection with the station.
        let turn = || one_at_the_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.with_peer {
            let _turn = turn();
            let mut daemon = at(&name, &dir, Some(&history.peer.address()));
            if daemon.try_start().is_ok() {
                self.check(history, &daemon);
                return Outcome::HealedWithPeer;
            }
            return self.repair(history, &daemon, &dir, true);
        }
        let book = dir.join("peers");
        if book.exists() && self.file != Path::new("peers") {
            fs::remove_file(&book).expect("an own file");
        }
        if self.file == Path::new("peers") {
            let _turn = turn();
            return self.run_alone(history, &name, &dir);
        }
        if let Some(outcome) = self.try_alone(history, &name, &dir) {
            return outcome;
        }
        let _turn = turn();
        self.repair(history, &at(&name, &dir, None), &dir, false)
    }

    fn run_alone(&self, history: &History, name: &str, dir: &Path) -> Outcome {
        self.try_alone(history, name, dir).unwrap_or_else(|| panic!("{}: it did not start", self.shown()))
    }

    fn try_alone(&self, history: &History, name: &str, dir: &Path) -> Option<Outcome> {
        let mut daemon = at(name, dir, None);
        if daemon.try_start().is_err() {
            self.says_what_helps(&daemon.said("stderr"));
            return None;
        }
        self.check(history, &daemon);
        daemon.kill();
        if self.number % 8 == 1 {
            daemon.qfzz(&["doctor", "--json"]).exits(0);
        }
        Some(Outcome::HealedAlone)
    }

    /// The daemon did not start: does what it says.
    fn repair(&self, history: &History, daemon: &Daemon, dir: &Path, was_with_peer: bool) -> Outcome {
        let class = class(&self.file);
        if was_with_peer {
            self.says_what_helps(&daemon.said("stderr"));
        }
        assert!(!class.starts_with("view") && !class.starts_with("side"), "{}: it did not heal", self.shown());
        if class == "qfzz.toml" {
            // An operator's own words cannot be made up.
            fs::copy(history.home.path().join(self.base).join(&self.file), dir.join(&self.file)).expect("restored");
            let mut restored = at("restored", dir, Some(&history.peer.address()));
            restored.start();
            self.check(history, &restored);
            return Outcome::NeedsBackup;
        }
        let alone = at("doctor", dir, None).qfzz(&["doctor", "--repair"]);
        assert!(!alone.stderr.contains("panicked"), "{}: {alone:?}", self.shown());
        let (outcome, mut repaired) = if alone.code == Some(0) {
            (Outcome::RepairedAlone, at("repaired", dir, None))
        } else {
            assert!(alone.stdout.contains("PROBLEM") && alone.stdout.contains("remedy"), "{}: {alone:?}", self.shown());
            let helped = at("helped", dir, Some(&history.peer.address()));
            let done = helped.qfzz(&["doctor", "--repair"]);
            assert_eq!(done.code, Some(0), "{}: {done:#?}", self.shown());
            (Outcome::RepairedWithPeer, helped)
        };
        repaired.start();
        self.check(history, &repaired);
        outcome
    }

    fn says_what_helps(&self, said: &str) {
        let helps = match class(&self.file) {
            "qfzz.toml" => "qfzz.toml",
            _ => "doctor --repair",
        };
        assert!(!said.contains("panicked"), "{}: {said}", self.shown());
        assert!(said.contains(helps), "{}: {said}", self.shown());
    }

    /// Demands that a daemon answers as the station did before, and shows no panic.
    fn check(&self, history: &History, daemon: &Daemon) {
        if let Some(difference) = history.before.differs(daemon) {
            panic!("{}: {difference}\n{}", self.shown(), daemon.said("stderr"));
        }
        let said = daemon.said("stderr");
        assert!(!said.contains("panicked"), "{}: {said}", self.shown());
    }
}

#[test]
fn two_hundred_damaged_files_heal_or_are_named_and_repaired() {
    let _turn = alone();
    let mut dice = Dice::from_environment(44);
    let began = Instant::now();
    let history = History::make();
    println!("a history of {} bytes of export in {:?}", history.before.export.len(), began.elapsed());
    let cases: Vec<Case> = (0..MUTATIONS).map(|number| Case::draw(number, &history, &mut dice)).collect();
    let (next, one_at_the_peer) = (AtomicUsize::new(0), Mutex::new(()));
    let totals: Mutex<BTreeMap<(&str, Outcome), usize>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = case.run(&history, &one_at_the_peer);
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    *totals.entry((class(&case.file), outcome)).or_default() += 1;
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    for ((class, outcome), count) in &totals {
        println!("{class:16} {outcome:?}: {count}");
    }
    let sum = |wanted: &[Outcome]| -> usize {
        totals.iter().filter(|((_, outcome), _)| wanted.contains(outcome)).map(|(_, count)| count).sum()
    };
    println!(
        "{MUTATIONS} mutations in {:?}: {} healed alone, {} with a peer reachable, {} repaired alone, {} with a peer, {} need a backup",
        began.elapsed(),
        sum(&[Outcome::HealedAlone]),
        sum(&[Outcome::HealedWithPeer]),
        sum(&[Outcome::RepairedAlone]),
        sum(&[Outcome::RepairedWithPeer]),
        sum(&[Outcome::NeedsBackup]),
    );
    let of_settings: usize =
        totals.iter().filter(|((class, _), _)| *class == "qfzz.toml").map(|(_, count)| count).sum();
    assert!(sum(&[Outcome::NeedsBackup]) <= of_settings);
    assert_eq!(
        sum(&[
            Outcome::HealedAlone,
            Outcome::HealedWithPeer,
            Outcome::RepairedAlone,
            Outcome::RepairedWithPeer,
            Outcome::NeedsBackup
        ]),
        MUTATIONS
    );
}
