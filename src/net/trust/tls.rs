//! How TLS is spoken: version, suites, who is asked for what. The same at every daemon of a closed network.

use std::sync::Arc;

use anyhow::Result;
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, DistinguishedName, Error,
    RootCertStore, ServerConfig, SignatureScheme, WantsVerifier,
    client::{Resumption, danger::HandshakeSignatureValid},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, TrustAnchor, UnixTime},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};

use crate::net::key::PrivateKey;

/// Nothing but HTTP/2 is spoken here.
const ALPN: &[u8] = b"h2";

/// AES-128 first: it moves files about a fifth faster than AES-256, the default of most, and nothing here outlives it.
pub(in crate::net) fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

/// For the accepting and for the dialing side. The registry lets those in who have no certificate yet, and those whose
/// certificate has run out; what they may call is for the guard.
pub(super) fn configs(
    key: &PrivateKey,
    certificate: &[u8],
    anchors: Vec<TrustAnchor<'static>>,
    is_registry: bool,
) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>)> {
    let chain = || vec![CertificateDer::from(certificate.to_vec())];
    let roots = Arc::new(RootCertStore { roots: anchors });
    let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
    let clients: Arc<dyn ClientCertVerifier> = if is_registry {
        Arc::new(Lenient(clients.allow_unauthenticated().build()?))
    } else {
        clients.build()?
    };
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain(), key.to_der())?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    let client = client()?.with_root_certificates(roots).with_client_auth_cert(chain(), key.to_der())?;
    Ok((Arc::new(server), dialing(client)))
}

/// How every connection is begun that is dialed.
pub(in crate::net) fn client() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])
}

/// What holds for every connection that is dialed, whatever it shows and believes.
pub(in crate::net) fn dialing(mut client: ClientConfig) -> Arc<ClientConfig> {
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    // A server of ours has one certificate; the name would only tell listeners whom we look for.
    client.enable_sni = false;
    Arc::new(client)
}

/// Takes a certificate that has run out, when it was good before.
#[derive(Debug)]
struct Lenient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.0.verify_client_cert(end_entity, intermediates, now) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                self.0.verify_client_cert(end_entity, intermediates, not_after)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
