//! `peer-adapter`: drives this node by JSON lines on standard input, answers each with one on standard output.

use std::io::{BufRead, Write};

use qfzz_bench::adapter::Adapter;

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut adapter = Adapter::default();
    let mut answers = std::io::stdout().lock();
    for line in std::io::stdin().lock().split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if line.trim().is_empty() {
            continue;
        }
        // As a task of the runtime: what it awaits may block in place.
        let Some(answer) = runtime.block_on(adapter.answer(&line)) else { break };
        writeln!(answers, "{answer}")?;
        answers.flush()?;
    }
    runtime.block_on(adapter.close());
    Ok(())
}
