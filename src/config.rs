//! Strings to checked settings: once, at start.

pub mod peer;
pub mod registry;

pub use peer::PeerSettings;
pub use registry::RegistrySettings;
