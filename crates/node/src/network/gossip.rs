//! Gossip: how messages are named, spread and held against their senders.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use libp2p::gossipsub::{
    self, ConfigBuilder, Message, MessageAcceptance, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use qfzz_ledger_core::limits::MAX_GOSSIP_BYTES;
use sha2::{Digest, Sha256};

use super::event::{Topic, Verdict};
use super::names::Names;
use super::watch::{Behaviour, Router, Sieve};

/// What a frame may have beyond a message of [`MAX_GOSSIP_BYTES`], in bytes: topic and protobuf framing, and the 8 KiB by which
/// gossipsub reads. It holds what is read of the next frame against this one's limit, and would close the stream
/// of whoever sends two large messages in a row.
const FRAMING_BYTES: usize = 1024 + 8 * 1024;

/// Messages in one frame, at most. Stations send one.
const MAX_MESSAGES: usize = 64;

/// Frames that wait for a peer that does not read, at most: 16 MiB of the largest. Further messages are left out for
/// that peer, and sync brings them.
const MAX_QUEUED: usize = 256;

/// How often scores decay.
const DECAY_INTERVAL: Duration = Duration::from_secs(1);

/// How long rejected messages are held against a peer.
const REJECTS_FADE_AFTER: Duration = Duration::from_secs(600);

/// How long the score of a peer that is gone is kept. Whoever is left for what it did is kept away by other means.
const SCORES_KEPT: Duration = Duration::from_secs(60);

/// How long good messages speak for a peer: about a quiet station's pause.
const DELIVERIES_FADE_AFTER: Duration = Duration::from_secs(60);

/// Below this a peer is left. A topic counts `50 * rejects^2`, so one message that no honest station sends passes it, and
/// so do 13 broken promises or grafts out of turn within a minute, of which gossipsub forgives 6.
pub(super) const LEAVE_BELOW: f64 = -40.0;

/// Below this gossip hears nothing more of a peer, until it is left.
const GRAYLIST: f64 = -45.0;

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
        .max_publish_messages(MAX_MESSAGES)
        .connection_handler_queue_len(MAX_QUEUED)
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(message_id)
        .build()
        .map_err(|_| "gossip is configured with values that do not fit together")?;
    let filter = WhitelistSubscriptionFilter(topics.iter().map(|topic| topic.hash()).collect::<HashSet<_>>());
    let sieve = Sieve::new(topics.map(|topic| topic.hash()));
    let (anonymous, transform) = (MessageAuthenticity::Anonymous, sieve.clone());
    let mut router = Router::new_with_subscription_filter_and_transform(anonymous, config, filter, transform)?;
    let (params, thresholds) = scores(names);
    router.with_peer_score(params, thresholds).map_err(|_| "the scores of gossip do not fit together")?;
    for topic in topics {
        router.subscribe(topic).map_err(|_| "gossip refuses our own topic")?;
    }
    Ok(Behaviour::new(router, &sieve))
}

/// Scores for a federation of 2 to 50 stations, some of them quiet for hours: rejected messages cost, being idle earns
/// nothing, being quiet costs nothing, and stations behind one address are not suspects: how many connections come
/// from there is limited where they are opened.
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
        invalid_message_deliveries_weight: -100.0,
        invalid_message_deliveries_decay: decay(REJECTS_FADE_AFTER),
        ..TopicScoreParams::default()
    };
    let params = PeerScoreParams {
        topics: HashMap::from([Topic::Batches, Topic::Blocks].map(|name| (names.topic(name).hash(), topic.clone()))),
        topic_score_cap: 10.0,
        app_specific_weight: 0.0,
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: decay(DELIVERIES_FADE_AFTER),
        decay_interval: DECAY_INTERVAL,
        decay_to_zero: 0.01,
        retain_score: SCORES_KEPT,
        // A slow uplink is no offence.
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds {
        gossip_threshold: -10.0,
        publish_threshold: LEAVE_BELOW,
        graylist_threshold: GRAYLIST,
        ..PeerScoreThresholds::default()
    };
    (params, thresholds)
}

/// A verdict in gossipsub's words.
pub(super) fn acceptance(verdict: Verdict) -> MessageAcceptance {
    match verdict {
        Verdict::Accept => MessageAcceptance::Accept,
        Verdict::Ignore | Verdict::Unseen => MessageAcceptance::Ignore,
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
        assert_eq!(behaviour.router.topics().count(), 2);
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
