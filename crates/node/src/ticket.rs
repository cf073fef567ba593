//! Tickets: one line of text by which an operator invites another station.
//!
//! `qfzz1`, then in base58: the encoded federation id, federation name and addresses, and the first 4 bytes of the
//! SHA-256 of these. A ticket holds nothing secret and proves nothing: the genesis that is fetched by it is checked
//! against the federation id. One that begins with `qfzz2` is a founder's invitation, and holds a secret after the rest.

use std::fmt;
use std::str::FromStr;

use libp2p::Multiaddr;
use qfzz_ledger_core::codec;
use qfzz_ledger_core::ids::{FederationId, Name};
use sha2::{Digest, Sha256};

use crate::invitations::Secret;
use crate::network::MAX_ADDRESS_BYTES;
use crate::network::names::{is_dialable, peer_in, station_of};

/// What every ticket begins with: the kind of text, and the version of its encoding.
const PREFIX: &str = "qfzz1";

/// What a ticket begins with that invites one station to be admitted.
const INVITATION_PREFIX: &str = "qfzz2";

/// Addresses in a ticket, at most.
pub const MAX_TICKET_ADDRESSES: usize = 16;

/// Bytes of the checksum. It catches typing errors, not forgery.
const CHECKSUM_BYTES: usize = 4;

/// Bytes of a ticket before base58, checksum aside, at most: id, name with its length, addresses with theirs, secret.
const MAX_BODY_BYTES: usize = 32 + 8 + 64 + 8 + MAX_TICKET_ADDRESSES * (8 + MAX_ADDRESS_BYTES) + 32;

/// Characters of a ticket, at most: base58 takes 1.37 characters a byte. Decoding is quadratic, so this is checked
/// before.
const MAX_TICKET_CHARS: usize = PREFIX.len() + (MAX_BODY_BYTES + CHECKSUM_BYTES) * 138 / 100 + 1;

/// Why a text or its parts are not a ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Does not begin with `qfzz1`.
    #[error("is not a ticket: a ticket begins with \"{PREFIX}\"")]
    NotATicket,
    /// Longer than any ticket.
    #[error("has {chars} characters, but a ticket has at most {MAX_TICKET_CHARS}")]
    TooLong {
        /// Characters given.
        chars: usize,
    },
    /// A character that tickets don't have, such as `0`, `O`, `I`, `l` or a space.
    #[error("holds a character that tickets do not have: copy it again, whole")]
    WrongCharacter,
    /// The checksum differs.
    #[error("is damaged or incomplete: copy it again, whole")]
    Damaged,
    /// The checksum is right, but not what it covers: made by another version, or by hand.
    #[error("was made by a version of qfzz that this one does not understand")]
    NotUnderstood,
    /// A ticket needs 1 to 16 addresses.
    #[error("has {count} addresses: a ticket needs 1 to {MAX_TICKET_ADDRESSES}")]
    AddressCount {
        /// Addresses given.
        count: usize,
    },
    /// An address lacks the peer id of a station, or cannot be dialled.
    #[error("holds the address {address}, which does not lead to a station: it needs host, port and /p2p/ peer id")]
    BadAddress {
        /// As given.
        address: Multiaddr,
    },
}

/// An invitation: which federation, and where its stations can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    federation: FederationId,
    name: Name,
    addresses: Vec<Multiaddr>,
    invitation: Option<Secret>,
}

/// A ticket's encoded part: its fields in order, addresses as bytes.
type Body = (FederationId, Name, Vec<Vec<u8>>);

impl Ticket {
    /// An invitation to `federation`, called `name`, by 1 to 16 addresses that end in `/p2p/` and a station's peer id.
    ///
    /// # Errors
    /// [`TicketError::AddressCount`], [`TicketError::BadAddress`].
    pub fn new(federation: FederationId, name: Name, addresses: Vec<Multiaddr>) -> Result<Self, TicketError> {
        if addresses.is_empty() || addresses.len() > MAX_TICKET_ADDRESSES {
            return Err(TicketError::AddressCount { count: addresses.len() });
        }
        let leads_to_station =
            |address: &&Multiaddr| is_dialable(address) && peer_in(address).is_some_and(|p| station_of(&p).is_some());
        if let Some(bad) = addresses.iter().find(|address| !leads_to_station(address)) {
            return Err(TicketError::BadAddress { address: bad.clone() });
        }
        Ok(Self { federation, name, addresses, invitation: None })
    }

    /// The same as a founder's invitation, whose addresses are all the founder's.
    pub fn with_invitation(self, secret: Secret) -> Self {
        Self { invitation: Some(secret), ..self }
    }

    /// The secret that admits whoever joins with it, if it is a founder's invitation.
    pub const fn invitation(&self) -> Option<&Secret> {
        self.invitation.as_ref()
    }

    /// The same without its secret: for logs, and for whoever is admitted already.
    pub fn without_invitation(&self) -> Self {
        Self { invitation: None, ..self.clone() }
    }

    /// The federation that it invites to.
    pub fn federation(&self) -> FederationId {
        self.federation
    }

    /// The federation's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// 1 to 16 addresses, each with a station's peer id.
    pub fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Sha256::digest(body);
    std::array::from_fn(|index| hash[index])
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().map(|address| address.to_vec()).collect();
        let body: Body = (self.federation, self.name.clone(), addresses);
        let (prefix, mut bytes) = match &self.invitation {
            None => (PREFIX, codec::encode(&body)),
            Some(secret) => (INVITATION_PREFIX, codec::encode(&(body, *secret.as_bytes()))),
        };
        bytes.extend(checksum(&bytes));
        write!(f, "{prefix}{}", bs58::encode(bytes).into_string())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let invites = text.starts_with(INVITATION_PREFIX);
        let prefix = if invites { INVITATION_PREFIX } else { PREFIX };
        let digits = text.strip_prefix(prefix).ok_or(TicketError::NotATicket)?;
        if text.len() > MAX_TICKET_CHARS {
            return Err(TicketError::TooLong { chars: text.chars().count() });
        }
        let bytes = bs58::decode(digits).into_vec().map_err(|_| TicketError::WrongCharacter)?;
        let (body, found) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TicketError::Damaged)?;
        if *found != checksum(body) {
            return Err(TicketError::Damaged);
        }
        let read = if invites {
            codec::decode::<(Body, [u8; 32])>(body, MAX_BODY_BYTES)
                .map(|(body, secret)| (body, Some(Secret::new(secret))))
        } else {
            codec::decode::<Body>(body, MAX_BODY_BYTES).map(|body| (body, None))
        };
        let ((federation, name, addresses), invitation) = read.map_err(|_| TicketError::NotUnderstood)?;
        let addresses = addresses.into_iter().map(|bytes| Multiaddr::try_from(bytes).ok());
        let addresses = addresses.collect::<Option<Vec<_>>>().ok_or(TicketError::NotUnderstood)?;
        Ok(Self { invitation, ..Self::new(federation, name, addresses)? })
    }
}

/// Why a text names nothing to join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinTargetError {
    /// It begins like a ticket.
    #[error("is a ticket that cannot be used: it {0}")]
    Ticket(#[from] TicketError),
    /// It begins like an address.
    #[error("is no address to join: give one such as /ip4/192.0.2.1/tcp/4811")]
    Address,
    /// It begins like neither.
    #[error("is neither a ticket (qfzz1...) nor an address such as /ip4/192.0.2.1/tcp/4811")]
    Neither,
}

/// What an operator names to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinTarget {
    /// An invitation.
    Ticket(Ticket),
    /// A station's address, with or without its peer id.
    Address(Multiaddr),
}

impl JoinTarget {
    /// The founder's invitation that it is, if it is one.
    pub fn invitation(&self) -> Option<(&Ticket, &Secret)> {
        match self {
            Self::Ticket(ticket) => Some((ticket, ticket.invitation()?)),
            Self::Address(_) => None,
        }
    }

    /// The same without an invitation's secret: for logs, and for whoever is admitted already.
    pub fn without_invitation(&self) -> Self {
        match self {
            Self::Ticket(ticket) => Self::Ticket(ticket.without_invitation()),
            Self::Address(address) => Self::Address(address.clone()),
        }
    }
}

impl fmt::Display for JoinTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket(ticket) => ticket.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl FromStr for JoinTarget {
    type Err = JoinTargetError;

    fn from_str(text: &str) -> Result<Self, JoinTargetError> {
        let text = text.trim();
        if text.starts_with(PREFIX) || text.starts_with(INVITATION_PREFIX) {
            return Ok(Self::Ticket(text.parse()?));
        }
        if !text.starts_with('/') {
            return Err(JoinTargetError::Neither);
        }
        let address = text.parse::<Multiaddr>().ok().filter(is_dialable);
        let names_no_stranger = |address: &Multiaddr| peer_in(address).is_none_or(|peer| station_of(&peer).is_some());
        match address.filter(names_no_stranger) {
            Some(address) => Ok(Self::Address(address)),
            None => Err(JoinTargetError::Address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qfzz_ledger_core::ids::StationId;

    fn station() -> StationId {
        StationId::from_bytes([7; 32])
    }

    fn address(n: usize) -> Multiaddr {
        format!("/ip4/10.0.0.{n}/tcp/4811/p2p/{}", station()).parse().expect("an address")
    }

    fn ticket(addresses: usize) -> Ticket {
        let name = Name::new("Freie Radios").expect("a name");
        Ticket::new(FederationId::from_bytes([3; 32]), name, (1..=addresses).map(address).collect()).expect("valid")
    }

    #[test]
    fn a_ticket_is_read_as_it_was_written() {
        for count in [1, 2, MAX_TICKET_ADDRESSES] {
            let text = ticket(count).to_string();
            assert!(text.starts_with("qfzz1") && text.len() <= MAX_TICKET_CHARS);
            assert_eq!(text.parse(), Ok(ticket(count)));
        }
    }

    #[test]
    fn an_invitation_is_read_as_it_was_written_and_hides_its_secret_from_logs() {
        let secret = Secret::new([9; 32]);
        let invitation = ticket(2).with_invitation(secret.clone());
        let text = invitation.to_string();
        assert!(text.starts_with("qfzz2"), "{text}");
        let read: JoinTarget = text.parse().expect("an invitation");
        assert_eq!(read.invitation(), Some((&invitation, &secret)));
        assert_eq!(read.without_invitation(), JoinTarget::Ticket(ticket(2)));
        assert!(!format!("{read:?}").contains("9, 9"), "{read:?}");
        assert_eq!(text.replacen("qfzz2", "qfzz1", 1).parse::<Ticket>(), Err(TicketError::NotUnderstood));
    }

    #[test]
    fn the_largest_ticket_fits_its_own_limit() {
        let host = |n| format!("/dns4/{}{n:02}/tcp/65535/p2p/{}", "x".repeat(229), station());
        let addresses: Vec<Multiaddr> = (0..16).map(|n| host(n).parse().expect("an address")).collect();
        assert!(addresses[0].len() <= MAX_ADDRESS_BYTES);
        let name = Name::new("n".repeat(64)).expect("a name");
        let largest = Ticket::new(FederationId::from_bytes([0xff; 32]), name, addresses)
            .expect("valid")
            .with_invitation(Secret::new([0xff; 32]));
        assert_eq!(largest.to_string().parse(), Ok(largest));
    }

    #[test]
    fn every_changed_or_missing_character_is_noticed() {
        let text = ticket(1).to_string();
        for index in PREFIX.len()..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'2' { b'3' } else { b'2' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(changed.parse::<Ticket>(), Err(TicketError::Damaged), "{changed}");
            assert_eq!(text[..index].parse::<Ticket>(), Err(TicketError::Damaged));
        }
    }

    #[test]
    fn what_is_not_a_ticket_is_refused_with_its_reason() {
        let parse = |text: &str| text.parse::<Ticket>().expect_err(text);
        assert_eq!(parse("qfzz3abc"), TicketError::NotATicket);
        assert_eq!(parse("qfzz1ab0c"), TicketError::WrongCharacter);
        assert_eq!(parse(&format!("qfzz1{}", "2".repeat(7_000))), TicketError::TooLong { chars: 7_005 });
        let sealed = |body: &[u8]| {
            let bytes = [body, &checksum(body)].concat();
            format!("qfzz1{}", bs58::encode(bytes).into_string())
        };
        assert_eq!(parse(&sealed(b"other")), TicketError::NotUnderstood);
        let body = |addresses| {
            let body: Body = (FederationId::ZERO, Name::new("").expect("a name"), addresses);
            codec::encode(&body)
        };
        assert_eq!(parse(&sealed(&body(vec![]))), TicketError::AddressCount { count: 0 });
        assert_eq!(parse(&sealed(&body(vec![vec![0xff; 9]]))), TicketError::NotUnderstood);
        let bare: Multiaddr = "/ip4/10.0.0.1/tcp/4811".parse().expect("an address");
        assert_eq!(parse(&sealed(&body(vec![bare.to_vec()]))), TicketError::BadAddress { address: bare });
    }

    #[test]
    fn one_joins_by_ticket_or_address() {
        let text = ticket(1).to_string();
        assert_eq!(format!(" {text}\n").parse(), Ok(JoinTarget::Ticket(ticket(1))));
        assert_eq!(address(1).to_string().parse(), Ok(JoinTarget::Address(address(1))));
        let bare: Multiaddr = "/dns4/radio.example/tcp/4811".parse().expect("an address");
        assert_eq!(bare.to_string().parse(), Ok(JoinTarget::Address(bare)));
        for bad in [
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/10.0.0.1",
            "/nonsense",
            "/ip4/10.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        ] {
            assert_eq!(bad.parse::<JoinTarget>(), Err(JoinTargetError::Address));
        }
        assert_eq!("10.0.0.1:4811".parse::<JoinTarget>(), Err(JoinTargetError::Neither));
        assert_eq!(
            text[..9].parse::<JoinTarget>(),
            Err(JoinTargetError::Ticket(TicketError::Damaged)),
            "a part of a ticket is not taken for an address"
        );
    }
}
