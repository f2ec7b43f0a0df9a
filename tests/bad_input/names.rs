//! Names over the rules of three systems: by the policy itself, and as they arrive.

use floodplain::protocol::name::{InvalidName, Printable, portable_name};
use tonic::Code;

use super::{
    Case, Network, check,
    raw::End,
    uploads::{SEND, offer, say},
};
use InvalidName::{Character, Empty, Ending, Reserved, TooLong, Traversal};
use floodplain::wire::pb::send_request::Message as Say;

fn refused() -> Vec<(String, InvalidName)> {
    let long =
        ["x".repeat(256), "é".repeat(128), "e\u{301}".repeat(128), "😀".repeat(64), "x".repeat(300) + ".txt"];
    let mut names: Vec<(String, InvalidName)> = long.into_iter().map(|name| (name, TooLong)).collect();
    let all: [(InvalidName, &[&str]); 5] = [
        (Empty, &[""]),
        (Traversal, &[".", ".."]),
        (
            Reserved,
            &[
                "CON",
                "con",
                "Con.txt",
                "PRN",
                "AUX",
                "aux.tar.gz",
                "NUL",
                "nul.",
                "COM1",
                "com9.log",
                "LPT1",
                "lpt5.txt",
                "COM¹",
                "LPT³.x",
                "CONIN$",
                "CONOUT$",
                "con .txt",
                "NUL  .a.b",
            ],
        ),
        (Ending, &["a.", "a ", "a. ", "a .", "...", ". ", " ", "report.pdf.", "dir "]),
        (
            Character,
            &[
                "a/b",
                "/etc/passwd",
                "../pwned",
                "..\\pwned",
                "a\\b",
                "C:\\x",
                "C:x",
                "a:b",
                "file.txt:stream",
                "a<b",
                "a>b",
                "a|b",
                "a?b",
                "a*b",
                "a\"b",
                "a\0b",
                "\0",
                "a\nb",
                "a\rb",
                "a\tb",
                "\u{1b}[2J",
                "\u{1b}]52;c;eA==\u{7}",
                "a\u{7f}b",
                "a\u{85}b",
                "\u{9b}2J",
                "exe\u{202e}txt.",
                "a\u{202a}b",
                "a\u{2066}b",
                "a\u{2069}b",
                "a\u{200b}b",
                "a\u{200e}b",
                "a\u{200f}b",
                "a\u{2028}b",
                "a\u{2029}b",
                "a\u{feff}b",
                "\u{feff}a",
                "a\u{ad}b",
                "a\u{61c}b",
                "a\u{e0041}b",
                "a\u{fff9}b",
                "a\u{180e}b",
                "\\\\server\\share",
                "\\\\?\\C:\\x",
                "\\\\.\\PIPE\\x",
            ],
        ),
    ];
    for (why, some) in all {
        names.extend(some.iter().map(|&name| (name.to_owned(), why)));
    }
    names
}

/// Unusual, and everywhere a file's name.
const TAKEN: [&str; 22] = [
    "a",
    ".hidden",
    "..a",
    "a..b",
    "...a",
    "-rf",
    "--help",
    "~",
    "$HOME",
    "%TEMP%",
    "a b",
    "'; rm -rf x",
    "`id`",
    "#%20",
    "common",
    "COM0",
    "COM10.txt",
    "console",
    "nul2",
    "ünïcödé",
    "日本語.txt",
    "😀.png",
];

#[test]
fn the_policy_refuses_what_any_of_three_systems_refuses() {
    let refused = refused();
    assert!(refused.len() >= 60, "{}", refused.len());
    for (name, why) in &refused {
        // A name may break two rules; it is refused by one of them.
        let told = portable_name(name);
        assert!(told.is_err(), "{name:?} is {why:?}");
        let is_one = told == Err(*why)
            || matches!((why, &told), (Reserved | Character, Err(Ending)) | (Ending, Err(Reserved)));
        assert!(is_one, "{name:?} is {why:?}, not {told:?}");
        let shown = Printable(name).to_string();
        assert!(
            !shown.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)),
            "{shown:?}"
        );
    }
    for name in TAKEN {
        assert_eq!(portable_name(name).as_deref(), Ok(name));
    }
    // One name, however it was written.
    assert_eq!(portable_name("e\u{301}"), portable_name("\u{e9}"));
    assert_eq!(portable_name("\u{212b}"), Ok("\u{e5}".to_uppercase()));
}

#[tokio::test]
async fn a_name_that_is_none_everywhere_is_refused_as_it_arrives() {
    let network = Network::start().await;
    let push = |name: &str| say(Say::Offer(offer(name, b"")));
    let bad = refused().into_iter().map(|(name, _)| {
        Case::raw("a name that is none everywhere", SEND, push(&name), End::Grpc(Code::InvalidArgument))
    });
    assert!(check(&network.to_peer().await, bad.collect()).await >= 60);
    assert!(network.inbox().is_empty());
    let good = TAKEN.iter().map(|name| Case::raw("an unusual name", SEND, push(name), End::Grpc(Code::Ok)));
    check(&network.to_peer().await, good.collect()).await;
    let mut expected = TAKEN.map(String::from).to_vec();
    expected.sort();
    assert_eq!(network.inbox(), expected);
    network.is_unharmed().await;
}
