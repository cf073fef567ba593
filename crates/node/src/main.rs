//! The program `qfzz`.

use std::process::ExitCode;

// Quicker than glibc's, within the memory that is promised: docs/decisions/0014-the-allocator.md.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    qfzz_node::cli::main()
}
