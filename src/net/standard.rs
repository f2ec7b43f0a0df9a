//! What every daemon serves beside its own service: health, told to be over at the stop, and reflection.

use std::sync::{Arc, OnceLock};

use axum::{extract::Request, response::Response, routing::any};
use tonic::{Status, service::Routes};
use tonic_health::{ServingStatus, server::health_reporter};
use tower::ServiceExt as _;

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
pub async fn with_standard(routes: Routes, services: &'static [&'static str], shutdown: &Shutdown) -> Routes {
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
    let reflection = Reflection { services, made: Arc::default() };
    let answer = any(move |request| reflection.clone().answer(request));
    let with_reflection = routes
        .add_service(health_service.max_decoding_message_size(MAX_REQUEST_BYTES))
        .into_axum_router()
        .route("/grpc.reflection.v1.ServerReflection/{*method}", answer.clone())
        .route("/grpc.reflection.v1alpha.ServerReflection/{*method}", answer);
    Routes::from(with_reflection)
}

/// Reflection, which is made when somebody asks for the first time: most never do, and it holds 180 KB for each version.
#[derive(Debug, Clone)]
struct Reflection {
    services: &'static [&'static str],
    made: Arc<OnceLock<Result<axum::Router, Status>>>,
}

impl Reflection {
    async fn answer(self, request: Request) -> Response {
        match self.made.get_or_init(|| self.make()) {
            Ok(router) => match router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(status) => status.clone().into_http(),
        }
    }

    fn make(&self) -> Result<axum::Router, Status> {
        let builder = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            self.services
                .iter()
                .chain(&STANDARD)
                .fold(builder, |builder, name| builder.with_service_name(*name))
        };
        let broken = |error| Status::internal(format!("the descriptors cannot be decoded: {error}"));
        let v1 = builder().build_v1().map_err(broken)?;
        let v1alpha = builder().build_v1alpha().map_err(broken)?;
        Ok(Routes::new(v1.max_decoding_message_size(MAX_REQUEST_BYTES))
            .add_service(v1alpha.max_decoding_message_size(MAX_REQUEST_BYTES))
            .into_axum_router())
    }
}
