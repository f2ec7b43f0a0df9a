#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::protocol::action::{ActionError, Answer, ErrorKind, GetAsk, HintCode, SearchAsk, Target};

fn search(edit: impl FnOnce(&mut pb::StartSearchRequest)) -> Result<SearchAsk, &'static str> {
    let mut request = pb::StartSearchRequest { text: "report".into(), ..Default::default() };
    edit(&mut request);
    search_ask(request).map_err(|invalid| invalid.field)
}

#[test]
fn a_search_out_of_bounds_is_refused_by_the_name_of_the_field() {
    assert_eq!(search(|_| ()), Ok(SearchAsk { text: "report".into(), ..Default::default() }));
    assert_eq!(search(|r| r.text = " ".into()), Err("text"));
    assert_eq!(search(|r| r.text = "x".repeat(crate::protocol::query::MAX_QUERY_BYTES + 1)), Err("text"));
    assert_eq!(search(|r| r.scope = 9), Err("scope"));
    for ttl in [0, 33, 256, u32::MAX] {
        assert_eq!(search(|r| r.ttl = Some(ttl)), Err("ttl"), "{ttl}");
    }
    for (seconds, nanos) in [(-1, 0), (0, -1), (61, 0), (i64::MAX, 0)] {
        assert_eq!(search(|r| r.wait = Some(prost_types::Duration { seconds, nanos })), Err("wait"));
    }
}

#[test]
fn a_download_names_one_target_and_an_absolute_destination() {
    use pb::start_get_request::Target as Pb;
    let field = |target, destination: &str| {
        get_ask(pb::StartGetRequest { target, destination: destination.into(), ..Default::default() })
            .map_err(|invalid| invalid.field)
    };
    assert_eq!(field(None, ""), Err("target"));
    assert_eq!(field(Some(Pb::Hit(0)), ""), Err("hit"));
    assert_eq!(field(Some(Pb::ContentHash(vec![1; 31].into())), ""), Err("content_hash"));
    let path = |peer: &str, path: &str| Some(Pb::Path(pb::PeerPath { peer: peer.into(), path: path.into() }));
    assert_eq!(field(path("", "a/b"), ""), Err("path.peer"));
    assert_eq!(field(path("ana", ""), ""), Err("path.path"));
    assert_eq!(field(path("ana", &"x".repeat(MAX_PATH_BYTES + 1)), ""), Err("path.path"));
    assert_eq!(field(Some(Pb::Hit(1)), "relative"), Err("destination"));
    assert_eq!(field(Some(Pb::Hit(1)), "/a\0b"), Err("destination"));
    let ask = GetAsk::new(Target::Hit(1), Some("/tmp".into()));
    assert_eq!(field(Some(Pb::Hit(1)), "/tmp"), Ok(ask));
}

#[test]
fn what_is_saved_has_a_name_for_a_file_and_news_is_waited_for_a_while_only() {
    let save = |name: &str, text: &str, scope| {
        let request = pb::SaveSearchRequest { name: name.into(), text: text.into(), scope };
        save_ask(request).map(drop).map_err(|invalid| invalid.field)
    };
    assert_eq!(save("a.b-1", "x", 2), Ok(()));
    for name in ["", "..", "a/b", "a b", "\u{1b}[2J", &"x".repeat(64)] {
        assert_eq!(save(name, "x", 1), Err("name"), "{name:?}");
    }
    assert_eq!(save("a", &"x".repeat(513), 1), Err("text"));
    assert_eq!(save("a", "x", 9), Err("scope"));
    let wait = |seconds| {
        let wait = Some(prost_types::Duration { seconds, nanos: 0 });
        news_wait(&pb::TakeNewHitsRequest { wait }).map_err(|invalid| invalid.field)
    };
    assert_eq!((wait(25), wait(26), wait(-1)), (Ok(Duration::from_secs(25)), Err("wait"), Err("wait")));
}

#[test]
fn an_answer_is_known_and_its_reason_short() {
    let field = |id, answer, reason: String| {
        super::answer(pb::AnswerOfferRequest { id, answer, reason }).map_err(|invalid| invalid.field)
    };
    assert_eq!(field(1, 0, String::new()), Err("answer"));
    assert_eq!(field(1, 9, String::new()), Err("answer"));
    assert_eq!(field(0, 1, String::new()), Err("id"));
    assert_eq!(field(1, 2, "x".repeat(257)), Err("reason"));
    assert_eq!(field(1, 2, "no".into()), Ok((1, Answer::Decline("no".into()))));
}

#[test]
fn every_error_survives_the_way_through_a_status() {
    for (kind, name) in ErrorKind::NAMES {
        let error = ActionError::new(kind, format!("{name}: no peer named ana \u{1b}[2J é"));
        assert_eq!(to_action_error(&to_status(&error)), error);
        let error = error.hint_as(HintCode::ListPeers, "see `peers`");
        assert_eq!(to_action_error(&to_status(&error)), error);
    }
}

#[test]
fn a_long_error_is_cut_at_a_character() {
    let error = ActionError::new(ErrorKind::Failed, "é".repeat(5000)).hint("→".repeat(5000));
    let cut = to_action_error(&to_status(&error));
    assert_eq!(cut.message, "é".repeat(512));
    assert_eq!(cut.hint, "→".repeat(341));
}

#[test]
fn a_status_of_another_maker_is_told_by_its_code() {
    use tonic::{Code, Status as Grpc};
    for (code, kind) in [
        (Code::Unavailable, ErrorKind::Unreachable),
        (Code::DeadlineExceeded, ErrorKind::TimedOut),
        (Code::InvalidArgument, ErrorKind::Usage),
        (Code::ResourceExhausted, ErrorKind::Refused),
        (Code::Cancelled, ErrorKind::Cancelled),
        (Code::Unimplemented, ErrorKind::Failed),
    ] {
        let error = to_action_error(&Grpc::new(code, ""));
        assert_eq!(error.kind, kind, "{code:?}");
        assert!(!error.message.is_empty());
    }
}

#[test]
fn an_unsound_answer_of_the_peer_is_refused() {
    assert_eq!(search_event(pb::StartSearchResponse { message: None }).unwrap_err().field, "message");
    let file = pb::FileEntry {
        path: "d/a".into(),
        modify_time: Some(prost_types::Timestamp::default()),
        ..Default::default()
    };
    let found = |fit| {
        let hit = pb::Hit { number: 1, file: Some(file.clone()), fit, ..Default::default() };
        let message = Some(pb::start_search_response::Message::Hit(hit));
        search_event(pb::StartSearchResponse { message }).map(drop).map_err(|invalid| invalid.field)
    };
    assert_eq!([found(0), found(6)], [Err("hit.fit"); 2]);
    assert!((1..6).all(|fit| found(fit).is_ok()));
    let suggesting = |suggestions: Vec<String>| {
        let done = pb::Coverage { suggestions, ..Default::default() };
        let message = Some(pb::start_search_response::Message::Done(done));
        search_event(pb::StartSearchResponse { message }).map(drop).map_err(|invalid| invalid.field)
    };
    assert_eq!(suggesting(vec!["a".into(); 3]), Ok(()));
    assert_eq!(suggesting(vec!["a".into(); 4]), Err("done.suggestions"));
    assert_eq!(suggesting(vec!["a".repeat(513)]), Err("done.suggestions"));
    let unhashed = pb::NewHit { search: "a".into(), file: Some(file.clone()), ..Default::default() };
    assert_eq!(new_hit(unhashed).unwrap_err().field, "hit.file.content_hash");
    assert_eq!(saved_search(pb::SavedSearch::default()).unwrap_err().field, "search.name");
    assert_eq!(transfer(None).unwrap_err().field, "transfer");
    assert_eq!(
        transfer(Some(pb::Transfer { id: 1, ..Default::default() })).unwrap_err().field,
        "transfer.direction"
    );
    let known = pb::Transfer { id: 1, direction: 1, state: 1, ..Default::default() };
    let noted = |note: String| transfer(Some(pb::Transfer { note, ..known.clone() }));
    assert_eq!(noted("é".repeat(200)).unwrap().note, "é".repeat(200));
    assert_eq!(noted("é".repeat(201)).unwrap_err().field, "transfer.note");
    assert_eq!(status(pb::GetStatusResponse::default()).unwrap_err().field, "connection");
    assert_eq!(inbox(pb::GetInboxResponse::default()).unwrap_err().field, "policy");
    let zones_of = pb::GetZonesResponse { zones: vec![pb::ZoneSummary::default()], is_stale: false };
    assert_eq!(zones(zones_of).unwrap_err().field, "zone_id");
}
