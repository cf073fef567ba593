//! `qfzz doctor`: a look at everything that a station rests on, and its repair.

use clap::Args;

use super::failure::Failure;
use super::output::{Output, clean};
use super::{Global, wait_for};
use crate::config::{Config, LogFormat, LogLevel};
use crate::node::checkup::{Treatment, checkup};
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Repair what is damaged: set it aside, keep what is whole, fetch the rest from other stations. Nothing that was
    /// signed is removed
    #[arg(long)]
    repair: bool,
    /// Go on without what was lost here and no station that can be reached has
    #[arg(long, requires = "repair")]
    accept_loss: bool,
}

pub(super) fn doctor(global: &Global, args: &DoctorArgs, out: &mut Output) -> Result<(), Failure> {
    let dir = global.data_dir()?;
    // What is found is the result; the log would say it twice.
    let level = if global.verbose > 0 { LogLevel::Info } else { LogLevel::Error };
    let started = telemetry::start(level, LogFormat::Text, global.color.forced(), None);
    started.map_err(|error| Failure::Usage { what: "-v", why: error.to_string() })?;
    let config = Config::load(&dir.config_file(), std::env::vars_os(), &[]);
    let config = config.map(|loaded| loaded.config).map_err(|error| error.to_string());
    let treatment = Treatment { repair: args.repair, accept_loss: args.accept_loss };
    let found = wait_for(tokio::runtime::Builder::new_multi_thread(), async {
        checkup(dir, config, treatment).await.map_err(Failure::from)
    })?;
    let value = serde_json::to_value(&found).map_err(|error| Failure::BadAnswer { why: error.to_string() })?;
    out.result(&value, |out| {
        for finding in found.checks.iter().filter(|finding| !finding.ok) {
            out.line(format_args!("PROBLEM  {}: {}", finding.check, clean(&finding.detail)))?;
            out.line(format_args!("  remedy {}", clean(finding.remedy.as_deref().unwrap_or("-"))))?;
        }
        found.repaired.iter().try_for_each(|done| out.line(format_args!("REPAIRED {}", clean(done))))?;
        if let Some(pid) = found.daemon {
            out.line(format_args!("a daemon has the directory, with pid {pid}"))?;
        }
        let fine = found.checks.iter().filter(|finding| finding.ok);
        out.facts(&fine.map(|finding| (finding.check, clean(&finding.detail))).collect::<Vec<_>>())
    })?;
    let problems = found.checks.iter().filter(|finding| !finding.ok).count();
    if found.ok { Ok(()) } else { Err(Failure::Unhealthy { problems, is_chain_invalid: found.chain_invalid }) }
}
