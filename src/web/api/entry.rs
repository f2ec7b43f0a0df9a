//! How a browser gets in: by a link that works once.

use std::time::SystemTime;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::{
    protocol::action::{ErrorKind, HintCode},
    web::{extract::Params, guard::Guard, problem::Problem},
};

/// The query of a link.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct Login {
    ticket: String,
}

/// Uses the ticket up, and gives the browser a session.
pub(in crate::web) async fn login(
    State(guard): State<Guard>,
    headers: HeaderMap,
    Params(Login { ticket }): Params<Login>,
) -> Response {
    match guard.token().redeem(&ticket, SystemTime::now()) {
        Ok(()) => {
            let headers = [(header::SET_COOKIE, guard.cookie()), (header::LOCATION, "/".to_owned())];
            (StatusCode::SEE_OTHER, headers).into_response()
        }
        // One who follows an old link is in already, and need not be told.
        Err(_) if guard.is_known(&headers) => {
            (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response()
        }
        Err(refused) => {
            let hint = "make a new one by `floodplain web`";
            let wants_page = headers
                .get(header::ACCEPT)
                .and_then(|accept| accept.to_str().ok())
                .is_some_and(|accept| accept.contains("text/html"));
            if wants_page {
                let text = format!("Floodplain: {refused}; {hint}.\n");
                return (StatusCode::FORBIDDEN, text).into_response();
            }
            Problem::new(StatusCode::FORBIDDEN, ErrorKind::Refused, refused.to_string())
                .hint_as(HintCode::OpenPage, hint)
                .into_response()
        }
    }
}
