use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::text::show_duration;
use super::*;

const NOTHING: [(OsString, OsString); 0] = [];

struct Dir {
    dir: tempfile::TempDir,
}

impl Dir {
    fn with(toml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("qfzz.toml"), toml).expect("written");
        Self { dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("qfzz.toml")
    }
}

fn variables<const N: usize>(pairs: [(&str, &str); N]) -> [(OsString, OsString); N] {
    pairs.map(|(name, value)| (name.into(), value.into()))
}

fn example() -> &'static str {
    include_str!("../../../../config/qfzz.example.toml")
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    let dir = Dir::with(example());
    let loaded = Config::load(&dir.file(), NOTHING, &[]).expect("the example is right");
    assert_eq!(loaded.config, Config::default());
    let unset: Vec<_> = loaded.origins.iter().filter(|(_, origin)| *origin == "default").collect();
    assert!(unset.is_empty(), "not in the example: {unset:?}");
}

#[test]
fn every_key_of_the_example_has_a_line_of_why() {
    let mut before = "";
    for line in example().lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(before.starts_with("# "), "no comment before {line}");
        }
        before = line;
    }
}

#[test]
fn without_a_file_everything_has_its_default() {
    let loaded = Config::load(Path::new("/nonexistent/qfzz.toml"), NOTHING, &[]).expect("defaults");
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.config.api.listen.get().to_string(), "127.0.0.1:4810");
    assert_eq!(loaded.config.mining.interval, Duration::from_secs(3600));
    assert!(loaded.origins.values().all(|origin| origin == "default"));
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let dir = Dir::with("[api]\nlisten = '127.0.0.1:1'\n[mining]\nrecords = 7\ninterval = '1h30m'\n");
    let environment = variables([("QFZZ_API_LISTEN", "127.0.0.1:2"), ("QFZZ_MINING_RECORDS", "8")]);
    let flag = Flag { flag: "--api-listen", key: "api.listen", text: "127.0.0.1:3".to_owned() };
    let loaded = Config::load(&dir.file(), environment, &[flag]).expect("right");
    assert_eq!(loaded.config.api.listen.get().port(), 3);
    assert_eq!(loaded.config.mining.records.get(), 8);
    assert_eq!(loaded.config.mining.interval, Duration::from_secs(5400));
    assert_eq!(loaded.origins["api.listen"], "--api-listen");
    assert_eq!(loaded.origins["mining.records"], "QFZZ_MINING_RECORDS");
    assert_eq!(loaded.origins["mining.interval"], dir.file().display().to_string());
    assert_eq!(loaded.origins["sync.interval"], "default");
}

#[test]
fn the_environment_holds_lists_truths_and_names_that_look_like_numbers() {
    let environment = variables([
        ("QFZZ_NETWORK_LISTEN", "/ip4/127.0.0.1/tcp/0, /ip4/127.0.0.1/udp/0/quic-v1"),
        ("QFZZ_MINING_ENABLED", "false"),
        ("QFZZ_STATION_NAME", "12345"),
        ("QFZZ_API", "http://127.0.0.1:9"),
        ("QFZZ_DATA_DIR", "/x"),
        ("QFZZ_ACCEPTANCE_RUN", "of another program"),
    ]);
    let config = Config::load(Path::new("/nonexistent"), environment, &[]).expect("right").config;
    assert_eq!(config.network.listen.len(), 2);
    assert!(!config.mining.enabled);
    assert_eq!(config.station.name.as_str(), "12345");
}

#[test]
fn every_mistake_of_every_source_is_reported_with_its_origin_and_the_nearest_key() {
    let dir = Dir::with(concat!(
        "surprise = 1\nsync = 5\n[api]\nlisen = '127.0.0.1:1'\nlisten = 'localhost'\n",
        "[mining]\ninterval = 60\nrecords = 0\n[netwrk]\nlisten = []\n[log.level]\nroot = 'info'\n[verify]\nfolders = ['music']\n",
    ));
    let environment = variables([("QFZZ_MINING_SLOTT", "2s"), ("QFZZ_TRUST_POLICY", "loudest")]);
    let error = Config::load(&dir.file(), environment, &[]).expect_err("wrong");
    let lines: BTreeSet<String> = error.problems.iter().map(ToString::to_string).collect();
    let file = dir.file().display().to_string();
    let expected = [
        format!("{file}: `surprise` is no key of this version"),
        format!("{file}: `api.lisen` is no key of this version: did you mean `api.listen`?"),
        format!("{file}: `netwrk.listen` is no key of this version: did you mean `network.listen`?"),
        "environment: `QFZZ_MINING_SLOTT` is no key of this version: did you mean `QFZZ_MINING_SLOT`?".to_owned(),
        format!("{file}: `api.listen`: `localhost` is not ADDRESS:PORT, such as 127.0.0.1:4810"),
        format!("{file}: `mining.records`: `0` is not a whole number from 1 to 4294967295"),
        "QFZZ_TRUST_POLICY: `trust.policy`: `loudest` is unknown: give anchored, eigentrust, median or mean".to_owned(),
    ];
    for line in expected {
        assert!(lines.contains(&line), "missing: {line}\nin: {lines:#?}");
    }
    for key in [
        "`verify.folders`: `music` is not an absolute path: begin it with /",
        "`mining.interval`: `60` is not a duration",
        "`log.level`:",
        "`sync`:",
    ] {
        assert!(lines.iter().any(|line| line.contains(key)), "missing: {key}\nin: {lines:#?}");
    }
    assert_eq!(lines.len(), 11, "{lines:#?}");
}

#[test]
fn what_may_have_been_meant_is_looked_for_in_the_same_section_first() {
    let meant = |toml: &str| {
        let error = Config::load(&Dir::with(toml).file(), NOTHING, &[]).expect_err("wrong").to_string();
        error.rsplit(" is no key of this version").next().expect("a part").to_owned()
    };
    for (toml, expected) in [
        ("[mining]\nintervall = '1h'", ": did you mean `mining.interval`?"),
        ("[log]\nlvl = 'info'", ": did you mean `log.level`?"),
        ("[sync]\nintreval = '1h'", ": did you mean `sync.interval`?"),
        ("[minning]\ninterval = '1h'", ": did you mean `mining.interval`?"),
        ("[station]\nlisten = []", ": did you mean `api.listen`?"),
        ("lisen = []", ": did you mean `api.listen`?"),
        ("[api]\nport = 4810", ": its section has api.hosts, api.listen"),
        ("[radio]\nvolume = 11", ""),
    ] {
        assert_eq!(meant(toml), expected, "{toml}");
    }
}

#[test]
fn thresholds_are_scores_from_a_file_as_from_a_variable() {
    let dir = Dir::with("[trust]\nsubmit_threshold = 0.4\ncommunity_threshold = 1\n");
    let environment = variables([("QFZZ_TRUST_SUBMIT_THRESHOLD", "0.25")]);
    let trust = |environment| Config::load(&dir.file(), environment, &[]).expect("right").config.trust;
    let score = |text: &str| text.parse::<Score>().expect("a score");
    assert_eq!(trust(Vec::new()).submit_threshold, score("0.4"));
    assert_eq!(trust(environment.to_vec()).submit_threshold, score("0.25"));
    assert_eq!(trust(Vec::new()).community_threshold, Score::ONE);
    assert_eq!(serde_json::to_value(trust(Vec::new())).expect("JSON")["submit_threshold"], serde_json::json!(0.4));
    let wrong = Config::load(&Dir::with("[trust]\nsubmit_threshold = 1.2\n").file(), NOTHING, &[]).expect_err("wrong");
    assert!(wrong.to_string().contains("`trust.submit_threshold`: `1.2` is out of range"), "{wrong}");
}

#[test]
fn where_random_numbers_come_from_is_set_as_text_and_checked() {
    let quantum = |toml: &str| Config::load(&Dir::with(toml).file(), NOTHING, &[]).map(|loaded| loaded.config.quantum);
    assert_eq!(quantum("").expect("right"), Quantum::default());
    let set = quantum("[quantum]\nenabled = false\npython = '/opt/py/bin/python'\ntarget = 'ionq.qpu.forte-1'\n");
    let set = set.expect("right");
    assert_eq!((set.enabled, set.python.as_str()), (false, "/opt/py/bin/python"));
    assert!(set.target.is_hardware() && !set.target.is_local());
    for wrong in ["", "qpu", "a b.c", "x.\\u0000"] {
        let error = quantum(&format!("[quantum]\ntarget = \"{wrong}\"\n")).expect_err("no target").to_string();
        assert!(error.contains("give simulator, or an Azure Quantum target"), "{wrong}: {error}");
    }
}

#[test]
fn what_answers_without_a_person_is_set_as_folders_and_a_command() {
    let verify = |toml: &str| Config::load(&Dir::with(toml).file(), NOTHING, &[]).map(|loaded| loaded.config.verify);
    let set = verify(
        "[verify]
folders = ['/srv/music', '/media']
command = 'check --strict'
timeout = '5s'
",
    );
    let set = set.expect("right");
    assert_eq!(
        set.folders.iter().map(Folder::as_path).collect::<Vec<_>>(),
        [Path::new("/srv/music"), Path::new("/media")]
    );
    assert_eq!((set.command.as_str(), set.timeout), ("check --strict", Duration::from_secs(5)));
    let error = verify(
        "[verify]
folders = ['music']
",
    )
    .expect_err("relative")
    .to_string();
    assert!(error.contains("`verify.folders`") && error.contains("begin it with /"), "{error}");
}

#[test]
fn a_variable_without_use_is_named_as_an_error_if_it_is_nearly_one_of_ours() {
    let load = |name: &str| Config::load(Path::new("/nonexistent"), variables([(name, "1")]), &[]);
    for (name, meant) in [
        ("QFZZ_APIX", "QFZZ_API"),
        ("QFZZ_DATADIR", "QFZZ_DATA_DIR"),
        ("QFZZ_STATON_NAME", "QFZZ_STATION_NAME"),
        ("QFZZ_MINING_ENABLE", "QFZZ_MINING_ENABLED"),
    ] {
        let error = load(name).expect_err("wrong").to_string();
        assert_eq!(error, format!("environment: `{name}` is no key of this version: did you mean `{meant}`?"));
    }
    for name in ["QFZZ_BIN", "QFZZ_RATINGS", "QFZZ_ACCEPTANCE_RUN"] {
        assert_eq!(load(name).expect("of another program").unused, [name]);
    }
}

#[test]
fn broken_toml_is_reported_with_its_place() {
    let dir = Dir::with("[api\nlisten = 1\n");
    let error = Config::load(&dir.file(), NOTHING, &[]).expect_err("broken").to_string();
    assert!(error.starts_with(&dir.file().display().to_string()) && error.contains("line 1"), "{error}");
}

#[test]
fn durations_are_read_as_they_are_shown() {
    for text in ["0s", "1ms", "500ms", "2s", "1m30s", "1h", "1d", "366d"] {
        assert_eq!(parse_duration(text).map(show_duration), Ok(text.to_owned()));
    }
    assert_eq!(parse_duration("90s"), parse_duration("1m30s"));
    for wrong in ["", "5", "s", "1.5h", "-1s", "1 h", "1h 5m", "1w", "é", "1é"] {
        assert_eq!(parse_duration(wrong), Err(DurationError::NotADuration), "{wrong}");
    }
    for long in ["367d", "99999999999999999999s", "18446744073709551615d", "366d1ms"] {
        assert_eq!(parse_duration(long), Err(DurationError::TooLong), "{long}");
    }
}
