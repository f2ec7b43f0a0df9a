//! Searches: what is asked, what is found, and who was heard.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::protocol::{
    id::{ContentHash, PeerId, PeerName, ZoneId},
    query::Fit,
};

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// The peer's own zone.
    #[default]
    Mine,
    /// Every zone that can be reached.
    All,
}

impl Scope {
    /// As typed after `--zones`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mine => "mine",
            Self::All => "all",
        }
    }
}

/// A search to start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchAsk {
    /// The query text.
    pub text: String,
    /// How far.
    pub scope: Scope,
    /// Set: classic flood with this TTL.
    pub ttl: Option<u8>,
    /// How long to wait; `None` means the peer's setting.
    pub wait: Option<Duration>,
    /// Stop after this many hits.
    pub want: Option<u32>,
}

/// One content and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its number in this search, from 1.
    pub number: u32,
    /// The file, as the first holder has it.
    pub file: FileInfo,
    /// How well the best of its names answers.
    pub fit: Fit,
    /// This peer has it already.
    pub have: bool,
    /// Everyone who answered with it, in order of arrival.
    pub holders: Vec<Holder>,
}

/// One peer that has a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub peer: PeerName,
    /// Its id.
    pub peer_id: PeerId,
    /// Its zone.
    pub zone: Option<ZoneId>,
    /// Forwards between.
    pub hops: u8,
    /// Where it has it: `<share>/<path>`.
    pub path: String,
}

/// One shared file as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// `None` while it is still being hashed.
    pub hash: Option<ContentHash>,
    /// `<share>/<path>`, `/` between segments.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Last modification.
    pub modified: SystemTime,
}

impl FileInfo {
    /// The last segment of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Who was asked and who answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Peers that answered, the origin included: by a search of their index, or ahead by a summary that has nothing of it.
    pub answered: u32,
    /// Those of them that were not asked, since their summaries had answered.
    pub ruled_out: u32,
    /// Peers in scope.
    pub asked: u32,
    /// Peers that were tried and did not answer.
    pub unreachable: u32,
    /// Copies dropped by query caches.
    pub duplicates: u32,
    /// Search messages sent.
    pub messages: u32,
    /// Hits were left out because a bound was reached.
    pub truncated: bool,
    /// When nothing was found: the query with known words in place of misspelt ones, best first, at most
    /// [`MAX_SUGGESTIONS`](crate::protocol::query::MAX_SUGGESTIONS).
    pub suggestions: Vec<String>,
}

impl Coverage {
    /// Everyone in scope answered and nothing was left out: an empty answer means that there is nothing.
    pub fn is_complete(&self) -> bool {
        self.answered >= self.asked && !self.truncated
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} answered", self.answered, self.asked)?;
        if self.unreachable > 0 {
            write!(f, ", {} unreachable", self.unreachable)?;
        }
        if self.truncated {
            f.write_str(", more hits were left out")?;
        }
        Ok(())
    }
}

/// What a running search tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchEvent {
    /// A new content, or one told before with more holders (the same number).
    Hit(Hit),
    /// The end.
    Done(Coverage),
}
