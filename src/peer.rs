//! The daemon that shares, searches and transfers; both client and server.

pub mod control;
pub mod handle;
pub mod remote;

pub use handle::{Actions, Handle};
