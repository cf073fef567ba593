//! Checking what other stations claim: what this station is asked ([`docket`]), and answering without a person
//! ([`juror`]).
//!
//! ```text
//!  a new head ──> juror ── which duties are open? ──> docket <── GET /v1/duties, POST /v1/testimonies
//!                   ├─ does a file hold the registered bytes? ──> files    (verify.folders)
//!                   ├─ what does the operator's program say? ───> command  (verify.command)
//!                   └─ an answer ──> docket ──> service: signed, on disk
//! ```
//!
//! Where neither knows, nothing is answered: silence costs nothing, and an answer is never made up (global trust, section
//! 5). Who was drawn can be computed again by anybody: [`draws`].

pub(crate) mod command;
pub(crate) mod docket;
pub(crate) mod draws;
pub(crate) mod files;
pub(crate) mod juror;
