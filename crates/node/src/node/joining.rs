//! Joining a federation: by a peer's address or a ticket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use qfzz_ledger_core::federation::{Genesis, GenesisError};
use qfzz_ledger_core::ids::StationId;
use tokio::time::sleep;

use super::member::{Duty, Member, addresses_of};
use super::roster::{RedeemError, redeem_if_needed};
use super::{NodeError, Shared};
use crate::network::DialError;
use crate::network::genesis::{FetchError, fetch_genesis};
use crate::ticket::JoinTarget;

/// How long a node that starts waits for the first of its join targets to answer.
pub(super) const FIRST_TRY: Duration = Duration::from_secs(5);

/// Between two rounds over the join targets: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Why a federation could not be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// The peer could not be asked.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It could not be connected to.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It answered with a genesis that cannot be used.
    #[error("the peer's genesis cannot be used: {0}")]
    Genesis(#[from] GenesisError),
    /// It is not of the ticket's federation.
    #[error("the peer belongs to the federation `{}` ({}), not to the ticket's", .0.parameters.name, .0.id())]
    NotTheTickets(Box<Genesis>),
    /// Its invitation admitted nobody.
    #[error("{error}{}", remedy_of(error))]
    Invitation {
        /// Why.
        #[from]
        error: RedeemError,
    },
    /// The federation was joined, but this node could not start.
    #[error(transparent)]
    Start(Box<NodeError>),
}

/// What helps where a founder refused an invitation.
fn remedy_of(error: &RedeemError) -> String {
    match error {
        RedeemError::Refused(refusal) => format!(": {}", refusal.code_and_remedy().1),
        RedeemError::Later | RedeemError::Fetch(_) => String::new(),
    }
}

impl From<NodeError> for JoinError {
    fn from(error: NodeError) -> Self {
        Self::Start(Box::new(error))
    }
}

/// What joining came to.
pub(crate) struct Joined {
    pub(crate) peer: StationId,
    pub(crate) address: Multiaddr,
    pub(crate) member: Arc<Member>,
    /// Whether this node had no federation before.
    pub(crate) is_new: bool,
}

/// Joins by the first target that answers, and tries again until one does.
pub(super) async fn join_targets(shared: Arc<Shared>, targets: Vec<JoinTarget>) {
    if targets.is_empty() {
        return;
    }
    let mut targets = targets;
    let is_member = match shared.member() {
        Some(member) => !is_unused(&shared, &member).await,
        None => false,
    };
    if is_member {
        // The network itself keeps calling those addresses; invitations are for this.
        targets.retain(|target| target.invitation().is_some());
        if targets.is_empty() {
            return;
        }
    }
    let mut pause = RETRY.0;
    loop {
        for target in &targets {
            match join(&shared, target).await {
                Ok(_) => return,
                // Waiting does not help: whoever started this has to do something.
                Err(error @ JoinError::Invitation { error: RedeemError::Refused(_) }) if is_member => {
                    return tracing::error!("the invitation in network.join or --join is refused: {error}");
                }
                Err(error @ JoinError::Invitation { error: RedeemError::Refused(_) }) => {
                    shared.failure.send_replace(Some(format!("cannot join: {error}")));
                    return;
                }
                Err(error) if shared.failing.note(target, &error, Instant::now()) => {
                    let target = target.without_invitation();
                    tracing::warn!("cannot join by {target} yet, it is tried again by itself: {error}");
                }
                Err(error) => tracing::debug!("cannot join by {} yet: {error}", target.without_invitation()),
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Connects to a target, and joins its federation if this node has none, or one in which nothing has happened yet.
///
/// It runs to its end whether or not somebody waits for it: half a join would leave a node without a federation.
pub(crate) async fn join(shared: &Arc<Shared>, target: &JoinTarget) -> Result<Joined, JoinError> {
    let (shared, target) = (Arc::clone(shared), target.clone());
    let joined = tokio::spawn(async move { join_to_the_end(&shared, &target).await }).await;
    joined.unwrap_or_else(|error| Err(NodeError::Failed { reason: error.to_string() }.into()))
}

async fn join_to_the_end(shared: &Arc<Shared>, target: &JoinTarget) -> Result<Joined, JoinError> {
    let _one_at_a_time = shared.joining.lock().await;
    let mut last = None;
    for address in addresses_of(std::slice::from_ref(target)) {
        match join_by(shared, target, address).await {
            Ok(joined) => {
                // Whatever failed before is of no interest any more.
                shared.failing.clear();
                return Ok(joined);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("a target has an address"))
}

async fn join_by(shared: &Arc<Shared>, target: &JoinTarget, address: Multiaddr) -> Result<Joined, JoinError> {
    let current = shared.member();
    let is_free = match &current {
        Some(member) => is_unused(shared, member).await,
        None => true,
    };
    if let (Some(member), false) = (&current, is_free) {
        if let Some((ticket, secret)) =
            target.invitation().filter(|(it, _)| it.federation() == member.rules.federation())
        {
            redeem_if_needed(shared, ticket, secret).await?;
        }
        return dial(member, address, false).await;
    }
    let fetched = fetch_genesis(*shared.identity.seed(), address).await?;
    let genesis = Genesis::decode(&fetched.genesis).map_err(GenesisError::from)?;
    let id = genesis.id();
    if let JoinTarget::Ticket(ticket) = target
        && ticket.federation() != id
    {
        return Err(JoinError::NotTheTickets(Box::new(genesis)));
    }
    if let Some((ticket, secret)) = target.invitation() {
        redeem_if_needed(shared, ticket, secret).await?;
    }
    match current {
        Some(member) if member.rules.federation() == id => dial(&member, fetched.address, false).await,
        Some(member) => match leave(shared, member).await? {
            Some(member) => dial(&member, fetched.address, false).await,
            None => enter(shared, genesis, fetched.address).await,
        },
        None => enter(shared, genesis, fetched.address).await,
    }
}

/// Whether the federation that this node is in was founded because none was named, and nothing has happened in it.
pub(super) async fn is_unused(shared: &Shared, member: &Member) -> bool {
    shared.dir.is_provisional() && member.is_pristine().await
}

/// Leaves a federation in which nothing has happened. Something may have until the last moment: then the node goes on
/// in it, as the member that is returned.
async fn leave(shared: &Arc<Shared>, member: Arc<Member>) -> Result<Option<Arc<Member>>, NodeError> {
    let genesis = member.rules.genesis().clone();
    tracing::info!(federation = %genesis.parameters.name, "leaving the federation that this station founded and nobody used");
    shared.set_member(None);
    member.stop().await;
    // Nothing more can be acknowledged now.
    let is_empty = member.is_store_empty();
    drop(member);
    if is_empty {
        shared.dir.forget_federation()?;
        return Ok(None);
    }
    let member = Member::start(shared, genesis, Duty::Everything).await?;
    shared.set_member(Some(Arc::clone(&member)));
    Ok(Some(member))
}

async fn dial(member: &Arc<Member>, address: Multiaddr, is_new: bool) -> Result<Joined, JoinError> {
    let peer = member.network.dial(address.clone()).await?;
    Ok(Joined { peer, address, member: Arc::clone(member), is_new })
}

/// Takes part in the federation of `genesis` from now on.
async fn enter(shared: &Arc<Shared>, genesis: Genesis, address: Multiaddr) -> Result<Joined, JoinError> {
    tracing::info!(federation = %genesis.parameters.name, id = %genesis.id(), "joining a federation");
    let encoded = genesis.encode();
    let member = Member::start(shared, genesis, Duty::Everything).await?;
    // Written last: a genesis that cannot be used is not remembered.
    if let Err(error) = shared.dir.write_genesis(&encoded) {
        member.stop().await;
        return Err(NodeError::from(error).into());
    }
    if shared.is_stopping() {
        member.stop().await;
        return Err(NodeError::Failed { reason: "the station is stopping".to_owned() }.into());
    }
    shared.set_member(Some(Arc::clone(&member)));
    dial(&member, address, true).await
}
