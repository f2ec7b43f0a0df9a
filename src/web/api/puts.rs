//! What the network keeps because this peer put it: files, and the short texts that are messages.

use axum::{
    Json,
    body::Body as RawBody,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{Answer, Api};
use crate::{
    protocol::{
        action::{PageAsk, PutAsk, PutContent},
        name::MAX_NAME_BYTES,
        placement::{DEFAULT_REPLICAS, MAX_REPLICAS},
    },
    web::{
        extract::{Body, NoParams, Params, Segments, whole},
        json,
        paging::{Page, checked_size, checked_token},
        problem::Problem,
        spool::{Spooled, taken_name},
    },
    wire::control::MAX_TEXT_BYTES,
};

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    #[param(max_length = 4096)]
    page_token: Option<String>,
}

/// What this peer put and did not take back, in order of names, with who keeps it now.
#[utoipa::path(
    get, path = "/api/v1/puts", tag = "puts", params(ListParams),
    responses((status = 200, body = Page<json::Put>)),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Params(params): Params<ListParams>,
) -> Answer<Json<Page<json::Put>>> {
    let page = PageAsk { size: checked_size(params.page_size)?, token: checked_token(params.page_token)? };
    let page = api.answer(api.peer().puts(page)).await?;
    Ok(Json(Page::new(page.rows.iter().map(json::Put::from).collect(), page.next)))
}

/// How the network keeps it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PutParams {
    /// Name of the file.
    #[param(min_length = 1, max_length = 255)]
    name: String,
    /// How many peers keep it.
    #[param(minimum = 1, maximum = 16)]
    replicas: Option<usize>,
}

/// Has the network keep the body as a file.
#[utoipa::path(
    post, path = "/api/v1/puts", tag = "puts", params(PutParams),
    request_body(content = [u8], content_type = "application/octet-stream"),
    responses(
        (status = 202, body = json::Transfer),
        (status = 408, description = "The bytes stopped coming"),
        (status = 409, description = "Too many transfers"),
        (status = 507, description = "There is not enough space"),
    ),
)]
pub(super) async fn put(
    State(api): State<Api>,
    Params(params): Params<PutParams>,
    uri: Uri,
    headers: HeaderMap,
    body: RawBody,
) -> Answer<Response> {
    let name = taken_name(&params.name)?;
    let replicas = checked_replicas(params.replicas)?;
    let spooled = api.spool().take_as(&name, &headers, body).await?;
    let fingerprint = spooled.fingerprint(&uri);
    let working = api.clone();
    let work = async move {
        let content = PutContent::Path(spooled.path().to_path_buf());
        working.put(PutAsk { content, name: Some(name), replicas }, Some(spooled)).await.into_response()
    };
    api.once().run(&headers, fingerprint, work).await
}

/// A short text for everyone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageBody {
    /// What it is found by; the beginning of the text unless told.
    #[schema(min_length = 1, max_length = 255)]
    name: Option<String>,
    /// At most 8,192 bytes.
    #[schema(min_length = 1, max_length = 8192)]
    text: String,
    /// How many peers keep it.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 16)]
    replicas: Option<usize>,
}

/// Leaves a message: a short text that the network keeps, found and read like a file.
#[utoipa::path(
    post, path = "/api/v1/messages", tag = "puts", request_body = MessageBody,
    responses((status = 202, body = json::Transfer), (status = 409, description = "Too many transfers")),
)]
pub(super) async fn message(
    State(api): State<Api>,
    _: NoParams,
    Body(body): Body<MessageBody>,
) -> Answer<(StatusCode, Json<json::Transfer>)> {
    let MessageBody { name, text, replicas } = body;
    let name = name.as_deref().map(taken_name).transpose()?;
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Err(Problem::usage(format!("text: must be 1 to {MAX_TEXT_BYTES} bytes"))
            .hint("put a longer one as a file"));
    }
    let replicas = checked_replicas(replicas)?;
    api.put(PutAsk { content: PutContent::Text(text), name, replicas }, None).await
}

/// Takes back what this peer put, by its hash or its name.
#[utoipa::path(
    delete, path = "/api/v1/puts/{target}", tag = "puts",
    params(("target" = String, Path, description = "Content hash or name")),
    responses((status = 200, body = json::Unput), (status = 404, description = "This peer put nothing of that name")),
)]
pub(super) async fn unput(
    State(api): State<Api>,
    Segments(target): Segments<String>,
    _: NoParams,
) -> Answer<Json<json::Unput>> {
    if target.len() > MAX_NAME_BYTES {
        return Err(Problem::usage("a put is named by its content hash or its name"));
    }
    Ok(Json(api.answer(api.peer().unput(target)).await?.into()))
}

fn checked_replicas(replicas: Option<usize>) -> Answer<usize> {
    let replicas = replicas.unwrap_or(DEFAULT_REPLICAS);
    if !(1..=MAX_REPLICAS).contains(&replicas) {
        return Err(Problem::usage(format!("replicas: must be 1 to {MAX_REPLICAS}")));
    }
    Ok(replicas)
}

impl Api {
    async fn put(&self, ask: PutAsk, needed: Option<Spooled>) -> Answer<(StatusCode, Json<json::Transfer>)> {
        let events = self.answer(self.peer().put(ask)).await?;
        let (transfer, events) = self.first(events).await?;
        self.follow(vec![events], needed);
        Ok((StatusCode::ACCEPTED, Json((&transfer).into())))
    }
}
