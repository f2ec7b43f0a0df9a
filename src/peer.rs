//! The daemon that shares, searches and transfers; both client and server.

pub mod control;
mod counters;
mod directory;
pub mod handle;
mod links;
mod origin;
pub mod remote;
mod search;
mod service;
mod session;
mod view;

pub use handle::{Actions, Handle};
