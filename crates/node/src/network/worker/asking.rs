//! Requests of ours.

use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::ConnectionId;
use qfzz_ledger_core::ids::StationId;
use tokio::sync::oneshot;

use super::super::handle::RequestError;
use super::super::names::peer_of;
use super::Worker;

/// Who waits for an answer.
type Asked = oneshot::Sender<Result<Vec<u8>, RequestError>>;

/// How often a request is sent again because its connection was closed under it while another stands. Two stations that
/// dial each other have two for a moment, and libp2p sends requests over either.
const REPEATS: u8 = 2;

/// A request under way.
pub(super) struct Asking {
    peer: StationId,
    data: Vec<u8>,
    repeats_left: u8,
    respond_to: Asked,
}

impl Asking {
    /// Tells who asked, who may have left.
    pub(super) fn end(self, outcome: Result<Vec<u8>, RequestError>) {
        let _ = self.respond_to.send(outcome);
    }
}

impl Worker {
    pub(super) fn on_request(&mut self, peer: StationId, data: Vec<u8>, respond_to: Asked) {
        self.ask(Asking { peer, data, repeats_left: REPEATS, respond_to });
    }

    /// A request over `connection` failed. Requests change nothing, so asking twice does no harm.
    pub(super) fn on_request_failed(&mut self, id: OutboundRequestId, connection: ConnectionId, error: RequestError) {
        let Some(mut asking) = self.requests.remove(&id) else { return };
        let has_other = self.links.get(asking.peer).is_some_and(|link| link.has_other(connection));
        if asking.repeats_left > 0 && has_other && error.may_be_the_connections() {
            asking.repeats_left -= 1;
            self.ask(asking);
        } else {
            asking.end(Err(error));
        }
    }

    fn ask(&mut self, asking: Asking) {
        if !self.links.is_confirmed(asking.peer) {
            return asking.end(Err(RequestError::Disconnected));
        }
        let id = self.swarm.behaviour_mut().sync.send_request(&peer_of(asking.peer), Ok(asking.data.clone()));
        self.requests.insert(id, asking);
    }
}
