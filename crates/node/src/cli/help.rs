//! What `qfzz help` says beyond each command's own words: the groups of commands, examples, exit codes.

use std::fmt::Write;

use clap::{Command, CommandFactory};

use super::Cli;
use super::failure::EXIT_CODES;

/// What each group of commands is for, and its commands in the order in which they are met.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Run a station", &["init", "run", "status", "demo"]),
    ("Among other stations", &["ticket", "join", "peers", "sync", "station"]),
    ("Record and ask", &["record", "content", "dataset", "trust"]),
    ("Check what others record", &["duties", "testify"]),
    ("The chain", &["mine", "chain"]),
    ("Keep it on air", &["quantum", "config", "doctor", "completions", "man", "help"]),
];

/// The program's commands with help that is grouped.
pub(super) fn command() -> Command {
    let command = Cli::command();
    let groups = groups(&command);
    command
        .help_template(format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{groups}\nGlobal options:\n{{options}}{{after-help}}"
        ))
        .after_help(exit_codes())
        .mut_subcommands(|command| match examples(command.get_name()) {
            Some(examples) => command.after_help(examples),
            None => command,
        })
}

/// The commands below each other, in their groups; those that are in none come last.
fn groups(command: &Command) -> String {
    let about = |name: &str| match command.find_subcommand(name) {
        Some(command) => command.get_about().map(ToString::to_string),
        // clap adds it when the command is built.
        None => (name == "help").then(|| "Explain a command".to_owned()),
    };
    let is_grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let rest: Vec<&str> = command.get_subcommands().map(Command::get_name).filter(|name| !is_grouped(name)).collect();
    let mut text = String::new();
    for (title, names) in GROUPS.into_iter().chain([("Other commands", &rest[..])]) {
        let lines: String =
            names.iter().filter_map(|name| about(name).map(|about| format!("  {name:12} {about}\n"))).collect();
        if !lines.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{title}:\n{lines}");
        }
    }
    text
}

/// The exit codes, one a line.
fn exit_codes() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (code, meaning) in EXIT_CODES {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {code}  {meaning}");
    }
    text.push_str("\n`qfzz help COMMAND` explains a command, `qfzz man DIR` writes a page for each.");
    text
}

/// What people type first.
fn examples(command: &str) -> Option<&'static str> {
    Some(match command {
        "init" => {
            "\
Examples:
  qfzz init --name north --new-federation \"Harbour Radio\"
  qfzz init --name south --join /ip4/192.0.2.1/tcp/4811
  qfzz init --new-federation Test --difficulty 1 --action upload=0.02
  qfzz init --new-federation Closed --admission roster"
        }
        "run" => {
            "\
Examples:
  qfzz run
  qfzz run --join /ip4/192.0.2.1/tcp/4811
  qfzz --data-dir /srv/second run --listen /ip4/0.0.0.0/tcp/4821 --api-listen 127.0.0.1:4820
  QFZZ_LOG_FORMAT=json qfzz -v run

RUST_LOG, where it is set, says in the words of Rust's logs what is logged (`RUST_LOG=info,libp2p=debug`);
-v and -q go before it, and it before log.level."
        }
        "join" => {
            "\
Examples:
  qfzz join qfzz1...                    what `qfzz ticket` printed at the other station
  qfzz join /ip4/192.0.2.1/tcp/4811

The stations of the federation are remembered from then on and called again after a restart."
        }
        "ticket" => {
            "\
Examples:
  qfzz ticket
  qfzz ticket --invite --expires 2h      admits one newcomer to a federation with a roster, without a second step"
        }
        "station" => {
            "\
Examples:
  qfzz station list
  qfzz station admit 12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X --reason \"from Harbour\"
  qfzz station expel 12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X

One founder admits; more than half of the founders expel, and then more than half must admit again."
        }
        "record" => {
            "\
Examples:
  qfzz record user_001 interaction --target dj
  qfzz record user_001 rating --timestamp 2026-01-25T10:00:00Z
  qfzz record --from records.jsonl > ids

A file has one JSON object a line, such as
  {\"kind\":\"user_action\",\"user_id\":\"user_001\",\"action\":\"rating\",\"target\":\"show_001\"}
  {\"kind\":\"content_verified\",\"content_id\":\"track_001\",\"creator_id\":\"artist_001\"}"
        }
        "content" => {
            "\
Examples:
  qfzz content add track_001 artist_001 --metadata '{\"tags\":[\"original\"]}'
  qfzz content verify track_001 artist_001 --times 4
  qfzz content show track_001 artist_001"
        }
        "dataset" => {
            "\
Examples:
  qfzz dataset register music.tar --id ds_001 --name OpenMusic --license CC-BY --quality 0.9 --tag ambient
  qfzz dataset verify ds_001 music.tar --user user_001
  qfzz dataset rate ds_001 0.8 --user user_001
  qfzz dataset list --min-quality 0.8 --license CC0-1.0"
        }
        "trust" => {
            "\
Examples:
  qfzz trust user user_001
  qfzz trust content track_001 artist_001 --global
  qfzz trust creator artist_001 --at-least 0.6 && echo play
  qfzz trust filter playlist.jsonl --at-least 0.75

A playlist has one JSON object a line, such as
  {\"content_id\":\"track_001\",\"creator_id\":\"artist_001\",\"title\":\"Song 1\"}"
        }
        "duties" => {
            "\
Examples:
  qfzz duties
  qfzz duties --explain 12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X.17.3

Each block draws stations of weight to check records of the block before. What is not answered
costs nothing; verify.folders and verify.command in the settings answer without a person."
        }
        "testify" => {
            "\
Examples:
  qfzz testify 12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X.17.3 agree
  qfzz testify 12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X.17.3 contest

Only the first answer counts. Look at the thing itself before: a juror that the others contradict
loses weight."
        }
        "chain" => {
            "\
Examples:
  qfzz chain stats
  qfzz chain verify
  qfzz chain block 17
  qfzz chain block 00ff85a04024         the first 6 digits of a hash, or more
  qfzz chain export chain.json
  qfzz chain import chain.json            into a station that has no chain yet
  qfzz chain import qfzz_ledger.json      what the original program wrote becomes records
  qfzz chain proof 12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X.17.3 proof.json
  qfzz chain verify-proof proof.json"
        }
        "sync" => {
            "\
Examples:
  qfzz sync
  qfzz sync /ip4/192.0.2.1/tcp/4811"
        }
        "quantum" => {
            "\
Examples:
  qfzz quantum setup
  qfzz quantum status
  qfzz quantum int 16
  qfzz quantum bytes 32 --json

Numbers are drawn by the command itself, from a helper process of its own; only `status` asks the
daemon, where one runs."
        }
        "config" => {
            "\
Examples:
  qfzz config check
  qfzz config show --origin"
        }
        "doctor" => {
            "\
Examples:
  qfzz doctor
  qfzz doctor --repair"
        }
        "completions" => {
            "\
Examples:
  qfzz completions bash > ~/.local/share/bash-completion/completions/qfzz
  qfzz completions zsh > ~/.zfunc/_qfzz
  qfzz completions fish > ~/.config/fish/completions/qfzz.fish"
        }
        "man" => {
            "\
Examples:
  qfzz man ~/.local/share/man/man1 && man qfzz-record"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_exactly_one_group_with_its_words() {
        let help = command().render_long_help().to_string();
        for command in Cli::command().get_subcommands() {
            let line = format!("  {:12} {}\n", command.get_name(), command.get_about().expect("it says what it does"));
            assert_eq!(help.matches(&line).count(), 1, "{line}in:\n{help}");
        }
        assert!(!help.contains("Other commands"), "{help}");
        for (code, meaning) in EXIT_CODES {
            assert!(help.contains(&format!("  {code}  {meaning}")), "{help}");
        }
    }

    #[test]
    fn every_example_is_understood() {
        let parsed = |line: &str| {
            let words = line.trim().trim_start_matches("QFZZ_LOG_FORMAT=json ");
            // What a shell would take away.
            let words = words.split(" && ").next().unwrap_or_default().split(" > ").next().unwrap_or_default();
            let words = words
                .split("      ")
                .next()
                .unwrap_or_default()
                .replace("\"Harbour Radio\"", "Harbour")
                .replace("\"from Harbour\"", "Harbour");
            let words = words.replace(['\''], "").replace("qfzz1...", "/ip4/192.0.2.1/tcp/1");
            command().try_get_matches_from(words.split_whitespace()).map(drop)
        };
        let mut count = 0;
        for name in GROUPS.iter().flat_map(|(_, names)| names.iter()) {
            let Some(text) = examples(name) else { continue };
            for line in text.lines().filter(|line| line.starts_with("  q") || line.starts_with("  QFZZ_")) {
                assert!(parsed(line).is_ok(), "{line}: {:?}", parsed(line));
                count += 1;
            }
        }
        assert!(count > 20, "{count} examples");
    }
}
