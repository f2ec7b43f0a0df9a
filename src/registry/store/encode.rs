//! The snapshot file: a line that names format and version, the BLAKE3 of the rest, and one protobuf message.

use prost::Message;

use crate::{
    protocol::{
        id::{LeaseId, PeerId, ZoneId},
        roster::Member,
        zone::Locality,
    },
    registry::state::{Saved, SavedPeer},
};

/// Another version gets another line.
const HEADER: &[u8] = b"floodplain registry snapshot 1\n";

/// Why a file is not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Another header.
    #[error("it is not a snapshot of a version known here")]
    Header,
    /// Altered or cut off.
    #[error("its checksum is wrong")]
    Checksum,
    /// Written by none of ours.
    #[error("a field of it is out of bounds")]
    Field,
}

#[derive(Clone, PartialEq, Message)]
struct SnapshotRecord {
    #[prost(uint32, tag = "1")]
    epoch: u32,
    #[prost(message, repeated, tag = "2")]
    peers: Vec<PeerRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct PeerRecord {
    #[prost(bytes = "vec", tag = "1")]
    peer_id: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    address: String,
    #[prost(uint64, tag = "4")]
    incarnation: u64,
    #[prost(uint64, tag = "5")]
    shared_files: u64,
    #[prost(uint32, tag = "6")]
    zone: u32,
    #[prost(bytes = "vec", tag = "7")]
    lease: Vec<u8>,
    #[prost(fixed64, tag = "8")]
    host: u64,
    #[prost(fixed64, tag = "9")]
    net: u64,
    #[prost(uint64, tag = "10")]
    room_bytes: u64,
    #[prost(bool, tag = "11")]
    is_gateway: bool,
}

/// The whole file.
pub fn encode(saved: &Saved) -> Vec<u8> {
    let record = SnapshotRecord { epoch: saved.epoch, peers: saved.peers.iter().map(to_record).collect() };
    let body = record.encode_to_vec();
    [HEADER, blake3::hash(&body).as_bytes(), &body].concat()
}

/// What a whole file says.
///
/// # Errors
/// It is no snapshot.
pub fn decode(bytes: &[u8]) -> Result<Saved, Damage> {
    let rest = bytes.strip_prefix(HEADER).ok_or(Damage::Header)?;
    let (checksum, body) = rest.split_first_chunk::<32>().ok_or(Damage::Checksum)?;
    if blake3::hash(body) != *checksum {
        return Err(Damage::Checksum);
    }
    let record = SnapshotRecord::decode(body).map_err(|_| Damage::Field)?;
    let peers = record.peers.iter().map(|peer| from_record(peer).ok_or(Damage::Field));
    Ok(Saved { epoch: record.epoch, peers: peers.collect::<Result<_, _>>()? })
}

fn to_record(peer: &SavedPeer) -> PeerRecord {
    let (host, net) = peer.locality.parts();
    PeerRecord {
        peer_id: peer.member.id.as_bytes().to_vec(),
        name: peer.member.name.to_string(),
        address: peer.member.address.to_string(),
        incarnation: peer.member.incarnation,
        shared_files: peer.member.shared_files,
        zone: peer.zone.get(),
        lease: peer.lease.as_bytes().to_vec(),
        host,
        net,
        room_bytes: peer.member.room_bytes,
        is_gateway: peer.is_gateway,
    }
}

fn from_record(record: &PeerRecord) -> Option<SavedPeer> {
    Some(SavedPeer {
        member: Member {
            id: PeerId::try_from(&record.peer_id[..]).ok()?,
            name: record.name.parse().ok()?,
            address: record.address.parse().ok()?,
            incarnation: record.incarnation,
            shared_files: record.shared_files,
            room_bytes: record.room_bytes,
            // Announced anew by whoever comes back: until then everyone asks it.
            summary: crate::protocol::roster::Stamp::default(),
        },
        zone: ZoneId::new(record.zone)?,
        lease: LeaseId::try_from(&record.lease[..]).ok()?,
        locality: Locality::from_parts((record.host, record.net)),
        is_gateway: record.is_gateway,
    })
}
