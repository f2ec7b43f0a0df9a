//! How long a caller waits, as it says in the header of the gRPC protocol.

use std::time::Duration;

use http::HeaderMap;

/// The header, out of the gRPC protocol: up to eight digits and a unit.
const HEADER: &str = "grpc-timeout";
const MAX_DIGITS: usize = 8;

/// What is left for the call; `None` when the caller says nothing, or nothing that can be read.
pub(super) fn told(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 60 * 60),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_anything_else_is_no_deadline() {
        let read = |text: &'static str| {
            let value = http::HeaderValue::from_static(text);
            told(&HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), value)]))
        };
        for (text, seconds) in
            [("2H", 7200.0), ("3M", 180.0), ("4S", 4.0), ("5m", 5e-3), ("6u", 6e-6), ("7n", 7e-9)]
        {
            assert_eq!(read(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for text in ["", "S", "1", "-1S", "+1S", "123456789S", "1s", "1 S", "1.5S"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(told(&HeaderMap::new()), None);
    }
}
