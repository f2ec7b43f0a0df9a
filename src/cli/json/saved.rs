//! The lines of saved searches and of what they find.

use serde::Serialize;

use super::{hash, time};
use crate::protocol::action;

/// One saved search.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "search")]
pub struct SavedSearch<'a> {
    name: &'a str,
    query: &'a str,
    zones: &'static str,
    known_hits: u32,
    new_hits: u32,
    dropped_hits: u64,
    last_run: Option<String>,
    problem: Option<&'a str>,
}

impl<'a> From<&'a action::SavedSearch> for SavedSearch<'a> {
    fn from(search: &'a action::SavedSearch) -> Self {
        Self {
            name: &search.name,
            query: &search.text,
            zones: search.scope.name(),
            known_hits: search.known_hits,
            new_hits: search.new_hits,
            dropped_hits: search.dropped_hits,
            last_run: search.last_run.and_then(time),
            problem: search.problem.as_deref(),
        }
    }
}

/// One content that a saved search found for the first time.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "new_hit")]
pub struct NewHit<'a> {
    search: &'a str,
    hash: Option<String>,
    name: &'a str,
    path: &'a str,
    size_bytes: u64,
    peers: &'a [String],
    found: Option<String>,
}

impl<'a> From<&'a action::NewHit> for NewHit<'a> {
    fn from(hit: &'a action::NewHit) -> Self {
        Self {
            search: &hit.search,
            hash: hash(&hit.file),
            name: hit.file.name(),
            path: &hit.file.path,
            size_bytes: hit.file.size_bytes,
            peers: &hit.peers,
            found: time(hit.found),
        }
    }
}
