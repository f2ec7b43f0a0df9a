//! The daemon that shares, searches and transfers; both client and server.

pub mod channels;
pub mod download;
pub mod handle;
pub mod receive;
pub mod send;
pub mod transfers;
pub mod upload;

pub use handle::{Actions, Handle};
