//! Transfers: listed, steered, and begun.

use std::path::PathBuf;

use axum::{Json, extract::State};
use futures::StreamExt as _;
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{Answer, Api};
use crate::{
    peer::handle::Events,
    protocol::action::{self, ActionError, ErrorKind, GetAsk, PeerPath, Target, TransferControl, Which},
    web::{
        extract::{Body, NoParams, Params, Segments},
        json,
        paging::{Page, window},
        problem::Problem,
    },
};

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Direction {
    Download,
    Upload,
    Send,
    Receive,
    Put,
}

/// Where a transfer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TransferState {
    Waiting,
    Paused,
    Running,
    Verifying,
    Done,
    Failed,
    Cancelled,
}

/// Which download begins first.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl From<Priority> for action::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => Self::High,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Low,
        }
    }
}

/// Which transfers, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only those that go this way.
    direction: Option<Direction>,
    /// Only those that stand so.
    state: Option<TransferState>,
    /// Rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    page_token: Option<String>,
}

impl ListParams {
    fn has(&self, transfer: &action::Transfer) -> bool {
        let direction = match transfer.direction {
            action::Direction::Download => Direction::Download,
            action::Direction::Upload => Direction::Upload,
            action::Direction::Send => Direction::Send,
            action::Direction::Receive => Direction::Receive,
            action::Direction::Put => Direction::Put,
        };
        let state = match transfer.state {
            action::TransferState::Waiting => TransferState::Waiting,
            action::TransferState::Paused => TransferState::Paused,
            action::TransferState::Running => TransferState::Running,
            action::TransferState::Verifying => TransferState::Verifying,
            action::TransferState::Done => TransferState::Done,
            action::TransferState::Failed(_) => TransferState::Failed,
            action::TransferState::Cancelled => TransferState::Cancelled,
        };
        self.direction.is_none_or(|wanted| wanted == direction)
            && self.state.is_none_or(|wanted| wanted == state)
    }
}

/// Running transfers, those that wait, and the last hundred that ended, in order of their numbers.
#[utoipa::path(
    get, path = "/api/v1/transfers", tag = "transfers", params(ListParams),
    responses((status = 200, body = Page<json::Transfer>)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Params(params): Params<ListParams>,
) -> Answer<Json<Page<json::Transfer>>> {
    let window = window(params.page_size, params.page_token.as_deref())?;
    let mut transfers = api.answer(api.peer().transfers()).await?;
    transfers.retain(|transfer| params.has(transfer));
    Ok(Json(Page::of(&transfers, window, json::Transfer::from)))
}

/// What can be done to a transfer.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Control {
    Pause,
    Resume,
    Cancel,
    Retry,
}

impl From<Control> for TransferControl {
    fn from(control: Control) -> Self {
        match control {
            Control::Pause => Self::Pause,
            Control::Resume => Self::Resume,
            Control::Cancel => Self::Cancel,
            Control::Retry => Self::Retry,
        }
    }
}

/// Pauses, resumes, cancels or retries one transfer. Nothing happens to one that is so already.
#[utoipa::path(
    post, path = "/api/v1/transfers/{id}/{control}", tag = "transfers",
    params(("id" = u64, Path), ("control" = Control, Path)),
    responses(
        (status = 200, body = json::Changed),
        (status = 404, description = "There is no such transfer"),
        (status = 409, description = "That cannot be done to it"),
    ),
)]
pub(super) async fn control(
    State(api): State<Api>,
    Segments((id, control)): Segments<(u64, Control)>,
    _: NoParams,
) -> Answer<Json<json::Changed>> {
    api.control(one(id)?, control.into()).await
}

/// Pauses, resumes, cancels or retries every transfer that it can be done to.
#[utoipa::path(
    post, path = "/api/v1/transfers/{control}", tag = "transfers", params(("control" = Control, Path)),
    responses((status = 200, body = json::Changed)),
)]
pub(super) async fn control_all(
    State(api): State<Api>,
    Segments(control): Segments<Control>,
    _: NoParams,
) -> Answer<Json<json::Changed>> {
    api.control(Which::All, control.into()).await
}

/// Another place among those that wait.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PriorityBody {
    priority: Priority,
}

/// Gives a download another place among those that wait.
#[utoipa::path(
    post, path = "/api/v1/transfers/{id}/priority", tag = "transfers", params(("id" = u64, Path)),
    request_body = PriorityBody,
    responses(
        (status = 200, body = json::Changed),
        (status = 404, description = "There is no such transfer"),
        (status = 409, description = "It is no download"),
    ),
)]
pub(super) async fn priority(
    State(api): State<Api>,
    Segments(id): Segments<u64>,
    _: NoParams,
    Body(body): Body<PriorityBody>,
) -> Answer<Json<json::Changed>> {
    api.control(one(id)?, TransferControl::Priority(body.priority.into())).await
}

/// A download to begin: by `hash`, or by `peer` and `path`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DownloadBody {
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    hash: Option<String>,
    /// Name, or the beginning of an id.
    #[schema(min_length = 1, max_length = 64)]
    peer: Option<String>,
    /// `<share>/<path>`; a folder comes whole.
    #[schema(min_length = 1, max_length = 4096)]
    path: Option<String>,
    /// Absolute path on the peer's machine: an existing folder to put it in, or the file to make; the downloads share unless told.
    #[schema(pattern = "^/", max_length = 4096)]
    destination: Option<String>,
    #[serde(default)]
    priority: Priority,
}

/// Begins a download, which goes on by itself.
#[utoipa::path(
    post, path = "/api/v1/downloads", tag = "transfers", request_body = DownloadBody,
    responses(
        (status = 202, body = json::Transfer),
        (status = 404, description = "Nobody who can be reached has it"),
        (status = 409, description = "This peer has it already, or too many transfers wait"),
    ),
)]
pub(super) async fn download(
    State(api): State<Api>,
    _: NoParams,
    Body(body): Body<DownloadBody>,
) -> Answer<(StatusCode, Json<json::Transfer>)> {
    let target = match (body.hash, body.peer, body.path) {
        (Some(hash), None, None) => Target::Hash(super::checked_hash(&hash)?),
        (None, Some(peer), Some(path)) => {
            Target::Path(PeerPath { peer: super::checked_peer(peer)?, path: super::checked_path(path)? })
        }
        _ => return Err(Problem::usage("name either `hash`, or `peer` and `path`")),
    };
    let destination = body.destination.map(|path| absolute("destination", path)).transpose()?;
    let ask = GetAsk { target, destination, priority: body.priority.into(), is_detached: true };
    let events = api.answer(api.peer().get(ask)).await?;
    let (transfer, _) = api.first(events).await?;
    Ok((StatusCode::ACCEPTED, Json((&transfer).into())))
}

fn one(id: u64) -> Answer<Which> {
    if id == 0 {
        return Err(Problem::not_found("transfers are numbered from 1"));
    }
    Ok(Which::One(id))
}

impl Api {
    async fn control(&self, which: Which, control: TransferControl) -> Answer<Json<json::Changed>> {
        let changed = self.answer(self.peer().control_transfers(which, control)).await?;
        Ok(Json(json::Changed { changed }))
    }

    /// A transfer as it began, and what follows of it.
    pub(super) async fn first(
        &self,
        mut events: Events<action::Transfer>,
    ) -> Answer<(action::Transfer, Events<action::Transfer>)> {
        let first = async {
            let gone = || ActionError::new(ErrorKind::Failed, "the transfer ended without a word");
            events.next().await.unwrap_or_else(|| Err(gone()))
        };
        let transfer = self.answer(first).await?;
        Ok((transfer, events))
    }

    /// Follows transfers to their end, however the one who asked for them goes, and then lets go of what they need.
    pub(super) fn follow<T: Send + 'static>(&self, running: Vec<Events<action::Transfer>>, needed: T) {
        drop(self.0.shutdown.spawn("follow", async move {
            let mut all = futures::stream::select_all(running);
            while all.next().await.is_some() {}
            drop(needed);
        }));
    }
}

/// An absolute path of this machine.
pub(super) fn absolute(field: &str, path: String) -> Answer<PathBuf> {
    let path = PathBuf::from(path);
    if !path.is_absolute()
        || path.as_os_str().len() > crate::protocol::name::MAX_PATH_BYTES
        || path.to_string_lossy().contains('\0')
    {
        return Err(Problem::usage(format!("{field}: must be an absolute path on the peer's machine")));
    }
    Ok(path)
}
