//! What things are called: stations, records, batches, blocks, federations, and the text ids of users and content.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

use smol_str::SmolStr;

use crate::codec::{Decode, Encode, code_text};
use crate::limits::{MAX_ID_BYTES, MAX_NAME_BYTES, MAX_TEXT_BYTES};

/// Why a text is not what it should name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// An id must have 1 to 128 bytes.
    #[error("is empty: give it 1 to {MAX_ID_BYTES} bytes")]
    Empty,
    /// Longer than the limit, in bytes of UTF-8.
    #[error("has {bytes} bytes: at most {limit} are allowed")]
    TooLong {
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// Control characters could forge log lines and terminal output.
    #[error("holds a control character: remove it")]
    ControlCharacter,
    /// Not the 64 hex digits of a hash.
    #[error("is not a hash: give 64 hex digits")]
    NotAHash,
    /// Not a libp2p peer id of an Ed25519 key.
    #[error("is not a station id: give a peer id that starts with 12D3KooW")]
    NotAStation,
    /// Not `STATION.SEQUENCE.INDEX`.
    #[error("is not a record id: give STATION.SEQUENCE.INDEX, such as 12D3KooW....17.3")]
    NotARecord,
}

/// Checks `text` against the rule for ids and names: UTF-8 without control characters.
fn check_text(text: &str, limit: usize) -> Result<(), IdError> {
    if text.len() > limit {
        return Err(IdError::TooLong { bytes: text.len(), limit });
    }
    // Most ids are printable ASCII, which needs no decoding of characters.
    let is_plain = text.bytes().fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte));
    if !is_plain && text.chars().any(char::is_control) {
        return Err(IdError::ControlCharacter);
    }
    Ok(())
}

/// Defines a validated text type: its rule runs when it is made and when it is decoded.
///
/// Short ones lie inline, the bytes of longer ones are shared: one id stands in a record, in the pool's index and under
/// several keys of the trust state, and a copy for each of them was most of what a pending record cost in memory.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, empty: $empty:expr, limit: $limit:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// Takes `text` as given: no trimming, no case folding.
            ///
            /// # Errors
            /// [`IdError`] if it is empty where it may not be, too long, or holds a control character.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                if text.is_empty() && !$empty {
                    return Err(IdError::Empty);
                }
                check_text(text, $limit)?;
                Ok(Self(SmolStr::new(text)))
            }

            /// The text as given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        code_text!($name, $limit, concat!(stringify!($name), " breaks its rule"));

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

text!(
    /// The id of a user, a content, a creator or an action: 1..=128 bytes of UTF-8 without control characters.
    Id, empty: false, limit: MAX_ID_BYTES
);
text!(
    /// What a user action was about: as an [`Id`], but it may be empty.
    Target, empty: true, limit: MAX_ID_BYTES
);
text!(
    /// What a station or a federation calls itself: 0..=64 bytes of UTF-8 without control characters.
    Name, empty: true, limit: MAX_NAME_BYTES
);

text!(
    /// A short text about a dataset: as an [`Id`], but it may be empty.
    Label, empty: true, limit: MAX_ID_BYTES
);
text!(
    /// Some words about a dataset: 0..=1,024 bytes of UTF-8 without control characters.
    Text, empty: true, limit: MAX_TEXT_BYTES
);
text!(
    /// Why founders admit or expel a station: 0..=128 bytes of UTF-8 without control characters.
    Reason, empty: true, limit: MAX_ID_BYTES
);

impl Default for Name {
    /// The empty name.
    fn default() -> Self {
        Self(SmolStr::default())
    }
}

/// Defines a 32-byte hash with its own type, shown and read as 64 hex digits.
macro_rules! hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name([u8; 32]);

        impl $name {
            /// 32 zeros: "none" where the protocol has no option.
            pub const ZERO: Self = Self([0; 32]);

            /// Takes the 32 bytes as they are.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex32(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex32(text).map(Self)
            }
        }
    };
}

/// Writes all digits in one piece: formatting each byte by itself takes many times as long.
fn write_hex32(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 64];
    for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
        digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

fn parse_hex32(text: &str) -> Result<[u8; 32], IdError> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(IdError::NotAHash);
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16).ok_or(IdError::NotAHash)?;
        let low = (pair[1] as char).to_digit(16).ok_or(IdError::NotAHash)?;
        *byte = u8::try_from(high * 16 + low).map_err(|_| IdError::NotAHash)?;
    }
    Ok(bytes)
}

hash!(
    /// The tagged hash of a block's header: what `previous` names.
    BlockHash
);
hash!(
    /// The tagged hash of a batch's hash and signature: what a block's Merkle tree holds.
    BatchId
);
hash!(
    /// The tagged hash of a record at its place: a leaf of its batch's Merkle tree.
    RecordHash
);
hash!(
    /// The hash of a federation's genesis block. Part of everything that its stations sign.
    FederationId
);

hash!(
    /// The SHA-256 of a dataset's bytes, without any tag: what `sha256sum` prints.
    ContentHash
);

/// A station: its Ed25519 public key, shown as the libp2p peer id of that key.
///
/// `StationId` <-> `PeerId` is lossless: the peer id is the identity multihash of the key's protobuf.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct StationId([u8; 32]);

/// What precedes the 32 key bytes in a peer id: identity multihash of 36 bytes, protobuf key type 1, 32 bytes.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl StationId {
    /// 32 zeros: genesis' producer.
    pub const ZERO: Self = Self([0; 32]);

    /// Takes an Ed25519 public key as it is; whether it can verify anything shows when it is used.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The Ed25519 public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn to_base58(self) -> String {
        let mut peer_id = [0; 38];
        peer_id[..6].copy_from_slice(&PEER_ID_PREFIX);
        peer_id[6..].copy_from_slice(&self.0);
        bs58::encode(peer_id).into_string()
    }
}

thread_local! {
    /// The station that this thread showed last, and its text: what is shown together is mostly of one station, and
    /// base58 takes longer than all the rest of a record's line.
    static SHOWN: Cell<Option<(StationId, String)>> = const { Cell::new(None) };
}

impl fmt::Display for StationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A thread that is ending remembers nothing any more.
        let shown = SHOWN.try_with(Cell::take).ok().flatten().filter(|(station, _)| station == self);
        let text = shown.map_or_else(|| self.to_base58(), |(_, text)| text);
        let written = f.write_str(&text);
        let _ = SHOWN.try_with(|shown| shown.set(Some((*self, text))));
        written
    }
}

impl fmt::Debug for StationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StationId({self})")
    }
}

impl FromStr for StationId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // 38 bytes make at most 52 base58 digits; longer input is not decoded at all.
        if text.len() > 52 {
            return Err(IdError::NotAStation);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| IdError::NotAStation)?;
        let key = bytes.strip_prefix(&PEER_ID_PREFIX).ok_or(IdError::NotAStation)?;
        key.try_into().map(Self).map_err(|_| IdError::NotAStation)
    }
}

/// Defines a counter that only steps by checked arithmetic.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(u64);

        impl $name {
            /// The first one.
            pub const ZERO: Self = Self(0);

            /// The one with this number.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after it; `None` at the end of the number range, which a hostile peer may claim.
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The one before it; `None` for the first.
            pub const fn previous(self) -> Option<Self> {
                match self.0.checked_sub(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter!(
    /// A block's distance from genesis, which has height 0. Shown as `index`.
    Height
);
counter!(
    /// A batch's number in its station's log, from 0.
    Sequence
);

/// A record's place: the station that wrote it, the batch's sequence, the index in the batch.
///
/// Shown as `12D3KooW....17.3`. It is found through the station's log, so no index by hash is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RecordId {
    /// Whose log it stands in.
    pub station: StationId,
    /// The number of its batch in that log.
    pub sequence: Sequence,
    /// Its index in that batch, from 0.
    pub index: u16,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.station, self.sequence, self.index)
    }
}

impl FromStr for RecordId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(IdError::NotARecord);
        let (station, sequence, index) = (part()?, part()?, part()?);
        let id = Self {
            station: station.parse().map_err(|_| IdError::NotARecord)?,
            sequence: Sequence::new(sequence.parse().map_err(|_| IdError::NotARecord)?),
            index: index.parse().map_err(|_| IdError::NotARecord)?,
        };
        // One record has one name: `+3` and `03` are refused.
        if id.to_string() == text { Ok(id) } else { Err(IdError::NotARecord) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_character_is_found_wherever_it_stands() {
        for length in 1..=17 {
            for at in 0..length {
                for odd in (0..=0xff).filter_map(char::from_u32) {
                    let text: String = (0..length).map(|place| if place == at { odd } else { '~' }).collect();
                    assert_eq!(Id::new(&text).is_err(), odd.is_control(), "{odd:?} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn a_station_is_shown_as_the_peer_id_of_its_key_and_read_back() {
        let station = StationId::from_bytes([7; 32]);
        let shown = station.to_string();
        assert!(shown.starts_with("12D3KooW"), "{shown}");
        assert_eq!(shown.parse(), Ok(station));
        let other = StationId::from_bytes([8; 32]);
        assert_eq!(other.to_string().parse(), Ok(other), "whatever was shown before it");
        assert_eq!((station.to_string(), station.to_string()), (shown.clone(), shown));
        assert_eq!("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse::<StationId>(), Err(IdError::NotAStation));
    }

    #[test]
    fn a_record_has_one_name() {
        let id = RecordId { station: StationId::from_bytes([9; 32]), sequence: Sequence::new(17), index: 3 };
        let shown = id.to_string();
        assert!(shown.ends_with(".17.3"));
        assert_eq!(shown.parse(), Ok(id));
        for wrong in [
            shown.replace(".17.", ".017."),
            shown.replace(".3", ".+3"),
            shown.replace(".3", ".3.1"),
            shown.replace(".3", ""),
        ] {
            assert_eq!(wrong.parse::<RecordId>(), Err(IdError::NotARecord), "{wrong}");
        }
    }

    #[test]
    fn ids_are_kept_as_given_within_their_bounds() {
        assert_eq!(Id::new(" Ä ").map(|id| id.to_string()), Ok(" Ä ".to_owned()));
        assert_eq!(Id::new(""), Err(IdError::Empty));
        assert!(Target::new("").is_ok());
        assert!(Id::new("x".repeat(128)).is_ok());
        assert_eq!(Id::new("x".repeat(129)), Err(IdError::TooLong { bytes: 129, limit: 128 }));
        for control in ["a\nb", "\u{7f}", "\u{85}"] {
            assert_eq!(Id::new(control), Err(IdError::ControlCharacter));
        }
        assert_eq!(Name::new("é".repeat(33)), Err(IdError::TooLong { bytes: 66, limit: 64 }));
    }
}
