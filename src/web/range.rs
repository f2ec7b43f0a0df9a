//! Which bytes of a file a request asks for: a single range of RFC 9110, section 14.

/// What a `Range` header asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// From the first to the last byte, the last one counted; to the end without it.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

/// What a header asks; `None` when it has to be ignored: another unit, several ranges, or not well formed.
pub(super) fn parse(header: &str) -> Option<Range> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first, last) {
        ("", last) => Some(Range::Last(number(last)?)),
        (first, "") => Some(Range::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Range::From(first, Some(last)))
        }
    }
}

/// A number of digits only; one too large for any file is the largest.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

impl Range {
    /// The first byte and the length in a file of that size; `None` when it has none of them (416).
    pub(super) fn within(self, size_bytes: u64) -> Option<(u64, u64)> {
        match self {
            Self::From(first, _) if first >= size_bytes => None,
            Self::From(first, last) => {
                let end = last.map_or(size_bytes, |last| last.saturating_add(1).min(size_bytes));
                Some((first, end - first))
            }
            Self::Last(0) => None,
            Self::Last(_) if size_bytes == 0 => None,
            Self::Last(count) => {
                let count = count.min(size_bytes);
                Some((size_bytes - count, count))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_standard() {
        for (header, size, bytes) in [
            ("bytes=0-499", 10_000, Some((0, 500))),
            ("bytes=500-999", 10_000, Some((500, 500))),
            ("bytes=-500", 10_000, Some((9500, 500))),
            ("bytes=9500-", 10_000, Some((9500, 500))),
            ("bytes=-20000", 10_000, Some((0, 10_000))),
            ("bytes=9999-99999", 10_000, Some((9999, 1))),
            ("bytes=10000-", 10_000, None),
            ("bytes=-0", 10_000, None),
            ("bytes=0-", 0, None),
            ("bytes=99999999999999999999-", 10_000, None),
            ("bytes=0-99999999999999999999", 10_000, Some((0, 10_000))),
            ("Bytes=0-0", 10_000, Some((0, 1))),
        ] {
            assert_eq!(parse(header).expect(header).within(size), bytes, "{header}");
        }
        for ignored in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(parse(ignored), None, "{ignored}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_range_leaves_the_file(header in "(bytes=)?[0-9]{0,21}-[0-9]{0,21}", size: u64) {
            if let Some((first, length)) = parse(&header).and_then(|range| range.within(size)) {
                proptest::prop_assert!(length > 0 && first.checked_add(length).is_some_and(|end| end <= size));
            }
        }
    }
}
