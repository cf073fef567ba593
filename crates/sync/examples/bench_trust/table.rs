//! Policy by attack: the node's figures, and how far the reference's are from them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use qfzz_sync::global_trust::Policy;
use serde_json::Value;

use crate::figures::Figures;
use crate::reference::{Play, Reference};
use crate::replay;

/// How far the reference's figures may be from the node's.
const TOLERANCE: f64 = 0.01;

/// The node's rows, in order.
const ROWS: [&str; 5] = ["mean", "median", "eigentrust", "anchored, no audit", "anchored"];

/// The reference alone, with draws of its own; the same history gives it the node's figures.
const ALONE: &str = "reference's draws";

/// Who knows the liars, and pools everybody else's records.
const FLOOR: &str = "floor";

/// The column of the mean over the attacks, and what it leaves aside: those that are none, and two bad founders: of three
/// they are the majority, which nothing withstands.
const ATTACKED: &str = "attacked";
const ASIDE: [&str; 4] = ["none", "noise30", "founder2of3", "founder2of5"];

/// Attacks in one kind of world.
pub(crate) struct Case<'a> {
    pub(crate) title: &'static str,
    pub(crate) attacks: &'static [&'static str],
    pub(crate) ratings: Option<&'a Path>,
    pub(crate) labels: Option<&'a Path>,
}

/// What was measured.
pub(crate) struct Table<'a> {
    case: Case<'a>,
    seeds: Vec<u64>,
    /// By row and column, a mean over the seeds.
    cells: BTreeMap<(&'static str, &'static str), Figures>,
    duties_per_record: f64,
    /// Scores that were compared, and how many of them differ from the reference's on the same history.
    scores: usize,
    different: usize,
    /// The greatest difference of a figure to the reference's on the same history.
    distance: f64,
}

impl<'a> Table<'a> {
    /// Plays every attack of a case with every seed, without audits and with them.
    pub(crate) fn measure(reference: &mut Reference, case: Case<'a>, seeds: &[u64]) -> Result<Self> {
        let mut table = Self {
            case,
            seeds: seeds.to_vec(),
            cells: BTreeMap::new(),
            duties_per_record: 0.0,
            scores: 0,
            different: 0,
            distance: 0.0,
        };
        let mut duties = Vec::new();
        for attack in table.case.attacks.iter().copied() {
            eprintln!("{}: {attack}", table.case.title);
            let mut found: BTreeMap<&'static str, Vec<Figures>> = BTreeMap::new();
            for seed in seeds.iter().copied() {
                for is_audited in [false, true] {
                    let Case { ratings, labels, .. } = table.case;
                    let played = replay::play(reference, Play { attack, seed, is_audited, ratings, labels })?;
                    for (policy, scores) in &played.scores {
                        let figures = Figures::of(&played.subjects, &played.is_heard, scores);
                        table.compare(&figures, scores, &played.reference["policies"][policy.as_str()])?;
                        found.entry(row(*policy, is_audited)).or_default().push(figures);
                    }
                    if is_audited {
                        for (row, member) in [(ALONE, "alone"), (FLOOR, "floor")] {
                            found.entry(row).or_default().push(Figures::read(&played.reference[member])?);
                        }
                        duties.push(played.reference["duties_per_record"].as_f64().context("a number of duties")?);
                    }
                }
            }
            table.cells.extend(found.into_iter().map(|(row, figures)| ((row, attack), Figures::mean(&figures))));
        }
        for row in ROWS.into_iter().chain([ALONE, FLOOR]) {
            let attacks = table.case.attacks.iter().filter(|attack| !ASIDE.contains(attack));
            let figures: Vec<Figures> = attacks.map(|attack| table.cells[&(row, *attack)]).collect();
            table.cells.insert((row, ATTACKED), Figures::mean(&figures));
        }
        table.duties_per_record = duties.iter().sum::<f64>() / duties.len() as f64;
        Ok(table)
    }

    /// Takes note of how far the reference is from the node, on the same history.
    fn compare(&mut self, figures: &Figures, scores: &[u32], reference: &Value) -> Result<()> {
        let expected = reference["scores"].as_array().context("the reference writes scores")?;
        let same =
            scores.iter().zip(expected).filter(|(found, expected)| expected.as_u64() == Some(u64::from(**found)));
        self.different += scores.len().max(expected.len()) - same.count();
        self.scores += scores.len();
        self.distance = self.distance.max(figures.distance(&Figures::read(&reference["figures"])?));
        Ok(())
    }

    pub(crate) const fn title(&self) -> &'static str {
        self.case.title
    }

    /// Whether the reference makes the same of the same history.
    pub(crate) fn is_reproduced(&self) -> bool {
        self.different == 0 && self.distance <= TOLERANCE
    }

    /// The mean of `anchored` over the attacks.
    pub(crate) fn anchored(&self) -> Figures {
        self.cells[&("anchored", ATTACKED)]
    }

    /// The columns, in order.
    fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.case.attacks.iter().copied().chain([ATTACKED])
    }

    /// How far the figures of `anchored` with the ledger's draws are from those with the reference's own.
    fn distance_of_draws(&self, column: &'static str) -> f64 {
        self.cells[&("anchored", column)].distance(&self.cells[&(ALONE, column)])
    }
}

/// A figure, where there is one.
fn shown(figure: f64, places: usize) -> String {
    if figure.is_nan() { "-".to_owned() } else { format!("{figure:.places$}") }
}

/// Only `anchored` hears jurors.
fn row(policy: Policy, is_audited: bool) -> &'static str {
    match (policy, is_audited) {
        (Policy::Mean, _) => "mean",
        (Policy::Median, _) => "median",
        (Policy::EigenTrust, _) => "eigentrust",
        (Policy::Anchored, false) => "anchored, no audit",
        (Policy::Anchored, true) => "anchored",
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        writeln!(
            f,
            "{}: MAE / AUC / fraud success; seeds {}; audit duties per record {:.3}",
            self.case.title,
            seeds.join(","),
            self.duties_per_record
        )?;
        write!(f, "{:20}", "")?;
        self.columns().try_for_each(|column| write!(f, "{column:>18}"))?;
        for row in ROWS.into_iter().chain([ALONE, FLOOR]) {
            write!(f, "\n{row:20}")?;
            for column in self.columns() {
                let [error, auc, fraud] = self.cells[&(row, column)].all();
                let texts = [(error, 3), (auc, 3), (fraud, 2)].map(|(figure, places)| shown(figure, places));
                write!(f, "{:>18}", texts.join("/"))?;
            }
        }
        writeln!(
            f,
            "\nbeside the reference on the same history: {} of {} scores differ, figures by {:.6} at most",
            self.different, self.scores, self.distance
        )?;
        write!(f, "anchored beside the reference with draws of its own, greatest difference of a figure:")?;
        self.columns().try_for_each(|column| write!(f, " {column} {:.3}", self.distance_of_draws(column)))?;
        writeln!(f)
    }
}
