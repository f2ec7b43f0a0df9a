//! What a peer runs with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{HttpSettings, Raw, SettingsError, raw::invalid, table, value};
use crate::protocol::{
    action::AcceptPolicy, bucket::RateLimits, flood::MAX_TTL_PLUS_HOPS, id::PeerName, trust::invite::Invite,
};

/// Highest TTL: `wire` takes no query whose TTL and hops are more together.
const MAX_TTL: u8 = MAX_TTL_PLUS_HOPS;
/// Longest wait of a search: `wire` takes no longer deadline.
const MAX_SEARCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Shortest wait of a search: below it a peer on the same wire may not answer in time.
const MIN_SEARCH_TIMEOUT: Duration = Duration::from_millis(100);
/// Between two runs of a saved search: shorter, and 64 of them are a flood all the time; longer is never.
const SAVED_SEARCH_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));
/// Ids in the query cache: fewer lose floods that cross, more are 100 MiB and up.
const QUERY_CACHE: (usize, usize) = (100, 1_000_000);
/// Most uploads at once; a guess, at about 2 MiB each.
const MAX_UPLOAD_SLOTS: usize = 256;
/// Most downloads at once; a guess.
const MAX_DOWNLOAD_SLOTS: usize = 64;

/// Grace of a missing replica: shorter, and every restart of a peer would be repaired; longer protects little.
const REPLICA_GRACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));

/// What a peer runs with; every value checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// The registry, `HOST:PORT`.
    pub registry: String,
    /// It was not named, so that the one of the invite is meant in a closed network.
    pub is_registry_default: bool,
    /// What lets it into a closed network, once; afterwards it is a member.
    pub invite: Option<Invite>,
    /// A file with such an invite, which may appear later.
    pub invite_file: Option<PathBuf>,
    /// The name it wants.
    pub name: PeerName,
    /// The name was made from the machine's, so that another may be taken when it is in use.
    pub is_name_default: bool,
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where others dial it, when that is not where it listens. `None` with an unspecified `listen`: the daemon finds
    /// the address of this machine that faces the registry.
    pub advertise: Option<SocketAddr>,
    /// The web page and the REST interface.
    pub http: HttpSettings,
    /// The folders it offers.
    pub shares: Vec<PathBuf>,
    /// Where files pushed by others arrive.
    pub inbox: PathBuf,
    /// Folder of its identity, its membership, its index and its control socket.
    pub data: PathBuf,
    /// TTL of its own classic floods, 1 to 32.
    pub ttl: u8,
    /// How long its own searches wait.
    pub search_timeout: Duration,
    /// How often its saved searches are asked again.
    pub saved_search_every: Duration,
    /// Ids that its query cache holds.
    pub query_cache: usize,
    /// Uploads at once.
    pub upload_slots: usize,
    /// Downloads at once.
    pub download_slots: usize,
    /// Bytes per second of all uploads, and of those to one other peer; 0 is no limit.
    pub upload_limits: RateLimits,
    /// Bytes per second of all downloads, and of those from one other peer; 0 is no limit.
    pub download_limits: RateLimits,
    /// Who may put files into the inbox.
    pub accept: AcceptPolicy,
    /// Bytes it keeps for the network.
    pub replica_space: u64,
    /// How long a missing replica is waited for before another peer keeps it.
    pub replica_grace: Duration,
    /// Plaintext, loopback addresses only.
    pub insecure_loopback: bool,
}

impl PeerSettings {
    /// From what was read.
    ///
    /// # Errors
    /// The first value that is refused.
    pub fn from_raw(raw: &Raw) -> Result<Self, SettingsError> {
        let folder = raw.folder();
        raw.is_discovery_wanted()?;
        let name = raw.parse(table::NAME, |text| text.parse::<PeerName>().map_err(|error| error.problem))?;
        let (registry, is_registry_default) = registry(raw)?;
        let settings = Self {
            registry,
            is_registry_default,
            invite: raw
                .parse(table::INVITE, |text| text.parse::<Invite>().map_err(|error| format!("is {error}")))?,
            invite_file: raw.parse(table::INVITE_FILE, |text| value::path(text, folder))?,
            is_name_default: name.is_none(),
            name: name.unwrap_or_else(machine_name),
            listen: raw.listen(table::LISTEN, "PEER_IP", "PEER_PORT")?,
            advertise: raw.parse(table::ADVERTISE, value::advertised)?,
            http: HttpSettings::from_raw(raw, table::HTTP_LISTEN)?,
            shares: raw.required(table::SHARES, |text| value::shares(text, folder))?,
            inbox: raw.required(table::INBOX, |text| value::path(text, folder))?,
            data: raw.data()?,
            ttl: raw.required(table::TTL, |text| value::number(text, 1, MAX_TTL))?,
            search_timeout: raw.required(table::SEARCH_TIMEOUT, |text| {
                value::duration(text, "3s", MIN_SEARCH_TIMEOUT, MAX_SEARCH_TIMEOUT)
            })?,
            saved_search_every: raw.required(table::SAVED_SEARCH_EVERY, |text| {
                value::duration(text, "5m", SAVED_SEARCH_EVERY.0, SAVED_SEARCH_EVERY.1)
            })?,
            query_cache: raw
                .required(table::QUERY_CACHE, |text| value::number(text, QUERY_CACHE.0, QUERY_CACHE.1))?,
            upload_slots: raw
                .required(table::UPLOAD_SLOTS, |text| value::number(text, 1, MAX_UPLOAD_SLOTS))?,
            download_slots: raw
                .required(table::DOWNLOAD_SLOTS, |text| value::number(text, 1, MAX_DOWNLOAD_SLOTS))?,
            upload_limits: limits(raw, table::UPLOAD_LIMIT, table::PEER_UPLOAD_LIMIT)?,
            download_limits: limits(raw, table::DOWNLOAD_LIMIT, table::PEER_DOWNLOAD_LIMIT)?,
            accept: raw.required(table::ACCEPT, value::accept)?,
            replica_space: raw.required(table::REPLICA_SPACE, value::size)?,
            replica_grace: raw.required(table::REPLICA_GRACE, |text| {
                value::duration(text, "5m", REPLICA_GRACE.0, REPLICA_GRACE.1)
            })?,
            insecure_loopback: raw.required(table::INSECURE_LOOPBACK, value::boolean)?,
        };
        settings.stays_on_loopback()?;
        Ok(settings)
    }

    /// With `insecure_loopback`, every address to bind or dial is on this machine.
    fn stays_on_loopback(&self) -> Result<(), SettingsError> {
        if !self.insecure_loopback {
            return Ok(());
        }
        self.http.stays_on_loopback(table::HTTP_LISTEN)?;
        let bound = [(table::LISTEN, Some(self.listen)), (table::ADVERTISE, self.advertise)];
        let bound = bound.into_iter().filter_map(|(name, address)| Some((name, address?.to_string())));
        match bound.chain([(table::REGISTRY, self.registry.clone())]).find(|(_, at)| !value::is_loopback(at))
        {
            None => Ok(()),
            Some((name, address)) => {
                let problem = "must be a loopback address while FLOODPLAIN_INSECURE_LOOPBACK is true";
                Err(invalid(name, address, problem.into()))
            }
        }
    }
}

fn limits(raw: &Raw, whole: &'static str, per_peer: &'static str) -> Result<RateLimits, SettingsError> {
    Ok(RateLimits {
        whole: raw.required(whole, value::rate)?,
        per_peer: raw.required(per_peer, value::rate)?,
    })
}

/// Which registry, and whether nobody named it.
fn registry(raw: &Raw) -> Result<(String, bool), SettingsError> {
    let registry = raw.required(table::REGISTRY, value::host_port)?;
    if raw.is_set(table::REGISTRY) {
        return Ok((registry, false));
    }
    let (default_host, default_port) = registry.rsplit_once(':').expect("the default is HOST:PORT");
    let as_host = |text: &str| {
        let host = if text.contains(':') { format!("[{text}]") } else { text.to_owned() };
        value::host_port(&format!("{host}:1"))
            .map(|_| host)
            .map_err(|_| "must be the registry's host name or IP, such as 127.0.0.1".to_owned())
    };
    let host = raw.parse_old("SERVER_IP", as_host)?;
    let as_port = |text: &str| value::number(text, 1, u16::MAX).map(|port| port.to_string());
    let port = raw.parse_old("SERVER_PORT", as_port)?;
    let is_default = host.is_none() && port.is_none();
    let host = host.unwrap_or_else(|| default_host.to_owned());
    let port = port.unwrap_or_else(|| default_port.to_owned());
    Ok((format!("{host}:{port}"), is_default))
}

fn machine_name() -> PeerName {
    PeerName::from_any(&rustix::system::uname().nodename().to_string_lossy())
}
