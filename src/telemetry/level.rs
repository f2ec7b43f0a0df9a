//! What is logged, changed while the process runs.

use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::{EnvFilter, Registry, reload};

/// The filter of this process's logs, once they were started.
static FILTER: OnceLock<Filter> = OnceLock::new();

struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    /// What was asked for last. Held for the change.
    asked: Mutex<String>,
}

/// Why the level is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// Not a level, and not a list of directives.
    #[error("a level {0}")]
    Invalid(String),
    /// Whoever started this process logs in another way.
    #[error("this process does not log by this program's own means")]
    NotStarted,
}

/// Takes over what logs were started with; the first one counts.
pub(super) fn started(handle: reload::Handle<EnvFilter, Registry>, asked: &str) {
    // A second one is of a test in the same process.
    let _ = FILTER.set(Filter { handle, asked: Mutex::new(asked.to_owned()) });
}

/// What is logged now: a level, or directives.
///
/// # Errors
/// [`LevelError::NotStarted`].
pub fn level() -> Result<String, LevelError> {
    let filter = FILTER.get().ok_or(LevelError::NotStarted)?;
    Ok(filter.asked.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Logs by another level, or other directives, from now on until the process ends.
///
/// # Errors
/// As [`LevelError`] says; nothing changed then.
pub fn set_level(text: &str) -> Result<(), LevelError> {
    let text = crate::config::log::filter(text).map_err(LevelError::Invalid)?;
    let filter = FILTER.get().ok_or(LevelError::NotStarted)?;
    let directives = super::directives(&text).map_err(|error| LevelError::Invalid(error.to_string()))?;
    let mut asked = filter.asked.lock().unwrap_or_else(PoisonError::into_inner);
    filter.handle.reload(directives).map_err(|_| LevelError::NotStarted)?;
    *asked = text;
    // Told at `warn`, which most levels let pass.
    tracing::warn!(level = *asked, "the log level was changed");
    Ok(())
}
