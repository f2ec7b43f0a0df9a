//! What a request that failed is answered with: RFC 9457, with the kind of the error and what to do about it.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::protocol::action::{ActionError, ErrorKind, HintCode};

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was not done. A pointer wide, since every answer may be one.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    kind: ErrorKind,
    detail: String,
    hint: String,
    hint_code: Option<HintCode>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// A problem as it is told (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Always `about:blank`: the status and the code say all.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, and to what.
    detail: &'a str,
    /// What kind of thing went wrong.
    #[schema(pattern = "^(usage|not_found|unreachable|refused|mismatch|timed_out|cancelled|failed)$")]
    code: &'a str,
    /// What to do about it; may be empty.
    hint: &'a str,
    /// The same in a word, where the hint speaks of commands or settings.
    #[schema(required)]
    hint_code: Option<&'static str>,
}

impl Problem {
    /// Of this status and kind.
    pub fn new(status: StatusCode, kind: ErrorKind, detail: impl Into<String>) -> Self {
        let (detail, hint) = (detail.into(), String::new());
        Self(Box::new(Parts { status, kind, detail, hint, hint_code: None, header: None }))
    }

    /// The request makes no sense.
    pub fn usage(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Usage, detail)
    }

    /// What was named does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, detail)
    }

    /// A bound is reached; it may be asked again in a second.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Refused, detail)
            .hint("try again in a second")
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// The program's own fault.
    pub fn failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Failed, detail)
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = hint.into();
        self.0.hint_code = None;
        self
    }

    /// With what to do about it, in words of the command line or the settings, and in a word for other faces.
    #[must_use]
    pub fn hint_as(mut self, code: HintCode, hint: impl Into<String>) -> Self {
        self = self.hint(hint);
        self.0.hint_code = Some(code);
        self
    }

    /// With a header beside it.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The code, what happened, what to do about it, and the word for that.
    pub fn told(&self) -> (&'static str, &str, &str, Option<&'static str>) {
        (self.0.kind.name(), &self.0.detail, &self.0.hint, self.0.hint_code.map(HintCode::name))
    }

    /// As JSON, for an event.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.body()).expect("plain texts and numbers become JSON")
    }

    fn body(&self) -> ProblemBody<'_> {
        ProblemBody {
            kind: "about:blank",
            title: self.0.status.canonical_reason().unwrap_or("Problem"),
            status: self.0.status.as_u16(),
            detail: &self.0.detail,
            code: self.0.kind.name(),
            hint: &self.0.hint,
            hint_code: self.0.hint_code.map(HintCode::name),
        }
    }
}

impl From<ActionError> for Problem {
    fn from(error: ActionError) -> Self {
        let status = match error.kind {
            ErrorKind::Usage => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Refused => StatusCode::CONFLICT,
            ErrorKind::Unreachable | ErrorKind::Mismatch => StatusCode::BAD_GATEWAY,
            ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        debug_assert!(is_worded(&error), "{error:?}");
        let mut problem = Self::new(status, error.kind, error.message).hint(error.hint);
        problem.0.hint_code = error.hint_code;
        problem
    }
}

/// A hint that speaks of a command has a word besides, for who never saw a terminal.
pub(super) fn is_worded(error: &ActionError) -> bool {
    error.hint_code.is_some() || !error.hint.contains("`floodplain ")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some((name, value)) = self.0.header {
            headers.insert(name, value);
        }
        response
    }
}
