//! Bytes that a page or a script gives on, into the inboxes of others.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use futures::{StreamExt as _, stream};
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
}
