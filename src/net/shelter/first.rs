//! The body of a request whose first message is short, though later ones may be long: whoever begins with a long one is refused
//! before it is taken in.
//!
//! Invariant: of a first message above the bound no more than its head goes further.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

/// Before each message of gRPC: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// Such a body.
#[derive(Debug)]
pub(super) struct ShortFirst {
    inner: Body,
    most_bytes: usize,
    /// What has come of the first message's head; `None` once it was looked at.
    head: Option<Vec<u8>>,
}

impl ShortFirst {
    pub(super) fn new(inner: Body, most_bytes: usize) -> Self {
        Self { inner, most_bytes, head: Some(Vec::with_capacity(HEAD_BYTES)) }
    }

    fn look(&mut self, data: &Bytes) -> Result<(), Status> {
        let Some(head) = &mut self.head else { return Ok(()) };
        head.extend(data.iter().take(HEAD_BYTES - head.len()));
        let Ok([_, length @ ..]) = <[u8; HEAD_BYTES]>::try_from(&head[..]) else { return Ok(()) };
        self.head = None;
        let length = u32::from_be_bytes(length) as usize;
        if length <= self.most_bytes {
            return Ok(());
        }
        self.inner = Body::empty();
        let most_bytes = self.most_bytes;
        Err(Status::out_of_range(format!("the first message has {length} bytes; {most_bytes} are the most")))
    }
}

impl http_body::Body for ShortFirst {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(status) = self.look(data)
        {
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// Taken in, or the code of the refusal; the body comes in parts of this size.
    async fn taken(lengths: &[u32], part: usize) -> Result<usize, tonic::Code> {
        let message = |length: &u32| {
            [&[0][..], &length.to_be_bytes(), &vec![7; usize::try_from(*length).expect("short")]].concat()
        };
        let bytes: Vec<u8> = lengths.iter().flat_map(message).collect();
        let parts: Vec<_> =
            bytes.chunks(part).map(|part| Frame::data(Bytes::copy_from_slice(part))).collect();
        let body = Body::new(StreamBody::new(stream::iter(parts).map(Ok::<_, Status>)));
        let all = ShortFirst::new(body, 100).collect().await;
        all.map(|all| all.to_bytes().len()).map_err(|status| status.code())
    }

    #[tokio::test]
    async fn a_long_first_message_is_refused_and_long_later_ones_are_not() {
        for part in [1, 3, 5, 6, 1000] {
            assert_eq!(taken(&[100, 1000], part).await, Ok(1110));
            assert_eq!(taken(&[101, 1], part).await, Err(tonic::Code::OutOfRange));
            assert_eq!(taken(&[0], part).await, Ok(5));
        }
        assert_eq!(taken(&[], 1).await, Ok(0));
    }
}
