//! What faces ask of a running peer over its socket, and what it answers.

use floodplain::{
    protocol::name::Printable,
    wire::{control as wire, pb, required},
};

use crate::{
    Target,
    oracle::{is_printable, message, message_in, sent},
};

pub const TARGETS: &[(&str, Target)] = &[
    ("control_search", search),
    ("control_get", get),
    ("control_read", read),
    ("control_transfers", transfers),
    ("control_put", put),
    ("control_saved", saved),
    ("control_other_asks", other_asks),
    ("control_search_event", search_event),
    ("control_transfer", transfer),
    ("control_inbox", inbox),
    ("control_status", status),
    ("control_other_answers", other_answers),
    ("control_error", error),
];

fn search(data: &[u8]) {
    message(data, wire::search_ask, |ask| wire::to_search_request(&ask), sent);
}

fn get(data: &[u8]) {
    message(data, wire::get_ask, |ask| wire::to_get_request(&ask).expect("a path of UTF-8"), sent);
}

fn read(data: &[u8]) {
    message(data, wire::read_ask, |ask| wire::to_read_request(&ask), sent);
}

fn transfers(data: &[u8]) {
    message(data, wire::control_ask, |(which, control)| wire::to_control_request(which, control), sent);
}

fn put(data: &[u8]) {
    message(data, wire::put_ask, |ask| wire::to_put_request(&ask).expect("a path of UTF-8"), sent);
}

fn saved(data: &[u8]) {
    message(data, wire::save_ask, wire::to_save_request, sent);
    message_in(data, wire::remove_saved_ask);
    message_in(data, |request: pb::TakeNewHitsRequest| wire::news_wait(&request));
    message(data, wire::saved_search, wire::to_saved_search, sent);
    message(data, wire::new_hit, wire::to_new_hit, sent);
}

fn other_asks(data: &[u8]) {
    message(data, wire::send_ask, |ask| wire::to_send_request(&ask).expect("a path of UTF-8"), sent);
    message(data, wire::browse_ask, |(path, page)| wire::to_browse_request(&path, &page), sent);
    message(
        data,
        wire::add_share_ask,
        |path| wire::to_add_share_request(&path).expect("a path of UTF-8"),
        sent,
    );
    message(data, wire::answer, |(id, answer)| wire::to_answer_request(id, answer), sent);
    message_in(data, wire::unput_ask);
    message(data, wire::puts_ask, |page| wire::to_puts_request(&page), sent);
    message_in(data, wire::remove_share_ask);
}

fn search_event(data: &[u8]) {
    message(data, wire::search_event, |event| wire::to_search_response(&event), sent);
}

fn transfer(data: &[u8]) {
    let check = |response: pb::GetTransfersResponse| {
        response.transfers.into_iter().map(|one| wire::transfer(Some(one))).collect::<Result<Vec<_>, _>>()
    };
    let back = |transfers: Vec<_>| pb::GetTransfersResponse {
        transfers: transfers.into_iter().map(wire::to_transfer).collect(),
        ..Default::default()
    };
    message(data, check, back, sent);
}

fn inbox(data: &[u8]) {
    let Some(inbox) = message_in(data, wire::inbox) else { return };
    for offer in &inbox.offers {
        for shown in [offer.shown_name(), offer.shown_sender()] {
            let printed = Printable(&shown).to_string();
            assert!(!printed.chars().any(char::is_control), "{shown:?}");
        }
    }
    let again = wire::inbox(sent(wire::to_inbox(inbox.clone())));
    assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, floodplain::wire::Invalid>(inbox)));
}

fn status(data: &[u8]) {
    message(data, wire::status, wire::to_get_status_response, sent);
}

fn other_answers(data: &[u8]) {
    message(data, wire::folder_page, wire::to_folder_page, sent);
    message(
        data,
        |response: pb::GetPeersResponse| wire::peers(&response),
        |peers| wire::to_peers(&peers),
        sent,
    );
    message(data, wire::zones, wire::to_zones, sent);
    message(data, wire::share, wire::to_share, sent);
    message(data, wire::unput, wire::to_unput, sent);
    message(data, wire::put_page, wire::to_put_page, sent);
    message(data, wire::read_event, wire::to_read_response, sent);
    message_in(data, |response: pb::GetStatusResponse| {
        required("index", response.index).map(wire::index_state)
    });
}

/// A status as a running peer, or anything else at its socket, may answer: one byte of code, a text, and details.
fn error(data: &[u8]) {
    let Some((code, rest)) = data.split_first() else { return };
    let (details, text) = rest.split_at(rest.len() / 2);
    let text = String::from_utf8_lossy(text);
    let details = bytes::Bytes::copy_from_slice(details);
    let status = tonic::Status::with_details(tonic::Code::from_i32(i32::from(*code % 17)), text, details);
    let error = wire::to_action_error(&status);
    is_printable(&error.message);
    let again = wire::to_action_error(&wire::to_status(&error));
    assert_eq!(again.kind, error.kind);
    assert!(error.message.starts_with(&again.message) && error.hint.starts_with(&again.hint));
}
