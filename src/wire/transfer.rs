//! What is said around moving files: requests and offers are checked here, and file bytes are framed here by hand.

pub mod frame;

use super::{Invalid, bounded, pb, required};
use crate::protocol::{
    id::{ContentHash, PeerId, PeerName},
    name::{MAX_PATH_BYTES, portable_name},
    plan::FileName,
};

/// Smallest and largest chunk that a fetcher may ask for. Above 512 KiB the rate falls (1 MiB costs a fifth).
pub const MIN_CHUNK_BYTES: usize = 16 << 10;
/// See [`MIN_CHUNK_BYTES`].
pub const MAX_CHUNK_BYTES: usize = 512 << 10;
/// What is sent when nothing is asked for: the best size measured, one DATA frame each.
pub const DEFAULT_CHUNK_BYTES: usize = 256 << 10;

/// A byte range of one file, asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeAsk {
    /// Which file.
    pub file: FileName,
    /// First byte.
    pub offset: u64,
    /// How many bytes; `None` to the end.
    pub length: Option<u64>,
    /// Bytes of a chunk, within bounds.
    pub chunk_bytes: usize,
    /// The values of its pieces are wanted too.
    pub with_tree: bool,
}

/// Checks what a fetcher asks for.
pub fn range_ask(request: pb::DownloadRequest) -> Result<RangeAsk, Invalid> {
    use pb::download_request::File;
    let file = match required("file", request.file)? {
        File::ContentHash(hash) => {
            FileName::Hash(ContentHash::try_from(&hash[..]).map_err(Invalid::id("content_hash"))?)
        }
        File::Path(path) => {
            if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
                let problem = "must be `<share>/<path>` without empty, `.` or `..` segments";
                return Err(Invalid::new("path", problem));
            }
            FileName::Path(bounded("path", path, MAX_PATH_BYTES)?)
        }
    };
    let chunk_bytes = match usize::try_from(request.chunk_bytes) {
        Ok(0) => DEFAULT_CHUNK_BYTES,
        Ok(bytes) if (MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES).contains(&bytes) => bytes,
        _ => return Err(Invalid::new("chunk_bytes", "must be 0, or from 16384 to 524288")),
    };
    let length = (request.length > 0).then_some(request.length);
    if request.offset.checked_add(request.length).is_none() {
        return Err(Invalid::new("length", "reaches beyond any file"));
    }
    Ok(RangeAsk { file, offset: request.offset, length, chunk_bytes, with_tree: request.with_tree })
}

/// A range of `length` bytes on its way out, 0 to the end of the file; the holder chooses the chunks.
pub fn to_download_request(
    file: &FileName,
    offset: u64,
    length: u64,
    with_tree: bool,
) -> pb::DownloadRequest {
    use pb::download_request::File;
    let file = match file {
        FileName::Hash(hash) => File::ContentHash(hash.as_bytes().to_vec().into()),
        FileName::Path(path) => File::Path(path.clone()),
    };
    pb::DownloadRequest { file: Some(file), offset, length, chunk_bytes: 0, with_tree }
}

/// A file that a sender offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingOffer {
    /// Who.
    pub sender_id: PeerId,
    /// Its name.
    pub sender: PeerName,
    /// A name that may become a file here.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// What the bytes have to hash to.
    pub hash: ContentHash,
}

/// Checks an offer. A name that is not portable is refused, not mended: the sender is to know what its file is called.
pub fn offer(offer: &pb::SendOffer) -> Result<IncomingOffer, Invalid> {
    Ok(IncomingOffer {
        sender_id: PeerId::try_from(&offer.sender_id[..]).map_err(Invalid::id("offer.sender_id"))?,
        sender: offer.sender_name.parse().map_err(Invalid::id("offer.sender_name"))?,
        name: portable_name(&offer.name).map_err(|error| Invalid::new("offer.name", error.to_string()))?,
        size_bytes: offer.size_bytes,
        hash: ContentHash::try_from(&offer.content_hash[..]).map_err(Invalid::id("offer.content_hash"))?,
    })
}

/// An offer on its way out.
pub fn to_offer(offer: &IncomingOffer) -> pb::SendRequest {
    use pb::send_request::Message;
    let offer = pb::SendOffer {
        sender_id: offer.sender_id.as_bytes().to_vec().into(),
        sender_name: offer.sender.to_string(),
        name: offer.name.clone(),
        size_bytes: offer.size_bytes,
        content_hash: offer.hash.as_bytes().to_vec().into(),
    };
    pb::SendRequest { message: Some(Message::Offer(offer)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> pb::DownloadRequest {
        to_download_request(&FileName::Path("share/a/b".into()), 7, 0, true)
    }

    #[test]
    fn a_request_survives_the_way() {
        let ask = range_ask(request()).expect("valid");
        assert_eq!(ask.file, FileName::Path("share/a/b".into()));
        assert_eq!((ask.offset, ask.length, ask.chunk_bytes), (7, None, DEFAULT_CHUNK_BYTES));
        assert!(ask.with_tree);
        let by_hash = FileName::Hash(ContentHash::from_bytes([3; 32]));
        let ask = range_ask(to_download_request(&by_hash, 0, 9, false)).expect("valid");
        assert_eq!((ask.file, ask.length, ask.with_tree), (by_hash, Some(9), false));
    }

    #[test]
    fn requests_out_of_bounds_are_refused_with_the_field_named() {
        use pb::download_request::File;
        let bad = |field, request| assert_eq!(range_ask(request).expect_err("invalid").field, field);
        bad("file", pb::DownloadRequest { file: None, ..request() });
        bad(
            "content_hash",
            pb::DownloadRequest { file: Some(File::ContentHash(vec![0; 31].into())), ..request() },
        );
        for path in ["", "/etc/passwd", "share/../../etc/passwd", "a//b", "a/.", "a\0b"] {
            bad("path", pb::DownloadRequest { file: Some(File::Path(path.into())), ..request() });
        }
        bad("path", pb::DownloadRequest { file: Some(File::Path("x".repeat(4097))), ..request() });
        for chunk_bytes in [1, 16_383, 524_289, u32::MAX] {
            bad("chunk_bytes", pb::DownloadRequest { chunk_bytes, ..request() });
        }
        bad("length", pb::DownloadRequest { offset: u64::MAX, length: 1, ..request() });
    }

    #[test]
    fn an_offered_name_that_would_escape_is_refused() {
        let good = IncomingOffer {
            sender_id: PeerId::from_bytes([1; 32]),
            sender: "ana".parse().expect("valid"),
            name: "report.pdf".into(),
            size_bytes: 3,
            hash: ContentHash::from_bytes([2; 32]),
        };
        let Some(pb::send_request::Message::Offer(wire)) = to_offer(&good).message else {
            panic!("no offer")
        };
        assert_eq!(offer(&wire), Ok(good));
        for name in ["../pwned", "", "a/b", "..", "nul"] {
            let refused = offer(&pb::SendOffer { name: name.into(), ..wire.clone() });
            assert_eq!(refused.expect_err("refused").field, "offer.name");
        }
        assert!(offer(&pb::SendOffer { sender_name: "\u{1b}[2J".into(), ..wire }).is_err());
    }
}
