//! Trust records: what a station says about a user, a content, a dataset or another station (protocol, section 2).
//!
//! A record is valid by itself: judged by the record and genesis alone. What depends on state makes a record without
//! effect, never an invalid one, for an invalid record would stop its station's log for ever.

use crate::codec::{Decode, Encode, decode_through, tagged};
use crate::dataset::{DatasetError, DatasetRated, DatasetRegistered, DatasetVerified};
use crate::equivocation::{BatchEquivocation, EquivocationError};
use crate::ids::{Id, Reason, StationId, Target};
use crate::limits::MAX_METADATA_BYTES;
use crate::score::{Delta, Score};
use crate::testimony::Testimony;
use crate::time::Timestamp;

/// One trust statement. The tags of its encoding are the protocol's kinds; 9 is reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Kind 0: a user did something; moves the user's score by the action's delta.
    UserAction(UserAction),
    /// Kind 1: a content exists, with an initial score.
    ContentAdded(ContentAdded),
    /// Kind 2: a content was verified.
    ContentVerified(ContentRef),
    /// Kind 3: a content was reported.
    ContentReported(ContentRef),
    /// Kind 4: a dataset exists; the first registration stands.
    DatasetRegistered(Box<DatasetRegistered>),
    /// Kind 5: somebody computed a dataset's SHA-256.
    DatasetVerified(DatasetVerified),
    /// Kind 6: somebody rated a dataset.
    DatasetRated(DatasetRated),
    /// Kind 7: a station checked another's record. It counts where its author was drawn to do so.
    Testimony(Box<Testimony>),
    /// Kind 8: a station signed two batches for one place of its log; its opinions count for nothing from then on.
    BatchEquivocation(Box<BatchEquivocation>),
    /// Kind 10: a founder admits a station. Without effect by anybody else, and where admission is open.
    StationAdmitted(StationAdmitted),
    /// Kind 11: a founder wants a station expelled. Without effect as above, and of a founder.
    StationExpelled(StationExpelled),
}

tagged!(Record {
    0 => UserAction,
    1 => ContentAdded,
    2 => ContentVerified,
    3 => ContentReported,
    4 => DatasetRegistered,
    5 => DatasetVerified,
    6 => DatasetRated,
    7 => Testimony,
    8 => BatchEquivocation,
    10 => StationAdmitted,
    11 => StationExpelled,
});

/// A user did something.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct UserAction {
    /// Who did it.
    pub user_id: Id,
    /// What was done: a key of the federation's action table.
    pub action: Id,
    /// What was acted upon; may be empty.
    pub target: Target,
    /// How far the user's score moves: the action's delta, or the record is invalid.
    pub trust_delta: Delta,
    /// When it was done, as the station says.
    pub timestamp: Timestamp,
}

/// A content exists.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ContentAdded {
    /// The content, such as a track.
    pub content_id: Id,
    /// Who made it.
    pub creator_id: Id,
    /// Its score while nobody has verified or reported it.
    pub initial_score: Score,
    /// What else is known about it.
    pub metadata: Metadata,
}

/// A content, named by itself and its creator.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ContentRef {
    /// The content, such as a track.
    pub content_id: Id,
    /// Who made it.
    pub creator_id: Id,
}

/// A founder admits a station.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StationAdmitted {
    /// Whom.
    pub station: StationId,
    /// Why; may be empty.
    pub reason: Reason,
    /// The hash of its ML-DSA key, exactly under [`SignatureScheme::Hybrid`](crate::federation::SignatureScheme).
    pub ml_dsa_key_hash: Option<[u8; 32]>,
}

/// A founder wants a station expelled.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StationExpelled {
    /// Whom.
    pub station: StationId,
    /// Why; may be empty.
    pub reason: Reason,
}

/// Metadata: UTF-8, at most 4 KiB, opaque to validity. Who writes it makes it a canonical JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
pub struct Metadata(String);

/// Metadata longer than its limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has {bytes} bytes: at most {MAX_METADATA_BYTES} are allowed")]
pub struct MetadataTooLong {
    /// Bytes that it has.
    pub bytes: usize,
}

impl Metadata {
    /// Takes text as it is.
    ///
    /// # Errors
    /// [`MetadataTooLong`] above 4 KiB.
    pub fn new(text: impl Into<String>) -> Result<Self, MetadataTooLong> {
        let text = text.into();
        if text.len() > MAX_METADATA_BYTES {
            return Err(MetadataTooLong { bytes: text.len() });
        }
        Ok(Self(text))
    }

    /// The empty JSON object.
    pub fn empty() -> Self {
        Self("{}".to_owned())
    }

    /// The text as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

decode_through!(Metadata, String, |text: String| Metadata::new(text).ok(), "metadata too long");

/// What a record is about: the key of the trust state.
///
/// Keys made of two ids are structured, never joined with a separator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Subject {
    /// A user.
    User(Id),
    /// A content of a creator.
    Content {
        /// Who made it.
        creator_id: Id,
        /// The content.
        content_id: Id,
    },
    /// A creator: all the contents of one maker.
    Creator(Id),
    /// A dataset.
    Dataset(Id),
}

impl Record {
    /// What this record is about: a user, a content or a dataset; `None` of what is about a station or a record.
    pub fn subject(&self) -> Option<Subject> {
        let content = |creator_id: &Id, content_id: &Id| Subject::Content {
            creator_id: creator_id.clone(),
            content_id: content_id.clone(),
        };
        match self {
            Self::UserAction(action) => Some(Subject::User(action.user_id.clone())),
            Self::ContentAdded(added) => Some(content(&added.creator_id, &added.content_id)),
            Self::ContentVerified(named) | Self::ContentReported(named) => {
                Some(content(&named.creator_id, &named.content_id))
            }
            Self::DatasetRegistered(dataset) => Some(Subject::Dataset(dataset.dataset_id.clone())),
            Self::DatasetVerified(verified) => Some(Subject::Dataset(verified.dataset_id.clone())),
            Self::DatasetRated(rated) => Some(Subject::Dataset(rated.dataset_id.clone())),
            Self::Testimony(_) | Self::BatchEquivocation(_) | Self::StationAdmitted(_) | Self::StationExpelled(_) => {
                None
            }
        }
    }

    /// The proof of equivocation that this record is, if it is one.
    pub fn proof(&self) -> Option<&BatchEquivocation> {
        match self {
            Self::BatchEquivocation(proof) => Some(proof),
            Self::UserAction(_)
            | Self::ContentAdded(_)
            | Self::ContentVerified(_)
            | Self::ContentReported(_)
            | Self::DatasetRegistered(_)
            | Self::DatasetVerified(_)
            | Self::DatasetRated(_)
            | Self::Testimony(_)
            | Self::StationAdmitted(_)
            | Self::StationExpelled(_) => None,
        }
    }

    /// The kind's name in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::UserAction(_) => "user_action",
            Self::ContentAdded(_) => "content_added",
            Self::ContentVerified(_) => "content_verified",
            Self::ContentReported(_) => "content_reported",
            Self::DatasetRegistered(_) => "dataset_registered",
            Self::DatasetVerified(_) => "dataset_verified",
            Self::DatasetRated(_) => "dataset_rated",
            Self::Testimony(_) => "testimony",
            Self::BatchEquivocation(_) => "batch_equivocation",
            Self::StationAdmitted(_) => "station_admitted",
            Self::StationExpelled(_) => "station_expelled",
        }
    }
}

/// Why a record is invalid by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The federation's action table has no such action.
    #[error("action `{action}` is not in the federation's action table")]
    UnknownAction {
        /// The action found.
        action: Id,
    },
    /// The delta is not the one that the action table gives.
    #[error("trust_delta {found} is not that of the action, which is {expected}")]
    WrongDelta {
        /// The delta found.
        found: Delta,
        /// The delta of the action table.
        expected: Delta,
    },
    /// A dataset that the federation's rules do not accept.
    #[error(transparent)]
    Dataset(Box<DatasetError>),
    /// A proof of equivocation that proves nothing.
    #[error("it proves no equivocation: {0}")]
    Equivocation(#[from] EquivocationError),
    /// An admission with the hash of an ML-DSA key where stations sign without one, or the other way round.
    #[error("an admission names the hash of an ML-DSA key exactly where the federation signs with `hybrid`")]
    KeyHash,
}

impl From<DatasetError> for RecordError {
    /// Boxed: it is rare, and would make every refusal larger.
    fn from(error: DatasetError) -> Self {
        Self::Dataset(Box::new(error))
    }
}
