//! `qfzz demo`, as a newcomer runs it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qfzz_tests::harness::{Finished, alone, qfzz};
use tempfile::TempDir;

/// Within which the demonstration ends.
const LIMIT: Duration = Duration::from_secs(40);

#[test]
fn the_demo_ends_with_a_table_in_which_all_agree() {
    let _turn = alone();
    for scheme in ["ed25519", "hybrid"] {
        demonstrate(scheme);
    }
}

fn demonstrate(scheme: &str) {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let mut command = qfzz(directory.path());
    command.args(["demo", "--signatures", scheme]);
    qfzz_tests::harness::program();
    let start = Instant::now();
    let demo = Finished::run(command, "").exits(0);
    let elapsed = start.elapsed();
    assert!(elapsed < LIMIT, "it took {elapsed:?}");

    // The table's rows name one head each: the same digits in at least as many lines as there are stations.
    let mut lines_with: BTreeMap<&str, usize> = BTreeMap::new();
    let table = demo.stdout.lines().skip_while(|line| !line.to_lowercase().contains("reorg"));
    for line in table {
        let hex = |word: &&str| (6..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(head) = line.split(|c: char| !c.is_ascii_alphanumeric()).find(hex) {
            *lines_with.entry(head).or_default() += 1;
        }
    }
    assert_eq!(lines_with.len(), 1, "one head: {lines_with:?} in {}", demo.stdout);
    assert!(lines_with.values().all(|count| *count >= 3), "a row for each station: {}", demo.stdout);
    println!("{} in {elapsed:?}", demo.stdout);
}
