//! What a look at a peer, and at the registry beside it, may find. The ids are for scripts: they stay.

use serde::Serialize;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "finding")]
pub struct Finding {
    /// One of [`ALL`].
    pub id: &'static str,
    /// What was seen.
    pub what: String,
    /// What that does, or where it comes from.
    pub why: String,
    /// What to do.
    pub todo: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $id;)*

        /// Every id there is.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

ids! {
    /// A key begins like a setting and is none.
    UNKNOWN_SETTING = "unknown-setting";
    /// A setting is out of its bounds.
    BAD_SETTING = "bad-setting";
    /// Keys of an earlier system.
    OLD_SETTING = "old-setting";
    /// The settings file cannot be read.
    BAD_SETTINGS_FILE = "bad-settings-file";
    /// Others can read a secret.
    EXPOSED_SECRET = "exposed-secret";
    /// The data folder cannot be written.
    DATA_NOT_WRITABLE = "data-not-writable";
    /// The inbox cannot be written.
    INBOX_NOT_WRITABLE = "inbox-not-writable";
    /// Too little space is left to receive anything large.
    DISK_NEARLY_FULL = "disk-nearly-full";
    /// Nothing is offered.
    NO_SHARES = "no-shares";
    /// A share cannot be read.
    UNREADABLE_SHARE = "unreadable-share";
    /// No peer runs.
    NOT_RUNNING = "peer-not-running";
    /// It was told to leave.
    DISCONNECTED = "peer-disconnected";
    /// It belongs to no network.
    NO_MEMBERSHIP = "no-membership";
    /// What it keeps of its membership is damaged.
    BAD_MEMBERSHIP = "bad-membership";
    /// Its certificate has run out.
    CERTIFICATE_EXPIRED = "certificate-expired";
    /// It was shut out.
    SHUT_OUT = "shut-out";
    /// The name of the registry has no address.
    REGISTRY_UNKNOWN = "registry-unknown";
    /// Nobody listens there.
    REGISTRY_REFUSED = "registry-refused";
    /// Nobody answers there.
    REGISTRY_TIMED_OUT = "registry-timed-out";
    /// Somebody else answers there.
    REGISTRY_FOREIGN = "registry-foreign";
    /// This machine's clock and the registry's differ.
    CLOCK_OFF = "clock-off";
    /// The port is somebody else's.
    PORT_TAKEN = "port-taken";
    /// The registry cannot dial the peer back.
    NOT_REACHABLE = "not-reachable";
    /// The registry of this machine does not run.
    OWN_REGISTRY_NOT_RUNNING = "own-registry-not-running";
    /// Its port is somebody else's.
    OWN_REGISTRY_PORT_TAKEN = "own-registry-port-taken";
    /// The port that was chosen for a web page is somebody else's.
    GATEWAY_PORT_TAKEN = "gateway-port-taken";
    /// What the registry keeps of its network's key is damaged, or cannot be used.
    BAD_AUTHORITY = "bad-authority";
    /// The registry wrote something in the future.
    OWN_CLOCK_OFF = "own-clock-off";
    /// Peers' certificates are good for too short.
    CERTIFICATES_SHORT = "certificates-short";
    /// Nobody was let in.
    NO_MEMBERS = "no-members";
    /// The key of the network is being changed.
    AUTHORITY_CHANGE_OPEN = "authority-change-open";
}

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) findings: Vec<Finding>,
    pub(super) notes: Vec<String>,
}

impl Found {
    pub(super) fn add(&mut self, id: &'static str, what: String, why: &str, todo: &str) {
        self.findings.push(Finding { id, what, why: why.into(), todo: todo.into() });
    }
}
