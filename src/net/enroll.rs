//! Connections to those who are not known yet: the first contact with a registry, with nothing to go by but the authority's
//! key out of an invite, and the question whether anybody answers.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tonic::transport::Channel;
use webpki::EndEntityCert;

use super::{
    channel::{self, Connection, DialError, Purpose},
    leaf,
    link::{Bounds, Link},
    trust::{self, Trust, provider},
};
use crate::protocol::trust::{NetworkId, PublicKey};

/// Opens a channel to the registry of the network whose authority has that key, without showing who we are.
///
/// # Errors
/// As [`meet`].
pub async fn dial(host: &str, authority: PublicKey) -> Result<Channel, DialError> {
    meet(host, authority).await.map(|(channel, _)| channel)
}

/// As [`dial`], and tells which network it is: the registry's certificate says so, for after a change of the authority it
/// is not the hash of its key.
///
/// # Errors
/// When nobody answers there, or one who is not that registry; [`untrusted`] tells the one from the other.
pub async fn meet(host: &str, authority: PublicKey) -> Result<(Channel, NetworkId), DialError> {
    let (channel, network) = open(host, Whom::Registry(authority)).await?;
    Ok((channel, network.expect("the handshake is over, and its verifier has seen the name")))
}

/// Opens a channel to whoever answers there, for the one question that may be anybody's to answer: whether somebody does.
/// Nothing that is said over it may be secret or be believed. To one of the same network a member shows who it is: a peer ends
/// the connections of everybody else.
///
/// # Errors
/// When nobody answers there.
pub async fn probe(host: &str, member: Option<&Trust>) -> Result<Channel, DialError> {
    if let Some(member) = member {
        match open(host, Whom::Member(member.clone())).await {
            Err(error) if untrusted(&error).is_some() => {}
            opened => return opened.map(|(channel, _)| channel),
        }
    }
    open(host, Whom::Anybody).await.map(|(channel, _)| channel)
}

async fn open(host: &str, whom: Whom) -> Result<(Channel, Option<NetworkId>), DialError> {
    let shown = match &whom {
        Whom::Member(trust) => Some(trust.shown()),
        Whom::Registry(_) | Whom::Anybody => None,
    };
    let algorithms = provider().signature_verification_algorithms;
    let seen = Arc::new(OnceLock::new());
    let verifier = Arc::new(FirstContact { whom, algorithms, seen: seen.clone() });
    let client = trust::client()
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let client = trust::dialing(match shown {
        Some((chain, key)) => {
            client.with_client_auth_cert(chain, key).expect("a trust is made of a key and its certificate")
        }
        None => client.with_no_client_auth(),
    });
    let mut last = None;
    for address in channel::addresses(host).await? {
        let client = client.clone();
        let connector = tower::service_fn(move |_| connect(address, client.clone()));
        match channel::endpoint(address, Purpose::Registry).connect_with_connector(connector).await {
            Ok(channel) => return Ok((channel, seen.get().copied())),
            Err(source) => last = Some(DialError::Unreachable { address, source }),
        }
    }
    Err(last.expect("a host has at least one address"))
}

/// Why the certificate of one who answered is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untrusted {
    /// It is good later, by the clock of this machine.
    NotYet {
        /// That clock.
        now: SystemTime,
        /// From then on.
        begins: SystemTime,
    },
    /// It was good, by the clock of this machine.
    Over {
        /// That clock.
        now: SystemTime,
        /// Until then.
        ended: SystemTime,
    },
    /// It is of another network, or nobody whom we trust vouches for it.
    Foreign,
}

/// What is wrong with the certificate; `None` when it did not come to that.
pub fn untrusted(error: &DialError) -> Option<Untrusted> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        // An I/O error shows the source of what it wraps, and not that itself.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<Error>());
        if let Some(Error::InvalidCertificate(problem)) = inner.or_else(|| error.downcast_ref::<Error>()) {
            let time = |time: &UnixTime| SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
            return Some(match problem {
                CertificateError::NotValidYetContext { time: now, not_before } => {
                    Untrusted::NotYet { now: time(now), begins: time(not_before) }
                }
                CertificateError::ExpiredContext { time: now, not_after } => {
                    Untrusted::Over { now: time(now), ended: time(not_after) }
                }
                _ => Untrusted::Foreign,
            });
        }
        source = error.source();
    }
    None
}

async fn connect(address: SocketAddr, client: Arc<ClientConfig>) -> io::Result<Connection> {
    // Which network it is, its certificate says; the verifier looks for the name there.
    let stream = channel::handshake(address, client, address.ip().into()).await?;
    Ok(TokioIo::new(Link::new(stream, Bounds::none())))
}

/// Who may be at the other end.
#[derive(Debug)]
enum Whom {
    /// The registry of any network, if its certificate was issued by that authority.
    Registry(PublicKey),
    /// Anybody of that network.
    Member(Trust),
    Anybody,
}

#[derive(Debug)]
struct FirstContact {
    whom: Whom,
    algorithms: WebPkiSupportedAlgorithms,
    /// The network that was found.
    seen: Arc<OnceLock<NetworkId>>,
}

impl ServerCertVerifier for FirstContact {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = match &self.whom {
            Whom::Registry(authority) => authority,
            Whom::Member(trust) if !trust.believes(end_entity) => {
                return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
            }
            Whom::Member(_) | Whom::Anybody => return Ok(ServerCertVerified::assertion()),
        };
        let certificate = EndEntityCert::try_from(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let named =
            certificate.valid_dns_names().find_map(|name| Some((name, NetworkId::of_registry(name)?)));
        let (name, network) = named.ok_or(Error::InvalidCertificate(CertificateError::NotValidForName))?;
        let name = ServerName::try_from(name)
            .map_err(|_| Error::InvalidCertificate(CertificateError::NotValidForName))?;
        let roots = Arc::new(RootCertStore { roots: vec![leaf::anchor(authority, network)] });
        let stock = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        let verified = stock.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)?;
        // Whoever is at another address of the host has to be of the same network.
        if *self.seen.get_or_init(|| network) == network {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
