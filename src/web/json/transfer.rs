//! Files on their way, and those that others want to send.

use serde::Serialize;
use utoipa::ToSchema;

use super::{path, time};
use crate::protocol::action::{self, TransferState};

/// One transfer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(in crate::web) struct Transfer {
    id: u64,
    /// `download`, `upload`, `send`, `receive` or `put`.
    direction: &'static str,
    /// `waiting`, `paused`, `running`, `verifying`, `done`, `failed` or `cancelled`.
    state: &'static str,
    name: String,
    /// Where it lies, once published.
    #[schema(required)]
    path: Option<String>,
    #[schema(required, pattern = "^[0-9a-f]{64}$")]
    hash: Option<String>,
    size_bytes: u64,
    done_bytes: u64,
    #[schema(required)]
    percent: Option<u8>,
    #[schema(required)]
    eta_seconds: Option<f64>,
    /// Names of the peers at the other end.
    sources: Vec<String>,
    /// `high`, `normal` or `low`.
    priority: &'static str,
    bytes_per_second: u64,
    #[schema(required)]
    queue_position: Option<u32>,
    /// What it waits for or does now; may be empty.
    note: String,
    /// Why it failed.
    #[schema(required)]
    error: Option<String>,
    /// What to do about that.
    #[schema(required)]
    hint: Option<String>,
}

impl From<&action::Transfer> for Transfer {
    #[expect(clippy::cast_precision_loss, reason = "an estimate, to the second")]
    fn from(transfer: &action::Transfer) -> Self {
        let error = match &transfer.state {
            TransferState::Failed(error) => Some(error),
            _ => None,
        };
        Self {
            id: transfer.id,
            direction: transfer.direction.name(),
            state: transfer.state.name(),
            name: transfer.name.clone(),
            path: transfer.path.as_deref().map(path),
            hash: transfer.hash.map(|hash| hash.to_string()),
            size_bytes: transfer.size_bytes,
            done_bytes: transfer.done_bytes,
            percent: transfer.percent(),
            eta_seconds: transfer.eta().map(|eta| eta.as_secs() as f64),
            sources: transfer.sources.clone(),
            priority: transfer.priority.name(),
            bytes_per_second: transfer.bytes_per_second,
            queue_position: transfer.queue_position,
            note: transfer.note.clone(),
            error: error.map(|error| error.message.clone()),
            hint: error.map(|error| error.hint.clone()),
        }
    }
}

impl Transfer {
    /// Its number.
    pub(in crate::web) fn id(&self) -> u64 {
        self.id
    }

    /// Something may happen to it soon.
    pub(in crate::web) fn is_moving(&self) -> bool {
        matches!(self.state, "waiting" | "running" | "verifying")
    }
}

/// To how many transfers something was done.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Changed {
    pub(in crate::web) changed: u32,
}

/// A content that the network keeps because this peer put it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Put {
    #[schema(pattern = "^[0-9a-f]{64}$")]
    hash: String,
    name: String,
    /// 0 when an earlier version put it.
    size_bytes: u64,
    /// Replicas wanted.
    replicas: usize,
    /// How many told just now that they keep it; `null` when nobody could be asked.
    #[schema(required)]
    kept: Option<usize>,
    /// Their names.
    keepers: Vec<String>,
    /// `null` when an earlier version put it.
    #[schema(required)]
    put_time: Option<String>,
}

impl From<&action::PutInfo> for Put {
    fn from(put: &action::PutInfo) -> Self {
        Self {
            hash: put.hash.to_string(),
            name: put.name.clone(),
            size_bytes: put.size_bytes,
            replicas: put.replicas,
            kept: put.keepers.as_ref().map(Vec::len),
            keepers: put.keepers.clone().unwrap_or_default(),
            put_time: put.put_time.and_then(time),
        }
    }
}

/// What was taken back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Unput {
    #[schema(pattern = "^[0-9a-f]{64}$")]
    hash: String,
    name: String,
    /// Names of the peers that kept it and do not any more.
    released_by: Vec<String>,
    /// Names of the peers that could not be asked.
    unreachable: Vec<String>,
}

impl From<action::Unput> for Unput {
    fn from(unput: action::Unput) -> Self {
        Self {
            hash: unput.hash.to_string(),
            name: unput.name,
            released_by: unput.released_by,
            unreachable: unput.unreachable,
        }
    }
}

/// One file or folder that a peer wants to send here.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Offer {
    id: u64,
    sender: String,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sender_id: String,
    /// Whether name and id are more than the sender's own word.
    is_confirmed: bool,
    name: String,
    size_bytes: u64,
    /// Of a folder: how many files it has.
    #[schema(required)]
    files: Option<u32>,
}

impl From<&action::Offer> for Offer {
    fn from(offer: &action::Offer) -> Self {
        Self {
            id: offer.id,
            sender: offer.sender.to_string(),
            sender_id: offer.sender_id.to_string(),
            is_confirmed: offer.is_confirmed,
            name: offer.name.clone(),
            size_bytes: offer.size_bytes,
            files: offer.files,
        }
    }
}

/// The inbox.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Inbox {
    /// Offers that wait for an answer.
    items: Vec<Offer>,
    #[schema(required)]
    next_page_token: Option<String>,
    /// Where accepted files arrive.
    folder: String,
    /// Who may send: `ask`, `trusted`, `all` or `none`.
    policy: &'static str,
}

impl From<&action::InboxInfo> for Inbox {
    fn from(inbox: &action::InboxInfo) -> Self {
        Self {
            items: inbox.offers.iter().map(Offer::from).collect(),
            next_page_token: None,
            folder: path(&inbox.folder),
            policy: inbox.policy.name(),
        }
    }
}
