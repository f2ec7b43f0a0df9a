//! Members of closed networks, made without a registry: certified by an authority that the caller holds.

use std::time::Duration;

use anyhow::Result;
use floodplain::{
    net::{Authority, Identity, PrivateKey, Security, Transport, Trust},
    protocol::{id::PeerId, trust::Credentials},
};

/// Longer than anything that is measured or tested takes.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// A new member of the authority's network.
pub(crate) fn member(authority: &Authority) -> Result<(Transport, PeerId)> {
    let (key, network) = (PrivateKey::generate()?, authority.network());
    let id = key.public().peer_id();
    let (certificate, not_after) = authority.certify_peer(&key.public(), network, None, LIFETIME)?;
    let credentials = Credentials { certificate, authorities: vec![authority.public()], network, not_after };
    let trust = Trust::new(key, credentials)?;
    Ok((Transport::new(Identity::ephemeral(), Security::Closed(trust)), id))
}
