//! What QFZZ stations sign, exchange and agree on.

pub mod codec;
pub mod ids;
pub mod limits;
pub mod score;
pub mod time;
