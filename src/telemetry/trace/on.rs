//! Spans, sent to a collector when the settings name one.

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap, MetadataValue};
use tracing::{Span, field::Empty, trace_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// By which the exporter knows these spans; no other span is exported.
pub(in crate::telemetry) const TARGET: &str = "floodplain::trace";

/// A span; it ends when its last clone is dropped. Nobody enters it, so that no log line has it as its context.
#[derive(Debug, Clone)]
pub struct Trace(Span);

impl Trace {
    /// A search that begins here.
    pub fn search() -> Self {
        Self(trace_span!(target: TARGET, parent: None, "search", refused = Empty))
    }

    /// A query that came from another peer, so many forwards from its origin.
    pub fn answer(metadata: &MetadataMap, hops: u8) -> Self {
        let span = trace_span!(target: TARGET, parent: None, "answer", hops, refused = Empty);
        if !span.is_disabled() {
            let context = TraceContextPropagator::new().extract(&Read(metadata));
            // Without a layer that exports there is nothing that it could belong to.
            let _ = span.set_parent(context);
        }
        Self(span)
    }

    /// The same query on its way to one more peer.
    #[must_use]
    pub fn forward(&self) -> Self {
        Self(trace_span!(target: TARGET, parent: &self.0, "forward"))
    }

    /// Has the call carry it.
    pub fn tell(&self, metadata: &mut MetadataMap) {
        if !self.0.is_disabled() {
            TraceContextPropagator::new().inject_context(&self.0.context(), &mut Write(metadata));
        }
    }

    /// It was refused.
    pub fn is_refused(&self) {
        self.0.record("refused", true);
    }
}

struct Read<'a>(&'a MetadataMap);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        let keys = self.0.keys().filter_map(|key| match key {
            KeyRef::Ascii(key) => Some(key.as_str()),
            KeyRef::Binary(_) => None,
        });
        keys.collect()
    }
}

struct Write<'a>(&'a mut MetadataMap);

impl Injector for Write<'_> {
    fn set(&mut self, key: &str, value: String) {
        // Both are made by the propagator, of characters that a header may have.
        if let (Ok(key), Ok(value)) = (key.parse::<MetadataKey<_>>(), value.parse::<MetadataValue<_>>()) {
            self.0.insert(key, value);
        }
    }
}
