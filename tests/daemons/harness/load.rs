//! Outside clients that write to one daemon and remember what it acknowledged.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::{Api, Dice};

/// The subjects that records are about: few, so that each has a long history in which the order matters.
const USERS: u64 = 20;
const CONTENTS: u64 = 16;
const CREATORS: u64 = 4;

/// The flags of `init` that name the action which the load adds to the guide's.
///
/// It lowers scores, so that they don't all end at 1, where no lost record would show.
const COMPLAINT: [&str; 2] = ["--action", "complaint=-0.04"];

/// A record that a daemon said is on disk.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Its id.
    pub id: String,
    /// What was posted.
    pub record: Value,
}

/// How the clients behave.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients that write at once, each one request after the other.
    pub clients: usize,
    /// One client in this many sends its records in bulk.
    pub bulk_every: usize,
    /// Records of one such request.
    pub bulk_records: usize,
    /// After how many acknowledged records of its own the first client asks for a block, if at all.
    pub mine_every: Option<usize>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    count: AtomicUsize,
    acknowledged: Mutex<Vec<Acknowledged>>,
    refused: Mutex<Vec<String>>,
}

/// Clients at work, until stopped or until the daemon is gone.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// The flags of `init` for a federation that takes these records.
    pub const INIT_FLAGS: [&str; 2] = COMPLAINT;

    /// Starts the clients of `plan`; what they write follows from `dice`.
    pub fn start(api: &Api, plan: &Plan, dice: &mut Dice) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = (0..plan.clients)
            .map(|number| {
                let (shared, api, plan, dice) =
                    (Arc::clone(&shared), api.clone(), plan.clone(), Dice::new(dice.roll()));
                thread::spawn(move || Client { api, plan, dice, shared, number }.work())
            })
            .collect();
        Self { shared, clients }
    }

    /// How many records were acknowledged so far.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Acquire)
    }

    /// What was acknowledged so far.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the clients and returns what was acknowledged to them, in no order, and what was refused.
    ///
    /// # Panics
    /// If a client did.
    pub fn stop(self) -> (Vec<Acknowledged>, Vec<String>) {
        self.shared.stop.store(true, Ordering::Release);
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
        let take =
            |list: &Mutex<Vec<String>>| std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner));
        let acknowledged =
            std::mem::take(&mut *self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
        (acknowledged, take(&self.shared.refused))
    }
}

struct Client {
    api: Api,
    plan: Plan,
    dice: Dice,
    shared: Arc<Shared>,
    number: usize,
}

impl Client {
    /// Writes until it is stopped, or the daemon is gone.
    fn work(mut self) {
        let bulk = self.number % self.plan.bulk_every == self.plan.bulk_every - 1;
        let mut since_block = 0;
        while !self.shared.stop.load(Ordering::Acquire) {
            let written = if bulk { self.write_bulk() } else { self.write_one() };
            let Ok(written) = written else { return };
            since_block += written;
            if self.number == 0 && self.plan.mine_every.is_some_and(|every| since_block >= every) {
                since_block = 0;
                match self.api.try_post("/v1/mine", &json!({})) {
                    Ok(answer) if (200..300).contains(&answer.status) => {}
                    Ok(answer) => self.refuse(format!("{answer:?}")),
                    Err(_) => return,
                }
            }
        }
    }

    fn write_one(&mut self) -> reqwest::Result<usize> {
        let record = statement(&mut self.dice);
        let answer = self.api.try_post("/v1/records", &record)?;
        if answer.status != 201 {
            self.refuse(format!("{answer:?}"));
            return Ok(0);
        }
        self.acknowledge(vec![(answer.json(), record)]);
        Ok(1)
    }

    fn write_bulk(&mut self) -> reqwest::Result<usize> {
        let records: Vec<Value> = (0..self.plan.bulk_records).map(|_| statement(&mut self.dice)).collect();
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        let answer = self.api.try_post_lines("/v1/records/bulk", &lines)?;
        let answers: Vec<Value> = answer.body.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if answer.status != 200 || answers.len() != records.len() {
            self.refuse(format!("{answer:?}"));
            return Ok(0);
        }
        self.acknowledge(answers.into_iter().zip(records).collect());
        Ok(self.plan.bulk_records)
    }

    fn acknowledge(&self, answers: Vec<(Value, Value)>) {
        let mut acknowledged = self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        for (answer, record) in answers {
            match answer["record_id"].as_str() {
                Some(id) => acknowledged.push(Acknowledged { id: id.to_owned(), record }),
                None => self.refuse(format!("{answer} for {record}")),
            }
        }
        self.shared.count.store(acknowledged.len(), Ordering::Release);
    }

    fn refuse(&self, reason: String) {
        self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner).push(reason);
    }
}

/// One statement about one of few subjects.
fn statement(dice: &mut Dice) -> Value {
    if dice.below(3) > 0 {
        let (action, delta) =
            *dice.pick(&[("interaction", 0.01), ("rating", 0.03), ("verification", 0.02), ("complaint", -0.04)]);
        let user = format!("user_{:03}", dice.below(USERS));
        return json!({ "kind": "user_action", "user_id": user, "action": action, "target": "dj", "trust_delta": delta });
    }
    let number = dice.below(CONTENTS);
    let (content, creator) = (format!("track_{number:03}"), format!("artist_{:03}", number % CREATORS));
    match dice.below(5) {
        0 => json!({ "kind": "content_added", "content_id": content, "creator_id": creator, "initial_score": 0.6 }),
        1 => json!({ "kind": "content_reported", "content_id": content, "creator_id": creator }),
        _ => json!({ "kind": "content_verified", "content_id": content, "creator_id": creator }),
    }
}
