//! What a member of a closed network shows and whom it lets in; renewed and told of revocations while it runs.
//!
//! Invariant: nothing is resumed and nothing is older than TLS 1.3, so that every connection proves a key anew; a peer that
//! was shut out has no connection here, in either direction, from the moment that it is told.

mod links;
mod tls;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Result, ensure};
use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};

pub(super) use links::Watched;
pub(super) use tls::{client, dialing, provider};

use self::links::Links;
use super::{
    key::PrivateKey,
    leaf::{self, Leaf, Subject},
};
use crate::protocol::{
    id::{PeerId, ZoneId},
    trust::{Credentials, DenyList, NetworkId},
};

/// A daemon's place in a closed network; cheap to clone.
#[derive(Debug, Clone)]
pub struct Trust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: PrivateKey,
    network: NetworkId,
    shown: ArcSwap<Shown>,
    links: Arc<Links>,
}

/// What is shown and trusted at one time.
#[derive(Debug)]
struct Shown {
    credentials: Arc<Credentials>,
    zone: Option<ZoneId>,
    lifetime: Duration,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    is_registry: bool,
}

impl Trust {
    /// Of a key and what its network gave for it. A certificate that has run out is taken: it can be renewed.
    ///
    /// # Errors
    /// When the certificate is not of the key, not of the network, or not issued by an authority among the credentials.
    pub fn new(key: PrivateKey, credentials: Credentials) -> Result<Self> {
        let network = credentials.network;
        let shown = Shown::new(&key, credentials)?;
        Ok(Self(Arc::new(Inner { key, network, shown: ArcSwap::from_pointee(shown), links: Arc::default() })))
    }

    /// Which network.
    pub fn network(&self) -> NetworkId {
        self.0.network
    }

    /// The key that everything here is proved by.
    pub fn key(&self) -> &PrivateKey {
        &self.0.key
    }

    /// What is shown and trusted now.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.0.shown.load().credentials.clone()
    }

    /// The zone that the certificate names.
    pub fn zone(&self) -> Option<ZoneId> {
        self.0.shown.load().zone
    }

    /// How long the certificate was to be good when it was made.
    pub fn lifetime(&self) -> Duration {
        self.0.shown.load().lifetime
    }

    /// Shows and trusts something else from the next connection on; open ones stay.
    ///
    /// # Errors
    /// As [`Trust::new`], and when it is of another network; what was shown is still shown then.
    pub fn renew(&self, credentials: Credentials) -> Result<()> {
        ensure!(credentials.network == self.0.network, "the credentials are of another network");
        self.0.shown.store(Arc::new(Shown::new(&self.0.key, credentials)?));
        Ok(())
    }

    /// Shuts these out, and nobody else any more. Open connections with them, both ways, are cut at once. A list that is
    /// older than the last one changes nothing.
    pub fn deny(&self, list: DenyList) {
        self.0.links.deny(list);
    }

    /// That peer was shut out.
    pub fn is_denied(&self, peer: &PeerId) -> bool {
        self.0.links.is_denied(peer)
    }

    /// Connections that are open with that peer, both ways.
    pub fn open_links(&self, peer: &PeerId) -> usize {
        self.0.links.open(peer)
    }

    /// Until when a connection may live with a peer whose certificate is good until then: no longer than a new one of ours would be.
    /// Whoever holds an authority's key can make one that never ends, and would keep its connections when that key is trusted
    /// no more.
    pub(super) fn bounded(&self, not_after: SystemTime) -> SystemTime {
        not_after.min(SystemTime::now() + self.lifetime())
    }

    /// To hear when that peer is shut out; `None` when it is already.
    pub(super) fn watch(&self, peer: PeerId) -> Option<Watched> {
        self.0.links.watch(peer)
    }

    /// What is shown: the certificate, and the key that it is of.
    pub(super) fn shown(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.credentials().certificate.clone().into()], self.0.key.to_der())
    }

    /// A certificate, DER, is of this network and good now.
    pub(super) fn believes(&self, certificate: &[u8]) -> bool {
        let credentials = self.credentials();
        let anchors: Vec<_> =
            credentials.authorities.iter().map(|authority| leaf::anchor(authority, self.0.network)).collect();
        Leaf::read(certificate, self.0.network).is_ok_and(|leaf| !leaf.is_expired())
            && leaf::verify(certificate, &anchors, SystemTime::now()).is_ok()
    }

    /// What is shown is the registry's.
    pub(super) fn is_registry(&self) -> bool {
        self.0.shown.load().is_registry
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        self.0.shown.load().server.clone()
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        self.0.shown.load().client.clone()
    }
}

impl Shown {
    fn new(key: &PrivateKey, credentials: Credentials) -> Result<Self> {
        let leaf = Leaf::read(&credentials.certificate, credentials.network)?;
        ensure!(leaf.key == key.public(), "the certificate is of another key");
        let network = credentials.network;
        let anchors: Vec<_> =
            credentials.authorities.iter().map(|authority| leaf::anchor(authority, network)).collect();
        leaf::verify(&credentials.certificate, &anchors, leaf.not_after)?;
        let (is_registry, zone) = match leaf.subject {
            Subject::Registry => (true, None),
            Subject::Peer { zone, .. } => (false, zone),
        };
        let lifetime = leaf.lifetime();
        let (server, client) = tls::configs(key, &credentials.certificate, anchors, is_registry)?;
        Ok(Self { credentials: Arc::new(credentials), zone, lifetime, server, client, is_registry })
    }
}
