//! What QFZZ stations sign, exchange and agree on.

pub mod batch;
pub mod block;
pub mod codec;
pub mod crypto;
pub mod federation;
pub mod header;
pub mod ids;
pub mod limits;
pub mod merkle;
pub mod pow;
pub mod record;
pub mod reveal;
pub mod score;
pub mod severity;
pub mod time;
