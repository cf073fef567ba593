//! Reads the settings from all their sources, and reports every mistake with where it was made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::Config;

/// What the names of environment variables for settings begin with.
const PREFIX: &str = "QFZZ_";

/// Variables with that prefix that are no settings, but belong to the command line.
const COMMAND_LINE_VARIABLES: [&str; 2] = ["QFZZ_DATA_DIR", "QFZZ_API"];

/// A setting that was given as a flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Flag {
    /// The flag, such as `--listen`.
    pub flag: &'static str,
    /// The key that it sets, such as `network.listen`.
    pub key: &'static str,
    /// Its text; a list's items are separated by commas.
    pub text: String,
}

/// The settings, and where each was set.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// For each key where its value came from, such as `--listen`, `QFZZ_API_LISTEN`, a path, or `default`.
    pub origins: BTreeMap<String, String>,
}

/// Mistakes in the configuration, all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<ConfigProblem>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// A source cannot be read at all.
    #[error("{origin}: {why}")]
    Unreadable {
        /// Which one.
        origin: String,
        /// The parser's or the operating system's words.
        why: String,
    },
    /// A key that this version does not have.
    #[error("{origin}: `{key}` is no key of this version{}", suggestion(nearest))]
    UnknownKey {
        /// Where it was set.
        origin: String,
        /// The key, or the variable.
        key: String,
        /// The key, or the variable, that may have been meant.
        nearest: Option<String>,
    },
    /// A value that its key cannot take.
    #[error("{origin}: `{key}`: {why}")]
    BadValue {
        /// Where it was set.
        origin: String,
        /// The key.
        key: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|nearest| format!(": did you mean `{nearest}`?")).unwrap_or_default()
}

impl Config {
    /// Reads the settings: defaults, then the file at `file` if it exists, then `environment`, then `flags`.
    ///
    /// # Errors
    /// [`ConfigError`] with every unknown key and bad value of every source.
    pub fn load(
        file: &Path,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[Flag],
    ) -> Result<Loaded, ConfigError> {
        let defaults = Self::default_values();
        let mut problems = Vec::new();
        let mut origins: BTreeMap<String, String> =
            keys_of(&defaults).into_iter().map(|key| (key, "default".to_owned())).collect();

        let from_file = file_values(file, &mut problems);
        for key in leaves(&from_file, &defaults) {
            let origin = file.display().to_string();
            match origins.get_mut(&key) {
                Some(set_by) => *set_by = origin,
                // A section that holds a value instead of keys; its type is reported below.
                None if defaults.contains_key(&key) => {
                    origins.insert(key, origin);
                }
                None => {
                    let nearest = nearest(&key, keys_of(&defaults));
                    problems.push(ConfigProblem::UnknownKey { origin, key, nearest });
                }
            }
        }

        let mut layers = environment_values(environment, &defaults, &mut problems);
        layers.extend(flags.iter().map(|flag| (flag.key.to_owned(), flag.flag.to_owned(), flag.text.clone())));
        let mut figment = Figment::from(Serialized::defaults(Self::default())).merge(Values(from_file));
        for (key, origin, text) in layers {
            figment = figment.merge((&key, text));
            origins.insert(key, origin);
        }

        match extract(figment, &defaults, &origins, &mut problems) {
            Some(config) if problems.is_empty() => Ok(Loaded { config, origins }),
            _ => Err(ConfigError { problems }),
        }
    }

    fn default_values() -> Dict {
        let defaults = Value::serialize(Self::default()).expect("the defaults are plain values");
        defaults.into_dict().expect("the settings have sections")
    }
}

/// Already parsed values as a source of figment's.
struct Values(Dict);

impl Provider for Values {
    fn metadata(&self) -> Metadata {
        Metadata::named("values")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

fn file_values(file: &Path, problems: &mut Vec<ConfigProblem>) -> Dict {
    let unreadable = |why: String| ConfigProblem::Unreadable { origin: file.display().to_string(), why };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Dict::new(),
        Err(error) => {
            problems.push(unreadable(error.to_string()));
            return Dict::new();
        }
    };
    match Toml::string(&text).data() {
        Ok(mut profiles) => profiles.remove(&Profile::Default).unwrap_or_default(),
        Err(error) => {
            problems.extend(error.into_iter().map(|error| unreadable(error.kind.to_string().trim_end().to_owned())));
            Dict::new()
        }
    }
}

/// The settings among the environment's variables, as (key, variable, text).
fn environment_values(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    defaults: &Dict,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<(String, String, String)> {
    let variable_of = |key: &str| format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase());
    let keys: BTreeMap<String, String> = keys_of(defaults).into_iter().map(|key| (variable_of(&key), key)).collect();
    let mut values = Vec::new();
    for (variable, text) in environment {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if COMMAND_LINE_VARIABLES.contains(&variable) {
            continue;
        }
        match (keys.get(variable), text.into_string()) {
            (Some(key), Ok(text)) => values.push((key.clone(), variable.to_owned(), text)),
            (Some(key), Err(_)) => problems.push(ConfigProblem::BadValue {
                origin: variable.to_owned(),
                key: key.clone(),
                why: "is not UTF-8".to_owned(),
            }),
            (None, _) => {
                // Other programs may have variables with this prefix; what looks like a setting is taken as one.
                let in_section =
                    defaults.keys().any(|section| variable.starts_with(&format!("{}_", variable_of(section))));
                let nearest = nearest(variable, keys.keys().cloned());
                let close = nearest.as_ref().is_some_and(|nearest| strsim::damerau_levenshtein(nearest, variable) <= 2);
                if in_section || close {
                    let origin = "environment".to_owned();
                    problems.push(ConfigProblem::UnknownKey { origin, key: variable.to_owned(), nearest });
                }
            }
        }
    }
    values
}

/// Turns the merged values into settings. Each bad value is reported and replaced by its default, to find the next.
fn extract(
    mut figment: Figment,
    defaults: &Dict,
    origins: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Config> {
    // One round for each key and section, and one that succeeds.
    for _ in 0..=origins.len() + defaults.len() {
        let error = match figment.extract::<Config>() {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let key = error.path.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(".");
        let default = find(defaults, &key)?.clone();
        let origin = origins.get(&key).cloned().unwrap_or_else(|| "default".to_owned());
        problems.push(ConfigProblem::BadValue { origin, key: key.clone(), why: error.kind.to_string() });
        figment = figment.merge((key, default));
    }
    None
}

/// The value at `section` or `section.key`.
fn find<'a>(values: &'a Dict, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = values.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_dict()?.get(part))
}

/// The paths of all settings of `defaults`.
fn keys_of(defaults: &Dict) -> Vec<String> {
    leaves(defaults, &Dict::new())
}

/// The paths of all values in `values`; tables are not entered where `known` has a setting.
fn leaves(values: &Dict, known: &Dict) -> Vec<String> {
    fn walk(values: &Dict, prefix: &str, known: &Dict, paths: &mut Vec<String>) {
        for (name, value) in values {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let is_setting = find(known, &path).is_some_and(|value| value.as_dict().is_none());
            match value {
                Value::Dict(_, table) if !is_setting && !table.is_empty() => walk(table, &path, known, paths),
                // An empty section sets nothing.
                Value::Dict(_, table) if table.is_empty() && known.contains_key(&path) => {}
                _ => paths.push(path),
            }
        }
    }
    let mut paths = Vec::new();
    walk(values, "", known, &mut paths);
    paths
}

/// The one of `names` that looks most like `name`, or whose last part does; `None` if none looks like it.
fn nearest(name: &str, names: impl IntoIterator<Item = String>) -> Option<String> {
    /// Below this Jaro-Winkler similarity a suggestion confuses more than it helps.
    const ALIKE: f64 = 0.8;
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |other: &str| {
        let whole = strsim::jaro_winkler(name, other);
        // `listn` alone, or under a wrong section, still means some `listen`.
        whole.max(strsim::jaro_winkler(&last(name), &last(other)) - 0.05)
    };
    let scored = names.into_iter().map(|other| (likeness(&other), other));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}
