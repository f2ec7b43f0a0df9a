//! Why the index says no, and how an action tells it.

use std::{io, path::PathBuf};

use crate::protocol::action::{ActionError, ErrorKind};

/// Why the index says no.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// No such file or folder in the index.
    #[error("{path} is not shared here")]
    NotFound {
        /// Network path.
        path: String,
    },
    /// The file on disk is not the one in the index any more; the index will follow within seconds.
    #[error("{path} has changed on disk; try again in a moment")]
    Changed {
        /// Network path.
        path: String,
    },
    /// A page token that no page gave out.
    #[error("the page token is not one of this listing; begin with the first page")]
    BadPage,
    /// A folder that is not to be offered.
    #[error("the folder {folder} cannot be shared: {problem}", folder = folder.display())]
    ShareRefused {
        /// As given.
        folder: PathBuf,
        /// Why.
        problem: String,
    },
    /// No share of that name.
    #[error("there is no share named `{name}`")]
    NoShare {
        /// As given.
        name: String,
    },
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// To what.
        path: String,
        /// Its answer.
        source: io::Error,
    },
}

impl From<IndexError> for ActionError {
    fn from(error: IndexError) -> Self {
        let kind = match &error {
            IndexError::NotFound { .. } | IndexError::NoShare { .. } => ErrorKind::NotFound,
            IndexError::BadPage => ErrorKind::Usage,
            IndexError::ShareRefused { .. } => ErrorKind::Refused,
            IndexError::Changed { .. } | IndexError::Io { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}
