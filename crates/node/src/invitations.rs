//! One-time invitations of a founder: what it keeps of them, and how a newcomer proves that it has one.
//!
//! The ticket holds a secret. The founder keeps its hash, so that a copy of the file admits nobody by the ticket's text.
//! A newcomer proves the secret for its own station alone: whoever overhears that can do nothing with it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use qfzz_ledger_core::codec::{decode, encode};
use qfzz_ledger_core::crypto::{Tag, TaggedHash};
use qfzz_ledger_core::ids::{FederationId, StationId};
use qfzz_ledger_core::time::Timestamp;
use sha2::{Digest, Sha256};

use crate::data_dir::{self, DataDirError};

/// How long an invitation is valid where nothing is said.
pub const DEFAULT_VALID: Duration = Duration::from_secs(24 * 3_600);

/// The shortest time for which one may be valid.
pub const LEAST_VALID: Duration = Duration::from_secs(1);

/// Invitations that are kept, at most: open ones, and those of which it is still told that they were used or expired.
const MAX_KEPT: usize = 1_024;

/// How long an expired one is still known by name, in milliseconds.
const KNOWN_FOR_MS: i64 = 30 * 86_400_000;

/// Bytes of the file, at most.
const MAX_BYTES: usize = 256 * 1024;

/// What a ticket holds; whoever has it is admitted. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Takes 32 bytes that nobody can guess.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a ticket.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What the founder keeps.
    fn key(&self, federation: &FederationId) -> [u8; 32] {
        TaggedHash::new(Tag::Invitation, federation, &[]).hash(&[&self.0])
    }

    /// What `newcomer`, with the ML-DSA key of this hash, shows `founder`.
    pub fn show(
        &self,
        federation: &FederationId,
        founder: &StationId,
        newcomer: &StationId,
        ml_dsa_key_hash: [u8; 32],
    ) -> Shown {
        let proof = proof_of(&self.key(federation), federation, founder, newcomer, &ml_dsa_key_hash);
        Shown { proof, ml_dsa_key_hash }
    }
}

fn proof_of(
    key: &[u8; 32],
    federation: &FederationId,
    founder: &StationId,
    newcomer: &StationId,
    ml_dsa_key_hash: &[u8; 32],
) -> [u8; 32] {
    let context: [&[u8]; 3] = [founder.as_bytes(), newcomer.as_bytes(), ml_dsa_key_hash];
    TaggedHash::new(Tag::Invitation, federation, &context).hash(&[key])
}

/// What a newcomer shows: that it has an invitation, and which ML-DSA key it will sign with where stations do. The proof
/// covers the key: nobody on the way can put another in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The proof.
    pub proof: [u8; 32],
    /// The hash of its ML-DSA key.
    pub ml_dsa_key_hash: [u8; 32],
}

impl Shown {
    /// Bytes on the wire.
    pub const BYTES: usize = 64;

    /// As it is sent: the proof, then the hash.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..32].copy_from_slice(&self.proof);
        bytes[32..].copy_from_slice(&self.ml_dsa_key_hash);
        bytes
    }

    /// Reads what was sent.
    pub fn read(bytes: [u8; Self::BYTES]) -> Self {
        let (proof, ml_dsa_key_hash) = (std::array::from_fn(|at| bytes[at]), std::array::from_fn(|at| bytes[32 + at]));
        Self { proof, ml_dsa_key_hash }
    }
}

/// What a founder answers to a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// The newcomer's admission is on the chain, or on the founder's disk and on its way there.
    Admitted,
    /// Another station used the invitation.
    Used,
    /// Its time is over.
    Expired,
    /// This founder has made no such invitation.
    Unknown,
    /// The newcomer was expelled, which no invitation undoes.
    Expelled,
    /// The admission cannot be written now: try again.
    Later,
}

impl Welcome {
    /// All of them; an answer on the wire is the place here, as one byte.
    const ALL: [Self; 6] = [Self::Admitted, Self::Used, Self::Expired, Self::Unknown, Self::Expelled, Self::Later];

    /// The answer as it is sent.
    pub fn to_bytes(self) -> Vec<u8> {
        let place = Self::ALL.iter().position(|it| *it == self).and_then(|place| u8::try_from(place).ok());
        place.into_iter().collect()
    }

    /// Reads an answer; `None` where it is none of this version.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [place] = bytes else { return None };
        Self::ALL.get(usize::from(*place)).copied()
    }
}

/// An invitation as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    key: [u8; 32],
    expires: Timestamp,
    used_by: Option<StationId>,
}

/// The file: federation, of each invitation key, time and user, and the SHA-256 of both.
type File = (FederationId, Vec<([u8; 32], Timestamp, Option<StationId>)>, [u8; 32]);

fn file(federation: &FederationId, kept: &[Kept]) -> File {
    let rows: Vec<_> = kept.iter().map(|it| (it.key, it.expires, it.used_by)).collect();
    let sum = Sha256::digest(encode(&(*federation, rows.clone()))).into();
    (*federation, rows, sum)
}

/// Reads what [`file`] gave; `None` where it is damaged, or of another federation.
fn read(bytes: &[u8], federation: &FederationId) -> Option<Vec<Kept>> {
    let (_, rows, sum): File = decode(bytes, MAX_BYTES).ok()?;
    let kept: Vec<Kept> = rows.into_iter().map(|(key, expires, used_by)| Kept { key, expires, used_by }).collect();
    (file(federation, &kept).2 == sum).then_some(kept)
}

/// Why no invitation was made.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// Too many are open.
    #[error("{MAX_KEPT} invitations are open: let some be used or expire")]
    TooMany,
    /// It could not be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

/// A founder's invitations. What a method says is on disk when it returns.
#[derive(Debug)]
pub struct Invitations {
    path: PathBuf,
    federation: FederationId,
    founder: StationId,
    kept: Mutex<Vec<Kept>>,
}

impl Invitations {
    /// Those that `path` holds. A file that is damaged, or of another federation, holds none: nobody is admitted by
    /// mistake then, and the founder makes new ones.
    ///
    /// # Errors
    /// [`DataDirError`] where the file cannot be read.
    pub fn open(path: PathBuf, federation: FederationId, founder: StationId) -> Result<Self, DataDirError> {
        let found = data_dir::read_small(&path)?;
        let kept = found.as_ref().and_then(|bytes| read(bytes, &federation));
        if found.is_some() && kept.is_none() {
            tracing::warn!(path = %path.display(), "the invitations cannot be read: make new ones, qfzz ticket --invite");
        }
        let kept = kept.unwrap_or_default();
        Ok(Self { path, federation, founder, kept: Mutex::new(kept) })
    }

    /// Keeps a new invitation.
    ///
    /// # Errors
    /// [`InviteError`]; nothing was changed.
    pub fn add(&self, secret: &Secret, expires: Timestamp, now: Timestamp) -> Result<(), InviteError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |it: &&Kept| now.since(it.expires) < KNOWN_FOR_MS;
        let mut new: Vec<Kept> = kept.iter().filter(is_known).cloned().collect();
        if new.len() >= MAX_KEPT {
            // What is over is forgotten before it is refused to make more, the longest over first.
            let is_over = |it: &&Kept| it.used_by.is_some() || it.expires <= now;
            let first = new.iter().filter(is_over).min_by_key(|it| it.expires).map(|it| it.key);
            let Some(first) = first else { return Err(InviteError::TooMany) };
            new.retain(|it| it.key != first);
        }
        new.push(Kept { key: secret.key(&self.federation), expires, used_by: None });
        self.write(&new)?;
        *kept = new;
        Ok(())
    }

    /// A newcomer shows a proof: `Admitted` if an invitation stands behind it that nobody else has used. It has then.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing was changed.
    pub fn redeem(&self, shown: &Shown, newcomer: &StationId, now: Timestamp) -> Result<Welcome, DataDirError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let key_hash = &shown.ml_dsa_key_hash;
        let is_meant =
            |it: &Kept| proof_of(&it.key, &self.federation, &self.founder, newcomer, key_hash) == shown.proof;
        let Some(at) = kept.iter().position(is_meant) else { return Ok(Welcome::Unknown) };
        match kept[at].used_by {
            // Its first answer may have been lost.
            Some(station) if station == *newcomer => return Ok(Welcome::Admitted),
            Some(_) => return Ok(Welcome::Used),
            None if kept[at].expires <= now => return Ok(Welcome::Expired),
            None => {}
        }
        let mut new = kept.clone();
        new[at].used_by = Some(*newcomer);
        self.write(&new)?;
        *kept = new;
        Ok(Welcome::Admitted)
    }

    fn write(&self, kept: &[Kept]) -> Result<(), DataDirError> {
        data_dir::write_private(&self.path, &encode(&file(&self.federation, kept)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEDERATION: FederationId = FederationId::from_bytes([3; 32]);

    fn station(number: u8) -> StationId {
        StationId::from_bytes([number; 32])
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms).expect("in range")
    }

    fn invitations(dir: &tempfile::TempDir) -> Invitations {
        Invitations::open(dir.path().join("invitations"), FEDERATION, station(1)).expect("readable")
    }

    fn proof(secret: u8, newcomer: u8) -> Shown {
        Secret::new([secret; 32]).show(&FEDERATION, &station(1), &station(newcomer), [newcomer; 32])
    }

    #[test]
    fn another_key_in_the_place_of_the_newcomers_spoils_the_proof() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = invitations(&dir);
        made.add(&Secret::new([7; 32]), at(1_000), at(0)).expect("room");
        let shown = proof(7, 2);
        assert_eq!(Shown::read(shown.to_bytes()), shown);
        let swapped = Shown { ml_dsa_key_hash: [9; 32], ..shown };
        assert_eq!(made.redeem(&swapped, &station(2), at(1)).expect("written"), Welcome::Unknown);
        assert_eq!(made.redeem(&shown, &station(2), at(1)).expect("written"), Welcome::Admitted);
    }

    #[test]
    fn an_invitation_admits_one_station_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = invitations(&dir);
        made.add(&Secret::new([7; 32]), at(1_000), at(0)).expect("room");
        assert_eq!(made.redeem(&proof(8, 2), &station(2), at(1)).expect("written"), Welcome::Unknown, "forged");
        assert_eq!(made.redeem(&proof(7, 2), &station(3), at(1)).expect("written"), Welcome::Unknown, "overheard");
        assert_eq!(made.redeem(&proof(7, 2), &station(2), at(1)).expect("written"), Welcome::Admitted);
        let again = invitations(&dir);
        assert_eq!(again.redeem(&proof(7, 3), &station(3), at(2)).expect("written"), Welcome::Used);
        assert_eq!(again.redeem(&proof(7, 2), &station(2), at(5_000)).expect("written"), Welcome::Admitted, "again");
    }

    #[test]
    fn an_answer_is_read_as_it_was_sent() {
        for welcome in Welcome::ALL {
            assert_eq!(Welcome::read(&welcome.to_bytes()), Some(welcome));
        }
        assert_eq!((Welcome::read(&[]), Welcome::read(&[6]), Welcome::read(&[0, 0])), (None, None, None));
    }

    #[test]
    fn an_expired_one_is_known_as_such_for_a_while() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = invitations(&dir);
        made.add(&Secret::new([7; 32]), at(1_000), at(0)).expect("room");
        assert_eq!(made.redeem(&proof(7, 2), &station(2), at(1_000)).expect("written"), Welcome::Expired);
        made.add(&Secret::new([8; 32]), at(KNOWN_FOR_MS * 3), at(1_000 + KNOWN_FOR_MS)).expect("room");
        assert_eq!(made.redeem(&proof(7, 2), &station(2), at(1_000)).expect("written"), Welcome::Unknown);
    }

    #[test]
    fn open_invitations_are_bounded_and_those_that_are_over_make_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = invitations(&dir);
        let kept = |number: usize| Kept {
            key: std::array::from_fn(|at| if at < 8 { (number as u64).to_le_bytes()[at] } else { 0 }),
            expires: at(1_000 + i64::from(number == 5)),
            used_by: None,
        };
        *made.kept.lock().expect("nobody panicked") = (0..MAX_KEPT).map(kept).collect();
        assert!(matches!(made.add(&Secret::new([7; 32]), at(9_000), at(0)), Err(InviteError::TooMany)));
        made.add(&Secret::new([7; 32]), at(9_000), at(1_000)).expect("others are over");
        let file = std::fs::metadata(dir.path().join("invitations")).expect("written").len();
        assert!(file < MAX_BYTES as u64, "{file}");
    }

    #[test]
    fn a_damaged_file_admits_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        invitations(&dir).add(&Secret::new([7; 32]), at(1_000), at(0)).expect("room");
        let path = dir.path().join("invitations");
        let mut bytes = std::fs::read(&path).expect("written");
        bytes[50] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        assert_eq!(invitations(&dir).redeem(&proof(7, 2), &station(2), at(1)).expect("written"), Welcome::Unknown);
    }
}
