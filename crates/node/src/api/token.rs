//! The token that writes need: 32 random bytes in a file that only its owner may read.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Random bytes of a token; it is shown as twice as many hex digits.
const TOKEN_BYTES: usize = 32;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can be neither read nor made.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Others may read it.
    #[error("{} can be read by others: run `chmod 600` on it, or remove it to get a new one", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
    },
    /// What it holds was not made here.
    #[error("{} does not hold 64 hex digits: remove it to get a new one", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// What proves that a caller may read the data directory.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes the text of a token.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Reads the token in the file at `path`.
    ///
    /// # Errors
    /// [`TokenError`] where it is missing, can be read by others, or holds something else.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let of_file = |source| TokenError::File { path: path.to_owned(), source };
        check_private(path, &fs::metadata(path).map_err(of_file)?)?;
        let text = Zeroizing::new(fs::read_to_string(path).map_err(of_file)?);
        let digits = text.trim_ascii_end();
        if digits.len() != 2 * TOKEN_BYTES || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TokenError::Malformed { path: path.to_owned() });
        }
        Ok(Self::new(digits))
    }

    /// Reads the token in the file at `path`; makes both (mode 0600) where there is no such file.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open_or_create(path: &Path) -> Result<Self, TokenError> {
        let of_file = |source| TokenError::File { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Self::read(path),
            opened => opened.map_err(of_file)?,
        };
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        getrandom::fill(&mut *bytes)?;
        let token = Self::new(hex::encode(*bytes));
        file.write_all(token.0.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .map_err(of_file)?;
        Ok(token)
    }

    /// Whether `given` is this token, in a time that tells nothing but its length.
    pub fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// The text, for the `Authorization` header of a request to this node.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(unix)]
fn check_private(path: &Path, metadata: &fs::Metadata) -> Result<(), TokenError> {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o077 == 0 { Ok(()) } else { Err(TokenError::Open { path: path.to_owned() }) }
}

#[cfg(not(unix))]
fn check_private(_: &Path, _: &fs::Metadata) -> Result<(), TokenError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.token");
        assert!(matches!(Token::read(&path), Err(TokenError::File { .. })));
        let made = Token::open_or_create(&path).expect("made");
        assert_eq!(made.as_str().len(), 64);
        assert_eq!(Token::open_or_create(&path).expect("read").as_str(), made.as_str());
        assert!(made.is(made.as_str().as_bytes()));
        assert!(!made.is(&made.as_str().as_bytes()[1..]) && !made.is(b""));
        assert!(!format!("{made:?}").contains(made.as_str()));
        fs::write(&path, "secret").expect("written");
        assert!(matches!(Token::read(&path), Err(TokenError::Malformed { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_token_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.token");
        Token::open_or_create(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(Token::open_or_create(&path), Err(TokenError::Open { .. })));
    }
}
