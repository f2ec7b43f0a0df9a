//! Under which address others reach this machine, when the settings do not say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Result, bail};
use tokio::net::{UdpSocket, lookup_host};

use super::is_loopback;

/// A documentation address (RFC 5737): asking the system for the way there names the interface of the default route.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// The address to be told to others: what the settings say, else where we listen, else, when we listen on every
/// interface, the interface that leads to the registry, or to the default route when the registry is on this machine.
///
/// # Errors
/// When the registry is elsewhere and we listen where only this machine reaches us.
pub async fn advertised(
    asked: Option<SocketAddr>,
    listening: SocketAddr,
    registry: &str,
) -> Result<SocketAddr> {
    if let Some(address) = asked {
        // Port 0 stands for the port that the system chose.
        let port = if address.port() == 0 { listening.port() } else { address.port() };
        return Ok(SocketAddr::new(address.ip(), port));
    }
    // A name that cannot be looked up now is looked up again by whoever dials.
    let registry_address = match lookup_host(registry).await {
        Ok(mut addresses) => addresses.next(),
        Err(_) => None,
    };
    // A registry that listens everywhere is here: `0.0.0.0` leads back to this machine.
    let is_elsewhere = |address: SocketAddr| !is_loopback(address.ip()) && !address.ip().is_unspecified();
    let is_registry_elsewhere = registry_address.is_some_and(is_elsewhere);
    if !listening.ip().is_unspecified() {
        if is_registry_elsewhere && is_loopback(listening.ip()) {
            bail!(
                "the registry at {registry} is on another machine, and nobody there reaches {listening}; \
                 set FLOODPLAIN_LISTEN=0.0.0.0:{}",
                listening.port()
            );
        }
        return Ok(listening);
    }
    let towards = registry_address.filter(|_| is_registry_elsewhere).unwrap_or(ANYWHERE);
    let ip = local_ip_towards(towards).await.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(SocketAddr::new(ip, listening.port()))
}

/// The local address that packets to `target` would leave from. Nothing is sent.
async fn local_ip_towards(target: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(target).await.ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn the_settings_come_first_and_then_where_we_listen() {
        let told = advertised(Some(at("10.1.2.3:0")), at("0.0.0.0:7001"), "127.0.0.1:7000").await;
        assert_eq!(told.expect("an address"), at("10.1.2.3:7001"));
        let told = advertised(None, at("127.0.0.1:7001"), "127.0.0.1:7000").await;
        assert_eq!(told.expect("an address"), at("127.0.0.1:7001"));
    }

    #[tokio::test]
    async fn listening_everywhere_never_advertises_the_unspecified_address() {
        let faces = local_ip_towards(ANYWHERE).await.unwrap_or(Ipv4Addr::LOCALHOST.into());
        // The second is how a registry asks for its own invites.
        for registry in ["127.0.0.1:7000", "0.0.0.0:7000"] {
            let told = advertised(None, at("0.0.0.0:7001"), registry).await.expect("an address");
            assert_eq!(told, SocketAddr::new(faces, 7001), "{registry}");
        }
    }

    #[tokio::test]
    async fn a_loopback_address_is_useless_to_a_registry_elsewhere() {
        let error = advertised(None, at("127.0.0.1:7001"), "192.0.2.7:7000").await.expect_err("refused");
        assert!(error.to_string().contains("FLOODPLAIN_LISTEN=0.0.0.0:7001"), "{error}");
    }
}
