//! What peers ask of each other so that the network keeps a file, checked on its way in at both ends.

use super::{Invalid, bytes, pb, required};
use crate::protocol::{
    id::{ContentHash, OwnerKey, OwnerTag, PeerId},
    name::portable_name,
    placement::MAX_REPLICAS,
};

/// Most contents of one check.
pub const MAX_CHECKED: usize = 256;
/// Largest request: 256 hashes with their framing.
pub const MAX_REQUEST_BYTES: usize = 16 << 10;
/// Largest answer: 256 hashes with their keys and framing.
pub const MAX_ANSWER_BYTES: usize = 32 << 10;

/// A content to keep for the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepAsk {
    /// Which.
    pub hash: ContentHash,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// A portable file name.
    pub name: String,
    /// Replicas wanted, 1 to [`MAX_REPLICAS`].
    pub replicas: usize,
    /// Who knows the key of this may release it.
    pub owner_tag: OwnerTag,
    /// Who put it.
    pub owner: PeerId,
    /// Whom to pull it from.
    pub source: PeerId,
}

/// What a keeper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It begins.
    Accepted,
    /// It is on disk.
    Done,
}

/// Proof that a content was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Which.
    pub hash: ContentHash,
    /// The owner's key.
    pub key: OwnerKey,
}

/// Checks what is to be kept.
pub fn keep_ask(request: &pb::KeepRequest) -> Result<KeepAsk, Invalid> {
    let replicas = usize::try_from(request.replicas).unwrap_or(usize::MAX);
    if !(1..=MAX_REPLICAS).contains(&replicas) {
        return Err(Invalid::new("replicas", format!("must be 1 to {MAX_REPLICAS}")));
    }
    Ok(KeepAsk {
        hash: hash("content_hash", &request.content_hash)?,
        size_bytes: request.size_bytes,
        name: portable_name(&request.name).map_err(|error| Invalid::new("name", error.to_string()))?,
        replicas,
        owner_tag: OwnerTag::try_from(&request.owner_tag[..]).map_err(Invalid::id("owner_tag"))?,
        owner: PeerId::try_from(&request.owner_id[..]).map_err(Invalid::id("owner_id"))?,
        source: PeerId::try_from(&request.source_id[..]).map_err(Invalid::id("source_id"))?,
    })
}

/// What is to be kept, on its way out.
pub fn to_keep_request(ask: &KeepAsk) -> pb::KeepRequest {
    pb::KeepRequest {
        content_hash: bytes(ask.hash.as_bytes()),
        size_bytes: ask.size_bytes,
        name: ask.name.clone(),
        replicas: u32::try_from(ask.replicas).unwrap_or(u32::MAX),
        owner_tag: bytes(ask.owner_tag.as_bytes()),
        owner_id: bytes(ask.owner.as_bytes()),
        source_id: bytes(ask.source.as_bytes()),
    }
}

/// What a keeper says.
pub fn kept(response: &pb::KeepResponse) -> Result<Kept, Invalid> {
    use pb::keep_response::Message;
    Ok(match required("message", response.message.as_ref())? {
        Message::Accepted(_) => Kept::Accepted,
        Message::Done(_) => Kept::Done,
    })
}

/// What a keeper says, on its way out.
pub fn to_kept(kept: Kept) -> pb::KeepResponse {
    use pb::keep_response::Message;
    let message = match kept {
        Kept::Accepted => Message::Accepted(pb::KeepAccepted {}),
        Kept::Done => Message::Done(pb::KeepDone {}),
    };
    pb::KeepResponse { message: Some(message) }
}

/// Checks which contents are asked about.
pub fn check_ask(request: &pb::CheckReplicasRequest) -> Result<Vec<ContentHash>, Invalid> {
    hashes("content_hashes", &request.content_hashes)
}

/// Which contents are asked about, on its way out.
pub fn to_check_request(asked: &[ContentHash]) -> pb::CheckReplicasRequest {
    pb::CheckReplicasRequest { content_hashes: asked.iter().map(|hash| bytes(hash.as_bytes())).collect() }
}

/// What became of the contents at another peer.
pub fn checked(response: &pb::CheckReplicasResponse) -> Result<(Vec<ContentHash>, Vec<Released>), Invalid> {
    if response.released.len() > MAX_CHECKED {
        return Err(Invalid::new("released", format!("must be at most {MAX_CHECKED}")));
    }
    let released = response.released.iter().map(release_ask).collect::<Result<_, _>>()?;
    Ok((hashes("kept", &response.kept)?, released))
}

/// What became of the contents here, on its way out.
pub fn to_checked(
    kept: &[ContentHash],
    released: &[Released],
    room_bytes: Option<u64>,
) -> pb::CheckReplicasResponse {
    pb::CheckReplicasResponse {
        kept: kept.iter().map(|hash| bytes(hash.as_bytes())).collect(),
        released: released.iter().map(to_release_request).collect(),
        room_bytes,
    }
}

/// Checks what is to be released.
pub fn release_ask(request: &pb::ReleaseRequest) -> Result<Released, Invalid> {
    Ok(Released {
        hash: hash("content_hash", &request.content_hash)?,
        key: OwnerKey::try_from(&request.owner_key[..]).map_err(Invalid::id("owner_key"))?,
    })
}

/// What is to be released, on its way out.
pub fn to_release_request(released: &Released) -> pb::ReleaseRequest {
    pb::ReleaseRequest {
        content_hash: bytes(released.hash.as_bytes()),
        owner_key: bytes(released.key.as_bytes()),
    }
}

fn hash(field: &'static str, bytes: &[u8]) -> Result<ContentHash, Invalid> {
    ContentHash::try_from(bytes).map_err(Invalid::id(field))
}

fn hashes(field: &'static str, list: &[::bytes::Bytes]) -> Result<Vec<ContentHash>, Invalid> {
    if list.len() > MAX_CHECKED {
        return Err(Invalid::new(field, format!("must be at most {MAX_CHECKED}")));
    }
    list.iter().map(|bytes| hash(field, bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> KeepAsk {
        KeepAsk {
            hash: ContentHash::from_bytes([1; 32]),
            size_bytes: 7,
            name: "note.txt".into(),
            replicas: 2,
            owner_tag: OwnerKey::from_bytes([2; 32]).tag(),
            owner: PeerId::from_bytes([3; 32]),
            source: PeerId::from_bytes([4; 32]),
        }
    }

    #[test]
    fn everything_survives_the_way_there_and_back() {
        assert_eq!(keep_ask(&to_keep_request(&ask())), Ok(ask()));
        let released = Released { hash: ask().hash, key: OwnerKey::from_bytes([2; 32]) };
        assert_eq!(
            checked(&to_checked(&[ask().hash], &[released], Some(7))),
            Ok((vec![ask().hash], vec![released]))
        );
        for said in [Kept::Accepted, Kept::Done] {
            assert_eq!(kept(&to_kept(said)), Ok(said));
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let good = to_keep_request(&ask());
        for (bad, field) in [
            (pb::KeepRequest { replicas: 0, ..good.clone() }, "replicas"),
            (pb::KeepRequest { replicas: 17, ..good.clone() }, "replicas"),
            (pb::KeepRequest { name: "../up".into(), ..good.clone() }, "name"),
            (pb::KeepRequest { owner_tag: vec![1; 31].into(), ..good.clone() }, "owner_tag"),
        ] {
            assert_eq!(keep_ask(&bad).expect_err("refused").field, field);
        }
        let many = to_check_request(&vec![ask().hash; MAX_CHECKED + 1]);
        assert_eq!(check_ask(&many).expect_err("refused").field, "content_hashes");
        let most = to_check_request(&vec![ask().hash; MAX_CHECKED]);
        assert!(prost::Message::encoded_len(&most) < MAX_REQUEST_BYTES);
    }
}
