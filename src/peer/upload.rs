//! Gives files of the index to others: the Download service.
//!
//! Two faces over one reading: [`FastDownload`] answers with a body framed by hand, one buffer per DATA frame and no copy;
//! [`Uploads::stream`] gives the generated messages. Invariant: at most so many uploads read at once as there are slots,
//! no fetcher has more than half of them, and none keeps one that takes bytes too slowly.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use tonic::{Code, Status, body::Body, codegen::BoxFuture, server::NamedService};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    caller::{Caller, CallerKey},
    transfers::{Ticket, Transfers},
};
use crate::{
    net::limit::{Admission, Full, Permit},
    protocol::action::{Direction, FileInfo},
    shutdown::Shutdown,
    store::{
        pool::Pool,
        read::{Chunk, FileSource, Range, SourceError, SourceFile, chunks},
    },
    wire::{
        common::to_file_entry,
        pb,
        transfer::{DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES, RangeAsk, frame, range_ask},
    },
};

/// Largest request taken; a path of 4 KiB fits with room.
const MAX_REQUEST_BYTES: usize = 16 << 10;
/// How long a fetcher may take to say what it wants, and a disk to open it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// When a fetcher may ask again after all slots were taken. A guess: some files of a few MB.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Buffers kept beyond their use, per slot: what is read ahead and what the connection holds.
const SPARE_BUFFERS_PER_SLOT: usize = 8;
const DOWNLOAD_PATH: &str = "/floodplain.v1.PeerService/Download";

/// The uploads of a peer; cheap to clone.
#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    source: Arc<dyn FileSource>,
    slots: Admission<CallerKey>,
    pool: Pool,
    large_pool: Pool,
    transfers: Transfers,
    shutdown: Shutdown,
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads").field("taken_slots", &self.0.slots.running()).finish_non_exhaustive()
    }
}

/// A file that was asked for and opened, and its slot.
struct Upload {
    source: SourceFile,
    range: Range,
    chunk_bytes: usize,
    slot: Permit<CallerKey>,
    ticket: Ticket,
}

/// What a call for many files runs with.
pub(super) struct ManyPlace {
    pub(super) slot: Permit<CallerKey>,
    pub(super) ticket: Ticket,
    pub(super) source: Arc<dyn FileSource>,
    pub(super) shutdown: Shutdown,
}

impl Uploads {
    /// With no upload yet, and so many slots; a fetcher gets half of them at most, but one at least.
    pub fn new(source: Arc<dyn FileSource>, slots: usize, transfers: Transfers, shutdown: Shutdown) -> Self {
        let keep = slots.saturating_mul(SPARE_BUFFERS_PER_SLOT).min(256);
        Self(Arc::new(Inner {
            source,
            slots: Admission::new((slots / 2).max(1), slots.max(1)),
            pool: Pool::new(frame::HEADROOM + DEFAULT_CHUNK_BYTES, keep),
            large_pool: Pool::new(frame::HEADROOM + MAX_CHUNK_BYTES, keep / 4),
            transfers,
            shutdown,
        }))
    }

    /// Answers as generated code wants it. `fetcher` is shown in the list of transfers.
    ///
    /// # Errors
    /// As the proto file says.
    pub async fn stream(
        &self,
        request: pb::DownloadRequest,
        fetcher: Caller,
    ) -> Result<BoxStream<'static, Result<pb::DownloadResponse, Status>>, Status> {
        let upload = self.open(range_ask(request)?, fetcher).await?;
        let entry = first_message(upload.source.info());
        let rest = self.read(upload).map(|chunk| {
            let Chunk { offset, payload_bytes, buffer } = chunk?;
            let end = frame::HEADROOM + payload_bytes;
            let data = buffer.freeze(end).slice(frame::HEADROOM..);
            Ok(pb::DownloadResponse { offset, data, ..Default::default() })
        });
        Ok(futures::stream::iter([Ok(entry)]).chain(rest).boxed())
    }

    /// A slot as every upload has, a place in the list, and where its files come from.
    pub(super) fn place_for_many(&self, fetcher: Caller) -> Result<ManyPlace, Status> {
        let slot = self.0.slots.admit(fetcher.key()).map_err(taken)?;
        let begun = self.0.transfers.begin(Direction::Upload, "small files", 0, vec![fetcher.to_string()]);
        let ticket = begun.map_err(|error| Status::resource_exhausted(error.message))?;
        Ok(ManyPlace { slot, ticket, source: self.0.source.clone(), shutdown: self.0.shutdown.clone() })
    }

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
        let upload = self.open(range_ask(request)?, fetcher).await?;
        let entry = Frame::data(frame::frame(&first_message(upload.source.info())));
        let data = self.read(upload).map(|chunk| chunk.map(|chunk| Frame::data(framed(chunk))));
        // An error ends the body; it becomes the trailers, as the end of a good one does.
        let frames =
            futures::stream::iter([Ok(entry)]).chain(data).chain(futures::stream::iter([Ok(ok_trailers())]));
        let frames = frames.scan(false, |has_ended, frame| {
            let frame = (!*has_ended).then(|| {
                *has_ended = frame.is_err();
                frame.or_else(|status| error_trailers(&status))
            });
            std::future::ready(frame)
        });
        Ok(Body::new(StreamBody::new(frames)))
    }

    async fn open(&self, ask: RangeAsk, fetcher: Caller) -> Result<Upload, Status> {
        let slot = self.0.slots.admit(fetcher.key()).map_err(taken)?;
        let inner = self.0.clone();
        // A network drive may hang: the call ends then, and the slot is given back when the drive answers.
        let opening = self.0.shutdown.spawn_blocking(move || {
            let source = inner.source.open(&ask.file)?;
            let range = Range::within(source.info().size_bytes, ask.offset, ask.length)?;
            Ok((source, range, slot))
        });
        let opened = tokio::time::timeout(REQUEST_TIMEOUT, opening)
            .await
            .map_err(|_| Status::deadline_exceeded("the disk did not answer in time"))?
            .map_err(|_| Status::internal("opening the file failed"))?;
        let (source, range, slot) = opened.map_err(|error| source_status(&error))?;
        let size_bytes = range.end - range.offset;
        let begun = self.0.transfers.begin(
            Direction::Upload,
            source.info().name(),
            size_bytes,
            vec![fetcher.to_string()],
        );
        let ticket = begun.map_err(|error| Status::resource_exhausted(error.message))?;
        ticket.update(|transfer| transfer.hash = source.info().hash);
        Ok(Upload { source, range, chunk_bytes: ask.chunk_bytes, slot, ticket })
    }

    fn read(&self, upload: Upload) -> impl Stream<Item = Result<Chunk, Status>> + Send + use<> {
        use crate::protocol::action::TransferState::Running;
        let Upload { source, range, chunk_bytes, slot, ticket } = upload;
        let pool = if chunk_bytes > DEFAULT_CHUNK_BYTES { &self.0.large_pool } else { &self.0.pool };
        let end = range.end;
        let buffers = (pool, frame::HEADROOM, chunk_bytes);
        let chunks = chunks(source, range, buffers, slot, &self.0.shutdown);
        ticket.enter(Running);
        futures::stream::unfold(Some((chunks, ticket, range.offset)), move |state| async move {
            let (mut chunks, ticket, reached) = state?;
            match chunks.recv().await {
                Some(Ok(chunk)) => {
                    let bytes = chunk.payload_bytes as u64;
                    ticket.count(bytes);
                    Some((Ok(chunk), Some((chunks, ticket, reached + bytes))))
                }
                Some(Err(error)) => Some((Err(source_status(&error)), None)),
                None if reached < end => {
                    Some((Err(Status::unavailable("the upload was stopped, or the fetcher stalled")), None))
                }
                None => None,
            }
        })
    }
}

fn first_message(file: &FileInfo) -> pb::DownloadResponse {
    pb::DownloadResponse { file: Some(to_file_entry(file)), ..Default::default() }
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

fn taken(full: Full) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    let message = match full {
        Full::Key => "you have your share of the upload slots",
        Full::Total => "all upload slots are taken",
    };
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

fn source_status(error: &SourceError) -> Status {
    let code = match error {
        SourceError::NotFound => Code::NotFound,
        SourceError::Changed => Code::Aborted,
        SourceError::OutOfRange { .. } => Code::OutOfRange,
        SourceError::Io(cause) => {
            tracing::warn!(%cause, "could not read a shared file");
            Code::Internal
        }
    };
    Status::new(code, error.to_string())
}

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
