//! Refusals: RFC 9457 problem details with stable codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Defines the codes: name, text, status, title.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $status:ident, $title:literal;)*) => {
        /// Why a request was refused. The texts are part of the contract: programs compare them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, for documentation and tests.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// A short summary, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The body, or a line of it, is not JSON.
    NotJson, "not_json", BAD_REQUEST, "Not JSON";
    /// The request has no single `Host`.
    MissingHost, "missing_host", BAD_REQUEST, "Host is missing";
    /// The path is not UTF-8 once decoded.
    BadPath, "bad_path", BAD_REQUEST, "The path cannot be read";
    /// A query parameter or part of the path cannot be read.
    BadParameter, "bad_parameter", BAD_REQUEST, "A parameter cannot be read";
    /// A query parameter that this route does not have.
    UnknownParameter, "unknown_parameter", BAD_REQUEST, "Unknown parameter";
    /// A query parameter that this route needs.
    MissingParameter, "missing_parameter", BAD_REQUEST, "A parameter is missing";
    /// A policy of global trust that does not exist here.
    UnknownPolicy, "unknown_policy", BAD_REQUEST, "Unknown policy";
    /// An address, ticket or peer id that cannot be read.
    BadAddress, "bad_address", BAD_REQUEST, "The address cannot be read";
    /// No token where one is needed.
    MissingToken, "missing_token", UNAUTHORIZED, "The token is missing";
    /// Not this station's token.
    WrongToken, "wrong_token", UNAUTHORIZED, "The token is wrong";
    /// A `Host` that is neither local nor configured.
    ForeignHost, "foreign_host", FORBIDDEN, "Foreign Host";
    /// An `Origin` that is neither local nor configured.
    ForeignOrigin, "foreign_origin", FORBIDDEN, "Foreign Origin";
    /// A user's score is below what this station asks for.
    BelowThreshold, "below_threshold", FORBIDDEN, "The user is not trusted enough";
    /// No such route.
    UnknownRoute, "unknown_route", NOT_FOUND, "No such route";
    /// No such block is known.
    UnknownBlock, "unknown_block", NOT_FOUND, "No such block";
    /// No such record is known.
    UnknownRecord, "unknown_record", NOT_FOUND, "No such record";
    /// No such dataset is registered.
    UnknownDataset, "unknown_dataset", NOT_FOUND, "No such dataset";
    /// No connection to the peer that was named.
    UnknownPeer, "unknown_peer", NOT_FOUND, "No such peer";
    /// The route has other methods.
    MethodNotAllowed, "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    /// The body did not arrive whole and in time.
    BodyTooSlow, "body_too_slow", REQUEST_TIMEOUT, "The body did not arrive";
    /// This station has no federation yet.
    NoFederation, "no_federation", CONFLICT, "No federation yet";
    /// The other side belongs to another federation.
    OtherFederation, "other_federation", CONFLICT, "Another federation";
    /// The dataset is registered already, and the first registration stands.
    DatasetExists, "dataset_exists", CONFLICT, "The dataset is registered already";
    /// Another SHA-256 was found than the registered one.
    DatasetMismatch, "dataset_mismatch", CONFLICT, "Not the registered dataset";
    /// The station's own record, which it cannot check.
    OwnRecord, "own_record", CONFLICT, "The station's own record";
    /// The station was not drawn to check the record.
    NotDrawn, "not_drawn", CONFLICT, "Not drawn";
    /// The station has answered about the record.
    AlreadyAnswered, "already_answered", CONFLICT, "Answered already";
    /// The time for answers about the record is over.
    DutyExpired, "duty_expired", CONFLICT, "The duty is over";
    /// The station has a chain of its own.
    NotEmpty, "not_empty", CONFLICT, "The station has a chain already";
    /// Every station takes part in this federation.
    AdmissionOpen, "admission_open", CONFLICT, "Admission is open";
    /// Only a founder may do this.
    NotAFounder, "not_a_founder", CONFLICT, "Not a founder";
    /// A founder takes part for good.
    FounderStays, "founder_stays", CONFLICT, "A founder stays";
    /// The station is not admitted.
    NotAdmitted, "not_admitted", CONFLICT, "Not admitted";
    /// Another ML-DSA key is expected of that station.
    OtherKey, "other_key", CONFLICT, "Another ML-DSA key";
    /// The invitation was used by another station.
    InvitationUsed, "invitation_used", CONFLICT, "The invitation was used";
    /// The invitation's time is over.
    InvitationExpired, "invitation_expired", CONFLICT, "The invitation has expired";
    /// The founder has made no such invitation.
    InvitationUnknown, "invitation_unknown", CONFLICT, "No such invitation";
    /// The station was expelled.
    StationExpelled, "station_expelled", CONFLICT, "The station was expelled";
    /// The body is larger than this route takes.
    BodyTooLarge, "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// A line of a bulk body is larger than a record can be.
    LineTooLong, "line_too_long", PAYLOAD_TOO_LARGE, "The line is too long";
    /// A bulk body has more lines than are taken at once.
    TooManyLines, "too_many_lines", PAYLOAD_TOO_LARGE, "Too many lines";
    /// The body is of a kind that this route does not take.
    UnsupportedMediaType, "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    /// JSON, but not an object.
    NotAnObject, "not_an_object", UNPROCESSABLE_ENTITY, "Not a JSON object";
    /// A record of a kind that nobody knows.
    UnknownKind, "unknown_kind", UNPROCESSABLE_ENTITY, "Unknown kind of record";
    /// A testimony that neither agrees nor contests.
    UnknownAnswer, "unknown_answer", UNPROCESSABLE_ENTITY, "Unknown answer";
    /// A record of a kind that only the node itself writes.
    KindOfTheNode, "kind_of_the_node", UNPROCESSABLE_ENTITY, "Written by the node itself";
    /// A field that does not exist there, or that the node itself sets.
    UnknownField, "unknown_field", UNPROCESSABLE_ENTITY, "Unknown field";
    /// A field that is needed.
    MissingField, "missing_field", UNPROCESSABLE_ENTITY, "A field is missing";
    /// A field given twice.
    DuplicateField, "duplicate_field", UNPROCESSABLE_ENTITY, "A field is given twice";
    /// A field of another JSON type.
    WrongType, "wrong_type", UNPROCESSABLE_ENTITY, "A field has the wrong type";
    /// A field that should be a number.
    NotANumber, "not_a_number", UNPROCESSABLE_ENTITY, "Not a number";
    /// A number outside its range.
    OutOfRange, "out_of_range", UNPROCESSABLE_ENTITY, "Out of range";
    /// A number with more than six decimal places.
    TooPrecise, "too_precise", UNPROCESSABLE_ENTITY, "Too many decimal places";
    /// An id that is empty, too long, or holds control characters.
    BadId, "bad_id", UNPROCESSABLE_ENTITY, "Not an id";
    /// Not a time of RFC 3339.
    BadTimestamp, "bad_timestamp", UNPROCESSABLE_ENTITY, "Not a time";
    /// Metadata that is no JSON object within the limits.
    BadMetadata, "bad_metadata", UNPROCESSABLE_ENTITY, "Metadata not accepted";
    /// An action that the federation's table does not have.
    UnknownAction, "unknown_action", UNPROCESSABLE_ENTITY, "Unknown action";
    /// A delta that is not its action's.
    WrongDelta, "wrong_delta", UNPROCESSABLE_ENTITY, "The delta is not the action's";
    /// Not a SHA-256.
    BadHash, "bad_hash", UNPROCESSABLE_ENTITY, "Not a SHA-256";
    /// A licence that is no SPDX expression.
    BadLicense, "bad_license", UNPROCESSABLE_ENTITY, "Not a licence";
    /// A licence that the federation does not accept.
    LicenseNotAllowed, "license_not_allowed", UNPROCESSABLE_ENTITY, "The licence is not accepted here";
    /// A quality below what the federation accepts.
    QualityTooLow, "quality_too_low", UNPROCESSABLE_ENTITY, "The quality is too low";
    /// More tags than a dataset may have.
    TooManyTags, "too_many_tags", UNPROCESSABLE_ENTITY, "Too many tags";
    /// A file that was to be imported does not hold.
    BadImport, "bad_import", UNPROCESSABLE_ENTITY, "The file does not verify";
    /// The station failed.
    Internal, "internal", INTERNAL_SERVER_ERROR, "The station failed";
    /// The peer could not be reached.
    Unreachable, "unreachable", BAD_GATEWAY, "The peer cannot be reached";
    /// Too much of this at once.
    Busy, "busy", SERVICE_UNAVAILABLE, "Busy";
    /// The station is stopping.
    Stopping, "stopping", SERVICE_UNAVAILABLE, "Stopping";
    /// The station cannot do this yet.
    NotReady, "not_ready", SERVICE_UNAVAILABLE, "Not ready";
    /// The disk is full.
    DiskFull, "disk_full", INSUFFICIENT_STORAGE, "The disk is full";
    /// The station does not know its own log yet, and signs nothing before.
    LogUnknown, "log_unknown", SERVICE_UNAVAILABLE, "The own log is not known yet";
    /// Another daemon with the station's key may be running.
    AnotherDaemonSeen, "another_daemon_seen", SERVICE_UNAVAILABLE, "Another daemon was seen with this key";
    /// Another daemon with the station's key runs, and started earlier.
    AnotherDaemon, "another_daemon", CONFLICT, "Another daemon signs with this key";
    /// The station took too long.
    Timeout, "timeout", GATEWAY_TIMEOUT, "The station took too long";
}

/// One refusal: what is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why.
    pub code: Code,
    /// A sentence that names what is wrong and the remedy.
    pub detail: String,
    /// The field, parameter or header that it is about, where there is one.
    pub field: Option<String>,
    /// Several reasons, where there are: see `/readyz`.
    pub reasons: Vec<String>,
}

impl Problem {
    /// A refusal that is about no single field.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), field: None, reasons: Vec::new() }
    }

    /// A refusal because of `field`.
    pub fn of_field(field: impl Into<String>, code: Code, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(code, detail) }
    }
}

/// Why a request was refused: problem details of RFC 9457.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ShownProblem<'a> {
    /// `urn:qfzz:problem:` and the code.
    r#type: String,
    /// A short summary, the same for every occurrence.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What programs tell it by: it does not change.
    code: &'a str,
    /// A sentence that names what is wrong and the remedy.
    detail: &'a str,
    /// The field, parameter or header that it is about, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// Several reasons, where there are.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    reasons: &'a [String],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let members = ShownProblem {
            // A name, not an address: there is no page to keep alive.
            r#type: format!("urn:qfzz:problem:{}", self.code.as_str()),
            title: self.code.title(),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
            field: self.field.as_deref(),
            reasons: &self.reasons,
        };
        let body = serde_json::to_vec(&members).expect("texts and numbers can be written as JSON");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code == Code::Busy {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// `text` as it may stand in a sentence: escaped, and at most 64 characters of it.
pub fn quoted(text: &str) -> String {
    /// Characters of a stranger's text that a sentence repeats, at most.
    const SHOWN: usize = 64;
    let shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    let more = if text.chars().nth(SHOWN).is_some() { "..." } else { "" };
    format!("`{shown}{more}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_text_and_a_status_that_refuses() {
        let texts: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(code.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code:?}");
        }
    }

    #[test]
    fn a_strangers_text_cannot_forge_or_flood_a_sentence() {
        assert_eq!(quoted("a\nb\u{1b}"), "`a\\nb\\u{1b}`");
        assert_eq!(quoted(&"x".repeat(1_000)), format!("`{}...`", "x".repeat(64)));
    }
}
