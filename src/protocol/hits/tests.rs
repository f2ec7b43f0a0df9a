use std::time::SystemTime;

use super::*;
use crate::protocol::id::PeerName;

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
        path: String::new(),
    }
}

#[test]
fn one_content_is_one_hit_with_every_holder() {
    let mut list = HitList::new(None);
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
    let mut list = HitList::new(None);
    assert!(list.add(file("docs/a.txt", None), holder(1, 1), false).is_some());
    assert!(list.add(file("docs/a.txt", None), holder(1, 2), false).is_none());
    // Hashed between a search and its repetition.
    assert!(list.add(file("docs/a.txt", Some(1)), holder(1, 1), false).is_none());
    assert_eq!(list.hits().len(), 1);
    assert!(!list.is_truncated());
}

#[test]
fn files_without_a_hash_are_never_taken_for_one_content() {
    let mut list = HitList::new(None);
    list.add(file("docs/a.txt", None), holder(1, 1), false);
    list.add(file("docs/a.txt", None), holder(2, 1), false);
    assert_eq!(list.hits().len(), 2);
}

#[test]
fn want_counts_contents_and_more_holders_still_come_in() {
    let mut list = HitList::new(Some(1));
    assert!(!list.is_enough());
    list.add(file("a", Some(1)), holder(1, 1), false);
    assert!(list.is_enough() && !list.is_truncated());
    assert!(list.add(file("a", Some(1)), holder(2, 1), false).is_some());
    assert!(!list.is_truncated());
    assert!(list.add(file("b", Some(2)), holder(2, 1), false).is_none());
    assert!(list.is_truncated());
    assert!(!HitList::new(Some(0)).is_enough());
}

#[test]
fn the_bounds_hold_whatever_others_send() {
    let mut list = HitList::new(None);
    for at in 0..=MAX_HITS {
        list.add(file(&format!("a/{at}"), None), holder(1, 1), false);
    }
    assert_eq!(list.hits().len(), MAX_HITS);
    assert!(list.is_truncated());
    let mut list = HitList::new(None);
    for at in 0..=MAX_HOLDERS {
        list.add(file(&format!("a/{at}"), Some(1)), holder(1, 1), false);
    }
    assert_eq!(list.hits()[0].holders.len(), MAX_HOLDERS);
    assert!(list.is_truncated());
}

#[test]
fn most_holders_come_first_then_the_nearest_then_by_name() {
    let mut list = HitList::new(None);
    list.add(file("x/Far", Some(1)), holder(1, 3), false);
    list.add(file("x/zebra", Some(2)), holder(1, 1), false);
    list.add(file("x/Apple", Some(3)), holder(1, 1), false);
    list.add(file("x/two", Some(4)), holder(1, 5), false);
    list.add(file("x/two", Some(4)), holder(2, 5), false);
    let order: Vec<&str> = list.ranked().into_iter().map(|hit| hit.file.name()).collect();
    assert_eq!(order, ["two", "Apple", "zebra", "Far"]);
}
