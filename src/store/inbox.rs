//! The inbox: who may push a file here, and the offers that wait for a person.
//!
//! Invariant: at most [`MAX_OFFERS`] offers wait, [`MAX_SENDER_OFFERS`] of one sender, none longer than a minute; what
//! comes above is refused at once. Nothing is written before an offer is taken.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{StoreError, check_space};
use crate::protocol::{
    action::{AcceptPolicy, Answer, InboxInfo, Offer},
    id::{PeerId, PeerName},
};

/// Offers that wait at once.
pub const MAX_OFFERS: usize = 64;
/// Of them, those of one sender.
pub const MAX_SENDER_OFFERS: usize = 8;
/// How long an offer waits for a person.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Senders that can be trusted; a zone has far fewer.
const MAX_TRUSTED: usize = 4096;
/// Longest reason that a sender is told.
const MAX_REASON_BYTES: usize = 256;
/// One id in hex per line, in the data folder.
const TRUSTED_FILE: &str = "trusted";

/// Why an offer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The accept policy is `none`, or `trusted` and the sender is not, or may be somebody else.
    #[error("{0}")]
    Policy(&'static str),
    /// A person said no.
    #[error("declined{}", .0.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Declined(Option<String>),
    /// Nobody answered in time.
    #[error("nobody answered the offer in time")]
    Unanswered,
    /// Too many offers wait.
    #[error("too many offers wait here for an answer")]
    Full,
    /// No room for the file.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who offers a file, by its own word unless confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Its id.
    pub id: PeerId,
    /// Its name.
    pub name: PeerName,
    /// Whether there is more than its word for both. Who is trusted but not confirmed counts as a stranger.
    pub is_confirmed: bool,
}

/// There is no offer of that number; it was answered, or its sender left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no offer {0} waits for an answer")]
pub struct NoSuchOffer(pub u64);

/// An answer that was not carried out, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Nothing changed.
    #[error(transparent)]
    NoSuchOffer(#[from] NoSuchOffer),
    /// The file is taken, for the person said yes.
    #[error("the file is taken, but its sender is not trusted from now on")]
    NotTrusted(TrustError),
}

/// A sender is not trusted, or not for long.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// So many are that there is no place for one more. Nothing changed.
    #[error("{MAX_TRUSTED} senders are trusted already; remove some from {}", .0.display())]
    Full(PathBuf),
    /// The sender is trusted until the peer stops.
    #[error("it is trusted until this peer stops: {0}")]
    NotKept(#[from] StoreError),
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    trusted_path: PathBuf,
    policy: AcceptPolicy,
    // A std lock: held for a look-up or a change of the maps, and while the short list of the trusted is written.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    waiting: BTreeMap<u64, Waiting>,
    trusted: HashSet<PeerId>,
}

#[derive(Debug)]
struct Waiting {
    offer: Offer,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

/// Takes its offer off the list when the sender leaves.
struct Listed<'a>(&'a Inbox, u64);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting.remove(&self.1);
    }
}

impl Inbox {
    /// With the trusted senders kept in `data`. Both folders may not exist yet.
    ///
    /// # Errors
    /// The list of trusted senders cannot be read.
    pub fn open(folder: PathBuf, data: &Path, policy: AcceptPolicy) -> Result<Self, StoreError> {
        let trusted_path = data.join(TRUSTED_FILE);
        let trusted = match fs::read_to_string(&trusted_path) {
            Ok(text) => text.lines().filter_map(|line| line.trim().parse().ok()).take(MAX_TRUSTED).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(StoreError::io("read the trusted senders in", &trusted_path)(error)),
        };
        let state = Mutex::new(State { trusted, ..State::default() });
        Ok(Self(Arc::new(Inner { folder, trusted_path, policy, state })))
    }

    /// Where received files go.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// As faces see it.
    pub fn info(&self) -> InboxInfo {
        let offers = self.lock().waiting.values().map(|waiting| waiting.offer.clone()).collect();
        InboxInfo { offers, folder: self.0.folder.clone(), policy: self.0.policy }
    }

    /// Room, then policy, then the person. Ready when bytes may come. Dropping it takes the offer back.
    ///
    /// # Errors
    /// The refusal; the sender is to be told.
    pub async fn admit(
        &self,
        sender: Sender,
        name: &str,
        size_bytes: u64,
        patience: Duration,
    ) -> Result<(), Refusal> {
        self.admit_any(sender, name, None, size_bytes, patience).await
    }

    /// As [`Self::admit`], for a folder of so many files.
    ///
    /// # Errors
    /// The refusal; the sender is to be told.
    pub async fn admit_folder(
        &self,
        sender: Sender,
        name: &str,
        files: u32,
        size_bytes: u64,
        patience: Duration,
    ) -> Result<(), Refusal> {
        self.admit_any(sender, name, Some(files), size_bytes, patience).await
    }

    async fn admit_any(
        &self,
        sender: Sender,
        name: &str,
        files: Option<u32>,
        size_bytes: u64,
        patience: Duration,
    ) -> Result<(), Refusal> {
        if self.0.policy == AcceptPolicy::None {
            return Err(Refusal::Policy("this peer takes no files"));
        }
        let folder = self.existing_folder();
        check_space(&folder, size_bytes)?;
        let (id, answer) = {
            let mut state = self.lock();
            match self.0.policy {
                AcceptPolicy::All => return Ok(()),
                _ if sender.is_confirmed && state.trusted.contains(&sender.id) => return Ok(()),
                AcceptPolicy::Trusted => {
                    return Err(Refusal::Policy("this peer takes files of trusted senders only"));
                }
                AcceptPolicy::Ask | AcceptPolicy::None => {}
            }
            let of_sender = state.waiting.values().filter(|w| w.offer.sender_id == sender.id).count();
            if state.waiting.len() >= MAX_OFFERS || of_sender >= MAX_SENDER_OFFERS {
                return Err(Refusal::Full);
            }
            state.last_id += 1;
            let id = state.last_id;
            let Sender { id: sender_id, name: sender, is_confirmed } = sender;
            let offer = Offer { id, sender, sender_id, is_confirmed, name: name.into(), size_bytes, files };
            let (sender, answer) = oneshot::channel();
            state.waiting.insert(id, Waiting { offer, answer: sender });
            (id, answer)
        };
        let _listed = Listed(self, id);
        let until = Instant::now() + patience.min(ANSWER_TIMEOUT);
        match timeout_at(until, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Refusal::Unanswered),
        }
    }

    /// Answers an offer. `Trust` takes it and trusts its sender from now on, after a restart too.
    ///
    /// # Errors
    /// No such offer waits, or it is taken and its sender could not be trusted.
    pub fn answer(&self, id: u64, answer: Answer) -> Result<(), AnswerError> {
        let mut trusted = Ok(());
        let waiting = self.lock().waiting.remove(&id).ok_or(NoSuchOffer(id))?;
        let told = match answer {
            Answer::Accept => Ok(()),
            Answer::Trust => {
                // The offer is taken even if the list cannot be kept: the person said yes.
                trusted = self.trust(waiting.offer.sender_id);
                Ok(())
            }
            Answer::Decline(reason) => {
                let reason: String = reason
                    .chars()
                    .scan(0, |bytes, c| {
                        *bytes += c.len_utf8();
                        (*bytes <= MAX_REASON_BYTES).then_some(c)
                    })
                    .collect();
                Err(Refusal::Declined((!reason.is_empty()).then_some(reason)))
            }
        };
        waiting.answer.send(told).map_err(|_| NoSuchOffer(id))?;
        trusted.map_err(AnswerError::NotTrusted)
    }

    /// Takes files of this sender without asking from now on.
    ///
    /// # Errors
    /// Too many are trusted already, or the list cannot be written; the sender is trusted until the peer stops then.
    pub fn trust(&self, sender: PeerId) -> Result<(), TrustError> {
        let mut state = self.lock();
        if state.trusted.contains(&sender) {
            return Ok(());
        }
        if state.trusted.len() >= MAX_TRUSTED {
            return Err(TrustError::Full(self.0.trusted_path.clone()));
        }
        state.trusted.insert(sender);
        Ok(self.keep(&state.trusted)?)
    }

    /// Asks about this sender again.
    ///
    /// # Errors
    /// The list cannot be written; the sender is trusted again after a restart.
    pub fn distrust(&self, sender: PeerId) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.trusted.remove(&sender) {
            self.keep(&state.trusted)?;
        }
        Ok(())
    }

    fn keep(&self, trusted: &HashSet<PeerId>) -> Result<(), StoreError> {
        let path = &self.0.trusted_path;
        let failed = |error| StoreError::io("write the trusted senders to", path)(error);
        let folder = path.parent().unwrap_or(path);
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            for id in trusted {
                writeln!(file, "{id}")?;
            }
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(failed)
    }

    /// The inbox folder, or the nearest folder above it that exists: its file system is the same.
    fn existing_folder(&self) -> PathBuf {
        let above = self.0.folder.ancestors().find(|folder| folder.is_dir());
        above.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
