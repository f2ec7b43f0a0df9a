//! Floodplain: share and find files over your own network, with no central file server.
//!
//! # Layout
//!
//! Imports point down, never up, never across in a loop.
//!
//! ```text
//! L4  cli                      arguments -> one call; exit codes
//! L3  console      web         two faces over peer::Handle (and nothing deeper)
//! L2  peer         registry    the two daemons; they never import each other
//! L1  wire  net  index  store  config  telemetry  shutdown
//! L0  protocol                 the rules: (state, input, now, rng) -> value
//! ```
//!
//! - [`protocol`]: the rules. No await, socket, file, environment or clock.
//! - [`wire`]: protobuf to and from the rules' types; every inbound field is checked here.
//! - [`net`]: listening, dialing, identity, admission.
//! - [`index`]: what this peer shares, and how a name matches.
//! - [`store`]: part files, verification, atomic publishing, the inbox.
//! - [`config`]: strings to checked settings, once, at start.
//! - [`telemetry`], [`shutdown`]: logs; owned tasks that end.
//! - [`registry`]: the daemon that tracks live peers and assigns zones.
//! - [`peer`]: the daemon that shares, searches and transfers.
//! - [`console`]: the interactive menu.
//! - [`web`]: page, REST and gRPC on one loopback port.
//! - [`cli`]: the command line.

pub mod protocol;

pub mod config;
pub mod index;
pub mod net;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod wire;

pub mod peer;
pub mod registry;

pub mod console;
pub mod web;

pub mod cli;
