//! `scripts/bench-trust.sh`: how well global trust withstands liars, measured on real ledgers beside the reference.
//!
//! The reference (`tests/oracle/worlds.py`) makes worlds in which stations lie; here everybody's records are signed,
//! batched and put in blocks, which the ledger connects; whom its blocks draw is asked in the world, and answers by
//! testimonies. The policies' scores are measured, and compared with what the reference makes of the same history.

mod figures;
mod reference;
mod replay;
mod table;

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::reference::Reference;
use crate::table::{Case, Table};

/// Measures how well global trust withstands liars, on real ledgers beside the reference
#[derive(Debug, Parser)]
struct Args {
    /// One seed only
    #[arg(long, conflicts_with = "seeds")]
    quick: bool,
    /// What worlds are made of; figures are means over them
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Also the ratings of SNAP's soc-sign-bitcoin-otc: source,target,rating,time; gzip or plain
    #[arg(long, value_name = "FILE")]
    otc: Option<PathBuf>,
    /// Who of these people is fair (1) and who is fraudulent (-1), as id,label; else raters held out say it
    #[arg(long, value_name = "FILE", requires = "otc")]
    labels: Option<PathBuf>,
}

/// Attacks of the simulation, after two that are none.
const SIMULATED: [&str; 12] = [
    "none",
    "noise30",
    "collude10",
    "collude20",
    "collude30",
    "sybil10x",
    "stealth20",
    "stealth30",
    "mimic20",
    "founder1of3",
    "founder2of3",
    "founder2of5",
];

/// Attacks on ratings.
const ON_RATINGS: [&str; 8] =
    ["none", "collude10", "collude20", "collude30", "stealth10", "stealth20", "founder1of3", "founder2of3"];

fn main() -> Result<()> {
    let args = Args::parse();
    for path in args.otc.iter().chain(&args.labels) {
        File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    let seeds = if args.quick { vec![1] } else { args.seeds };
    let mut cases = vec![Case { title: "simulation", attacks: &SIMULATED, ratings: None, labels: None }];
    if let Some(ratings) = &args.otc {
        let case = |title, labels| Case { title, attacks: &ON_RATINGS, ratings: Some(ratings), labels };
        cases.extend(args.labels.as_deref().map(|labels| case("ratings, published labels", Some(labels))));
        cases.push(case("ratings, labels of raters held out", None));
    }
    let (mut reference, mut tables) = (Reference::start()?, Vec::new());
    for case in cases {
        let table = Table::measure(&mut reference, case, &seeds)?;
        println!("{table}");
        tables.push(table);
    }
    reference.end()?;
    for table in &tables {
        ensure!(table.is_reproduced(), "{}: the reference makes something else of the same history", table.title());
    }
    let found = tables[0].anchored();
    println!(
        "simulation, anchored, mean of eight attacks: fraud {:.3} (at most 0.05), AUC {:.3} (at least 0.95)",
        found.fraud, found.auc
    );
    ensure!(found.fraud <= 0.05 && found.auc >= 0.95, "`anchored` does not withstand the eight attacks as promised");
    Ok(())
}
