//! Cross-checking on real daemons: records are drawn, and answered by a file, by a program, by a person, or not at all;
//! and what jurors do that nobody asked for changes no score.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use qfzz_tests::harness::{
    Daemon, Recipe, beside_others, found_together, synced, wait_for, wait_for_one_head, wait_for_record,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const PATIENCE: Duration = Duration::from_secs(40);

/// Blocks in which an answer counts.
const DUTY_BLOCKS: u64 = 1_024;

/// What the registered bytes of every dataset here are.
const BYTES: &[u8] = b"some music";

/// Four founders, so that the three who did not write a record are all drawn to check it, and a newcomer, who weighs
/// nothing. Only the author mines.
struct Federation {
    author: Daemon,
    /// Has the datasets' bytes in a folder.
    archive: Daemon,
    /// Runs a program.
    studio: Daemon,
    /// Is a person.
    person: Daemon,
    newcomer: Daemon,
    home: tempfile::TempDir,
}

/// A program that agrees, contests what is `bad`, says nothing of what is `silent`, and keeps what it is told.
fn checker(home: &Path) -> String {
    let (path, kept) = (home.join("check"), home.display());
    let text = format!(
        "#!/bin/sh\nquestion=$(cat)\nprintf '%s\\n' \"$question\" >> {kept}/asked\nenv > {kept}/environment\n\
         case $question in *'\"silent'*) echo never heard of it >&2; exit 3;; *'\"bad'*) exit 1;; *) exit 0;; esac\n"
    );
    fs::write(&path, text).expect("a directory of one's own can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of one's own");
    path.display().to_string()
}

impl Federation {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let music = home.path().join("music");
        fs::create_dir(&music).expect("a directory of one's own can be written");
        fs::write(music.join("ds.tar"), BYTES).expect("a directory of one's own can be written");
        let music = music.display().to_string();
        let recipes = [
            Recipe::new("archive").set("verify.folders", &music).set("verify.interval", "1s"),
            Recipe::new("studio").set("verify.command", &checker(home.path())).set("verify.timeout", "10s"),
            Recipe::new("person"),
        ];
        let (author, founders) = found_together(Recipe::new("author"), recipes.into(), "jury", &[]);
        let newcomer = Recipe::new("newcomer").join(&author.address());
        wait_for("the newcomer caught up", PATIENCE, || synced(&newcomer));
        let [archive, studio, person] = founders.try_into().unwrap_or_else(|_| panic!("three were named"));
        Self { author, archive, studio, person, newcomer, home }
    }

    fn all(&self) -> [&Daemon; 5] {
        [&self.author, &self.archive, &self.studio, &self.person, &self.newcomer]
    }

    /// Records of the author in one block, which all have; their ids.
    fn says(&self, records: &[Value]) -> Vec<String> {
        let lines: Vec<String> = records.iter().map(Value::to_string).collect();
        let answer = self.author.api().try_post_lines("/v1/records/bulk", &lines.join("\n")).expect("it answers");
        let ids = answer.body.lines().map(|line| {
            let told: Value = serde_json::from_str(line).expect("JSON");
            told["record_id"].as_str().unwrap_or_else(|| panic!("refused: {line}")).to_owned()
        });
        let ids = ids.collect();
        self.mine();
        ids
    }

    fn mine(&self) {
        self.author.api().mine().expect("something is pending");
        wait_for_one_head(&self.all());
    }

    /// A block that says nothing that anybody could check.
    fn mine_nothing(&self, number: u32) {
        self.says(&[json!({"kind": "content_added", "content_id": format!("n{number}"), "creator_id": "nobody"})]);
    }

    /// Mines until the daemon's answers about these records are on the chain.
    fn settle(&self, juror: &Daemon, records: &[&String]) {
        wait_for(&format!("{} has answered", juror.name()), PATIENCE, || {
            // What arrived at the author; what did not, the next time.
            self.author.api().mine();
            let duties = juror.api().get("/v1/duties");
            let is_done = |id: &&String| {
                duty_of(&duties, id).is_some_and(|duty| duty["answered"] == true && duty["pending"] == false)
            };
            if records.iter().all(is_done) { Ok(()) } else { Err(duties.to_string()) }
        });
        wait_for_one_head(&self.all());
    }

    /// What all believe of some subjects, as far as it is no matter of the head; the same everywhere.
    fn beliefs(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        let contents = ["good", "bad", "silent", "late"].map(|it| format!("kind=content&id={it}&creator_id=maker"));
        let others = ["kind=dataset&id=ds", "kind=dataset&id=other", "kind=user&id=user_001"].map(str::to_owned);
        for query in contents.into_iter().chain(others) {
            let path = format!("/v1/trust/global?{query}");
            let shown = self.all().map(|daemon| {
                let answer = daemon.api().get(&path);
                let weigh = |it: &Value| json!([it["station_id"], it["score"], it["weight"], it["why"]]);
                let stations: Vec<Value> = answer["stations"].as_array().expect("an array").iter().map(weigh).collect();
                json!([answer["score"], answer["coverage"], answer["confidence"], answer["jury"], stations])
            });
            assert!(shown.iter().all(|it| *it == shown[0]), "{path}: {shown:?}");
            all.insert(query, shown[0].clone());
        }
        all
    }
}

fn duty_of<'a>(duties: &'a Value, id: &str) -> Option<&'a Value> {
    duties.as_array().expect("an array").iter().find(|duty| duty["record_id"] == *id)
}

fn content(kind: &str, content_id: &str) -> Value {
    json!({"kind": kind, "content_id": content_id, "creator_id": "maker"})
}

/// Claims about one content: each pays for draws, and only one of them is drawn.
fn paying(count: usize) -> Vec<Value> {
    vec![content("content_verified", "filler"); count]
}

/// The answers in testimonies about a record, by station, in the order of the chain.
fn testimonies(daemon: &Daemon, id: &str) -> Vec<(String, String)> {
    let blocks = daemon.api().blocks(1);
    let records = blocks.iter().flat_map(|block| block["records"].as_array().expect("an array"));
    let about = records.filter(|record| record["kind"] == "testimony" && record["about_id"] == *id);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    about.map(|record| (text(&record["station_id"]), text(&record["answer"]))).collect()
}

#[track_caller]
fn refused(daemon: &Daemon, body: &Value) -> (u16, String) {
    let answer = daemon.api().try_post("/v1/testimonies", body).expect("it answers");
    let code = answer.json()["code"].as_str().expect("a problem").to_owned();
    (answer.status, code)
}

#[test]
fn drawn_records_are_answered_by_a_file_a_program_and_a_person_and_nothing_else_changes_a_score() {
    let _turn = beside_others();
    let mut it = Federation::new();
    let sha256 = hex::encode(Sha256::digest(BYTES));
    let register = |id: &str| json!({"kind": "dataset_registered", "dataset_id": id, "name": "OpenMusic", "license": "CC-BY-4.0", "quality": 0.9, "sha256": sha256});
    it.says(&[vec![register("ds"), register("other")], paying(400)].concat());
    let claims = it.says(&[
        json!({"kind": "dataset_verified", "dataset_id": "ds", "sha256": sha256}),
        json!({"kind": "dataset_verified", "dataset_id": "other", "sha256": "00".repeat(32)}),
        content("content_verified", "good"),
        content("content_reported", "bad"),
        content("content_verified", "silent"),
        json!({"kind": "user_action", "user_id": "user_001", "action": "rating"}),
        json!({"kind": "dataset_rated", "dataset_id": "ds", "rating": 0.9}),
    ]);
    let [ds, other, good, bad, silent, user, rated] = &claims[..] else { panic!("{claims:?}") };
    let (drawn_by, _) = it.author.api().head();
    let before = it.beliefs();
    it.mine_nothing(1);
    let until = drawn_by + 1 + DUTY_BLOCKS;

    // Each of the three is asked about each record, but only one of the two about `ds` is drawn.
    let listed = it.person.api().get("/v1/duties");
    let of_ds: Vec<&String> = [ds, rated].into_iter().filter(|id| duty_of(&listed, id).is_some()).collect();
    assert_eq!(of_ds.len(), 1, "one subject is drawn once: {listed}");
    for id in [other, good, bad, silent, user] {
        let duty = duty_of(&listed, id).unwrap_or_else(|| panic!("{id} was drawn: {listed}"));
        assert_eq!((&duty["until"], &duty["answered"], &duty["by"]), (&json!(until), &json!(false), &json!("person")));
    }
    // In parts it is the same list.
    let whole = listed.as_array().expect("an array");
    let (mut parts, mut path) = (Vec::new(), Some("/v1/duties?limit=2".to_owned()));
    while let Some(asked) = path {
        let answer = it.person.api().try_get(&asked).expect("it answers");
        parts.extend(answer.json().as_array().expect("an array").iter().cloned());
        let link = answer.headers.get("link").map(|link| link.to_str().expect("text").to_owned());
        path = link.map(|link| link.trim_start_matches('<').split('>').next().expect("a part").to_owned());
    }
    assert_eq!(&parts, whole);
    let none = it.person.qfzz(&["duties", "--limit", "0"]).exits(2);
    assert!(none.stderr.contains("--limit"), "{none:?}");
    let some = it.person.qfzz(&["--json", "duties", "--limit", "3"]).exits(0);
    assert_eq!(some.json().as_array().expect("an array")[..], whole[..3]);
    assert!(some.stderr.contains("--limit"), "{some:?}");
    let shown = it.person.qfzz(&["duties"]).exits(0).stdout;
    assert!(shown.contains(good.as_str()) && shown.contains(&until.to_string()), "{shown}");

    explained_anywhere(&it, &listed, &[other, good, bad, silent, user]);
    let not_drawn = if of_ds == [ds] { rated } else { ds };
    let explained = it.newcomer.api().get(&format!("/v1/duties/{not_drawn}"));
    assert_eq!(explained["draws"][0]["record"]["outcome"], "subject_drawn", "{explained}");

    // By its file: the archive has the registered bytes, so another SHA-256 is not theirs.
    it.settle(&it.archive, &[other]);
    let archive = it.archive.station();
    assert_eq!(
        testimonies(&it.author, other).iter().filter(|(who, _)| *who == archive).collect::<Vec<_>>(),
        [&(archive.clone(), "contest".to_owned())]
    );
    if of_ds == [ds] {
        it.settle(&it.archive, &[ds]);
        assert!(testimonies(&it.author, ds).contains(&(archive.clone(), "agree".to_owned())));
    }
    let duties = it.archive.api().get("/v1/duties");
    for id in [good, user] {
        let duty = duty_of(&duties, id).expect("it is open");
        assert_eq!((&duty["answered"], &duty["by"]), (&json!(false), &json!("person")), "a file says nothing of it");
    }

    // By its program.
    it.settle(&it.studio, &[other, good, bad, user]);
    let studio = it.studio.station();
    for (id, answer) in [(other, "agree"), (good, "agree"), (bad, "contest"), (user, "agree")] {
        assert!(testimonies(&it.author, id).contains(&(studio.clone(), answer.to_owned())), "{id}");
    }
    let duties = it.studio.api().get("/v1/duties?answered=false");
    let duty = duty_of(&duties, silent).expect("the program said nothing of it");
    assert_eq!(duty["by"], "command");
    assert!(duty["silence"].as_str().is_some_and(|why| why.contains("never heard of it")), "{duty}");
    let kept = |name: &str| fs::read_to_string(it.home.path().join(name)).expect("the program ran");
    let environment = kept("environment");
    assert!(environment.contains("PATH=") && !environment.contains("QFZZ"), "{environment}");
    let asked = kept("asked");
    let question: Value = asked
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .find(|question: &Value| question["record_id"] == good.as_str())
        .expect("it was asked");
    assert_eq!(
        (&question["kind"], &question["claim"], &question["record"]["content_id"]),
        (&json!("content_verified"), &json!("positive"), &json!("good"))
    );
    assert_eq!(
        asked.lines().filter(|line| line.contains(silent.as_str())).count(),
        1,
        "a silence is not repeated at once"
    );

    // By a person. Two answers make a verdict, so now the jury speaks.
    let told = it.person.qfzz(&["--json", "testify", good, "agree"]).exits(0).json();
    assert!(told["record_id"].as_str().is_some_and(|id| id.starts_with(&it.person.station())), "{told}");
    it.person.qfzz(&["testify", bad, "contest"]).exits(0);
    let again = it.person.qfzz(&["testify", bad, "agree"]).exits(1).stderr;
    assert!(again.contains("already_answered"), "also while it waits for a block: {again}");
    it.person.kill();
    it.person.start();
    wait_for("the person's station caught up", PATIENCE, || synced(&it.person));
    let again = it.person.qfzz(&["testify", bad, "agree"]).exits(1).stderr;
    assert!(again.contains("already_answered"), "after a restart, too: {again}");
    it.settle(&it.person, &[good, bad]);
    let after = it.beliefs();
    let jury = |content: &str| {
        let jury = &after[&format!("kind=content&id={content}&creator_id=maker")][3];
        json!([jury["score"], jury["evidence"]])
    };
    assert_eq!(jury("good"), json!([0.9, 2]));
    assert_eq!(jury("bad"), json!([0.9, 2]), "both contested a report");
    assert_eq!(jury("silent"), json!([null, null]));
    assert_ne!(before, after);

    nothing_else_changes_a_score(&it, &after, [good, silent]);

    // A restart asks nobody again who has answered.
    it.studio.kill();
    it.studio.start();
    wait_for("the studio caught up", PATIENCE, || synced(&it.studio));
    wait_for("the studio has looked", PATIENCE, || {
        let open = it.studio.api().get("/v1/status")["open_duties"].clone();
        if open == it.studio.api().get("/v1/duties?answered=false").as_array().expect("an array").len() && open != 0 {
            Ok(())
        } else {
            Err(open.to_string())
        }
    });
    it.mine_nothing(9);
    for id in [other, good, bad, user] {
        assert_eq!(testimonies(&it.author, id).iter().filter(|(who, _)| *who == studio).count(), 1, "{id}");
    }
    assert_eq!(it.beliefs(), after);
}

/// Silence, a flood, words about oneself and words that nobody asked for.
fn nothing_else_changes_a_score(it: &Federation, expected: &BTreeMap<String, Value>, [good, silent]: [&String; 2]) {
    let body = |id: &str, answer: &str| json!({"record_id": id, "answer": answer});
    for (daemon, id, code) in
        [(&it.author, good, "own_record"), (&it.newcomer, good, "not_drawn"), (&it.person, good, "already_answered")]
    {
        assert_eq!(refused(daemon, &body(id, "contest")), (409, code.to_owned()), "{}", daemon.name());
    }
    let unknown = format!("{}.900000.0", it.author.station());
    assert_eq!(refused(&it.person, &body(&unknown, "agree")), (404, "unknown_record".to_owned()));
    it.newcomer.qfzz(&["testify", good, "contest"]).exits(1);
    it.person.qfzz(&["testify", &unknown, "agree"]).exits(3);
    it.person.qfzz(&["testify", good, "perhaps"]).exits(2);

    // As bare records, which nobody looks at before they are signed: a flood of each.
    let testimony =
        |id: &str, answer: &str| json!({"kind": "testimony", "record_id": id, "answer": answer}).to_string();
    let mut last = Vec::new();
    for daemon in [&it.author, &it.newcomer, &it.person] {
        let ids = if daemon.name() == "person" { vec![good] } else { vec![good, silent] };
        let flood: Vec<String> = (0..300)
            .map(|number| testimony(ids[number % ids.len()], if number % 3 == 0 { "agree" } else { "contest" }))
            .collect();
        let answer = daemon.api().try_post_lines("/v1/records/bulk", &flood.join("\n")).expect("it answers");
        let told: Value = serde_json::from_str(answer.body.lines().last().expect("lines")).expect("JSON");
        last.push(told["record_id"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned());
    }
    for id in &last {
        wait_for_record(&[&it.author], id, "pending");
    }
    it.mine();
    for id in &last {
        wait_for_record(&it.all(), id, "confirmed");
    }
    // And nobody who was asked about `silent` has said a word, in all these blocks.
    it.mine_nothing(2);
    it.mine_nothing(3);
    assert_eq!(it.beliefs(), *expected);
}

/// That every station explains the draws in the same words, and that whoever has these words draws the same.
fn explained_anywhere(it: &Federation, listed: &Value, records: &[&String]) {
    for id in records {
        let explained = it.all().map(|daemon| daemon.qfzz(&["--json", "duties", "--explain", id]).exits(0).json());
        assert!(explained.iter().all(|other| *other == explained[0]), "{explained:?}");
        let [draw] = explained[0]["draws"].as_array().expect("an array").as_slice() else { panic!("{explained:?}") };
        assert_eq!(explained[0]["out_of_reach"], json!([]));
        let [federation, before, reveal, seed, hash] = [
            &explained[0]["federation_id"],
            &draw["previous_draw"],
            &draw["reveal"],
            &draw["draw"],
            &draw["record"]["hash"],
        ]
        .map(bytes);
        let context = Sha256::digest([b"qfzz/draw/1".as_slice(), &federation].concat());
        assert_eq!(seed, Sha256::digest([&context[..], &context, &before, &reveal].concat()).to_vec(), "the seed");
        let block = it.newcomer.api().get(&format!("/v1/chain/blocks/{}", draw["height"]));
        assert_eq!((&block["hash"], &block["reveal"]), (&draw["block"], &draw["reveal"]));
        assert_eq!(hash, bytes(&duty_of(listed, id).expect("it was drawn")["hash"]));
        let rank = Sha256::digest([b"qfzz/audit/1".as_slice(), &seed, &hash].concat());
        assert_eq!(bytes(&draw["record"]["rank"]), rank.to_vec());
        let earlier = draw["earlier"].as_array().expect("an array");
        assert_eq!(earlier.len() as u64, draw["turn"].as_u64().expect("it has a turn"));
        assert!(earlier.iter().all(|step| bytes(&step["rank"]) < rank.to_vec()), "lower ranks come first");

        let mut able: Vec<(String, u128)> = draw["record"]["able"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|it| {
                (it["station_id"].as_str().expect("an id").to_owned(), it["weight"].as_u64().expect("whole").into())
            })
            .collect();
        let picks = draw["record"]["picks"].as_array().expect("an array");
        assert_eq!((able.len(), picks.len()), (3, 3), "the three other founders");
        for (k, pick) in (0_u8..).zip(picks) {
            let digest = Sha256::digest([b"qfzz/juror/1".as_slice(), &seed, &hash, &[k]].concat());
            let sum: u128 = able.iter().map(|(_, weight)| weight).sum();
            let at = u128::from_be_bytes(digest[..16].try_into().expect("16 bytes")) % sum;
            assert_eq!(
                (u128::from(pick["sum"].as_u64().expect("whole")), u128::from(pick["at"].as_u64().expect("whole"))),
                (sum, at)
            );
            let mut end = 0;
            let found = able.iter().position(|(_, weight)| {
                end += weight;
                at < end
            });
            let (station, _) = able.remove(found.expect("it is below the sum"));
            assert_eq!(pick["station_id"], station);
        }
        for daemon in [&it.archive, &it.studio, &it.person] {
            assert!(duty_of(&daemon.api().get("/v1/duties"), id).is_some(), "{} was drawn", daemon.name());
        }
    }
    assert_eq!(it.author.api().get("/v1/duties"), json!([]));
    let told = it.newcomer.qfzz(&["duties", "--explain", records[0]]).exits(0).stdout;
    assert!(told.contains("drawn by block") && told.contains(&it.person.station()), "{told}");
}

fn bytes(hex: &Value) -> Vec<u8> {
    hex::decode(hex.as_str().expect("hex")).expect("hex")
}
