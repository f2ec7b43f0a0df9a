//! How a peer is let in, checked on its way in at both ends.

use std::time::{Duration, SystemTime};

use super::{Invalid, pb, required};
use crate::protocol::{
    id::{PeerId, PeerName},
    trust::{Credentials, DenyList, MAX_AUTHORITIES, MAX_DENIED, NetworkId, PublicKey, invite::Token},
};

/// Kind of the violation, in a refusal of a registration, of a peer that has to renew its certificate first.
pub const RENEWAL_DUE: &str = "RENEWAL_DUE";
/// Largest request in bytes; an honest one has some 200.
pub const MAX_REQUEST_BYTES: usize = 1024;
/// Largest answer in bytes: a certificate and keys.
pub const MAX_ANSWER_BYTES: usize = 16 << 10;
/// Largest certificate in bytes; ours have some 500.
const MAX_CERTIFICATE_BYTES: usize = 2048;
const SIGNATURE_BYTES: usize = 64;
/// The end of the year 9999, the last that a certificate can name (RFC 5280, section 4.1.2.5).
const MAX_UNIX_SECONDS: i64 = 253_402_300_799;

/// A request to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// Out of the invite.
    pub token: Token,
    /// The peer's key.
    pub key: PublicKey,
    /// Signature of [`signed`].
    pub proof: [u8; SIGNATURE_BYTES],
    /// The name that it wants.
    pub name: PeerName,
}

/// What the proof of a request signs.
pub fn signed(authority: &PublicKey, token: &Token, key: &PublicKey, name: &PeerName) -> Vec<u8> {
    let mut text = b"floodplain enroll v1".to_vec();
    text.extend_from_slice(authority.as_bytes());
    text.extend_from_slice(token.as_bytes());
    text.extend_from_slice(&key.to_der());
    text.extend_from_slice(name.as_str().as_bytes());
    text
}

/// A request to be let in.
pub fn enrollment(request: &pb::EnrollRequest) -> Result<Enrollment, Invalid> {
    let token = <[u8; Token::SIZE]>::try_from(&request.token[..])
        .map_err(|_| Invalid::new("token", format!("must be {} bytes", Token::SIZE)))?;
    let proof = <[u8; SIGNATURE_BYTES]>::try_from(&request.proof[..])
        .map_err(|_| Invalid::new("proof", format!("must be {SIGNATURE_BYTES} bytes")))?;
    Ok(Enrollment {
        token: Token::from_bytes(token),
        key: key("public_key", &request.public_key)?,
        proof,
        name: request.name.parse::<PeerName>().map_err(Invalid::id("name"))?,
    })
}

/// A key to be certified.
pub fn key(field: &'static str, der: &[u8]) -> Result<PublicKey, Invalid> {
    PublicKey::from_der(der).map_err(Invalid::id(field))
}

/// A request to be let in, on its way out.
pub fn to_enrollment(enrollment: &Enrollment) -> pb::EnrollRequest {
    pb::EnrollRequest {
        token: enrollment.token.as_bytes().to_vec().into(),
        public_key: enrollment.key.to_der().to_vec().into(),
        proof: enrollment.proof.to_vec().into(),
        name: enrollment.name.to_string(),
    }
}

/// What the registry gave. Whether the certificate is good is for the transport to see.
pub fn credentials(credentials: Option<pb::Credentials>) -> Result<Credentials, Invalid> {
    let credentials = required("credentials", credentials)?;
    if credentials.certificate.is_empty() || credentials.certificate.len() > MAX_CERTIFICATE_BYTES {
        return Err(Invalid::new("certificate", format!("must be 1 to {MAX_CERTIFICATE_BYTES} bytes")));
    }
    let authorities = &credentials.authorities;
    if authorities.is_empty() || authorities.len() > MAX_AUTHORITIES {
        return Err(Invalid::new("authorities", format!("must be 1 to {MAX_AUTHORITIES}")));
    }
    let authority = |bytes: &[u8]| {
        let bytes = <[u8; PublicKey::SIZE]>::try_from(bytes);
        bytes.map(PublicKey::from_bytes).map_err(|_| Invalid::new("authorities", "must be 32 bytes each"))
    };
    let network = <[u8; NetworkId::SIZE]>::try_from(&credentials.network_id[..])
        .map_err(|_| Invalid::new("network_id", format!("must be {} bytes", NetworkId::SIZE)))?;
    Ok(Credentials {
        certificate: credentials.certificate.to_vec(),
        authorities: authorities.iter().map(|bytes| authority(bytes)).collect::<Result<_, _>>()?,
        network: NetworkId::from_bytes(network),
        not_after: time("not_after", required("not_after", credentials.not_after)?)?,
    })
}

/// What the registry gives, on its way out.
pub fn to_credentials(credentials: &Credentials) -> pb::Credentials {
    pb::Credentials {
        certificate: credentials.certificate.clone().into(),
        authorities: credentials.authorities.iter().map(|key| key.as_bytes().to_vec().into()).collect(),
        network_id: credentials.network.as_bytes().to_vec().into(),
        not_after: Some(credentials.not_after.into()),
    }
}

/// Who was shut out.
pub fn deny_list(list: &pb::DenyList) -> Result<DenyList, Invalid> {
    if list.peer_ids.len() > MAX_DENIED {
        return Err(Invalid::new("peer_ids", format!("must be {MAX_DENIED} at most")));
    }
    let peers = list.peer_ids.iter().map(|id| PeerId::try_from(&id[..]).map_err(Invalid::id("peer_ids")));
    let peers = peers.collect::<Result<_, _>>()?;
    DenyList::new(list.version, peers).ok_or_else(|| Invalid::new("peer_ids", "must be fewer"))
}

/// Who was shut out, on its way out.
pub fn to_deny_list(list: &DenyList) -> pb::DenyList {
    let peer_ids = list.peers().iter().map(|id| id.as_bytes().to_vec().into()).collect();
    pb::DenyList { version: list.version, peer_ids }
}

/// A point in time after 1970.
pub fn time(field: &'static str, time: prost_types::Timestamp) -> Result<SystemTime, Invalid> {
    let is_good = (0..=MAX_UNIX_SECONDS).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos);
    let since = is_good.then(|| Duration::new(time.seconds.unsigned_abs(), time.nanos.unsigned_abs()));
    since
        .and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since))
        .ok_or_else(|| Invalid::new(field, "must be a time from 1970 to 9999"))
}
