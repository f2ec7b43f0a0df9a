//! Routes with their descriptions, of which a server takes the routes alone.
//!
//! Invariant: what serves and what describes is made of the same list. The whole description takes 1.6 MB to make, which a daemon
//! that is not asked for it would hold from its start.

use axum::Router;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

/// What routes are added to.
pub(super) trait Table<S>: Sized {
    /// With one more.
    #[must_use]
    fn routes(self, one: UtoipaMethodRouter<S>) -> Self;
}

impl<S: Clone + Send + Sync + 'static> Table<S> for OpenApiRouter<S> {
    fn routes(self, one: UtoipaMethodRouter<S>) -> Self {
        Self::routes(self, one)
    }
}

/// Forgets the description at once.
impl<S: Clone + Send + Sync + 'static> Table<S> for Router<S> {
    fn routes(self, one: UtoipaMethodRouter<S>) -> Self {
        self.merge(OpenApiRouter::new().routes(one))
    }
}
