//! The benchmark of the whole node: figures beside the machine's own limits, in one run.
//!
//! | file | noun |
//! |---|---|
//! | `machine` | what the machine can do at best |
//! | `checking` | proof of work, and batches in memory |
//! | `catching_up` | whole chains: from the disk, from a peer |
//! | `signatures` | what the two schemes cost a record |
//! | `ingest` | durable records over HTTP |
//! | `visible` | from one station to the others |
//! | `large` | a large ledger beside a small one |
//! | `trust` | questions about global trust, and its sums |
//! | `history` | a chain that many stations wrote |
//! | `report`, `timing`, `samples` | what is found, how, and with what |
//! | `daemon`, `http` | the released program, from outside |
//! | `adapter` | this node behind the protocol by which systems are compared |

pub mod adapter;
pub mod catching_up;
pub mod checking;
pub mod daemon;
pub mod history;
pub mod http;
pub mod ingest;
pub mod large;
pub mod machine;
pub mod report;
pub mod samples;
pub mod signatures;
pub mod timing;
pub mod trust;
pub mod visible;
