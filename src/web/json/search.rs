//! Hits, coverage and saved searches.

use serde::Serialize;
use utoipa::ToSchema;

use super::time;
use crate::protocol::{action, id::ZoneId, query::Fit};

/// One content and who has it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Hit {
    /// Its number in this search, from 1. A later hit of the same number adds holders.
    number: u32,
    /// `null` while it is being hashed.
    #[schema(required, pattern = "^[0-9a-f]{64}$")]
    hash: Option<String>,
    name: String,
    /// `<share>/<path>` of the first holder.
    path: String,
    size_bytes: u64,
    #[schema(required)]
    modified_time: Option<String>,
    /// This peer has it already.
    have: bool,
    /// How well the best of its names answers: `name`, `name_begins`, `in_name`, `in_segment`, `scattered`.
    fit: &'static str,
    holders: Vec<Holder>,
}

/// One peer that has it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Holder {
    peer: String,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    peer_id: String,
    #[schema(required)]
    zone: Option<u32>,
    hops: u8,
    /// Where it has it.
    path: String,
    /// The place in its line that a download would have got; 0: it would have begun at once.
    queue_place: u32,
}

impl From<&action::Hit> for Hit {
    fn from(hit: &action::Hit) -> Self {
        let holder = |holder: &action::Holder| Holder {
            peer: holder.peer.to_string(),
            peer_id: holder.peer_id.to_string(),
            zone: holder.zone.map(ZoneId::get),
            hops: holder.hops,
            path: holder.path.clone(),
            queue_place: holder.queue_place,
        };
        Self {
            number: hit.number,
            hash: hit.file.hash.map(|hash| hash.to_string()),
            name: hit.file.name().to_owned(),
            path: hit.file.path.clone(),
            size_bytes: hit.file.size_bytes,
            modified_time: time(hit.file.modified),
            have: hit.have,
            fit: match hit.fit {
                Fit::Name => "name",
                Fit::NameBegins => "name_begins",
                Fit::InName => "in_name",
                Fit::InSegment => "in_segment",
                Fit::Scattered => "scattered",
            },
            holders: hit.holders.iter().map(holder).collect(),
        }
    }
}

/// Who was asked and who answered.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Coverage {
    answered: u32,
    asked: u32,
    unreachable: u32,
    /// Of those that answered: not asked, since their summaries had answered.
    ruled_out: u32,
    duplicates: u32,
    messages: u32,
    /// Everyone answered and nothing was left out.
    complete: bool,
    /// Hits were left out because a bound was reached.
    truncated: bool,
    are_zones_unknown: bool,
    zones: Vec<ZoneCoverage>,
    /// When nothing was found: the query with known words in place of misspelt ones.
    suggestions: Vec<String>,
}

/// Who answered in one zone.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct ZoneCoverage {
    #[schema(required)]
    zone: Option<u32>,
    answered: u32,
    asked: u32,
    unreachable: u32,
    ruled_out: u32,
    complete: bool,
}

impl From<&action::Coverage> for Coverage {
    fn from(coverage: &action::Coverage) -> Self {
        let zone = |zone: &action::ZoneCoverage| ZoneCoverage {
            zone: zone.zone.map(ZoneId::get),
            answered: zone.answered,
            asked: zone.asked,
            unreachable: zone.unreachable,
            ruled_out: zone.ruled_out,
            complete: zone.is_complete(),
        };
        Self {
            answered: coverage.answered,
            asked: coverage.asked,
            unreachable: coverage.unreachable,
            ruled_out: coverage.ruled_out,
            duplicates: coverage.duplicates,
            messages: coverage.messages,
            complete: coverage.is_complete(),
            truncated: coverage.truncated,
            are_zones_unknown: coverage.are_zones_unknown,
            zones: coverage.zones.iter().map(zone).collect(),
            suggestions: coverage.suggestions.clone(),
        }
    }
}

/// One saved search.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct SavedSearch {
    name: String,
    query: String,
    /// `mine` or `all`.
    zones: &'static str,
    known_hits: u32,
    new_hits: u32,
    dropped_hits: u64,
    #[schema(required)]
    last_run_time: Option<String>,
    /// Why it could not be asked then.
    #[schema(required)]
    problem: Option<String>,
}

impl From<&action::SavedSearch> for SavedSearch {
    fn from(search: &action::SavedSearch) -> Self {
        Self {
            name: search.name.clone(),
            query: search.text.clone(),
            zones: search.scope.name(),
            known_hits: search.known_hits,
            new_hits: search.new_hits,
            dropped_hits: search.dropped_hits,
            last_run_time: search.last_run.and_then(time),
            problem: search.problem.clone(),
        }
    }
}

/// One content that a saved search found for the first time.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct NewHit {
    search: String,
    #[schema(required, pattern = "^[0-9a-f]{64}$")]
    hash: Option<String>,
    name: String,
    path: String,
    size_bytes: u64,
    peers: Vec<String>,
    #[schema(required)]
    found_time: Option<String>,
}

impl From<&action::NewHit> for NewHit {
    fn from(hit: &action::NewHit) -> Self {
        Self {
            search: hit.search.clone(),
            hash: hit.file.hash.map(|hash| hash.to_string()),
            name: hit.file.name().to_owned(),
            path: hit.file.path.clone(),
            size_bytes: hit.file.size_bytes,
            peers: hit.peers.clone(),
            found_time: time(hit.found),
        }
    }
}
