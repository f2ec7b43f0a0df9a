//! What every daemon serves beside its own service: health, told to be over at the stop, and reflection.

use anyhow::Result;
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::health_reporter};

use crate::{shutdown::Shutdown, wire::pb};

/// Largest request of these: a name.
const MAX_REQUEST_BYTES: usize = 16 << 10;

/// The names of what this module itself adds.
const STANDARD: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Adds health and reflection (v1 and v1alpha) to routes that serve `services`, full names as in the protos. Each is `SERVING`
/// from now to the stop, and reflection lists these and no other service that the protos describe.
///
/// # Errors
/// When the descriptors that were compiled in cannot be decoded.
pub async fn with_standard(
    routes: Routes,
    services: &'static [&'static str],
    shutdown: &Shutdown,
) -> Result<Routes> {
    let (health, health_service) = health_reporter();
    for service in services {
        health.set_service_status(service, ServingStatus::Serving).await;
    }
    let stopping = shutdown.stopping_owned();
    shutdown.spawn_draining("health", async move {
        stopping.await;
        for service in services.iter().chain([&""]) {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
    });
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        services.iter().chain(&STANDARD).fold(builder, |builder, name| builder.with_service_name(*name))
    };
    Ok(routes
        .add_service(health_service.max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(reflection().build_v1()?.max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(MAX_REQUEST_BYTES)))
}
