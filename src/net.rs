//! The transports: how bytes get from one process to another, who is at the other end, and how much is let in.
//!
//! Everything goes through one [`Transport`], made at start from the identity and the security that the settings ask
//! for. Callers say where and what for; whether the bytes are encrypted is decided here alone.

pub mod accept;
pub mod advertise;
pub mod channel;
pub mod identity;
pub mod limit;
pub mod listen;
pub mod queue;
pub mod shelter;
pub mod standard;
pub mod throttle;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use channel::{DialError, Purpose};
pub use identity::Identity;
pub use listen::Listener;

/// What protects the bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Nothing; warned of when an address is not loopback.
    Plaintext,
    /// Nothing, and every address that is not loopback is refused.
    PlaintextLoopback,
}

impl Security {
    /// As the setting `FLOODPLAIN_INSECURE_LOOPBACK` says.
    pub fn from_insecure_loopback(is_loopback_only: bool) -> Self {
        if is_loopback_only { Self::PlaintextLoopback } else { Self::Plaintext }
    }
}

/// An address that the security in force does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is not a loopback address, and FLOODPLAIN_INSECURE_LOOPBACK=true allows no other")]
pub struct Forbidden {
    /// Which.
    pub address: SocketAddr,
}

/// Who we are and how we talk; cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: Identity,
    security: Security,
    was_warned: AtomicBool,
}

impl Transport {
    /// One for the life of a daemon.
    pub fn new(identity: Identity, security: Security) -> Self {
        Self(Arc::new(Inner { identity, security, was_warned: AtomicBool::new(false) }))
    }

    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Lets an address pass, with one warning in the life of the daemon when it leaves the machine in plaintext.
    fn vet(&self, address: SocketAddr) -> Result<(), Forbidden> {
        if is_loopback(address.ip()) {
            return Ok(());
        }
        match self.0.security {
            Security::PlaintextLoopback => Err(Forbidden { address }),
            Security::Plaintext => {
                if !self.0.was_warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%address, "not encrypted: anyone on this network can read what is searched and moved");
                }
                Ok(())
            }
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_only_refuses_every_other_address() {
        let strict = Transport::new(Identity::ephemeral(), Security::PlaintextLoopback);
        let open = Transport::new(Identity::ephemeral(), Security::Plaintext);
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let address = address.parse().expect("an address");
            assert!(strict.vet(address).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "192.168.1.2:1", "[::]:1"] {
            let address = address.parse().expect("an address");
            assert_eq!(strict.vet(address), Err(Forbidden { address }));
            assert!(open.vet(address).is_ok());
        }
    }
}
