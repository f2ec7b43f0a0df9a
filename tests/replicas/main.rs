//! Files that the network keeps: put, found, taken back, repaired and handed over by real peers.

#[allow(dead_code, reason = "every test uses its part of it")]
#[path = "../support/network.rs"]
mod support;

mod churn;
mod pulls;
mod put;
mod scrub;
mod zone;
