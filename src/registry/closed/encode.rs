//! The authority's file: a line that names format and version, the BLAKE3 of the rest, and one protobuf message. It holds the
//! private keys of the network's authorities.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

use super::book::{Book, Numbered};
use crate::{
    net::{Authority, PrivateKey},
    protocol::{
        admission::{Admissions, Grant, Issued, NetworkMember},
        id::{PeerId, ZoneId},
        trust::{DenyList, MAX_AUTHORITIES, NetworkId, PublicKey, invite::TokenHash},
    },
};

/// Another version gets another line.
const HEADER: &[u8] = b"floodplain authority 1\n";

/// Why a file is not an authority's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is not an authority's file of a version known here")]
    Header,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("a field of it is out of bounds")]
    Field,
}

#[derive(Clone, PartialEq, Message)]
struct FileRecord {
    #[prost(bytes = "vec", tag = "1")]
    network: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    authorities: Vec<AuthorityRecord>,
    #[prost(message, repeated, tag = "3")]
    grants: Vec<GrantRecord>,
    #[prost(message, repeated, tag = "4")]
    members: Vec<MemberRecord>,
    #[prost(uint64, tag = "5")]
    denied_version: u64,
    #[prost(bytes = "vec", repeated, tag = "6")]
    denied: Vec<Vec<u8>>,
    /// 0, the newest.
    #[prost(uint32, tag = "7")]
    issuing: u32,
}

#[derive(Clone, PartialEq, Message)]
struct AuthorityRecord {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(string, tag = "2")]
    key_pem: String,
}

#[derive(Clone, PartialEq, Message)]
struct GrantRecord {
    #[prost(bytes = "vec", tag = "1")]
    token: Vec<u8>,
    #[prost(uint64, tag = "2")]
    expires: u64,
    #[prost(uint32, tag = "3")]
    uses_left: u32,
    #[prost(uint32, tag = "4")]
    zone: u32,
}

#[derive(Clone, PartialEq, Message)]
struct MemberRecord {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint32, tag = "3")]
    zone: u32,
    #[prost(uint64, tag = "4")]
    enrolled: u64,
    #[prost(uint32, tag = "5")]
    authority: u32,
    #[prost(uint64, tag = "6")]
    not_after: u64,
    #[prost(bool, tag = "7")]
    is_revoked: bool,
    #[prost(bytes = "vec", tag = "8")]
    token: Vec<u8>,
    #[prost(uint32, tag = "9")]
    trusted: u32,
}

pub(super) fn encode(book: &Book) -> Vec<u8> {
    let authority = |numbered: &Numbered| AuthorityRecord {
        number: numbered.number,
        key_pem: numbered.authority.key().to_pem(),
    };
    let grant = |grant: &Grant| GrantRecord {
        token: grant.token.as_bytes().to_vec(),
        expires: millis(grant.expires),
        uses_left: grant.uses_left,
        zone: grant.zone.map_or(0, ZoneId::get),
    };
    let member = |member: &NetworkMember| MemberRecord {
        key: member.key.as_bytes().to_vec(),
        name: member.name.to_string(),
        zone: member.zone.map_or(0, ZoneId::get),
        enrolled: millis(member.enrolled),
        authority: member.issued.authority,
        not_after: millis(member.issued.not_after),
        is_revoked: member.is_revoked,
        token: member.token.as_bytes().to_vec(),
        trusted: member.issued.trusted,
    };
    let denied = book.admissions.denied();
    let record = FileRecord {
        network: book.network.as_bytes().to_vec(),
        authorities: book.authorities.iter().map(authority).collect(),
        grants: book.admissions.grants().map(grant).collect(),
        members: book.admissions.members().iter().map(member).collect(),
        denied_version: denied.version,
        issuing: book.issuing,
        denied: denied.peers().iter().map(|peer| peer.as_bytes().to_vec()).collect(),
    };
    let body = record.encode_to_vec();
    [HEADER, blake3::hash(&body).as_bytes(), &body].concat()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Book, Damage> {
    let rest = bytes.strip_prefix(HEADER).ok_or(Damage::Header)?;
    let (checksum, body) = rest.split_first_chunk::<32>().ok_or(Damage::Checksum)?;
    if blake3::hash(body) != *checksum {
        return Err(Damage::Checksum);
    }
    let record = FileRecord::decode(body).map_err(|_| Damage::Field)?;
    from_record(record).ok_or(Damage::Field)
}

fn from_record(record: FileRecord) -> Option<Book> {
    let network = NetworkId::from_bytes(record.network.try_into().ok()?);
    let mut authorities = Vec::new();
    for AuthorityRecord { number, key_pem } in record.authorities {
        let authority = Authority::from_key(PrivateKey::from_pem(&key_pem).ok()?, network);
        authorities.push(Numbered { number, authority });
    }
    let newest = authorities.last()?.number;
    let issuing = if record.issuing == 0 { newest } else { record.issuing };
    let is_one_of_them = authorities.iter().any(|numbered| numbered.number == issuing);
    let is_rising = authorities.windows(2).all(|pair| pair[0].number < pair[1].number);
    if !is_one_of_them || authorities.len() > MAX_AUTHORITIES || !is_rising {
        return None;
    }
    let grant = |grant: GrantRecord| {
        Some(Grant {
            token: TokenHash::from_bytes(grant.token.try_into().ok()?),
            expires: time(grant.expires)?,
            uses_left: grant.uses_left,
            zone: ZoneId::new(grant.zone),
        })
    };
    let member = |member: MemberRecord| {
        Some(NetworkMember {
            key: PublicKey::from_bytes(member.key.try_into().ok()?),
            name: member.name.parse().ok()?,
            zone: ZoneId::new(member.zone),
            enrolled: time(member.enrolled)?,
            issued: Issued {
                authority: member.authority,
                trusted: member.trusted,
                not_after: time(member.not_after)?,
            },
            is_revoked: member.is_revoked,
            token: TokenHash::from_bytes(member.token.try_into().ok()?),
        })
    };
    let denied = record.denied.iter().map(|id| PeerId::try_from(&id[..]).ok());
    let admissions = Admissions::restore(
        record.grants.into_iter().map(grant).collect::<Option<_>>()?,
        record.members.into_iter().map(member).collect::<Option<_>>()?,
        DenyList::new(record.denied_version, denied.collect::<Option<_>>()?)?,
    )?;
    Some(Book { admissions, authorities, issuing, network })
}

/// After 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(millis: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}
