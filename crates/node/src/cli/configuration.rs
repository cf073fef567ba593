//! `qfzz config`: the settings, without a daemon.

use clap::Subcommand;
use serde_json::{Value, json};

use super::Global;
use super::failure::Failure;
use super::output::Output;
use crate::config::Config;

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
    let loaded = Config::load(&dir.config_file(), std::env::vars_os(), &[])?;
    let settings =
        serde_json::to_value(&loaded.config).map_err(|error| Failure::BadAnswer { why: error.to_string() })?;
    match command {
        ConfigCommand::Show { origin: false } => out.result(&settings, |out| {
            out.write(toml::to_string(&settings).map_err(|error| Failure::BadAnswer { why: error.to_string() })?)
        }),
        ConfigCommand::Show { origin: true } => {
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
        ConfigCommand::Check => {
            let value = json!({ "ok": true, "file": dir.config_file() });
            out.result(&value, |out| out.line("the settings are right"))
        }
    }
}
