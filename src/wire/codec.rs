//! Messages on and off the wire. What a message may hold many of is counted before any of it is made: an empty item takes two
//! bytes on the wire and a hundred in memory (4 MiB became 212 MiB).
//!
//! Invariant: no message of another peer takes more memory than a small multiple of its bytes, whatever it holds.

use std::{any::TypeId, marker::PhantomData};

use bytes::Buf;
use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use super::{Invalid, folder, pb, peer::MAX_FILES, replica::MAX_CHECKED};
use crate::protocol::gateway::MAX_ZONES;

/// Entries of one page of a folder.
const MAX_ENTRIES: usize = 1000;
/// Files of one pack that is downloaded; one holds as many as fit in 256 KiB, each with its entry.
const MAX_DOWNLOADED: usize = 8192;

/// A field whose items are counted, or that holds some that are.
#[derive(Debug)]
struct Counted {
    /// As in an error's details.
    name: &'static str,
    field: u64,
    /// `None` for a message that only holds others.
    most: Option<usize>,
    inside: &'static [Counted],
}

const fn items(name: &'static str, field: u64, most: usize) -> Counted {
    Counted { name, field, most: Some(most), inside: &[] }
}

const fn holder(field: u64, inside: &'static [Counted]) -> Counted {
    Counted { name: "", field, most: None, inside }
}

// Of what peers send to peers. The registry is what a peer trusts, and takes no request with items; a control socket serves
// its owner alone.
const PUSH: &[Counted] = &[holder(3, &[items("pack.files", 1, folder::MAX_PACK_FILES)])];
const MANY_ASK: &[Counted] = &[items("paths", 1, folder::MAX_MANY_PATHS)];
const CHECK_ASK: &[Counted] = &[items("content_hashes", 1, MAX_CHECKED)];
const FOUND: &[Counted] =
    &[holder(1, &[items("hits.files", 5, MAX_FILES)]), holder(2, &[items("done.zones", 7, MAX_ZONES)])];
const FOLDER_PAGE: &[Counted] = &[items("folders", 1, MAX_ENTRIES), items("files", 2, MAX_ENTRIES)];
const FILES_PAGE: &[Counted] = &[items("files", 1, folder::PAGE_SIZES.0)];
const MANY: &[Counted] = &[items("items", 1, MAX_DOWNLOADED)];
const CHECKED: &[Counted] = &[items("kept", 1, MAX_CHECKED), items("released", 2, MAX_CHECKED)];

fn counted_in<U: 'static>() -> &'static [Counted] {
    let table: [(TypeId, &'static [Counted]); 8] = [
        (TypeId::of::<pb::SearchResponse>(), FOUND),
        (TypeId::of::<pb::SendRequest>(), PUSH),
        (TypeId::of::<pb::DownloadManyRequest>(), MANY_ASK),
        (TypeId::of::<pb::DownloadManyResponse>(), MANY),
        (TypeId::of::<pb::ListFilesResponse>(), FILES_PAGE),
        (TypeId::of::<pb::BrowseResponse>(), FOLDER_PAGE),
        (TypeId::of::<pb::CheckReplicasRequest>(), CHECK_ASK),
        (TypeId::of::<pb::CheckReplicasResponse>(), CHECKED),
    ];
    let me = TypeId::of::<U>();
    table.iter().find(|(message, _)| *message == me).map_or(&[], |(_, counted)| counted)
}

/// The codec of every service of this project; on the wire it is that of any gRPC library.
#[derive(Debug, Clone)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder { inner: ProstCodec::<T, U>::default().decoder(), counted: counted_in::<U>() }
    }
}

/// Its half for what comes in.
#[derive(Debug)]
pub struct BoundedDecoder<U> {
    inner: ProstDecoder<U>,
    counted: &'static [Counted],
}

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    /// # Errors
    /// `INVALID_ARGUMENT` with the field's name when there is too much of it, `INTERNAL` when it is no message, as in every gRPC
    /// library.
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if !self.counted.is_empty() {
            // The whole message lies in one piece.
            Counter::default().count(buffer.chunk(), self.counted)?;
        }
        self.inner.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

/// What was seen of each counted field of one message, over all places where it stands: parts of a message that come twice are
/// merged.
#[derive(Debug, Default)]
struct Counter(Vec<(&'static str, usize)>);

impl Counter {
    fn count(&mut self, mut message: &[u8], counted: &'static [Counted]) -> Result<(), Status> {
        while !message.is_empty() {
            let tag = varint(&mut message)?;
            let length = match tag & 7 {
                0 => varint(&mut message).map(|_| 0)?,
                1 => 8,
                2 => varint(&mut message)?,
                5 => 4,
                // Groups are not of this version of the language, and would hide what lies in them.
                _ => return Err(malformed()),
            };
            let length = usize::try_from(length).map_err(|_| malformed())?;
            let (value, rest) = message.split_at_checked(length).ok_or_else(malformed)?;
            message = rest;
            let Some(field) = counted.iter().find(|field| field.field == tag >> 3) else { continue };
            if let Some(most) = field.most {
                self.one_more(field.name, most)?;
            }
            if !field.inside.is_empty() && tag & 7 == 2 {
                self.count(value, field.inside)?;
            }
        }
        Ok(())
    }

    fn one_more(&mut self, name: &'static str, most: usize) -> Result<(), Status> {
        let at = self.0.iter().position(|(seen, _)| *seen == name).unwrap_or_else(|| {
            self.0.push((name, 0));
            self.0.len() - 1
        });
        self.0[at].1 += 1;
        if self.0[at].1 > most {
            Err(Invalid::new(name, format!("must be at most {most}")).into())
        } else {
            Ok(())
        }
    }
}

fn malformed() -> Status {
    Status::internal("the message is malformed")
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Status> {
    prost::encoding::decode_varint(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn check<M: Message + 'static>(message: &M) -> Result<(), Status> {
        Counter::default().count(&message.encode_to_vec(), counted_in::<M>())
    }

    fn pack(files: usize) -> pb::SendRequest {
        let files = vec![pb::SendFile::default(); files];
        pb::SendRequest { message: Some(pb::send_request::Message::Pack(pb::SendPack { files })) }
    }

    #[test]
    fn as_many_as_may_be_pass_and_one_more_does_not() {
        assert!(check(&pack(1024)).is_ok());
        let refused = check(&pack(1025)).expect_err("one too many");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("pack.files"), "{}", refused.message());
        let many = |paths| pb::DownloadManyRequest { paths: vec![String::new(); paths] };
        assert!(check(&many(64)).is_ok() && check(&many(65)).is_err());
        let page = |files| pb::ListFilesResponse {
            files: vec![pb::FileEntry::default(); files],
            ..Default::default()
        };
        assert!(check(&page(10_000)).is_ok() && check(&page(10_001)).is_err());
        let hits = |files| pb::SearchResponse {
            message: Some(pb::search_response::Message::Hits(pb::Hits {
                files: vec![pb::FileEntry::default(); files],
                ..Default::default()
            })),
        };
        assert!(check(&hits(256)).is_ok() && check(&hits(257)).is_err());
        // What is counted is not looked into.
        let paths = vec!["\u{7f}\u{7f}".to_owned(); 3];
        assert!(check(&pb::DownloadManyRequest { paths }).is_ok());
    }

    #[test]
    fn what_is_spread_over_merged_parts_is_counted_together() {
        let twice = [pack(600).encode_to_vec(), pack(600).encode_to_vec()].concat();
        assert!(Counter::default().count(&twice, PUSH).is_err());
    }

    #[test]
    fn payload_is_no_field_and_a_group_hides_nothing() {
        let data = pb::send_request::Message::Data([0x0a, 0x00].repeat(5000).into());
        assert!(check(&pb::SendRequest { message: Some(data) }).is_ok());
        for garbage in [&[0x1b, 0x0a, 0x00, 0x1c][..], &[0x0a], &[0x0a, 0x05, 1], &[0xff; 11], &[0x0f, 0]] {
            assert_eq!(
                Counter::default().count(garbage, PUSH).expect_err("malformed").code(),
                Code::Internal
            );
        }
    }
}
