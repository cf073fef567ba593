//! Prototype
use qfzz_bench::*;
fn main() -> anyhow::Result<()> {
    let mut report = report::Report::default();
    checking::proof_of_work(&mut report, 20)?;
    checking::full_batches(&mut report, 20)?;
    checking::single_batches(&mut report, 20)?;
    println!("{}", serde_json::to_string_pretty(&report.json(&serde_json::json!({})))?);
    Ok(())
}
