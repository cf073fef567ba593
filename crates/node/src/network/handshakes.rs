//! The handshakes of those who connect: on a thread of their own, to which all others go before.
//!
//! A handshake takes about a millisecond of a core before anything is known of who asks for it. So that a crowd of
//! strangers delays nobody who is connected, the system runs that thread when no other of this program wants to run.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// How far the thread stands back, on Unix' scale from 0 to 19: it still gets a tenth of a busy core.
const NICENESS: i32 = 10;

type Connection = (PeerId, StreamMuxerBox);

/// A transport whose inbound handshakes run aside.
pub(super) struct Aside {
    inner: Boxed<Connection>,
    runtime: Option<Runtime>,
}

impl Aside {
    /// # Errors
    /// Where the thread cannot be started.
    pub(super) fn new(inner: Boxed<Connection>) -> io::Result<Self> {
        let stand_back = || {
            // Where the system has no such thing, handshakes run beside the rest.
            let _ = rustix::process::setpriority_process(None, NICENESS);
        };
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("qfzz-handshake").enable_all().on_thread_start(stand_back);
        Ok(Self { inner, runtime: Some(builder.build()?) })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // What is under way there concerns nobody any more, and a runtime must not be waited for in a task.
            runtime.shutdown_background();
        }
    }
}

impl Transport for Aside {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;
    type Dial = <Boxed<Connection> as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let Poll::Ready(event) = Pin::new(&mut self.inner).poll(context) else { return Poll::Pending };
        let aside = self.runtime.as_ref().map(|runtime| runtime.handle().clone());
        Poll::Ready(event.map_upgrade(|handshake| -> Self::ListenerUpgrade {
            let Some(aside) = aside else { return Box::pin(handshake) };
            // It begins when it is waited for: only then it is known that it may.
            Box::pin(async move {
                let handshake = AbortOnDropHandle::new(aside.spawn(handshake));
                handshake.await.unwrap_or_else(|error| Err(io::Error::other(error)))
            })
        }))
    }
}
