//! Stable words for what is said in prose: a face that has its own words goes by these and reads no English.
//!
//! Invariant: a word is never renamed and never means something else.

/// What a transfer waits for or does, beside its note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteCode {
    /// It stands in the queue of one holder or of several.
    QueuedAtHolder,
    /// A holder failed or is busy, and is asked again after a while.
    AsksAgain,
    /// A holder failed; the others go on.
    HolderFailed,
    /// A holder told or sent something wrong, and is not asked again.
    HolderLeftAside,
    /// Nobody who has it is there; holders are looked for again and again.
    LooksForHolders,
    /// Another transfer fetches the same bytes for it.
    FetchedByOther,
    /// The receiver of what is sent has not answered.
    WaitsForReceiver,
    /// The person of this peer has not answered.
    WaitsForAnswerHere,
    /// What is to be sent is being read.
    ReadsWhatIsSent,
}

impl NoteCode {
    /// Every one with its word.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::QueuedAtHolder, "queued_at_holder"),
        (Self::AsksAgain, "asks_again"),
        (Self::HolderFailed, "holder_failed"),
        (Self::HolderLeftAside, "holder_left_aside"),
        (Self::LooksForHolders, "looks_for_holders"),
        (Self::FetchedByOther, "fetched_by_other"),
        (Self::WaitsForReceiver, "waits_for_receiver"),
        (Self::WaitsForAnswerHere, "waits_for_answer_here"),
        (Self::ReadsWhatIsSent, "reads_what_is_sent"),
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        word(&Self::NAMES, self)
    }

    /// The one of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        of_word(&Self::NAMES, name)
    }
}

/// What to do about an error, where the hint says it in words of the command line or the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintCode {
    /// See which peers are there.
    ListPeers,
    /// Look into a peer's shares for a file.
    BrowsePeer,
    /// See how this peer stands with the registry.
    SeeStatus,
    /// Have looked for what keeps this peer from the registry.
    LookForFault,
    /// See which transfers there are.
    ListTransfers,
    /// Retry the transfer.
    RetryTransfer,
    /// Offer a folder.
    AddShare,
    /// Choose another name, or remove the saved search that has it.
    RenameSavedSearch,
    /// Remove a saved search first.
    RemoveSavedSearch,
    /// See which searches are saved.
    ListSavedSearches,
    /// Download the content instead.
    GetContent,
    /// Give the network room, or take it.
    ReplicaSpace,
    /// Open the page by a new link.
    OpenPage,
    /// Start the peer.
    StartPeer,
}

impl HintCode {
    /// Every one with its word.
    pub const NAMES: [(Self, &'static str); 14] = [
        (Self::ListPeers, "list_peers"),
        (Self::BrowsePeer, "browse_peer"),
        (Self::SeeStatus, "see_status"),
        (Self::LookForFault, "look_for_fault"),
        (Self::ListTransfers, "list_transfers"),
        (Self::RetryTransfer, "retry_transfer"),
        (Self::AddShare, "add_share"),
        (Self::RenameSavedSearch, "rename_saved_search"),
        (Self::RemoveSavedSearch, "remove_saved_search"),
        (Self::ListSavedSearches, "list_saved_searches"),
        (Self::GetContent, "get_content"),
        (Self::ReplicaSpace, "replica_space"),
        (Self::OpenPage, "open_page"),
        (Self::StartPeer, "start_peer"),
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        word(&Self::NAMES, self)
    }

    /// The one of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        of_word(&Self::NAMES, name)
    }
}

fn word<C: Copy + PartialEq>(names: &[(C, &'static str)], code: C) -> &'static str {
    names.iter().find(|(known, _)| *known == code).map_or("", |(_, name)| name)
}

fn of_word<C: Copy>(names: &[(C, &'static str)], name: &str) -> Option<C> {
    names.iter().find(|(_, known)| *known == name).map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of one table of the reference, each in a row of its own.
    fn documented(heading: &str) -> Vec<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/REST.md");
        let text = std::fs::read_to_string(path).expect("the reference");
        let table = text.split_once(&format!("| `{heading}` |")).expect("its table").1;
        let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
        let words = rows.filter_map(|row| row.strip_prefix("| `")?.split_once('`'));
        words.map(|(word, _)| word.to_owned()).collect()
    }

    #[test]
    fn the_reference_lists_every_word_and_each_leads_back() {
        let notes: Vec<_> = NoteCode::NAMES.iter().map(|(_, name)| (*name).to_owned()).collect();
        let hints: Vec<_> = HintCode::NAMES.iter().map(|(_, name)| (*name).to_owned()).collect();
        assert_eq!((documented("note_code"), documented("hint_code")), (notes, hints));
        for (code, name) in NoteCode::NAMES {
            assert_eq!((code.name(), NoteCode::from_name(name)), (name, Some(code)));
        }
        for (code, name) in HintCode::NAMES {
            assert_eq!((code.name(), HintCode::from_name(name)), (name, Some(code)));
        }
        assert_eq!((NoteCode::from_name(""), HintCode::from_name("list")), (None, None));
    }
}
