//! What stands between the network and every handler, as one layer: who asks too much is refused before anything is done, no
//! call outlives its deadline, and what panics is answered.
//!
//! Invariant: each call that comes in is answered with a gRPC status, whatever its handler does, and the process goes on.

mod body;
mod deadline;
mod door;
mod first;
mod guilt;
mod large;

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt};

pub use body::Sheltered;
pub use door::{Bounds, Door, Refused};
pub use guilt::{disown, own_fault};
pub use large::LargeRequests;

use self::guilt::is_nonsense;
use super::{caller::Caller, conduct::Conduct, counts::ConnectionCounts};

/// From the call to the beginning of its answer, when the caller names no time or a longer one: a request that comes a byte
/// at a time does not keep its place. A stream goes on for as long as its caller and its handler want.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// tonic answers a call that is late with `CANCELLED`, by a timer that it starts right after ours; looked at so much early, ours is
/// always the first.
const EARLY: Duration = Duration::from_millis(1);

/// Shelters every call of a server; cheap to clone. All servers that have a clone share its bounds.
#[derive(Debug, Clone, Default)]
pub struct ShelterLayer(Door);

impl ShelterLayer {
    /// With these bounds.
    pub fn new(bounds: Bounds) -> Self {
        Self(Door::new(bounds))
    }

    /// With the usual ones; connections of that conduct are not read while their caller is muted, and what is refused is
    /// counted there.
    pub(super) fn beside(conduct: Conduct, counts: ConnectionCounts) -> Self {
        Self(Door::beside(conduct, counts, Bounds::default()))
    }
}

impl<S> tower::Layer<S> for ShelterLayer {
    type Service = Shelter<S>;

    fn layer(&self, inner: S) -> Shelter<S> {
        Shelter { inner, door: self.0.clone() }
    }
}

/// A service behind its shelter.
#[derive(Debug, Clone)]
pub struct Shelter<S> {
    inner: S,
    door: Door,
}

impl<S> tower::Service<http::Request<Body>> for Shelter<S>
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Sheltered>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let now = Instant::now();
        let entered =
            self.door.enter(Caller::of(request.extensions()).key(), request.uri().path(), now.into_std());
        let place = match entered {
            Ok(place) => place,
            Err(refused) => return Box::pin(refuse(refused)),
        };
        if let Err(status) = is_grpc(&request) {
            place.on_nonsense(now.into_std());
            let mut response = http::Response::new(Sheltered::bare(Body::empty()));
            *response.status_mut() = status;
            return Box::pin(async { Ok(response) });
        }
        let left = deadline::told(request.headers());
        if left.is_some_and(|left| left.is_zero()) {
            return Box::pin(async { Ok(failed(&late())) });
        }
        let told = left.map(|left| now + left);
        let method = request.uri().clone();
        let Ok(answer) = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)))
            .map_err(|panic| panicked(&method, &*panic))
        else {
            return Box::pin(async { Ok(failed(&internal())) });
        };
        Box::pin(async move {
            let until = told.unwrap_or(now + HEAD_DEADLINE).min(now + HEAD_DEADLINE);
            match before(until, AssertUnwindSafe(answer).catch_unwind()).await {
                Some(Ok(Ok(mut response))) => {
                    if is_nonsense(response.headers_mut()) {
                        place.on_nonsense(std::time::Instant::now());
                    }
                    Ok(response.map(|body| Sheltered::new(body, method, told, place)))
                }
                Some(Ok(Err(never))) => match never {},
                Some(Err(panic)) => {
                    panicked(&method, &*panic);
                    Ok(failed(&internal()))
                }
                None => Ok(failed(&late())),
            }
        })
    }
}

/// The protocol of gRPC has the other answers; what is not of it, as of a web page, gets none from a handler.
fn is_grpc(request: &http::Request<Body>) -> Result<(), http::StatusCode> {
    if request.method() != http::Method::POST {
        return Err(http::StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    let rest = kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    // With a suffix it names the encoding; `application/grpc-web` is another protocol.
    match rest.map(|rest| rest.first()) {
        Some(None | Some(b'+' | b';')) => Ok(()),
        _ => Err(http::StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// What the future gives before that time.
async fn before<F: Future>(until: Instant, future: F) -> Option<F::Output> {
    // Most calls are answered at the first look, and need no timer.
    let (mut future, mut timer) = (pin!(future), None);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if is_over(timer.as_mut(), cx) { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

fn is_over(mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> bool {
    timer.as_mut().poll(cx).is_ready() || Instant::now() + EARLY >= timer.deadline()
}

async fn refuse(refused: Refused) -> Result<http::Response<Sheltered>, Infallible> {
    let pause = refused.pause();
    if !pause.is_zero() {
        sleep(pause).await;
    }
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(refused.retry_after()));
    let (code, text) = match refused.why() {
        door::Why::Rate => (Code::ResourceExhausted, "too many calls; wait before the next one"),
        door::Why::Caller => (Code::ResourceExhausted, "too many calls at once from this caller"),
        door::Why::Whole => (Code::Unavailable, "too many calls at once; try again soon"),
    };
    Ok(failed(&Status::with_error_details(code, text, details)))
}

fn failed(status: &Status) -> http::Response<Sheltered> {
    status.clone().into_http().map(Sheltered::bare)
}

fn late() -> Status {
    Status::deadline_exceeded("the call took longer than its deadline")
}

fn internal() -> Status {
    Status::internal("something went wrong here; the log of this daemon says what")
}

/// The one line that tells of a panic to whoever looks after the daemon.
fn panicked(method: &http::Uri, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    tracing::error!(method = method.path(), panic = text, "a call failed by a fault of this program");
}
