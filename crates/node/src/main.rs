//! The program `qfzz`.

use std::process::ExitCode;

fn main() -> ExitCode {
    qfzz_node::cli::main()
}
