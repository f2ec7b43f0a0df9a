//! The daemon that shares, searches and transfers; both client and server.

pub mod counters;
pub mod handle;
pub mod links;
mod session;
pub mod view;

pub use handle::{Actions, Handle};
