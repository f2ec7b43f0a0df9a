//! Files on their way: where a transfer stands, and what may be done to it.

use std::{path::PathBuf, time::Duration};

use super::{ActionError, NoteCode};
use crate::protocol::id::ContentHash;

/// Which of the downloads that wait begins first; among equals, the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// After all others.
    Low,
    /// Unless told otherwise.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// Every priority, the highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The priority of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }
}

/// Which transfers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one of that number.
    One(u64),
    /// Every one of this person's that it can be done to.
    All,
}

/// What to do with a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferControl {
    /// Stop a download and keep what it has.
    Pause,
    /// Let a paused download go on.
    Resume,
    /// End it for good.
    Cancel,
    /// Start a failed download again, under its number.
    Retry,
    /// Give a download another place among those that wait.
    Priority(Priority),
}

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To this peer, asked for.
    Download,
    /// From this peer, asked for by another.
    Upload,
    /// From this peer to another's inbox.
    Send,
    /// To this peer's inbox.
    Receive,
    /// From this peer into the network, which keeps it.
    Put,
}

impl Direction {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Put => "put",
        }
    }
}

/// Where a transfer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferState {
    /// Waits for a slot or for the receiver's answer.
    Waiting,
    /// Stopped by its person, to go on later from where it is.
    Paused,
    /// Bytes flow.
    Running,
    /// All bytes are here and are being checked and published.
    Verifying,
    /// Done and verified.
    Done,
    /// Failed; nothing wrong was left behind.
    Failed(ActionError),
    /// Cancelled.
    Cancelled,
}

impl TransferState {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Running => "running",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing more will happen.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_) | Self::Cancelled)
    }
}

/// One transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Its number on this peer, from 1.
    pub id: u64,
    /// Which way.
    pub direction: Direction,
    /// Where it stands.
    pub state: TransferState,
    /// File name.
    pub name: String,
    /// Where it lies, once published.
    pub path: Option<PathBuf>,
    /// Its content, once known.
    pub hash: Option<ContentHash>,
    /// Whole size.
    pub size_bytes: u64,
    /// Bytes so far.
    pub done_bytes: u64,
    /// Names of the peers at the other end.
    pub sources: Vec<String>,
    /// Its place among the downloads that wait.
    pub priority: Priority,
    /// How fast bytes came or went over the last seconds; 0 unless it runs.
    pub bytes_per_second: u64,
    /// How many of this peer's downloads begin before it does, itself counted; `None` unless it waits for a slot.
    pub queue_position: Option<u32>,
    /// What it waits for or does now that its state does not say, at most [`MAX_NOTE_CHARS`]; empty when there is nothing
    /// to add. It may hold the words of others.
    pub note: String,
    /// The same in a word; there whenever the note is not empty.
    pub note_code: Option<NoteCode>,
}

/// Longest note of a transfer: a line, as long as the longest reason of a holder that is shown.
pub const MAX_NOTE_CHARS: usize = 200;

impl Transfer {
    /// How much of it is done, 0 to 100; `None` while its size is not known.
    pub fn percent(&self) -> Option<u8> {
        match (self.size_bytes, &self.state) {
            (_, TransferState::Done) => Some(100),
            (0, _) => None,
            (size, _) => {
                let percent = u128::from(self.done_bytes) * 100 / u128::from(size);
                Some(u8::try_from(percent).unwrap_or(100).min(100))
            }
        }
    }

    /// How long it still takes at the speed of now; `None` while nothing comes.
    pub fn eta(&self) -> Option<Duration> {
        if self.state != TransferState::Running || self.bytes_per_second == 0 {
            return None;
        }
        let left = self.size_bytes.saturating_sub(self.done_bytes);
        Some(Duration::from_secs(left.div_ceil(self.bytes_per_second)))
    }
}
