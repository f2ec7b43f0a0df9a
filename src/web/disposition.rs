//! The name under which a browser saves a file (RFC 6266). It came from another peer, so that it is made portable first.

use std::fmt::Write as _;

use http::HeaderValue;

use crate::protocol::name::to_portable_name;

/// The value of `Content-Disposition` for a file of that name.
pub(super) fn attachment(name: &str) -> HeaderValue {
    let name = to_portable_name(name);
    let plain: String = name
        .chars()
        .map(
            |c| if c.is_ascii() && !c.is_ascii_control() && !matches!(c, '"' | '\\' | '%') { c } else { '_' },
        )
        .collect();
    let mut value = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        value.push_str("; filename*=UTF-8''");
        value.push_str(&escaped(&name));
    }
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

/// Percent-encoded as one segment of a path: all but the unreserved characters of RFC 3986, of which none is special in a
/// header value either.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_told_in_full() {
        let told = |name: &str| attachment(name).to_str().expect("ASCII").to_owned();
        assert_eq!(told("report.pdf"), "attachment; filename=\"report.pdf\"");
        assert_eq!(told("a#b %.txt"), "attachment; filename=\"a#b _.txt\"; filename*=UTF-8''a%23b%20%25.txt");
        assert_eq!(told("été.txt"), "attachment; filename=\"_t_.txt\"; filename*=UTF-8''%C3%A9t%C3%A9.txt");
        assert_eq!(told("x\"; filename=\"evil.exe"), "attachment; filename=\"x_; filename=_evil.exe\"");
        assert_eq!(told("a\r\nSet-Cookie: b"), "attachment; filename=\"a__Set-Cookie_ b\"");
        assert_eq!(told("txt.\u{202e}exe"), "attachment; filename=\"txt._exe\"");
    }

    proptest::proptest! {
        #[test]
        fn any_name_makes_a_whole_header(name in ".{0,300}") {
            let value = attachment(&name);
            let text = value.to_str().expect("ASCII");
            proptest::prop_assert!(text.starts_with("attachment; filename=\"") && text.matches('"').count() == 2);
        }
    }
}
