use proptest::prelude::*;

use super::*;

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn finds(query: &str, path: &str) -> bool {
    finds_sized(query, path, 1000)
}

fn finds_sized(query: &str, path: &str, size_bytes: u64) -> bool {
    let query = Query::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    matches(&query, path, size_bytes, HASH.parse().ok().as_ref())
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
fn a_colon_in_a_name_is_no_filter() {
    assert!(finds("Re: hello", "mail/re hello.txt") && finds("12:30", "log/12-30.txt"));
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
            let _ = matches(&query, &path, 1, None);
        }
    }

    #[test]
    fn pieces_of_the_language_never_panic(pieces in proptest::collection::vec(
        prop_oneof!["[-\"“ ]", "(ext|size|type|peer|hash|typ):", "[><=.]{1,3}", "[0-9]{1,22}[KMGi]{0,2}", "[a-zé会]{1,4}", "\\PC"], 0..24,
    )) {
        let _ = Query::parse(&pieces.concat());
    }

    #[test]
    fn a_file_is_found_by_any_word_of_its_own_path(path in "[a-zA-Zéß0-9 ._-]{1,12}/[a-zA-Zø会0-9 ._-]{1,20}") {
        let folded = crate::protocol::text::fold(&path);
        for word in words(&folded) {
            prop_assert!(finds(word, &path));
        }
    }
}
