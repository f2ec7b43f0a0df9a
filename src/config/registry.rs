//! What a registry runs with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{HttpSettings, Raw, SettingsError, raw::invalid, table, value};
use crate::protocol::zone::Layout;

/// Most peers that one zone may be set to hold: its roster then still fits one message of 4 MiB twice over.
const MAX_ZONE_SIZE: u32 = 10_000;
/// Most peers that a fixed layout may be set to hold: the registry's target of scale.
const MAX_NETWORK_SIZE: u32 = 100_000;
/// Shortest lease: below it a busy machine is taken for a dead one.
const MIN_LEASE: Duration = Duration::from_secs(1);
/// Longest lease: a peer that vanished silently is listed no longer.
const MAX_LEASE: Duration = Duration::from_secs(3600);
/// Shortest heartbeat.
const MIN_HEARTBEAT: Duration = Duration::from_millis(100);

/// Shortest life of a peer's certificate: it is renewed after two thirds of it, and a registry that is busy may take a second
/// to answer.
const MIN_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(2);
/// Longest. So long a peer that heard of no revocation may go on talking to the one that was shut out.
const MAX_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a registry runs with; every value checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where invites say that it is, `HOST:PORT`. `None`: where it listens, or the address of this machine that faces the
    /// network.
    pub advertise: Option<String>,
    /// A file that always holds a good invite, in a closed network.
    pub invite_file: Option<PathBuf>,
    /// How zones are laid out.
    pub layout: Layout,
    /// A peer that is silent this long is gone.
    pub lease: Duration,
    /// How often peers renew; at most a third of the lease.
    pub heartbeat: Duration,
    /// How long a peer's certificate is good, in a closed network.
    pub certificate_lifetime: Duration,
    /// Folder of the snapshot file and of the authority's key.
    pub data: PathBuf,
    /// The web page.
    pub http: HttpSettings,
    /// Plaintext, loopback addresses only.
    pub insecure_loopback: bool,
}

impl RegistrySettings {
    /// From what was read.
    ///
    /// # Errors
    /// The first value that is refused.
    pub fn from_raw(raw: &Raw) -> Result<Self, SettingsError> {
        raw.is_discovery_wanted()?;
        let lease = raw.required(table::LEASE, |text| value::duration(text, "30s", MIN_LEASE, MAX_LEASE))?;
        let settings = Self {
            listen: raw.listen(table::REGISTRY_LISTEN, "IP", "PORT")?,
            advertise: raw.parse(table::REGISTRY_ADVERTISE, value::host_port)?,
            invite_file: raw.parse(table::INVITE_FILE, |text| value::path(text, raw.folder()))?,
            layout: layout(raw)?,
            lease,
            heartbeat: heartbeat(raw, lease)?,
            certificate_lifetime: raw.required(table::CERTIFICATE_LIFETIME, |text| {
                value::duration(text, "24h", MIN_CERTIFICATE_LIFETIME, MAX_CERTIFICATE_LIFETIME)
            })?,
            data: raw.data()?,
            http: HttpSettings::from_raw(raw, table::REGISTRY_HTTP_LISTEN)?,
            insecure_loopback: raw.required(table::INSECURE_LOOPBACK, value::boolean)?,
        };
        if settings.insecure_loopback && !settings.listen.ip().is_loopback() {
            let problem = "must be a loopback address while FLOODPLAIN_INSECURE_LOOPBACK is true".into();
            return Err(invalid(table::REGISTRY_LISTEN, settings.listen, problem));
        }
        if settings.insecure_loopback {
            settings.http.stays_on_loopback(table::REGISTRY_HTTP_LISTEN)?;
        }
        Ok(settings)
    }
}

/// At most a third of the lease, so that two lost heartbeats end nobody. Not set, it follows a short lease down.
fn heartbeat(raw: &Raw, lease: Duration) -> Result<Duration, SettingsError> {
    let parser = |text: &str| value::duration(text, "10s", MIN_HEARTBEAT, MAX_LEASE / 3);
    let heartbeat = raw.required(table::HEARTBEAT, parser)?;
    let longest = lease / 3;
    if heartbeat <= longest {
        return Ok(heartbeat);
    }
    if !raw.is_set(table::HEARTBEAT) {
        return Ok(longest);
    }
    let problem = format!(
        "must be at most a third of FLOODPLAIN_LEASE ({}), so {} or less",
        humantime::format_duration(lease),
        humantime::format_duration(longest),
    );
    Err(invalid(table::HEARTBEAT, humantime::format_duration(heartbeat), problem))
}

/// Fixed when both of its settings are there, elastic when none is. The zones of a fixed layout are equal: its size
/// divides by their number.
fn layout(raw: &Raw) -> Result<Layout, SettingsError> {
    let size = fixed(raw, table::NETWORK_SIZE, "NETWORK_SIZE")?;
    let zones = fixed(raw, table::NUMBER_OF_ZONES, "NUMBER_OF_ZONES")?;
    let refuse = |name, number: u32, problem| Err(invalid(name, number, problem));
    let (size, zones) = match (size, zones) {
        (None, None) => return elastic(raw),
        (Some(size), Some(zones)) => (size, zones),
        (Some(size), None) => {
            return refuse(table::NETWORK_SIZE, size, "needs FLOODPLAIN_NUMBER_OF_ZONES as well".into());
        }
        (None, Some(zones)) => {
            return refuse(table::NUMBER_OF_ZONES, zones, "needs FLOODPLAIN_NETWORK_SIZE as well".into());
        }
    };
    if let Some(name) =
        [table::ZONE_MIN, table::ZONE_TARGET, table::ZONE_MAX].into_iter().find(|name| raw.is_set(name))
    {
        let problem = format!("a fixed layout has no {name}; set either the one or the other");
        return refuse(table::NETWORK_SIZE, size, problem);
    }
    if zones > size {
        let problem =
            format!("must be at most FLOODPLAIN_NETWORK_SIZE ({size}), for a zone holds one peer or more");
        return refuse(table::NUMBER_OF_ZONES, zones, problem);
    }
    if size % zones != 0 {
        let (below, above) = (size / zones * zones, (size / zones + 1) * zones);
        let problem =
            format!("must divide by FLOODPLAIN_NUMBER_OF_ZONES ({zones}); {below} and {above} would do");
        return refuse(table::NETWORK_SIZE, size, problem);
    }
    if size / zones > MAX_ZONE_SIZE {
        let problem =
            format!("makes zones of {} peers, more than {MAX_ZONE_SIZE}; set more zones", size / zones);
        return refuse(table::NETWORK_SIZE, size, problem);
    }
    Ok(Layout::Fixed { zones, zone_size: size / zones })
}

fn fixed(raw: &Raw, name: &'static str, old: &'static str) -> Result<Option<u32>, SettingsError> {
    let parser = |text: &str| value::number(text, 1, MAX_NETWORK_SIZE);
    match raw.parse(name, parser)? {
        None => raw.parse_old(old, parser),
        set => Ok(set),
    }
}

fn elastic(raw: &Raw) -> Result<Layout, SettingsError> {
    let read = |name| raw.required(name, |text| value::number(text, 1, MAX_ZONE_SIZE));
    let (min, target, max) = (read(table::ZONE_MIN)?, read(table::ZONE_TARGET)?, read(table::ZONE_MAX)?);
    if target < 2 * min {
        let problem = format!("must be at least twice FLOODPLAIN_ZONE_MIN ({min}), so {} or more", 2 * min);
        return Err(invalid(table::ZONE_TARGET, target, problem));
    }
    if max < target + min {
        let problem = format!(
            "must be at least FLOODPLAIN_ZONE_TARGET ({target}) and FLOODPLAIN_ZONE_MIN ({min}) together, so {} or more",
            target + min
        );
        return Err(invalid(table::ZONE_MAX, max, problem));
    }
    Ok(Layout::Elastic { min, target, max })
}
