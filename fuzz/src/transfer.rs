//! What is said around moving files, above all the frames that are read by hand.

use bytes::Bytes;
use floodplain::{
    protocol::{
        id::ContentHash,
        manifest::SMALL_FILE_BYTES,
        name::portable_name,
        piece::{Layout, MAX_PIECES, PieceCheck, Tree, TreeHasher},
    },
    wire::{
        folder, pb,
        transfer::{
            self, MAX_CHUNK_BYTES, MIN_CHUNK_BYTES,
            frame::{Event, Malformed, Reader, frame, unframe, write_header},
        },
    },
};
use prost::Message;

use crate::{
    Target,
    oracle::{frugal, message, message_in, sent},
};

pub const TARGETS: &[(&str, Target)] = &[
    ("download_request", download_request),
    ("download_response", download_response),
    ("download_header", download_header),
    ("download_many_request", download_many_request),
    ("download_many_response", download_many_response),
    ("send_offer", send_offer),
    ("send_pack", send_pack),
    ("piece_values", piece_values),
];

/// The whole body of a request, with its frame.
fn download_request(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    if let Ok(request) = frugal(data.len(), || unframe::<pb::DownloadRequest>(body)) {
        assert_eq!(unframe(frame(&request)), Ok(request));
    }
    let Some(ask) = message_in(data, transfer::range_ask) else { return };
    assert!((MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&ask.chunk_bytes));
    assert!(ask.offset.checked_add(ask.length.unwrap_or(0)).is_some());
    let request =
        transfer::to_download_request(&ask.file, ask.offset, ask.length.unwrap_or(0), ask.with_tree);
    let again = transfer::range_ask(sent(request)).expect("asked as it came");
    assert_eq!((again.file, again.offset, again.length), (ask.file, ask.offset, ask.length));
}

/// What a stream tells, with bytes that follow each other joined: the same however it is cut.
fn told(frames: impl Iterator<Item = Bytes>) -> (Vec<Event>, Result<(), Malformed>) {
    let mut reader = Reader::default();
    let mut events: Vec<Event> = Vec::new();
    for frame in frames {
        reader.push(frame);
        loop {
            let event = match reader.event() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(malformed) => {
                    assert_eq!(reader.event(), Err(malformed), "an error is for good");
                    return (events, Err(malformed));
                }
            };
            match (events.last_mut(), event) {
                (Some(Event::Data { offset, bytes }), Event::Data { offset: next, bytes: more })
                    if offset.checked_add(bytes.len() as u64) == Some(next) =>
                {
                    assert!(!more.is_empty());
                    *bytes = [&bytes[..], &more[..]].concat().into();
                }
                (_, event) => events.push(event),
            }
        }
    }
    let end = reader.finish();
    (events, end)
}

/// The first byte says how the stream is cut.
fn download_response(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let stream = Bytes::copy_from_slice(stream);
    let whole = frugal(data.len(), || told(std::iter::once(stream.clone())));
    let size = usize::from(*cut % 32) + 1;
    let pieces = (0..stream.len()).step_by(size).map(|at| stream.slice(at..stream.len().min(at + size)));
    // Where it breaks off, the bytes up to there may have come or not.
    let (events, end) = told(pieces);
    assert_eq!(whole.1, end);
    if end.is_ok() {
        assert_eq!(whole.0, events);
    }
    // Our reader takes no message that generated code would read otherwise.
    if let ([Event::File { entry, .. }], Ok(())) = (&whole.0[..], whole.1)
        && let Some(body) =
            stream.get(5..).filter(|_| stream[1..5] == (stream.len() as u32 - 5).to_be_bytes())
    {
        let generated = pb::DownloadResponse::decode(body).expect("generated code reads it too");
        assert_eq!(generated.file.as_ref(), Some(entry));
    }
}

/// A header of ours is read by generated code.
fn download_header(data: &[u8]) {
    let Some((offset, payload)) = data.split_first_chunk::<8>() else { return };
    let mut headroom = [0; transfer::frame::HEADROOM];
    let start = write_header(&mut headroom, u64::from_le_bytes(*offset), payload.len());
    let framed = [&headroom[start..], payload].concat();
    let read: pb::DownloadResponse = unframe(framed.into()).expect("one whole message");
    assert_eq!((read.offset, &read.data[..]), (u64::from_le_bytes(*offset), payload));
}

fn download_many_request(data: &[u8]) {
    let Some(paths) = message_in(data, folder::many_ask) else { return };
    assert!(!paths.is_empty());
    let [again] = &folder::to_many_requests(paths.iter().cloned())[..] else {
        panic!("one request is enough")
    };
    assert_eq!(folder::many_ask(sent(again.clone())), Ok(paths));
}

fn download_many_response(data: &[u8]) {
    let files = message_in(data, |response: pb::DownloadManyResponse| {
        response.items.into_iter().map(folder::downloaded).collect::<Result<Vec<_>, _>>()
    });
    for file in files.unwrap_or_default() {
        match file {
            folder::Downloaded::File { info, data } => {
                assert!(data.len() as u64 == info.size_bytes && info.size_bytes <= SMALL_FILE_BYTES);
                let out = folder::to_downloaded(Ok((&info, data.clone())));
                assert_eq!(folder::downloaded(sent(out)), Ok(folder::Downloaded::File { info, data }));
            }
            folder::Downloaded::Failed(why) => assert!(why.chars().count() <= 256),
        }
    }
}

fn send_offer(data: &[u8]) {
    let check = |offer: pb::SendOffer| transfer::offer(&offer);
    let back = |offer| match transfer::to_offer(&offer).message {
        Some(pb::send_request::Message::Offer(offer)) => {
            assert_eq!(portable_name(&offer.name).as_deref(), Ok(&*offer.name));
            offer
        }
        _ => panic!("no offer"),
    };
    message(data, check, back, sent);
}

fn send_pack(data: &[u8]) {
    let files = message_in(data, |pack: pb::SendPack| {
        pack.files.into_iter().map(folder::sent_file).collect::<Result<Vec<_>, _>>()
    });
    for (file, data) in files.unwrap_or_default() {
        let out = folder::to_sent_file(&file, data.clone());
        assert_eq!(folder::sent_file(sent(out)), Ok((file, data)));
    }
}

/// A size, a root, and values that are said to merge to it; then bytes of a piece.
fn piece_values(data: &[u8]) {
    let Some((size, rest)) = data.split_first_chunk::<8>() else { return };
    let layout = Layout::of(u64::from_le_bytes(*size));
    assert!(layout.pieces() <= MAX_PIECES);
    let last = layout.pieces().saturating_sub(1);
    assert_eq!(layout.range(last).end, layout.size_bytes());
    assert_eq!(layout.bytes_of(0..layout.pieces()), 0..layout.size_bytes());
    let Some((root, values)) = rest.split_first_chunk::<32>() else { return };
    let root = ContentHash::from_bytes(*root);
    if let Ok(tree) = Tree::from_values(root, layout.size_bytes(), values) {
        assert_eq!(tree.values(), values);
        let mut check = PieceCheck::new(&tree, last);
        check.update(values);
        check.update(rest);
        assert!(!check.is_right() || layout.size_bytes() <= rest.len() as u64 * 2);
    }
    let mut hasher = TreeHasher::new(rest.len() as u64);
    rest.chunks(usize::from(size[0]) + 1).for_each(|chunk| hasher.update(chunk));
    let tree = hasher.finish().expect("as many bytes as were said");
    assert_eq!(tree.root().as_bytes(), blake3::hash(rest).as_bytes());
    let mut check = PieceCheck::new(&tree, 0);
    check.update(rest);
    assert!(check.is_right());
}
