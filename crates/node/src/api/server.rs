//! The API's listener: takes connections, cuts those that stall, and stops in time.
//!
//! hyper serves each connection on its own task, because `axum::serve` has no time limit for request heads.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::auth::Access;
use super::port::Station;
use super::routes::{self, Shared};
use crate::after;

/// How long to wait before accepting again when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a request's head from which hyper may refuse it with 431; it may read up to twice as much first.
const HEAD_BYTES: usize = 64 * 1024;

/// What a caller may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more wait in the system's queue.
    pub connections: usize,
    /// Event streams at once; more get 503.
    pub streams: usize,
    /// Bulk bodies at once, each of up to 8 MiB in memory; more get 503.
    pub bulk: usize,
    /// For a request's head to arrive, also on a connection that is kept alive.
    pub head_time: Duration,
    /// For a request's body to arrive.
    pub body_time: Duration,
    /// For the station to answer a question.
    pub answer_time: Duration,
    /// For the station to mine, dial, sync or verify.
    pub work_time: Duration,
    /// For a client to take the next part of an answer; who takes none is cut off.
    pub take_time: Duration,
    /// For open requests to end at a stop; after it they are cut off. The node has 5 s to stop in all.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            streams: 64,
            bulk: 4,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            answer_time: Duration::from_secs(30),
            work_time: Duration::from_secs(600),
            take_time: Duration::from_secs(30),
            stop_time: Duration::from_millis(1_500),
        }
    }
}

/// A running API.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Serves the API on `listener` until it is stopped.
///
/// `access` must have been made for the listener's address.
///
/// # Errors
/// An [`io::Error`] where the listener has no address.
pub fn start<S: Station>(listener: TcpListener, station: S, access: Access, limits: Limits) -> io::Result<Handle> {
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let app = Shared::new(station, access, limits, stop.clone());
    let worker = Worker {
        router: routes::router(app),
        permits: Arc::new(Semaphore::new(limits.connections)),
        connections: JoinSet::new(),
        limits,
        stop: stop.clone(),
    };
    let task = tokio::spawn(worker.run(listener));
    Ok(Handle { address, stop, task })
}

impl Handle {
    /// The address that it listens on, its port never 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, ends the event streams, lets open requests end within [`Limits::stop_time`], cuts
    /// off those that don't, and returns when no connection is left. What a bulk request has handed to the station by
    /// then, the station stores or refuses.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the API's listener failed");
        }
    }
}

struct Worker {
    router: Router,
    permits: Arc<Semaphore>,
    connections: JoinSet<()>,
    limits: Limits,
    stop: CancellationToken,
}

impl Worker {
    async fn run(mut self, listener: TcpListener) {
        while let Some((socket, permit)) = self.next(&listener).await {
            self.on_connection(socket, permit);
        }
        drop(listener);
        let all_ended = async { while self.connections.join_next().await.is_some() {} };
        if timeout(self.limits.stop_time, all_ended).await.is_err() {
            tracing::warn!(open = self.connections.len(), "cutting off requests that did not end in time");
        }
        self.connections.shutdown().await;
    }

    /// The next connection, once there may be one more; `None` at the stop.
    async fn next(&mut self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let stop = self.stop.clone();
        let accepted = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
            loop {
                match listener.accept().await {
                    Ok((socket, _)) => return Some((socket, permit)),
                    Err(error) => {
                        tracing::warn!(%error, "the API cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accepted).await.flatten()
    }

    fn on_connection(&mut self, socket: TcpStream, permit: OwnedSemaphorePermit) {
        while self.connections.try_join_next().is_some() {}
        let (router, stop, limits) = (self.router.clone(), self.stop.clone(), self.limits);
        self.connections.spawn(async move {
            let mut served = pin!(serve(socket, router, limits, stop));
            // An answer leaves in the turn in which it is made, before what is put off in it.
            let served = poll_fn(|context| after::run(|| served.as_mut().poll(context)));
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection to the API ended early");
            }
            drop(permit);
        });
    }
}

/// Serves one connection until it ends; at the stop, until the request under way is answered.
async fn serve(socket: TcpStream, router: Router, limits: Limits, stop: CancellationToken) -> Result<(), hyper::Error> {
    // Answers are small and latency is what a client sees; without it events would wait for acknowledgements.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(Some(limits.take_time));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(HEAD_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(Box::pin(socket)), TowerToHyperService::new(router)));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
