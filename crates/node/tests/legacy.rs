//! The files of the original program: what Python prints is printed here, the samples verify, and no character of a
//! value can be changed unnoticed. `legacy/README.md` says where the samples are from.

use std::ops::Range;

use qfzz_node::legacy::file::{Blocks, Checked};
use qfzz_node::legacy::parse::parse;
use qfzz_node::legacy::text::dumps;

const CHAIN: &str = include_str!("legacy/chain.json");
const LEDGER: &str = include_str!("legacy/ledger.json");
const PYTHON: &str = include_str!("legacy/python.jsonl");

/// Reads a whole file: its blocks, or the block at which it is refused and why.
fn read(file: &[u8]) -> Result<Vec<Checked>, (u64, String)> {
    let mut blocks = Blocks::new(file);
    let mut read = Vec::new();
    loop {
        match blocks.next_block() {
            Ok(Some(block)) => read.push(block),
            Ok(None) => return Ok(read),
            Err(fault) => return Err((fault.block, fault.to_string())),
        }
    }
}

/// The text that Python prints for a JSON text.
fn printed(json: &str) -> Option<String> {
    parse(json.as_bytes()).ok().map(|value| dumps(&value))
}

#[test]
fn what_python_prints_is_printed_here_byte_for_byte() {
    let mut count = 0;
    for line in PYTHON.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("the table is JSON");
        let (given, expected) = (line["given"].as_str().expect("a text"), line["printed"].as_str().expect("a text"));
        assert_eq!(printed(given).as_deref(), Some(expected), "{given}");
        // What was printed once is printed so again.
        assert_eq!(printed(expected).as_deref(), Some(expected), "{given}");
        count += 1;
    }
    assert!(count > 3_000, "{count} lines");
}

#[test]
fn what_is_no_json_to_python_either_is_refused() {
    for wrong in [
        "",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "'a'",
        "\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12\"",
        "\"a\nb\"",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "1e+",
        "--1",
        "-",
        "nul",
        "1 2",
        "[1 2]",
        "{\"a\" 1}",
        "\u{feff}1",
        "{\"a\":1,\"\\u0061\":2}",
    ] {
        assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(parse(b"\"\xff\"").is_err());
    assert!(parse(format!("{}{}", "[".repeat(64), "]".repeat(64)).as_bytes()).is_ok());
    for deep in [65, 1_000_000] {
        assert!(parse("[".repeat(deep).as_bytes()).is_err());
    }
    assert!(parse("7".repeat(4_300).as_bytes()).is_ok() && parse("7".repeat(4_301).as_bytes()).is_err());
}

#[test]
fn the_samples_verify_however_they_are_written() {
    for (file, count) in [(CHAIN, 4), (LEDGER, 4)] {
        let blocks = read(file.as_bytes()).expect("it verifies");
        assert_eq!(blocks.len(), count);
        // Without white space and with raw characters instead of escapes, in another order of members: only values count.
        let value: serde_json::Value = serde_json::from_str(file).expect("JSON");
        assert_ne!(value.to_string(), file);
        assert_eq!(read(value.to_string().as_bytes()), Ok(blocks));
    }
    let Checked::Chain(block) = &read(CHAIN.as_bytes()).expect("it verifies")[2] else { panic!("a chain") };
    let record = &block.records[0];
    assert_eq!((record.content_id.as_str(), record.creator_id.as_str()), ("track_004", "artist_003"));
    assert_eq!((record.verifications, record.reports, record.score.to_string()), (2, 1, "0.633333".to_owned()));
}

/// Where keys and values stand in `json`, without quotes and white space.
fn words(json: &str) -> Vec<Range<usize>> {
    let bytes = json.as_bytes();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes[at] != b'"' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
                words.push(start + 1..at);
                at += 1;
            }
            b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\n' => at += 1,
            _ => {
                while !b"{}[],: \n".contains(&bytes[at]) {
                    at += 1;
                }
                words.push(start..at);
            }
        }
    }
    words
}

#[test]
fn any_character_changed_is_refused_at_its_block() {
    let (mut refused, mut same) = (0, 0);
    for file in [CHAIN, LEDGER] {
        // Where each block begins.
        let starts: Vec<usize> = file.match_indices("\n  {").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 4);
        let value = printed(file).expect("JSON");
        for at in words(file).into_iter().flatten() {
            let block = starts.iter().filter(|start| **start < at).count() as u64 - 1;
            let next = char::from(file.as_bytes()[at] ^ 1).to_string();
            for other in [next.as_str(), "0", "E", "\"", "\\", "}", ",", "\u{e9}"] {
                let changed = format!("{}{other}{}", &file[..at], &file[at + 1..]);
                match read(changed.as_bytes()) {
                    Ok(_) if printed(&changed).as_deref() == Some(&value) => same += 1,
                    Err((found, _)) if found == block => refused += 1,
                    outcome => panic!("byte {at} as {other:?}, of block {block}: {outcome:?}"),
                }
            }
        }
    }
    // The same are those where another character has the same meaning, such as `E` for `e`.
    assert!(refused > 20_000 && same < refused / 10, "{refused} refused, {same} the same");
}

#[test]
fn blocks_that_are_missing_doubled_or_in_another_order_are_refused() {
    for file in [CHAIN, LEDGER] {
        let blocks: Vec<serde_json::Value> = serde_json::from_str(file).expect("JSON");
        let written = |order: &[usize]| {
            let chosen: Vec<_> = order.iter().map(|index| blocks[*index].clone()).collect();
            serde_json::to_vec(&chosen).expect("written")
        };
        for (order, block) in [(&[1, 2, 3][..], 0), (&[0, 2, 3], 1), (&[0, 1, 1, 2], 2), (&[0, 1, 3, 2], 2), (&[], 0)] {
            let refused = read(&written(order)).expect_err("refused");
            assert_eq!(refused.0, block, "{order:?}: {}", refused.1);
        }
        // A chain that was cut at its end is a chain all the same: nothing says how long it was.
        assert_eq!(read(&written(&[0, 1, 2])).expect("it verifies").len(), 3);
        let half = read(&file.as_bytes()[..file.len() / 2]).expect_err("refused");
        assert!(half.1.contains("breaks off"), "{half:?}");
    }
}

#[test]
fn a_refusal_names_the_block_and_what_is_wrong_with_it() {
    let told = |from: &str, to: &str| {
        assert!(CHAIN.contains(from), "{from}");
        read(CHAIN.replacen(from, to, 1).as_bytes()).expect_err(to).1
    };
    let hash = told("\"verifications\": 2", "\"verifications\": 3");
    assert!(hash.starts_with("block 1: its hash is \"00a1d5") && hash.ends_with("changed after it was made"), "{hash}");
    assert_eq!(told("\"index\": 2", "\"index\": 7"), "block 2: its index is 7");
    let link = told("\"previous_hash\": \"00c1da", "\"previous_hash\": \"01c1da");
    assert!(link.starts_with("block 3: it names \"01c1da"), "{link}");
    assert_eq!(
        told("\"records\": []", "\"reports\": []"),
        "block 0: it is no block of a chain or station ledger, for it has neither `records` nor `event_type`"
    );
    assert_eq!(
        told("\"nonce\": 445", "\"nonce\": 445, \"x\": 1"),
        "block 1: it has a member \"x\" that such a block does not have"
    );
}
