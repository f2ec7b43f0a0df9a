//! What a handler takes from a request, with what is wrong told as a problem that names it.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection};
use http::{StatusCode, request::Parts};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::protocol::action::ErrorKind;

/// Largest JSON body.
pub const MAX_BODY_BYTES: usize = 64 << 10;

/// The query of an address.
#[derive(Debug, Clone, Copy)]
pub struct Params<T>(pub T);

/// The variable segments of a path.
#[derive(Debug, Clone, Copy)]
pub struct Segments<T>(pub T);

/// A JSON body.
#[derive(Debug, Clone, Copy)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => Err(Problem::usage(error.body_text())),
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
