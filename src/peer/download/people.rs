//! The holders of a download as people see them: their names, and what is said when they fail.

use super::{Source, store_error};
use crate::{
    protocol::{
        action::{ActionError, ErrorKind},
        name::Printable,
        plan::{Failure, Outcome},
    },
    store::StoreError,
};

/// By the position that the plan knows them by.
#[derive(Debug)]
pub(super) struct People {
    sources: Vec<Source>,
    /// What each one's last failure means to a face.
    kinds: Vec<ErrorKind>,
    pub(super) no_space: Option<StoreError>,
}

impl People {
    pub(super) fn new(sources: Vec<Source>) -> Self {
        let kinds = vec![ErrorKind::Failed; sources.len()];
        Self { sources, kinds, no_space: None }
    }

    pub(super) fn source(&self, holder: usize) -> &Source {
        &self.sources[holder]
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Its position, when this peer is known at this address.
    pub(super) fn find(&self, source: &Source) -> Option<usize> {
        let is_same = |known: &Source| known.peer_id == source.peer_id && known.address == source.address;
        self.sources.iter().position(is_same)
    }

    pub(super) fn add(&mut self, source: Source) {
        self.sources.push(source);
        self.kinds.push(ErrorKind::Failed);
    }

    pub(super) fn note(&mut self, holder: usize, kind: ErrorKind) {
        self.kinds[holder] = kind;
    }

    pub(super) fn names(&self, holders: &[usize]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for &holder in holders {
            let name = &self.sources[holder].name;
            // One that came back at another address is a source of its own, but no other peer.
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Why nobody could bring the file of that name.
    pub(super) fn failure(&self, name: &str, outcome: Outcome) -> ActionError {
        let reasons = |failed: &[(usize, Failure)]| {
            let reasons = failed.iter().map(|(holder, failure)| {
                format!("{}: {}", self.sources[*holder].name, Printable(&failure.reason))
            });
            reasons.collect::<Vec<_>>().join("; ")
        };
        match outcome {
            Outcome::Done(_) => ActionError::new(ErrorKind::Failed, "ended twice"),
            Outcome::Mismatch { wrong, failed } => {
                let wrong = self.names(&wrong).join(", ");
                let mut message = format!("{wrong} sent bytes of {name} that do not match its hash");
                if !failed.is_empty() {
                    message = format!("{message}; {}", reasons(&failed));
                }
                ActionError::new(ErrorKind::Mismatch, message)
                    .hint("nothing wrong was kept; try another holder")
            }
            Outcome::AllFailed(failed) => {
                if let Some(error) = &self.no_space {
                    return store_error(error);
                }
                let kinds: Vec<ErrorKind> = failed.iter().map(|(holder, _)| self.kinds[*holder]).collect();
                // What one holder lacks another may have had: the more telling reason decides.
                let telling = kinds.iter().find(|&&kind| kind != ErrorKind::NotFound).copied();
                let kind = telling.or(kinds.first().copied()).unwrap_or(ErrorKind::NotFound);
                ActionError::new(kind, format!("{}{}", opening_words(name), reasons(&failed)))
                    .hint("search again for other holders")
            }
        }
    }
}

/// How a failure to download the file of that name begins.
fn opening_words(name: &str) -> String {
    format!("could not download {name}: ")
}

/// What the holders of the file said, without its name, which stands beside it.
pub(super) fn only_reasons<'a>(failure: &'a ActionError, name: &str) -> &'a str {
    let message = failure.message.as_str();
    message.strip_prefix(&opening_words(name)).unwrap_or(message)
}
