//! What people are told of transfers that wait: real processes, a real network.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/daemons.rs"]
mod daemons;

use std::time::{Duration, Instant};

use daemons::{Daemons, Messages};

/// More than any test has time for at [`SLOW`].
const LARGE_BYTES: u64 = 64 << 20;
const SLOW: &str = "UPLOAD_LIMIT=2MB";

fn note(line: &str) -> &str {
    let (note, _) = line.split_once("\"note\":").unwrap().1.split_once(",\"note_code\":").unwrap();
    note.trim_matches('"')
}

#[test]
fn a_download_in_a_holders_queue_tells_its_place() {
    let net = Daemons::new();
    for name in ["one", "two", "three"] {
        net.share("ana", name, LARGE_BYTES);
    }
    let _ana = net.peer("ana", &["UPLOAD_SLOTS=1", SLOW]);
    let (_ben, _cara) = (net.peer("ben", &[]), net.peer("cara", &[]));
    net.until("ana", "--json status", "\"hashed_files\":3,");
    net.until("cara", "--json peers", "\"name\":\"ana\"");
    net.until("ben", "--json peers", "\"name\":\"ana\"");
    net.ok("ben", "get --detach ana:share/one");
    net.until("ben", "--json transfers", "\"state\":\"running\"");

    let mut followed = Messages::of(net.command("cara", "get ana:share/two"));
    let said = followed.until("queue");
    assert!(said.starts_with("two: waiting: place ") && said.ends_with(" in ana's queue"), "{said}");
    net.ok("cara", "get --detach ana:share/three");
    let line = net.until("cara", "--json transfers", "in ana's queue");
    assert!(line.contains("\"state\":\"waiting\"") && note(&line).starts_with("place "), "{line}");
    let line = net.until("cara", "transfers", "place 2 in ana's queue");
    assert!(line.contains("\twaiting\t"), "{line}");
    let line = net.console_until("cara", "transfers", "waiting: place 2 in ana's queue");
    assert!(line.contains("download"), "{line}");
    net.ok("ben", "transfers cancel 1");
    let line = net.until("cara", "--json transfers", "\"state\":\"running\"");
    assert_eq!(note(&line), "null", "bytes flow");
}

#[test]
fn a_download_whose_holder_is_gone_tells_when_it_looks_and_finds_it_at_another_address() {
    let net = Daemons::new();
    net.share("ana", "report", LARGE_BYTES);
    let ana = net.peer("ana", &[SLOW]);
    let _ben = net.peer("ben", &[]);
    net.until("ana", "--json status", "\"hashed_files\":1,");
    net.until("ben", "--json peers", "\"name\":\"ana\"");
    let mut followed = Messages::of(net.command("ben", "get ana:share/report"));
    // At least one piece is whole then: the download is begun, and is not given up.
    let has_begun = |told: &str| (5..90).any(|percent| told.contains(&format!("\"percent\":{percent},")));
    let began = Instant::now();
    while !has_begun(&net.run("ben", "--json transfers").1) {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not begin");
    }
    drop(ana); // By SIGKILL.

    let line = net.until("ben", "--json transfers", "looks for holders in ");
    // "it cannot be reached", or "the connection was cut" when that was the last that was seen of it.
    let ana_is_gone = " s: ana: ";
    assert!(line.contains("\"state\":\"waiting\"") && note(&line).contains(ana_is_gone), "{line}");
    let line = net.console_until("ben", "transfers", "waiting: looks for holders in ");
    assert!(line.contains(ana_is_gone), "{line}");
    let said = followed.until(": waiting: ");
    assert!(said.contains(" s: ana: "), "{said}");

    let _ana = net.peer("ana", &[SLOW]);
    net.until("ben", "--json transfers", "\"state\":\"running\"");
}

#[test]
fn a_send_tells_whose_answer_it_waits_for_and_why_it_was_declined() {
    let net = Daemons::new();
    let (_ana, _ben) = (net.peer("ana", &[]), net.peer("ben", &[]));
    net.until("ana", "--json peers", "\"name\":\"ben\"");
    net.share("ana", "letter", 100);
    let mut sent = Messages::of(net.command("ana", "send share/letter --to ben"));
    assert_eq!(sent.until("answer"), "letter: waiting: waits for ben's answer");
    net.until("ben", "--json inbox", "\"name\":\"letter\"");
    let line = net.until("ben", "--json transfers", "\"direction\":\"receive\"");
    assert!(note(&line).contains("floodplain inbox"), "{line}");
    net.ok("ben", "inbox decline 1 --reason busy\u{7}");
    let error = sent.until("error");
    assert!(error.contains("ben") && error.contains("busy\\u{7}"), "{error}");
}
