//! One holder's stream: asked for a range, read frame by frame, given up when it stalls.
//!
//! Invariant: the bytes that come out are in order, without gaps, and end where the file does; anything else a holder
//! does is a failure of that holder.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, body::Body, transport::Channel};
use tonic_types::StatusExt;
use tower::{Service, ServiceExt};

use crate::{
    protocol::{
        action::{ErrorKind, FileInfo},
        plan::{Failure, FailureKind, FileName, Pace, Patience},
    },
    store::StoreError,
    wire::{
        common::file_info,
        transfer::{
            frame::{self, Event, Malformed, Reader},
            to_download_request,
        },
    },
};

const DOWNLOAD_URI: &str = "/floodplain.v1.PeerService/Download";
/// Longest word of a holder that is shown.
const MAX_REASON_CHARS: usize = 200;

/// Why a fetch ended early.
#[derive(Debug)]
pub(in crate::peer) enum Stop {
    /// The holder's failure, for the plan and for a face.
    Holder(Failure, ErrorKind),
    /// This machine's failure: asking others does not help.
    Here(StoreError),
}

impl Stop {
    fn holder(kind: FailureKind, face: ErrorKind, reason: impl Into<String>) -> Self {
        Self::Holder(Failure::new(kind, reason), face)
    }

    /// Not to be asked again.
    pub(in crate::peer) fn last(face: ErrorKind, reason: impl Into<String>) -> Self {
        Self::holder(FailureKind::Final, face, reason)
    }

    pub(in crate::peer) fn disagrees(reason: impl Into<String>) -> Self {
        Self::holder(FailureKind::Disagrees, ErrorKind::Mismatch, reason)
    }

    fn stalled() -> Self {
        Self::holder(FailureKind::Passing, ErrorKind::TimedOut, "it sent less than 1 KiB/s for 10 s")
    }
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::last(ErrorKind::Failed, format!("its answer makes no sense: {malformed}"))
    }
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        let (kind, face) = match status.code() {
            Code::NotFound => (FailureKind::Final, ErrorKind::NotFound),
            Code::PermissionDenied | Code::Unauthenticated => (FailureKind::Final, ErrorKind::Refused),
            Code::InvalidArgument | Code::Unimplemented => (FailureKind::Final, ErrorKind::Failed),
            Code::ResourceExhausted => (FailureKind::Busy, ErrorKind::Refused),
            Code::Aborted => (FailureKind::Changed, ErrorKind::Failed),
            // Its file is shorter than what another holder sent of it.
            Code::OutOfRange => (FailureKind::Disagrees, ErrorKind::Failed),
            Code::DeadlineExceeded => (FailureKind::Passing, ErrorKind::TimedOut),
            Code::Unavailable => (FailureKind::Passing, ErrorKind::Unreachable),
            _ => (FailureKind::Passing, ErrorKind::Failed),
        };
        let retry_after = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
        let said: String = status.message().chars().take(MAX_REASON_CHARS).collect();
        let reason = if said.is_empty() { status.code().description().to_owned() } else { said };
        Self::Holder(Failure { kind, reason, retry_after }, face)
    }
}

/// An answer that is being read.
#[derive(Debug)]
pub(in crate::peer) struct Fetch {
    body: Body,
    reader: Reader,
    pace: Pace,
    reached: u64,
    /// Of what comes before the file's bytes, so much counts as something.
    words_left: usize,
    has_stalled: bool,
}

/// What is asked of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::peer) struct Range {
    /// First byte.
    pub(in crate::peer) offset: u64,
    /// Bytes; 0 means to the end of the file.
    pub(in crate::peer) length: u64,
    /// The values of the pieces are wanted too.
    pub(in crate::peer) with_tree: bool,
}

impl Fetch {
    /// Asks for a part of a file.
    pub(in crate::peer) async fn open(
        channel: &Channel,
        what: &FileName,
        range: Range,
    ) -> Result<Self, Stop> {
        Self::open_within(channel, what, range, Patience::default().stall).await
    }

    /// As [`Self::open`]; `stall` is how long less than 1 KiB/s may come, and how long the answer may take, dialing
    /// included.
    pub(in crate::peer) async fn open_within(
        channel: &Channel,
        what: &FileName,
        range: Range,
        stall: Duration,
    ) -> Result<Self, Stop> {
        let Range { offset, length, with_tree } = range;
        let ask = frame::frame(&to_download_request(what, offset, length, with_tree));
        let request = http::Request::post(DOWNLOAD_URI)
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Full::new(ask)))
            .expect("constant parts make a valid request");
        let mut channel = channel.clone();
        let answer = async { channel.ready().await?.call(request).await };
        let response = timeout(stall, answer)
            .await
            .map_err(|_| Stop::holder(FailureKind::Passing, ErrorKind::TimedOut, "it did not answer"))?
            .map_err(|error| {
                tracing::debug!(%error, "could not reach a holder");
                Stop::holder(FailureKind::Passing, ErrorKind::Unreachable, "it cannot be reached")
            })?;
        if let Some(status) = Status::from_header_map(response.headers())
            && status.code() != Code::Ok
        {
            return Err(status.into());
        }
        if response.status() != http::StatusCode::OK {
            let said = format!("it answered with HTTP {}", response.status().as_u16());
            return Err(Stop::holder(FailureKind::Passing, ErrorKind::Failed, said));
        }
        let body = response.into_body();
        let (reader, pace) = (Reader::default(), Pace::new(stall));
        Ok(Self {
            body,
            reader,
            pace,
            reached: offset,
            words_left: frame::MAX_MESSAGE_BYTES,
            has_stalled: false,
        })
    }

    /// The file as the holder has it, and the values of its pieces when they were asked for and it has them. Tells the
    /// places in the holder's queue that come before.
    pub(in crate::peer) async fn file(
        &mut self,
        mut queued: impl FnMut(u32),
    ) -> Result<(FileInfo, Bytes), Stop> {
        loop {
            return match self.event().await? {
                // Waiting one's turn is no stall.
                Some(Event::Queued(position)) => {
                    self.pace.reset();
                    queued(position);
                    continue;
                }
                Some(Event::File { entry, tree }) => {
                    self.words_left = 0;
                    let told = file_info(entry).map_err(|invalid| {
                        Stop::last(ErrorKind::Failed, format!("its answer is wrong: {invalid}"))
                    })?;
                    Ok((told, tree))
                }
                _ => Err(Stop::last(ErrorKind::Failed, "it sent bytes without saying of what")),
            };
        }
    }

    /// As [`Self::file`], from a holder that is only slow for as long as there is no better one.
    pub(in crate::peer) async fn file_from_best(
        &mut self,
        mut queued: impl FnMut(u32),
        has_better: impl Fn() -> bool,
    ) -> Result<(FileInfo, Bytes), Stop> {
        loop {
            match self.file(&mut queued).await {
                Err(stop) => self.stay(stop, has_better())?,
                told => return told,
            }
        }
    }

    /// As [`Self::bytes`], from a holder that is only slow for as long as there is no better one.
    pub(in crate::peer) async fn bytes_from_best(
        &mut self,
        end: u64,
        has_better: impl Fn() -> bool,
    ) -> Result<Option<Bytes>, Stop> {
        loop {
            match self.bytes(end).await {
                Err(stop) => self.stay(stop, has_better())?,
                got => return got,
            }
        }
    }

    /// After a failure: goes on when it was a stall of a holder that brings something, if little, and there is no better
    /// one.
    fn stay(&mut self, stop: Stop, has_better: bool) -> Result<(), Stop> {
        let is_slow = std::mem::take(&mut self.has_stalled) && self.pace.has_bytes();
        self.pace.reset();
        if is_slow && !has_better { Ok(()) } else { Err(stop) }
    }

    /// The next bytes; `None` when the range that ends at byte `end` is complete. May be dropped and asked again.
    pub(in crate::peer) async fn bytes(&mut self, end: u64) -> Result<Option<Bytes>, Stop> {
        match self.event().await? {
            Some(Event::Data { offset, bytes }) => {
                let behind = offset.checked_add(bytes.len() as u64);
                match behind.filter(|&behind| offset == self.reached && behind <= end) {
                    Some(behind) => {
                        self.reached = behind;
                        self.pace.brought(bytes.len() as u64);
                    }
                    None => return Err(Stop::last(ErrorKind::Failed, "it sent bytes that lie elsewhere")),
                }
                Ok(Some(bytes))
            }
            Some(Event::File { .. } | Event::Queued(_)) => {
                Err(Stop::last(ErrorKind::Failed, "it began twice"))
            }
            None if self.reached == end => Ok(None),
            None => Err(Stop::holder(FailureKind::Passing, ErrorKind::Failed, "it ended too early")),
        }
    }

    /// `None` at a good end.
    async fn event(&mut self) -> Result<Option<Event>, Stop> {
        loop {
            if let Some(event) = self.reader.event()? {
                return Ok(Some(event));
            }
            let asked_at = Instant::now();
            let Ok(frame) = timeout(self.pace.patience(), self.body.frame()).await else {
                self.has_stalled = true;
                return Err(Stop::stalled());
            };
            let wait = asked_at.elapsed();
            match frame {
                None => {
                    self.reader.finish()?;
                    let reason = "the connection was cut";
                    return Err(Stop::holder(FailureKind::Passing, ErrorKind::Unreachable, reason));
                }
                // What a holder has to say comes in the trailers: this is the connection's own end.
                Some(Err(error)) => {
                    tracing::debug!(%error, "a holder's stream broke");
                    let reason = "the connection was cut";
                    return Err(Stop::holder(FailureKind::Passing, ErrorKind::Unreachable, reason));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        // Messages may be empty: only what they bring is held for the holder.
                        let words = data.len().min(self.words_left);
                        self.words_left -= words;
                        self.pace.waited(wait, words as u64);
                        self.reader.push(data);
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let status = Status::from_header_map(&trailers);
                        let status =
                            status.unwrap_or_else(|| Status::unavailable("it ended without a status"));
                        if status.code() != Code::Ok {
                            return Err(status.into());
                        }
                        self.reader.finish()?;
                        return Ok(None);
                    }
                },
            }
        }
    }
}
