#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;
use crate::protocol::action::Scope;

fn upload(file: &str, peer: &str) -> Command {
    Command::Upload { file: Some(file.into()), peer: Some(peer.into()) }
}

fn download(targets: Vec<Target>, destination: Option<&str>) -> Command {
    Command::Download { targets, destination: destination.map(Into::into), priority: Priority::Normal }
}

#[test]
fn numbers_words_and_abbreviations_mean_the_same() {
    for (lines, command) in [
        (&["1", " 1 "][..], Command::Toggle),
        (&["disconnect", "DIS", "leave"], Command::SetConnected(false)),
        (&["connect", "co", "join"], Command::SetConnected(true)),
        (&["2", "upload", "up", "send"], Command::Upload { file: None, peer: None }),
        (&["put", "pu"], Command::Put { file: None, replicas: None }),
        (&["put a.txt 3"], Command::Put { file: Some("a.txt".into()), replicas: Some(3) }),
        (&["puts", "PUTS"], Command::Puts),
        (&["unput \"a b\"", "un 'a b'"], Command::Unput(Some("a b".into()))),
        (&["3", "download", "get", "g", "do"], download(vec![], None)),
        (&["4", "status", "st", "print", "attributes", "at"], Command::Status),
        (&["5", "search", "find", "sea"], Command::Search(None)),
        (&["6", "network"], Command::Network),
        (&["7", "transfers", "tra"], Command::Transfers),
        (&["8", "shares", "share", "sh"], Command::Shares),
        (&["9", "inbox", "i"], Command::Inbox),
        (&["0", "quit", "exit", "q", " QUIT "], Command::Quit),
        (&["", "   ", "\t", "menu"], Command::Menu),
        (&["help", "?"], Command::Help),
    ] {
        for line in lines {
            assert_eq!(parse(line), Ok(command.clone()), "{line:?}");
        }
    }
}

#[test]
fn arguments_may_follow() {
    let hash = "ab".repeat(32);
    let path = |peer: &str, path: &str| PeerPath { peer: peer.into(), path: path.into() };
    for (line, command) in [
        ("3 1", download(vec![Target::Hit(1)], None)),
        ("get 1 2 3", download(vec![Target::Hit(1), Target::Hit(2), Target::Hit(3)], None)),
        ("get 1 /tmp/x", download(vec![Target::Hit(1)], Some("/tmp/x"))),
        ("get 1 to \"my folder\"", download(vec![Target::Hit(1)], Some("my folder"))),
        ("get ana:docs/a.pdf", download(vec![Target::Path(path("ana", "docs/a.pdf"))], None)),
        (
            "get ana:docs/a ben:docs/b",
            download(vec![Target::Path(path("ana", "docs/a")), Target::Path(path("ben", "docs/b"))], None),
        ),
        (
            "get ana:docs/a to ben:docs/b",
            download(vec![Target::Path(path("ana", "docs/a"))], Some("ben:docs/b")),
        ),
        ("get 1 c:x", download(vec![Target::Hit(1)], Some("c:x"))),
        ("get 1 to 2", download(vec![Target::Hit(1)], Some("2"))),
        (&format!("get {hash}"), download(vec![Target::Hash(hash.parse().unwrap())], None)),
        (
            &format!("get {}", "1".repeat(64)),
            download(vec![Target::Hash("1".repeat(64).parse().unwrap())], None),
        ),
        ("2 report.pdf ana", upload("report.pdf", "ana")),
        ("send 'a b.pdf' to ana", upload("a b.pdf", "ana")),
        (r"send a\ b.pdf ana", upload("a b.pdf", "ana")),
        ("saved", Command::SavedSearches),
        ("searches run a", Command::RunSaved(Some("a".into()))),
        ("saved rm", Command::RemoveSaved(None)),
        ("6 2", Command::Peers(ZoneId::new(2))),
        ("6 ana:docs", Command::Browse(Some(path("ana", "docs")))),
        ("browse ana:docs/", Command::Browse(Some(path("ana", "docs")))),
        ("7 cancel 3", Command::Control(Some(Which::One(3)), TransferControl::Cancel)),
        ("cancel", Command::Control(None, TransferControl::Cancel)),
        ("7 pause 3", Command::Control(Some(Which::One(3)), TransferControl::Pause)),
        ("pause all", Command::Control(Some(Which::All), TransferControl::Pause)),
        ("resu 3", Command::Control(Some(Which::One(3)), TransferControl::Resume)),
        ("7 retry all", Command::Control(Some(Which::All), TransferControl::Retry)),
        (
            "7 priority 3 high",
            Command::Control(Some(Which::One(3)), TransferControl::Priority(Priority::High)),
        ),
        ("priority low", Command::Control(None, TransferControl::Priority(Priority::Low))),
        (
            "get --priority high 2",
            Command::Download { targets: vec![Target::Hit(2)], destination: None, priority: Priority::High },
        ),
        ("8 add /srv", Command::AddShare(Some("/srv".into()))),
        ("8 rm docs", Command::RemoveShare(Some("docs".into()))),
        ("8 rescan", Command::Rescan),
        ("9 accept 1", Command::Answer(Some(1), Answer::Accept)),
        ("decline 2 not now", Command::Answer(Some(2), Answer::Decline("not now".into()))),
        ("trust", Command::Answer(None, Answer::Trust)),
    ] {
        assert_eq!(parse(line), Ok(command), "{line:?}");
    }
}

#[test]
fn a_query_keeps_its_quotes_and_operators() {
    let ask = |text: &str| SearchAsk { text: text.into(), ..Default::default() };
    assert_eq!(parse("5 report ext:pdf"), Ok(Command::Search(Some(ask("report ext:pdf")))));
    assert_eq!(
        parse("search \"annual report\" -draft"),
        Ok(Command::Search(Some(ask("\"annual report\" -draft"))))
    );
    assert_eq!(parse("5 \"open"), Ok(Command::Search(Some(ask("\"open")))));
    let all = SearchAsk { scope: Scope::All, ttl: Some(4), ..ask("x") };
    assert_eq!(parse("5 --all --ttl 4 x"), Ok(Command::Search(Some(all))));
    assert!(parse("5 --ttl 33 x").is_err());
    let saved = |name: &str, ask| Ok(Command::Save { name: name.into(), ask });
    assert_eq!(parse("save new \"a b\" newer:7d"), saved("new", ask("\"a b\" newer:7d")));
    assert_eq!(parse("save n.1 --all x"), saved("n.1", SearchAsk { scope: Scope::All, ..ask("x") }));
    for line in ["save", "save a", "save ../a b", "save \"a b\" c", "save a --all", "saved run a b"] {
        assert!(parse(line).is_err(), "{line}");
    }
    assert!(parse("5 --nonsense x").is_err());
}

#[test]
fn what_is_no_command_is_told_so_in_one_line() {
    for line in [
        "abc",
        "99",
        "-1",
        "01",
        "s",
        "d",
        "0 now",
        "quit please",
        "1 2",
        "get 0",
        "get 4294967296",
        "get x",
        "3 1 2 x y",
        "cancel x",
        "cancel 0",
        "7 pause 1 2",
        "retry every",
        "priority 3",
        "priority 3 higher",
        "priority",
        "get --priority 3",
        "peers x",
        "send a b c d",
        "send 'open",
        "browse :x",
        "\u{1b}[2J",
        "\u{202e}",
        "e",
        "ex",
        "qu",
        "accept 1 2",
        "8 nonsense",
        "9 nonsense",
        "ï¿½",
    ] {
        let problem = parse(line).expect_err(line);
        assert!(!problem.contains('\n') && problem.len() < 300, "{problem}");
    }
    assert_eq!(parse("serach x"), Err("there is no command `serach`; did you mean `search`?".into()));
    assert_eq!(parse("tr"), Err("`tr` may be transfers or trust; write more of it".into()));
    assert!(parse(&"x".repeat(1 << 20)).unwrap_err().contains("dropped"));
}

fn is_quit_word(line: &str) -> bool {
    ["0", "q", "quit", "exit"].contains(&line.trim().to_lowercase().as_str())
}

proptest! {
    #[test]
    fn any_line_is_parsed_and_only_a_quit_word_quits(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let line = String::from_utf8_lossy(&bytes);
        prop_assert!(parse(&line) != Ok(Command::Quit) || is_quit_word(&line));
    }

    #[test]
    fn any_words_are_parsed_and_only_a_quit_word_quits(
        line in "(0|q|quit|exit|e|1|2|3|5|7|9|get|cancel|decline|browse|6) ?[ a-z0-9:\"'\\\\/é-]{0,20}",
    ) {
        let parsed = parse(&line);
        prop_assert!(parsed != Ok(Command::Quit) || is_quit_word(&line));
        let leaves = matches!(parsed, Ok(Command::Toggle | Command::SetConnected(_)));
        prop_assert!(!leaves || line.trim() == "1");
    }
}
