//! A summary never denies what its peer has; how often it claims what the peer has not; changes come to the same.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{book::*, *};
use crate::protocol::{
    id::{PeerId, ZoneId},
    query::matches,
    roster::{Member, Roster, Stamp},
    text::fold,
};

fn words_of(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().flat_map(|path| words(&fold(path)).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn summary(paths: &[&str]) -> Summary {
    Summary::of(words_of(paths).iter().map(String::as_str)).expect("few words")
}

fn may_answer(paths: &[&str], query: &str) -> bool {
    summary(paths).may_answer(&Probe::of(&Query::parse(query).expect("a query")))
}

proptest! {
    #[test]
    fn whoever_has_a_hit_is_never_ruled_out(
        path in "[a-cA-Cäß0-1資]{1,7}([ ._/-][a-cA-Cäß0-1資]{1,7}){0,4}(\\.(pdf|tar\\.gz))?",
        query in "(-?\"?[a-cA-Cäß0-1資]{1,7}\"?[ ._-]?|ext:(pdf|gz|tar\\.gz) |size:>0 ){1,3}",
    ) {
        let Ok(parsed) = Query::parse(&query) else { return Ok(()) };
        if matches(&parsed, &path, 5, std::time::SystemTime::UNIX_EPOCH, None) {
            prop_assert!(may_answer(&[&path], &query), "{path:?} for {query:?}");
        }
    }

    #[test]
    fn a_change_leads_to_the_newer_summary(old in words_sets(), added in words_sets()) {
        let all: BTreeSet<&str> = old.iter().chain(&added).map(String::as_str).collect();
        let newer = Summary::of(all).expect("few words");
        let mut older = Summary::of(old.iter().map(String::as_str)).expect("few words");
        if let Some(change) = older.change_to(&newer) {
            older.apply(&change).expect("fits");
            prop_assert_eq!(&older, &newer);
        }
        prop_assert_eq!(Summary::from_bytes(&newer.to_bytes()), Ok(newer));
    }
}

fn words_sets() -> impl Strategy<Value = BTreeSet<String>> {
    proptest::collection::btree_set("[a-z]{1,9}", 0..200)
}

#[test]
fn words_prefixes_phrases_and_extensions_rule_peers_out() {
    let paths = ["docs/Budget 2024.pdf", "music/Café del Mar.flac"];
    for query in
        ["budget", "budg", "bu", "2024 bud", "\"budget 2024\"", "CAFE", "mar ext:flac", "ext:pdf", "size:>1M"]
    {
        assert!(may_answer(&paths, query), "{query}");
    }
    for query in ["invoice", "budgx", "cafe zzz", "\"budgets\"", "ext:mp3", "budget ext:mp3", "del bux"] {
        assert!(!may_answer(&paths, query), "{query}");
    }
    assert!(Probe::of(&Query::parse("bu").expect("a query")).is_blind());
    assert!(Probe::of(&Query::parse("size:>1M").expect("a query")).is_blind());
    assert!(!Probe::of(&Query::parse("bud").expect("a query")).is_blind());
}

#[test]
fn a_word_that_is_not_there_seems_there_one_time_in_thirty() {
    for count in [20, 500, 5_000] {
        let there: Vec<String> = (0..count).map(|word| format!("there{word:05}x")).collect();
        let summary = Summary::of(there.iter().map(String::as_str)).expect("few words");
        let tries = 4_000;
        let seem = (0..tries).filter(|word| summary.may_hold(Key::word(&format!("absent{word}")))).count();
        assert!(seem * 1_000 <= tries * 45, "{seem} of {tries} at {count} words");
    }
}

#[test]
fn a_few_new_words_make_a_short_change() {
    let mut all: Vec<String> = (0..1_000).map(|word| format!("word{word}")).collect();
    let older = Summary::of(all.iter().map(String::as_str)).expect("few words");
    all.push("another".into());
    let newer = Summary::of(all.iter().map(String::as_str)).expect("few words");
    assert!(older.change_to(&newer).expect("the length stays").blocks.len() <= 3 * 5);
    assert!(older.change_to(&Summary::of(["one"]).expect("one")).is_none());
}

#[test]
fn what_comes_from_others_is_checked() {
    assert_eq!(Summary::from_bytes(&[]), Err(NotASummary));
    assert_eq!(Summary::from_bytes(&[0; 12]), Err(NotASummary));
    assert_eq!(Summary::from_bytes(&vec![0; MAX_BYTES + 8]), Err(NotASummary));
    let mut summary = Summary::of(["word"]).expect("one");
    let before = summary.clone();
    assert_eq!(summary.apply(&Change { blocks: vec![(0, 1), (u32::MAX, 1)] }), Err(NotASummary));
    assert_eq!(summary, before);
}

#[test]
fn a_member_is_ruled_out_only_by_what_it_announced_last() {
    let (there, absent) = (probe("there"), probe("absent"));
    let member = |incarnation, version, is_settled| Member {
        id: PeerId::from_bytes([7; 32]),
        name: "ana".parse().expect("a name"),
        address: ([127, 0, 0, 1], 7001).into(),
        incarnation,
        shared_files: 1,
        room_bytes: 0,
        summary: Stamp { version, is_settled },
    };
    let summary = || Summary::of(["there"]).expect("one");
    let id = member(1, 1, true).id;
    let mut book = Book::new();
    assert!(!book.rules_out(&member(1, 1, true), &absent), "unknown");
    assert!(book.misses(&member(1, 1, true)) && !book.misses(&member(1, 0, true)));
    book.hold(id, 1, 1, summary());
    assert!(!book.misses(&member(1, 1, true)));
    assert!(book.rules_out(&member(1, 1, true), &absent) && !book.rules_out(&member(1, 1, true), &there));
    assert!(!book.rules_out(&member(1, 1, false), &absent), "its words are changing");
    assert!(!book.rules_out(&member(1, 2, true), &absent), "another version");
    assert!(book.misses(&member(1, 2, true)) && !book.misses(&member(1, 2, false)));
    assert!(!book.rules_out(&member(2, 1, true), &absent), "started again");
    book.hold(id, 1, 0, Summary::of(["else"]).expect("one"));
    assert!(book.rules_out(&member(1, 1, true), &absent), "one that was overtaken changes nothing");
    book.hold(id, 2, 1, summary());
    assert!(book.rules_out(&member(2, 1, true), &absent) && !book.rules_out(&member(1, 1, true), &absent));
    book.keep_only(&Roster::new(ZoneId::new(1).expect("not 0"), 1, Vec::new()));
    assert_eq!(book.size_bytes(), 0);
}

fn probe(query: &str) -> Probe {
    Probe::of(&Query::parse(query).expect("a query"))
}
