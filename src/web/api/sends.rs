//! Bytes that a page or a script gives on, into the inboxes of others.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Answer, Api};
use crate::{
    protocol::{action::SendAsk, id::ZoneId},
    web::{
        extract::Params,
        json,
        problem::Problem,
        spool::{Spooled, taken_name},
    },
};

/// Receivers of one file: as many as one `send` command takes.
const MAX_RECEIVERS: usize = 1000;

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
        (status = 202, body = [json::Transfer]),
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
    body: Body,
) -> Answer<Response> {
    let name = taken_name(&params.name)?;
    // Whoever cannot get it is told before the bytes come.
    let receivers = api.receivers(params.to).await?;
    let spooled = api.spool().take_as(&name, &headers, body).await?;
    let fingerprint = spooled.fingerprint(&uri);
    let working = api.clone();
    api.once()
        .run(&headers, fingerprint, async move { working.send_to(receivers, spooled).await.into_response() })
        .await
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
    ) -> Answer<(StatusCode, Json<Vec<json::Transfer>>)> {
        let path = spooled.path().to_path_buf();
        let (mut told, mut running, mut failure) = (Vec::new(), Vec::new(), None);
        for peer in receivers {
            let sending = async {
                let events = self.answer(self.peer().send(SendAsk { path: path.clone(), peer })).await?;
                self.first(events).await
            };
            match sending.await {
                Ok((transfer, events)) => {
                    told.push(json::Transfer::from(&transfer));
                    running.push(events);
                }
                Err(problem) => failure = Some(problem),
            }
        }
        match failure {
            Some(problem) if told.is_empty() => Err(problem),
            _ => {
                self.follow(running, Arc::new(spooled));
                Ok((StatusCode::ACCEPTED, Json(told)))
            }
        }
    }
}
