//! What the federation's protocols and topics are called, and how stations name themselves to each other.

use libp2p::gossipsub::{IdentTopic, TopicHash};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use qfzz_ledger_core::ids::{FederationId, Name, StationId};

use super::event::Topic;

/// What every station answers with the encoded parameters of its genesis, also to those without a federation.
pub(super) const GENESIS_PROTOCOL: StreamProtocol = StreamProtocol::new("/qfzz/genesis/1");

/// How a station without a federation introduces itself in identify.
pub(super) const NEWCOMER: &str = "qfzz/1";

/// The program and its version, as identify tells peers.
pub(super) const AGENT: &str = concat!("qfzz/", env!("CARGO_PKG_VERSION"));

/// What precedes the 32 key bytes in the peer id of an Ed25519 key: identity multihash of 36 bytes, protobuf.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Protocol names and topics of one federation. They carry the first 16 hex digits of its id, so that stations of
/// different federations have nothing to say to each other.
#[derive(Clone)]
pub(super) struct Names {
    pub(super) kad: StreamProtocol,
    pub(super) sync: StreamProtocol,
    pub(super) invite: StreamProtocol,
    pub(super) batches: IdentTopic,
    pub(super) blocks: IdentTopic,
}

impl Names {
    pub(super) fn of(federation: FederationId) -> Self {
        let full = federation.to_string();
        let short = &full[..16];
        let protocol = |name: &str| {
            StreamProtocol::try_from_owned(format!("/qfzz/{short}/{name}/1")).expect("it starts with a slash")
        };
        Self {
            kad: protocol("kad"),
            sync: protocol("sync"),
            invite: protocol("invite"),
            batches: IdentTopic::new(format!("qfzz/{short}/batches/1")),
            blocks: IdentTopic::new(format!("qfzz/{short}/blocks/1")),
        }
    }

    pub(super) fn topic(&self, topic: Topic) -> &IdentTopic {
        match topic {
            Topic::Batches => &self.batches,
            Topic::Blocks => &self.blocks,
        }
    }

    /// Which of our topics `hash` stands for.
    pub(super) fn topic_of(&self, hash: &TopicHash) -> Option<Topic> {
        [Topic::Batches, Topic::Blocks].into_iter().find(|topic| self.topic(*topic).hash() == *hash)
    }
}

/// Who a peer says it is, in identify's protocol version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Introduction {
    /// A station of the federation with this id and name.
    Member { federation: FederationId, name: Name },
    /// A station that has no federation yet.
    Newcomer,
    /// Some other program that speaks libp2p.
    Stranger,
}

/// The protocol version by which a station of this federation introduces itself.
pub(super) fn introduce(federation: FederationId, name: &Name) -> String {
    format!("{NEWCOMER} {federation} {name}")
}

impl Introduction {
    /// Reads what a peer sent; identify bounds it at 4 KiB.
    pub(super) fn read(protocol_version: &str) -> Self {
        if protocol_version == NEWCOMER {
            return Self::Newcomer;
        }
        let mut words = protocol_version.splitn(3, ' ');
        if words.next() != Some(NEWCOMER) {
            return Self::Stranger;
        }
        match (words.next().map(str::parse), words.next().map(Name::new)) {
            (Some(Ok(federation)), Some(Ok(name))) => Self::Member { federation, name },
            _ => Self::Stranger,
        }
    }
}

/// The agent version by which a station tells its peers what it calls itself.
pub(super) fn agent(name: &Name) -> String {
    format!("{AGENT} {name}")
}

/// What a peer calls itself, by its agent version; `None` for another program, and for a station without a name.
pub(super) fn name_in(agent: &str) -> Option<Name> {
    let (program, name) = agent.split_once(' ')?;
    if !program.starts_with("qfzz/") || name.is_empty() {
        return None;
    }
    Name::new(name).ok()
}

/// The peer id of a station: the identity multihash of its key's protobuf.
pub(crate) fn peer_of(station: StationId) -> PeerId {
    let mut bytes = [0; 38];
    bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
    bytes[6..].copy_from_slice(station.as_bytes());
    PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

/// The station behind a peer id; `None` if its key is not Ed25519.
pub(crate) fn station_of(peer: &PeerId) -> Option<StationId> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&PEER_ID_PREFIX)?;
    key.try_into().ok().map(StationId::from_bytes)
}

/// The peer that `address` names at its end.
pub(crate) fn peer_in(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// `address` without the peer that it names at its end.
pub(super) fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if peer_in(&address).is_some() {
        address.pop();
    }
    address
}

/// Whether `address` can be dialled over TCP or UDP: a host that is not `0.0.0.0` or `::`, a port, no relay, and no
/// longer than `MAX_ADDRESS_BYTES`.
pub(crate) fn is_dialable(address: &Multiaddr) -> bool {
    if address.len() > super::MAX_ADDRESS_BYTES {
        return false;
    }
    let mut parts = address.iter();
    let host = match parts.next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => true,
        _ => false,
    };
    let port = matches!(parts.next(), Some(Protocol::Tcp(1..) | Protocol::Udp(1..)));
    host && port && parts.all(|part| !matches!(part, Protocol::P2pCircuit))
}

/// Whether `address` is on the loopback interface.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_and_its_peer_id_are_the_same_text_and_convert_both_ways() {
        let key = libp2p::identity::Keypair::ed25519_from_bytes([7; 32]).expect("any 32 bytes are a seed");
        let peer = key.public().to_peer_id();
        let station = station_of(&peer).expect("an Ed25519 key");
        assert_eq!(station.to_string(), peer.to_string());
        assert_eq!(peer_of(station), peer);
        assert_eq!(station_of(&PeerId::random()), None);
    }

    #[test]
    fn names_carry_the_first_16_digits_of_the_federation() {
        let names = Names::of(FederationId::from_bytes([0xab; 32]));
        assert_eq!(names.kad.as_ref(), "/qfzz/abababababababab/kad/1");
        assert_eq!(names.sync.as_ref(), "/qfzz/abababababababab/sync/1");
        assert_eq!(names.batches.hash().as_str(), "qfzz/abababababababab/batches/1");
        assert_eq!(names.topic_of(&names.blocks.hash()), Some(Topic::Blocks));
        assert_eq!(names.topic_of(&TopicHash::from_raw("qfzz/abababababababab/votes/1")), None);
    }

    #[test]
    fn an_introduction_is_read_as_it_was_written_and_nothing_else_is_taken_for_one() {
        let federation = FederationId::from_bytes([1; 32]);
        let name = Name::new("Radio Nord Süd").expect("a name");
        let version = introduce(federation, &name);
        assert_eq!(Introduction::read(&version), Introduction::Member { federation, name });
        assert_eq!(Introduction::read(NEWCOMER), Introduction::Newcomer);
        for other in ["ipfs/1.0.0", "qfzz/2 x y", "qfzz/1 0101 short", &format!("{version}\n"), "", &version[..70]] {
            assert_eq!(Introduction::read(other), Introduction::Stranger, "{other:?}");
        }
    }

    #[test]
    fn a_station_tells_its_name_beside_its_version() {
        for name in ["Radio Nord Süd", "x"] {
            let name = Name::new(name).expect("a name");
            assert_eq!(name_in(&agent(&name)), Some(name));
        }
        let long = format!("qfzz/1 {}", "x".repeat(65));
        for other in ["", AGENT, "kubo/0.1 North", "qfzz/1 ", "qfzz/1 a\u{1b}b", &long] {
            assert_eq!(name_in(other), None, "{other:?}");
        }
    }

    #[test]
    fn only_addresses_with_host_and_port_are_dialable() {
        for good in ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/udp/5/quic-v1", "/dns4/radio.example/tcp/4811"] {
            assert!(is_dialable(&good.parse().expect(good)), "{good}");
        }
        let long = format!("/dns4/{}/tcp/1", "x".repeat(300));
        for bad in ["/ip4/0.0.0.0/tcp/1", "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1", "/unix/tmp", "/memory/1", &long] {
            assert!(!is_dialable(&bad.parse().expect(bad)), "{bad}");
        }
    }
}
