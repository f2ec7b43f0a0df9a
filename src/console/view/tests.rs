#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::SystemTime;

use super::*;
use crate::protocol::{
    action::{Connection, Counters, ErrorKind, Holder, Priority, PutInfo, Scope, ShareKind},
    id::ContentHash,
    query::Fit,
};

const HOSTILE: &str = "\u{1b}[2J\nx\u{202e}y\r\u{7}";

fn transfer(state: TransferState) -> Transfer {
    Transfer {
        id: 1,
        direction: Direction::Download,
        state,
        name: HOSTILE.into(),
        path: Some(HOSTILE.into()),
        hash: None,
        size_bytes: 0,
        done_bytes: 0,
        sources: vec![HOSTILE.into()],
        priority: Priority::Normal,
        bytes_per_second: u64::MAX,
        queue_position: None,
        note: String::new(),
    }
}

fn file() -> FileInfo {
    FileInfo { hash: None, path: HOSTILE.into(), size_bytes: u64::MAX, modified: SystemTime::UNIX_EPOCH }
}

#[test]
fn no_text_of_others_reaches_a_line_unescaped() {
    let problem = ActionError::new(ErrorKind::Failed, HOSTILE).hint(HOSTILE);
    let name: crate::protocol::id::PeerName = "ana".parse().unwrap();
    let id = crate::protocol::id::PeerId::from_bytes([1; 32]);
    let holder =
        Holder { peer: name.clone(), peer_id: id, zone: None, hops: 0, queue_place: 0, path: HOSTILE.into() };
    let me =
        PeerInfo { name: name.clone(), id, zone: None, address: "[::1]:1".parse().unwrap(), shared_files: 0 };
    let own = Status {
        me,
        connection: Connection::Connected,
        registry: HOSTILE.into(),
        zone_peers: 1,
        roster_revision: 1,
        neighbors: vec![HOSTILE.into()],
        index: IndexState::default(),
        counters: Counters::default(),
        uptime: Duration::MAX,
        version: HOSTILE.into(),
    };
    let states = [TransferState::Waiting, TransferState::Running, TransferState::Failed(problem.clone())];
    let all: Vec<Transfer> = states.into_iter().chain([TransferState::Done]).map(transfer).collect();
    let gateway = ZoneInfo { zone: ZoneId::new(1).unwrap(), peers: 1, gateways: vec![HOSTILE.into()] };
    let share = ShareInfo {
        name: HOSTILE.into(),
        kind: ShareKind::Folder,
        folder: HOSTILE.into(),
        files: 0,
        bytes: 0,
        problem: Some(HOSTILE.into()),
    };
    let kept = PutInfo {
        hash: ContentHash::from_bytes([1; 32]),
        name: HOSTILE.into(),
        size_bytes: 0,
        replicas: 2,
        put_time: None,
        keepers: Some(vec![HOSTILE.into()]),
    };
    let put = PutPage { rows: vec![kept], next: Some(HOSTILE.into()) };
    let offered = Offer {
        id: 1,
        sender: name,
        sender_id: id,
        is_confirmed: true,
        name: HOSTILE.into(),
        size_bytes: 1,
        files: None,
    };
    let page = FolderPage { folders: vec![HOSTILE.into()], files: vec![file()], next: None };
    let offers = InboxInfo {
        offers: vec![offered.clone()],
        folder: HOSTILE.into(),
        policy: crate::protocol::action::AcceptPolicy::Ask,
    };
    let lines = [
        vec![
            error(&problem),
            offer(&offered),
            hit(&Hit { number: 1, file: file(), fit: Fit::Name, have: false, holders: vec![holder] }),
            suggestions(HOSTILE, &Coverage { suggestions: vec![HOSTILE.into()], ..Default::default() })
                .unwrap(),
        ],
        status(&own),
        transfers(&all),
        all.iter().map(progress).collect(),
        all.iter().map(ended).collect(),
        zones(&Listing { rows: vec![gateway], is_stale: true }),
        shares(&[share]),
        puts(&put),
        inbox(&offers),
        folder(&page),
        saved_searches(&[SavedSearch {
            name: "a".into(),
            text: HOSTILE.into(),
            scope: Scope::All,
            known_hits: 1,
            new_hits: 0,
            dropped_hits: 0,
            last_run: None,
            problem: Some(HOSTILE.into()),
        }]),
        vec![new_hit(&NewHit {
            search: HOSTILE.into(),
            file: file(),
            peers: vec![HOSTILE.into()],
            found: SystemTime::UNIX_EPOCH,
        })],
    ];
    for line in lines.iter().flatten() {
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(!line.is_empty());
    }
}

#[test]
fn coverage_says_whether_nothing_means_nothing() {
    let heard = Coverage { answered: 6, asked: 6, ..Default::default() };
    let deaf = Coverage { answered: 4, asked: 6, unreachable: 2, ..Default::default() };
    assert_eq!(coverage(&heard, 0), "nothing found: 6 of 6 answered");
    assert_eq!(
        coverage(&deaf, 0),
        "nothing found so far: 4 of 6 answered, 2 unreachable; not everyone was heard"
    );
    assert_eq!(coverage(&heard, 1), "1 hit: 6 of 6 answered");
    assert_eq!(coverage(&deaf, 2), "2 hits: 4 of 6 answered, 2 unreachable");
}

#[test]
fn suggestions_are_one_question() {
    let ask = |texts: &[&str]| {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        suggestions("bugdet", &Coverage { suggestions: texts, ..Default::default() })
    };
    assert_eq!(ask(&[]), None);
    assert_eq!(ask(&["budget"]).unwrap(), "no hit for \"bugdet\"; did you mean \"budget\"?");
    assert_eq!(ask(&["a", "b", "c"]).unwrap(), "no hit for \"bugdet\"; did you mean \"a\", \"b\" or \"c\"?");
}

#[test]
fn empty_lists_say_so() {
    let none = |is_stale| Listing { rows: vec![], is_stale };
    assert_eq!(peers(&none(false)), ["no peers"]);
    assert_eq!(zones(&Listing { rows: vec![], is_stale: false }), ["no zones"]);
    assert_eq!(transfers(&[]), ["no transfers; `get WHAT` starts one"]);
    assert_eq!(folder(&FolderPage::default()), ["an empty folder"]);
    assert_eq!(shares(&[]), ["no shares; `shares add FOLDER` offers one"]);
    assert_eq!(peers(&none(true)).len(), 2);
}

#[test]
fn progress_fits_a_row() {
    let mut long = transfer(TransferState::Verifying);
    long.name = "é".repeat(200);
    (long.size_bytes, long.done_bytes) = (u64::MAX, u64::MAX);
    let line = progress(&long);
    assert!(line.contains("100 %") && line.chars().count() < 79, "{line}");
    (long.state, long.note) = (TransferState::Waiting, "é\u{7}".repeat(100));
    let line = progress(&long);
    assert!(line.contains(": waiting: é\\u{7}é") && line.chars().count() < 80, "{line}");
}
