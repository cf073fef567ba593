//! `qfzz man` and `qfzz completions`: pages and shell completions, made from the commands themselves.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;

use super::failure::{EXIT_CODES, Failure};
use super::help;
use super::output::Output;

/// What the program is called in shells.
const PROGRAM: &str = "qfzz";

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Where to put the pages; made where it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Prints a script that makes a shell complete the program's commands and options.
pub(super) fn completions(args: &CompletionsArgs, out: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut help::command(), PROGRAM, &mut script);
    out.bytes(&script)
}

/// Writes a page for the program and for each of its commands.
pub(super) fn man(args: &ManArgs, out: &mut Output) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::File { doing: "write", path, source }
    };
    fs::create_dir_all(&args.dir).map_err(failed(&args.dir))?;
    let mut files = Vec::new();
    for (name, page) in pages().map_err(failed(&args.dir))? {
        let file = args.dir.join(name);
        fs::write(&file, page).map_err(failed(&file))?;
        files.push(file);
    }
    out.result(&json!(files), |out| files.iter().try_for_each(|file| out.line(file.display())))
}

/// Each page as (file name, text).
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = help::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(command, &mut pages)?;
    Ok(pages)
}

fn add_pages(command: Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let below: Vec<Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let page = Man::new(command).source(concat!("qfzz ", env!("CARGO_PKG_VERSION"))).manual("QFZZ");
    let mut text = Vec::new();
    page.render(&mut text)?;
    exit_status().to_writer(&mut text)?;
    pages.push((page.get_filename(), text));
    below.into_iter().try_for_each(|command| add_pages(command, pages))
}

fn exit_status() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        section.control("TP", []).text([bold(code.to_string())]).text([roman(meaning)]);
    }
    section
}
