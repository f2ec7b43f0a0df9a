//! Points in time in a query. A span such as `7d` counts from the now of whoever asks, and is turned into a time before
//! the query leaves: peers' clocks differ, and every one of them has to be asked the same.

use std::time::{Duration, SystemTime};

/// The last second of the year 9999, after which a time has no text.
const LAST_SECOND: u64 = 253_402_300_799;
/// Longest value: a time with nanoseconds has 30.
const MAX_VALUE_BYTES: usize = 40;

/// What `newer:` and `older:` name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// A point in time.
    At(SystemTime),
    /// So long before now.
    Ago(Duration),
}

impl When {
    /// `2026`, `2026-01`, `2026-01-31` (their first moments in UTC), `2026-01-31T12:30:00Z`, or a span such as `90m`, `7d`.
    pub(super) fn read(value: &str) -> Option<Self> {
        const FILL: &str = "0000-01-01T00:00:00Z";
        if value.len() > MAX_VALUE_BYTES || !value.is_ascii() {
            return None;
        }
        let date = match value.len() {
            4 | 7 | 10 => humantime::parse_rfc3339(&format!("{value}{}", &FILL[value.len()..])),
            _ => humantime::parse_rfc3339(value),
        };
        match date {
            Ok(time) => Some(Self::At(time)),
            // A bare number has no unit, and so is no span.
            Err(_) => humantime::parse_duration(value).ok().filter(|span| !span.is_zero()).map(Self::Ago),
        }
    }

    /// The point itself as a text that [`When::read`] reads; whole seconds, and never before 1970.
    pub(super) fn text(self, now: SystemTime) -> String {
        let time = match self {
            Self::At(time) => time,
            Self::Ago(span) => now.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH),
        };
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().min(LAST_SECOND);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        humantime::format_rfc3339_seconds(time).to_string()
    }
}
