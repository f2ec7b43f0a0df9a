//! What every daemon serves beside its own service: health, told to be over at the stop, and reflection.

use anyhow::Result;
use tonic::{server::NamedService, service::Routes};
use tonic_health::{ServingStatus, server::health_reporter};

use crate::{shutdown::Shutdown, wire::pb};

/// Largest request of these: a name.
const MAX_REQUEST_BYTES: usize = 16 << 10;

/// Adds health and reflection (v1 and v1alpha) to the routes of the service `S`. Health is `SERVING` from now to the stop.
///
/// # Errors
/// When the descriptors that were compiled in cannot be decoded.
pub async fn with_standard<S: NamedService>(routes: Routes, shutdown: &Shutdown) -> Result<Routes> {
    let (health, health_service) = health_reporter();
    health.set_service_status(S::NAME, ServingStatus::Serving).await;
    let stopping = shutdown.stopping_owned();
    shutdown.spawn_draining("health", async move {
        stopping.await;
        for service in [S::NAME, ""] {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
    });
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes
        .add_service(health_service.max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(reflection().build_v1()?.max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(MAX_REQUEST_BYTES)))
}
