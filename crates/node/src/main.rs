//! The program `qfzz`.
fn main() {}
