//! `health`: asks a daemon by the gRPC health protocol. Made for container health checks: quick, quiet, and no daemon of
//! its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    admin,
    args::HealthArgs,
    exit::{Ended, Exit, Failure},
    json,
    output::Output,
    refused,
};
use crate::{
    config::{Raw, RegistrySettings},
    net::{Identity, Purpose, Security, Transport, Trust, enroll},
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
    /// Whoever listens at an address.
    Address {
        /// `HOST:PORT`.
        address: String,
        /// As the settings say; TLS otherwise.
        is_plaintext: bool,
        /// The data folder: of a member, or of nobody.
        data: PathBuf,
    },
}

impl Daemon {
    /// The address that was named, else the peer or the registry whose socket is there, else the registry of the settings.
    pub fn find(raw: &Raw, addr: Option<&str>) -> Result<Self, Failure> {
        if let Some(address) = addr {
            return Self::at(raw, address.to_owned());
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
        Self::at(raw, dialed(listen).to_string())
    }

    fn at(raw: &Raw, address: String) -> Result<Self, Failure> {
        let is_plaintext = raw.is_plaintext().map_err(refused)?;
        Ok(Self::Address { address, is_plaintext, data: raw.data().map_err(refused)? })
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
pub async fn health(out: &mut Output, daemon: &Daemon, args: &HealthArgs) -> Ended {
    let (target, channel) = match daemon {
        Daemon::Peer(socket) => (socket.display().to_string(), remote::channel(socket).await?),
        Daemon::Registry(socket) => (socket.display().to_string(), admin::channel(socket).await?),
        Daemon::Address { address, is_plaintext, data } => {
            (address.clone(), dial(address, *is_plaintext, data).await?)
        }
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

/// In a closed network with the key of the data folder, if there is one: peers answer members only, a registry also strangers.
async fn dial(address: &str, is_plaintext: bool, data: &Path) -> Result<Channel, Failure> {
    let dialed = if is_plaintext {
        let transport = Transport::new(Identity::ephemeral(), Security::PlaintextLoopback);
        transport.dial_host(address, Purpose::Registry).await
    } else {
        // A folder that cannot be read is one of nobody here: its daemon tells what is wrong with it.
        let kept = NetworkFolder::of(data).load().ok().flatten();
        let member = kept.and_then(|kept| Trust::new(kept.key, kept.credentials).ok());
        enroll::probe(address, member.as_ref()).await
    };
    dialed.map_err(|error| {
        let error = ActionError::new(ErrorKind::Unreachable, format!("{:#}", anyhow::Error::from(error)));
        error.hint("start it, or name another address with --addr").into()
    })
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
