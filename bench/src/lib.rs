//! The benchmark of the whole node: figures beside the machine's own limits, in one run.

pub mod checking;
pub mod machine;
pub mod report;
pub mod samples;
pub mod timing;
