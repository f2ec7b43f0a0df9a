//! gRPC on the gateway's port, made when the first call comes: its descriptors cost memory that most peers never need.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use tokio::sync::OnceCell;
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::{
    guard::{Guard, is_grpc, unknown},
    problem::Problem,
};

/// Makes the services.
pub type Calls = Arc<dyn Fn() -> BoxFuture<'static, Routes> + Send + Sync>;

/// All that no route of REST or of the page takes; cheap to clone.
#[derive(Clone)]
pub(super) struct Lazy(Arc<Inner>);

struct Inner {
    calls: Option<Calls>,
    made: OnceCell<Router>,
    guard: Guard,
}

impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy").finish_non_exhaustive()
    }
}

impl Lazy {
    pub(super) fn new(calls: Option<Calls>, guard: Guard) -> Self {
        Self(Arc::new(Inner { calls, made: OnceCell::new(), guard }))
    }

    /// A call is answered by its service, anything else is not there.
    pub(super) async fn answer(self, request: Request) -> Response {
        let inner = &self.0;
        let Some(calls) = inner.calls.as_ref().filter(|_| is_grpc(request.headers())) else {
            return not_there().into_response();
        };
        if !inner.guard.is_known(request.headers()) {
            return unknown(true);
        }
        let made = inner.made.get_or_init(|| async { calls().await.into_axum_router() });
        made.await.clone().oneshot(request).await.into_response()
    }
}

fn not_there() -> Problem {
    Problem::not_found("there is nothing at this address").hint("all addresses are in /openapi.json")
}
