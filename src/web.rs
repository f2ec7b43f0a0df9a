//! The faces in HTTP: of a peer over [`crate::peer::Handle`], of a registry over its overview.

pub mod health;
pub mod metrics;
