//! Names that came from others: one portable policy for what may become a file here, and one type that makes any text
//! safe for a terminal.

use std::{borrow::Cow, fmt};

use unicode_normalization::UnicodeNormalization;

/// Longest file name in bytes, that of every common file system.
pub const MAX_NAME_BYTES: usize = 255;
/// Ends the names of unfinished files and folders, which begin with a dot.
pub const UNFINISHED_SUFFIX: &str = ".fp-part";
/// Longest path inside a share in bytes.
pub const MAX_PATH_BYTES: usize = 4096;

/// Why a name is not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing there.
    #[error("the name is empty")]
    Empty,
    /// Over 255 bytes, or a path over 4096.
    #[error("the name is too long")]
    TooLong,
    /// `.` or `..`.
    #[error("`.` and `..` are not names")]
    Traversal,
    /// A separator, a control character, a character that turns the direction of text, or one that Windows forbids.
    #[error("the name holds a character that cannot be used in file names everywhere")]
    Character,
    /// `CON`, `NUL`, `COM1` and so on, and what only unfinished files are called: a resumed transfer would take it for its own.
    #[error("the name is reserved, on Windows or for unfinished files")]
    Reserved,
    /// Ends in a dot or a space, which Windows drops.
    #[error("the name ends in a dot or a space")]
    Ending,
}

/// Checks one file name under the portable policy and gives it in NFC.
pub fn portable_name(name: &str) -> Result<String, InvalidName> {
    let name: String = name.nfc().collect();
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name == "." || name == ".." {
        return Err(InvalidName::Traversal);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(InvalidName::TooLong);
    }
    if name
        .chars()
        .any(|c| is_deceiving(c) || matches!(c, '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*'))
    {
        return Err(InvalidName::Character);
    }
    if name.ends_with(['.', ' ']) {
        return Err(InvalidName::Ending);
    }
    let stem = name.split('.').next().unwrap_or(&name).trim_end();
    if is_reserved(stem) || is_unfinished(&name) {
        return Err(InvalidName::Reserved);
    }
    Ok(name)
}

/// A file name near to any text that [`portable_name`] takes: what it would refuse is replaced.
pub fn to_portable_name(name: &str) -> String {
    let mut name: String =
        name.nfc().map(|c| if portable_name(&format!("x{c}x")).is_ok() { c } else { '_' }).collect();
    while name.len() > MAX_NAME_BYTES {
        name.pop();
    }
    let name = name.trim_end_matches(['.', ' ']);
    portable_name(name).or_else(|_| portable_name(&format!("_{name}"))).unwrap_or_else(|_| "_".into())
}

/// Nobody shares a part file. Case is ignored by many systems.
fn is_unfinished(name: &str) -> bool {
    let suffix = name.len().checked_sub(UNFINISHED_SUFFIX.len()).and_then(|start| name.get(start..));
    name.starts_with('.') && suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(UNFINISHED_SUFFIX))
}

fn is_reserved(stem: &str) -> bool {
    let stem = stem.to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix)
            .is_some_and(|rest| rest.chars().count() == 1 && rest.chars().all(|c| "123456789¹²³".contains(c)))
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT")
}

/// Control characters, those that change how the text around them is shown (Unicode TR 36, TR 9), and those that take no ink or
/// no room, with which two names look alike (`Default_Ignorable_Code_Point` without variation selectors, which emoji need).
fn is_deceiving(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// JSON that is safe for a terminal too: what serializers leave as it is though it could steer a terminal or deceive the
/// reader becomes `\u....`, which every reader of JSON takes for the same text.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_deceiving) {
        return json.into();
    }
    let mut safe = String::with_capacity(json.len() + 16);
    let mut units = [0; 2];
    for c in json.chars() {
        // Such characters stand within strings only, line ends and tabs apart.
        if is_deceiving(c) && !matches!(c, '\n' | '\r' | '\t') {
            safe.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            safe.push(c);
        }
    }
    safe.into()
}

/// What is about to be written to a terminal, lines and tabs left as they are: the last look at it, behind [`Printable`] where
/// texts of others enter a line. A line end in such a text would forge a line and is not seen from here.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let is_steering = |c: char| is_deceiving(c) && !matches!(c, '\n' | '\t');
    if !text.chars().any(is_steering) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_steering(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe.into()
}

/// Shows any text on a terminal: whatever could steer the terminal or deceive the reader is shown as `\u{..}`.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.chars().any(is_deceiving) {
            return f.pad(self.0);
        }
        let mut escaped = String::with_capacity(self.0.len() + 8);
        for c in self.0.chars() {
            if is_deceiving(c) {
                escaped.extend(c.escape_unicode());
            } else {
                escaped.push(c);
            }
        }
        f.pad(&escaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_escape_or_deceive_are_refused() {
        for (name, why) in [
            ("", InvalidName::Empty),
            ("..", InvalidName::Traversal),
            ("../pwned", InvalidName::Character),
            ("a/b", InvalidName::Character),
            ("..\\x", InvalidName::Character),
            ("a\0b", InvalidName::Character),
            ("txt.\u{202e}exe", InvalidName::Character),
            ("con", InvalidName::Reserved),
            ("NUL.txt", InvalidName::Reserved),
            ("com1.tar.gz", InvalidName::Reserved),
            ("a.", InvalidName::Ending),
            (".a.0123456789abcdef.fp-part", InvalidName::Reserved),
            (".fp-PART", InvalidName::Reserved),
            (&"x".repeat(256), InvalidName::TooLong),
        ] {
            assert_eq!(portable_name(name), Err(why), "{name:?}");
        }
        assert_eq!(portable_name("e\u{301}té #1 %20.pdf").as_deref(), Ok("été #1 %20.pdf"));
        assert_eq!(portable_name("common"), Ok("common".into()));
    }

    #[test]
    fn any_text_becomes_a_portable_name() {
        for name in ["", "..", "a/b\\c", "con", "x.", "\u{1b}[2J", "\u{202e}", &"é".repeat(400)] {
            let made = to_portable_name(name);
            assert_eq!(portable_name(&made), Ok(made.clone()), "{name:?}");
        }
    }

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let name = "a\u{9b}2J \u{202e}txt \u{e0041} \u{1b}é";
        let json = serde_json::to_string(name).expect("JSON");
        let safe = printable_json(&json);
        assert!(!safe.chars().any(is_deceiving), "{safe:?}");
        assert_eq!(serde_json::from_str::<String>(&safe).expect("still JSON"), name);
        assert_eq!(printable_json("{\"a\":1}\n"), "{\"a\":1}\n");
    }

    #[test]
    fn whole_lines_keep_their_ends_and_steer_nothing() {
        assert_eq!(printable_lines("a\tb\nc"), "a\tb\nc");
        // Erase, title (OSC), clipboard (OSC 52), C1's CSI and OSC, a carriage return that writes over, and bidi.
        for steering in [
            "\u{1b}[2J",
            "\u{1b}]0;t\u{7}",
            "\u{1b}]52;c;eA==\u{7}",
            "\u{9b}2J",
            "\u{9d}0;t\u{9c}",
            "ok\rno",
            "\u{202e}",
            "\u{8}",
        ] {
            let shown = printable_lines(steering);
            assert!(shown.chars().all(|c| c.is_ascii() && !c.is_ascii_control()), "{shown:?}");
            assert_eq!(printable_lines(&shown), shown);
        }
    }

    #[test]
    fn names_that_take_no_ink_are_refused() {
        for blank in ["\u{3164}", "a\u{34f}", "\u{115f}x", "\u{ffa0}.txt", "\u{ad}"] {
            assert_eq!(portable_name(blank), Err(InvalidName::Character), "{blank:?}");
        }
        assert!(portable_name("❤\u{fe0f}.txt").is_ok());
    }

    #[test]
    fn a_terminal_is_never_steered() {
        assert_eq!(Printable("a\u{1b}[2Jb").to_string(), "a\\u{1b}[2Jb");
        assert_eq!(Printable("report.pdf").to_string(), "report.pdf");
    }

    proptest::proptest! {
        #[test]
        fn a_portable_name_is_one_segment_and_stays_itself(name in ".{0,300}") {
            if let Ok(portable) = portable_name(&name) {
                proptest::prop_assert!(!portable.is_empty() && portable.len() <= MAX_NAME_BYTES);
                proptest::prop_assert!(!portable.contains(['/', '\\', '\0']) && portable != "." && portable != "..");
                proptest::prop_assert_eq!(portable_name(&portable), Ok(portable));
            }
        }

        #[test]
        fn any_text_gives_a_portable_name(name in ".{0,300}") {
            let made = to_portable_name(&name);
            proptest::prop_assert_eq!(portable_name(&made), Ok(made));
        }

        #[test]
        fn no_text_steers_a_terminal(text in ".{0,300}") {
            proptest::prop_assert!(!Printable(&text).to_string().chars().any(is_deceiving));
        }
    }
}
