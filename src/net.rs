//! The transports: how bytes get from one process to another, who is at the other end, and how much is let in.
//!
//! Everything goes through one [`Transport`], made at start from the identity and the security that the settings ask
//! for. Callers say where and what for; whether the bytes are encrypted is decided here alone.

pub mod accept;
pub mod advertise;
pub mod authority;
pub mod caller;
pub mod channel;
mod conduct;
pub mod counts;
pub mod descriptors;
pub mod discovery;
pub mod enroll;
pub mod guard;
pub mod identity;
pub mod key;
mod leaf;
pub mod limit;
mod link;
pub mod listen;
pub mod queue;
pub mod secret_file;
pub mod shelter;
pub mod socket;
pub mod standard;
pub mod throttle;
pub mod trust;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use authority::Authority;
pub use caller::{Caller, CallerKey, Standing};
pub use channel::{DialError, Purpose, To};
pub use counts::{Calls, ConnectionCounts, Connections};
pub use identity::Identity;
pub use key::{PrivateKey, verify};
pub use listen::Listener;
pub use trust::Trust;

/// What protects the bytes on their way.
#[derive(Debug, Clone)]
pub enum Security {
    /// Nothing, and every address that is not loopback is refused.
    PlaintextLoopback,
    /// TLS, both ends proven members of one network.
    Closed(Trust),
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
    connections: ConnectionCounts,
}

impl Transport {
    /// One for the life of a daemon.
    pub fn new(identity: Identity, security: Security) -> Self {
        Self(Arc::new(Inner { identity, security, connections: ConnectionCounts::default() }))
    }

    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// What protects the bytes.
    pub fn security(&self) -> &Security {
        &self.0.security
    }

    /// What its listeners count.
    pub fn connections(&self) -> &ConnectionCounts {
        &self.0.connections
    }

    /// Our place in a closed network.
    pub fn trust(&self) -> Option<&Trust> {
        match &self.0.security {
            Security::PlaintextLoopback => None,
            Security::Closed(trust) => Some(trust),
        }
    }

    /// Lets an address pass.
    fn vet(&self, address: SocketAddr) -> Result<(), Forbidden> {
        match self.0.security {
            Security::PlaintextLoopback if !is_loopback(address.ip()) => Err(Forbidden { address }),
            _ => Ok(()),
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
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let address = address.parse().expect("an address");
            assert!(strict.vet(address).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "192.168.1.2:1", "[::]:1"] {
            let address = address.parse().expect("an address");
            assert_eq!(strict.vet(address), Err(Forbidden { address }));
        }
    }
}
