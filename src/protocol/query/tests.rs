use std::time::Duration;

use proptest::prelude::*;

use super::*;

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn finds(query: &str, path: &str) -> bool {
    finds_sized(query, path, 1000)
}

fn finds_sized(query: &str, path: &str, size_bytes: u64) -> bool {
    let query = Query::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    matches(&query, path, size_bytes, SystemTime::UNIX_EPOCH, HASH.parse().ok().as_ref())
}

/// That many seconds after 2026-01-31T00:00:00Z.
fn after(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_817_600 + seconds)
}

fn finds_changed(query: &str, modified: SystemTime, now: SystemTime) -> bool {
    let query = Query::asked_at(query, now).unwrap_or_else(|error| panic!("{query}: {error}"));
    matches(&query, "d/a", 1, modified, None)
}

#[test]
fn all_words_must_match_and_the_last_one_by_its_beginning() {
    let path = "docs/Finance/Annual Report 2024.pdf";
    for yes in [
        "annual",
        "ann",
        "report annual",
        "2024 rep",
        "finance 2024",
        "ÀNNUAL pdf",
        "rep ext:pdf",
        "finance/annual",
    ] {
        assert!(finds(yes, path), "{yes}");
    }
    for no in ["nnual", "rep annual", "annual zebra", "ann \"report\" 2025"] {
        assert!(!finds(no, path), "{no}");
    }
}

#[test]
fn phrases_are_exact_and_in_order() {
    let path = "docs/Annual Report 2024.pdf";
    for yes in ["\"annual report\"", "“Report 2024”", "annual-report", "2024.pdf"] {
        assert!(finds(yes, path), "{yes}");
    }
    for no in ["\"report annual\"", "\"annual rep\"", "report-annual", "report.pdf"] {
        assert!(!finds(no, path), "{no}");
    }
    assert!(finds("12\" vinyl", "music/12 vinyl.flac"));
    assert!(finds("資料", "docs/会議資料.pdf") && !finds("料資", "docs/会議資料.pdf"));
}

#[test]
fn negations_take_away() {
    let path = "docs/draft report.pdf";
    for no in [
        "report -draft",
        "report -\"draft report\"",
        "report -ext:pdf",
        "report -type:document",
        "report -size:>10",
    ] {
        assert!(!finds(no, path), "{no}");
    }
    for yes in ["report -dra", "report -\"report draft\"", "report -ext:txt", "report -size:>1M"] {
        assert!(finds(yes, path), "{yes}");
    }
}

#[test]
fn filters_hold_by_themselves() {
    assert!(
        finds("ext:PDF", "d/a.pdf") && finds("ext:.tar.gz", "d/a.tar.gz") && finds("ext:jpg,png", "d/a.png")
    );
    assert!(!finds("ext:pdf", "d/pdf") && !finds("ext:pdf", "d/a.pdfx") && !finds("ext:df", "d/a.pdf"));
    assert!(
        finds("type:video", "d/a.MKV") && finds("type:images", "d/a.jpg") && !finds("type:audio", "d/a.jpg")
    );
    assert!(finds("ext:pdf type:audio", "d/a.mp3"));
    assert!(finds(&format!("hash:{HASH}"), "d/a") && !finds(&format!("hash:{}", "0".repeat(64)), "d/a"));
    let query = Query::parse(&format!("x peer:Ana hash:{HASH}")).unwrap();
    assert_eq!((query.peer(), query.hash()), (Some("Ana"), HASH.parse().ok()));
}

#[test]
fn sizes_are_bounds_in_decimal_or_binary_units() {
    for (query, at_least, at_most) in [
        ("size:>1M", 1_000_001, u64::MAX),
        ("size:>=1MiB", 1_048_576, u64::MAX),
        ("size:<2K", 0, 1999),
        ("size:<=2k", 0, 2000),
        ("size:1M..2G", 1_000_000, 2_000_000_000),
        ("size:1.5M..", 1_500_000, u64::MAX),
        ("size:..7", 0, 7),
        ("size:7", 7, 7),
        ("size:>1K size:<2K", 1001, 1999),
    ] {
        assert!(finds_sized(query, "d/a", at_least) && finds_sized(query, "d/a", at_most), "{query}");
        assert!(at_least == 0 || !finds_sized(query, "d/a", at_least - 1), "{query}");
        assert!(at_most == u64::MAX || !finds_sized(query, "d/a", at_most + 1), "{query}");
    }
}

#[test]
fn a_time_splits_files_into_newer_and_older() {
    let now = after(0);
    for (text, first) in [
        ("2026-01-31", after(0)),
        ("2026-02", after(24 * 3600)),
        ("2026-01-31T00:00:07Z", after(7)),
        ("1h", now - Duration::from_secs(3600)),
        ("7d", now - Duration::from_secs(7 * 24 * 3600)),
        ("2026", now - Duration::from_secs(30 * 24 * 3600)),
    ] {
        for (newer, older) in [("newer:", "older:"), ("-older:", "-newer:"), ("a NEWER:", "-b older:")] {
            let (newer, older) = (format!("{newer}{text}"), format!("{older}{text}"));
            let just_before = first - Duration::from_nanos(1);
            assert!(finds_changed(&newer, first, now) && !finds_changed(&newer, just_before, now), "{newer}");
            assert!(finds_changed(&older, just_before, now) && !finds_changed(&older, first, now), "{older}");
        }
    }
    let both = "newer:2025 newer:2026-01-31 older:2027 older:2026-02-01";
    assert!(finds_changed(both, after(1), now) && !finds_changed(both, after(24 * 3600), now));
    assert!(finds_changed("older:1000y", SystemTime::UNIX_EPOCH - Duration::from_secs(1), now));
}

#[test]
fn a_span_is_sent_on_as_the_time_that_it_means() {
    let text = |text: &str| Query::asked_at(text, after(90)).map(|query| query.text().to_owned());
    assert_eq!(text(" report  -newer:30s "), Ok("report -newer:2026-01-31T00:01:00Z".into()));
    assert_eq!(
        text("\"a  b\" -\"c\"d older:1m30s"),
        Ok("\"a  b\" -\"c\" d older:2026-01-31T00:00:00Z".into())
    );
    assert_eq!(text("a  older:2026-01-31"), Ok("a  older:2026-01-31".into()));
    // On the way nobody's now is meant.
    let refused = Query::parse("report newer:7d").map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("send the time itself"), "{refused}");
    assert!(matches!(
        Query::asked_at(&format!("{} newer:7d", "x".repeat(500)), after(0)),
        Err(QueryError::TooLong(_))
    ));
}

#[test]
fn a_colon_in_a_name_is_no_filter() {
    assert!(finds("Re: hello", "mail/re hello.txt") && finds("12:30", "log/12-30.txt"));
    assert!(finds("never: folder:x", "mail/never folder x.txt"));
    assert!(finds("a - b & c", "x/a b c"));
}

#[test]
fn refusals_say_what_would_do() {
    let refusal = |text: &str| Query::parse(text).map(|_| ()).unwrap_err().to_string();
    for (text, hint) in [
        ("", "type a word"),
        ("   ", "type a word"),
        ("***", "letter or digit"),
        ("-a -ext:pdf", "only says what not to find"),
        ("\"annual rep", "not closed"),
        ("etx:pdf", "did you mean `ext:`"),
        ("type:film", "audio, video"),
        ("size:big", "size:>1M"),
        ("size:2G..1M", "size:>1M"),
        ("size:<0", "size:>1M"),
        ("size:..", "size:>1M"),
        ("ext:", "ext:pdf"),
        ("peer:", "peer:ana"),
        ("a -peer:ana", "cannot be negated"),
        ("hash:12", "64 hexadecimal"),
        ("nwer:2026", "did you mean `newer:`"),
        ("newer:", "newer:7d"),
        ("older:soon", "newer:7d"),
        ("older:2026-02-30", "older:2026-01-31"),
        ("newer:0s", "newer:7d"),
        ("newer:31.1.2026", "newer:7d"),
        (&"a ".repeat(33), "at most 32"),
        (&"x".repeat(513), "at most 512"),
    ] {
        assert!(refusal(text).contains(hint), "{text:?}: {}", refusal(text));
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,80}", path in "\\PC{0,40}") {
        if let Ok(query) = Query::parse(&text) {
            let _ = matches(&query, &path, 1, SystemTime::UNIX_EPOCH, None);
        }
    }

    #[test]
    fn pieces_of_the_language_never_panic(pieces in proptest::collection::vec(
        prop_oneof!["[-\"“ ]", "(ext|size|type|peer|hash|typ|newer|older):", "[><=.]{1,3}", "[0-9]{1,22}[KMGidhwy]{0,2}", "[0-9]{2,4}-[0-9]{2}(-[0-9]{2})?", "[a-zé会]{1,4}", "\\PC"], 0..24,
    )) {
        let text = pieces.concat();
        let _ = Query::parse(&text);
        // Whatever is asked goes on to others as it was understood here.
        for now in [SystemTime::UNIX_EPOCH, after(1), SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40)] {
            if let Ok(query) = Query::asked_at(&text, now) {
                prop_assert_eq!(Query::parse(query.text()), Ok(query.clone()));
            }
        }
    }

    #[test]
    fn a_file_is_found_by_any_word_of_its_own_path(path in "[a-zA-Zéß0-9 ._-]{1,12}/[a-zA-Zø会0-9 ._-]{1,20}") {
        let folded = crate::protocol::text::fold(&path);
        for word in words(&folded) {
            prop_assert!(finds(word, &path));
        }
    }
}
