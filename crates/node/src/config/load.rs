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
    /// Environment variables that begin like a setting and set nothing; another program's, or misspelt beyond
    /// recognition.
    pub unused: Vec<String>,
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
    /// A key that does not exist.
    #[error("{origin}: `{key}` is no key of this version{}", suggestion(meant))]
    UnknownKey {
        /// Where it was set.
        origin: String,
        /// The key, or the variable.
        key: String,
        /// What may have been meant: the nearest, or else all of its section; empty where nothing is like it.
        meant: Vec<String>,
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

impl ConfigProblem {
    /// The source that holds the mistake: a path, a variable, a flag, or `environment`.
    pub fn origin(&self) -> &str {
        match self {
            Self::Unreadable { origin, .. } | Self::UnknownKey { origin, .. } | Self::BadValue { origin, .. } => origin,
        }
    }

    /// The key or variable that it is about, if it is about one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Unreadable { .. } => None,
            Self::UnknownKey { key, .. } | Self::BadValue { key, .. } => Some(key),
        }
    }
}

fn suggestion(meant: &[String]) -> String {
    match meant {
        [] => String::new(),
        [one] => format!(": did you mean `{one}`?"),
        several => format!(": its section has {}", several.join(", ")),
    }
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
                    let meant = suggest(&key, &keys_of(&defaults));
                    problems.push(ConfigProblem::UnknownKey { origin, key, meant });
                }
            }
        }

        let mut unused = Vec::new();
        let mut layers = environment_values(environment, &defaults, &mut problems, &mut unused);
        layers.extend(flags.iter().map(|flag| (flag.key.to_owned(), flag.flag.to_owned(), flag.text.clone())));
        let mut figment = Figment::from(Serialized::defaults(Self::default())).merge(Values(from_file));
        for (key, origin, text) in layers {
            figment = figment.merge((&key, text));
            origins.insert(key, origin);
        }

        match extract(figment, &defaults, &origins, &mut problems) {
            Some(config) if problems.is_empty() => Ok(Loaded { config, origins, unused }),
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
    unused: &mut Vec<String>,
) -> Vec<(String, String, String)> {
    let variable_of = |key: &str| format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase());
    let keys: BTreeMap<String, String> = keys_of(defaults).into_iter().map(|key| (variable_of(&key), key)).collect();
    let mut values = Vec::new();
    for (variable, text) in environment {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if COMMAND_LINE_VARIABLES.contains(&variable) {
            continue;
        }
        let origin = "environment".to_owned();
        match (keys.get(variable), text.into_string()) {
            (Some(key), Ok(text)) => values.push((key.clone(), variable.to_owned(), text)),
            (Some(key), Err(_)) => problems.push(ConfigProblem::BadValue {
                origin: variable.to_owned(),
                key: key.clone(),
                why: "is not UTF-8".to_owned(),
            }),
            // Other programs may have variables with this prefix; what looks like one of ours is taken as one.
            (None, _) => match meant_variables(variable, defaults, &variable_of) {
                Some(meant) => {
                    problems.push(ConfigProblem::UnknownKey { origin, key: variable.to_owned(), meant });
                }
                None => unused.push(variable.to_owned()),
            },
        }
    }
    values
}

/// What may have been meant by an environment variable; `None` if it is none of ours.
fn meant_variables(variable: &str, defaults: &Dict, variable_of: &impl Fn(&str) -> String) -> Option<Vec<String>> {
    let of_section = |section: &&String| variable.strip_prefix(&format!("{}_", variable_of(section)));
    if let Some(section) = defaults.keys().find(|section| of_section(section).is_some()) {
        let rest = of_section(&section).unwrap_or_default().to_ascii_lowercase();
        let meant = suggest(&format!("{section}.{rest}"), &keys_of(defaults));
        return Some(meant.iter().map(|key| variable_of(key)).collect());
    }
    let keys = keys_of(defaults);
    let known = keys.iter().map(|key| variable_of(key)).chain(COMMAND_LINE_VARIABLES.map(str::to_owned));
    let rest = |variable: &str| variable.strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let nearest = nearest_word(&rest(variable), known.map(|known| (rest(&known), known)), 6)?;
    Some(vec![nearest])
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

/// What may have been meant by the unknown key `key`: the nearest of its section, else the nearest of all, else all of
/// its section.
fn suggest(key: &str, known: &[String]) -> Vec<String> {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let split = |known: &String| known.split_once('.').map(|(section, name)| (section.to_owned(), name.to_owned()));
    let of_section: Vec<(String, String)> = known
        .iter()
        .filter_map(|known| split(known).filter(|(of, _)| of == section).map(|(_, name)| (name, known.clone())))
        .collect();
    if let Some(nearest) = nearest_word(name, of_section.iter().cloned(), 2) {
        return vec![nearest];
    }
    let whole = known.iter().map(|known| (known.clone(), known.clone()));
    // The name alone, or under a section that has no such key.
    let names = known.iter().filter_map(|known| split(known).map(|(_, name)| (name, known.clone())));
    match nearest_word(key, whole, 6).or_else(|| nearest_word(name, names, 5)) {
        Some(nearest) => vec![nearest],
        None => of_section.into_iter().map(|(_, known)| known).collect(),
    }
}

/// Of `words`, each with what it stands for, the one with the fewest typing errors against `word`; `None` if
/// all have more than one in every `letters`. Of several the first.
fn nearest_word(word: &str, words: impl IntoIterator<Item = (String, String)>, letters: usize) -> Option<String> {
    let errors = |other: &str| strsim::damerau_levenshtein(word, other);
    let near = words.into_iter().map(|(other, means)| (errors(&other), other.len().max(word.len()), means));
    let near = near.filter(|(errors, length, _)| *errors <= (length / letters).max(1));
    near.min_by_key(|(errors, ..)| *errors).map(|(.., means)| means)
}
