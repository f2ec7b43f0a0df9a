//! `health`: asks a daemon by the gRPC health protocol. Made for container health checks: quick, quiet, and no daemon of
//! its own.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    admin,
    args::HealthArgs,
    daemon::failed,
    exit::{Ended, Exit, Failure},
    json,
    output::Output,
    refused,
};
use crate::{
    config::{PeerSettings, Raw, RegistrySettings},
    net::{Identity, Purpose, Security, Transport, Trust},
    peer::{control, remote},
    protocol::action::{ActionError, ErrorKind},
    store::membership::NetworkFolder,
};

/// For the whole question; shorter than any sensible interval of health checks.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Daemon {
    /// The peer behind this control socket.
    Peer(PathBuf),
    /// The registry behind this socket.
    Registry(PathBuf),
    /// Whoever listens at this `HOST:PORT`.
    Address(String),
}

impl Daemon {
    /// The address that was named, else the peer or the registry whose socket is there, else the registry of the settings.
    pub fn find(raw: &Raw, addr: Option<&str>) -> Result<Self, Failure> {
        if let Some(address) = addr {
            return Ok(Self::Address(address.to_owned()));
        }
        let data = raw.data().map_err(refused)?;
        let socket = control::socket_path(&data);
        if socket.exists() {
            return Ok(Self::Peer(socket));
        }
        if let Some(socket) = admin::socket(&data) {
            return Ok(Self::Registry(socket));
        }
        let listen = RegistrySettings::from_raw(raw).map_err(refused)?.listen;
        Ok(Self::Address(dialed(listen).to_string()))
    }
}

/// Whoever listens on every address also listens on loopback.
fn dialed(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

/// Asks. Any answer is well, unless readiness is asked for: then only `SERVING` is.
pub async fn health(out: &mut Output, raw: &Raw, daemon: &Daemon, args: &HealthArgs) -> Ended {
    let (target, channel) = match daemon {
        Daemon::Peer(socket) => (socket.display().to_string(), remote::channel(socket).await?),
        Daemon::Registry(socket) => (socket.display().to_string(), admin::channel(socket).await?),
        Daemon::Address(address) => (address.clone(), dial(raw, address).await?),
    };
    let request = HealthCheckRequest { service: String::new() };
    let status = match HealthClient::new(channel).check(request).await {
        Ok(response) => match response.into_inner().status() {
            ServingStatus::Serving => "serving",
            ServingStatus::NotServing => "not_serving",
            ServingStatus::Unknown | ServingStatus::ServiceUnknown => "unknown",
        },
        // It answers, and does not know the question.
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => "unknown",
        Err(status) => {
            let message = format!("{target} does not answer: {}", status.message());
            return Err(ActionError::new(ErrorKind::Unreachable, message).into());
        }
    };
    if out.style.json {
        out.json(&json::Health { target: &target, status })?;
    } else {
        out.note(format_args!("{target}: {}", status.replace('_', " ")));
    }
    Ok(if args.ready && status != "serving" { Exit::Failed } else { Exit::Done })
}

/// A registry of the network that the data folder belongs to, or with `FLOODPLAIN_INSECURE_LOOPBACK` any daemon.
async fn dial(raw: &Raw, address: &str) -> Result<Channel, Failure> {
    let settings = PeerSettings::from_raw(raw).map_err(refused)?;
    let security = if settings.insecure_loopback {
        Security::PlaintextLoopback
    } else {
        Security::Closed(trust(&settings)?)
    };
    let transport = Transport::new(Identity::ephemeral(), security);
    transport.dial_host(address, Purpose::Registry).await.map_err(|error| {
        let error = ActionError::new(ErrorKind::Unreachable, format!("{:#}", anyhow::Error::from(error)));
        error.hint("start it, or name another address with --addr").into()
    })
}

/// Who asks in a closed network.
fn trust(settings: &PeerSettings) -> Result<Trust, Failure> {
    let folder = NetworkFolder::of(&settings.data);
    let known = folder.load().map_err(|error| failed(&error))?;
    let Some(known) = known else {
        let message = format!(
            "no daemon runs with {}, and it belongs to no network to ask in",
            settings.data.display()
        );
        let hint = "name the data folder of the daemon with --data, or of a member of its network";
        return Err(ActionError::new(ErrorKind::Unreachable, message).hint(hint).into());
    };
    Trust::new(known.key, known.credentials).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:7000", "127.0.0.1:7000"),
            ("[::]:7000", "[::1]:7000"),
            ("10.0.0.5:7000", "10.0.0.5:7000"),
        ] {
            assert_eq!(dialed(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
