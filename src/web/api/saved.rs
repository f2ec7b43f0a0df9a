//! The searches that this peer asks again by itself.

use axum::{Json, extract::State};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Answer, Api, searches::Zones};
use crate::{
    protocol::{action::SaveAsk, saved::is_name},
    web::{
        extract::{Body, NoParams, Params, Segments},
        json,
        paging::{Page, PageParams},
        problem::Problem,
    },
};

/// The saved searches, in order of their names.
#[utoipa::path(
    get, path = "/api/v1/saved-searches", tag = "search", params(PageParams),
    responses((status = 200, body = Page<json::SavedSearch>)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Params(page): Params<PageParams>,
) -> Answer<Json<Page<json::SavedSearch>>> {
    let window = page.window()?;
    let searches = api.answer(api.peer().saved_searches()).await?;
    Ok(Json(Page::of(&searches, window, json::SavedSearch::from)))
}

/// A search to save.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveBody {
    /// What it is to be called: letters, digits, `-`, `_` and `.`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$")]
    name: String,
    #[schema(min_length = 1, max_length = 512)]
    query: String,
    #[serde(default)]
    zones: Zones,
}

/// Saves a search, to be asked again in the background. Answers when it was asked for the first time.
#[utoipa::path(
    post, path = "/api/v1/saved-searches", tag = "search", request_body = SaveBody,
    responses((status = 201, body = json::SavedSearch), (status = 409, description = "There is one of that name, or too many")),
)]
pub(super) async fn save(
    State(api): State<Api>,
    _: NoParams,
    Body(body): Body<SaveBody>,
) -> Answer<(StatusCode, Json<json::SavedSearch>)> {
    if !is_name(&body.name) {
        return Err(Problem::usage("name: is none for a search").hint("letters, digits, `-`, `_` and `.`"));
    }
    let text = super::searches::checked_query(body.query)?;
    let ask = SaveAsk { name: body.name, text, scope: body.zones.into() };
    let saved = api.answer(api.peer().save_search(ask)).await?;
    Ok((StatusCode::CREATED, Json((&saved).into())))
}

/// Forgets a saved search and what it found.
#[utoipa::path(
    delete, path = "/api/v1/saved-searches/{name}", tag = "search", params(("name" = String, Path)),
    responses((status = 204, description = "It is forgotten"), (status = 404, description = "There is no such search")),
)]
pub(super) async fn forget(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    _: NoParams,
) -> Answer<StatusCode> {
    api.answer(api.peer().remove_saved_search(name)).await?;
    Ok(StatusCode::NO_CONTENT)
}
