//! Refusals as standard status codes with details; each tells what to do about it.

use std::{collections::HashMap, net::SocketAddr};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::state::{MAX_PEERS, Refusal};
use crate::{net::Caller, protocol::membership::Registration, wire::Invalid};

/// Names this service in error details.
const DOMAIN: &str = "floodplain.v1.RegistryService";

/// Whoever registers has to be who it says: by its certificate, or, where nothing is proven, by the credential that the
/// state checks. And it has to be reachable there.
pub(super) fn check_caller(registration: &Registration, caller: &Caller) -> Result<(), Status> {
    let peer = registration.member.id;
    if !caller.may_speak_for(&peer) {
        let details = ErrorDetails::with_error_info("WRONG_ID", DOMAIN, HashMap::new());
        let text = format!("{peer} is not the caller's id");
        return Err(Status::with_error_details(Code::PermissionDenied, text, details));
    }
    if caller.peer().is_none() && registration.credential.is_none() {
        return Err(Invalid::new("credential", "must be 32 bytes in a plaintext network").into());
    }
    Ok(check_source(registration.member.address, caller.address())?)
}

/// A peer on another machine cannot be dialed at a loopback address.
fn check_source(advertised: SocketAddr, source: Option<SocketAddr>) -> Result<(), Invalid> {
    let is_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    match source {
        Some(source) if is_loopback(advertised) && !is_loopback(source) => Err(Invalid::new(
            "peer.address",
            format!(
                "{advertised} cannot be dialed by others; set FLOODPLAIN_ADVERTISE to an address that can"
            ),
        )),
        _ => Ok(()),
    }
}

/// The standard code and details of each refusal.
pub(super) fn refused(refusal: &Refusal) -> Status {
    let because = |reason: &str| ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    let text = refusal.to_string();
    let (code, details) = match refusal {
        Refusal::WrongCredential => (Code::PermissionDenied, because("WRONG_CREDENTIAL")),
        Refusal::Superseded(_) => (
            Code::FailedPrecondition,
            ErrorDetails::with_precondition_failure_violation("INCARNATION", "peer.incarnation", &*text),
        ),
        Refusal::NameTaken(name) => {
            let mut details = because("NAME_TAKEN");
            details.set_resource_info("peer name", name.to_string(), "", &*text);
            (Code::AlreadyExists, details)
        }
        Refusal::AddressTaken(address) => {
            let mut details = because("ADDRESS_TAKEN");
            details.set_resource_info("peer address", address.to_string(), "", &*text);
            (Code::AlreadyExists, details)
        }
        Refusal::ZonesFull(full) => {
            let limit = format!("{} zones of {} peers", full.zones, full.zone_size);
            (Code::ResourceExhausted, ErrorDetails::with_quota_failure_violation("network", limit))
        }
        Refusal::NetworkFull => {
            let limit = format!("{MAX_PEERS} peers");
            (Code::ResourceExhausted, ErrorDetails::with_quota_failure_violation("network", limit))
        }
        Refusal::UnknownLease => (Code::NotFound, because("UNKNOWN_LEASE")),
    };
    Status::with_error_details(code, text, details)
}
