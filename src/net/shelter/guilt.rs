//! Which answers tell that the caller did wrong, and which that this daemon did.
//!
//! Invariant: an honest caller is struck for nothing: what this daemon cannot do is marked by [`own_fault`] and counts for nobody. The mark
//! stays in this process.
//!
//! | status | who gives it | counts |
//! |---|---|---|
//! | `INVALID_ARGUMENT` | `wire`: a field, or its number of items, is out of its bounds | yes |
//! | `OUT_OF_RANGE` | tonic and [`super::LargeRequests`]: a message above its bound | yes |
//! | | uploads: an offset behind the end of a file that is shorter than the fetcher was told | no: [`own_fault`] |
//! | `INTERNAL` | tonic and `wire/codec`: bytes that are no message | yes |
//! | | handlers: a disk, a task or a key of this machine failed | no: [`own_fault`] |
//! | `UNAUTHENTICATED`, `PERMISSION_DENIED` | `net/guard`, enrolling: what a peer hears before it is enrolled, between the end of its certificate and its renewal, or when it was shut out | no |
//! | `UNIMPLEMENTED` | tonic: a method that only a newer version has, or an encoding that is not spoken | no |
//! | `NOT_FOUND`, `ABORTED`, `FAILED_PRECONDITION`, `ALREADY_EXISTS`, `RESOURCE_EXHAUSTED`, `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `DATA_LOSS`, `CANCELLED`, `UNKNOWN` | the state of things | no |
//!
//! What does not count is paid for by the caller's rate like any other call.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::{Code, Status};

/// Beside the status of a fault of this daemon; taken off before the answer leaves.
const OWN_FAULT: HeaderName = HeaderName::from_static("floodplain-own-fault");

/// A status that is not the caller's doing, though a caller can bring about the same code.
/// Whatever a handler answers about a failure of this machine goes through here.
pub fn own_fault(code: Code, text: impl Into<String>) -> Status {
    let mut status = Status::new(code, text);
    disown(&mut status);
    status
}

/// Marks a status that has details.
pub fn disown(status: &mut Status) {
    let mut headers = std::mem::take(status.metadata_mut()).into_headers();
    headers.insert(OWN_FAULT, HeaderValue::from_static("1"));
    *status.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
}

/// The answer, or its end, says that the request could not be read, or makes no sense.
pub(super) fn is_nonsense(headers: &mut HeaderMap) -> bool {
    let is_own = headers.remove(OWN_FAULT).is_some();
    let Some(code) = headers.get(Status::GRPC_STATUS) else { return false };
    let code = Code::from_bytes(code.as_bytes());
    !is_own && matches!(code, Code::InvalidArgument | Code::OutOfRange | Code::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_counted(status: &Status) -> bool {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).expect("valid");
        let is_nonsense = is_nonsense(&mut headers);
        assert!(headers.keys().all(|name| name.as_str().starts_with("grpc-")), "{headers:?}");
        is_nonsense
    }

    #[test]
    fn a_caller_is_blamed_for_what_it_sent_and_for_nothing_else() {
        let guilty = [Code::InvalidArgument, Code::OutOfRange, Code::Internal];
        for code in (0..=16).map(Code::from_i32) {
            assert_eq!(is_counted(&Status::new(code, "text")), guilty.contains(&code), "{code:?}");
            assert!(!is_counted(&own_fault(code, "text")), "{code:?}");
        }
        assert!(!is_nonsense(&mut HeaderMap::new()));
    }
}
