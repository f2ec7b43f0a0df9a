//! Where a daemon's page and REST interface listen. Invariant: whoever opens them to other machines has said by which names they
//! are addressed, for a gateway answers under no other name.

use std::net::SocketAddr;

use super::{Raw, SettingsError, raw::invalid, table, value};

/// Most further names: a proxy has one or two.
const MAX_HOSTS: usize = 16;

/// Of a daemon's gateway; every value checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpSettings {
    /// Where it listens; port 0 lets the system choose. `None`: there is no gateway.
    pub listen: Option<SocketAddr>,
    /// Nobody chose the port, so that another one will do when it is taken.
    pub is_default: bool,
    /// Names by which it is addressed besides those of this machine, lower case, without a port; an IPv6 one in brackets.
    pub hosts: Vec<String>,
}

impl HttpSettings {
    /// From what was read under this name.
    pub(super) fn from_raw(raw: &Raw, name: &'static str) -> Result<Self, SettingsError> {
        let listen = raw.required(name, |text| match text {
            "off" => Ok(None),
            text => value::listen(text).map(Some),
        })?;
        let hosts = raw.parse(table::HTTP_HOSTS, hosts)?.unwrap_or_default();
        if let Some(address) = listen.filter(|address| hosts.is_empty() && !address.ip().is_loopback()) {
            let problem = "must be a loopback address or `off`, unless FLOODPLAIN_HTTP_HOSTS names the hosts by which a proxy \
                           or a published port addresses it";
            return Err(invalid(name, address, problem.into()));
        }
        Ok(Self { listen, is_default: !raw.is_set(name), hosts })
    }

    /// Refuses what leaves this machine, for daemons that speak plaintext.
    pub(super) fn stays_on_loopback(&self, name: &'static str) -> Result<(), SettingsError> {
        match self.listen.filter(|address| !address.ip().is_loopback()) {
            None => Ok(()),
            Some(address) => {
                let problem = "must be a loopback address while FLOODPLAIN_INSECURE_LOOPBACK is true";
                Err(invalid(name, address, problem.into()))
            }
        }
    }
}

fn hosts(text: &str) -> Result<Vec<String>, String> {
    let hosts: Vec<String> = text.split(',').map(|host| host.trim().to_ascii_lowercase()).collect();
    if hosts.len() > MAX_HOSTS {
        return Err(format!("must be at most {MAX_HOSTS} names, not {}", hosts.len()));
    }
    let is_host = |host: &String| value::host_port(&format!("{host}:1")).is_ok();
    if hosts.iter().all(is_host) {
        return Ok(hosts);
    }
    Err("must be host names or addresses without a port, separated by commas, such as files.example.org"
        .into())
}
