//! Gossip: how messages are named, spread and held against their senders.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use libp2p::gossipsub::{
    self, ConfigBuilder, IdentityTransform, Message, MessageAcceptance, MessageAuthenticity, MessageId,
    PeerScoreParams, PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use qfzz_ledger_core::limits::MAX_GOSSIP_BYTES;
use sha2::{Digest, Sha256};

use super::event::{Topic, Verdict};
use super::names::Names;

/// What a message of [`MAX_GOSSIP_BYTES`] grows by on the wire, in bytes, at most: its topic and protobuf framing.
const FRAMING_BYTES: usize = 1024;

/// How often scores decay.
const DECAY_INTERVAL: Duration = Duration::from_secs(1);

/// How long rejected messages are held against a peer.
const REJECTS_FADE_AFTER: Duration = Duration::from_secs(600);

/// How long good messages speak for a peer: about a quiet station's pause.
const DELIVERIES_FADE_AFTER: Duration = Duration::from_secs(60);

/// Below this gossip hears nothing more of a peer. A topic counts `5 * rejects^2`, so 5 rejects pass it.
const GRAYLIST: f64 = -80.0;

/// Gossip of our two topics.
pub(super) type Behaviour = gossipsub::Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// The SHA-256 of its payload: what a hostile peer cannot choose so that another message is taken for known.
fn message_id(message: &Message) -> MessageId {
    MessageId::from(Sha256::digest(&message.data).to_vec())
}

/// Gossip, subscribed to both topics.
///
/// Messages are anonymous: what they carry is signed by the station that wrote it. Each waits for our verdict before
/// it is forwarded.
pub(super) fn behaviour(names: &Names) -> Result<Behaviour, &'static str> {
    let topics = [Topic::Batches, Topic::Blocks].map(|topic| names.topic(topic));
    let config = ConfigBuilder::default()
        .mesh_n(4)
        .mesh_n_low(2)
        .mesh_n_high(8)
        .mesh_outbound_min(1)
        .flood_publish(true)
        .max_transmit_size(MAX_GOSSIP_BYTES + FRAMING_BYTES)
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .build()
        .map_err(|_| "gossip is configured with values that do not fit together")?;
    let filter = WhitelistSubscriptionFilter(topics.iter().map(|topic| topic.hash()).collect::<HashSet<_>>());
    let mut behaviour = Behaviour::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)?;
    let (params, thresholds) = scores(names);
    behaviour.with_peer_score(params, thresholds).map_err(|_| "the scores of gossip do not fit together")?;
    for topic in topics {
        behaviour.subscribe(topic).map_err(|_| "gossip refuses our own topic")?;
    }
    Ok(behaviour)
}

/// Scores for a federation of 3 to 50 stations, some of them quiet for hours: rejected messages cost, being idle earns
/// nothing, being quiet costs nothing, and stations behind one address are not suspects.
fn scores(names: &Names) -> (PeerScoreParams, PeerScoreThresholds) {
    let decay = |after: Duration| gossipsub::score_parameter_decay_with_base(after, DECAY_INTERVAL, 0.01);
    let topic = TopicScoreParams {
        topic_weight: 0.5,
        // Time in the mesh: not rewarded.
        time_in_mesh_weight: 0.0,
        time_in_mesh_quantum: Duration::from_secs(60),
        time_in_mesh_cap: 1.0,
        // First deliveries: worth less than one reject, so nobody can save up for an attack.
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_decay: decay(DELIVERIES_FADE_AFTER),
        first_message_deliveries_cap: 50.0,
        // Too few deliveries: in a small, quiet mesh that says nothing.
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: decay(REJECTS_FADE_AFTER),
        ..TopicScoreParams::default()
    };
    let params = PeerScoreParams {
        topics: HashMap::from([Topic::Batches, Topic::Blocks].map(|name| (names.topic(name).hash(), topic.clone()))),
        topic_score_cap: 10.0,
        app_specific_weight: 0.0,
        ip_colocation_factor_weight: -1.0,
        ip_colocation_factor_threshold: 10.0,
        ip_colocation_factor_whitelist: HashSet::from([
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]),
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: decay(DELIVERIES_FADE_AFTER),
        decay_interval: DECAY_INTERVAL,
        decay_to_zero: 0.01,
        retain_score: REJECTS_FADE_AFTER,
        // A slow uplink is no offence.
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds {
        gossip_threshold: -10.0,
        publish_threshold: -40.0,
        graylist_threshold: GRAYLIST,
        ..PeerScoreThresholds::default()
    };
    (params, thresholds)
}

/// A verdict in gossipsub's words.
pub(super) fn acceptance(verdict: Verdict) -> MessageAcceptance {
    match verdict {
        Verdict::Accept => MessageAcceptance::Accept,
        Verdict::Ignore => MessageAcceptance::Ignore,
        Verdict::Reject => MessageAcceptance::Reject,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qfzz_ledger_core::ids::FederationId;

    #[test]
    fn configuration_and_scores_are_consistent() {
        let names = Names::of(FederationId::ZERO);
        let (params, thresholds) = scores(&names);
        assert_eq!(params.validate(), Ok(()));
        assert_eq!(thresholds.validate(), Ok(()));
        let behaviour = behaviour(&names).expect("a consistent configuration");
        assert_eq!(behaviour.topics().count(), 2);
    }

    #[test]
    fn a_message_is_named_after_its_payload_alone() {
        let topic = Names::of(FederationId::ZERO).blocks.hash();
        let message = |data: &[u8], sequence_number| {
            message_id(&Message { source: None, data: data.to_vec(), sequence_number, topic: topic.clone() })
        };
        assert_eq!(message(b"abc", None), message(b"abc", Some(1)));
        assert_eq!(message(b"abc", None).to_string(), hex::encode(Sha256::digest(b"abc")));
    }
}
