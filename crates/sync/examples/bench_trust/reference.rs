//! The reference as a process: it makes the worlds, answers as the jurors, and computes what it makes of the same history.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// What is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Play<'a> {
    pub(crate) attack: &'a str,
    pub(crate) seed: u64,
    /// Whether drawn jurors answer.
    pub(crate) is_audited: bool,
    /// A file of real ratings; without one the world is simulated.
    pub(crate) ratings: Option<&'a Path>,
    /// Who is good and who is not; without it as raters held out have it.
    pub(crate) labels: Option<&'a Path>,
}

/// A record of a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// The station's place.
    pub(crate) station: usize,
    /// The subject's place.
    pub(crate) subject: usize,
    pub(crate) is_positive: bool,
}

/// What is known of a subject by whoever made the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Its true score, in millionths.
    pub(crate) truth: Option<f64>,
    pub(crate) is_good: Option<bool>,
    /// Whether the liars want it to look good.
    pub(crate) target: Option<bool>,
}

/// Who says what, and what is true. The first stations are the founders.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) stations: usize,
    pub(crate) founders: usize,
    pub(crate) blocks: Vec<Vec<Said>>,
    pub(crate) subjects: Vec<Known>,
}

/// The reference's process.
pub(crate) struct Reference {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Reference {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/worlds.py");
        let mut command = Command::new("python3");
        // Nothing is written beside the sources.
        command.arg("-B").arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("python3 cannot be started: install Python 3.10 or newer")?;
        let (input, output) = (child.stdin.take().context("piped")?, child.stdout.take().context("piped")?);
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Makes a world for stations with these ids, in hex.
    pub(crate) fn world(&mut self, play: Play<'_>, ids: &[String]) -> Result<World> {
        let Play { attack, seed, is_audited, ratings, labels } = play;
        self.send(&json!({ "attack": attack, "seed": seed, "audited": is_audited, "ratings": ratings,
            "labels": labels, "ids": ids }))?;
        let world = self.receive()?;
        let blocks = list(&world["blocks"])?.iter().map(|block| list(block)?.iter().map(said).collect());
        let known = |it: &Value| Known {
            truth: it["truth"].as_f64(),
            is_good: it["good"].as_bool(),
            target: it["target"].as_bool(),
        };
        Ok(World {
            stations: number(&world["stations"])?,
            founders: number(&world["founders"])?,
            blocks: blocks.collect::<Result<_>>()?,
            subjects: list(&world["subjects"])?.iter().map(known).collect(),
        })
    }

    /// Tells it a block's draw, the hashes of its records, and whom it drew; what these answer.
    pub(crate) fn answers(&mut self, draw: &str, records: &[String], audits: &Value) -> Result<Vec<Value>> {
        self.send(&json!({ "draw": draw, "records": records, "audits": audits }))?;
        Ok(list(&self.receive()?["answers"])?.clone())
    }

    /// What it makes of the history that was played.
    pub(crate) fn result(&mut self) -> Result<Value> {
        self.receive()
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.input);
        ensure!(self.child.wait()?.success(), "the reference failed");
        Ok(())
    }

    fn send(&mut self, value: &Value) -> Result<()> {
        // As one write: shown piece by piece it would be thousands.
        Ok(self.input.write_all(format!("{value}\n").as_bytes())?)
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).context("the reference ended: see above for why")
    }
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("the reference writes a list")
}

pub(crate) fn number(value: &Value) -> Result<usize> {
    Ok(usize::try_from(value.as_u64().context("the reference writes a number")?)?)
}

fn said(value: &Value) -> Result<Said> {
    let is_positive = value[2].as_bool().context("the reference says whether a record is positive")?;
    Ok(Said { station: number(&value[0])?, subject: number(&value[1])?, is_positive })
}
