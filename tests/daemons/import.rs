//! Files taken in by real daemons: our own export, what the original program wrote, and playlists filtered by trust.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use qfzz_node::legacy::parse::parse;
use qfzz_node::legacy::text::dumps;
use qfzz_tests::harness::{Daemon, Recipe, beside_others, wait_for};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Written by the original program; see the README beside them.
const CHAIN: &str = include_str!("../../crates/node/tests/legacy/chain.json");
const LEDGER: &str = include_str!("../../crates/node/tests/legacy/ledger.json");

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(60);

/// Files of one test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).expect("written");
        self.path(name).to_str().expect("UTF-8").to_owned()
    }
}

/// What an import of the file answers, as JSON.
#[track_caller]
fn import(station: &Daemon, file: &str) -> Value {
    station.qfzz(&["--json", "chain", "import", file]).exits(0).json()
}

/// Format, blocks and records of an answer.
fn came_to(imported: &Value) -> (&str, u64, u64) {
    let number = |member: &str| imported[member].as_u64().expect("a number");
    (imported["format"].as_str().expect("a text"), number("blocks"), number("records"))
}

fn pending(station: &Daemon) -> u64 {
    station.api().get("/v1/chain")["pending_records"].as_u64().expect("a number")
}

fn content(station: &Daemon, content: &str, creator: &str) -> Value {
    station.qfzz(&["--json", "trust", "content", content, creator]).exits(0).json()
}

#[test]
fn a_chain_of_the_original_becomes_records_that_say_where_they_come_from() {
    let _turn = beside_others();
    let files = Files::new();
    let mut north = Recipe::new("north").found("Harbour Radio", &[]);
    let source = hex::encode(Sha256::digest(CHAIN));
    let file = files.write("chain.json", CHAIN);

    let imported = import(&north, &file);
    // 5 contents, 4 verifications and 2 reports.
    assert_eq!(came_to(&imported), ("chain", 4, 11), "{imported}");
    assert_eq!(imported["source"], source.as_str());
    let check = |north: &Daemon| {
        for (id, creator, score, block) in [
            ("track_001", "artist_001", 0.9, 1),
            ("track_002", "artist_002", 0.7, 1),
            ("track_003", "artist_001", 0.1, 1),
            ("track_004", "artist_003", 0.633_333, 2),
            ("n\u{e1}m\u{11b}st\u{ed}", "DJ \u{17d}ofie", 1.0, 3),
        ] {
            let found = content(north, id, creator);
            assert_eq!(found["score"].as_f64(), Some(score), "{found}");
            let from = &found["metadata"]["imported"];
            assert_eq!((&from["source"], &from["block"]), (&json!(source), &json!(block)), "{found}");
        }
    };
    check(&north);
    let first = content(&north, "track_001", "artist_001");
    assert_eq!(first["metadata"]["tags"], json!(["original", "licensed"]), "{first}");
    assert_eq!((&first["verifications"], &first["reports"]), (&json!(2), &json!(0)));
    let creator = north.qfzz(&["--json", "trust", "creator", "artist_001"]).exits(0).json();
    assert_eq!(creator["score"], json!(0.5), "{creator}");

    // Again: while it is pending, on the chain, after a restart, and as a file that is only written otherwise.
    assert_eq!(came_to(&import(&north, &file)), ("chain", 4, 0));
    north.qfzz(&["mine"]).exits(0);
    assert_eq!(came_to(&import(&north, &file)), ("chain", 4, 0));
    north.kill();
    north.start();
    let value: Value = serde_json::from_str(CHAIN).expect("JSON");
    let otherwise = files.write("otherwise.json", &value.to_string());
    for file in [&file, &otherwise] {
        let again = north.qfzz(&["chain", "import", file]).exits(0);
        assert!(again.stderr.contains("nothing was added"), "{again:?}");
    }
    // Also where somebody has said something else about such a content meanwhile.
    north.qfzz(&["content", "add", "track_001", "artist_001", "--metadata", "{\"mine\":true}"]).exits(0);
    north.qfzz(&["content", "verify", "track_002", "artist_002"]).exits(0);
    assert_eq!(came_to(&import(&north, &file)), ("chain", 4, 0));
    let chain = north.api().get("/v1/chain");
    assert_eq!((&chain["total_records"], &chain["indexed_records"]), (&json!(11), &json!(5)), "{chain}");
}

#[test]
fn a_station_ledger_of_the_original_is_kept_as_a_document_and_not_as_trust() {
    let _turn = beside_others();
    let files = Files::new();
    let north = Recipe::new("north").found("Harbour Radio", &[]);
    let file = files.write("qfzz_ledger.json", LEDGER);
    let imported = import(&north, &file);
    assert_eq!(came_to(&imported), ("ledger", 4, 1), "{imported}");
    let source = imported["source"].as_str().expect("a hash");
    let document = content(&north, source, "import");
    let about = &document["metadata"]["imported"];
    assert_eq!((&about["events"], &about["source"]), (&json!(3), &json!(source)), "{document}");
    assert_eq!(about["block_hash"], "774af35b9686d6539e07f841201a4288a52981e49085b53b22c2de7f122236ab", "{document}");
    assert_eq!((&document["score"], &document["evidence"]), (&json!(0.5), &json!(0)), "{document}");
    assert_eq!(came_to(&import(&north, &file)), ("ledger", 4, 0));
    assert_eq!(pending(&north), 1);
}

#[test]
fn a_file_that_was_changed_is_refused_whole_at_its_block() {
    let _turn = beside_others();
    let files = Files::new();
    let north = Recipe::new("north").found("Harbour Radio", &[]);
    for (text, from, to, block) in [
        (CHAIN, "\"nonce\": 129", "\"nonce\": 128", 0),
        (CHAIN, "\"trust_score\": 0.7", "\"trust_score\": 0.8", 1),
        (CHAIN, "\"bpm\": 122.5", "\"bpm\": 122.4", 2),
        (CHAIN, "snowman", "snowmen", 3),
        (LEDGER, "GENESIS", "GENESIT", 0),
        (LEDGER, "-3680754532741554151", "-3680754532741554152", 1),
        (LEDGER, "4.5", "4.50000000000001", 3),
    ] {
        assert!(text.contains(from));
        let file = files.write("changed.json", &text.replacen(from, to, 1));
        let refused = north.qfzz(&["chain", "import", &file]).exits(5);
        assert!(refused.stderr.contains(&format!("block {block}: its hash is")), "{refused:?}");
        assert_eq!(pending(&north), 0);
    }
    for (text, why) in [
        ("", "block 0: an array of blocks, which begins with `[`, is expected"),
        ("{}", "block 0: an array of blocks, which begins with `[`, is expected"),
        ("[]", "block 0: the file holds no block"),
        ("[{}]", "block 0: it is no block of a chain"),
        (&CHAIN[..1_000], "block 1: the file breaks off"),
    ] {
        let file = files.write("broken.json", text);
        let refused = north.qfzz(&["chain", "import", &file]).exits(5);
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
    north.qfzz(&["chain", "import", "/nonexistent/chain.json"]).exits(2);
    assert_eq!(north.api().get("/v1/chain")["chain_length"], 1);
}

/// A chain as the original program makes it, of records `(content, verifications, reports)`, some to a block.
fn chain_of(blocks: &[Vec<(String, u64, u64)>]) -> String {
    let mut previous = "0".to_owned();
    let mut made = Vec::new();
    for (index, records) in std::iter::once(&Vec::new()).chain(blocks).enumerate() {
        let records: Vec<Value> = records
            .iter()
            .map(|(content, verifications, reports)| {
                json!({
                    "record_id": format!("{content}_artist_0"), "content_id": content, "creator_id": "artist",
                    "trust_score": 0.25, "verifications": verifications, "reports": reports, "metadata": {},
                    "created_at": "2026-01-25T10:00:00", "updated_at": "2026-01-25T10:00:00",
                })
            })
            .collect();
        let mut block = json!({
            "index": index, "timestamp": "2026-01-25T10:00:00", "records": records, "previous_hash": previous, "nonce": 0,
        });
        let text = dumps(&parse(block.to_string().as_bytes()).expect("JSON"));
        previous = hex::encode(Sha256::digest(text));
        block["hash"] = previous.clone().into();
        made.push(block);
    }
    Value::Array(made).to_string()
}

#[test]
fn of_a_content_that_stands_in_a_chain_twice_the_newest_record_counts() {
    let _turn = beside_others();
    let files = Files::new();
    let north = Recipe::new("north").found("Harbour Radio", &[]);
    let record = |content: &str, verifications, reports| (content.to_owned(), verifications, reports);
    let old = vec![record("twice", 5, 0), record("once", 0, 0)];
    let file = files.write("chain.json", &chain_of(&[old, vec![record("twice", 1, 1)]]));
    assert_eq!(came_to(&import(&north, &file)), ("chain", 3, 4));
    let twice = content(&north, "twice", "artist");
    assert_eq!((&twice["score"], &twice["metadata"]["imported"]["block"]), (&json!(0.5), &json!(2)), "{twice}");
    assert_eq!(content(&north, "once", "artist")["score"], json!(0.25));

    let many = files.write("many.json", &chain_of(&[vec![record("much", 1_000_000, 0)]]));
    let refused = north.qfzz(&["chain", "import", &many]).exits(5);
    assert!(refused.stderr.contains("block 1: with record 0 the file makes more than 1000000 records"), "{refused:?}");
}

#[test]
fn an_import_that_was_cut_off_goes_on_where_it_was() {
    let _turn = beside_others();
    let files = Files::new();
    let mut north = Recipe::new("north").found("Harbour Radio", &[]);
    let blocks: Vec<Vec<_>> =
        (0..100).map(|block| (0..100).map(|track| (format!("track_{block}_{track}"), 3, 1)).collect()).collect();
    let file = files.write("chain.json", &chain_of(&blocks));
    let mut cuts = 0;
    for _ in 0..3 {
        let before = pending(&north);
        let mut command = north.command();
        let mut importing = command.args(["chain", "import", &file]).spawn().expect("started");
        wait_for("it has begun or ended", PATIENCE, || {
            let has_begun = pending(&north) > before || importing.try_wait().expect("a child").is_some();
            if has_begun { Ok(()) } else { Err("no record yet".to_owned()) }
        });
        north.kill();
        let _ = importing.wait().expect("it ends");
        north.start();
        cuts += u32::from((before + 1..50_000).contains(&pending(&north)));
    }
    assert!(cuts > 0, "it was cut off in the middle at least once");
    let stored = pending(&north);
    let imported = import(&north, &file);
    assert_eq!(came_to(&imported), ("chain", 101, 50_000 - stored), "{stored} were stored: {imported}");
    assert_eq!(pending(&north), 50_000);
    for track in ["track_0_0", "track_41_99", "track_99_99"] {
        let found = content(&north, track, "artist");
        assert_eq!((&found["verifications"], &found["reports"]), (&json!(3), &json!(1)), "{found}");
    }
    assert_eq!(came_to(&import(&north, &file)), ("chain", 101, 0));
}

/// A station with some blocks, and its export.
fn exported(files: &Files) -> (Daemon, String) {
    let north = Recipe::new("north").found("Harbour Radio", &[]);
    import(&north, &files.write("legacy.json", CHAIN));
    north.qfzz(&["mine"]).exits(0);
    north.qfzz(&["record", "user_001", "interaction", "--target", "dj \"\u{2603}\""]).exits(0);
    north.qfzz(&["record", "user_001", "rating"]).exits(0);
    north.qfzz(&["mine"]).exits(0);
    north.qfzz(&["content", "report", "track_002", "artist_002"]).exits(0);
    let file = files.write("dataset.csv", "1,2,3\n");
    let named = ["--id", "ds_001", "--name", "OpenMusic", "--license", "CC-BY-4.0", "--quality", "0.9"];
    north.qfzz(&[&["dataset", "register", &file][..], &named].concat()).exits(0);
    north.qfzz(&["dataset", "rate", "ds_001", "0.8", "--user", "user_001"]).exits(0);
    north.qfzz(&["mine"]).exits(0);
    let export = files.path("export.json").to_str().expect("UTF-8").to_owned();
    north.qfzz(&["chain", "export", &export]).exits(0);
    (north, export)
}

/// What a program reads of the chain and of trust.
fn reads(station: &Daemon) -> Vec<Value> {
    let mut reads = vec![station.api().get("/v1/chain/blocks"), station.api().get("/v1/chain")];
    reads.extend(["track_001 artist_001", "track_002 artist_002"].map(|place| {
        let (id, creator) = place.split_once(' ').expect("two");
        content(station, id, creator)
    }));
    reads.extend(["/v1/trust/users/user_001", "/v1/datasets/ds_001"].map(|path| station.api().get(path)));
    reads
}

#[test]
fn an_export_becomes_the_chain_of_a_station_that_has_none() {
    let _turn = beside_others();
    let files = Files::new();
    let (north, export) = exported(&files);
    let records = north.api().get("/v1/chain")["total_records"].as_u64().expect("a number");

    // One that founded a federation because none was named, and one that has none as it cannot reach whom it should join.
    let mut south = Recipe::new("south").prepare();
    south.start();
    let mut west = Recipe::new("west").join("/ip4/127.0.0.1/tcp/1");
    for (station, what) in [(&mut south, "a new one"), (&mut west, "one without a federation")] {
        let imported = import(station, &export);
        assert_eq!(came_to(&imported), ("export", 4, records), "{what}: {imported}");
        assert_eq!(station.api().get("/v1/status")["federation"], "Harbour Radio", "{what}");
        assert_eq!(station.api().head(), north.api().head(), "{what}");
        assert_eq!(reads(station), reads(&north), "{what}");
        station.qfzz(&["chain", "verify"]).exits(0);
        let again = files.path("again.json").to_str().expect("UTF-8").to_owned();
        station.qfzz(&["chain", "export", &again]).exits(0);
        assert!(fs::read(&again).expect("read") == fs::read(&export).expect("read"), "{what}: the same export");
        assert!(!station.data_dir().join("importing").exists(), "{what}");
        // It stays so, and once more is nothing new.
        station.kill();
        // The store is whole; that its own log may go on elsewhere is all that is wrong with it.
        let checked = station.qfzz(&["doctor"]).exits(1).stdout;
        assert!(checked.matches("PROBLEM").count() == 1 && checked.contains("PROBLEM  own log"), "{checked}");
        assert!(checked.contains("3 blocks verify") && checked.contains("every entry adds up"), "{checked}");
        station.start();
        assert_eq!(reads(station), reads(&north), "{what}");
        assert_eq!(came_to(&import(station, &export)), ("export", 4, 0), "{what}");
    }

    // It knows nothing of its own log until a peer has told of it; then it is a station like any other.
    let refused = south.api().try_post("/v1/mine", &json!({})).expect("it lives");
    assert!(refused.status == 204 || refused.body.contains("log_unknown"), "{refused:?}");
    south.qfzz(&["join", &north.address()]).exits(0);
    south.qfzz(&["record", "user_002", "rating"]).exits(0);
    wait_for("north hears of it", PATIENCE, || {
        let user = north.api().get("/v1/trust/users/user_002");
        if user["score"] == json!(0.53) { Ok(()) } else { Err(user.to_string()) }
    });
}

#[test]
fn an_export_is_taken_in_whole_or_not_at_all_and_only_by_an_empty_station() {
    let _turn = beside_others();
    let files = Files::new();
    let (north, export) = exported(&files);
    let text = fs::read_to_string(&export).expect("read");
    let blocks: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let mut south = Recipe::new("south").prepare();
    south.start();
    let before = south.api().get("/v1/status")["federation_id"].clone();
    let refused = |blocks: &[Value], block: u64| {
        let file = files.write("changed.json", &Value::Array(blocks.to_vec()).to_string());
        let refused = south.qfzz(&["chain", "import", &file]).exits(5);
        assert!(refused.stderr.contains(&format!("block {block}: ")), "at block {block}: {refused:?}");
        assert!(!south.data_dir().join("importing").exists());
    };
    // What is shown counts as much as the bytes that it stands for.
    for (pointer, block) in [
        ("/0/genesis", 0),
        ("/0/header", 0),
        ("/0/timestamp", 0),
        ("/1/header", 1),
        ("/1/seal", 1),
        ("/1/hash", 1),
        ("/1/batches/0", 1),
        ("/1/records/0/content_id", 1),
        ("/1/records/0/metadata/imported/source", 1),
        ("/2/records/1/trust_delta", 2),
        ("/2/records/0/user_id", 2),
        ("/2/records/0/seen", 2),
        ("/3/nonce", 3),
        ("/3/previous_hash", 3),
        ("/3/body_bytes", 3),
    ] {
        let mut changed = Value::Array(blocks.clone());
        let value = changed.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}"));
        *value = match &*value {
            Value::String(text) => {
                // Another digit in the middle, so that hex stays hex.
                let mut text = text.clone().into_bytes();
                let middle = text.len() / 2;
                text[middle] = if text[middle] == b'7' { b'3' } else { b'7' };
                String::from_utf8(text).expect("ASCII").into()
            }
            Value::Number(number) if number.is_f64() => json!(0.02),
            Value::Number(number) => json!(number.as_u64().expect("a whole number") ^ 1),
            other => panic!("{other}"),
        };
        let Value::Array(changed) = changed else { panic!("an array") };
        refused(&changed, block);
    }
    refused(&blocks[1..], 0);
    refused(&[&blocks[..2], &blocks[3..]].concat(), 2);
    refused(&[&blocks[..3], &blocks[2..]].concat(), 3);
    refused(&[&blocks[..], &[json!({})]].concat(), 4);
    assert_eq!(south.api().get("/v1/status")["federation_id"], before);
    assert_eq!(south.api().get("/v1/chain")["chain_length"], 1);

    // A part from the beginning is a chain, too; then it is not empty any more.
    let part = files.write("part.json", &Value::Array(blocks[..3].to_vec()).to_string());
    assert_eq!(came_to(&import(&south, &part)), ("export", 3, 13));
    let more = south.qfzz(&["chain", "import", &export]).exits(1);
    assert!(
        more.stderr.contains("this station has blocks or records of its own") && more.stderr.contains("not_empty"),
        "{more:?}"
    );
    let east = Recipe::new("east").found("Mountain Radio", &[]);
    let other = east.qfzz(&["chain", "import", &export]).exits(1);
    assert!(other.stderr.contains("Mountain Radio") && other.stderr.contains("Harbour Radio"), "{other:?}");
    drop(north);
}

#[test]
fn a_playlist_is_filtered_by_trust() {
    let _turn = beside_others();
    let files = Files::new();
    let north = Recipe::new("north").found("Harbour Radio", &[]);
    import(&north, &files.write("chain.json", CHAIN));
    let playlist = files.write(
        "playlist.jsonl",
        "{\"content_id\":\"track_001\",\"creator_id\":\"artist_001\",\"title\":\"Song 1\",\"gain\":-1.50}\n\
         {\"content_id\":\"track_002\",\"creator_id\":\"artist_002\"}\n\
         \n\
         nonsense\n\
         {\"content_id\":\"track_003\"}\n\
         {\"content_id\":\"unknown\",\"creator_id\":\"unknown\",\"trust_score\":1}\n",
    );
    let high = north.qfzz(&["trust", "filter", &playlist, "--at-least", "0.75"]).exits(1);
    let expected = "{\"content_id\":\"track_001\",\"creator_id\":\"artist_001\",\"gain\":-1.50,\"title\":\"Song 1\",\"trust_score\":0.9}\n";
    assert_eq!(high.stdout, expected);
    assert!(
        high.stderr.contains("line 4: this is not JSON") && high.stderr.contains("line 5: `creator_id` is missing"),
        "{high:?}"
    );
    assert!(high.stderr.contains("2 of 5 lines could not be read"), "{high:?}");

    // 1,000 lines, more than one chunk of the daemon's, in their order.
    let many: String = (0..1_000)
        .map(|number| {
            let track =
                if number % 2 == 0 { "track_001\",\"creator_id\":\"artist_001" } else { "x\",\"creator_id\":\"y" };
            format!("{{\"content_id\":\"{track}\",\"number\":{number}}}\n")
        })
        .collect();
    let passed = north.qfzz_reading(&["--json", "trust", "filter", "-", "--at-least", "0.6"], &many).exits(0).json();
    let numbers: Vec<u64> =
        passed.as_array().expect("an array").iter().map(|line| line["number"].as_u64().expect("it")).collect();
    assert_eq!(numbers, (0..1_000).step_by(2).collect::<Vec<_>>());
    let all = north.qfzz_reading(&["trust", "filter", "-", "--at-least", "0.5"], &many).exits(0);
    assert_eq!(all.stdout.lines().count(), 1_000);
    assert_eq!(
        north.qfzz_reading(&["--json", "trust", "filter", "-", "--at-least", "1"], &many).exits(0).json(),
        json!([])
    );

    let answer = north.api().try_post_lines("/v1/trust/filter?at_least=0.9", &many[..many.find('\n').expect("a line")]);
    let line: Value = answer.expect("it lives").json();
    assert_eq!((&line["trust_score"], &line["number"]), (&json!(0.9), &json!(0)), "{line}");
    for query in ["", "?at_least=2", "?at_least=x", "?at_least=0.5&x=1"] {
        let refused = north.api().try_post_lines(&format!("/v1/trust/filter{query}"), "").expect("it lives");
        assert_eq!(refused.status, 400, "{query}: {refused:?}");
    }
}
