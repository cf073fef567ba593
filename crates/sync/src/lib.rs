//! How two stations become equal (`sync_with`), and how the opinions of many become one score (`get_global_trust`).
//!
//! Pure but for one async driver: it knows no sockets and no runtime. A peer is the trait
//! [`PeerSession`](peer::PeerSession); this station is read through [`SyncView`](session::SyncView) and changed
//! through [`SyncSink`](session::SyncSink).
//!
//! ```text
//!  status ── same federation? ── own log newer there? take it
//!     │
//!  headers after the common ancestor ── link, work, time, seal
//!     │            (at most 2,000 beyond the last body verified)
//!  bodies, 4 requests under way ── verified on all cores ── connected in order
//!     │
//!  pending ── digest differs? ── logs that end further there ── their batches
//! ```

pub mod global_trust;
pub mod message;
mod patience;
pub mod peer;
pub mod plan;
pub mod report;
pub mod serve;
pub mod session;
