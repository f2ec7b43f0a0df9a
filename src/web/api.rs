//! The REST interface of a peer: its routes, what they share, and its OpenAPI, which is made of the handlers.

mod entry;
mod status;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use axum::{Router, extract::DefaultBodyLimit, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use utoipa::{OpenApi, openapi};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Bound, Calls, Content, Gateway, assets, extract::MAX_BODY_BYTES, guard::Guard, problem::Problem,
};
use crate::{
    config::HttpSettings,
    peer::{
        control::{ANSWER_DEADLINE, SCAN_DEADLINE},
        handle::{Handle, Outcome},
    },
    protocol::action::ErrorKind,
    shutdown::Shutdown,
};

pub(super) use self::entry::login;

/// What all handlers work with; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Api(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    peer: Handle,
    guard: Guard,
    shutdown: Shutdown,
}

/// An answer, or why there is none.
type Answer<T> = Result<T, Problem>;

/// Starts a peer's gateway, in this folder; `None` when its settings turn it off. `operator` has the routes of
/// [`super::of_peer`]: numbers that the handle does not give.
///
/// # Errors
/// When a port that somebody chose is taken, or the folder cannot be used.
pub async fn open_peer(
    settings: &HttpSettings,
    folder: PathBuf,
    peer: Handle,
    calls: Option<Calls>,
    operator: Router,
    shutdown: &Shutdown,
) -> Result<Option<Gateway>> {
    let Some(listen) = settings.listen else { return Ok(None) };
    let bound = Bound::bind(listen, settings, folder).await?;
    let parts = Parts { peer, guard: bound.guard().clone(), shutdown: shutdown.clone() };
    let api = Api(Arc::new(parts));
    let (owned, _) = described().split_for_parts();
    let owned = owned.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(api.clone());
    let open = assets::routes()
        .merge(operator)
        .route("/openapi.json", get(openapi_json))
        .merge(Router::new().route("/login", get(login)).with_state(bound.guard().clone()));
    bound.serve(Content { open, owned, calls }, shutdown).map(Some)
}

/// Every route with its description.
fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Base::openapi()).routes(routes!(status::status))
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Floodplain", description = "The REST interface of a peer. How to get the token, and examples: docs/REST.md.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")),
    modifiers(&Security),
    security(("token" = []), ("session" = [])),
)]
struct Base;

/// How a request shows that it is the owner's.
pub(super) struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, api: &mut openapi::OpenApi) {
        use openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
        let components = api.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        let session = ApiKey::Cookie(ApiKeyValue::new("floodplain-PORT"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(session));
    }
}

/// Made anew at each request: few ask, and it would take memory all the time.
async fn openapi_json() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], axum::Json(described().split_for_parts().1))
}

/// For every route: this is not one of its methods.
pub(super) async fn wrong_method() -> Problem {
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::Usage,
        "this address does not take this method",
    );
    problem.hint("the header Allow names those that it takes")
}

impl Api {
    fn peer(&self) -> &Handle {
        &self.0.peer
    }

    /// What the peer answers by itself or with one call to another.
    async fn answer<T>(&self, action: impl Future<Output = Outcome<T>>) -> Answer<T> {
        self.within(ANSWER_DEADLINE, action).await
    }

    /// What walks the shares.
    async fn scan<T>(&self, action: impl Future<Output = Outcome<T>>) -> Answer<T> {
        self.within(SCAN_DEADLINE, action).await
    }

    async fn within<T>(&self, deadline: Duration, action: impl Future<Output = Outcome<T>>) -> Answer<T> {
        tokio::select! {
            outcome = tokio::time::timeout(deadline, action) => match outcome {
                Ok(outcome) => Ok(outcome?),
                Err(_) => {
                    let detail = format!("no answer within {}", humantime::format_duration(deadline));
                    Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, ErrorKind::TimedOut, detail))
                }
            },
            () = self.0.shutdown.stopping() => Err(stopping()),
        }
    }
}

/// The peer ends.
fn stopping() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Cancelled, "the peer is stopping")
}
