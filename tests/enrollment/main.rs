//! A closed network's registry as its authority: who is let in, renewed, shut out, and under which name, zone and address.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;
mod enroll;
mod revoke;
mod rotate;
mod standing;
