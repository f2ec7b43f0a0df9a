//! Callers that do not keep to the rules, made of TLS and TCP directly.

use std::{io, net::SocketAddr, sync::Arc};

use floodplain::net::{Identity, PrivateKey, Security, To, Transport, Trust};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig,
    client::ResolvesClientCert,
    crypto::aws_lc_rs::{default_provider, sign::any_eddsa_type},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, TrustAnchor, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tonic::{Code, transport::Endpoint};

use super::harness::{DAY, Daemon, Network, PATIENCE, ask_health_over};

/// A fatal alert of that kind (RFC 8446, section 6).
pub(crate) const PROTOCOL_VERSION_ALERT: [u8; 2] = [2, 70];
/// The connection preface and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The anchor of a network as an independent reader of the documents would make it.
fn roots(network: &Network) -> RootCertStore {
    let name = network.authority.network().to_string();
    let length = u8::try_from(name.len()).expect("short");
    let mut subject = vec![0x31, length + 9, 0x30, length + 7, 6, 3, 0x55, 4, 3, 0x0c, length];
    subject.extend_from_slice(name.as_bytes());
    let spki = network.authority.public().to_der()[2..].to_vec();
    let anchor =
        TrustAnchor { subject: subject.into(), subject_public_key_info: spki.into(), name_constraints: None };
    RootCertStore { roots: vec![anchor] }
}

fn key_of(key: &PrivateKey) -> PrivatePkcs8KeyDer<'static> {
    PrivatePkcs8KeyDer::from_pem_slice(key.to_pem().as_bytes()).expect("a key")
}

fn chain_of(trust: &Trust) -> Vec<CertificateDer<'static>> {
    vec![trust.credentials().certificate.clone().into()]
}

fn client(
    network: &Network,
    finish: impl FnOnce(rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>) -> ClientConfig,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots(network));
    let mut config = finish(builder);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Shows what that peer has, and trusts that network.
pub(crate) fn client_of(peer: &Trust, network: &Network) -> Arc<ClientConfig> {
    let key = PrivateKeyDer::from(key_of(peer.key()));
    client(network, |builder| builder.with_client_auth_cert(chain_of(peer), key).expect("a pair"))
}

pub(crate) fn client_without_certificate(network: &Network) -> Arc<ClientConfig> {
    client(network, rustls::ConfigBuilder::<ClientConfig, _>::with_no_client_auth)
}

/// Keeps tickets, as clients do by default.
pub(crate) fn client_that_resumes(network: &Network) -> Arc<ClientConfig> {
    client_of(&network.peer(None, DAY), network)
}

/// Shows a peer's certificate and signs with another key.
pub(crate) fn client_with_stolen_certificate(network: &Network) -> Arc<ClientConfig> {
    let (victim, thief) = (network.peer(None, DAY), PrivateKey::generate().expect("a key"));
    let key = any_eddsa_type(&key_of(&thief)).expect("a key");
    let pair = Stolen(Arc::new(CertifiedKey::new(chain_of(&victim), key)));
    client(network, |builder| builder.with_client_cert_resolver(Arc::new(pair)))
}

#[derive(Debug)]
struct Stolen(Arc<CertifiedKey>);

impl ResolvesClientCert for Stolen {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

async fn connect(
    to: SocketAddr,
    name: String,
    client: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    TlsConnector::from(client).connect(ServerName::try_from(name).expect("a name"), stream).await
}

/// The name of a daemon: the first in its certificate.
fn name_of(trust: &Trust) -> String {
    let certificate = CertificateDer::from(trust.credentials().certificate.clone());
    let leaf = webpki::EndEntityCert::try_from(&certificate).expect("a certificate");
    leaf.valid_dns_names().next().expect("a name").to_owned()
}

pub(crate) async fn health(server: &Daemon, client: Arc<ClientConfig>) -> Result<(), Code> {
    let (address, name) = (server.to().address, name_of(server.trust()));
    let connector = tower::service_fn(move |_: http::Uri| {
        let connecting = connect(address, name.clone(), client.clone());
        async { connecting.await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("valid");
    let asked = async {
        let Ok(channel) = endpoint.connect_with_connector(connector).await else {
            return Err(Code::Unavailable);
        };
        ask_health_over(channel).await
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("no caller hangs")
}

/// A call whose answer has no end, and a caller that reads nothing more of it; open for as long as this is held.
#[derive(Debug)]
pub(crate) struct Stalled {
    _connection: h2::client::Connection<TlsStream<TcpStream>>,
    _call: (h2::client::SendRequest<bytes::Bytes>, http::Response<h2::RecvStream>),
}

pub(crate) async fn stall(server: &Daemon, client: Arc<ClientConfig>) -> Stalled {
    const WINDOW: u32 = 1 << 30;
    let stream = connect(server.to().address, name_of(server.trust()), client).await.expect("shaken");
    let mut builder = h2::client::Builder::new();
    let builder = builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (mut send, mut connection) = builder.handshake(stream).await.expect("begun");
    let request =
        http::Request::post("http://test/test.Endless/Flood").header("content-type", "application/grpc");
    let request = request.body(()).expect("a request");
    let (answer, _) = send.send_request(request, true).expect("sent");
    let answer = tokio::select! {
        answer = answer => answer.expect("an answer"),
        ended = &mut connection => panic!("the connection ended: {ended:?}"),
    };
    assert_eq!(answer.status(), http::StatusCode::OK);
    Stalled { _connection: connection, _call: (send, answer) }
}

pub(crate) fn transport() -> Transport {
    Transport::new(Identity::ephemeral(), Security::PlaintextLoopback)
}

/// Connects and takes all that the server sends at first, tickets too.
pub(crate) async fn shake(server: &Daemon, client: &Arc<ClientConfig>) -> HandshakeKind {
    shake_at((server.to(), name_of(server.trust())), client).await
}

pub(crate) async fn shake_at((to, name): (To, String), client: &Arc<ClientConfig>) -> HandshakeKind {
    let mut stream = connect(to.address, name, client.clone()).await.expect("shaken");
    stream.write_all(PREFACE).await.expect("written");
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 64])).await.expect("an answer");
    assert!(read.expect("an answer") > 0);
    stream.get_ref().1.handshake_kind().expect("shaken")
}

/// A server of that peer that gives tickets.
pub(crate) async fn start_generous(trust: &Trust, network: &Network) -> (To, String) {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(network)), Arc::new(default_provider()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("roots"))
        .with_single_cert(chain_of(trust), key_of(trust.key()).into())
        .expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = acceptor.accept(stream).await.expect("shaken");
            stream.write_all(b"hello").await.expect("written");
            // Until the client has left.
            while stream.read(&mut [0; 64]).await.is_ok_and(|bytes| bytes > 0) {}
        }
    });
    (To { address, peer: trust.key().public().peer_id() }, name_of(trust))
}

/// What a server says to one who speaks TLS 1.2 at most: the level and the kind of an alert.
pub(crate) async fn answer_to_tls_1_2(address: SocketAddr) -> [u8; 2] {
    let extensions: [u8; 26] = [
        0, 10, 0, 4, 0, 2, 0, 29, // supported_groups: x25519
        0, 11, 0, 2, 1, 0, // ec_point_formats: uncompressed
        0, 13, 0, 8, 0, 6, 8, 7, 4, 3, 8, 4, // signature_algorithms: ed25519, ecdsa, rsa
    ];
    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 4, 0xc0, 0x2f, 0xc0, 0x2b, 1, 0]);
    hello.extend_from_slice(&[0, 26]);
    hello.extend_from_slice(&extensions);
    let length = u8::try_from(hello.len()).expect("short");
    let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend_from_slice(&hello);
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(&record).await.expect("written");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it ends");
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    assert_eq!(answer[..5], [0x15, 3, 3, 0, 2], "an alert");
    [answer[5], answer[6]]
}

/// Waits until the other end has ended the connection.
pub(crate) async fn until_closed(mut stream: TcpStream) {
    let ended = async { while stream.read(&mut [0; 64]).await.is_ok_and(|bytes| bytes > 0) {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
}
