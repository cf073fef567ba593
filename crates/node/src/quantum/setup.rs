//! Sets up Python and the package for this station: a virtual environment in its data directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Target;

/// The Python where none is named.
pub const PYTHON: &str = "python3";

/// The package, at the version with which this program is tested.
pub const REQUIREMENT: &str = "qdk==1.33.1";

/// The same with what Azure Quantum needs.
pub const AZURE_REQUIREMENT: &str = "qdk[azure]==1.33.1";

/// In the environment, once it is complete.
const COMPLETE: &str = "qfzz.complete";

/// Why the environment could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file or directory cannot be made.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Python cannot be started.
    #[error("cannot start `{python}` ({source}): install Python 3.10 or newer, or name one with quantum.python")]
    NoPython {
        /// Which.
        python: String,
        /// Why not.
        source: io::Error,
    },
    /// It makes no environment.
    #[error("`{python} -m venv` failed: {said}; on Debian, apt-get install python3-venv")]
    NoEnvironment {
        /// Which Python.
        python: String,
        /// The end of what it said.
        said: String,
    },
    /// The package cannot be installed.
    #[error("`pip install {requirement}` failed: {said}; it needs Python 3.10 or newer and a way to https://pypi.org")]
    NoPackage {
        /// What was to be installed.
        requirement: &'static str,
        /// The end of what it said.
        said: String,
    },
}

/// The Python of the environment in `directory`, if one was set up there completely.
pub fn python_in(directory: &Path) -> Option<PathBuf> {
    directory.join(COMPLETE).exists().then(|| directory.join("bin").join("python"))
}

/// Makes a fresh environment in `directory` with `python`, and installs the package for `target`; returns its Python, and
/// what was installed. It takes some seconds, and 60 MB of disk.
///
/// # Errors
/// [`SetupError`]; there is no environment then.
pub fn set_up(directory: &Path, python: &str, target: &Target) -> Result<(PathBuf, &'static str), SetupError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SetupError::Io { path, source }
    };
    let complete = directory.join(COMPLETE);
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(failed(directory))?;
    }
    let requirement = if target.is_local() { REQUIREMENT } else { AZURE_REQUIREMENT };
    let done = install(directory, python, requirement)
        .and_then(|()| File::create(&complete).map(drop).map_err(failed(&complete)));
    if done.is_err() {
        // Half of one is of no use; what is wrong was the error before.
        let _ = fs::remove_dir_all(directory);
    }
    done.map(|()| (directory.join("bin").join("python"), requirement))
}

fn install(directory: &Path, python: &str, requirement: &'static str) -> Result<(), SetupError> {
    let (made, said) = run(Command::new(python).args(["-m", "venv"]).arg(directory))
        .map_err(|source| SetupError::NoPython { python: python.to_owned(), source })?;
    if !made {
        return Err(SetupError::NoEnvironment { python: python.to_owned(), said });
    }
    let own = directory.join("bin").join("python");
    let mut pip = Command::new(&own);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    // Without a way to the registry it says so within a minute.
    pip.args(["--retries", "1", "--timeout", "20", requirement]);
    let (installed, said) =
        run(&mut pip).map_err(|source| SetupError::NoPython { python: own.display().to_string(), source })?;
    if installed { Ok(()) } else { Err(SetupError::NoPackage { requirement, said }) }
}

/// Runs a command to its end: whether it went well, and the end of what it said of what did not.
fn run(command: &mut Command) -> io::Result<(bool, String)> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let last: String = last.trim().chars().filter(|c| !c.is_control()).take(300).collect();
    Ok((output.status.success(), last))
}
