//! The program `qfzz`: what it is asked on the command line, and what it answers.

mod bulk;
mod chain;
mod client;
mod configuration;
mod content;
mod dataset;
mod demo;
mod doctor;
mod duties;
mod explain;
mod failure;
mod filter;
mod help;
mod import;
mod init;
mod manual;
mod mine;
mod output;
mod progress;
mod proof;
mod quantum;
mod record;
mod run;
mod station;
mod status;
mod trust;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args, FromArgMatches, Parser, Subcommand, ValueEnum};

use self::client::Client;
use self::failure::Failure;
use self::output::Output;
use crate::config::{Flag, LogLevel};
use crate::data_dir::DataDir;

/// A station of a QFZZ federation: it records what users do and what content is verified, agrees with other stations
/// on one chain, and answers how far a user, a content, a creator or a dataset is trusted.
#[derive(Debug, Parser)]
#[command(name = "qfzz", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Where the station keeps its data [default: the platform's data directory, and there qfzz]
    #[arg(long, value_name = "DIR", env = "QFZZ_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// The daemon's HTTP API [default: of the daemon that runs on the data directory]
    #[arg(long, value_name = "URL", env = "QFZZ_API", global = true)]
    api: Option<String>,
    /// Print the result as one JSON value
    #[arg(long, global = true)]
    json: bool,
    /// Log more, or tell of each request to the daemon; -vv logs everything, libraries too
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    verbose: u8,
    /// Log less, and show no progress; -qq logs errors only
    #[arg(short, long, action = ArgAction::Count, global = true)]
    quiet: u8,
    /// When to colour the log: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_possible_values = true, global = true)]
    color: Color,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a station: its key, its settings, and a federation unless it is to join one
    Init(init::InitArgs),
    /// Run the daemon until SIGTERM or SIGINT
    Run(run::RunArgs),
    /// Run several stations in this process and show how they agree
    Demo(demo::DemoArgs),
    #[command(flatten)]
    Ask(Question),
    /// Show or check the settings; needs no daemon
    #[command(subcommand)]
    Config(configuration::ConfigCommand),
    /// Print a script that makes a shell complete commands and options
    Completions(manual::CompletionsArgs),
    /// Write a manual page for each command
    Man(manual::ManArgs),
    /// Random numbers from Q#, mixed with the operating system's; needs no daemon
    #[command(subcommand)]
    Quantum(quantum::QuantumCommand),
    /// Check everything that a station rests on, and repair it; needs no daemon
    Doctor(doctor::DoctorArgs),
}

/// What a running daemon is asked.
#[derive(Debug, Subcommand)]
enum Question {
    /// Show this station on one screen
    Status,
    /// List the connected peers
    Peers,
    /// Print what other stations join with
    Ticket(status::TicketArgs),
    /// List who takes part; as a founder, admit and expel stations
    #[command(subcommand)]
    Station(station::StationCommand),
    /// Connect to a station; joins its federation if this one has none
    Join(status::JoinArgs),
    /// Record a user's action, or many records of any kind
    Record(record::RecordArgs),
    /// Add, verify, report or show content
    #[command(subcommand)]
    Content(content::ContentCommand),
    /// Register, verify, rate, show or list datasets
    #[command(subcommand)]
    Dataset(dataset::DatasetCommand),
    /// Show how far a user, a content, a creator or a dataset is trusted
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// List what this station is asked to check, and until when; or show who was drawn to check a record
    Duties(duties::DutiesArgs),
    /// Say whether a record holds that this station is asked to check
    Testify(duties::TestifyArgs),
    /// Mine blocks until all that is pending now is on the chain
    Mine,
    /// Show, verify, export or import the chain
    #[command(subcommand)]
    Chain(chain::ChainCommand),
    /// Catch up with one peer, or with all
    Sync(status::SyncArgs),
}

impl Global {
    fn data_dir(&self) -> Result<DataDir, Failure> {
        match &self.data_dir {
            Some(path) => Ok(DataDir::new(path)),
            None => Ok(DataDir::of_platform()?),
        }
    }

    /// What -v and -q say of the log; `None` without them.
    fn log_level(&self) -> Option<Flag> {
        let level = match (self.verbose, self.quiet) {
            (0, 0) => return None,
            (0, 1) => LogLevel::Warn,
            (0, _) => LogLevel::Error,
            (1, _) => LogLevel::Debug,
            (_, _) => LogLevel::Trace,
        };
        Some(Flag { flag: "-v or -q", key: "log.level", text: level.to_string() })
    }

    fn client(&self) -> Result<Client, Failure> {
        // An empty variable is as good as none.
        Client::new(self.data_dir()?, self.api.as_deref().filter(|api| !api.is_empty()), self.verbose > 0)
    }
}

/// Runs the program with the process's arguments; returns its exit code.
///
/// Never panics because of what is on the command line, in files or in answers.
pub fn main() -> ExitCode {
    let matches = help::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    crate::telemetry::quiet_caught_panics();
    let mut out = Output::new(cli.global.json, cli.global.quiet > 0);
    let done = dispatch(&cli, &mut out).and_then(|()| out.flush());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before counts; that it could not be printed is told already.
            let _ = out.flush();
            if !matches!(failure, Failure::Logged { .. }) {
                output::notice(format_args!("qfzz: {failure}"));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(cli: &Cli, out: &mut Output) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Init(args) => init::init(global, args, out),
        Command::Run(args) => run::run(global, args, out),
        Command::Demo(args) => demo::demo(args, global.data_dir.as_ref(), out),
        Command::Config(command) => configuration::configuration(global, command, out),
        Command::Completions(args) => manual::completions(args, out),
        Command::Man(args) => manual::man(args, out),
        Command::Quantum(command) => quantum::quantum(global, command, out),
        Command::Doctor(args) => doctor::doctor(global, args, out),
        // The one question that nobody has to be asked.
        Command::Ask(Question::Chain(chain::ChainCommand::VerifyProof(args))) => proof::verify_proof(global, args, out),
        Command::Ask(question) => {
            let client = global.client()?;
            wait_for(tokio::runtime::Builder::new_current_thread(), ask(question, &client, out))
        }
    }
}

async fn ask(question: &Question, client: &Client, out: &mut Output) -> Result<(), Failure> {
    match question {
        Question::Status => status::status(client, out).await,
        Question::Peers => status::peers(client, out).await,
        Question::Ticket(args) => status::ticket(client, args, out).await,
        Question::Station(command) => station::station(client, command, out).await,
        Question::Join(args) => status::join(client, args, out).await,
        Question::Sync(args) => status::sync(client, args, out).await,
        Question::Record(args) => record::record(client, args, out).await,
        Question::Content(command) => content::content(client, command, out).await,
        Question::Dataset(command) => dataset::dataset(client, command, out).await,
        Question::Trust(command) => trust::trust(client, command, out).await,
        Question::Duties(args) => duties::duties(client, args, out).await,
        Question::Testify(args) => duties::testify(client, args, out).await,
        Question::Mine => mine::mine(client, out).await,
        Question::Chain(command) => chain::chain(client, command, out).await,
    }
}

impl Color {
    /// Whether to colour; `None` where the terminal decides.
    const fn forced(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Always => Some(true),
            Self::Never => Some(false),
        }
    }
}

/// How long blocking work may take to notice that the runtime ends.
const LAST_WORK: Duration = Duration::from_millis(500);

/// Runs `work` to its end on a runtime.
fn wait_for<T>(
    mut builder: tokio::runtime::Builder,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = builder.enable_all().build().map_err(Failure::Runtime)?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_WORK);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        help::command().debug_assert();
    }
}
