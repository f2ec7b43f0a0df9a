//! Protobuf to and from the rules' types. Every inbound field is checked here before it reaches anything.
//!
//! Architecture invariant: no other module reads a field of an inbound message unchecked, and no other module builds a
//! `Status` for a malformed one.

pub mod admin;
pub mod common;
pub mod control;
pub mod enrollment;
pub mod folder;
pub mod peer;
pub mod registry;
pub mod replica;
pub mod session;
pub mod summary;
pub mod transfer;
pub mod zone_filter;

use bytes::Bytes;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::protocol::id::InvalidId;

/// Generated from `proto/floodplain/v1`.
#[allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::unwrap_used)]
pub mod pb {
    tonic::include_proto!("floodplain.v1");

    /// The encoded descriptor set, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/floodplain.fds"));
}

/// A field of an inbound message that is out of its bounds. Becomes `INVALID_ARGUMENT` with a `BadRequest` detail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Its name in the proto file, with a path where nested: `peer.address`.
    pub field: &'static str,
    /// What is wrong and what would do.
    pub problem: String,
}

impl Invalid {
    /// Names the field and what would do.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }

    /// For `map_err` on an identifier's parser.
    pub fn id(field: &'static str) -> impl FnOnce(InvalidId) -> Self {
        move |error| Self::new(field, error.to_string())
    }
}

impl From<Invalid> for Status {
    fn from(invalid: Invalid) -> Self {
        let details = ErrorDetails::with_bad_request_violation(invalid.field, &invalid.problem);
        Self::with_error_details(Code::InvalidArgument, invalid.to_string(), details)
    }
}

/// The field is there, or it is named as missing.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(field, "is missing"))
}

/// A text within its bound of bytes.
pub fn bounded(field: &'static str, text: String, max_bytes: usize) -> Result<String, Invalid> {
    if text.len() > max_bytes {
        return Err(Invalid::new(field, format!("must be at most {max_bytes} bytes, not {}", text.len())));
    }
    Ok(text)
}

/// An identifier's bytes on their way out.
pub fn bytes(id: &[u8]) -> Bytes {
    Bytes::copy_from_slice(id)
}
