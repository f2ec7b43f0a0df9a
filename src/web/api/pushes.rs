//! Bytes that a page or a script gives on: into others' inboxes, or to the network, which keeps them.

use std::sync::Arc;

use axum::{
    Json,
    body::Body as RawBody,
    extract::State,
    response::{IntoResponse, Response},
};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{Answer, Api};
use crate::{
    protocol::{
        action::{PutAsk, PutContent, SendAsk},
        id::ZoneId,
        name::MAX_NAME_BYTES,
        placement::{DEFAULT_REPLICAS, MAX_REPLICAS},
    },
    web::{
        extract::{Body, NoParams, Params, Segments, whole},
        json,
        problem::Problem,
        spool::{Spooled, taken_name},
    },
    wire::control::MAX_TEXT_BYTES,
};

/// Receivers of one file: as many as one `send` command takes.
const MAX_RECEIVERS: usize = 1000;
/// Of them, those with whom a send is being begun.
const BEGUN_AT_ONCE: usize = 16;

/// Where a file goes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SendParams {
    /// A peer's name or the beginning of its id, `zone:N`, or `all`.
    #[param(min_length = 1, max_length = 64)]
    to: String,
    /// Name of the file.
    #[param(min_length = 1, max_length = 255)]
    name: String,
}

/// Sends the body as a file into the inboxes of others.
#[utoipa::path(
    post, path = "/api/v1/sends", tag = "transfers", params(SendParams),
    request_body(content = [u8], content_type = "application/octet-stream"),
    responses(
        (status = 202, body = json::Sends),
        (status = 404, description = "There is no such peer, or nobody else"),
        (status = 408, description = "The bytes stopped coming"),
        (status = 409, description = "Too many transfers"),
        (status = 507, description = "There is not enough space"),
    ),
)]
pub(super) async fn send(
    State(api): State<Api>,
    Params(params): Params<SendParams>,
    uri: Uri,
    headers: HeaderMap,
    body: RawBody,
) -> Answer<Response> {
    let name = taken_name(&params.name)?;
    // Whoever cannot get it is told before the bytes come.
    let receivers = api.receivers(params.to).await?;
    let spooled = api.spool().take_as(&name, &headers, body).await?;
    let fingerprint = fingerprint(&uri, &spooled);
    let working = api.clone();
    api.once()
        .run(&headers, fingerprint, async move { working.send_to(receivers, spooled).await.into_response() })
        .await
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
    let fingerprint = fingerprint(&uri, &spooled);
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
    responses((status = 200, body = json::Unput), (status = 409, description = "This peer put nothing of that name")),
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

/// A repetition has the same address and the same bytes.
fn fingerprint(uri: &Uri, spooled: &Spooled) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(uri.to_string().as_bytes());
    hasher.update(&[0]);
    hasher.update(spooled.hash().as_bytes());
    hasher.finalize()
}

impl Api {
    /// Everyone who is meant, this peer left out.
    async fn receivers(&self, to: String) -> Answer<Vec<String>> {
        let zone = match to.strip_prefix("zone:") {
            None if to == "all" => None,
            None => return Ok(vec![super::checked_peer(to)?]),
            Some(number) => {
                let zone = number.parse().ok().and_then(ZoneId::new);
                Some(zone.ok_or_else(|| Problem::usage("to: must be a peer, `zone:N` or `all`"))?)
            }
        };
        let me = self.answer(self.peer().status()).await?.me.id;
        let listing = self.answer(self.peer().peers(zone)).await?;
        let others: Vec<_> =
            listing.rows.iter().filter(|row| row.id != me).map(|row| row.name.to_string()).collect();
        match others.len() {
            0 => Err(Problem::not_found("there is nobody else to send to")),
            count if count > MAX_RECEIVERS => {
                Err(Problem::usage(format!("more than {MAX_RECEIVERS} receivers at once"))
                    .hint("send to one zone after the other"))
            }
            _ => Ok(others),
        }
    }

    async fn send_to(
        &self,
        receivers: Vec<String>,
        spooled: Spooled,
    ) -> Answer<(StatusCode, Json<json::Sends>)> {
        let path = spooled.path();
        // A name of another zone is asked for at the registry.
        let begun = receivers.into_iter().map(|to| async {
            let ask = SendAsk { path: path.to_path_buf(), peer: to.clone() };
            let begun = async { self.first(self.answer(self.peer().send(ask)).await?).await };
            (to, begun.await)
        });
        let begun: Vec<_> = stream::iter(begun).buffered(BEGUN_AT_ONCE).collect().await;
        let (mut items, mut running, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (to, begun) in begun {
            match begun {
                Ok((transfer, events)) => {
                    items.push(json::Transfer::from(&transfer));
                    running.push(events);
                }
                Err(problem) => refused.push((to, problem)),
            }
        }
        if items.is_empty()
            && let Some((_, problem)) = refused.pop()
        {
            return Err(problem);
        }
        self.follow(running, Arc::new(spooled));
        let refused = refused.into_iter().map(|(to, problem)| json::Refused::new(to, &problem)).collect();
        Ok((StatusCode::ACCEPTED, Json(json::Sends { items, refused })))
    }

    async fn put(&self, ask: PutAsk, needed: Option<Spooled>) -> Answer<(StatusCode, Json<json::Transfer>)> {
        let events = self.answer(self.peer().put(ask)).await?;
        let (transfer, events) = self.first(events).await?;
        self.follow(vec![events], needed);
        Ok((StatusCode::ACCEPTED, Json((&transfer).into())))
    }
}
