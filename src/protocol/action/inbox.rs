//! Files that others want to send here.

use std::path::PathBuf;

use crate::protocol::id::{PeerId, PeerName};

/// Who may put files into the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceptPolicy {
    /// A person is asked each time.
    #[default]
    Ask,
    /// Trusted senders may; others are refused.
    Trusted,
    /// Everyone may.
    All,
    /// Nobody may.
    None,
}

impl AcceptPolicy {
    /// In a word, as in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Trusted => "trusted",
            Self::All => "all",
            Self::None => "none",
        }
    }
}

/// A file that a peer wants to send here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its number, from 1.
    pub id: u64,
    /// Sender's name.
    pub sender: PeerName,
    /// Sender's id.
    pub sender_id: PeerId,
    /// Whether name and id are more than the sender's own word: the registry tells of that peer at that address.
    pub is_confirmed: bool,
    /// Name of the file or folder.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Set for a folder: how many files it has.
    pub files: Option<u32>,
}

impl Offer {
    /// Its name as a person is to see it, with the number of files of a folder; not made safe for a terminal.
    pub fn shown_name(&self) -> String {
        match self.files {
            None => self.name.clone(),
            Some(1) => format!("{}/ (1 file)", self.name),
            Some(files) => format!("{}/ ({files} files)", self.name),
        }
    }

    /// Sender as a person is to see it.
    pub fn shown_sender(&self) -> String {
        if self.is_confirmed { self.sender.to_string() } else { format!("{} (not confirmed)", self.sender) }
    }
}

/// The inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxInfo {
    /// Offers that wait for an answer.
    pub offers: Vec<Offer>,
    /// The inbox folder.
    pub folder: PathBuf,
    /// Who may send.
    pub policy: AcceptPolicy,
}

/// What to do with an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Take this one.
    Accept,
    /// Do not take this one; the sender is told why.
    Decline(String),
    /// Take this one and all later ones of the same sender.
    Trust,
}
