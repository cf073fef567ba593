//! `qfzz help`, `man` and `completions`: what the program says of itself.

mod support;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use support::run;

/// The commands and, for those that have some, what stands below them, as `qfzz help` lists them.
fn commands() -> BTreeSet<String> {
    let nowhere = tempfile::tempdir().expect("a directory");
    let help = |arguments: &[&str]| run(nowhere.path(), arguments).expect(0).stdout;
    let mut names = BTreeSet::new();
    for name in listed(&help(&["help"])).into_iter().filter(|name| name != "help") {
        for below in listed(&help(&["help", &name])).into_iter().filter(|below| below != "help") {
            names.insert(format!("{name} {below}"));
        }
        names.insert(name);
    }
    names
}

/// The first words of the lines that list commands: indented by two, in a paragraph whose title ends with a colon.
fn listed(help: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_list = false;
    for line in help.lines() {
        let is_title = !line.starts_with(' ') && line.ends_with(':');
        if is_title || line.is_empty() {
            let other = ["Options:", "Global options:", "Arguments:", "Examples:", "Exit codes:"];
            is_list = is_title && !other.contains(&line);
        }
        let name = line.strip_prefix("  ").and_then(|line| line.split(' ').next()).filter(|name| !name.is_empty());
        names.extend(name.filter(|_| is_list).map(str::to_owned));
    }
    names
}

#[test]
fn a_page_is_written_for_every_command_and_names_the_exit_codes() {
    let dir = tempfile::tempdir().expect("a directory");
    let pages = dir.path().join("man").join("man1");
    let told = run(dir.path(), &["--json", "man", pages.to_str().expect("UTF-8")]).expect(0).json();
    let written: BTreeSet<String> = std::fs::read_dir(&pages)
        .expect("made")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    let commands = commands();
    assert!(commands.len() > 25 && commands.contains("chain verify-proof"), "{commands:?}");
    let expected =
        commands.iter().map(|name| format!("qfzz-{}.1", name.replace(' ', "-"))).chain(["qfzz.1".to_owned()]).collect();
    assert_eq!(written, expected);
    assert_eq!(told.as_array().map(Vec::len), Some(written.len()));
    for name in &written {
        let page = std::fs::read_to_string(pages.join(name)).expect("read");
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH \"EXIT STATUS\"", "cannot be reached"]
        {
            assert!(page.contains(part), "{part} in {name}:\n{page}");
        }
        let codes = page.rsplit("EXIT STATUS").next().expect("a part").matches(".TP\n").count();
        assert_eq!(codes, 6, "in {name}:\n{page}");
    }
    println!("{} manual pages", written.len());
}

#[test]
fn completions_are_made_for_every_shell_and_bash_understands_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(dir.path(), &["completions", shell]).expect(0).stdout;
        for part in ["qfzz", "completions", "data-dir", "at-least"] {
            assert!(script.contains(part), "{part} for {shell}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash").args(["-n", "/dev/stdin"]).stdin(Stdio::piped()).spawn().expect("bash");
            std::io::Write::write_all(&mut bash.stdin.take().expect("piped"), script.as_bytes()).expect("written");
            assert!(bash.wait().expect("ended").success());
        }
    }
    run(dir.path(), &["completions", "tcsh"]).expect(2);
    let blocked = dir.path().join("file");
    std::fs::write(&blocked, "").expect("written");
    let failed = run(dir.path(), &["man", blocked.join("man1").to_str().expect("UTF-8")]).expect(1);
    assert!(failed.stderr.contains("man1"), "{failed:?}");
}

#[test]
fn the_help_of_every_command_keeps_its_own_options_apart_from_the_global_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in commands() {
        let words: Vec<&str> = name.split(' ').chain(["--help"]).collect();
        let help = run(dir.path(), &words).expect(0).stdout;
        let (own, global) = help.split_once("\nGlobal options:\n").unwrap_or_else(|| panic!("{name}:\n{help}"));
        for option in ["--data-dir", "--api <URL>", "--json", "--verbose", "--quiet", "--color"] {
            assert!(
                global.contains(option) && !own.contains(&format!("      {option} ")),
                "{option} of {name}:\n{help}"
            );
        }
        assert!(help.starts_with(|first: char| first.is_uppercase()), "{name}:\n{help}");
    }
}
