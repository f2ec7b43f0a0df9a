//! The lines of the verbs that make a closed network and say who belongs to it.

use std::time::SystemTime;

use serde::Serialize;

use super::time;
use crate::net::discovery::Found;

/// An invite: a secret that was asked for.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "invite")]
pub struct Invite<'a> {
    /// The text to join with.
    pub invite: &'a str,
    /// Good until then.
    pub expires: Option<String>,
}

/// The registry of `up`; the peer's own line follows.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "registry")]
pub struct Registry {
    /// Where it listens; the real port when 0 was asked for.
    pub address: String,
}

/// A peer that was let in.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "member")]
pub struct Member<'a> {
    /// Bound to its key.
    pub name: &'a str,
    /// 64 hexadecimal digits.
    pub peer_id: String,
    /// `live`, `away` or `revoked`.
    pub state: &'static str,
    /// When it was let in.
    pub enrolled: Option<String>,
    /// Its newest certificate is good until then.
    pub certificate_until: Option<String>,
    /// Its newest certificate is of the newest authority.
    pub newest_authority: bool,
}

/// The keys that members are certified by.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "authority")]
pub struct Authority {
    /// Trusted, the newest last.
    pub keys: Vec<String>,
    /// Members whose certificates are of an older one.
    pub members_on_older: usize,
    /// The newest certifies already.
    pub newest_in_use: bool,
    /// Live peers that have not been told which are trusted now.
    pub live_untold: usize,
}

/// A peer that entered a network.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "enrolled")]
pub struct Enrolled {
    /// Which.
    pub network: String,
    /// 64 hexadecimal digits.
    pub peer_id: String,
    /// Bound to its key.
    pub name: String,
    /// Where the registry is.
    pub registry: String,
}

/// A point in time as it is printed.
pub fn when(at: SystemTime) -> Option<String> {
    time(at)
}

/// A registry that announces itself nearby; nothing of it is proven.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "registry_nearby")]
pub struct Nearby<'a> {
    name: &'a str,
    addresses: Vec<String>,
    fingerprint: String,
    network: &'a str,
    version: &'a str,
}

impl<'a> From<&'a Found> for Nearby<'a> {
    fn from(found: &'a Found) -> Self {
        Self {
            name: &found.name,
            addresses: found.addresses.iter().map(ToString::to_string).collect(),
            fingerprint: found.authority.to_string(),
            network: &found.network,
            version: &found.version,
        }
    }
}
