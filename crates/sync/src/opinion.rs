//! Live opinions: what a station says of a subject now, signed, to whoever asks it at once (global trust, section 7).
//!
//! A live opinion includes the records that wait for a block at its station. It counts in the one answer that it was asked
//! for: it is neither stored nor passed on, so the asker's nonce is all that keeps an old one from being shown again.

use qfzz_ledger_core::codec::{Decode, Encode, encode};
use qfzz_ledger_core::crypto::{Signature, SignatureScheme, StationKey, Tag, TaggedHash};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{FederationId, Sequence, StationId};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::limits::MAX_CLOCK_SKEW_MS;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::state::ReadError;
use qfzz_ledger_core::time::Timestamp;

/// What the asker draws anew for each question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// Takes 16 random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// What one station asks another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub struct Question {
    /// About whom or what.
    pub subject: Subject,
    /// The asker's.
    pub nonce: Nonce,
}

/// What a station says of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub struct LiveOpinion {
    /// Its federation.
    pub federation: FederationId,
    /// Whose opinion it is.
    pub station: StationId,
    /// About whom or what.
    pub subject: Subject,
    /// The score that follows from its own records; 0.5 where it has none.
    pub score: Score,
    /// Its evidence.
    pub evidence: u64,
    /// Where its own log goes on: all before it is counted.
    pub next: Sequence,
    /// The asker's.
    pub nonce: Nonce,
    /// When it was said, by the station's own clock.
    pub said_at: Timestamp,
}

/// An opinion as received: nothing checked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub struct SignedOpinion {
    /// What is said.
    pub opinion: LiveOpinion,
    /// The station's signature over it: Ed25519 under every scheme, as the connection that it comes by.
    pub signature: Signature,
}

impl LiveOpinion {
    /// What the station of `ledger` answers to `question` at `now`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn of<R: LedgerRead>(ledger: &Ledger<R>, question: Question, now: Timestamp) -> Result<Self, ReadError> {
        let Question { subject, nonce } = question;
        let (federation, station) = (ledger.rules().federation(), ledger.own().station());
        let said = ledger.own_opinion(&subject)?;
        let (score, evidence) = said.map_or((Score::HALF, 0), |said| (said.score, said.evidence));
        let next = ledger.log_end(&station)?.next;
        Ok(Self { federation, station, subject, score, evidence, next, nonce, said_at: now })
    }

    /// Signs it.
    pub fn sign(self, key: &StationKey) -> SignedOpinion {
        SignedOpinion { signature: key.sign(SignatureScheme::Ed25519, &self.digest()), opinion: self }
    }

    fn digest(&self) -> [u8; 32] {
        TaggedHash::new(Tag::Opinion, &self.federation, &[]).hash(&[&encode(self)])
    }
}

/// Who was asked what, and what is known of it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The station.
    pub station: StationId,
    /// The question.
    pub question: Question,
    /// Where the station's log went on, on the chain, when it was asked.
    pub next: Sequence,
}

impl Asked {
    /// What the station says, if this is its answer. Checked, cheap things first: federation, station, subject, nonce, log,
    /// time, signature.
    ///
    /// # Errors
    /// [`Unanswered`]: then the answer counts for nothing.
    pub fn check(&self, rules: &Rules, answer: SignedOpinion, now: Timestamp) -> Result<LiveOpinion, Unanswered> {
        let SignedOpinion { opinion, signature } = answer;
        if opinion.federation != rules.federation() {
            return Err(Unanswered::OtherFederation);
        }
        if opinion.station != self.station {
            return Err(Unanswered::OtherStation);
        }
        if opinion.subject != self.question.subject {
            return Err(Unanswered::OtherSubject);
        }
        if opinion.nonce != self.question.nonce {
            return Err(Unanswered::OtherNonce);
        }
        if opinion.next < self.next {
            return Err(Unanswered::Behind);
        }
        if opinion.said_at.since(now).unsigned_abs() > MAX_CLOCK_SKEW_MS.unsigned_abs() {
            return Err(Unanswered::OtherTime);
        }
        if !signature.ed25519_verifies(SignatureScheme::Ed25519, &self.station, &opinion.digest()) {
            return Err(Unanswered::WrongSignature);
        }
        Ok(opinion)
    }
}

/// Why a station's live opinion does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unanswered {
    /// It is not connected, so it was not asked.
    NotConnected,
    /// As many questions as may be are under way to it, or in all.
    NotAsked,
    /// It signed two batches for one place of its log: whatever it says counts for nothing, so it was not asked.
    Equivocation,
    /// It gave no answer in time.
    Late,
    /// It was asked too often, or signs nothing at the moment.
    Busy,
    /// The connection closed, or it does not know such questions.
    NoAnswer,
    /// Its answer cannot be read, or is none to a question for an opinion.
    Unreadable,
    /// Its answer is of another federation.
    OtherFederation,
    /// Its answer is another station's.
    OtherStation,
    /// Its answer is about another subject.
    OtherSubject,
    /// Its answer has another nonce: it was given before, or to somebody else.
    OtherNonce,
    /// Its answer leaves out records of its that are on the chain.
    Behind,
    /// Its answer was said more than 120 s before or after it came, by the clock here.
    OtherTime,
    /// Its answer is not signed with its key.
    WrongSignature,
    /// While it was asked, the chain took more of its records than its answer knows.
    Overtaken,
}

impl Unanswered {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::NotAsked => "not_asked",
            Self::Equivocation => "equivocation",
            Self::Late => "late",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Unreadable => "unreadable",
            Self::OtherFederation => "other_federation",
            Self::OtherStation => "other_station",
            Self::OtherSubject => "other_subject",
            Self::OtherNonce => "replayed_nonce",
            Self::Behind => "behind",
            Self::OtherTime => "other_time",
            Self::WrongSignature => "wrong_signature",
            Self::Overtaken => "overtaken",
        }
    }

    /// Whether no honest station that runs this version gives such an answer.
    pub const fn is_fault(self) -> bool {
        match self {
            Self::NotConnected
            | Self::NotAsked
            | Self::Equivocation
            | Self::Late
            | Self::Busy
            | Self::NoAnswer
            | Self::OtherTime
            | Self::Overtaken => false,
            Self::Unreadable
            | Self::OtherFederation
            | Self::OtherStation
            | Self::OtherSubject
            | Self::OtherNonce
            | Self::Behind
            | Self::WrongSignature => true,
        }
    }
}
