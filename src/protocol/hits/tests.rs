use std::time::SystemTime;

use super::*;
use crate::protocol::{id::PeerName, query::Fit};

fn list(query: &str, want: Option<u32>) -> HitList {
    HitList::new(Query::parse(query).expect("a query"), want)
}

fn file(path: &str, hash: Option<u8>) -> FileInfo {
    FileInfo {
        hash: hash.map(|byte| ContentHash::from_bytes([byte; 32])),
        path: path.into(),
        size_bytes: 1,
        modified: SystemTime::UNIX_EPOCH,
    }
}

fn holder(peer: u8, hops: u8) -> Holder {
    Holder {
        peer: PeerName::from_any(&format!("peer-{peer}")),
        peer_id: PeerId::from_bytes([peer; 32]),
        zone: None,
        hops,
        queue_place: 0,
        path: String::new(),
    }
}

#[test]
fn one_content_is_one_hit_with_every_holder() {
    let mut list = self::list("a", None);
    assert_eq!(list.add(file("docs/a.txt", Some(1)), holder(1, 1), false).map(|hit| hit.number), Some(1));
    assert_eq!(list.add(file("docs/b.txt", Some(2)), holder(1, 1), false).map(|hit| hit.number), Some(2));
    let hit = list.add(file("else/c.txt", Some(1)), holder(2, 2), true).expect("a new holder");
    assert_eq!((hit.number, hit.holders.len(), hit.have), (1, 2, true));
    assert_eq!(hit.file.path, "docs/a.txt");
    assert_eq!(hit.holders[1].path, "else/c.txt");
    assert_eq!(list.get(2).map(|hit| hit.file.path.as_str()), Some("docs/b.txt"));
    assert_eq!((list.get(0), list.get(3)), (None, None));
}

#[test]
fn a_place_told_twice_is_shown_once() {
    let mut list = self::list("a", None);
    assert!(list.add(file("docs/a.txt", None), holder(1, 1), false).is_some());
    assert!(list.add(file("docs/a.txt", None), holder(1, 2), false).is_none());
    // Hashed between a search and its repetition.
    assert!(list.add(file("docs/a.txt", Some(1)), holder(1, 1), false).is_none());
    assert_eq!(list.hits().len(), 1);
    assert!(!list.is_truncated());
}

#[test]
fn files_without_a_hash_are_never_taken_for_one_content() {
    let mut list = self::list("a", None);
    list.add(file("docs/a.txt", None), holder(1, 1), false);
    list.add(file("docs/a.txt", None), holder(2, 1), false);
    assert_eq!(list.hits().len(), 2);
}

#[test]
fn want_counts_contents_and_more_holders_still_come_in() {
    let mut list = self::list("a", Some(1));
    assert!(!list.is_enough());
    list.add(file("a", Some(1)), holder(1, 1), false);
    assert!(list.is_enough() && !list.is_truncated());
    assert!(list.add(file("a", Some(1)), holder(2, 1), false).is_some());
    assert!(!list.is_truncated());
    assert!(list.add(file("b", Some(2)), holder(2, 1), false).is_none());
    assert!(list.is_truncated());
    assert!(!self::list("a", Some(0)).is_enough());
}

#[test]
fn the_bounds_hold_whatever_others_send() {
    let mut list = self::list("a", None);
    for at in 0..=MAX_HITS {
        list.add(file(&format!("a/{at}"), None), holder(1, 1), false);
    }
    assert_eq!(list.hits().len(), MAX_HITS);
    assert!(list.is_truncated());
    let mut list = self::list("a", None);
    for at in 0..=MAX_HOLDERS {
        list.add(file(&format!("a/{at}"), Some(1)), holder(1, 1), false);
    }
    assert_eq!(list.hits()[0].holders.len(), MAX_HOLDERS);
    assert!(list.is_truncated());
}

#[test]
fn the_best_name_comes_first_then_most_holders_then_the_nearest_then_by_name() {
    let mut list = list("annual report", None);
    let mut content = 0;
    let mut found = |path: &str, holders: &[(u8, u8)]| {
        content += 1;
        for (peer, hops) in holders {
            list.add(file(path, Some(content)), holder(*peer, *hops), false);
        }
    };
    found("annual/x/report/y.txt", &[(1, 0), (2, 0), (3, 0), (4, 0)]);
    found("x/annual report/y.txt", &[(1, 0), (2, 0), (3, 0)]);
    found("x/our report annual.txt", &[(1, 0), (2, 0)]);
    found("x/annual reports.txt", &[(1, 3)]);
    found("x/Annual Report.pdf", &[(1, 3)]);
    found("x/annual-report.odt", &[(1, 2)]);
    found("x/annual_report", &[(1, 2)]);
    found("x/ANNUAL report.txt", &[(1, 5), (2, 5)]);
    let names: Vec<&str> = in_order(list.hits()).into_iter().map(|hit| hit.file.name()).collect();
    let expected = [
        "ANNUAL report.txt",
        "annual-report.odt",
        "annual_report",
        "Annual Report.pdf",
        "annual reports.txt",
        "our report annual.txt",
        "y.txt",
        "y.txt",
    ];
    assert_eq!(names, expected);
    let numbers: Vec<u32> = list.hits().iter().map(|hit| hit.number).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>(), "what was told stays");
}

#[test]
fn a_content_is_placed_by_the_best_of_its_names_and_by_peers_not_places() {
    let mut list = list("report", None);
    list.add(file("x/backup 7.bin", Some(1)), holder(1, 1), false);
    assert_eq!(list.hits()[0].fit, Fit::Scattered);
    assert_eq!(
        list.add(file("x/report.pdf", Some(1)), holder(2, 1), false).map(|hit| hit.fit),
        Some(Fit::Name)
    );
    for copy in ["a/report.txt", "b/report.txt", "c/report.txt"] {
        list.add(file(copy, Some(2)), holder(3, 1), false);
    }
    let order: Vec<u32> = in_order(list.hits()).into_iter().map(|hit| hit.number).collect();
    assert_eq!(order, [1, 2]);
}

#[test]
fn of_equal_answers_comes_first_what_a_peer_gives_at_once_and_then_what_is_near() {
    let mut list = list("report", None);
    let busy = |peer: u8, hops: u8, queue_place: u32| Holder { queue_place, ..holder(peer, hops) };
    list.add(file("a/report.txt", Some(1)), busy(1, 1, 3), false);
    list.add(file("b/report.txt", Some(2)), busy(2, 2, 0), false);
    list.add(file("c/report.txt", Some(3)), busy(3, 1, 0), false);
    let order: Vec<u32> = in_order(list.hits()).into_iter().map(|hit| hit.number).collect();
    assert_eq!(order, [3, 2, 1]);
}

proptest::proptest! {
    #[test]
    fn numbers_stay_and_how_well_hits_answer_does_not_depend_on_arrival(
        found in proptest::collection::vec((0u8..4, 0u8..4, 0u8..3, "(report|my report|x)"), 0..20),
    ) {
        let gather = |found: &[(u8, u8, u8, String)]| {
            let mut list = list("report", None);
            let mut told = HashMap::new();
            for (content, peer, hops, name) in found {
                let path = format!("{content}{peer}{hops}/{name}");
                if let Some(hit) = list.add(file(&path, Some(*content)), holder(*peer, *hops), false) {
                    let number = *told.entry(*content).or_insert(hit.number);
                    assert_eq!(number, hit.number);
                }
            }
            let keys = in_order(list.hits()).into_iter().map(|hit| (hit.fit, hit.holders.len()));
            keys.collect::<Vec<_>>()
        };
        let mut backwards = found.clone();
        backwards.reverse();
        let (forwards, backwards) = (gather(&found), gather(&backwards));
        proptest::prop_assert!(forwards.is_sorted_by_key(|(fit, _)| *fit));
        let sorted = |mut keys: Vec<(Fit, usize)>| { keys.sort_unstable(); keys };
        proptest::prop_assert_eq!(sorted(forwards), sorted(backwards));
    }
}
