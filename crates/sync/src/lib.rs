//! How two stations become equal (`sync_with`), and how the opinions of many become one score (`get_global_trust`).
//!
//! Pure but for one async driver: it knows no sockets and no runtime. A peer is the trait
//! [`PeerSession`](peer::PeerSession); this station is read through [`SyncView`](session::SyncView) and changed
//! through [`SyncSink`](session::SyncSink).
//!
//! ```text
//!  status ── same federation? ── another daemon with this key?
//!     │
//!  headers after the common ancestor ── link, work, time, seal
//!     │            (at most 2,000 beyond the last body verified)
//!  bodies, 4 requests under way ── verified on all cores ── connected in order
//!     │
//!  own log ── further there? taken over
//!     │
//!  pending ── digest differs? ── logs that end further there ── their batches
//! ```
//!
//! # The guide's example
//!
//! `node1.sync_with(node2)` and `get_global_trust("user_001", [node1, node2])`, with two stations in memory. A station
//! is the view, the sink and, over a link, the peer.
//!
//! ```
//! # mod station { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/station.rs")); }
//! # use std::collections::BTreeSet;
//! # use futures::executor::block_on;
//! # use qfzz_ledger_core::ids::{Id, Target};
//! # use qfzz_ledger_core::record::{Record, Subject, UserAction};
//! # use qfzz_ledger_core::testing::{at, rules};
//! # use qfzz_sync::global_trust::{Policy, get_global_trust, policy_weights};
//! # use qfzz_sync::session::sync_with;
//! # use station::{Clock, Station};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (rules, clock) = (rules(), Clock::default());
//! # let [node1, node2] = [1, 2].map(|number| Station::new(&rules, number, &clock));
//! # let action = |action: &str| {
//! #     let action = Id::new(action).expect("an id");
//! #     let trust_delta = rules.delta_of(&action).expect("the guide's actions are in the table");
//! #     let (user_id, target) = (Id::new("user_001").expect("an id"), Target::new("dj").expect("a target"));
//! #     Record::UserAction(UserAction { user_id, action, target, trust_delta, timestamp: at(0) })
//! # };
//! // user_001 is known to both stations.
//! node1.say(vec![action("interaction"), action("rating")]);
//! node2.say(vec![action("interaction")]);
//!
//! // node1 takes over what waits at node2, and mines it all; node2 takes over the block.
//! let report = block_on(sync_with(&node1.link_to(&node2), &node1, &node1));
//! assert_eq!((report.fault, report.blocks, report.records), (None, 0, 1));
//! node1.mine();
//! let report = block_on(sync_with(&node2.link_to(&node1), &node2, &node2));
//! assert_eq!((report.fault, report.blocks, report.records), (None, 1, 3));
//! assert_eq!(node1.head(), node2.head());
//!
//! // 0.54 at node1, 0.51 at node2: their mean, the same wherever it is asked.
//! let (subject, nodes) = (Subject::User(Id::new("user_001")?), BTreeSet::from([node1.id(), node2.id()]));
//! for node in [&node1, &node2] {
//!     let ledger = node.ledger();
//!     let weights = policy_weights(&rules, ledger.read(), Policy::Mean)?;
//!     let answer = get_global_trust(&rules, ledger.read(), &weights, &subject, Some(&nodes))?;
//!     assert_eq!(answer.score, "0.525".parse()?);
//!     assert_eq!(answer.coverage, "1".parse()?);
//! }
//! # Ok(())
//! # }
//! ```

pub mod alive;
pub mod global_trust;
pub mod message;
pub mod opinion;
mod patience;
pub mod peer;
pub mod plan;
pub mod report;
pub mod serve;
pub mod session;
