//! A small HTTP/1.1 client, one connection a request, and a gateway on a real peer to ask.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;

use bytes::Bytes;
use floodplain::{
    config::HttpSettings,
    peer::control,
    web::{self, Gateway, token},
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::{TestPeer, soon};

/// A body of any kind.
pub(crate) type AnyBody = BoxBody<Bytes, std::io::Error>;

/// A gateway and its token.
pub(crate) struct Client {
    pub(crate) gateway: Gateway,
    pub(crate) token: String,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The JSON of an answer that went well.
    pub(crate) fn good(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.json()
    }

    /// Asserts that it is a problem of this status and code.
    pub(crate) fn problem(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(
            (problem["status"].as_u64(), problem["code"].as_str()),
            (Some(status.into()), Some(code)),
            "{problem}"
        );
        assert!(problem["detail"].is_string() && problem["hint"].is_string(), "{problem}");
        let is_worded = problem["hint_code"].is_string();
        let speaks_of_a_command = problem["hint"].as_str().unwrap_or_default().contains("`floodplain ");
        assert!(problem.get("hint_code").is_some() && (is_worded || !speaks_of_a_command), "{problem}");
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

impl Client {
    /// Opens a gateway on this peer.
    pub(crate) async fn open(peer: &TestPeer) -> Self {
        let settings =
            HttpSettings { listen: Some(([127, 0, 0, 1], 0).into()), is_default: false, hosts: Vec::new() };
        let folder = token::folder(&peer.settings.data);
        let (handle, shutdown) = (peer.handle.clone(), peer.shutdown.clone());
        let stop = shutdown.clone();
        let calls: web::Calls =
            std::sync::Arc::new(move || Box::pin(control::routes(handle.clone(), stop.clone())));
        let operator = web::of_peer(&peer.peer.vitals());
        let opening =
            web::open_peer(&settings, folder.clone(), peer.handle.clone(), Some(calls), operator, &shutdown);
        let gateway = opening.await;
        let gateway = gateway.expect("it opens").expect("it is on");
        let token = std::fs::read_to_string(folder.join("token")).expect("a token");
        Self { gateway, token }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// A request of the owner.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(Method::from_bytes(method.as_bytes()).expect("a method"))
            .uri(path)
            .header("host", self.address().to_string())
            .header("authorization", format!("Bearer {}", self.token))
    }

    pub(crate) async fn stream(&self, request: Request<AnyBody>) -> http::Response<Incoming> {
        let stream = soon("a connection", TcpStream::connect(self.address())).await.expect("connects");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("speaks HTTP");
        tokio::spawn(connection);
        soon("an answer", sender.send_request(request)).await.expect("answers")
    }

    pub(crate) async fn send(&self, request: Request<AnyBody>) -> Answer {
        let (parts, body) = self.stream(request).await.into_parts();
        let body = soon("the whole answer", body.collect()).await.expect("a whole body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(full("")).expect("a request")).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path).body(full("")).expect("a request")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(full(body.to_string())).expect("a request")).await
    }

    /// With headers besides.
    pub(crate) async fn with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(full(body.to_vec())).expect("a request")).await
    }

    /// Follows a stream of events.
    pub(crate) async fn events(&self, path: &str, last_id: Option<&str>) -> Events {
        let mut request = self.request("GET", path);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = self.stream(request.body(full("")).expect("a request")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { body: response.into_body(), text: String::new() }
    }
}

/// A running stream of events.
pub(crate) struct Events {
    body: Incoming,
    text: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Events {
    /// The next one, comments left out; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let found = block.lines().find_map(|line| line.strip_prefix(name));
                    found.unwrap_or_default().to_owned()
                };
                if block.starts_with(':') {
                    continue;
                }
                let data = serde_json::from_str(&field("data: ")).expect("JSON");
                return Some(Event { name: field("event: "), id: field("id: "), data });
            }
            let frame = soon("an event", self.body.frame()).await?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                self.text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
            }
        }
    }

    /// The next one of that name.
    pub(crate) async fn until(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("no `{name}` came"));
            if event.name == name {
                return event;
            }
        }
    }
}
