//! What a command prints: results on standard output, as one JSON value or for people.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use super::failure::Failure;

/// Columns of a terminal that nobody has made wider.
const TERMINAL_WIDTH: u16 = 80;

/// Standard output. When whoever reads it is gone, the rest is thrown away and the command goes on.
pub(super) struct Output {
    json: bool,
    quiet: bool,
    gone: bool,
    stdout: io::BufWriter<io::Stdout>,
}

impl Output {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, gone: false, stdout: io::BufWriter::new(io::stdout()) }
    }

    /// Whether one JSON value is wanted.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nothing but results and troubles is to be said.
    pub(super) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints `value` with --json, else what `show` makes of it.
    pub(super) fn result(
        &mut self,
        value: &Value,
        show: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.json { self.line(value) } else { show(self) }
    }

    /// Prints a line.
    pub(super) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        self.write(format_args!("{line}\n"))
    }

    /// Prints text as it is.
    pub(super) fn write(&mut self, text: impl Display) -> Result<(), Failure> {
        self.attempt(|stdout| write!(stdout, "{text}"))
    }

    /// Prints bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.attempt(|stdout| stdout.write_all(bytes))
    }

    /// Prints what was kept back so far.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.attempt(Write::flush)
    }

    /// Prints names and values below each other; values line up.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) -> Result<(), Failure> {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
        facts.iter().try_for_each(|(name, value)| self.line(format_args!("{:width$} {value}", format!("{name}:"))))
    }

    /// Prints a table.
    pub(super) fn table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_header(head).add_rows(rows);
        table.lines().try_for_each(|line| self.line(line.trim()))
    }

    /// Prints a table that is no wider than a terminal has been for long: what does not fit goes on below.
    pub(super) fn narrow_table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result<(), Failure> {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(TERMINAL_WIDTH);
        table.load_style(comfy_table::presets::NOTHING).set_header(head).add_rows(rows);
        // Each cell stands between blanks, and so does the first.
        table.lines().try_for_each(|line| self.line(line.strip_prefix(' ').unwrap_or(&line).trim_end()))
    }

    fn attempt(&mut self, print: impl FnOnce(&mut io::BufWriter<io::Stdout>) -> io::Result<()>) -> Result<(), Failure> {
        if self.gone {
            return Ok(());
        }
        match print(&mut self.stdout) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            done => done.map_err(Failure::Output),
        }
    }
}

/// Says something to the operator on standard error. That nobody may be listening is no trouble.
pub(super) fn notice(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The member of `value` at `path` (names separated by dots; empty: the value itself) for people: `-` where there is
/// none.
///
/// Control characters, which could forge lines of the terminal, are replaced: names and metadata are strangers' words.
pub(super) fn show(value: &Value, path: &str) -> String {
    let names = path.split('.').filter(|name| !name.is_empty());
    let member = names.into_iter().try_fold(value, |value, name| value.get(name));
    let text = match member {
        None | Some(Value::Null) => return "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(other) => other.to_string(),
    };
    if text.is_empty() { "-".to_owned() } else { clean(&text) }
}

/// `text` without control characters.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A number of things, such as `1 record` or `2 records`.
pub(super) fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// The items of an array, or of nothing.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A head as `index hash`, `-` where it is unknown; the hash is cut to 12 digits.
pub(super) fn show_head(value: &Value, path: &str) -> String {
    let hash = show(value, &format!("{path}.hash"));
    let index = show(value, &format!("{path}.index"));
    if hash == "-" { hash } else { format!("{index} {}", short(&hash)) }
}

/// The first 12 characters, which people tell hashes apart by.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_shown_for_people_and_cannot_move_the_cursor() {
        let value = json!({"head": {"index": 3, "hash": "0011223344556677"}, "name": "a\u{1b}[2J\u{9b}b", "synced": false, "none": null, "score": 0.54});
        assert_eq!(show(&value, "name"), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(show(&value, "synced"), "no");
        assert_eq!(show(&value, "none"), "-");
        assert_eq!(show(&value, "none.deeper"), "-");
        assert_eq!(show(&value, "score"), "0.54");
        assert_eq!(show(&json!("whole"), ""), "whole");
        assert_eq!(show_head(&value, "head"), "3 001122334455");
        assert_eq!(show_head(&value, "absent"), "-");
    }
}
