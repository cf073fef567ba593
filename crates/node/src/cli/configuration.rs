//! `qfzz config`: the settings, without a daemon.

use std::path::Path;

use clap::Subcommand;
use serde_json::{Value, json};

use super::Global;
use super::failure::Failure;
use super::output::{Output, notice};
use crate::config::{Config, ConfigError, Loaded};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show what the daemon would use
    Show {
        /// Also show where each value was set
        #[arg(long)]
        origin: bool,
    },
    /// Report every mistake in the settings
    Check,
}

pub(super) fn configuration(global: &Global, command: &ConfigCommand, out: &mut Output) -> Result<(), Failure> {
    let dir = global.data_dir()?;
    let flags = global.log_level().into_iter().collect::<Vec<_>>();
    let loaded = Config::load(&dir.config_file(), std::env::vars_os(), &flags);
    let ConfigCommand::Show { origin } = command else {
        return check(&dir.config_file(), loaded, out);
    };
    let loaded = loaded?;
    let settings =
        serde_json::to_value(&loaded.config).map_err(|error| Failure::BadAnswer { why: error.to_string() })?;
    if !origin {
        return out.result(&settings, |out| {
            out.write(toml::to_string(&settings).map_err(|error| Failure::BadAnswer { why: error.to_string() })?)
        });
    }
    let value_of = |key: &str| key.split('.').fold(&settings, |value, part| &value[part]).clone();
    let origins: Vec<(String, Value, String)> =
        loaded.origins.into_iter().map(|(key, origin)| (key.clone(), value_of(&key), origin)).collect();
    let mut nested = json!({});
    for (key, value, origin) in &origins {
        let slot = key.split('.').fold(&mut nested, |object, part| &mut object[part]);
        *slot = json!({ "value": value, "origin": origin });
    }
    out.result(&nested, |out| {
        let rows = origins.iter().map(|(key, value, origin)| [key.clone(), value.to_string(), origin.clone()]);
        out.table(["KEY", "VALUE", "ORIGIN"], rows)
    })
}

/// Prints whether the settings can be used, with --json also where they cannot.
fn check(file: &Path, loaded: Result<Loaded, ConfigError>, out: &mut Output) -> Result<(), Failure> {
    let (problems, unused) = match &loaded {
        Ok(loaded) => (&[][..], &loaded.unused[..]),
        Err(error) => (&error.problems[..], &[][..]),
    };
    let shown = problems
        .iter()
        .map(|problem| json!({ "origin": problem.origin(), "key": problem.key(), "problem": problem.to_string() }));
    let value = json!({
        "ok": problems.is_empty(), "file": file, "problems": shown.collect::<Vec<_>>(), "unused": unused,
    });
    out.result(&value, |out| {
        for variable in unused {
            notice(format_args!("note: the environment variable {variable} is no setting, and has no effect"));
        }
        if loaded.is_ok() { out.line("the settings are right") } else { Ok(()) }
    })?;
    loaded.map(drop).map_err(Failure::from)
}
