//! Certificates of a network, read and checked. Invariant: a leaf is of an Ed25519 key and names either the registry or the
//! peer whose id is the hash of that key; the time at which it ends comes from itself.

use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::authority::CLOCK_SKEW;
use crate::protocol::{
    id::{PeerId, ZoneId},
    trust::{NetworkId, PublicKey},
};

/// After the last moment that a certificate can name.
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_800);

/// Why a certificate is none of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLeaf {
    /// It is no certificate, or one that nothing here makes.
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
    /// Its key is of another kind, or not the one that its name is the hash of.
    #[error("the certificate names another peer than its key")]
    WrongKey,
    /// It names neither a peer nor the registry of this network.
    #[error("the certificate is not of this network")]
    WrongNetwork,
    /// No authority that is trusted signed it.
    #[error("the certificate was not issued by an authority of this network")]
    WrongAuthority,
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Registry,
    Peer { peer: PeerId, zone: Option<ZoneId> },
}

/// What a certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) key: PublicKey,
    pub(super) subject: Subject,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Leaf {
    /// Reads a certificate of that network. Who issued it is for [`verify`] to see.
    pub(super) fn read(der: &[u8], network: NetworkId) -> Result<Self, BadLeaf> {
        let malformed = |error: Error| BadLeaf::Malformed(error.to_string());
        let der = CertificateDer::from(der);
        let certificate = EndEntityCert::try_from(&der).map_err(malformed)?;
        let key =
            PublicKey::from_der(&certificate.subject_public_key_info()).map_err(|_| BadLeaf::WrongKey)?;
        let registry_name = network.registry_name();
        let (mut subject, mut zone) = (None, None);
        for name in certificate.valid_dns_names() {
            if let Some(peer) = network.peer_of(name) {
                subject = Some(Subject::Peer { peer, zone: None });
            } else if let Some(named) = network.zone_of(name) {
                zone = Some(named);
            } else if name == registry_name {
                subject = Some(Subject::Registry);
            }
        }
        let subject = match subject.ok_or(BadLeaf::WrongNetwork)? {
            Subject::Peer { peer, .. } if peer != key.peer_id() => return Err(BadLeaf::WrongKey),
            Subject::Peer { peer, .. } => Subject::Peer { peer, zone },
            Subject::Registry => Subject::Registry,
        };
        let (not_before, not_after) = validity(&certificate).map_err(malformed)?;
        Ok(Self { key, subject, not_before, not_after })
    }

    /// How long it was to be good when it was made.
    pub(super) fn lifetime(&self) -> Duration {
        let made = self.not_before + CLOCK_SKEW;
        self.not_after.duration_since(made).unwrap_or_default()
    }

    /// It is not good any more.
    pub(super) fn is_expired(&self) -> bool {
        self.not_after <= SystemTime::now()
    }
}

/// One of these authorities issued it for a client, and it was good at that time.
pub(super) fn verify(der: &[u8], anchors: &[TrustAnchor<'_>], at: SystemTime) -> Result<(), BadLeaf> {
    let der = CertificateDer::from(der);
    let certificate = EndEntityCert::try_from(&der).map_err(|error| BadLeaf::Malformed(error.to_string()))?;
    check(&certificate, anchors, at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
        .map_err(|_| BadLeaf::WrongAuthority)
}

fn check(
    certificate: &EndEntityCert<'_>,
    anchors: &[TrustAnchor<'_>],
    since_1970: Duration,
) -> Result<(), Error> {
    let at = UnixTime::since_unix_epoch(since_1970);
    let algorithms = [webpki::aws_lc_rs::ED25519];
    certificate
        .verify_for_usage(&algorithms, anchors, &[], at, KeyUsage::client_auth(), None, None)
        .map(|_| ())
}

/// The verifier tells when a certificate began and ended; nothing else of it is believed here.
fn validity(certificate: &EndEntityCert<'_>) -> Result<(SystemTime, SystemTime), Error> {
    let time = |time: UnixTime| SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
    let refusals = [Duration::ZERO, END_OF_TIME].map(|at| check(certificate, &[], at).err());
    match refusals {
        [Some(Error::CertNotValidYet { not_before, .. }), Some(Error::CertExpired { not_after, .. })] => {
            Ok((time(not_before), time(not_after)))
        }
        [Some(error), _] => Err(error),
        [None, _] => Err(Error::InvalidCertValidity),
    }
}

/// What certificates of an authority are checked by: its key under the network's name. No certificate of its own is
/// needed, so that none has to be renewed and several can stand side by side.
pub(super) fn anchor(authority: &PublicKey, network: NetworkId) -> TrustAnchor<'static> {
    TrustAnchor {
        subject: subject(network).into(),
        subject_public_key_info: spki(authority).into(),
        name_constraints: None,
    }
}

/// The inside of a DER Name of one relative name: CN, a `UTF8String`, as the authority writes it.
fn subject(network: NetworkId) -> Vec<u8> {
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    const UTF8: u8 = 0x0c;
    let text = network.to_string();
    tlv(0x31, &tlv(0x30, &[&COMMON_NAME[..], &tlv(UTF8, text.as_bytes())].concat()))
}

/// The inside of the `SubjectPublicKeyInfo`.
fn spki(key: &PublicKey) -> Vec<u8> {
    const HEADER_BYTES: usize = 2;
    key.to_der()[HEADER_BYTES..].to_vec()
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).ok().filter(|length| *length < 0x80);
    let length = length.expect("a network's name and its framing are far below 128 bytes");
    [&[tag, length], value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Authority, PrivateKey};

    #[test]
    fn a_certificate_says_who_and_until_when_and_is_checked_by_the_key_alone() {
        let authority = Authority::generate().expect("made");
        let network = authority.network();
        let key = PrivateKey::generate().expect("a key").public();
        let zone = ZoneId::new(7);
        let (der, not_after) =
            authority.certify_peer(&key, network, zone, Duration::from_secs(60)).expect("signed");
        let leaf = Leaf::read(&der, network).expect("read");
        assert_eq!(
            leaf,
            Leaf {
                key,
                subject: Subject::Peer { peer: key.peer_id(), zone },
                not_before: leaf.not_before,
                not_after
            }
        );
        assert_eq!(leaf.lifetime(), Duration::from_secs(60));
        let now = SystemTime::now();
        let anchors = [anchor(&authority.public(), network)];
        assert_eq!(verify(&der, &anchors, now), Ok(()));
        assert_eq!(verify(&der, &anchors, now + Duration::from_secs(120)), Err(BadLeaf::WrongAuthority));
        let other = Authority::generate().expect("made");
        let other_key = [anchor(&other.public(), network)];
        let other_name = [anchor(&authority.public(), other.network())];
        assert_eq!(verify(&der, &other_key, now), Err(BadLeaf::WrongAuthority));
        assert_eq!(verify(&der, &other_name, now), Err(BadLeaf::WrongAuthority));
        assert_eq!(Leaf::read(&der, other.network()), Err(BadLeaf::WrongNetwork));
        assert!(matches!(Leaf::read(&der[..der.len() - 1], network), Err(BadLeaf::Malformed(_))));
    }

    #[test]
    fn an_authority_that_follows_another_certifies_for_the_same_network() {
        let first = Authority::generate().expect("made");
        let network = first.network();
        let next = Authority::from_key(PrivateKey::generate().expect("a key"), network);
        let key = PrivateKey::generate().expect("a key").public();
        let (der, _) = next.certify_registry(&key, network, Duration::from_secs(60)).expect("signed");
        assert_eq!(Leaf::read(&der, network).expect("read").subject, Subject::Registry);
        let both = [anchor(&first.public(), network), anchor(&next.public(), network)];
        assert_eq!(verify(&der, &both, SystemTime::now()), Ok(()));
        assert!(verify(&der, &both[..1], SystemTime::now()).is_err());
    }
}
