//! Why certificates cannot be used.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why [`Tls`](super::Tls) cannot be made of these files. It names the file, and nothing of what is in
/// it.
pub struct TlsError {
    path: PathBuf,
    wrong: String,
    passing: bool,
}

impl TlsError {
    /// The file that is wrong.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self {
            passing: true,
            ..Self::new(path, format!("cannot be read: {error}"))
        }
    }

    /// Whether the same file may be read another time, as when there was no descriptor left.
    pub(super) fn is_passing(&self) -> bool {
        self.passing
    }

    pub(super) fn of_clients(path: &Path) -> Self {
        let wrong = "says something of certificates of clients, and none is asked for: name their \
                     authorities first";
        Self::new(path, wrong.to_owned())
    }

    pub(super) fn empty(path: &Path, what: &str) -> Self {
        Self::new(path, format!("{what} in it; PEM is expected"))
    }

    pub(super) fn mismatch(certificates: &Path, key: &Path) -> Self {
        let certificates = certificates.display();
        Self::new(key, format!("is not the key of {certificates}"))
    }

    pub(super) fn refused(path: &Path, error: impl fmt::Display) -> Self {
        Self::new(path, format!("cannot be used: {error}"))
    }

    fn new(path: &Path, wrong: String) -> Self {
        Self {
            path: path.to_owned(),
            wrong,
            passing: false,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.wrong)
    }
}

/// As a person reads it: this is what a `main` that returns it prints.
impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for TlsError {}
