//! The console over pipes: scripted input, exact output lines, and no input that ends it but what should.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/actions.rs"]
mod actions;

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use actions::Double;
use floodplain::{
    console::{ExitReason, run_piped},
    shutdown::Shutdown,
};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Types the input into a console on the double; what it printed, line by line, and why it ended.
async fn typed_on(double: &Arc<Double>, input: impl Into<Vec<u8>>) -> (Vec<String>, ExitReason) {
    let written = Written::default();
    let input = io::Cursor::new(input.into());
    let console = run_piped(double.clone(), input, written.clone(), Shutdown::new());
    let reason =
        tokio::time::timeout(Duration::from_secs(60), console).await.expect("an end in 60 s").unwrap();
    let bytes = written.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a line is not whole: {text:?}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "an escape: {text:?}");
    (text.lines().map(Into::into).collect(), reason)
}

async fn typed(input: impl Into<Vec<u8>>) -> (Vec<String>, ExitReason, Vec<String>) {
    let double = Double::new();
    let (lines, reason) = typed_on(&double, input).await;
    (lines, reason, double.calls())
}

const MENU: &str = "[1] Disconnect [2] Upload file [3] Download file [4] Print attributes [5] Search \
                    [6] Peers & zones [7] Transfers [8] Shares [9] Inbox [0] Quit";

#[tokio::test]
async fn a_script_searches_downloads_and_quits() {
    let (lines, reason, _) = typed("5 report\n3 1\n0\n").await;
    assert_eq!(
        lines,
        [
            "[1] report.pdf  1.5 KiB  from ana (zone 1, 1 hop), ben (zone 1, 2 hops)",
            r"[2] b\u{1b}[2J.pdf  3.0 KiB  from ana (zone 1, 1 hop), which this peer has too",
            "2 hits: 6 of 6 answered",
            "#7 report.pdf: waiting",
            "#7 report.pdf: running, 50 % of 2.0 KiB",
            "#7 report.pdf: done, 2.0 KiB from ana, ben, saved as /srv/share/report.pdf",
        ]
    );
    assert_eq!(reason, ExitReason::Quit);
}

#[tokio::test]
async fn the_end_of_a_search_tells_the_best_hits_and_what_may_have_been_meant() {
    let (lines, _, _) = typed("5 worse first\n5 bugdet\n").await;
    assert_eq!(
        lines,
        [
            r"[1] b\u{1b}[2J.pdf  3.0 KiB  from ana (zone 1, 1 hop), which this peer has too",
            "[2] report.pdf  1.5 KiB  from ana (zone 1, 1 hop)",
            "[2] report.pdf  1.5 KiB  from ana (zone 1, 1 hop), ben (zone 1, 2 hops)",
            "best first: 2 1",
            "2 hits: 6 of 6 answered",
            "nothing found: 6 of 6 answered",
            r#"no hit for "bugdet"; did you mean "budget" or "b\u{1b}[2J"?"#,
        ]
    );
}

#[tokio::test]
async fn searches_are_saved_listed_run_and_removed() {
    let (lines, _, calls) =
        typed("save new --all report\nsaved\nsaved run none\nsaved run reports\nsaved rm\nreports\n").await;
    assert_eq!(lines[0], "saved as new; what is new is told here");
    assert_eq!(lines[3], "2 hits: 6 of 6 answered");
    assert_eq!(lines[4], "name     query            zones  known  new");
    assert_eq!(lines[5], "reports  report newer:7d  mine   7      1");
    assert_eq!(lines[6], r"x.2      \u{1b}[2J        all    7      1    this peer has not joined a zone");
    assert_eq!(lines[7], "error: no search is saved as `none`; `saved` lists them");
    assert_eq!(lines[10], "2 hits: 6 of 6 answered");
    assert_eq!(lines[11..], ["reports is not asked any more"]);
    assert_eq!(calls[0], r#"save_search(SaveAsk { name: "new", text: "report", scope: All })"#);
    assert!(
        calls
            .iter()
            .any(|call| call.starts_with(r#"search(SearchAsk { text: "report newer:7d", scope: Mine"#))
    );
}

#[tokio::test]
async fn every_menu_entry_answers_by_its_number() {
    let (lines, reason, _) = typed("4\n6\n7\n8\n9\n").await;
    let expected = [
        "name               me",
        "id                 0303030303030303030303030303030303030303030303030303030303030303",
        "IP                 127.0.0.1",
        "port               7003",
        "connection         connected (registry 127.0.0.1:7000)",
        "zone               3 (6 peers)",
        "neighbors          ana, ben",
        "shared files       2 (4.5 KiB), 1 of them hashed, scanning",
        "searches           7",
        "queries answered   8",
        "duplicates dropped 9",
        "bytes up           3.0 MiB",
        "bytes down         512 B",
        "up for             1h 1m 1s",
        "version            0.1.0",
        "zone  peers  gateway peers",
        "1     6      ana",
        "peer  zone  address         files",
        "ana   1     127.0.0.1:7001  10",
        "ben   2     127.0.0.1:7002  20",
        "number  way       file        bytes                      speed  priority  state    with",
        "1       download  report.pdf  2.0 KiB of 2.0 KiB, 100 %         normal    done     ana, ben",
        "2       download  report.pdf  1.0 KiB of 2.0 KiB, 50 %          normal    running  ana, ben",
        "share  kind      files  size     folder",
        "docs   folder    2      4.5 KiB  /srv/docs",
        "old    replicas  0      0 B      /srv/old   is gone",
        "no offers wait",
        "files arrive in /srv/inbox; accept policy: ask",
    ];
    assert_eq!(lines, expected);
    assert_eq!(reason, ExitReason::EndOfInput);
}

#[tokio::test]
async fn missing_arguments_are_asked_for_and_an_empty_line_leads_back() {
    let (lines, _, calls) = typed("2\n/etc/hostname\nana\n2\n\n4x\n5\n\n5\nmissing\n3\nabc\n3\n1\n0\n").await;
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert_eq!(calls[0], "send(SendAsk { path: \"/etc/hostname\", peer: \"ana\" })");
    assert!(calls[1].contains("text: \"missing\""), "{calls:?}");
    assert!(calls[2].contains("Hit(1)"), "{calls:?}");
    assert_eq!(lines[1], "#8 report.pdf: done, 2.0 KiB to ana, ben, saved as /srv/share/report.pdf");
    assert_eq!(
        lines[2],
        "error: there is no command `4x`; an empty line shows the menu, `help` all commands"
    );
    assert_eq!(lines[3], "nothing found: 6 of 6 answered");
    assert_eq!(lines[4], "error: name a hit by its number, a content hash of 64 digits, or PEER:PATH");
}

#[tokio::test]
async fn an_upload_may_go_to_a_peer_or_to_the_network() {
    let (lines, _, calls) =
        typed("2\n/etc/hostname\nnetwork\nput /etc/hostname 3\nunput report.pdf\nputs\n0\n").await;
    let ask = |replicas| {
        format!("put(PutAsk {{ content: Path(\"/etc/hostname\"), name: None, replicas: {replicas} }})")
    };
    let listed = "puts(PageAsk { size: 1000, token: None })";
    assert_eq!(calls, [ask(2), ask(3), "unput(\"report.pdf\")".to_owned(), listed.to_owned()]);
    assert!(lines.contains(&"#9 report.pdf: done, 2.0 KiB kept by ana, ben".to_owned()), "{lines:?}");
    assert!(lines.contains(&"2 of 3 replicas: no other peer has room".to_owned()), "{lines:?}");
    assert!(lines.contains(&"report.pdf is taken back from ana".to_owned()), "{lines:?}");
    assert!(lines.contains(&"kept 1\\u{202e}.txt  2.0 KiB  2 of 2  ana, ben".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn the_first_entry_toggles_the_connection() {
    let (lines, _, calls) = typed("\n1\n\n1\n\n").await;
    let disconnected = MENU.replace("[1] Disconnect", "[1] Connect");
    assert_eq!(lines, [MENU, "disconnected; 1 connects again", &disconnected, "connected", MENU]);
    assert_eq!(calls, ["set_connected(false)", "set_connected(true)"]);
}

#[tokio::test]
async fn no_junk_ends_or_disconnects_it() {
    let mut junk: Vec<u8> = vec![];
    for line in
        ["abc", "", "99", "-1", "   ", "\u{1b}[2J", "\0", "\u{202e}", "1 1", "00", "q q", "'", "3 0", "\r"]
    {
        junk.extend(line.as_bytes());
        junk.push(b'\n');
    }
    junk.extend(vec![b'x'; 1 << 20]);
    junk.extend(b"\n\xff\xfe\x00\n\x03\n\x04\n\x1a\n0\n4\n");
    let (lines, reason, calls) = typed(junk).await;
    assert_eq!(reason, ExitReason::Quit);
    assert_eq!(calls, Vec::<String>::new());
    assert!(lines.contains(&"error: the line is longer than 8192 bytes and was dropped".into()));
    assert!(lines.contains(&"error: the line is not UTF-8 and was dropped".into()));
    assert_eq!(lines.iter().filter(|line| *line == MENU).count(), 3);
    assert!(!lines.iter().any(|line| line.starts_with("name")), "it went on after 0: {lines:?}");
}

#[tokio::test]
async fn failures_are_one_line_and_the_console_goes_on() {
    let input =
        "5 refused\n5 broken\n3 3\n3 9\nbrowse eve\n2 /x eve\n8 rm none\ncancel 9\naccept 9\n5 missing\n";
    let (lines, reason, _) = typed(input).await;
    assert_eq!(
        lines,
        [
            "error: the query has an open quote",
            "[1] report.pdf  1.5 KiB  from ana (zone 1, 1 hop), ben (zone 1, 2 hops)",
            "error: no peer is named ana; see `peers`",
            "#7 report.pdf: waiting",
            "#7 report.pdf: running, 50 % of 2.0 KiB",
            "#7 report.pdf: error: ben sent bytes that are not of this file; try another holder",
            "error: the last search has no hit 9",
            "error: no peer is named eve; see `peers`",
            "error: no peer is named eve; see `peers`",
            "error: no such share",
            "error: no transfer 9",
            "error: no offer 9",
            "nothing found: 6 of 6 answered",
        ]
    );
    assert_eq!(reason, ExitReason::EndOfInput);
}

#[tokio::test]
async fn transfers_are_paused_resumed_retried_and_reordered() {
    let input =
        "7 pause 2\nresume\nall\n7 retry all\n7 priority 2 high\n7 pause 9\ncancel all\n3 --priority low 1\n";
    let (lines, _, calls) = typed(input).await;
    assert_eq!(
        lines[..6],
        [
            "transfer 2 is paused",
            "transfers resumed: 2",
            "transfers tried again: 2",
            "transfer 2 is of high priority now",
            "error: no transfer 9",
            "transfers cancelled: 2",
        ]
    );
    assert_eq!(
        calls,
        [
            "control_transfers(One(2), Pause)",
            "control_transfers(All, Resume)",
            "control_transfers(All, Retry)",
            "control_transfers(One(2), Priority(High))",
            "control_transfers(One(9), Pause)",
            "control_transfers(All, Cancel)",
            "get(GetAsk { target: Hit(1), destination: None, priority: Low, is_detached: true })",
        ]
    );
}

#[tokio::test]
async fn folders_are_listed_over_all_their_pages() {
    let (lines, _, calls) = typed("browse ana:docs\n6 2\n").await;
    assert_eq!(
        lines,
        [
            "name         size     content",
            "sub/",
            r"s\u{202e}x/",
            "report.pdf   1.5 KiB  010101010101",
            "name   size     content",
            "z.txt  3.0 KiB  being hashed",
            "peer  zone  address         files",
            "ben   2     127.0.0.1:7002  20",
            "the registry cannot be asked now: this is from the last roster",
        ]
    );
    assert_eq!(calls.len(), 3, "{calls:?}");
}

#[tokio::test]
async fn offers_are_listed_and_answered() {
    let double = Double::new();
    (1..=3).for_each(|id| double.offer(actions::offer(id)));
    let (lines, _) = typed_on(&double, "9\naccept 1\n9 decline 2 not now\ntrust 3\n9\n").await;
    assert_eq!(lines[..4].concat().matches("photo").count(), 3);
    assert_eq!(
        lines[5..],
        [
            "offer 1 is accepted",
            "offer 2 is declined",
            "offer 3 is accepted, and so is whatever its sender sends from now on",
            "no offers wait",
            "files arrive in /srv/inbox; accept policy: ask",
        ]
    );
    assert_eq!(double.calls()[1], "answer_offer(2, Decline(\"not now\"))");
}

struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An input on which nothing ever comes.
struct Silence(std::sync::mpsc::Receiver<()>);

impl Read for Silence {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        _ = self.0.recv();
        Ok(0)
    }
}

#[tokio::test]
async fn a_closed_output_ends_it_quietly() {
    let (_open, silence) = std::sync::mpsc::channel();
    let input = io::Cursor::new("4\n").chain(Silence(silence));
    let console = run_piped(Double::new(), input, ClosedPipe, Shutdown::new());
    assert_eq!(console.await.unwrap(), ExitReason::OutputClosed);
}

#[tokio::test]
async fn a_stop_ends_it_and_cancels_what_runs() {
    let (_open, silence) = std::sync::mpsc::channel();
    let (double, shutdown, written) = (Double::new(), Shutdown::new(), Written::default());
    let input = io::Cursor::new("5 slow\n").chain(Silence(silence));
    let console = tokio::spawn(run_piped(double.clone(), input, written.clone(), shutdown.clone()));
    while written.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    shutdown.stop();
    assert_eq!(console.await.unwrap().unwrap(), ExitReason::Stopped);
    double.cancelled().await;
}
