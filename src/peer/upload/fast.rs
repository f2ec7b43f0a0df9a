//! Downloads answered uncopied: the body is framed by hand, one buffer per DATA frame. Invariant: what comes out is what the
//! generated code would send.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use tonic::{Status, body::Body, codegen::BoxFuture, server::NamedService};

use super::{Part, REQUEST_TIMEOUT, Uploads};
use crate::{
    net::Caller,
    store::read::Chunk,
    wire::transfer::{frame, range_ask},
};

/// Largest request taken; a path of 4 KiB fits with room.
const MAX_REQUEST_BYTES: usize = 16 << 10;
const DOWNLOAD_PATH: &str = "/floodplain.v1.PeerService/Download";

/// The generated peer service with `Download` answered uncopied; every other method passes through.
#[derive(Debug, Clone)]
pub struct FastDownload<S> {
    uploads: Uploads,
    rest: S,
}

impl<S> FastDownload<S> {
    /// In front of `rest`.
    pub fn new(uploads: Uploads, rest: S) -> Self {
        Self { uploads, rest }
    }
}

impl<S: NamedService> NamedService for FastDownload<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> tower::Service<http::Request<Body>> for FastDownload<S>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.rest.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != DOWNLOAD_PATH || !is_plain_grpc(&request) {
            return Box::pin(self.rest.call(request));
        }
        let uploads = self.uploads.clone();
        Box::pin(async move {
            let mut response = match uploads.body(request).await {
                Ok(body) => http::Response::new(body),
                Err(status) => return Ok(status.into_http()),
            };
            let grpc = http::HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
            Ok(response)
        })
    }
}

/// Anything else is left to generated code, which knows how to refuse it.
fn is_plain_grpc(request: &http::Request<Body>) -> bool {
    let header = |name| request.headers().get(name).map_or(&b""[..], http::HeaderValue::as_bytes);
    let is_grpc = matches!(header("content-type"), b"application/grpc" | b"application/grpc+proto");
    request.method() == http::Method::POST && is_grpc && matches!(header("grpc-encoding"), b"" | b"identity")
}

impl Uploads {
    /// Answers as one gRPC body, framed by hand.
    async fn body(&self, request: http::Request<Body>) -> Result<Body, Status> {
        let fetcher = Caller::of(request.extensions());
        let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect();
        let body = tokio::time::timeout(REQUEST_TIMEOUT, body)
            .await
            .map_err(|_| Status::deadline_exceeded("the request did not come in time"))?
            .map_err(|error| Status::invalid_argument(format!("the request could not be read: {error}")))?;
        let request = frame::unframe(body.to_bytes())
            .map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
        let parts = self.answer(range_ask(request)?, fetcher).await?;
        let data = parts.map(|part| {
            Ok(Frame::data(match part? {
                Part::Word(message) => frame::frame(&message),
                Part::Chunk(chunk) => framed(chunk),
            }))
        });
        // An error ends the body; it becomes the trailers, as the end of a good one does.
        let frames = data.chain(stream::iter([Ok(ok_trailers())]));
        let frames = frames.scan(false, |has_ended, frame| {
            let frame = (!*has_ended).then(|| {
                *has_ended = frame.is_err();
                frame.or_else(|status| error_trailers(&status))
            });
            std::future::ready(frame)
        });
        Ok(Body::new(StreamBody::new(frames)))
    }
}

fn framed(chunk: Chunk) -> Bytes {
    let Chunk { offset, payload_bytes, mut buffer } = chunk;
    let headroom = buffer.bytes_mut().first_chunk_mut().expect("every buffer of ours begins with headroom");
    let start = frame::write_header(headroom, offset, payload_bytes);
    buffer.freeze(frame::HEADROOM + payload_bytes).slice(start..)
}

fn ok_trailers() -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("0"));
    Frame::trailers(trailers)
}

fn error_trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
