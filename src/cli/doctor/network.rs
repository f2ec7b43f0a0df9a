//! Faults between this peer and the network: its membership, the way to the registry, and the way back.

use std::{io, net::SocketAddr, time::SystemTime};

use tonic::{Code, Request, Status as GrpcStatus, service::Routes, transport::Channel};
use tonic_types::StatusExt;

use super::{
    clock,
    finding::{
        BAD_MEMBERSHIP, CERTIFICATE_EXPIRED, Found, NO_MEMBERSHIP, NOT_REACHABLE, PORT_TAKEN,
        REGISTRY_FOREIGN, REGISTRY_REFUSED, REGISTRY_TIMED_OUT, REGISTRY_UNKNOWN, SHUT_OUT,
    },
    port::{cannot_listen, gateway},
};
use crate::{
    config::{PeerSettings, table},
    net::{
        DialError, Identity, Purpose, Security, Transport, Trust,
        advertise::advertised,
        enroll::{Untrusted, untrusted},
    },
    protocol::action::Status,
    shutdown::Shutdown,
    store::membership::{Enrolled, NetworkFolder},
    wire::pb::{self, registry_service_client::RegistryServiceClient},
};

/// For one answer of the registry, which dials this peer back meanwhile.
const ANSWER_DEADLINE: std::time::Duration = std::time::Duration::from_secs(15);

/// Looks at all of it; `status` is that of the running peer.
pub(super) async fn look(settings: &PeerSettings, status: Option<&Status>) -> Found {
    let mut found = Found::default();
    if status.is_none() {
        port(settings.listen, &mut found);
        gateway(&settings.http, table::HTTP_LISTEN, &mut found);
    }
    let enrolled = if settings.insecure_loopback { None } else { membership(settings, &mut found) };
    let registry = match (status, &enrolled) {
        (Some(status), _) => status.registry.clone(),
        (None, Some(enrolled)) if settings.is_registry_default => enrolled.registry.clone(),
        _ => settings.registry.clone(),
    };
    let security = match (settings.insecure_loopback, &enrolled) {
        (true, _) => Security::PlaintextLoopback,
        (false, Some(enrolled)) => match Trust::new(enrolled.key.clone(), enrolled.credentials.clone()) {
            Ok(trust) => Security::Closed(trust),
            Err(error) => {
                bad_membership(format!("{error:#}"), &mut found);
                return found;
            }
        },
        // Nothing to show, and nothing to know the registry by; what is wrong is told already.
        (false, None) => return found,
    };
    let transport = Transport::new(Identity::ephemeral(), security);
    match transport.dial_host(&registry, Purpose::Registry).await {
        Ok(channel) => ask(settings, status, &transport, (channel, &registry), &mut found).await,
        Err(error) => unreachable(&registry, &error, &mut found),
    }
    found
}

/// Where the peer is to listen, somebody may.
fn port(listen: SocketAddr, found: &mut Found) {
    let Some((error, todo)) = cannot_listen(listen, table::LISTEN) else { return };
    let what = format!("no peer runs, and {listen} cannot be listened on: {error}");
    found.add(PORT_TAKEN, what, "the peer does not start without its port", &todo);
}

fn membership(settings: &PeerSettings, found: &mut Found) -> Option<Enrolled> {
    let folder = NetworkFolder::of(&settings.data);
    let enrolled = match folder.load() {
        Ok(Some(enrolled)) => enrolled,
        Ok(None) => {
            // An invite of the settings is used at the next start.
            if settings.invite.is_none() && settings.invite_file.is_none() {
                let what = format!("{} belongs to no network", settings.data.display());
                let why = "a closed network lets in only whoever was invited";
                let todo = "`floodplain join INVITE`, with what `floodplain invite` prints where the registry runs; or make a network with `floodplain up`";
                found.add(NO_MEMBERSHIP, what, why, todo);
            }
            return None;
        }
        Err(error) => {
            bad_membership(format!("{error:#}"), found);
            return None;
        }
    };
    let me = enrolled.key.public().peer_id();
    if folder.denied().is_ok_and(|denied| denied.peers().contains(&me)) {
        shut_out("the list of those who were shut out has this peer".into(), found);
    }
    let now = SystemTime::now();
    if let Ok(since) = now.duration_since(enrolled.credentials.not_after) {
        let since = humantime::format_duration(std::time::Duration::from_secs(since.as_secs()));
        let what = format!("the certificate of this peer ran out {since} ago");
        let why = "it is renewed while the peer runs and reaches the registry; a clock that is ahead looks the same";
        let todo = "start the peer where it reaches the registry, which renews it; if that is refused, join with a new invite";
        found.add(CERTIFICATE_EXPIRED, what, why, todo);
    }
    Some(enrolled)
}

fn bad_membership(what: String, found: &mut Found) {
    let why = "without key and certificate the peer is nobody in its network";
    let todo = "restore the folder `network` of the data folder, or remove it and join with a new invite";
    found.add(BAD_MEMBERSHIP, what, why, todo);
}

fn shut_out(what: String, found: &mut Found) {
    if found.findings.iter().any(|finding| finding.id == SHUT_OUT) {
        return;
    }
    let why = "somebody ran `floodplain revoke` for it where the registry runs";
    let todo = "it stays out; with another data folder (--data) and a new invite it is a new peer";
    found.add(SHUT_OUT, what, why, todo);
}

/// The registry answers: what does it say?
async fn ask(
    settings: &PeerSettings,
    status: Option<&Status>,
    transport: &Transport,
    (channel, registry): (Channel, &str),
    found: &mut Found,
) {
    let mut client = RegistryServiceClient::new(channel);
    let zones = Request::new(pb::ListZonesRequest { page_size: 1, page_token: String::new() });
    let answer = within(client.list_zones(zones)).await;
    let (metadata, problem) = match &answer {
        Ok(answer) => (answer.metadata(), None),
        Err(status) => (status.metadata(), Some(status)),
    };
    found.findings.extend(clock::compare(metadata, SystemTime::now(), registry));
    if let Some(problem) = problem {
        refused(registry, problem, found);
        return;
    }
    if transport.trust().is_none() {
        return;
    }
    let Some((address, _standing_in)) = address(settings, status, transport, registry, found).await else {
        return;
    };
    let back = Request::new(pb::CheckReachRequest { address: address.to_string() });
    if let Err(problem) = within(client.check_reach(back)).await {
        let is_not_there = problem.get_details_precondition_failure().is_some();
        match problem.code() {
            Code::FailedPrecondition | Code::InvalidArgument
                if is_not_there || problem.code() == Code::InvalidArgument =>
            {
                let what =
                    format!("the registry at {registry} cannot dial this peer back: {}", problem.message());
                not_reachable(what, address, found);
            }
            Code::Unimplemented | Code::Unavailable | Code::DeadlineExceeded => {
                let said = problem.message();
                found.notes.push(format!("whether others reach this peer could not be asked: {said}"));
            }
            _ => refused(registry, &problem, found),
        }
    }
}

async fn within<T>(call: impl Future<Output = Result<T, GrpcStatus>>) -> Result<T, GrpcStatus> {
    let late = |_| Err(GrpcStatus::deadline_exceeded("the registry does not answer"));
    tokio::time::timeout(ANSWER_DEADLINE, call).await.unwrap_or_else(late)
}

/// Where this peer is dialed, and who answers there meanwhile: the peer, or this process in its place.
async fn address(
    settings: &PeerSettings,
    status: Option<&Status>,
    transport: &Transport,
    registry: &str,
    found: &mut Found,
) -> Option<(SocketAddr, Option<StandIn>)> {
    if let Some(status) = status {
        return Some((status.me.address, None));
    }
    // A port that is taken was told already.
    let listener = transport.listen(settings.listen).await.ok()?;
    let address = match advertised(settings.advertise, listener.address(), registry).await {
        Ok(address) => address,
        Err(error) => {
            not_reachable(format!("{error:#}"), listener.address(), found);
            return None;
        }
    };
    let shutdown = Shutdown::new();
    drop(shutdown.spawn_draining("stand-in", transport.serve(listener, Routes::default(), None, &shutdown)));
    Some((address, Some(StandIn(shutdown))))
}

/// Shows the peer's certificate where the peer would listen, until it is dropped.
struct StandIn(Shutdown);

impl Drop for StandIn {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn not_reachable(what: String, address: SocketAddr, found: &mut Found) {
    let why = "this machine reaches others and they do not reach it: a firewall or an address that leads elsewhere; the network takes no peer that cannot be dialed";
    let todo = format!(
        "let TCP port {} in through the firewall of this machine (and of its router), or set FLOODPLAIN_ADVERTISE to the address by which others reach it",
        address.port()
    );
    found.add(NOT_REACHABLE, what, why, &todo);
}

fn refused(registry: &str, status: &GrpcStatus, found: &mut Found) {
    let said = status.message();
    match status.code() {
        Code::PermissionDenied => shut_out(format!("the registry at {registry} says: {said}"), found),
        // Told by its date already.
        Code::Unauthenticated => {
            if !found.findings.iter().any(|finding| finding.id == CERTIFICATE_EXPIRED) {
                let what =
                    format!("the registry at {registry} does not take this peer's certificate: {said}");
                let todo = "start the peer, which renews it; if that is refused, join with a new invite";
                found.add(CERTIFICATE_EXPIRED, what, "it may be over by the clock of the registry", todo);
            }
        }
        _ => timed_out(format!("the registry at {registry} does not answer as one: {said}"), found),
    }
}

fn timed_out(what: String, found: &mut Found) {
    let why = "the machine is off, the address is another's, or a firewall drops what is sent there";
    let todo = "see that the registry runs and that its machine answers (`ping`), and let its port in through its firewall";
    found.add(REGISTRY_TIMED_OUT, what, why, todo);
}

/// Why there is no connection to the registry.
fn unreachable(registry: &str, error: &DialError, found: &mut Found) {
    let time = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    match untrusted(error) {
        Some(Untrusted::NotYet { now, begins }) => {
            let (now, begins) = (time(now), time(begins));
            found.findings.push(clock::found(format!(
                "by the clock of this machine it is {now}, and the certificate of the registry at {registry} is good from {begins} on"
            )));
        }
        Some(Untrusted::Over { now, ended }) => {
            let (now, ended) = (time(now), time(ended));
            found.findings.push(clock::found(format!(
                "by the clock of this machine it is {now}, and the certificate of the registry at {registry} was good until {ended}"
            )));
        }
        Some(Untrusted::Foreign) => {
            let what = format!("who answers at {registry} is not the registry of this peer's network");
            let why =
                "the address is that of another network, or the registry was set up anew with another key";
            let todo = "correct FLOODPLAIN_REGISTRY, or join with a new invite (`floodplain join --leave-old INVITE`)";
            found.add(REGISTRY_FOREIGN, what, why, todo);
        }
        None => no_answer(registry, error, found),
    }
}

fn no_answer(registry: &str, error: &DialError, found: &mut Found) {
    let address = match error {
        DialError::Unknown { host, .. } => {
            let what = format!("the name of the registry, {host}, has no address");
            let why = "it is misspelt, or the name service of this network does not know it";
            let todo = "correct FLOODPLAIN_REGISTRY, or write the IP address in its place";
            return found.add(REGISTRY_UNKNOWN, what, why, todo);
        }
        DialError::Forbidden(forbidden) => {
            let what = forbidden.to_string();
            let todo = "leave out FLOODPLAIN_INSECURE_LOOPBACK, or set FLOODPLAIN_REGISTRY=127.0.0.1:7000";
            return found.add(REGISTRY_FOREIGN, what, "plaintext stays on one machine", todo);
        }
        DialError::Unreachable { address, .. } => *address,
    };
    let at =
        if registry == address.to_string() { registry.to_owned() } else { format!("{registry} ({address})") };
    if is_refused(error) {
        let what = format!("nobody listens at {at}, where the registry should be");
        let why = "the registry does not run, or listens elsewhere; its machine is there";
        let todo = "start it (`floodplain registry`, or `floodplain up`), or correct FLOODPLAIN_REGISTRY";
        return found.add(REGISTRY_REFUSED, what, why, todo);
    }
    timed_out(format!("nobody answers at {at}, where the registry should be"), found);
}

fn is_refused(error: &DialError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            return true;
        }
        source = error.source();
    }
    false
}
