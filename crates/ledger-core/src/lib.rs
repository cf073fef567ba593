//! What QFZZ stations sign, exchange and agree on.
//!
//! Pure: no I/O, no clock, no randomness. Functions take what they need and return values; the node decides when to
//! write and send them. A newcomer reads from the bottom up:
//!
//! ```text
//! ids time score limits        what things are called, and their bounds
//! codec crypto ml_dsa merkle   the only bytes and hashes, signatures
//! batch_header equivocation    what an author signs, and the proof that it signed a place twice
//! dataset license              what is known of a dataset, and which are accepted
//! testimony                    what a station says of another's record
//! record batch own_log         what one station signs: its log
//! header federation pow        genesis, rules, proof of work
//! reveal block                 what a producer seals
//! proof                        that a record is in a block, for anybody to check
//! chain fork_choice orphans    the tree of known blocks, and which tip wins
//! state                        what follows from a branch: scores and opinions
//! mempool selection held       what waits for a block, and what the next one holds
//! overlay ledger               all of it behind one facade; every change is one `Transition`
//! network verify               the guide's verbs; a whole chain verified again
//! ```
//!
//! # The guide's workflow
//!
//! ```
//! use qfzz_ledger_core::network::BlockchainTrustNetwork;
//! use qfzz_ledger_core::{score::Score, time::Timestamp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now: Timestamp = "2026-01-25T10:00:00Z".parse()?;
//! let score = |text: &str| text.parse::<Score>();
//! let mut network = BlockchainTrustNetwork::new(2, [7; 32], now)?;
//!
//! // Add records.
//! network.add_trust_record("track_001", "artist_001", score("0.6")?, now)?;
//! network.add_trust_record("track_002", "artist_002", score("0.7")?, now)?;
//! network.add_trust_record("track_003", "artist_001", score("0.5")?, now)?;
//!
//! // Verify and report.
//! network.verify_content("track_001", "artist_001", now)?;
//! network.verify_content("track_001", "artist_001", now)?;
//! network.verify_content("track_002", "artist_002", now)?;
//! network.report_content("track_003", "artist_001", now)?;
//! assert_eq!(network.get_statistics()?.pending_records, 7);
//!
//! // Mine the first block, then a second one.
//! let first = network.mine_pending_records(now)?.expect("records are pending");
//! assert_eq!((first.index().get(), first.record_count()), (1, 7));
//! assert!(first.hash().to_string().starts_with("00"));
//! network.add_trust_record("track_004", "artist_003", Score::HALF, now)?;
//! network.verify_content("track_004", "artist_003", now)?;
//! network.verify_content("track_004", "artist_003", now)?;
//! let second = network.mine_pending_records(now)?.expect("records are pending");
//! assert_eq!((second.index().get(), second.record_count()), (2, 3));
//! assert!(network.mine_pending_records(now)?.is_none());
//!
//! // Query trust.
//! assert_eq!(network.get_trust_score("track_001", "artist_001")?, score("0.9")?);
//! assert_eq!(network.get_trust_score("track_003", "artist_001")?, score("0.1")?);
//! assert_eq!(network.get_creator_trust("artist_001")?, score("0.5")?);
//! assert_eq!(network.get_trust_score("unknown", "unknown")?, score("0.5")?);
//!
//! // A new user has 0.5; an interaction and a rating count at once, and are confirmed when mined.
//! assert_eq!(network.get_user_trust("user_001")?.score, Score::HALF);
//! network.add_user_action("user_001", "interaction", "dj", now)?;
//! network.add_user_action("user_001", "rating", "dataset_001", now)?;
//! let user = network.get_user_trust("user_001")?;
//! assert_eq!((user.score, user.confirmed_score), (score("0.54")?, Score::HALF));
//! network.mine_pending_records(now)?;
//! assert_eq!(network.get_user_trust("user_001")?.confirmed_score, score("0.54")?);
//!
//! // Validate, count, export.
//! assert!(network.is_chain_valid());
//! let statistics = network.get_statistics()?;
//! assert_eq!((statistics.chain_length, statistics.total_records), (4, 12));
//! assert_eq!((statistics.indexed_records, statistics.total_users), (4, 1));
//! let stats = network.get_chain_stats()?;
//! assert_eq!((stats.chain_length, stats.total_users, stats.chain_valid), (4, 1, true));
//! assert_eq!(network.get_block(network.get_chain_length() - 1)?, Some(network.get_latest_block()?));
//! assert_eq!(network.get_block(0)?.map(|genesis| genesis.records().count()), Some(0));
//! assert_eq!(network.export_chain()?.len(), 3);
//! # Ok(())
//! # }
//! ```

pub mod batch;
pub mod batch_header;
pub mod block;
pub mod chain;
pub mod codec;
pub mod crypto;
pub mod dataset;
pub mod equivocation;
pub mod evidence;
pub mod federation;
pub mod fork_choice;
pub mod header;
pub mod held;
pub mod ids;
pub mod ledger;
pub mod license;
pub mod limits;
pub mod memory;
pub mod mempool;
pub mod merkle;
pub mod ml_dsa;
pub mod network;
pub mod orphans;
pub mod overlay;
pub mod own_log;
pub mod pow;
pub mod proof;
pub mod record;
pub mod reveal;
pub mod score;
mod selection;
pub mod severity;
mod sha;
pub mod state;
pub mod testimony;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod verify;
