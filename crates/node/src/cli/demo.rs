//! `qfzz demo`: several stations in one process.

use std::path::PathBuf;

use clap::Args;

use super::daemon::StartError;
use super::failure::Failure;
use super::output::Output;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many stations, 2 to 20
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
    stations: u8,
    /// Keep the stations' data when the demo ends
    #[arg(long)]
    keep: bool,
}

pub(super) fn demo(_args: &DemoArgs, _data_dir: Option<&PathBuf>, _out: &mut Output) -> Result<(), Failure> {
    Err(StartError::NotInThisBuild.into())
}
