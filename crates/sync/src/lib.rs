//! How two stations become equal.
