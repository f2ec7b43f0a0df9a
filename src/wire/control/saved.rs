//! Saved searches and their news, to and from the wire.

use std::time::Duration;

use prost_types::Timestamp;

use super::{
    super::{
        Invalid, bounded,
        common::{duration, file_info, time, to_file_entry},
        pb, required,
    },
    ask::{scope, to_scope},
};
use crate::protocol::{
    action::{MAX_NEW_HIT_PEERS, NewHit, SaveAsk, SavedSearch},
    id::PeerName,
    query::MAX_QUERY_BYTES,
    saved::is_name,
};

/// Longest wait for news.
const MAX_NEWS_WAIT: Duration = Duration::from_secs(25);

/// What to save.
pub fn save_ask(request: pb::SaveSearchRequest) -> Result<SaveAsk, Invalid> {
    Ok(SaveAsk {
        name: name("name", request.name)?,
        text: bounded("text", request.text, MAX_QUERY_BYTES)?,
        scope: scope(request.scope)?,
    })
}

/// What to save, on its way out.
pub fn to_save_request(ask: SaveAsk) -> pb::SaveSearchRequest {
    pb::SaveSearchRequest { name: ask.name, text: ask.text, scope: to_scope(ask.scope).into() }
}

/// Which one to forget.
pub fn remove_saved_ask(request: pb::RemoveSavedSearchRequest) -> Result<String, Invalid> {
    name("name", request.name)
}

/// How long to wait for news.
pub fn news_wait(request: &pb::TakeNewHitsRequest) -> Result<Duration, Invalid> {
    request.wait.map_or(Ok(Duration::ZERO), |wait| duration("wait", wait, MAX_NEWS_WAIT))
}

/// A saved search.
pub fn saved_search(search: pb::SavedSearch) -> Result<SavedSearch, Invalid> {
    Ok(SavedSearch {
        name: name("search.name", search.name)?,
        text: bounded("search.text", search.text, MAX_QUERY_BYTES)?,
        scope: scope(search.scope)?,
        known_hits: search.known_hits,
        new_hits: search.new_hits,
        dropped_hits: search.dropped_hits,
        last_run: search.last_run.map(|run| time("search.last_run", run)).transpose()?,
        problem: Some(search.problem).filter(|problem| !problem.is_empty()),
    })
}

/// A saved search, on its way out.
pub fn to_saved_search(search: SavedSearch) -> pb::SavedSearch {
    pb::SavedSearch {
        name: search.name,
        text: search.text,
        scope: to_scope(search.scope).into(),
        known_hits: search.known_hits,
        new_hits: search.new_hits,
        dropped_hits: search.dropped_hits,
        last_run: search.last_run.map(Timestamp::from),
        problem: search.problem.unwrap_or_default(),
    }
}

/// News of a saved search.
pub fn new_hit(hit: pb::NewHit) -> Result<NewHit, Invalid> {
    let is_bounded = hit.peer_names.len() <= MAX_NEW_HIT_PEERS;
    if !is_bounded || hit.peer_names.iter().any(|peer| peer.parse::<PeerName>().is_err()) {
        return Err(Invalid::new("hit.peer_names", format!("must be at most {MAX_NEW_HIT_PEERS} names")));
    }
    let file = file_info(required("hit.file", hit.file)?)?;
    if file.hash.is_none() {
        return Err(Invalid::new("hit.file.content_hash", "is missing"));
    }
    Ok(NewHit {
        search: name("hit.search", hit.search)?,
        file,
        peers: hit.peer_names,
        found: time("hit.find_time", required("hit.find_time", hit.find_time)?)?,
    })
}

/// News of a saved search, on its way out.
pub fn to_new_hit(hit: NewHit) -> pb::NewHit {
    pb::NewHit {
        search: hit.search,
        file: Some(to_file_entry(&hit.file)),
        peer_names: hit.peers,
        find_time: Some(Timestamp::from(hit.found)),
    }
}

fn name(field: &'static str, name: String) -> Result<String, Invalid> {
    if is_name(&name) {
        return Ok(name);
    }
    let problem = "must have 1 to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";
    Err(Invalid::new(field, problem))
}
