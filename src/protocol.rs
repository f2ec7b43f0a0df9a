//! The rules of a network, as plain functions and small state machines: (state, input, now, rng) to value.
//!
//! Architecture invariant: nothing here awaits, opens a socket or a file, reads the environment or a clock, so that the
//! simulations and the daemons run the very same code.

pub mod action;
pub mod admission;
pub mod bucket;
pub mod claim;
pub mod confirm;
pub mod crossing;
pub mod flood;
pub mod gateway;
pub mod hedge;
pub mod hits;
pub mod id;
pub mod idle;
pub mod lease;
pub mod manifest;
pub mod membership;
pub mod name;
pub mod neighbor;
pub mod pace;
pub mod piece;
pub mod placement;
pub mod plan;
pub mod query;
pub mod queue;
pub mod rate;
pub mod relay;
pub mod report;
pub mod roster;
pub mod saved;
pub mod strikes;
pub mod summary;
pub mod text;
pub mod trust;
pub mod zone;
