//! What is logged and how.

use tracing_subscriber::EnvFilter;

use super::{Raw, SettingsError, table};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged and how; checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// A level, or directives such as `info,floodplain::peer=debug`.
    pub filter: String,
    /// It was asked for, and is not the default.
    pub is_filter_set: bool,
    /// How a line looks.
    pub format: LogFormat,
    /// Where spans of queries are sent, `http://HOST:PORT`.
    #[cfg(feature = "otlp")]
    pub otlp_endpoint: Option<String>,
}

impl LogSettings {
    /// From what was read.
    ///
    /// # Errors
    /// The first value that is refused.
    pub fn from_raw(raw: &Raw) -> Result<Self, SettingsError> {
        Ok(Self {
            filter: raw.required(table::LOG, filter)?,
            is_filter_set: raw.is_set(table::LOG),
            format: raw.required(table::LOG_FORMAT, |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("must be text or json".into()),
            })?,
            #[cfg(feature = "otlp")]
            otlp_endpoint: raw.parse(table::OTLP_ENDPOINT, otlp_endpoint)?,
        })
    }
}

/// A collector beside the daemon: no certificates are known for another one.
#[cfg(feature = "otlp")]
fn otlp_endpoint(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").map(|host| host.trim_end_matches('/'));
    match host.map(super::value::host_port) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("must be http://HOST:PORT such as http://127.0.0.1:4317".into()),
    }
}

/// A level or directives, checked.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    let problem =
        || "must be off, error, warn, info, debug or trace, or a list such as info,floodplain::peer=debug";
    // The parser cuts other text within a character, which panics.
    if !text.is_ascii() {
        return Err(problem().into());
    }
    // A lone word would pass as the name of a module, and a misspelt level would go unseen.
    let is_lone = |part: &str| !part.contains(['=', '[']);
    let is_level = |part: &str| {
        part.parse::<tracing::metadata::LevelFilter>().is_ok() && !part.starts_with(char::is_numeric)
    };
    if text.split(',').any(|part| is_lone(part) && !is_level(part.trim())) {
        return Err(problem().into());
    }
    EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|_| problem().into())
}
