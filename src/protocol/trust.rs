//! Who belongs to a closed network, in values: the keys of its authority, the keys of its peers, invites, and who was shut out.
//!
//! Invariant: a peer's id is the BLAKE3 hash of its public key, so that whoever proves the key proves the id; nothing here
//! holds a private key.

pub mod invite;

use std::{fmt, str::FromStr, time::SystemTime};

use data_encoding::{BASE32_NOPAD, Encoding};

use super::id::{InvalidId, PeerId};

/// Most peers that a network can have shut out; told whole, 140 KiB.
pub const MAX_DENIED: usize = 4096;
/// Most authorities that are trusted at once: one, or two while it is being changed.
pub const MAX_AUTHORITIES: usize = 4;
/// What every name in a certificate ends with. Not a domain that anyone looks up.
const SUFFIX: &str = "floodplain";
/// DER of an Ed25519 `SubjectPublicKeyInfo` up to its 32 key bytes (RFC 8410, section 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A public Ed25519 key: of a peer, or of a network's authority.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Size in bytes.
    pub const SIZE: usize = 32;
    /// Size of its DER form in bytes.
    pub const DER_SIZE: usize = ED25519_SPKI.len() + Self::SIZE;

    /// From its raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// When it is of another kind of key.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidId> {
        der.strip_prefix(&ED25519_SPKI).and_then(|key| <[u8; 32]>::try_from(key).ok()).map(Self).ok_or_else(
            || InvalidId::new("public key", "must be an Ed25519 SubjectPublicKeyInfo of 44 bytes"),
        )
    }

    /// Its DER `SubjectPublicKeyInfo`.
    pub fn to_der(&self) -> [u8; Self::DER_SIZE] {
        let mut der = [0; Self::DER_SIZE];
        der[..ED25519_SPKI.len()].copy_from_slice(&ED25519_SPKI);
        der[ED25519_SPKI.len()..].copy_from_slice(&self.0);
        der
    }

    /// The id of the peer that has this key: the BLAKE3 hash of the raw key.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_bytes(*blake3::hash(&self.0).as_bytes())
    }

    /// The network that this authority founds.
    pub fn network_id(&self) -> NetworkId {
        let hash = blake3::hash(&self.0);
        let mut id = [0; NetworkId::SIZE];
        id.copy_from_slice(&hash.as_bytes()[..NetworkId::SIZE]);
        NetworkId(id)
    }
}

/// Base 32 without padding, in lower case: what a DNS label and an invite can hold.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:.8}..)", base32(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        from_base32(text)
            .map(Self)
            .ok_or_else(|| InvalidId::new("public key", "must be 52 letters and digits"))
    }
}

/// Which closed network: the beginning of the hash of its first authority's key. Stays when the authority is changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetworkId([u8; 10]);

impl NetworkId {
    /// Size in bytes.
    pub const SIZE: usize = 10;

    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }

    /// What the certificate of a peer names.
    pub fn peer_name(&self, peer: &PeerId) -> String {
        format!("{}.peer.{self}.{SUFFIX}", base32(peer.as_bytes()))
    }

    /// What the certificate of a peer names as well while the peer is in that zone.
    pub fn zone_name(&self, zone: super::id::ZoneId) -> String {
        format!("z{zone}.zone.{self}.{SUFFIX}")
    }

    /// What the registry's certificate names.
    pub fn registry_name(&self) -> String {
        format!("registry.{self}.{SUFFIX}")
    }

    /// The network whose registry a name in a certificate is of.
    pub fn of_registry(name: &str) -> Option<Self> {
        let label = name.strip_prefix("registry.")?.strip_suffix(SUFFIX)?.strip_suffix('.')?;
        from_base32(label).map(Self)
    }

    /// The peer that a name in a certificate is of.
    pub fn peer_of(&self, name: &str) -> Option<PeerId> {
        let label = name.strip_suffix(&format!(".peer.{self}.{SUFFIX}"))?;
        from_base32(label).map(PeerId::from_bytes)
    }

    /// The zone that a name in a certificate is of.
    pub fn zone_of(&self, name: &str) -> Option<super::id::ZoneId> {
        let label = name.strip_suffix(&format!(".zone.{self}.{SUFFIX}"))?.strip_prefix('z')?;
        label.parse().ok().and_then(super::id::ZoneId::new)
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkId({self})")
    }
}

/// What a peer of a closed network shows, and what it trusts; all of it public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// Authorities that are trusted, the newest last; at least one, at most [`MAX_AUTHORITIES`].
    pub authorities: Vec<PublicKey>,
    /// Which network.
    pub network: NetworkId,
    /// The certificate is not good from then on.
    pub not_after: SystemTime,
}

/// Everyone who was shut out of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DenyList {
    /// Rises with every change.
    pub version: u64,
    /// In order; at most [`MAX_DENIED`].
    peers: Vec<PeerId>,
}

impl DenyList {
    /// Of these; put in order. More than [`MAX_DENIED`] are refused by `None`.
    pub fn new(version: u64, mut peers: Vec<PeerId>) -> Option<Self> {
        peers.sort_unstable();
        peers.dedup();
        (peers.len() <= MAX_DENIED).then_some(Self { version, peers })
    }

    /// That peer was shut out.
    pub fn has(&self, peer: &PeerId) -> bool {
        self.peers.binary_search(peer).is_ok()
    }

    /// In order.
    pub fn peers(&self) -> &[PeerId] {
        &self.peers
    }
}

fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// Exactly as many bytes as that; either case.
fn from_base32<const SIZE: usize>(text: &str) -> Option<[u8; SIZE]> {
    const ENCODING: &Encoding = &BASE32_NOPAD;
    // The check of the length first: nothing is allocated for what is too long.
    if text.len() != ENCODING.encode_len(SIZE) {
        return None;
    }
    ENCODING.decode(text.to_ascii_uppercase().as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::id::ZoneId;

    #[test]
    fn a_key_goes_through_der_and_text_and_another_kind_is_refused() {
        let key = PublicKey::from_bytes([7; 32]);
        assert_eq!(PublicKey::from_der(&key.to_der()), Ok(key));
        assert_eq!(key.to_string().parse(), Ok(key));
        let mut x25519 = key.to_der();
        x25519[8] = 0x6e;
        assert!(PublicKey::from_der(&x25519).is_err());
        assert!(PublicKey::from_der(&key.to_der()[..43]).is_err());
        assert!(PublicKey::from_der(&[]).is_err());
    }

    #[test]
    fn names_in_certificates_say_who_and_of_which_network() {
        let key = PublicKey::from_bytes([7; 32]);
        let (ours, other) = (key.network_id(), PublicKey::from_bytes([8; 32]).network_id());
        let zone = ZoneId::new(12).expect("not 0");
        assert_eq!(ours.peer_of(&ours.peer_name(&key.peer_id())), Some(key.peer_id()));
        assert_eq!(ours.zone_of(&ours.zone_name(zone)), Some(zone));
        assert_eq!(ours.peer_of(&other.peer_name(&key.peer_id())), None);
        assert_eq!(ours.zone_of(&other.zone_name(zone)), None);
        assert_eq!(ours.peer_of(&ours.registry_name()), None);
        assert_eq!(NetworkId::of_registry(&ours.registry_name()), Some(ours));
        assert_eq!(NetworkId::of_registry(&ours.peer_name(&key.peer_id())), None);
        assert!(ours.peer_name(&key.peer_id()).split('.').all(|label| label.len() <= 63), "DNS labels");
    }

    #[test]
    fn a_deny_list_is_bounded() {
        let peer = |n: usize| PublicKey::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes()).peer_id();
        let list = DenyList::new(1, (0..MAX_DENIED).map(peer).collect()).expect("within the bound");
        assert!(list.has(&peer(9)) && !list.has(&peer(MAX_DENIED)));
        assert_eq!(DenyList::new(1, (0..=MAX_DENIED).map(peer).collect()), None);
    }
}
