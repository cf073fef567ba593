//! Starts real `qfzz` processes on real sockets and disks, and looks at them from outside.

mod api;
mod daemon;
mod dice;
mod failing;
mod follower;
mod harm;
mod image;
mod ledgerless;
mod load;
mod netns;
mod program;
mod proxy;
mod replay;
mod resident;
mod small_disk;
mod turn;
mod wait;
mod witness;

pub use api::{Answer, Api, Events};
pub use daemon::{Daemon, Recipe};
pub use dice::Dice;
pub use failing::Fault;
pub use follower::{Duty, Follower};
pub use harm::{Harm, copy_dir, files_below};
pub use image::{DiskImage, Mount};
pub use ledgerless::{Ledgerless, rules_of};
pub use load::{Acknowledged, Load, Plan};
pub use netns::{Namespace, Network};
pub use program::{Finished, program, qfzz};
pub use proxy::Proxy;
pub use replay::{Replay, millionths};
pub use resident::{MIB, Resident};
pub use small_disk::SmallDisk;
pub use turn::{Turn, alone, beside_others};
pub use wait::wait_for;
pub use witness::Witness;
