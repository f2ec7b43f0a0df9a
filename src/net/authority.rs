//! A network's certificate authority: certifies keys and nothing else. Invariant: every name in a certificate is made here,
//! from the key and the network; nothing that a peer asked for is copied into it.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    PKCS_ED25519, PublicKeyData, SignatureAlgorithm,
};
use time::OffsetDateTime;

use super::key::PrivateKey;
use crate::protocol::{
    id::ZoneId,
    trust::{NetworkId, PublicKey},
};

/// What a peer's certificate lasts, unless the registry's settings say otherwise.
pub const PEER_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// What the registry's lasts.
pub const REGISTRY_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A certificate is good from so long before it is made: the clocks of two machines may differ by so much.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// The authority of a network: its private key.
#[derive(Debug, Clone)]
pub struct Authority {
    key: PrivateKey,
    network: NetworkId,
}

impl Authority {
    /// A new one, of the network that it founds.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let key = PrivateKey::generate()?;
        let network = key.public().network_id();
        Ok(Self { key, network })
    }

    /// One that was kept, or the next one of a network.
    pub fn from_key(key: PrivateKey, network: NetworkId) -> Self {
        Self { key, network }
    }

    /// What certificates of it are checked by.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// Its private key, to be kept.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The network.
    pub fn network(&self) -> NetworkId {
        self.network
    }

    /// A certificate, DER, for a peer's key, and when it ends (whole seconds).
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn certify_peer(
        &self,
        key: &PublicKey,
        network: NetworkId,
        zone: Option<ZoneId>,
        lifetime: Duration,
    ) -> Result<(Vec<u8>, SystemTime)> {
        let mut names = vec![network.peer_name(&key.peer_id())];
        names.extend(zone.map(|zone| network.zone_name(zone)));
        self.certify(key, network, names, lifetime)
    }

    /// A certificate, DER, for the registry's key, and when it ends (whole seconds).
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn certify_registry(
        &self,
        key: &PublicKey,
        network: NetworkId,
        lifetime: Duration,
    ) -> Result<(Vec<u8>, SystemTime)> {
        self.certify(key, network, vec![network.registry_name()], lifetime)
    }

    fn certify(
        &self,
        key: &PublicKey,
        network: NetworkId,
        names: Vec<String>,
        lifetime: Duration,
    ) -> Result<(Vec<u8>, SystemTime)> {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0)?;
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name = DistinguishedName::new();
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.not_before = now - CLOCK_SKEW;
        leaf.not_after = now + lifetime;
        let not_after = leaf.not_after.into();
        let mut authority = CertificateParams::default();
        authority.distinguished_name = DistinguishedName::new();
        authority.distinguished_name.push(DnType::CommonName, network.to_string());
        let issuer = Issuer::from_params(&authority, self.key.pair());
        let certificate = leaf.signed_by(&Certified(key), &issuer).context("could not sign a certificate")?;
        Ok((certificate.der().to_vec(), not_after))
    }
}

/// A key to be certified.
struct Certified<'a>(&'a PublicKey);

impl PublicKeyData for Certified<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}
