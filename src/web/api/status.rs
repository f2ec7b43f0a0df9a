//! The peer's own state, its coming and going, and what happens at it.

use axum::{Json, extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{Answer, Api};
use crate::web::{
    extract::{Body, NoParams, Params},
    json,
    sse::last_event_id,
};

/// The peer's own state.
#[utoipa::path(get, path = "/api/v1/status", tag = "peer", responses((status = 200, body = json::Status)))]
pub(super) async fn status(State(api): State<Api>, _: NoParams) -> Answer<Json<json::Status>> {
    Ok(Json(api.answer(api.peer().status()).await?.into()))
}

/// Whether the peer is to be in the network.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectionBody {
    connected: bool,
}

/// Leaves the network and keeps running, or joins again. Answers when it has happened.
#[utoipa::path(
    post, path = "/api/v1/connection", tag = "peer", request_body = ConnectionBody,
    responses((status = 204, description = "It has happened")),
)]
pub(super) async fn connection(
    State(api): State<Api>,
    _: NoParams,
    Body(body): Body<ConnectionBody>,
) -> Answer<StatusCode> {
    api.answer(api.peer().set_connected(body.connected)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where to go on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventParams {
    /// For readers that cannot set the header `Last-Event-ID`, which wins.
    #[param(max_length = 64)]
    last_event_id: Option<String>,
}

/// Everything that happens: `status`, `transfer`, `transfer_gone`, `inbox`, `shares`, `network`, `new_hit`, `query`. `Last-Event-ID` goes on behind
/// that event; `reset` says that some were lost, so that all is to be asked for again.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "peer", params(EventParams, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream")),
)]
pub(super) async fn events(
    State(api): State<Api>,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Answer<Response> {
    let last = last_event_id(&headers).or(params.last_event_id.as_deref());
    api.streams().open(api.happenings().read(last))
}
