//! What the tests of this crate share.

/// A station in memory, and the link over which another one syncs with it.
#[allow(dead_code, reason = "each test file uses a part of it")]
pub(crate) mod station;
pub(crate) mod world;
