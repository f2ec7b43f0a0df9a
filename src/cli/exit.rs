//! How the program ends: one number for each way, the same whichever verb ran.

use std::{io, process::ExitCode};

use crate::protocol::action::{ActionError, ErrorKind};

/// Exit codes; scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line or a setting makes no sense.
    Usage = 2,
    /// Nothing found.
    NotFound = 3,
    /// The registry or a peer cannot be reached.
    Unreachable = 4,
    /// Someone said no.
    Refused = 5,
    /// Bytes are not what their hash says.
    Mismatch = 6,
    /// Timed out, or done in part.
    TimedOut = 7,
    /// Interrupted, as a shell tells it: 128 and SIGINT.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => Self::Usage,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Unreachable => Self::Unreachable,
            ErrorKind::Refused => Self::Refused,
            ErrorKind::Mismatch => Self::Mismatch,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::Cancelled => Self::Interrupted,
            ErrorKind::Failed => Self::Failed,
        }
    }
}

/// Why a verb ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The action failed; to be told.
    Action(ActionError),
    /// The reader of our output went away (`| head -1`): there is nobody to tell.
    ClosedPipe,
}

impl Failure {
    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        ActionError::new(ErrorKind::Usage, message).into()
    }

    /// Something of this machine failed.
    pub fn failed(message: impl Into<String>) -> Self {
        ActionError::new(ErrorKind::Failed, message).into()
    }
}

impl From<ActionError> for Failure {
    fn from(error: ActionError) -> Self {
        Self::Action(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedPipe;
        }
        Self::failed(format!("could not write the output: {error}"))
    }
}

/// What a verb gives.
pub type Ended = Result<Exit, Failure>;
/// As it is told: an action's error with its kind and hint, any other as a failure.
pub(super) fn failed(error: &anyhow::Error) -> Failure {
    if let Some(error) = error.downcast_ref::<ActionError>() {
        return error.clone().into();
    }
    Failure::failed(format!("{error:#}"))
}
