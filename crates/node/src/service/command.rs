//! Asking the service: a handle, and the commands that it sends.

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::ledger::NoBlock;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::state::ReadError;
use qfzz_sync::report::Fault;
use qfzz_sync::session::{Handed, Taken};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::effect::{Checked, Input, Receipt, Reply};
use super::journaling::{Asker, Told};
use super::state::{NotSigning, State};
use crate::after;
use crate::network::{MessageRef, Topic};
use crate::store::StoreReader;

/// Commands that may wait for the worker; whoever sends more waits.
pub(super) const COMMAND_CAPACITY: usize = 1_024;

/// What answers a question, once what it saw is on disk.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// A question to the state, asked in the worker's turn.
pub(super) type Question = Box<dyn FnOnce(&State<StoreReader>) -> Answer + Send>;

/// What somebody waits for.
pub(super) enum Request {
    Submit(Vec<Record>),
    Mine,
    Blocks(Vec<VerifiedBlock>),
    Batches(StationId, Checked),
}

pub(super) enum Command {
    Ask {
        request: Request,
        asker: Asker,
    },
    /// `hand` is let go of when the message was looked at.
    Gossip {
        message: MessageRef,
        source: StationId,
        topic: Topic,
        data: Vec<u8>,
        hand: OwnedSemaphorePermit,
    },
    Tell(Input),
    /// Answered once what the answer rests on is on disk and, where it is read up on, every reader of the store sees it.
    Query {
        question: Question,
        is_read_up_on: bool,
    },
    Stop {
        respond_to: oneshot::Sender<()>,
    },
}

/// Why the service did not do what it was asked; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Too much waits to be signed.
    #[error("too many records wait to be signed: try again in a moment")]
    Overloaded,
    /// The disk is full.
    #[error("the disk is full: free some space where the data directory lies")]
    DiskFull,
    /// There is no block to mine, though something may be pending.
    #[error(transparent)]
    NotMined(#[from] NoBlock),
    /// Nothing is signed now.
    #[error(transparent)]
    NotSigning(#[from] NotSigning),
    /// The service has stopped.
    #[error("the station is stopping")]
    Stopped,
    /// The store failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct ServiceHandle {
    pub(super) commands: mpsc::Sender<Command>,
}

impl ServiceHandle {
    async fn ask(&self, request: Request) -> Result<Reply, ServiceError> {
        // Such a task is sure to be polled, and on a runtime on which a task may wait for the disk.
        let (asker, mut answer) = Asker::new(after::is_turn());
        let sent = self.commands.send(Command::Ask { request, asker }).await;
        sent.map_err(|_| ServiceError::Stopped)?;
        loop {
            match answer.await.map_err(|_| ServiceError::Stopped)? {
                Told::Reply(reply) => return Ok(reply),
                Told::Turn(turn) => answer = turn.take(),
            }
        }
    }

    /// Signs records, valid by themselves; returns once they are on disk, synced.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn submit(&self, records: Vec<Record>) -> Result<Vec<Receipt>, ServiceError> {
        match self.ask(Request::Submit(records)).await? {
            Reply::Submitted(receipts) => Ok(receipts),
            Reply::Overloaded => Err(ServiceError::Overloaded),
            Reply::DiskFull => Err(ServiceError::DiskFull),
            Reply::NotSigning(reason) => Err(reason.into()),
            Reply::Mined(_) | Reply::NotMined(_) | Reply::Taken(..) => Err(ServiceError::Stopped),
        }
    }

    /// Mines a block now; `None` if nothing is pending.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn mine(&self) -> Result<Option<VerifiedBlock>, ServiceError> {
        match self.ask(Request::Mine).await? {
            Reply::Mined(block) => Ok(block),
            Reply::NotMined(reason) => Err(reason.into()),
            Reply::DiskFull => Err(ServiceError::DiskFull),
            Reply::NotSigning(reason) => Err(reason.into()),
            Reply::Overloaded => Err(ServiceError::Overloaded),
            Reply::Submitted(_) | Reply::Taken(..) => Err(ServiceError::Stopped),
        }
    }

    async fn take(&self, request: Request) -> Handed {
        match self.ask(request).await {
            Ok(Reply::Taken(taken, outcome)) => (taken, outcome),
            Ok(
                Reply::Submitted(_)
                | Reply::Mined(_)
                | Reply::Overloaded
                | Reply::DiskFull
                | Reply::NotMined(_)
                | Reply::NotSigning(_),
            )
            | Err(_) => (Taken::default(), Err(Fault::Here)),
        }
    }

    /// Takes in what a sync fetched; returns once that is on disk. What ended it early is the peer's fault, or this
    /// station is stopping.
    pub async fn take_blocks(&self, blocks: Vec<VerifiedBlock>) -> Handed {
        self.take(Request::Blocks(blocks)).await
    }

    /// Takes in what a sync with `peer` fetched; returns once that is on disk. What ended it early is the peer's fault,
    /// or this station is stopping.
    pub async fn take_batches(&self, peer: StationId, checked: Checked) -> Handed {
        self.take(Request::Batches(peer, checked)).await
    }

    /// Asks the state in the worker's turn; returns once everything that the answer rests on is on disk, and every
    /// reader of the store sees it.
    ///
    /// # Errors
    /// [`ServiceError::Stopped`].
    pub async fn query<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State<StoreReader>) -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.question(question, true).await
    }

    /// As [`query`](Self::query), but not until every reader sees it: for who reads nothing in the store because of the
    /// answer.
    ///
    /// # Errors
    /// [`ServiceError::Stopped`].
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State<StoreReader>) -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.question(question, false).await
    }

    async fn question<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State<StoreReader>) -> T + Send + 'static,
        is_read_up_on: bool,
    ) -> Result<T, ServiceError> {
        let (respond_to, answer) = oneshot::channel();
        let question: Question = Box::new(move |state| {
            let found = question(state);
            // Whoever asked may have gone.
            Box::new(move || drop(respond_to.send(found)))
        });
        self.commands.send(Command::Query { question, is_read_up_on }).await.map_err(|_| ServiceError::Stopped)?;
        answer.await.map_err(|_| ServiceError::Stopped)
    }

    /// Tells what happened.
    pub(crate) async fn tell(&self, input: Input) {
        // A service that has stopped needs to know no more.
        let _ = self.commands.send(Command::Tell(input)).await;
    }

    /// Hands over a gossiped message, whose verdict is owed. `hand` is let go of when it was looked at.
    pub(crate) async fn gossip(
        &self,
        message: MessageRef,
        source: StationId,
        topic: Topic,
        data: Vec<u8>,
        hand: OwnedSemaphorePermit,
    ) {
        let _ = self.commands.send(Command::Gossip { message, source, topic, data, hand }).await;
    }

    /// Stops the service: what was acknowledged is on disk when this returns.
    pub async fn stop(&self) {
        let (respond_to, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop { respond_to }).await.is_ok() {
            let _ = stopped.await;
        }
    }
}
