//! Files by HTTP: read from whoever has them while they arrive, and shared by a plain upload.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{
    IntoParams, IntoResponses,
    openapi::{self, RefOr},
};

use super::{Answer, Api, checked_hash, describe::BYTES};
use crate::{
    peer::handle::Events,
    protocol::action::{ErrorKind, FileInfo, PeerPath, ReadAsk, ReadEvent, ShareFileAsk, Target},
    web::{
        disposition::{attachment, escaped},
        extract::{NoParams, Segments},
        json,
        problem::Problem,
        range::{self, Range},
        spool::taken_name,
        sse::READER_TIMEOUT,
    },
};

/// Files that are being read at once; each holds a piece of 1 MiB and a short queue.
pub(super) const MAX_READS: usize = 64;
/// Runs of bytes between the reader and the connection.
const QUEUE_RUNS: usize = 2;
/// No answer with a file is ever a page: its scripts do not run, whatever it holds.
const FILE_POLICY: &str = "default-src 'none'; sandbox";

/// Which part of a file.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes a header")]
struct RangeParam {
    /// One range of bytes.
    #[param(rename = "Range")]
    range: Option<String>,
}

/// What a request for a file is answered with.
struct Given;

impl IntoResponses for Given {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let text =
            || RefOr::T(openapi::ObjectBuilder::new().schema_type(openapi::Type::String).build().into());
        let header = || openapi::HeaderBuilder::new().schema(Some(text())).build();
        let given = |description: &str, more: &[&str]| {
            let described = openapi::ResponseBuilder::new().description(description);
            let told = more.iter().fold(described, |told, name| told.header(*name, header()));
            told.content(BYTES, openapi::Content::new(None::<RefOr<openapi::Schema>>))
        };
        let refused = |description: &str| openapi::ResponseBuilder::new().description(description);
        let responses = [
            ("200", given("All of it", &["ETag", "Content-Disposition"])),
            ("206", given("The range of it", &["Content-Range", "ETag", "Content-Disposition"])),
            ("304", refused("It is what If-None-Match names")),
            ("404", refused("Nobody who can be reached has it, or there is no such peer or file")),
            ("416", refused("The file has none of these bytes")),
        ];
        responses.into_iter().map(|(status, told)| (status.to_owned(), RefOr::T(told.build()))).collect()
    }
}

/// A file's bytes, from whoever has it, while they arrive. Every byte was checked against the hash.
#[utoipa::path(
    method(get, head), path = "/api/v1/files/{file}", tag = "files",
    params(
        ("file" = String, Path, description = "Content hash, 64 hexadecimal digits", pattern = "^[0-9a-fA-F]{64}$"),
        RangeParam,
    ),
    responses(Given),
)]
pub(super) async fn by_hash(
    State(api): State<Api>,
    Segments(file): Segments<String>,
    _: NoParams,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    api.give(Target::Hash(checked_hash(&file)?), None, &method, &headers).await
}

/// A file's bytes by its hash, to be saved under this name.
#[utoipa::path(
    method(get, head), path = "/api/v1/files/{file}/{name}", tag = "files",
    params(
        ("file" = String, Path, description = "Content hash, 64 hexadecimal digits", pattern = "^[0-9a-fA-F]{64}$"),
        ("name" = String, Path, description = "Name to save it under"),
        RangeParam,
    ),
    responses(Given),
)]
pub(super) async fn by_hash_as(
    State(api): State<Api>,
    Segments((file, name)): Segments<(String, String)>,
    _: NoParams,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    api.give(Target::Hash(checked_hash(&file)?), Some(name), &method, &headers).await
}

/// A file's bytes by its place in a peer's shares.
#[utoipa::path(
    method(get, head), path = "/api/v1/peers/{peer}/files/{*path}", tag = "files",
    params(
        ("peer" = String, Path, description = "Name, or the beginning of an id"),
        ("path" = String, Path, description = "`<share>/<path>`"),
        RangeParam,
    ),
    responses(Given),
)]
pub(super) async fn by_place(
    State(api): State<Api>,
    Segments((peer, path)): Segments<(String, String)>,
    _: NoParams,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    let place = PeerPath { peer: super::checked_peer(peer)?, path: super::checked_path(path)? };
    api.give(Target::Path(place), None, &method, &headers).await
}

/// Shares a file: its bytes are the body, its name the last segment. It goes into the first share and replaces none; the answer
/// tells the name that it got. The same bytes under the same name again leave the file that is there.
#[utoipa::path(
    put, path = "/api/v1/files/{file}", tag = "files",
    params(("file" = String, Path, description = "Name of the file")),
    request_body(content = [u8], content_type = "application/octet-stream"),
    responses(
        (status = 200, body = json::SharedFile, description = "It was there already", headers(("Location" = String, description = "Where it can be read"))),
        (status = 201, body = json::SharedFile, headers(("Location" = String, description = "Where it can be read"))),
        (status = 409, description = "There is no share that it could go into"),
        (status = 408, description = "The bytes stopped coming"),
        (status = 507, description = "There is not enough space"),
    ),
)]
pub(super) async fn share(
    State(api): State<Api>,
    Segments(file): Segments<String>,
    _: NoParams,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let name = taken_name(&file)?;
    if name.starts_with('.') {
        return Err(
            Problem::usage("hidden names are not shared").hint("choose a name that begins with no dot")
        );
    }
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(Problem::usage("Content-Range: a part of a file cannot be shared").hint("send it whole"));
    }
    let spooled = api.spool().take(&headers, body).await?;
    let path = spooled.path().to_path_buf();
    // It goes on when the other end has gone: it has sent all.
    let peer = api.peer().clone();
    let sharing = api.0.shutdown.spawn("share", async move {
        let shared = peer.share_file(ShareFileAsk { path, name }).await;
        drop(spooled);
        shared
    });
    let shared =
        api.scan(async { sharing.await.ok().flatten().unwrap_or_else(|| Err(super::lost())) }).await?;
    let name = shared.path.rsplit('/').next().unwrap_or(&shared.path).to_owned();
    let status = if shared.was_there { StatusCode::OK } else { StatusCode::CREATED };
    let place = format!("/api/v1/files/{}/{}", shared.hash, escaped(&name));
    let told = json::SharedFile {
        name,
        path: shared.path,
        size_bytes: shared.size_bytes,
        hash: shared.hash.to_string(),
    };
    Ok((status, [(header::LOCATION, place)], Json(told)).into_response())
}

/// A read that has begun, and what it reads.
struct Begun {
    file: FileInfo,
    events: Events<ReadEvent>,
}

impl Api {
    /// Answers with the file, or the range of it that is asked for.
    async fn give(
        &self,
        target: Target,
        name: Option<String>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Answer<Response> {
        let place = self.reads().clone().try_acquire_owned();
        let place = place.map_err(|_| Problem::busy(format!("{MAX_READS} files are being read already")))?;
        let asked = (*method == Method::GET)
            .then(|| headers.get(header::RANGE))
            .flatten()
            .and_then(|value| value.to_str().ok())
            .and_then(range::parse);
        // How long a file is, is known when a read has begun: one that names its first byte begins there.
        let (offset, length) = match asked {
            Some(Range::From(first, last)) => (first, last.map(|last| (last - first).saturating_add(1))),
            None if *method != Method::HEAD => (0, None),
            // Only to learn how long it is.
            Some(Range::Last(_)) | None => (0, Some(1)),
        };
        let mut begun = self.begin(&target, offset, length).await;
        // A first byte behind the end is a mistake for a reader, and an answer of its own here.
        let is_behind =
            offset > 0 && begun.as_ref().is_err_and(|problem| problem.status() == StatusCode::BAD_REQUEST);
        if is_behind {
            begun = self.begin(&target, 0, Some(1)).await;
        }
        let mut begun = begun?;
        let size_bytes = begun.file.size_bytes;
        let hash = begun.file.hash;
        let etag = hash.map(|hash| format!("\"{hash}\""));
        let is_it = |name| headers.get(name).map(|value: &HeaderValue| names(value, etag.as_deref()));
        if is_it(header::IF_NONE_MATCH) == Some(true) {
            return Ok(described(StatusCode::NOT_MODIFIED, &begun.file, name.as_deref(), etag.as_deref()));
        }
        // Of another content than the reader has a part of, all is given.
        let range = asked.filter(|_| is_it(header::IF_RANGE) != Some(false));
        let part = match range {
            None => None,
            Some(range) => Some(range.within(size_bytes).ok_or_else(|| unsatisfiable(size_bytes))?),
        };
        if *method == Method::HEAD {
            let mut response = described(StatusCode::OK, &begun.file, name.as_deref(), etag.as_deref());
            response.headers_mut().insert(header::CONTENT_LENGTH, size_bytes.into());
            return Ok(response);
        }
        let (first, length) = part.unwrap_or((0, size_bytes));
        let is_begun = !is_behind && (asked.is_none() || matches!(range, Some(Range::From(..))));
        if !is_begun {
            begun = self.begin(&target, first, Some(length).filter(|length| *length > 0)).await?;
            if (begun.file.size_bytes, begun.file.hash) != (size_bytes, hash) {
                return Err(Problem::new(
                    StatusCode::CONFLICT,
                    ErrorKind::Failed,
                    "the file changed while it was asked for",
                )
                .hint("ask again"));
            }
        }
        let status = if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let mut response = described(status, &begun.file, name.as_deref(), etag.as_deref());
        let told = response.headers_mut();
        told.insert(header::CONTENT_LENGTH, length.into());
        if part.is_some() {
            let range = format!("bytes {first}-{}/{size_bytes}", first + length - 1);
            told.insert(header::CONTENT_RANGE, range.parse().expect("digits and signs"));
        }
        *response.body_mut() = self.flow(begun.events, length, place);
        Ok(response)
    }

    async fn begin(&self, target: &Target, offset: u64, length: Option<u64>) -> Answer<Begun> {
        let ask = ReadAsk { target: target.clone(), offset, length };
        let mut events = self.answer(self.peer().read(ask)).await?;
        let first = async { events.next().await.unwrap_or_else(|| Err(super::lost())) };
        match self.answer(first).await? {
            ReadEvent::File(file) => Ok(Begun { file, events }),
            ReadEvent::Data(_) => Err(Problem::failed("the file was not announced")),
        }
    }

    /// The bytes as they arrive. A read that fails breaks the connection, so that nobody takes a part for the whole.
    fn flow(
        &self,
        mut events: Events<ReadEvent>,
        length: u64,
        place: tokio::sync::OwnedSemaphorePermit,
    ) -> Body {
        let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(QUEUE_RUNS);
        drop(self.0.shutdown.spawn("file", async move {
            let _place = place;
            let mut left = length;
            while left > 0 {
                let run = match events.next().await {
                    Some(Ok(ReadEvent::Data(bytes))) => {
                        left = left.saturating_sub(bytes.len() as u64);
                        Ok(bytes)
                    }
                    Some(Ok(ReadEvent::File(_))) => continue,
                    Some(Err(error)) => Err(std::io::Error::other(error)),
                    None => Err(std::io::ErrorKind::UnexpectedEof.into()),
                };
                let is_over = run.is_err();
                let sent = tokio::time::timeout(READER_TIMEOUT, sender.send(run)).await;
                if is_over || !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        }));
        Body::from_stream(ReceiverStream::new(receiver))
    }
}

/// Whether a validator names that content. Only strong ones are compared, of which there is one for a content.
fn names(value: &HeaderValue, etag: Option<&str>) -> bool {
    let Ok(value) = value.to_str() else { return false };
    value.trim() == "*" || etag.is_some_and(|etag| value.split(',').any(|one| one.trim() == etag))
}

fn described(status: StatusCode, file: &FileInfo, name: Option<&str>, etag: Option<&str>) -> Response {
    let mut response = status.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, attachment(name.unwrap_or_else(|| file.name())));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(FILE_POLICY));
    if let Some(etag) = etag.and_then(|etag| etag.parse().ok()) {
        headers.insert(header::ETAG, etag);
    }
    response
}

fn unsatisfiable(size_bytes: u64) -> Problem {
    let detail = format!("the file has {size_bytes} bytes, and none of these");
    Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorKind::Usage, detail)
        .header(header::CONTENT_RANGE, format!("bytes */{size_bytes}").parse().expect("digits and signs"))
}
