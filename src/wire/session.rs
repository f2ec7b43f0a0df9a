//! What comes down a registry's session, as a peer sees it.

use std::time::Duration;

use super::{
    Invalid, enrollment, pb,
    registry::{self, News},
    required,
};
use crate::protocol::{
    gateway::Told,
    id::PeerId,
    membership::{Membership, Renewal},
    roster::{Delta, Roster},
    trust::DenyList,
};

/// A registry that wants heartbeats oftener than this is mistaken.
const MIN_HEARTBEAT: Duration = Duration::from_millis(10);

/// What the registry says.
#[derive(Debug)]
pub enum Down {
    /// Answers the registration.
    Welcome(Membership),
    /// Answers a heartbeat.
    Ack(Renewal),
    /// One change.
    Delta(Delta),
    /// The whole roster.
    Snapshot(Roster),
    /// Other neighbors.
    Neighbors(Vec<PeerId>),
    /// What members said of themselves.
    News(News),
    /// Through whom queries enter zones.
    Gateways(Told),
    /// Whom not to talk to.
    Denied(DenyList),
    /// The certificate is to be renewed now.
    RenewalDue,
}

/// Checks what the registry says.
pub fn down(message: pb::SessionResponse) -> Result<Down, Invalid> {
    use pb::session_response::Message;
    Ok(match required("message", message.message)? {
        Message::Welcome(welcome) => {
            let membership = registry::membership(welcome)?;
            if membership.heartbeat_interval < MIN_HEARTBEAT {
                return Err(Invalid::new("heartbeat_interval", "must be at least 10 ms"));
            }
            Down::Welcome(membership)
        }
        Message::Ack(ack) => Down::Ack(registry::renewal(ack)?),
        Message::Delta(delta) => Down::Delta(registry::delta(&delta)?),
        Message::Snapshot(snapshot) => Down::Snapshot(registry::roster(&snapshot)?),
        Message::News(news) => Down::News(registry::news(&news)?),
        Message::Gateways(gateways) => Down::Gateways(registry::gateways(&gateways)?),
        Message::Neighbors(neighbors) => Down::Neighbors(registry::neighbors(&neighbors)?),
        Message::Denied(denied) => Down::Denied(enrollment::deny_list(&denied)?),
        Message::RenewalDue(pb::RenewalDue {}) => Down::RenewalDue,
    })
}
