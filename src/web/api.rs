//! The REST interface of a peer: its routes, and what their handlers share.

mod describe;
mod entry;
mod files;
mod people;
mod puts;
mod saved;
mod searches;
mod sends;
mod shares;
mod status;
mod transfers;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::get,
};
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::Semaphore;
use utoipa_axum::routes;

use super::{
    Bound, Calls, Content, Gateway, assets,
    events::Happenings,
    extract::MAX_BODY_BYTES,
    once::{self, Once},
    problem::Problem,
    searches::Searches,
    spool::Spool,
    sse::Streams,
    table::Table,
};
use crate::{
    config::HttpSettings,
    peer::{
        control::{ANSWER_DEADLINE, SCAN_DEADLINE},
        handle::{Handle, Outcome},
    },
    protocol::{
        action::{ActionError, ErrorKind},
        id::ContentHash,
        name::MAX_PATH_BYTES,
    },
    shutdown::Shutdown,
};

pub(super) use self::{describe::finish, entry::login};

/// Longest name of a peer, or id in hexadecimal digits.
const MAX_PEER_BYTES: usize = 64;
/// Their bodies are files: they look after a repetition themselves.
const UPLOADS: [&str; 2] = ["/api/v1/sends", "/api/v1/puts"];

/// What all handlers work with; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Api(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    peer: Handle,
    shutdown: Shutdown,
    searches: Searches,
    streams: Streams,
    happenings: Happenings,
    spool: Spool,
    once: Once,
    reads: Arc<Semaphore>,
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
    let folder = bound.folder().to_path_buf();
    let api = Api(Arc::new(Parts {
        happenings: Happenings::new(peer.clone(), shutdown.clone()),
        peer,
        searches: Searches::new(shutdown.clone()),
        streams: Streams::new(shutdown.clone()),
        spool: tokio::task::spawn_blocking(move || Spool::open(&folder)).await??,
        once: Once::new(shutdown.clone()),
        reads: Arc::new(Semaphore::new(files::MAX_READS)),
        shutdown: shutdown.clone(),
    }));
    let owned = routes(Router::new())
        .layer(from_fn_with_state(api.clone(), done_once))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api.clone());
    let open = assets::routes()
        .merge(operator)
        .route("/openapi.json", get(describe::openapi_json))
        .merge(Router::new().route("/login", get(login)).with_state(bound.guard().clone()));
    bound.serve(Content { open, owned, calls }, shutdown).map(Some)
}

/// Every route with its description, in a router that serves them or in one that describes them as well.
fn routes<R: Table<Api>>(router: R) -> R {
    router
        .routes(routes!(status::status))
        .routes(routes!(status::connection))
        .routes(routes!(status::events))
        .routes(routes!(searches::begin, searches::list))
        .routes(routes!(searches::get, searches::forget))
        .routes(routes!(searches::events))
        .routes(routes!(saved::list, saved::save))
        .routes(routes!(saved::forget))
        .routes(routes!(files::by_hash, files::share))
        .routes(routes!(files::by_hash_as))
        .routes(routes!(files::by_place))
        .routes(routes!(transfers::list))
        .routes(routes!(transfers::control_all))
        .routes(routes!(transfers::control))
        .routes(routes!(transfers::priority))
        .routes(routes!(transfers::download))
        .routes(routes!(sends::send))
        .routes(routes!(puts::list, puts::put))
        .routes(routes!(puts::unput))
        .routes(routes!(puts::message))
        .routes(routes!(people::peers))
        .routes(routes!(people::folder))
        .routes(routes!(people::zones))
        .routes(routes!(people::network))
        .routes(routes!(people::inbox))
        .routes(routes!(people::reply))
        .routes(routes!(shares::list, shares::add))
        .routes(routes!(shares::rescan))
        .routes(routes!(shares::remove))
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

/// A POST with a key is done once.
async fn done_once(State(api): State<Api>, request: Request, next: Next) -> Response {
    use axum::response::IntoResponse as _;
    let has_key = request.method() == Method::POST && request.headers().contains_key(once::HEADER);
    if !has_key || UPLOADS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        let problem = Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Usage,
            "the body is too large or broke off",
        );
        return problem.hint(format!("at most {MAX_BODY_BYTES} bytes")).into_response();
    };
    let body = body.to_bytes();
    let mut fingerprint = blake3::Hasher::new();
    fingerprint.update(parts.uri.to_string().as_bytes()).update(&[0]).update(&body);
    let headers = parts.headers.clone();
    let request = Request::from_parts(parts, body.into());
    let work = async move { next.run(request).await };
    api.once().run(&headers, fingerprint.finalize(), work).await.into_response()
}

impl Api {
    fn peer(&self) -> &Handle {
        &self.0.peer
    }

    fn searches(&self) -> &Searches {
        &self.0.searches
    }

    fn streams(&self) -> &Streams {
        &self.0.streams
    }

    fn happenings(&self) -> &Happenings {
        &self.0.happenings
    }

    fn spool(&self) -> &Spool {
        &self.0.spool
    }

    fn once(&self) -> &Once {
        &self.0.once
    }

    fn reads(&self) -> &Arc<Semaphore> {
        &self.0.reads
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
            outcome = tokio::time::timeout(deadline, action) => {
                let Ok(outcome) = outcome else {
                    let detail = format!("no answer within {}", humantime::format_duration(deadline));
                    return Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, ErrorKind::TimedOut, detail));
                };
                Ok(outcome?)
            }
            () = self.0.shutdown.stopping() => Err(stopping()),
        }
    }
}

/// The peer ends.
fn stopping() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Cancelled, "the peer is stopping")
}

/// What was to answer is gone without a word.
fn lost() -> ActionError {
    ActionError::new(ErrorKind::Failed, "the peer ended this without saying how").hint("its log may tell why")
}

/// A peer's name or the beginning of its id, within bounds.
fn checked_peer(peer: String) -> Answer<String> {
    if peer.is_empty() || peer.len() > MAX_PEER_BYTES {
        return Err(
            Problem::not_found("there is no peer of that name or id").hint("GET /api/v1/peers lists them")
        );
    }
    Ok(peer)
}

fn checked_hash(text: &str) -> Answer<ContentHash> {
    text.parse().map_err(|_| {
        Problem::usage("a file is named by its content hash, 64 hexadecimal digits").hint("a search tells it")
    })
}

/// A path in a peer's shares, within bounds.
fn checked_path(path: String) -> Answer<String> {
    // No share has such a segment, and a peer would take it for a broken request.
    let is_odd = path.split('/').any(|segment| matches!(segment, "" | "." | "..")) || path.contains('\0');
    if is_odd || path.len() > MAX_PATH_BYTES {
        return Err(Problem::not_found("there is no file or folder of that path"));
    }
    Ok(path)
}
