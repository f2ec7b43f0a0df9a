//! Spans on their way to a collector, by OTLP over gRPC. Compiled in by the feature `otlp` only.
//!
//! Invariant: a collector that is away costs spans and nothing else: they wait in a bounded queue, beside everything that a
//! daemon does.

use std::{sync::OnceLock, time::Duration};

use anyhow::Context as _;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::{Builder, Runtime};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use super::trace::TARGET;

/// For one batch of spans to be taken.
const EXPORT_DEADLINE: Duration = Duration::from_secs(5);

/// What sends, for as long as the process lives. The connection belongs to a thread of its own: logs start before any runtime
/// of a daemon, and end after it.
static EXPORT: OnceLock<(SdkTracerProvider, Runtime)> = OnceLock::new();

/// A layer that sends the spans of queries to that endpoint, `http://HOST:PORT`. Nothing is dialed yet.
///
/// # Errors
/// When the endpoint is none, or its thread cannot be had.
pub(super) fn layer<S>(endpoint: &str) -> anyhow::Result<impl Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("otlp").enable_all().build()?;
    let within = runtime.enter();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_DEADLINE)
        .build()
        .with_context(|| format!("spans cannot be sent to {endpoint}"))?;
    let resource = Resource::builder()
        .with_service_name("floodplain")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = provider.tracer("floodplain");
    drop(within);
    // A second one would be of logging that was started before, which fails.
    let _ = EXPORT.set((provider, runtime));
    let only = Targets::new().with_target(TARGET, LevelFilter::TRACE);
    Ok(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(only))
}

/// Sends what waits, and ends. Blocks for as long as that takes, at most the deadline of one batch.
pub(super) fn finish() {
    if let Some((provider, _)) = EXPORT.get()
        && let Err(error) = provider.shutdown_with_timeout(EXPORT_DEADLINE)
    {
        tracing::debug!(%error, "not all spans were sent");
    }
}
