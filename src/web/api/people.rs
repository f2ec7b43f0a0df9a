//! The network and the others in it: peers, zones, their folders, and what they want to send here.

use axum::{Json, extract::State};
use http::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{Answer, Api};
use crate::{
    protocol::{
        action::{self, PageAsk, PeerPath},
        id::ZoneId,
    },
    web::{
        extract::{NoParams, Params, Segments},
        json,
        paging::{Page, PageParams, checked_size, checked_token, window},
        problem::Problem,
    },
    wire::control::MAX_REASON_BYTES,
};

/// Peers on a map: more are not told apart on a screen.
const MAX_MAP_PEERS: usize = 10_000;

/// Which peers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PeerParams {
    /// Only those of this zone.
    #[param(minimum = 1, maximum = 4_294_967_295_i64, value_type = Option<i64>)]
    zone: Option<u32>,
    /// Rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    page_token: Option<String>,
}

/// The peers of the network.
#[utoipa::path(
    get, path = "/api/v1/peers", tag = "network", params(PeerParams),
    responses((status = 200, body = json::PeerListing)),
)]
pub(super) async fn peers(
    State(api): State<Api>,
    Params(params): Params<PeerParams>,
) -> Answer<Json<json::PeerListing>> {
    let window = window(params.page_size, params.page_token.as_deref())?;
    let zone =
        params.zone.map(|zone| ZoneId::new(zone).ok_or_else(|| Problem::usage("zone: must be 1 or more")));
    let listing = api.answer(api.peer().peers(zone.transpose()?)).await?;
    let page = Page::of(&listing.rows, window, json::Peer::from);
    let (items, next_page_token) = page.into_parts();
    Ok(Json(json::PeerListing { items, is_stale: listing.is_stale, next_page_token }))
}

/// The zones of the network.
#[utoipa::path(
    get, path = "/api/v1/zones", tag = "network", params(PageParams),
    responses((status = 200, body = json::ZoneListing)),
)]
pub(super) async fn zones(
    State(api): State<Api>,
    Params(page): Params<PageParams>,
) -> Answer<Json<json::ZoneListing>> {
    let window = page.window()?;
    let listing = api.answer(api.peer().zones()).await?;
    let (items, next_page_token) = Page::of(&listing.rows, window, json::Zone::from).into_parts();
    Ok(Json(json::ZoneListing { items, is_stale: listing.is_stale, next_page_token }))
}

/// The whole network, for a map.
#[utoipa::path(get, path = "/api/v1/network", tag = "network", responses((status = 200, body = json::Network)))]
pub(super) async fn network(State(api): State<Api>, _: NoParams) -> Answer<Json<json::Network>> {
    let asked = async {
        let peer = api.peer();
        futures::try_join!(peer.status(), peer.zones(), peer.peers(None))
    };
    let (status, zones, peers) = api.answer(asked).await?;
    Ok(Json(json::Network::of(&status, &zones, &peers, MAX_MAP_PEERS)))
}

/// Which folder, and which page of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FolderParams {
    /// `<share>/<path>`; the list of shares unless told.
    #[serde(default)]
    #[param(max_length = 4096)]
    path: String,
    /// Entries of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    #[param(max_length = 4096)]
    page_token: Option<String>,
}

/// A folder of a peer's shares.
#[utoipa::path(
    get, path = "/api/v1/peers/{peer}/folder", tag = "network",
    params(("peer" = String, Path, description = "Name, or the beginning of an id"), FolderParams),
    responses((status = 200, body = json::Folder), (status = 404, description = "There is no such peer or folder")),
)]
pub(super) async fn folder(
    State(api): State<Api>,
    Segments(peer): Segments<String>,
    Params(params): Params<FolderParams>,
) -> Answer<Json<json::Folder>> {
    let FolderParams { path, page_size, page_token } = params;
    let path = if path.is_empty() { path } else { super::checked_path(path)? };
    let page = PageAsk { size: checked_size(page_size)?, token: checked_token(page_token)? };
    let folder =
        api.answer(api.peer().browse(PeerPath { peer: super::checked_peer(peer)?, path }, page)).await?;
    Ok(Json(folder.into()))
}

/// What others want to send here, and who may.
#[utoipa::path(get, path = "/api/v1/inbox", tag = "inbox", responses((status = 200, body = json::Inbox)))]
pub(super) async fn inbox(State(api): State<Api>, _: NoParams) -> Answer<Json<json::Inbox>> {
    Ok(Json((&api.answer(api.peer().inbox()).await?).into()))
}

/// What to do with an offer.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// Take this one.
    Accept,
    /// Do not take this one.
    Decline,
    /// Take this one and all later ones of the same sender.
    Trust,
}

/// Why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplyBody {
    /// The sender is told so when its offer is declined.
    #[serde(default)]
    #[schema(max_length = 256)]
    reason: String,
}

/// Answers an offer.
#[utoipa::path(
    post, path = "/api/v1/inbox/{id}/{reply}", tag = "inbox",
    params(("id" = u64, Path), ("reply" = Reply, Path)),
    request_body = Option<ReplyBody>,
    responses((status = 204, description = "The sender is told"), (status = 404, description = "No such offer waits")),
)]
pub(super) async fn reply(
    State(api): State<Api>,
    Segments((id, reply)): Segments<(u64, Reply)>,
    _: NoParams,
    body: crate::web::extract::OptionalBody<ReplyBody>,
) -> Answer<StatusCode> {
    let ReplyBody { reason } = body.0.unwrap_or_default();
    if reason.len() > MAX_REASON_BYTES {
        return Err(Problem::usage(format!("reason: must be at most {MAX_REASON_BYTES} bytes")));
    }
    let answer = match reply {
        Reply::Accept => action::Answer::Accept,
        Reply::Decline => action::Answer::Decline(reason),
        Reply::Trust => action::Answer::Trust,
    };
    api.answer(api.peer().answer_offer(id, answer)).await?;
    Ok(StatusCode::NO_CONTENT)
}
