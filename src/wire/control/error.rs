//! Action errors to and from gRPC statuses, so that a face behind the socket sees the very error that the peer had.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::super::Invalid;
use crate::protocol::action::{ActionError, ErrorKind, HintCode};

/// `ErrorInfo.domain` of every action error.
const DOMAIN: &str = "floodplain";
const HINT: &str = "hint";
const HINT_CODE: &str = "hint_code";
/// Longest message and longest hint on the wire. Both travel in HTTP/2 headers, percent-encoded and again in base64,
/// and must stay below the 16 KiB of headers that a client takes.
const MAX_ERROR_BYTES: usize = 1024;

/// An action's error as a status: a standard code, and an `ErrorInfo` with the kind and the hint. A longer text than
/// `MAX_ERROR_BYTES` is cut.
pub fn to_status(error: &ActionError) -> Status {
    let mut metadata = HashMap::new();
    if !error.hint.is_empty() {
        metadata.insert(HINT.to_owned(), cut(&error.hint).to_owned());
    }
    if let Some(code) = error.hint_code {
        metadata.insert(HINT_CODE.to_owned(), code.name().to_owned());
    }
    let details = ErrorDetails::with_error_info(error.kind.name(), DOMAIN, metadata);
    Status::with_error_details(code(error.kind), cut(&error.message), details)
}

/// The error that a status tells; one without our `ErrorInfo` by its code.
pub fn to_action_error(status: &Status) -> ActionError {
    match status.get_details_error_info() {
        Some(info) if info.domain == DOMAIN => ActionError {
            kind: ErrorKind::from_name(&info.reason),
            message: status.message().to_owned(),
            hint: info.metadata.get(HINT).cloned().unwrap_or_default(),
            hint_code: info.metadata.get(HINT_CODE).and_then(|name| HintCode::from_name(name)),
        },
        _ => by_code(status),
    }
}

/// The running peer's answer could not be understood.
pub fn to_malformed(invalid: &Invalid) -> ActionError {
    ActionError::new(ErrorKind::Failed, format!("the peer's answer is malformed: {invalid}"))
        .hint("it may run another version of floodplain: restart it")
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Usage => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Unreachable => Code::Unavailable,
        ErrorKind::Refused => Code::PermissionDenied,
        ErrorKind::Mismatch => Code::DataLoss,
        ErrorKind::TimedOut => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Failed => Code::Unknown,
    }
}

fn by_code(status: &Status) -> ActionError {
    let message = match status.message() {
        "" => status.code().description(),
        message => message,
    };
    let restart = "it may run another version of floodplain: restart it";
    let (kind, hint) = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => (ErrorKind::Usage, ""),
        Code::NotFound => (ErrorKind::NotFound, ""),
        Code::Unavailable => (ErrorKind::Unreachable, "is the peer running? start it with `floodplain peer`"),
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::AlreadyExists => (ErrorKind::Refused, ""),
        Code::DataLoss => (ErrorKind::Mismatch, ""),
        Code::DeadlineExceeded => (ErrorKind::TimedOut, ""),
        Code::Cancelled | Code::Aborted => (ErrorKind::Cancelled, ""),
        Code::Unimplemented => (ErrorKind::Failed, restart),
        Code::Ok | Code::Unknown | Code::Internal => (ErrorKind::Failed, ""),
    };
    let hint_code = (status.code() == Code::Unavailable).then_some(HintCode::StartPeer);
    ActionError { hint_code, ..ActionError::new(kind, message).hint(hint) }
}

fn cut(text: &str) -> &str {
    let end = (0..=MAX_ERROR_BYTES.min(text.len())).rfind(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}
