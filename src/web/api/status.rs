//! The peer's own state, and its coming and going.

use axum::{Json, extract::State};

use super::{Answer, Api};
use crate::web::{json, problem::ProblemBody};

/// The peer's own state.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "peer",
    responses(
        (status = 200, body = json::Status),
        (status = 400, body = ProblemBody<'static>, content_type = "application/problem+json", description = "The request makes no sense"),
    ),
)]
pub(super) async fn status(State(api): State<Api>) -> Answer<Json<json::Status>> {
    Ok(Json(api.answer(api.peer().status()).await?.into()))
}
