//! A world as a chain of real records, batches and blocks, connected by the ledger's own rules.

use std::sync::Arc;

use anyhow::{Context, Result};
use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, RecordHash};
use qfzz_ledger_core::limits::MAX_BATCH_RECORDS;
use qfzz_ledger_core::record::{Record, Subject};
use qfzz_ledger_core::state::{Connected, Writes, chain_state, station_id};
use qfzz_ledger_core::testimony::Answer;
use qfzz_ledger_core::testing::{Author, Blocks, at, connect, reported, rules_with, station, testimony, verified};
use qfzz_sync::global_trust::{Policy, get_global_trust, policy_weights};
use serde_json::{Value, json};

use crate::reference::{Known, Play, Reference, Said, World, number};

/// Whose contents all subjects are.
const CREATOR: &str = "artist";

/// A record on the chain.
struct Written {
    batch: VerifiedBatch,
    index: u16,
    hash: RecordHash,
}

/// A chain, and who writes on it: founders first, the first of whom makes the blocks.
struct Chain {
    rules: Arc<Rules>,
    authors: Vec<Author>,
    state: Writes,
    blocks: Blocks,
    head: (Height, BlockHash),
}

/// What was played: the scores of all subjects under some policies, and what the reference makes of the same history.
pub(crate) struct Played {
    pub(crate) subjects: Vec<Known>,
    /// Whether there is any record about a subject.
    pub(crate) is_heard: Vec<bool>,
    /// In millionths.
    pub(crate) scores: Vec<(Policy, Vec<u32>)>,
    pub(crate) reference: Value,
}

/// Plays a world on a real chain, beside the reference.
pub(crate) fn play(reference: &mut Reference, play: Play<'_>) -> Result<Played> {
    let ids: Vec<String> = (1..=u8::MAX).map(|number| hex::encode(station(number).as_bytes())).collect();
    let world = reference.world(play, &ids)?;
    let mut chain = Chain::new(&world)?;
    let (mut before, mut answers) = (Vec::new(), Vec::new());
    let mut is_heard = vec![false; world.subjects.len()];
    // One more, so that jurors are drawn for the last records, too.
    for said in world.blocks.iter().map(Vec::as_slice).chain([&[][..]]) {
        said.iter().for_each(|said| is_heard[said.subject] = true);
        let mut records: Vec<(usize, Record)> = said.iter().map(|said| (said.station, record(said))).collect();
        records.append(&mut answers);
        let (mut written, made) = chain.push(records)?;
        if play.is_audited {
            written.truncate(said.len());
            answers = chain.hear(reference, &before, &written, &made)?;
            before = written;
        }
    }
    chain.push(answers)?;
    let policies: &[Policy] = if play.is_audited { &[Policy::Anchored] } else { &Policy::ALL };
    let scores = policies.iter().map(|policy| Ok((*policy, chain.scores(*policy, world.subjects.len())?)));
    let scores = scores.collect::<Result<_>>()?;
    Ok(Played { subjects: world.subjects, is_heard, scores, reference: reference.result()? })
}

fn record(said: &Said) -> Record {
    let content = content_of(said.subject);
    if said.is_positive { verified(&content, CREATOR) } else { reported(&content, CREATOR) }
}

fn content_of(subject: usize) -> String {
    format!("content {subject}")
}

impl Chain {
    fn new(world: &World) -> Result<Self> {
        let founders = u8::try_from(world.founders)?;
        let rules =
            rules_with(|parameters| (2..=founders).for_each(|number| parameters.add_founder(station(number), None)));
        let authors = (1..=u8::try_from(world.stations)?).map(|number| Author::new(&rules, number)).collect();
        let head = (Height::ZERO, rules.genesis_hash());
        Ok(Self { rules, authors, state: Writes::new(), blocks: Blocks::default(), head })
    }

    /// Connects a block of these records, each with its author; where they are written, in the order given.
    fn push(&mut self, records: Vec<(usize, Record)>) -> Result<(Vec<Written>, Connected)> {
        let height = self.head.0.get();
        let now = at(i64::try_from(height)? + 1);
        let mut of_each: Vec<Vec<(usize, Record)>> = self.authors.iter().map(|_| Vec::new()).collect();
        let count = records.len();
        for (place, (who, record)) in records.into_iter().enumerate() {
            of_each[who].push((place, record));
        }
        let (mut body, mut written) = (Vec::new(), Vec::with_capacity(count));
        for (who, of_one) in of_each.into_iter().enumerate() {
            let mut groups: Vec<&[(usize, Record)]> = of_one.chunks(usize::from(MAX_BATCH_RECORDS)).collect();
            // Who makes blocks introduces itself first.
            if (height, who, groups.len()) == (0, 0, 0) {
                groups.push(&[]);
            }
            for group in groups {
                let records = group.iter().map(|(_, record)| record.clone()).collect();
                let batch = self.authors[who].batch_seeing(self.head.1, now, records);
                let hashes = batch.record_hashes(&self.rules);
                let places = (0..).zip(hashes).zip(group);
                written.extend(
                    places.map(|((index, hash), (place, _))| (*place, Written { batch: batch.clone(), index, hash })),
                );
                body.push(batch);
            }
        }
        written.sort_unstable_by_key(|(place, _)| *place);
        let block = self.authors[0].block(self.head, height, now, body);
        let made = connect(&self.rules, &self.state, &self.blocks, &block)?;
        for (key, value) in made.writes.clone() {
            match value {
                Some(value) => self.state.insert(key, Some(value)),
                None => self.state.remove(&key),
            };
        }
        self.head = (block.index(), block.hash());
        self.blocks.add(block);
        Ok((written.into_iter().map(|(_, written)| written).collect(), made))
    }

    /// What the jurors whom the newest block drew answer, with whose answer it is; `before` was written in the block before.
    fn hear(
        &self,
        reference: &mut Reference,
        before: &[Written],
        newest: &[Written],
        made: &Connected,
    ) -> Result<Vec<(usize, Record)>> {
        let mut audits = Vec::with_capacity(made.audits.len());
        for audit in &made.audits {
            let place = (station_id(&self.state, audit.place.station)?, audit.place.sequence);
            let is_drawn = |it: &&Written| it.batch.signed().place() == place && it.index == audit.place.index;
            let drawn = before.iter().find(is_drawn).context("a record of the block before is drawn")?;
            let jurors: Vec<String> = audit.jurors.iter().map(|juror| hex::encode(juror.as_bytes())).collect();
            audits.push(json!({ "record": drawn.hash.to_string(), "jurors": jurors }));
        }
        let draw = hex::encode(chain_state(&self.state, &self.rules)?.draw);
        let hashes: Vec<String> = newest.iter().map(|it| it.hash.to_string()).collect();
        let answers = reference.answers(&draw, &hashes, &audits.into())?;
        answers.iter().map(|answer| self.testimony(before, answer)).collect()
    }

    fn testimony(&self, before: &[Written], answer: &Value) -> Result<(usize, Record)> {
        let hash: RecordHash = answer[1].as_str().context("a record's hash")?.parse()?;
        let about = before.iter().find(|it| it.hash == hash).context("an answer is about a record that was drawn")?;
        let said = if answer[2] == true { Answer::Agree } else { Answer::Contest };
        Ok((number(&answer[0])?, testimony(&self.rules, &about.batch, about.index, said)))
    }

    fn scores(&self, policy: Policy, subjects: usize) -> Result<Vec<u32>> {
        let weights = policy_weights(&self.rules, &self.state, policy)?;
        let score = |subject: usize| -> Result<u32> {
            let subject = Subject::Content { creator_id: CREATOR.parse()?, content_id: content_of(subject).parse()? };
            Ok(get_global_trust(&self.rules, &self.state, &weights, &subject, None)?.score.millionths())
        };
        (0..subjects).map(score).collect()
    }
}
