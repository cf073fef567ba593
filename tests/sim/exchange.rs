//! Requests and answers between stations, as the daemon's request-response protocol carries them.

use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::SignedBlock;
use qfzz_ledger_core::codec::{Encode, encode};
use qfzz_ledger_core::ids::{BlockHash, Sequence, StationId};
use qfzz_node::service::effect::{Checked, Input};
use qfzz_node::store::Blocks;
use qfzz_sync::message::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Request, Response};
use qfzz_sync::peer::{SessionError, Traffic};
use qfzz_sync::serve::{answer_about_blocks, answer_about_pending};

use crate::session::AnswerTo;
use crate::world::{Event, World};

/// How long an answer may take, in milliseconds.
const TIMEOUT_MS: i64 = 20_000;

/// A request that waits for its answer.
pub(crate) struct Exchange {
    pub(crate) from: usize,
    to: usize,
    epoch: u64,
    request: Vec<u8>,
    waiting: Waiting,
}

/// Who waits for an answer.
pub(crate) enum Waiting {
    Sync(AnswerTo),
    Batches(BlockHash),
    Log,
}

impl World {
    pub(crate) fn fetch_batches(&mut self, number: usize, peer: StationId, block: BlockHash, indexes: Vec<u32>) {
        self.ask(number, peer, &Request::BlockBatches { block, indexes }, Waiting::Batches(block));
    }

    pub(crate) fn fetch_log(&mut self, number: usize, peer: StationId, station: StationId, from: Sequence) {
        self.ask(number, peer, &Request::Logs { from: vec![(station, from)] }, Waiting::Log);
    }

    /// Sends a request; without a connection it fails at once.
    pub(crate) fn ask(&mut self, number: usize, peer: StationId, request: &Request, waiting: Waiting) {
        let (id, to, bytes) = (self.clients.next_token(), self.numbers[&peer], encode(request));
        if bytes.len() > MAX_REQUEST_BYTES {
            self.fail(format_args!("s{number} asks with {} bytes", bytes.len()));
        }
        let epoch = self.links.connected(number, to);
        let exchange = Exchange { from: number, to, epoch: epoch.unwrap_or(0), request: bytes, waiting };
        if epoch.is_none() {
            return self.answer(exchange, Err(SessionError::Disconnected));
        }
        self.line(format_args!("s{number} asks s{to} as {id}: {}", name_of(request)));
        self.exchanges.insert(id, exchange);
        // A request is answered once, however often it comes.
        if let Some(delay) = self.transmit(number, to).into_iter().min() {
            self.after(delay, Event::Request { exchange: id });
        }
        self.after(TIMEOUT_MS, Event::TimedOut { exchange: id });
    }

    pub(crate) fn on_request(&mut self, id: u64) {
        let Some(&Exchange { from, to, epoch, .. }) = self.exchanges.get(&id) else { return };
        if !self.arrives(from, to, epoch) {
            return;
        }
        let (asker, now) = (self.stations[from].id, self.clock(to));
        let is_busy = self.network.percent(self.scenario.busy) && !self.is_quiet();
        let request = Request::decode(&self.exchanges[&id].request);
        let (reader, Some(running)) = (self.stations[to].disk.reader(), &mut self.stations[to].running) else { return };
        let is_allowed = running.allowances.allows(&asker, now) && !is_busy;
        let answered = match request {
            Err(error) => return self.fail(format_args!("s{from} sent a request that cannot be read: {error}")),
            Ok(_) if !is_allowed => return self.send_answer::<SignedBlock>(id, &Response::Busy),
            Ok(request) if request.is_about_blocks() => {
                return match answer_about_blocks(&Blocks(&reader), self.rules.scheme(), &request) {
                    Ok(response) => self.send_answer(id, &response),
                    Err(error) => self.fail(format_args!("s{to} cannot answer: {error}")),
                };
            }
            Ok(request) => {
                let other_run = match &request {
                    Request::Status { alive } => running.runs.heard(asker, alive.as_ref(), now),
                    _ => None,
                };
                let node = running.node.lock();
                answer_about_pending(&node.state, &asker, &request, other_run)
            }
        };
        match answered {
            Ok(response) => self.leave_answer(to, id, response),
            Err(error) => self.fail(format_args!("s{to} cannot answer: {error}")),
        }
    }

    pub(crate) fn send_answer<B: Encode>(&mut self, id: u64, response: &Response<B>) {
        let Some(&Exchange { from, to, .. }) = self.exchanges.get(&id) else { return };
        let response_bytes = encode(response);
        if response_bytes.len() > MAX_RESPONSE_BYTES {
            self.fail(format_args!("s{to} answers with {} bytes", response_bytes.len()));
        }
        if let Response::Batches(batches) = response {
            for batch in batches {
                let id = batch.id(&self.rules);
                if !self.numbers.contains_key(&batch.header.station) {
                    continue;
                }
                if let Err(broken) = self.clients.leaves_as(batch.place(), id) {
                    self.fail(format_args!("s{to} {broken}"));
                }
            }
        }
        let (asker, now) = (self.stations[from].id, self.clock(to));
        if let Some(running) = &mut self.stations[to].running {
            running.allowances.draw(&asker, response_bytes.len() as u64, now);
        }
        if let Some(delay) = self.transmit(to, from).into_iter().min() {
            self.after(delay, Event::Answer { exchange: id, response: response_bytes });
        }
    }

    pub(crate) fn on_answer(&mut self, id: u64, bytes: &[u8]) {
        let Some(&Exchange { from, to, epoch, .. }) = self.exchanges.get(&id) else { return };
        if !self.arrives(to, from, epoch) {
            return;
        }
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        match Response::decode(bytes) {
            Ok(response) => {
                self.line(format_args!("s{to} answers s{from} as {id}: {} bytes", bytes.len()));
                let bytes_out = exchange.request.len() as u64;
                let traffic = Traffic { bytes_in: bytes.len() as u64, bytes_out };
                self.answer(exchange, Ok((response, traffic)));
            }
            Err(error) => self.fail(format_args!("s{to} sent an answer that cannot be read: {error}")),
        }
    }

    pub(crate) fn on_timed_out(&mut self, id: u64) {
        if let Some(exchange) = self.exchanges.remove(&id) {
            self.line(format_args!("s{} has no answer to {id}", exchange.from));
            self.answer(exchange, Err(SessionError::Timeout));
        }
    }

    /// The connection to a peer closed: nothing that was asked is answered any more.
    pub(crate) fn break_off(&mut self, station: usize, peer: usize) {
        let connected = self.links.connected(station, peer);
        let is_broken =
            |exchange: &Exchange| exchange.from == station && exchange.to == peer && Some(exchange.epoch) != connected;
        let broken = self.exchanges.iter().filter(|(_, exchange)| is_broken(exchange));
        let broken: Vec<u64> = broken.map(|(id, _)| *id).collect();
        for id in broken {
            if let Some(exchange) = self.exchanges.remove(&id) {
                self.answer(exchange, Err(SessionError::Disconnected));
            }
        }
    }

    /// Verifies what a peer gave, as the exchange does.
    pub(crate) fn verify(&self, batches: Vec<SignedBatch>) -> Checked {
        batches.into_iter().map(|batch| batch.verify(&self.rules)).collect()
    }

    fn answer(&mut self, exchange: Exchange, answer: Result<(Response, Traffic), SessionError>) {
        let Exchange { from: number, to, waiting, .. } = exchange;
        let (from, now) = (self.stations[to].id, self.clock(number));
        if let Some(running) = &self.stations[number].running {
            running.node.lock().now = now;
        }
        let batches = match &answer {
            Ok((Response::Batches(batches), _)) => batches.clone(),
            _ => Vec::new(),
        };
        match waiting {
            // The sync may have ended meanwhile.
            Waiting::Sync(answer_to) => drop(answer_to.send(answer)),
            Waiting::Batches(block) => {
                let checked = self.verify(batches);
                self.input(number, Input::FetchedBatches { block, from, checked });
            }
            Waiting::Log => {
                let checked = self.verify(batches);
                self.input(number, Input::FetchedLog { from, checked });
            }
        }
    }
}

fn name_of(request: &Request) -> &'static str {
    match request {
        Request::Status { .. } => "status",
        Request::Headers { .. } => "headers",
        Request::Blocks { .. } => "blocks",
        Request::BlockBatches { .. } => "batches of a block",
        Request::Pending { .. } => "pending logs",
        Request::Logs { .. } => "batches of logs",
        Request::Opinion(_) => "an opinion",
    }
}
