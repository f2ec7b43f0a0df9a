//! What this peer offers.

use axum::{Json, extract::State};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, Api};
use crate::{
    protocol::name::MAX_NAME_BYTES,
    web::{
        extract::{Body, NoParams, Params, Segments},
        json,
        paging::{Page, PageParams},
        problem::Problem,
    },
};

/// The offered folders.
#[utoipa::path(
    get, path = "/api/v1/shares", tag = "shares", params(PageParams),
    responses((status = 200, body = Page<json::Share>)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Params(page): Params<PageParams>,
) -> Answer<Json<Page<json::Share>>> {
    let window = page.window()?;
    let shares = api.answer(api.peer().shares()).await?;
    Ok(Json(Page::of(&shares, window, json::Share::from)))
}

/// A folder to offer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShareBody {
    /// Absolute path of a folder on the peer's machine.
    #[schema(pattern = "^/", max_length = 4096)]
    folder: String,
}

/// Offers another folder, from now on and after a restart.
#[utoipa::path(
    post, path = "/api/v1/shares", tag = "shares", request_body = ShareBody,
    responses((status = 201, body = json::Share), (status = 409, description = "It cannot be offered")),
)]
pub(super) async fn add(
    State(api): State<Api>,
    _: NoParams,
    Body(body): Body<ShareBody>,
) -> Answer<(StatusCode, Json<json::Share>)> {
    let folder = super::transfers::absolute("folder", body.folder)?;
    let share = api.scan(api.peer().add_share(folder)).await?;
    Ok((StatusCode::CREATED, Json((&share).into())))
}

/// Stops offering a folder; its files stay.
#[utoipa::path(
    delete, path = "/api/v1/shares/{name}", tag = "shares", params(("name" = String, Path)),
    responses((status = 204, description = "It is offered no more"), (status = 404, description = "There is no such share")),
)]
pub(super) async fn remove(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    _: NoParams,
) -> Answer<StatusCode> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Problem::not_found("there is no share of that name"));
    }
    api.answer(api.peer().remove_share(name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Walks all shares again; answers when the index is as the folders are.
#[utoipa::path(post, path = "/api/v1/shares/rescan", tag = "shares", responses((status = 200, body = json::Index)))]
pub(super) async fn rescan(State(api): State<Api>, _: NoParams) -> Answer<Json<json::Index>> {
    Ok(Json(api.scan(api.peer().rescan()).await?.into()))
}
