//! Ports that a daemon could not take if it were started now.

use std::{io, net::SocketAddr};

use super::finding::{Found, GATEWAY_PORT_TAKEN};
use crate::config::HttpSettings;

/// Why a daemon that does not run could not listen there, and what to do; `setting` names the address.
pub(super) fn cannot_listen(listen: SocketAddr, setting: &str) -> Option<(io::Error, String)> {
    if listen.port() == 0 {
        return None;
    }
    let error = std::net::TcpListener::bind(listen).err()?;
    let todo = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "stop the other program (`ss -ltnp sport = :{}` names it), or set {setting} to another port",
            listen.port()
        ),
        io::ErrorKind::PermissionDenied => format!("set {setting} to a port from 1024"),
        _ => format!("set {setting} to an address of this machine, such as 0.0.0.0"),
    };
    Some((error, todo))
}

/// The port of a gateway that does not run. One that nobody chose is of no matter: another one is taken in its place.
pub(super) fn gateway(http: &HttpSettings, name: &'static str, found: &mut Found) {
    let chosen: Option<SocketAddr> = http.listen.filter(|_| !http.is_default);
    let Some((listen, (problem, todo))) =
        chosen.and_then(|listen| Some((listen, cannot_listen(listen, name)?)))
    else {
        return;
    };
    let what = format!("the web page cannot listen on {listen}: {problem}");
    found.add(
        GATEWAY_PORT_TAKEN,
        what,
        "a port that was chosen is kept to: the daemon does not start",
        &todo,
    );
}
