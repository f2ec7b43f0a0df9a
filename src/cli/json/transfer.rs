//! The lines of `--json` that tell of files on their way.

use serde::Serialize;

use super::path;
use crate::protocol::action::{self, TransferState};

/// One transfer; `get` and `send` end with it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "transfer")]
pub struct Transfer<'a> {
    state: &'static str,
    path: Option<String>,
    hash: Option<String>,
    size_bytes: u64,
    sources: &'a [String],
    #[serde(flatten)]
    more: Option<TransferMore<'a>>,
}

/// What `transfers` tells besides.
#[derive(Debug, Serialize)]
struct TransferMore<'a> {
    id: u64,
    direction: &'static str,
    name: &'a str,
    done_bytes: u64,
    error: Option<&'a str>,
    hint: Option<&'a str>,
    priority: &'static str,
    queue_position: Option<u32>,
    percent: Option<u8>,
    bytes_per_second: u64,
    eta_s: Option<u64>,
    note: Option<&'a str>,
}

impl<'a> From<&'a action::Transfer> for Transfer<'a> {
    fn from(transfer: &'a action::Transfer) -> Self {
        Self {
            state: transfer.state.name(),
            path: transfer.path.as_deref().map(path),
            hash: transfer.hash.map(|hash| hash.to_string()),
            size_bytes: transfer.size_bytes,
            sources: &transfer.sources,
            more: None,
        }
    }
}

impl<'a> Transfer<'a> {
    /// With its number, direction and progress.
    pub fn listed(transfer: &'a action::Transfer) -> Self {
        let error = match &transfer.state {
            TransferState::Failed(error) => Some(error),
            _ => None,
        };
        let more = TransferMore {
            id: transfer.id,
            direction: transfer.direction.name(),
            name: &transfer.name,
            done_bytes: transfer.done_bytes,
            error: error.map(|error| error.message.as_str()),
            hint: error.map(|error| error.hint.as_str()),
            priority: transfer.priority.name(),
            queue_position: transfer.queue_position,
            percent: transfer.percent(),
            bytes_per_second: transfer.bytes_per_second,
            eta_s: transfer.eta().map(|eta| eta.as_secs()),
            note: Some(transfer.note.as_str()).filter(|note| !note.is_empty()),
        };
        Self { more: Some(more), ..Self::from(transfer) }
    }
}

/// Ends what was done to transfers.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "done")]
pub struct Controlled {
    /// To how many.
    pub count: u32,
}
