//! No trace.

use tonic::metadata::MetadataMap;

/// A span of nothing.
#[derive(Debug, Clone)]
pub struct Trace;

impl Trace {
    /// A search that begins here.
    #[inline]
    pub fn search() -> Self {
        Self
    }

    /// A query that came from another peer, so many forwards from its origin.
    #[inline]
    pub fn answer(_: &MetadataMap, _hops: u8) -> Self {
        Self
    }

    /// The same query on its way to one more peer.
    #[inline]
    #[must_use]
    pub fn forward(&self) -> Self {
        Self
    }

    /// Has the call carry it.
    #[inline]
    pub fn tell(&self, _: &mut MetadataMap) {}

    /// It was refused.
    #[inline]
    pub fn is_refused(&self) {}
}
