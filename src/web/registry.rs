//! What a registry shows its owner in a browser: who is there, in which zones, and how full the network is. It reads and can
//! change nothing; inviting and shutting out stay with the command line, behind the socket.

mod json;

use std::path::PathBuf;

use anyhow::Result;
use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use http::header;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, openapi};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Bound, Content, Gateway,
    api::{finish, login},
    extract::Params,
    health, metrics,
    paging::{Page, checked_size, wrong_token},
    problem::{Problem, ProblemBody},
};
use crate::{
    config::HttpSettings,
    protocol::id::ZoneId,
    registry::{
        overview::Overview,
        state::{self, PeerPlace},
    },
    shutdown::Shutdown,
    wire::registry::{peer_page_token, to_peer_page_token},
};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Files of the page, compiled in: where they are, what they are, and what they hold.
const ASSETS: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("page/registry.html")),
    ("/registry.js", SCRIPT, include_str!("page/registry.js")),
    ("/registry.css", STYLE, include_str!("page/registry.css")),
    ("/icon.svg", IMAGE, include_str!("page/icon.svg")),
    ("/style.css", STYLE, include_str!("page/style.css")),
    ("/theme.js", SCRIPT, include_str!("page/theme.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
];

/// Starts a registry's gateway, in this folder; `None` when its settings turn it off.
///
/// # Errors
/// When a port that somebody chose is taken, or the folder cannot be used.
pub async fn open_registry(
    settings: &HttpSettings,
    folder: PathBuf,
    overview: Overview,
    shutdown: &Shutdown,
) -> Result<Option<Gateway>> {
    let Some(listen) = settings.listen else { return Ok(None) };
    let bound = Bound::bind(listen, settings, folder).await?;
    let open = open_routes(&overview)
        .merge(Router::new().route("/login", get(login)).with_state(bound.guard().clone()));
    let (owned, _) = described().split_for_parts();
    bound.serve(Content { open, owned: owned.with_state(overview), calls: None }, shutdown).map(Some)
}

/// What needs no token.
fn open_routes(overview: &Overview) -> Router {
    let ready = overview.clone();
    let pages = ASSETS.iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, get(|| async { ([(header::CONTENT_TYPE, *media_type)], *text) }))
    });
    pages
        .route("/openapi.json", get(openapi_json))
        .merge(health::routes(move || ready.problem()))
        .merge(metrics::of_registry(overview.clone()))
}

fn described() -> OpenApiRouter<Overview> {
    OpenApiRouter::with_openapi(Base::openapi())
        .routes(routes!(standing))
        .routes(routes!(zones))
        .routes(routes!(peers))
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Floodplain registry", description = "What a registry tells its owner; nothing can be changed here.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")),
    components(schemas(ProblemBody<'static>)),
    security(("token" = []), ("session" = [])),
)]
struct Base;

/// Made anew at each request: few ask, and it would take memory all the time.
async fn openapi_json() -> impl IntoResponse {
    let mut api: openapi::OpenApi = described().split_for_parts().1;
    finish(&mut api);
    Json(api)
}

/// Everything but the lists.
#[utoipa::path(
    get, path = "/api/v1/registry", tag = "registry",
    responses((status = 200, body = json::Registry)),
)]
async fn standing(State(overview): State<Overview>) -> Json<json::Registry> {
    Json((&overview.standing()).into())
}

/// Which page of a list of zones.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ZonesAsk {
    /// Rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    #[param(pattern = "^[0-9]{1,10}$")]
    page_token: Option<String>,
}

/// The zones, in order of their numbers.
#[utoipa::path(
    get, path = "/api/v1/zones", tag = "registry", params(ZonesAsk),
    responses((status = 200, body = Page<json::RegistryZone>)),
)]
async fn zones(
    State(overview): State<Overview>,
    Params(ask): Params<ZonesAsk>,
) -> Result<Json<Page<json::RegistryZone>>, Problem> {
    let after = ask.page_token.as_deref().map(zone_number).transpose()?;
    let found = overview.zones(after, checked_size(ask.page_size)?);
    Ok(Json(page(&found, |last| last.zone.to_string())))
}

/// Which page of a list of peers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PeersAsk {
    /// Of this zone only.
    #[param(minimum = 1)]
    zone: Option<u32>,
    /// Rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before, of the same list.
    #[param(max_length = 128)]
    page_token: Option<String>,
}

/// The live peers, in order of zones and names.
#[utoipa::path(
    get, path = "/api/v1/peers", tag = "registry", params(PeersAsk),
    responses((status = 200, body = Page<json::RegistryPeer>)),
)]
async fn peers(
    State(overview): State<Overview>,
    Params(ask): Params<PeersAsk>,
) -> Result<Json<Page<json::RegistryPeer>>, Problem> {
    let zone = match ask.zone {
        None => None,
        Some(number) => {
            Some(ZoneId::new(number).ok_or_else(|| Problem::usage("zone must be a number from 1"))?)
        }
    };
    let after = peer_page_token(ask.page_token.as_deref().unwrap_or_default(), zone);
    let after = after.map_err(|invalid| Problem::usage(invalid.to_string()))?;
    let after = after.map(|(zone, name)| PeerPlace { zone, name });
    let found = overview.peers(zone, after.as_ref(), checked_size(ask.page_size)?);
    Ok(Json(page(&found, |last| to_peer_page_token(last.zone, &last.name))))
}

/// As it is told, with the token that goes on behind its last row.
fn page<R, T: for<'a> From<&'a R>>(found: &state::Page<R>, token: impl Fn(&R) -> String) -> Page<T> {
    let next = found.items.last().filter(|_| found.has_more).map(token);
    Page::new(found.items.iter().map(T::from).collect(), next)
}

fn zone_number(token: &str) -> Result<ZoneId, Problem> {
    let zone = token.parse().ok().and_then(ZoneId::new);
    zone.ok_or_else(wrong_token)
}
