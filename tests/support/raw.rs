//! Calls as no gRPC library would make them: any path, header and bytes over a bare HTTP/2 connection, and what comes back.

// Shared as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tonic::Code;

/// Longest that any answer may take: above the longest deadline of a daemon that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a status of gRPC.
    Grpc(Code),
    /// With a status of HTTP and none of gRPC.
    Http(u16),
    /// Its stream was reset.
    Reset,
    /// Its connection was ended.
    Closed,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grpc(code) => write!(f, "gRPC {code:?}"),
            Self::Http(status) => write!(f, "HTTP {status}"),
            Self::Reset => f.write_str("stream reset"),
            Self::Closed => f.write_str("connection closed"),
        }
    }
}

/// A connection that is dropped with this.
pub struct Connection {
    pub address: SocketAddr,
    pub send: SendRequest<Bytes>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("accepted");
        socket.set_nodelay(true).expect("set");
        // As every library does until it has heard how many are allowed.
        let handshake = h2::client::Builder::new()
            .initial_max_send_streams(100)
            .initial_connection_window_size(4 << 20)
            .handshake(socket);
        let (send, connection) = handshake.await.expect("a handshake");
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { address, send, driver }
    }

    /// A call whose whole body is this.
    pub async fn call(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> End {
        let ended = async {
            let mut send = match self.send.clone().ready().await {
                Ok(send) => send,
                Err(error) => return ended(&error),
            };
            let (answer, mut stream) = match send.send_request(request(path, headers), false) {
                Ok(call) => call,
                Err(error) => return ended(&error),
            };
            // Refused bodies are not taken to their end.
            let _ = stream.send_data(body.into(), true);
            end(answer).await.0
        };
        tokio::time::timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("{path} is never answered"))
    }

    /// As [`Self::call`], with one message of gRPC as its body.
    pub async fn ask(&self, path: &str, message: &impl prost::Message) -> End {
        self.call(path, &[], framed(&message.encode_to_vec())).await
    }
}

/// A request of gRPC, with these headers besides or instead; an empty one is left out.
pub fn request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let method = headers.iter().find(|(name, _)| *name == ":method").map_or("POST", |(_, method)| *method);
    let mut request = Request::builder().method(method).uri(format!("http://peer{path}"));
    let usual = [("content-type", "application/grpc"), ("te", "trailers")];
    let usual = usual.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other == name));
    for (name, value) in usual.chain(headers) {
        if !value.is_empty() && !name.starts_with(':') {
            request = request.header(*name, *value);
        }
    }
    request.body(()).expect("a request")
}

/// A message as gRPC puts it on the wire, uncompressed.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// Reads an answer to its end: how that was, and the bytes that came.
pub async fn end(answer: ResponseFuture) -> (End, usize) {
    let response = match answer.await {
        Ok(response) => response,
        Err(error) => return (ended(&error), 0),
    };
    let (head, mut body) = response.into_parts();
    let (mut bytes, mut broken) = (0, None);
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                bytes += data.len();
                let _ = body.flow_control().release_capacity(data.len());
            }
            Err(error) => {
                broken = Some(ended(&error));
                break;
            }
        }
    }
    let trailers = body.trailers().await.ok().flatten();
    let code = trailers.as_ref().and_then(grpc_status).or_else(|| grpc_status(&head.headers));
    let end = code.map(End::Grpc).or(broken).unwrap_or(End::Http(head.status.as_u16()));
    (end, bytes)
}

fn grpc_status(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

/// What an error of the transport says.
pub fn ended(error: &h2::Error) -> End {
    if error.is_reset() { End::Reset } else { End::Closed }
}
