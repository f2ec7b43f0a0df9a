//! `/metrics`: a daemon's numbers for Prometheus, in the text format of `OpenMetrics`.
//!
//! Invariant: labels are words of this program. No name, query, path, address or id is ever in one, so that the number of
//! series is fixed and nothing of what people do can be read here. Every name is in `docs/OPERATIONS.md`, which a test
//! compares with what is told.

mod lines;
mod peer;
mod process;
mod registry;
#[cfg(test)]
mod tests;

use std::fmt;

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{collector::Collector, encoding::text::encode, registry::Registry as Families};

use self::{peer::PeerNumbers, process::ProcessNumbers, registry::RegistryNumbers};
use crate::{peer::Vitals, registry::overview::Overview};

/// What is answered, as RFC 9110 names it.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics` of a peer.
pub fn of_peer(vitals: Vitals) -> Router {
    route(move || text([Box::new(PeerNumbers(vitals.now())) as Box<dyn Collector>, Box::new(ProcessNumbers)]))
}

/// `GET /metrics` of a registry.
pub fn of_registry(overview: Overview) -> Router {
    route(move || {
        text([Box::new(RegistryNumbers(overview.standing())) as Box<dyn Collector>, Box::new(ProcessNumbers)])
    })
}

fn route(told: impl Fn() -> Result<String, fmt::Error> + Clone + Send + Sync + 'static) -> Router {
    Router::new().route("/metrics", get(move || std::future::ready(answer(told()))))
}

fn answer(text: Result<String, fmt::Error>) -> Response {
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        // A `String` takes all that is written to it: the collectors themselves have failed.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn text(collectors: impl IntoIterator<Item = Box<dyn Collector>>) -> Result<String, fmt::Error> {
    let mut families = Families::default();
    collectors.into_iter().for_each(|collector| families.register_collector(collector));
    let mut text = String::new();
    encode(&mut text, &families)?;
    Ok(text)
}
