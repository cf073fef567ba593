//! The node, as `run` sees it.

use std::convert::Infallible;
use std::net::SocketAddr;

use libp2p::Multiaddr;
use qfzz_ledger_core::ids::StationId;

use crate::config::Config;
use crate::data_dir::LockedDataDir;
use crate::identity::Identity;

/// Why a node does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("this build has no node: it can only ask one")]
    NotInThisBuild,
}

/// A node that runs.
pub(super) struct Daemon(Infallible);

impl Daemon {
    /// Starts a node; it listens when this returns.
    pub(super) async fn start(_config: Config, _dir: LockedDataDir, _identity: Identity) -> Result<Self, StartError> {
        Err(StartError::NotInThisBuild)
    }

    /// The station that it is.
    pub(super) fn station_id(&self) -> StationId {
        match self.0 {}
    }

    /// Where libp2p listens, with the peer id.
    pub(super) fn addresses(&self) -> Vec<Multiaddr> {
        match self.0 {}
    }

    /// What others join with; `None` before this node has a federation.
    pub(super) fn ticket(&self) -> Option<String> {
        match self.0 {}
    }

    /// Where the HTTP API listens.
    pub(super) fn api_address(&self) -> SocketAddr {
        match self.0 {}
    }

    /// Waits until the node stops by itself, which it does only when it cannot go on.
    pub(super) async fn failed(&mut self) -> StartError {
        match self.0 {}
    }

    /// Stops the node: nothing of it runs when this returns.
    pub(super) async fn stop(self) {
        match self.0 {}
    }
}
