//! A summary never denies what its peer has; how often it claims what the peer has not; changes come to the same.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::{book::*, *};
use crate::protocol::{
    claim::RulesOut,
    id::{PeerId, ZoneId},
    query::matches,
    roster::{Member, Roster, Stamp},
    text::fold,
};

fn own_keys(paths: &[&str]) -> OwnKeys {
    let mut keys = KeysOf::default();
    for path in paths {
        keys.add(words(&fold(path)));
    }
    keys.finish().expect("few words")
}

/// What gateways are given.
fn keys(paths: &[&str]) -> Keys {
    own_keys(paths).gateway
}

fn summary(paths: &[&str]) -> Summary {
    Summary::of(&own_keys(paths))
}

/// What a filter would say that never errs.
fn may_answer(paths: &[&str], query: &str) -> bool {
    needs(&probe(query), &own_keys(paths).summary)
}

/// One of a few that begin alike, or are short, or are written without spaces.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{1,3}",
        "reports?[ab]{0,2}",
        "REPO",
        "anna(l|ls|list)?",
        "[äßÉø]{1,7}",
        "資料?",
        "が\u{3099}?",
        "v?[0-9]{1,6}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    let segment = || {
        (word(), proptest::collection::vec(("[ ._-]", word()), 0..4)).prop_map(|(first, rest)| {
            rest.into_iter().fold(first, |name, (between, word)| format!("{name}{between}{word}"))
        })
    };
    let extension = prop_oneof!["", "\\.pdf", "\\.tar\\.gz", "\\.7z\\.001"];
    (proptest::collection::vec(segment(), 1..8), extension)
        .prop_map(|(segments, extension)| format!("{}{extension}", segments.join("/")))
}

/// A query for some of what the path has: its words and other ones, in any order, cut short, in phrases.
fn query_for(path: String) -> impl Strategy<Value = (String, String)> {
    let there: Vec<String> = words(&fold(&path)).map(str::to_owned).collect();
    let count = there.len();
    let term = (0..count, 1..4_usize, 0..8_u8, word()).prop_map(move |(first, length, form, other)| {
        let phrase = there[first..count.min(first + length)].join(" ");
        let word = &there[first];
        match form {
            0 => format!("\"{phrase}\""),
            1 => phrase.replace(' ', "."),
            2 => format!("-{other}"),
            3 => ["ext:pdf", "ext:gz,pdf", "ext:tar.gz", "size:>1", "ext:001 ext:pdf"][length].into(),
            4 => word.to_uppercase(),
            _ => word.clone(),
        }
    });
    let cut = 0..6_usize;
    (proptest::collection::vec(term, 1..6), cut).prop_map(move |(terms, cut)| {
        let mut query = terms.join(" ");
        for _ in 0..cut.saturating_sub(2) {
            query.pop();
        }
        (path.clone(), query)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whoever_has_a_hit_is_never_ruled_out(
        (path, query) in path().prop_flat_map(query_for),
        others in proptest::collection::vec(path(), 0..3),
    ) {
        let Ok(parsed) = Query::parse(&query) else { return Ok(()) };
        let probe = Probe::of(&parsed);
        let paths: Vec<&str> = others.iter().chain([&path]).map(String::as_str).collect();
        if matches(&parsed, &path, 5, std::time::SystemTime::UNIX_EPOCH, None) {
            let own = own_keys(&paths);
            prop_assert!(needs(&probe, &own.summary), "{paths:?} for {query:?}");
            prop_assert!(Summary::of(&own).may_answer(&probe), "{paths:?} for {query:?}");
            let keys = own.gateway;
            prop_assert!(keys.may_answer(&probe), "{paths:?} for {query:?}");
            let zone = Summary::of_all([&keys, &self::keys(&["else"])], Density::ZONE).expect("few");
            prop_assert!(zone.may_answer(&probe), "{paths:?} for {query:?}");
        }
    }
}

/// All that the probe asks of a summary is there, without what a filter makes of it.
fn needs(probe: &Probe, keys: &Keys) -> bool {
    let has = |needed: &Needed| {
        needed.singles.iter().chain(&needed.pairs).all(|key| keys.as_slice().binary_search(key).is_ok())
    };
    has(&probe.all) && (probe.any.is_empty() || probe.any.iter().any(has))
}

proptest! {
    #[test]
    fn a_change_leads_to_the_newer_summary(old in words_sets(), added in words_sets()) {
        let all: BTreeSet<&str> = old.iter().chain(&added).map(String::as_str).collect();
        let newer = summary(&all.into_iter().collect::<Vec<_>>());
        let mut older = summary(&old.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(change) = older.change_to(&newer) {
            older.apply(&change).expect("fits");
            prop_assert_eq!(&older, &newer);
        }
        prop_assert_eq!(Summary::from_bytes(&newer.to_bytes(), true, Density::PEER), Ok(newer));
    }
}

fn words_sets() -> impl Strategy<Value = BTreeSet<String>> {
    proptest::collection::btree_set("[a-z]{1,9}( [a-z]{1,9}){0,2}", 0..200)
}

#[test]
fn words_prefixes_phrases_and_extensions_rule_peers_out() {
    let paths = ["docs/Budget 2024.pdf", "music/Café del Mar.flac"];
    for query in
        ["budget", "budg", "bu", "2024 bud", "\"budget 2024\"", "CAFE", "mar ext:flac", "ext:pdf", "size:>1M"]
    {
        assert!(may_answer(&paths, query), "{query}");
    }
    for query in ["invoice", "bux", "cafe zzz", "ext:mp3", "budget ext:mp3", "del bux"] {
        assert!(!may_answer(&paths, query), "{query}");
    }
    assert!(Probe::of(&Query::parse("bu").expect("a query")).is_blind());
    assert!(Probe::of(&Query::parse("size:>1M").expect("a query")).is_blind());
    assert!(!Probe::of(&Query::parse("bud").expect("a query")).is_blind());
}

#[test]
fn words_of_different_paths_rule_a_peer_out() {
    let paths = ["a/annual report.pdf", "a/holiday budget.doc"];
    for query in ["annual budget", "budg annual", "\"annual\" budget", "holiday ext:pdf", "budget report.pdf"]
    {
        assert!(!may_answer(&paths, query), "{query}");
    }
    for query in [
        "annual repo",
        "annual bud",
        "report annual",
        "holiday ext:pdf,doc",
        "ext:pdf pdf",
        "budget doc budg",
    ] {
        let is_too_short = query == "annual bud";
        assert!(may_answer(&paths, query), "{query}, too short to tell: {is_too_short}");
    }
}

#[test]
fn what_is_not_there_seems_there_as_seldom_as_the_density_has_it() {
    for files in [20, 500, 5_000] {
        let name = |file: usize| format!("{file:04}a {:04}b {:04}c {:04}d", file * 7, file % 97, file / 3);
        let paths: Vec<String> = (0..files).map(name).collect();
        let summary = summary(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        let seems = |kind: u32| {
            let keys = (0..4_000).map(|key| fingerprint(key) & (u32::MAX >> 1) | kind);
            keys.filter(|key| summary.may_hold(*key)).count()
        };
        let (singles, pairs) = (seems(0), seems(1 << 31));
        assert!(singles < 480 && pairs < 1_520, "{singles} and {pairs} of 4000 at {files} files");
    }
}

fn fingerprint(of: u64) -> u32 {
    (splitmix(of) >> 32) as u32
}

#[test]
fn a_zone_has_what_its_peers_have() {
    let (one, other) = (keys(&["a/annual report.pdf", "a/holiday budget.doc"]), keys(&["b/dog house.pdf"]));
    // Where one peer of a zone has no pairs, there are none of the zone.
    let zone = |all: &[&Keys]| Summary::of_all(all.iter().copied(), Density::ZONE).expect("few");
    assert!(!zone(&[&one, &other]).may_answer(&probe("house budget")));
    assert!(zone(&[&one, &other]).may_answer(&probe("dog house")));
    let without = other.as_slice().iter().copied().filter(|key| !is_pair(*key)).collect();
    let without = Keys::from_sorted(without, false).expect("rising");
    let zone = zone(&[&one, &without]);
    assert!(!zone.has_pairs() && zone.may_answer(&probe("house budget")));
    assert!(!zone.may_answer(&probe("house bugdet")));
}

#[test]
fn a_zone_has_no_pairs_or_no_filter_when_they_are_too_many() {
    let one = keys(&["aa bb cc", "dd ee ff gg hh ii jj"]);
    let of = |max_bytes| Summary::of_all([&one, &one], Density { max_bytes, ..Density::ZONE });
    assert!(of(64).is_some_and(|zone| zone.has_pairs() && zone.size_bytes() <= 64));
    assert!(of(24).is_some_and(|zone| !zone.has_pairs() && zone.size_bytes() <= 24));
    assert_eq!(of(8), None);
}

#[test]
fn a_few_new_words_make_a_short_change() {
    let mut all: Vec<String> = (0..1_100).map(|word| format!("{word:04}")).collect();
    let of = |all: &[String]| summary(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let older = of(&all);
    all.push("another".into());
    let newer = of(&all);
    assert!(older.change_to(&newer).expect("the length stays").blocks.len() <= 3 * 5);
    assert!(older.change_to(&summary(&["one"])).is_none());
    let bytes = older.to_bytes();
    let without = Summary::from_bytes(&bytes, false, Density::PEER).expect("made before");
    assert!(without.change_to(&older).is_none(), "what it is of is told with the whole");
}

#[test]
fn what_comes_from_others_is_checked() {
    let from = |bytes: &[u8]| Summary::from_bytes(bytes, true, Density::PEER);
    assert_eq!(from(&[]), Err(NotASummary));
    assert_eq!(from(&[0; 12]), Err(NotASummary));
    assert_eq!(from(&vec![0; MAX_BYTES + 8]), Err(NotASummary));
    let mut summary = summary(&["word"]);
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
    let summary = || Some(summary(&["there"]));
    let id = member(1, 1, true).id;
    let mut book = Book::new();
    assert!(!book.rules_out(&member(1, 1, true), &absent), "unknown");
    assert!(book.misses(&member(1, 1, true)) && !book.misses(&member(1, 0, true)));
    book.hold(id, 1, 1, summary());
    assert!(!book.misses(&member(1, 1, true)));
    assert!(book.rules_out(&member(1, 1, true), &absent) && !book.rules_out(&member(1, 1, true), &there));
    assert!(!book.rules_out(&member(1, 1, false), &absent), "its words are changing");
    assert!(!book.rules_out(&member(1, 2, true), &absent), "another version");
    for (query, is_ruled_out) in [("peer:ANA there", false), ("there peer:bob", true), ("peer:bob", true)] {
        assert_eq!(book.rules_out(&member(1, 2, false), &probe(query)), is_ruled_out, "{query}");
        assert!(!probe(query).is_blind());
    }
    assert!(!book.rules_out(&member(1, 1, true), &probe("peer:07070707 there")));
    assert!(book.rules_out(&member(1, 1, true), &probe("peer:07070708 there")));
    assert!(book.misses(&member(1, 2, true)) && !book.misses(&member(1, 2, false)));
    assert!(!book.rules_out(&member(2, 1, true), &absent), "started again");
    book.hold(id, 1, 0, Some(self::summary(&["else"])));
    assert!(book.rules_out(&member(1, 1, true), &absent), "one that was overtaken changes nothing");
    book.hold(id, 2, 1, summary());
    assert!(book.rules_out(&member(2, 1, true), &absent) && !book.rules_out(&member(1, 1, true), &absent));
    book.hold(id, 2, 2, None);
    assert!(!book.misses(&member(2, 2, true)), "the same would come again");
    assert!(!book.rules_out(&member(2, 2, true), &absent) && book.misses(&member(2, 3, true)));
    book.keep_only(&Roster::new(ZoneId::new(1).expect("not 0"), 1, Vec::new()));
    assert_eq!(book.size_bytes(), 0);
}

#[test]
fn a_gateway_rules_members_out_by_their_keys_as_they_announced_them() {
    let member = |version, is_settled| Member {
        id: PeerId::from_bytes([7; 32]),
        name: "ana".parse().expect("a name"),
        address: ([127, 0, 0, 1], 7001).into(),
        incarnation: 1,
        shared_files: 1,
        room_bytes: 0,
        summary: Stamp { version, is_settled },
    };
    let paths = ["cat one", "catalog two"];
    let (mut book, mut given) = (Book::new(), Book::new());
    // Bits that are all set claim everything.
    let full = Summary::from_bytes(&[255; 64], true, Density::PEER).expect("blocks");
    let id = member(1, true).id;
    book.hold(id, 1, 1, Some(full));
    given.hold(id, 1, 1, Some(Arc::new(keys(&paths))));
    let rules_out = |query: &str, member: &Member, keys| {
        let rule = BySummary { book: &book, keys, probe: &probe(query) };
        assert_eq!(rule.knows_best(), keys.is_some());
        rule.rules_out(member)
    };
    for (query, is_ruled_out) in [
        ("one cat", false),
        ("two cat", false),
        ("one two", true),
        ("cat tw", false),
        ("one catalog", true),
        ("else", true),
    ] {
        assert_eq!(rules_out(query, &member(1, true), Some(&given)), is_ruled_out, "{query}");
        assert!(!rules_out(query, &member(1, true), None), "{query} by the summary");
        assert!(!rules_out(query, &member(1, false), Some(&given)), "{query}: its words are changing");
        assert!(!rules_out(query, &member(2, true), Some(&given)), "{query}: another version");
    }
}

fn probe(query: &str) -> Probe {
    Probe::of(&Query::parse(query).expect("a query"))
}
