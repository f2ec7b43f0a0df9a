//! The way of a query through the network, as spans of one trace: a search where it began, each forward, each answer.
//!
//! Built without the feature `otlp` all of this is nothing, and takes neither time nor room. With it, the context of W3C Trace
//! Context goes along in the metadata of a call; a peer that knows nothing of it does not mind.

#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod on;

#[cfg(not(feature = "otlp"))]
pub use off::Trace;
#[cfg(feature = "otlp")]
pub(super) use on::TARGET;
#[cfg(feature = "otlp")]
pub use on::Trace;
