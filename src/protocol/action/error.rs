//! What goes wrong, as far as anyone branches on it, and what is said of it.

use super::HintCode;

/// What kind of thing went wrong, as far as anyone branches on it. The command line makes its exit code from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself makes no sense.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// The registry or a peer cannot be reached.
    Unreachable,
    /// Someone said no: an accept policy, a person, a bound.
    Refused,
    /// Bytes are not what their hash says.
    Mismatch,
    /// It took too long, or ended incomplete.
    TimedOut,
    /// The one who asked took it back.
    Cancelled,
    /// Anything else.
    Failed,
}

impl ErrorKind {
    /// Every kind with its name on the wire and in `--json`.
    pub const NAMES: [(Self, &'static str); 8] = [
        (Self::Usage, "usage"),
        (Self::NotFound, "not_found"),
        (Self::Unreachable, "unreachable"),
        (Self::Refused, "refused"),
        (Self::Mismatch, "mismatch"),
        (Self::TimedOut, "timed_out"),
        (Self::Cancelled, "cancelled"),
        (Self::Failed, "failed"),
    ];

    /// Name on the wire and in `--json`.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("failed", |(_, name)| name)
    }

    /// The kind of that name; `Failed` for an unknown one.
    pub fn from_name(name: &str) -> Self {
        Self::NAMES.iter().find(|(_, known)| *known == name).map_or(Self::Failed, |(kind, _)| *kind)
    }
}

/// What happened, to what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ActionError {
    /// What kind of thing.
    pub kind: ErrorKind,
    /// What happened and to what.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// The same in a word, where the hint speaks of commands or settings.
    pub hint_code: Option<HintCode>,
}

impl ActionError {
    /// Without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: String::new(), hint_code: None }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self.hint_code = None;
        self
    }

    /// With what to do about it, in words of the command line or the settings, and in a word for other faces.
    #[must_use]
    pub fn hint_as(self, code: HintCode, hint: impl Into<String>) -> Self {
        Self { hint_code: Some(code), ..self.hint(hint) }
    }
}
