//! Refusals as standard status codes with details; each tells what to do about it.

use std::{collections::HashMap, net::SocketAddr};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    closed::Refused,
    state::{MAX_PEERS, Refusal},
};
use crate::{
    net::{Caller, shelter::disown},
    protocol::{
        admission::{NotAdmitted, NotFound},
        membership::Registration,
    },
    wire::{Invalid, enrollment::RENEWAL_DUE},
};

/// Names this service in error details.
const DOMAIN: &str = "floodplain.v1.RegistryService";
/// Names the authority in error details.
const ENROLLMENT_DOMAIN: &str = "floodplain.v1.EnrollmentService";

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
pub(super) fn check_source(advertised: SocketAddr, source: Option<SocketAddr>) -> Result<(), Invalid> {
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
        Refusal::Pinned(_) => {
            (Code::ResourceExhausted, ErrorDetails::with_quota_failure_violation("zone", &*text))
        }
        Refusal::NetworkFull => {
            let limit = format!("{MAX_PEERS} peers");
            (Code::ResourceExhausted, ErrorDetails::with_quota_failure_violation("network", limit))
        }
        Refusal::ShutOut => (Code::PermissionDenied, because("SHUT_OUT")),
        Refusal::UnknownLease => (Code::NotFound, because("UNKNOWN_LEASE")),
    };
    Status::with_error_details(code, text, details)
}

/// The standard code and details of each refusal by the authority.
pub(super) fn not_admitted(refusal: &Refused) -> Status {
    use NotAdmitted as Not;
    let because = |reason: &str| ErrorDetails::with_error_info(reason, ENROLLMENT_DOMAIN, HashMap::new());
    let text = refusal.to_string();
    let quota = |subject: &str| ErrorDetails::with_quota_failure_violation(subject, &*text);
    let (code, details) = match refusal {
        Refused::NotAdmitted(not) => match not {
            Not::UnknownToken => (Code::Unauthenticated, because("UNKNOWN_TOKEN")),
            Not::UsedUp => (Code::Unauthenticated, because("TOKEN_USED_UP")),
            Not::Revoked => (Code::PermissionDenied, because("SHUT_OUT")),
            Not::UnknownKey => (Code::PermissionDenied, because("UNKNOWN_KEY")),
            Not::NameTaken(name) => {
                let mut details = because("NAME_TAKEN");
                details.set_resource_info("peer name", name.to_string(), "", &*text);
                (Code::AlreadyExists, details)
            }
            Not::MembersFull => (Code::ResourceExhausted, quota("network")),
            Not::InvitesFull => (Code::ResourceExhausted, quota("invites")),
            Not::DeniedFull => (Code::ResourceExhausted, quota("shut out")),
            Not::BadInvite => (Code::InvalidArgument, because("BAD_INVITE")),
        },
        Refused::NotFound(NotFound::Nobody) => (Code::NotFound, because("NO_SUCH_MEMBER")),
        Refused::NotFound(NotFound::Several) => (Code::FailedPrecondition, because("SEVERAL_MEMBERS")),
        Refused::WrongProof => {
            (Code::InvalidArgument, ErrorDetails::with_bad_request_violation("proof", &*text))
        }
        Refused::MembersLeft(_) => (
            Code::FailedPrecondition,
            ErrorDetails::with_precondition_failure_violation("MEMBERS_LEFT", "authority", &*text),
        ),
        Refused::RenewFirst => (
            Code::FailedPrecondition,
            ErrorDetails::with_precondition_failure_violation(RENEWAL_DUE, "certificate", &*text),
        ),
        Refused::NotInUse => (
            Code::FailedPrecondition,
            ErrorDetails::with_precondition_failure_violation("NOT_IN_USE", "authority", &*text),
        ),
        Refused::NotSigned(error) => {
            tracing::error!(error = format!("{error:#}"), "the authority failed");
            (Code::Internal, because("NOT_SIGNED"))
        }
        Refused::NotWritten => (Code::Unavailable, because("NOT_WRITTEN")),
    };
    let mut status = Status::with_error_details(code, text, details);
    if code == Code::Internal {
        disown(&mut status);
    }
    status
}

/// An invite for a zone that cannot be.
pub(super) fn no_such_zone(zones: u32) -> Status {
    Invalid::new("zone_id", format!("must be at most {zones}, for there are no more zones")).into()
}
