//! The daemon that shares, searches and transfers; both client and server.

pub mod handle;

pub use handle::{Actions, Handle};
