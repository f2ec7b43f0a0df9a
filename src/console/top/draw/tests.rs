#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, time::Instant};

use ratatui::{Terminal, backend::TestBackend};

use super::{
    super::model::{Answer, Key, List, Look as Seen, Order},
    *,
};
use crate::protocol::{
    action::{
        ActionError, Activity, Counters, ErrorKind, IndexState, Listing, PeerInfo, Priority, TransferControl,
        Which,
    },
    id::{PeerId, ZoneId},
};

const NOW: Duration = Duration::from_secs(1_700_000_100);

fn id(byte: u8) -> PeerId {
    PeerId::from_bytes([byte; 32])
}

fn peer(name: &str, byte: u8, zone: u32) -> PeerInfo {
    PeerInfo {
        name: name.parse().unwrap(),
        id: id(byte),
        zone: ZoneId::new(zone),
        address: "127.0.0.1:7001".parse().unwrap(),
        shared_files: 10 * u64::from(byte),
    }
}

fn transfer(id: u64, direction: Direction, state: TransferState) -> Transfer {
    Transfer {
        id,
        direction,
        name: format!("report {id}.pdf"),
        path: None,
        hash: None,
        size_bytes: 4 << 20,
        done_bytes: if state == TransferState::Done { 4 << 20 } else { 1 << 20 },
        sources: vec!["ana".into(), "b\u{1b}[2Jn".into()],
        priority: Priority::Normal,
        bytes_per_second: if state == TransferState::Running { 100 << 10 } else { 0 },
        queue_position: (state == TransferState::Waiting).then_some(3),
        note: String::new(),
        note_code: None,
        state,
    }
}

fn status() -> Status {
    Status {
        me: peer("me", 3, 2),
        connection: Connection::Connected,
        registry: "registry.lan:7000\u{202e}".into(),
        zone_peers: 6,
        roster_revision: 41,
        neighbors: vec!["ana".into()],
        index: IndexState { files: 2, bytes: 4608, hashed_files: 1, is_scanning: true },
        counters: Counters {
            searches: 7,
            queries_answered: 8,
            duplicates_dropped: 9,
            queries_refused: 1,
            bytes_up: 3 << 20,
            bytes_down: 512,
        },
        uptime: Duration::from_secs(3725),
        version: "0.1.0".into(),
    }
}

fn seen(transfers: Vec<Transfer>) -> Seen {
    let rows = vec![peer("ana", 1, 1), peer("zoe", 9, 2), peer("me", 3, 2), peer("ben", 2, 2)];
    Seen { status: status(), transfers, peers: Some(Listing { rows, is_stale: false }) }
}

fn query(number: u8, kind: ActivityKind, text: &str, from: Option<PeerId>) -> Activity {
    Activity {
        time: SystemTime::UNIX_EPOCH + NOW - Duration::from_secs(u64::from(number)),
        query: [number; 8],
        kind,
        text: text.into(),
        from,
        zone: ZoneId::new(2),
        hops: 1,
        hits: 4,
        asked: vec![id(2), id(9)],
        missed: 0,
    }
}

fn model() -> Model {
    let mut model = Model::default();
    let failed = ActionError::new(ErrorKind::Mismatch, "ben sent other bytes").hint("try another holder");
    let transfers = vec![
        transfer(1, Direction::Download, TransferState::Done),
        transfer(2, Direction::Download, TransferState::Failed(failed)),
        transfer(3, Direction::Download, TransferState::Waiting),
        transfer(4, Direction::Upload, TransferState::Running),
        transfer(5, Direction::Put, TransferState::Paused),
        Transfer {
            name: "e\u{1b}[2Jvil\u{202e}.pdf".into(),
            ..transfer(6, Direction::Receive, TransferState::Running)
        },
    ];
    let now = Instant::now();
    model.on_look(Ok(seen(transfers.clone())), now);
    let mut later = seen(transfers);
    later.status.counters.bytes_up += 5 << 20;
    model.on_look(Ok(later), now + Duration::from_secs(5));
    model.on_activity(query(90, ActivityKind::Began, "annual report ext:pdf", None));
    model.on_activity(query(9, ActivityKind::Began, "o\u{1b}[2Jther", Some(id(1))));
    model.on_activity(query(9, ActivityKind::Answered, "o\u{1b}[2Jther", Some(id(1))));
    model.on_activity(Activity { missed: 12, ..query(2, ActivityKind::Answered, "lost", Some(id(200))) });
    model
}

fn drawn(model: &Model, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, model, SystemTime::UNIX_EPOCH + NOW)).unwrap();
    let cells = terminal.backend().buffer().content();
    assert!(cells.iter().all(|cell| !cell.symbol().contains(char::is_control)), "a control character");
    let row = |cells: &[ratatui::buffer::Cell]| {
        cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned() + "\n"
    };
    cells.chunks(usize::from(columns).max(1)).map(row).collect()
}

/// Compares with what is kept beside this file. `FLOODPLAIN_KEEP_PICTURES=1` writes it anew, to be looked at.
fn is_as_kept(name: &str, picture: &str) {
    let path = format!("{}/src/console/top/draw/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("FLOODPLAIN_KEEP_PICTURES").is_some() {
        fs::write(&path, picture).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap();
    assert!(picture == kept, "{name} is drawn as\n{picture}\nand not as\n{kept}");
}

#[test]
fn a_usual_window_shows_everything() {
    is_as_kept("80x24", &drawn(&model(), 80, 24));
}

#[test]
fn a_large_window_gives_more_room_to_the_lists() {
    is_as_kept("120x40", &drawn(&model(), 120, 40));
}

#[test]
fn the_smallest_window_still_shows_them_and_a_smaller_one_says_what_is_needed() {
    is_as_kept("60x16", &drawn(&model(), 60, 16));
    for (columns, rows) in [(59, 24), (80, 15), (20, 5), (1, 1), (0, 0)] {
        let picture = drawn(&model(), columns, rows);
        assert!(!picture.contains("Transfers"), "{picture}");
    }
    let picture = drawn(&model(), 59, 24).replace('\n', " ");
    assert!(picture.contains("This window is 59x24; floodplain top needs 60x16."), "{picture}");
}

#[test]
fn before_the_first_answer_and_without_one_it_says_so() {
    let mut model = Model::default();
    assert!(drawn(&model, 80, 24).starts_with("floodplain top: asking the peer ..."));
    let gone = ActionError::new(ErrorKind::Unreachable, "no peer runs at /x").hint("start one");
    model.on_look(Err(gone), Instant::now());
    assert!(drawn(&model, 80, 24).contains("error: no peer runs at /x; start one"));
    model.on_look(Ok(seen(vec![])), Instant::now());
    let picture = drawn(&model, 80, 24);
    assert!(picture.contains("nothing is on its way") && picture.contains("q quit"), "{picture}");
}

#[test]
fn no_text_of_others_steers_the_terminal_or_widens_the_window() {
    let mut model = model();
    let hostile = "\u{1b}]0;x\u{7}\r\n\t\u{9b}31m漢字\u{202e}\u{200b}e\u{301}\u{301}\u{301}";
    for transfer in &mut model.transfers {
        transfer.name = hostile.repeat(20);
        transfer.note = hostile.repeat(20);
        transfer.sources = vec![hostile.into(); 5];
    }
    model.on_activity(query(1, ActivityKind::Began, &hostile.repeat(10), None));
    for (columns, rows) in [(80, 24), (60, 16), (200, 60)] {
        let picture = drawn(&model, columns, rows);
        assert!(!picture.contains(['\u{1b}', '\u{202e}', '\u{9b}', '\u{200b}']), "{picture}");
    }
}

#[test]
fn keys_choose_a_transfer_and_say_what_it_is_to_do() {
    let mut model = model();
    let order = |which, control| Some(Order { which, control });
    // What moves stands first: 6 and 4, then 3, 5, 2 and 1.
    assert_eq!(model.selected, Some(6));
    assert_eq!(model.on_key(Key::Char('p')), order(Which::One(6), TransferControl::Pause));
    assert_eq!(model.on_key(Key::Down), None);
    assert_eq!(model.on_key(Key::Char('j')), None);
    assert_eq!(model.on_key(Key::Char('r')), order(Which::One(3), TransferControl::Resume));
    assert_eq!(model.on_key(Key::End), None);
    assert_eq!(model.selected, Some(1));
    assert_eq!(model.on_key(Key::PageUp), None);
    assert_eq!(model.selected, Some(6));
    assert_eq!(model.on_key(Key::Char('T')), order(Which::All, TransferControl::Retry));
    assert_eq!(model.on_key(Key::Char('x')), None);
    model.on_answer(Answer {
        order: Order { which: Which::One(6), control: TransferControl::Pause },
        outcome: Ok(1),
    });
    assert!(drawn(&model, 80, 24).ends_with("transfer 6 is paused\n"));
}

/// A network of many, and as many transfers and queries.
fn crowd() -> Model {
    let mut model = Model::default();
    let transfers = (1..=90).map(|id| transfer(id, Direction::Download, TransferState::Running)).collect();
    let rows = (1..=90).map(|byte| peer(&format!("peer-{byte:02}"), byte, 2)).collect();
    let peers = Some(Listing { rows, is_stale: false });
    model.on_look(Ok(Seen { status: status(), transfers, peers }), Instant::now());
    for number in 1..=90 {
        model.on_activity(query(number, ActivityKind::Answered, &format!("query-{number:02}"), None));
    }
    model
}

#[test]
fn every_list_scrolls_to_its_last_row_and_back() {
    let mut model = crowd();
    // What moves is listed from the newest; the first of the others is this peer, by name.
    for (first, last) in [("report 90.pdf", "report 1.pdf"), ("peer-03", "peer-90"), ("query-90", "query-01")]
    {
        let shows = |model: &Model, what: &str| drawn(model, 120, 40).contains(what);
        assert!(shows(&model, first) && !shows(&model, last), "{}", drawn(&model, 120, 40));
        model.on_key(Key::End);
        assert!(!shows(&model, first) && shows(&model, last), "{}", drawn(&model, 120, 40));
        assert!(shows(&model, " 90 of 90 "), "{}", drawn(&model, 120, 40));
        model.on_key(Key::PageUp);
        model.on_key(Key::Up);
        model.on_key(Key::Char('j'));
        assert!(shows(&model, " 80 of 90 "), "{}", drawn(&model, 120, 40));
        for _ in 0..80 {
            model.on_key(Key::Up);
        }
        assert!(shows(&model, first) && !shows(&model, last), "{}", drawn(&model, 120, 40));
        model.on_key(Key::PageDown);
        model.on_key(Key::Home);
        assert!(shows(&model, " 1 of 90 "), "{}", drawn(&model, 120, 40));
        model.on_key(Key::NextList);
    }
    assert_eq!(model.list, List::Transfers, "once around");
    model.on_key(Key::PreviousList);
    assert_eq!(model.list, List::Queries);
    model.on_key(Key::PreviousList);
    assert_eq!(model.list, List::Peers);
}

#[test]
fn what_is_chosen_stays_in_sight_in_every_size_and_when_the_list_shrinks() {
    let mut model = crowd();
    model.on_key(Key::NextList);
    model.on_key(Key::End);
    for (columns, rows) in [(60, 16), (200, 70), (61, 17), (80, 24)] {
        assert!(drawn(&model, columns, rows).contains("peer-90"), "{}", drawn(&model, columns, rows));
    }
    model.on_look(Ok(seen(vec![])), Instant::now());
    let picture = drawn(&model, 80, 24);
    assert!(picture.contains("Peers: 4 ") && !picture.contains(" of 4 "), "{picture}");
    assert_eq!(model.peer.row(), 3, "the last one now");
    for key in [Key::NextList, Key::End, Key::Home, Key::NextList, Key::End, Key::Down, Key::Home] {
        model.on_key(key);
        drawn(&model, 60, 16);
    }
}

#[test]
fn a_chosen_query_stays_chosen_while_new_ones_come_above_it() {
    let mut model = crowd();
    model.on_key(Key::PreviousList);
    model.on_key(Key::PageDown);
    let before = model.queries[model.query.row()].last.query;
    model.on_activity(query(200, ActivityKind::Answered, "new", None));
    assert_eq!((model.query.row(), model.queries[11].last.query), (11, before));
    model.on_key(Key::Home);
    model.on_activity(query(201, ActivityKind::Answered, "newer", None));
    assert_eq!(model.query.row(), 0, "the newest is seen");
}

#[test]
fn no_transfer_is_touched_from_another_list() {
    let mut model = model();
    model.on_key(Key::NextList);
    for key in ['p', 'r', 't', 'c'] {
        assert_eq!(model.on_key(Key::Char(key)), None);
        assert!(drawn(&model, 80, 24).ends_with("Tab leads to the transfers\n"));
        assert_eq!(model.confirming, None);
    }
    model.on_key(Key::Down);
    assert!(drawn(&model, 60, 16).ends_with("PgUp PgDn Home End move\n"), "{}", drawn(&model, 60, 16));
    assert_eq!(model.on_key(Key::Char('P')).map(|order| order.which), Some(Which::All));
}

#[test]
fn a_cancel_is_asked_for_first() {
    let mut model = model();
    assert_eq!(model.on_key(Key::Char('c')), None);
    let picture = drawn(&model, 80, 24);
    assert!(picture.contains("cancel transfer 6, e\\u{1b}[2Jvil\\u{202e}.pdf, for good? y/n"), "{picture}");
    assert_eq!(model.on_key(Key::Char('n')), None);
    assert_eq!(model.said.as_deref(), Some("not cancelled"));
    assert_eq!(model.on_key(Key::Char('c')), None);
    let cancel = Order { which: Which::One(6), control: TransferControl::Cancel };
    assert_eq!(model.on_key(Key::Char('y')), Some(cancel));
    // It may end by itself while its person thinks.
    assert_eq!(model.on_key(Key::Char('c')), None);
    model.on_look(Ok(seen(vec![transfer(1, Direction::Download, TransferState::Done)])), Instant::now());
    assert_eq!((model.confirming, model.selected), (None, Some(1)));
}

#[test]
fn queries_are_bounded_and_each_is_one_row() {
    let mut model = Model::default();
    for number in 0..=255 {
        model.on_activity(query(number, ActivityKind::Began, "x", None));
        model.on_activity(query(number, ActivityKind::Answered, "x", None));
    }
    assert_eq!((model.queries.len(), model.running()), (200, 0));
    assert_eq!(model.queries[0].last.query, [255; 8]);
}

#[test]
fn spans_fit_their_column() {
    for (seconds, shown) in [
        (0, "0s"),
        (59, "59s"),
        (61, "1m01s"),
        (3599, "59m59s"),
        (3660, "1h01m"),
        (90_000, "1d01h"),
        (86_400 * 400, "400d00h"),
        (86_400 * 1000, "2y"),
    ] {
        assert_eq!(short(Duration::from_secs(seconds)), shown);
    }
}
