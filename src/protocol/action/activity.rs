//! What a peer tells of the queries that pass through it, for whoever watches.

use std::time::SystemTime;

use crate::protocol::id::{PeerId, QueryId, ZoneId};

/// Characters of a query's text that are told.
pub const MAX_ACTIVITY_CHARS: usize = 256;
/// Peers that a query went on to that are told.
pub const MAX_ACTIVITY_ASKED: usize = 16;

/// One query at this peer, as it begins and as it ends here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// When.
    pub time: SystemTime,
    /// The beginning of its id: enough to tell it from the others that run.
    pub query: [u8; 8],
    /// What happened.
    pub kind: ActivityKind,
    /// What it asks, cut after [`MAX_ACTIVITY_CHARS`] characters. Foreign text.
    pub text: String,
    /// The previous hop; `None` when it began here.
    pub from: Option<PeerId>,
    /// The zone of this peer at that time.
    pub zone: Option<ZoneId>,
    /// Forwards done before it came here.
    pub hops: u8,
    /// Hits that this peer passed on so far, its own among them; 0 when it begins.
    pub hits: u32,
    /// Whom this peer asked so far, the first [`MAX_ACTIVITY_ASKED`].
    pub asked: Vec<PeerId>,
    /// Activities before this one that this listener was too slow for.
    pub missed: u64,
}

/// What happened to a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityKind {
    /// It was taken, and went on to others.
    Began,
    /// It ended here: everything was answered, or nobody waits for it any more. Comes once for each that began.
    Answered,
}

impl ActivityKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Began, Self::Answered];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Answered => "answered",
        }
    }
}

impl Activity {
    /// The part of an id by which an activity names its query.
    pub fn short(id: &QueryId) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&id.as_bytes()[..8]);
        short
    }

    /// A text cut to what is told.
    pub fn cut(text: &str) -> String {
        text.chars().take(MAX_ACTIVITY_CHARS).collect()
    }
}
