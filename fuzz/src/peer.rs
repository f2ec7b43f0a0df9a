//! What peers say to each other: queries, hits, folders, summaries, replicas.

use floodplain::{
    protocol::{flood::MAX_TTL_PLUS_HOPS, name::MAX_PATH_BYTES, query::MAX_QUERY_BYTES},
    wire::{folder, pb, peer, replica, summary, zone_filter},
};

use crate::{
    Target,
    oracle::{is_printable, message, message_in, sent},
};

pub const TARGETS: &[(&str, Target)] = &[
    ("search_request", search_request),
    ("search_response", search_response),
    ("browse_request", browse_request),
    ("browse_response", browse_response),
    ("list_files_request", list_files_request),
    ("list_files_response", list_files_response),
    ("get_summary_response", get_summary_response),
    ("get_keys_response", get_keys_response),
    ("watch_zone_request", watch_zone_request),
    ("watch_zone_response", watch_zone_response),
    ("keep_request", keep_request),
    ("keep_response", keep_response),
    ("check_replicas_request", check_replicas_request),
    ("check_replicas_response", check_replicas_response),
    ("release_request", release_request),
];

fn search_request(data: &[u8]) {
    let Some(search) = message_in(data, peer::search) else { return };
    assert!(search.text.len() <= MAX_QUERY_BYTES && search.ttl + search.hops <= MAX_TTL_PLUS_HOPS);
    assert!(!search.deadline.is_zero());
    let out = peer::OutgoingSearch {
        id: search.id,
        text: &search.text,
        ttl: search.ttl,
        hops: search.hops,
        deadline: search.deadline,
        roster_revision: search.roster_revision,
        claim: search.claim,
        reach: search.reach,
        want: search.want,
        origin: search.origin,
        from: search.from,
    };
    let again = peer::search(sent(peer::to_search(&out))).expect("forwarded as it came");
    assert_eq!(format!("{search:?}"), format!("{again:?}"));
}

fn search_response(data: &[u8]) {
    message(data, peer::found, peer::to_found, sent);
}

fn browse_request(data: &[u8]) {
    let Some((path, page)) = message_in(data, peer::browse) else { return };
    assert!(path.len() <= MAX_PATH_BYTES && page.size > 0);
    let again = peer::browse(sent(peer::to_browse(&path, &page))).expect("asked as it came");
    assert_eq!((path, page), again);
}

fn browse_response(data: &[u8]) {
    message(data, peer::folder_page, peer::to_folder_page, sent);
}

fn list_files_request(data: &[u8]) {
    let Some(ask) = message_in(data, folder::files_ask) else { return };
    assert!(ask.path.split('/').all(|part| !matches!(part, "" | "." | "..")));
}

/// The first byte says how long the name of the folder is that the files must lie in.
fn list_files_response(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let folder = "share/folder/sub".get(..usize::from(*length % 17)).unwrap_or_default();
    let Some((files, _)) = message_in(rest, |response| folder::files_page(folder, response)) else { return };
    for file in files {
        assert!(
            !file.path.starts_with('/') && file.path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        );
        is_printable(&file.path);
    }
}

fn get_summary_response(data: &[u8]) {
    message(data, summary::summary, |(version, told)| summary::to_summary(version, &told), sent);
}

fn get_keys_response(data: &[u8]) {
    let Some((version, given)) = message_in(data, zone_filter::keys) else { return };
    if let zone_filter::Given::Keys(keys) = &given {
        let again = zone_filter::keys(sent(zone_filter::to_keys(version, Some(keys))));
        assert_eq!(again, Ok((version, given)));
    }
}

fn watch_zone_request(data: &[u8]) {
    message(data, zone_filter::watched_zone, zone_filter::to_watch, sent);
}

fn watch_zone_response(data: &[u8]) {
    message(data, zone_filter::news, zone_filter::to_news, sent);
}

fn keep_request(data: &[u8]) {
    let check = |request: pb::KeepRequest| replica::keep_ask(&request);
    message(data, check, |ask| replica::to_keep_request(&ask), sent);
}

fn keep_response(data: &[u8]) {
    let check = |response: pb::KeepResponse| replica::kept(&response);
    message(data, check, replica::to_kept, sent);
}

fn check_replicas_request(data: &[u8]) {
    let check = |request: pb::CheckReplicasRequest| replica::check_ask(&request);
    message(data, check, |asked| replica::to_check_request(&asked), sent);
}

fn check_replicas_response(data: &[u8]) {
    let check = |response: pb::CheckReplicasResponse| replica::checked(&response);
    message(data, check, |(kept, released)| replica::to_checked(&kept, &released, None), sent);
}

fn release_request(data: &[u8]) {
    let check = |request: pb::ReleaseRequest| replica::release_ask(&request);
    message(data, check, |released| replica::to_release_request(&released), sent);
}
