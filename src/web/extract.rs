//! What a handler takes from a request, with what is wrong told as a problem that names it.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection};
use http::{StatusCode, request::Parts};
use http_body::Body as _;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::protocol::action::ErrorKind;

/// Largest JSON body.
pub(super) const MAX_BODY_BYTES: usize = 64 << 10;

/// The query of an address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Params<T>(pub(super) T);

/// No query at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoParams;

/// The variable segments of a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segments<T>(pub(super) T);

/// A JSON body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Problem::usage(error.body_text())),
        }
    }
}

/// A JSON body, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptionalBody<T>(pub(super) Option<T>);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if body.is_end_stream() {
            return Ok(Self(None));
        }
        Body::from_request(Request::from_parts(parts, body), state).await.map(|Body(body)| Self(Some(body)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(query) => {
                let name: String = query.split(['=', '&']).next().unwrap_or(query).chars().take(80).collect();
                Err(Problem::usage(format!("unknown query parameter `{name}`: this address takes none")))
            }
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(error) => Err(Problem::usage(error.body_text())),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(error) => Err(problem(&error)),
        }
    }
}

fn problem(error: &JsonRejection) -> Problem {
    let status = match error {
        // What is JSON but not what is meant is a bad request as well.
        JsonRejection::JsonDataError(_) => StatusCode::BAD_REQUEST,
        other => other.status(),
    };
    let problem = Problem::new(status, ErrorKind::Usage, error.body_text());
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => problem.hint(format!("at most {MAX_BODY_BYTES} bytes")),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => problem.hint("send `Content-Type: application/json`"),
        _ => problem,
    }
}
