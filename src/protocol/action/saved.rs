//! Saved searches: what is asked again and again, and what is told of it.

use std::time::SystemTime;

use super::{FileInfo, Scope};

/// A search to save.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveAsk {
    /// What it is to be called.
    pub name: String,
    /// The query text as typed: a span of time counts from each time that it is asked.
    pub text: String,
    /// How far.
    pub scope: Scope,
}

/// A saved search as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSearch {
    /// What it is called.
    pub name: String,
    /// The query text as typed.
    pub text: String,
    /// How far.
    pub scope: Scope,
    /// Contents that it has found so far and that are remembered.
    pub known_hits: u32,
    /// New hits that were told to nobody yet.
    pub new_hits: u32,
    /// New hits that were dropped untold, since nobody asked for them in time.
    pub dropped_hits: u64,
    /// When it was last asked in this start of the peer, whatever came of it.
    pub last_run: Option<SystemTime>,
    /// Why it could not be asked then.
    pub problem: Option<String>,
}

/// A content that a saved search found for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHit {
    /// Which search.
    pub search: String,
    /// The file, as the first holder has it; its hash is known.
    pub file: FileInfo,
    /// Names of peers that have it, at most [`MAX_NEW_HIT_PEERS`].
    pub peers: Vec<String>,
    /// When it was found.
    pub found: SystemTime,
}

/// Most peers named with a new hit.
pub const MAX_NEW_HIT_PEERS: usize = 8;
