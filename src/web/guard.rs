//! The door of a gateway: which requests are heard at all, and what every answer forbids the browser.
//!
//! Invariant: no page of another origin makes a request that is done, whatever name it gives this machine by DNS: the Host
//! is one of ours, Origin and Sec-Fetch-Site say that the request is our page's own, and the API wants a token besides.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::SystemTime};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::Authority};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    held::Held,
    problem::Problem,
    token::{SESSION_LIFETIME, Token},
};
use crate::protocol::action::{ErrorKind, HintCode};

/// Requests that are being answered at once; bodies that still flow have bounds of their own.
const MAX_REQUESTS: usize = 256;
/// Requests without a token or a session at once, until their answers were sent; further ones are told to come again, so that a
/// stranger who reads nothing holds no more memory than these.
const MAX_STRANGERS: usize = 64;
/// What a page of ours may do.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                           form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The door of one gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    token: Token,
    port: u16,
    /// By which it is addressed besides loopback names, lower case.
    hosts: Vec<String>,
    requests: Semaphore,
    strangers: Arc<Semaphore>,
}

impl Guard {
    /// For a gateway at this port.
    pub fn new(token: Token, port: u16, hosts: Vec<String>) -> Self {
        let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
        Self(Arc::new(Inner { token, port, hosts, requests: Semaphore::new(MAX_REQUESTS), strangers }))
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.0.token
    }

    /// A cookie that holds a session from now on. Its name has the port, for cookies of all ports of a machine are kept together.
    pub fn cookie(&self) -> String {
        let (port, session) = (self.0.port, self.0.token.session(SystemTime::now()));
        let age = SESSION_LIFETIME.as_secs();
        format!("floodplain-{port}={session}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}")
    }

    /// Whether the request shows the token or a session.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let bearer =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        if bearer.is_some_and(|token| self.0.token.is(token)) {
            return true;
        }
        let name = format!("floodplain-{}", self.0.port);
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let now = SystemTime::now();
        cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(cookie, value)| cookie == name && self.0.token.is_session(value, now))
    }

    /// The place that a stranger's request takes; the owner's takes none.
    fn place(&self, headers: &HeaderMap) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        if self.is_known(headers) {
            return Ok(None);
        }
        let place = self.0.strangers.clone().try_acquire_owned();
        place.map(Some).map_err(|_| {
            Problem::busy(format!("{MAX_STRANGERS} requests without a token are being answered already"))
        })
    }

    /// Whether a page of ours, or no page at all, may have made this request.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let host = host(uri, headers)
            .ok_or_else(|| Problem::usage("the request names no host").hint("send one Host header"))?;
        if !self.is_ours(&host) {
            return Err(refused(format!("this gateway is not addressed as {}", shown(host.as_str())))
                .hint("use 127.0.0.1 or localhost; name other hosts in FLOODPLAIN_HTTP_HOSTS"));
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let is_same = origin.to_str().is_ok_and(|origin| is_same_origin(origin, &host));
            if !is_same || headers.get_all(header::ORIGIN).iter().count() > 1 {
                return Err(refused("the request comes from a page of another origin"));
            }
        }
        let fetched = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_allowed = match fetched("sec-fetch-site") {
            None => !headers.contains_key("sec-fetch-site"),
            Some("same-origin") => true,
            Some("none") => {
                matches!(*method, Method::GET | Method::HEAD)
                    && fetched("sec-fetch-mode").is_none_or(|mode| mode == "navigate")
            }
            Some(_) => false,
        };
        if is_allowed { Ok(()) } else { Err(refused("the request comes from a page of another site")) }
    }

    fn is_ours(&self, host: &Authority) -> bool {
        let name = host.host().to_ascii_lowercase();
        if self.0.hosts.contains(&name) {
            return true;
        }
        let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_loopback = name == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback());
        is_loopback && host.port_u16().unwrap_or(80) == self.0.port
    }
}

/// Outermost: hears what may be heard, bounded, and gives every answer its headers. A handler that panics ends its own
/// request only.
pub async fn door(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let is_grpc = is_grpc(request.headers());
    let is_api = request.uri().path().starts_with("/api/") || request.uri().path() == "/login";
    let answered = async {
        guard.check(request.method(), request.uri(), request.headers())?;
        let place = guard.place(request.headers())?;
        let _permit = guard
            .0
            .requests
            .try_acquire()
            .map_err(|_| Problem::busy(format!("{MAX_REQUESTS} requests are being answered already")))?;
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await.map_err(|_| {
            Problem::failed("the gateway failed at this request")
                .hint("the log tells where; please report it")
        })?;
        Ok::<Response, Problem>(match place {
            Some(place) => response.map(|body| Body::new(Held::new(body, place))),
            None => response,
        })
    };
    match answered.await {
        Ok(mut response) => {
            if !is_grpc {
                protect(response.headers_mut(), is_api);
            }
            response
        }
        Err(problem) => refuse(&problem, is_grpc),
    }
}

/// In front of all that only the owner may do.
pub async fn owner_only(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.is_known(request.headers()) {
        next.run(request).await
    } else {
        unknown(is_grpc(request.headers()))
    }
}

/// The answer to a stranger.
pub(super) fn unknown(is_grpc: bool) -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, ErrorKind::Refused, "no token and no session came with the request")
        .hint_as(HintCode::OpenPage, "open the page by `floodplain web`, or send `Authorization: Bearer` with the token in gateway/token of the data folder")
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refuse(&problem, is_grpc)
}

/// A call of gRPC is told in its own way.
fn refuse(problem: &Problem, is_grpc: bool) -> Response {
    if is_grpc {
        let text = problem.to_json();
        let status = match problem.status() {
            StatusCode::UNAUTHORIZED => tonic::Status::unauthenticated(text),
            StatusCode::SERVICE_UNAVAILABLE => tonic::Status::resource_exhausted(text),
            StatusCode::INTERNAL_SERVER_ERROR => tonic::Status::internal(text),
            _ => tonic::Status::permission_denied(text),
        };
        return status.into_http::<Body>();
    }
    let mut response = problem.clone().into_response();
    protect(response.headers_mut(), true);
    response
}

/// Whether this is a call of gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn protect(headers: &mut HeaderMap, is_api: bool) {
    let cache = if is_api { "no-store" } else { "no-cache" };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, cache),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        // What a handler set is stricter.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Whom the request is addressed to, once and well formed.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    // HTTP/2 says it in the address, and nobody may say two things.
    let mut told = headers.get_all(header::HOST).iter();
    let from_header = match (told.next(), told.next()) {
        (_, Some(_)) => return None,
        (Some(host), None) => Some(host.to_str().ok()?.parse::<Authority>().ok()?),
        (None, None) => None,
    };
    match (uri.authority().cloned(), from_header) {
        (Some(authority), Some(host)) => (authority == host).then_some(host),
        (authority, host) => authority.or(host),
    }
    .filter(|host| !host.as_str().contains('@'))
}

/// An origin is a scheme, a host and a port. Which scheme a proxy in front speaks is not known here, so that the default port of
/// either is taken for none.
fn is_same_origin(origin: &str, host: &Authority) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Ok(origin) = rest.parse::<Authority>() else { return false };
    origin.host().eq_ignore_ascii_case(host.host())
        && origin.port_u16().unwrap_or(default_port) == host.port_u16().unwrap_or(default_port)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn refused(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, ErrorKind::Refused, detail)
}

/// The beginning of what another said.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let folder = tempfile::tempdir().expect("a folder");
        let token = Token::load_or_create(folder.path()).expect("made");
        Guard::new(token, 7080, vec!["files.example.org".into()])
    }

    fn asked(method: &Method, headers: &[(&str, &str)]) -> Option<u16> {
        let headers = headers.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"))
        });
        let map: HeaderMap = headers.collect();
        guard()
            .check(method, &"/".parse().expect("a path"), &map)
            .err()
            .map(|problem| problem.status().as_u16())
    }

    #[test]
    fn only_our_own_names_are_heard() {
        for host in [
            "127.0.0.1:7080",
            "localhost:7080",
            "LOCALHOST:7080",
            "[::1]:7080",
            "127.0.0.2:7080",
            "files.example.org",
            "files.example.org:8443",
        ] {
            assert_eq!(asked(&Method::GET, &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1",
            "127.0.0.1:7081",
            "localhost.evil.example:7080",
            "127.0.0.1.evil.example:7080",
            "files.example.org.evil:7080",
            "0.0.0.0:7080",
        ] {
            assert_eq!(asked(&Method::GET, &[("host", host)]), Some(403), "{host}");
        }
        assert_eq!(asked(&Method::GET, &[]), Some(400));
        assert_eq!(asked(&Method::GET, &[("host", "evil@127.0.0.1:7080")]), Some(400));
    }

    #[test]
    fn a_page_of_another_origin_is_not_heard() {
        let host = ("host", "127.0.0.1:7080");
        let from = |origin| asked(&Method::POST, &[host, ("origin", origin)]);
        assert_eq!(from("http://127.0.0.1:7080"), None);
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:7081",
            "http://localhost:7080",
            "http://127.0.0.1",
            "file://127.0.0.1:7080",
            "",
        ] {
            assert_eq!(from(origin), Some(403), "{origin}");
        }
        let behind = [("host", "files.example.org"), ("origin", "https://files.example.org")];
        assert_eq!(asked(&Method::POST, &behind), None);
    }

    #[test]
    fn a_fetch_of_another_site_is_not_heard_and_typing_an_address_reads_only() {
        let host = ("host", "127.0.0.1:7080");
        let from =
            |method, site, mode| asked(&method, &[host, ("sec-fetch-site", site), ("sec-fetch-mode", mode)]);
        assert_eq!(from(Method::POST, "same-origin", "cors"), None);
        assert_eq!(from(Method::GET, "none", "navigate"), None);
        assert_eq!(from(Method::POST, "none", "navigate"), Some(403));
        assert_eq!(from(Method::GET, "none", "no-cors"), Some(403));
        for site in ["cross-site", "same-site", "", "none, same-origin"] {
            assert_eq!(from(Method::GET, site, "navigate"), Some(403), "{site}");
        }
    }

    async fn broken() -> &'static str {
        panic!("on purpose")
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_a_problem_and_ends_nothing_else() {
        use tower::ServiceExt as _;
        let routes = axum::Router::new().route("/broken", axum::routing::get(broken));
        let app = routes.layer(axum::middleware::from_fn_with_state(guard(), door));
        for _ in 0..2 {
            let request = Request::builder().uri("/broken").header("host", "127.0.0.1:7080");
            let request = request.body(Body::empty()).expect("a request");
            let response = app.clone().oneshot(request).await.expect("an answer");
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(response.headers()[header::CONTENT_TYPE], crate::web::problem::MEDIA_TYPE);
            assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        }
    }

    #[tokio::test]
    async fn strangers_who_read_nothing_hold_a_bounded_number_of_answers() {
        use tower::ServiceExt as _;
        let guard = guard();
        let routes = axum::Router::new().route("/open", axum::routing::get(|| async { "text" }));
        let app = routes.layer(axum::middleware::from_fn_with_state(guard.clone(), door));
        let ask = async |cookie: &str| {
            let request = Request::builder().uri("/open").header("host", "127.0.0.1:7080");
            let request = request.header(header::COOKIE, cookie).body(Body::empty()).expect("a request");
            app.clone().oneshot(request).await.expect("an answer")
        };
        let mut held = Vec::new();
        for _ in 0..MAX_STRANGERS {
            held.push(ask("a=b").await);
        }
        for response in &held {
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()[header::CONTENT_LENGTH], "4");
        }
        let refused = ask("a=b").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(header::RETRY_AFTER));
        let cookie = guard.cookie();
        let session = cookie.split(';').next().expect("a pair");
        assert_eq!(ask(session).await.status(), StatusCode::OK, "the owner is heard");
        held.clear();
        assert_eq!(ask("a=b").await.status(), StatusCode::OK);
    }

    #[test]
    fn the_owner_shows_the_token_or_a_session() {
        let guard = guard();
        let known = |name: HeaderName, value: &str| {
            guard.is_known(&HeaderMap::from_iter([(name, value.parse().expect("a value"))]))
        };
        let cookie = guard.cookie();
        let session = cookie.split(';').next().expect("a pair");
        assert!(known(header::COOKIE, session) && known(header::COOKIE, &format!("a=b; {session}")));
        assert!(!known(header::COOKIE, &session.replace("7080", "7081")));
        for bad in ["Bearer", "Bearer x", "Basic x", ""] {
            assert!(!known(header::AUTHORIZATION, bad), "{bad}");
        }
        assert!(!guard.is_known(&HeaderMap::new()));
    }
}
