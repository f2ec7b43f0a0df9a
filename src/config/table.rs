//! Every setting there is, with its default. A name that is not here is an error, so that a misspelt one never passes.

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Name in the environment and in the `.env` file.
    pub name: &'static str,
    /// What it is when it is not set; empty where the default is worked out.
    pub default: &'static str,
}

/// Prefix of every setting.
pub const PREFIX: &str = "FLOODPLAIN_";

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident = $default:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = concat!("FLOODPLAIN_", stringify!($name));)*

        /// Every setting, in the order of `.env.example`.
        pub const SETTINGS: &[Setting] = &[
            $(Setting { name: $name, default: $default }),*
        ];
    };
}

settings! {
    /// The registry that a peer joins, `HOST:PORT`.
    REGISTRY = "127.0.0.1:7000";
    /// Where a registry listens.
    REGISTRY_LISTEN = "127.0.0.1:7000";
    /// Where invites say that the registry is, `HOST:PORT`.
    REGISTRY_ADVERTISE = "";
    /// The invite that a peer joins with; a secret.
    INVITE = "";
    /// A file with an invite: a registry writes it, a peer reads it.
    INVITE_FILE = "";
    /// Registries announce themselves on the local network, and are looked for there.
    DISCOVERY = "true";
    /// Peers of a network of fixed layout.
    NETWORK_SIZE = "";
    /// Zones of a network of fixed layout.
    NUMBER_OF_ZONES = "";
    /// A zone below this is filled first.
    ZONE_MIN = "6";
    /// A zone's usual size.
    ZONE_TARGET = "16";
    /// A zone is never larger.
    ZONE_MAX = "24";
    /// A peer that is silent this long is gone.
    LEASE = "30s";
    /// How often peers renew.
    HEARTBEAT = "10s";
    /// How long a peer's certificate is good.
    CERTIFICATE_LIFETIME = "24h";
    /// A peer's name.
    NAME = "";
    /// Where a peer listens.
    LISTEN = "127.0.0.1:7001";
    /// Where others dial a peer.
    ADVERTISE = "";
    /// Where a peer's page and REST interface listen.
    HTTP_LISTEN = "127.0.0.1:7080";
    /// Where a registry's page listens.
    REGISTRY_HTTP_LISTEN = "127.0.0.1:7070";
    /// Further names by which pages are addressed.
    HTTP_HOSTS = "";
    /// Offered folders.
    SHARES = "./share";
    /// Where pushed files arrive.
    INBOX = "./inbox";
    /// Folder of identity, index, snapshot and control socket.
    DATA = "";
    /// TTL of classic floods.
    TTL = "16";
    /// How long searches wait.
    SEARCH_TIMEOUT = "3s";
    /// How often saved searches are asked again.
    SAVED_SEARCH_EVERY = "5m";
    /// Ids that the query cache holds.
    QUERY_CACHE = "10000";
    /// Uploads at once.
    UPLOAD_SLOTS = "8";
    /// Downloads at once.
    DOWNLOAD_SLOTS = "4";
    /// Bytes per second of all uploads.
    UPLOAD_LIMIT = "0";
    /// Bytes per second of all downloads.
    DOWNLOAD_LIMIT = "0";
    /// Bytes per second of the uploads to one other peer.
    PEER_UPLOAD_LIMIT = "0";
    /// Bytes per second of the downloads from one other peer.
    PEER_DOWNLOAD_LIMIT = "0";
    /// Who may put files into the inbox.
    ACCEPT = "ask";
    /// Bytes kept for the network.
    REPLICA_SPACE = "1GiB";
    /// How long a missing replica is waited for before another peer keeps it.
    REPLICA_GRACE = "5m";
    /// What is logged.
    LOG = "info";
    /// How it is logged.
    LOG_FORMAT = "text";
    /// Plaintext, loopback only.
    INSECURE_LOOPBACK = "false";
}

/// Where spans of queries are sent; a setting of programs that are built with the feature `otlp`.
#[cfg(feature = "otlp")]
pub const OTLP_ENDPOINT: &str = "FLOODPLAIN_OTLP_ENDPOINT";

/// Settings of features that were built in.
const OF_FEATURES: &[Setting] = &[
    #[cfg(feature = "otlp")]
    Setting { name: OTLP_ENDPOINT, default: "" },
];

/// Keys of the systems before this one, understood in a `.env` file only.
pub const OLD_KEYS: [&str; 8] =
    ["IP", "PORT", "NETWORK_SIZE", "NUMBER_OF_ZONES", "PEER_IP", "PEER_PORT", "SERVER_IP", "SERVER_PORT"];

/// Values that are never repeated, neither in an error nor in a log.
pub const SECRETS: [&str; 1] = [INVITE];

/// The setting of that name.
pub fn known(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().chain(OF_FEATURES).find(|setting| setting.name == name)
}

/// The known name that differs least from a misspelt one.
pub fn nearest(name: &str) -> &'static str {
    let name = name.to_ascii_uppercase();
    SETTINGS
        .iter()
        .min_by_key(|setting| strsim::damerau_levenshtein(setting.name, &name))
        .map_or(PREFIX, |setting| setting.name)
}
