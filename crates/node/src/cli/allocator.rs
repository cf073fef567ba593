//! Settings of glibc's allocator, which it reads once, before the program's first line.
//!
//! With its own, memory that was freed stays with the process: for each thread apart, and, once a large block was
//! freed, large ones too. 200,000 records on different subjects then left 220 to 300 MiB resident where these leave
//! 156 at most; jemalloc and mimalloc came to about the same. So the daemon starts itself once more
//! with them: the same process, by its id, its arguments and what it has open.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Two heaps instead of eight a core; blocks from 256 KiB on go back to the system when they are freed, and so does
/// the end of a heap from 1 MiB on.
const SETTINGS: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "262144"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];

/// What makes glibc read them, too: whoever set it knows better.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Starts the program once more with the settings, unless the environment has some. Returns where that is not needed,
/// or not possible: it then needs more memory, and works.
pub(super) fn settle() {
    let is_set = SETTINGS.iter().map(|(name, _)| *name).chain([TUNABLES]).any(|name| env::var_os(name).is_some());
    if !cfg!(target_env = "gnu") || is_set {
        return;
    }
    let (Ok(program), mut arguments) = (env::current_exe(), env::args_os()) else { return };
    let mut again = Command::new(program);
    again.envs(SETTINGS);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    let error = again.args(arguments).exec();
    super::output::notice(format_args!("qfzz: more memory may stay in use than is needed: {error}"));
}
