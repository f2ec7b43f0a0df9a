//! Strings to checked settings: once, at start. What is refused is refused by its name, with its value and what would do.

pub mod http;
pub mod log;
pub mod peer;
pub mod raw;
pub mod registry;
pub mod table;
pub mod value;

#[cfg(test)]
mod tests;

pub use http::HttpSettings;
pub use log::{LogFormat, LogSettings};
pub use peer::PeerSettings;
pub use raw::{Raw, SettingsError, Sources};
pub use registry::RegistrySettings;
