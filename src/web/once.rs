//! Requests that may be repeated: one with an `Idempotency-Key` is done once, and its answer given again.
//!
//! Invariant: at most [`MAX_KEYS`] answers of [`MAX_ANSWER_BYTES`] and [`MAX_ALL_BYTES`] together are remembered, each for
//! [`LIFETIME`] from the beginning of its request; the oldest goes for room. A key whose request still runs is never
//! forgotten, so that nothing is done twice at once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;

use super::problem::Problem;
use crate::{protocol::action::ErrorKind, shutdown::Shutdown};

/// The header.
pub(super) const HEADER: &str = "idempotency-key";
/// Keys that are remembered. When the requests of all of them still run, a new key is refused.
const MAX_KEYS: usize = 1024;
/// Longest key.
const MAX_KEY_BYTES: usize = 64;
/// How long a key is remembered.
const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Longest answer that is remembered; a longer one is not given again.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// Bytes of all answers.
const MAX_ALL_BYTES: usize = 4 << 20;

/// An answer, to be given again.
#[derive(Debug, Clone)]
struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Debug)]
struct Entry {
    fingerprint: blake3::Hash,
    began: Instant,
    /// `None` while it is being done.
    kept: Option<Kept>,
}

#[derive(Debug, Default)]
struct Keys {
    entries: HashMap<String, Entry>,
    /// From the oldest.
    order: VecDeque<(Instant, String)>,
    bytes: usize,
}

/// The keys of one gateway; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Once {
    // A std lock: held to look at one entry.
    keys: Arc<Mutex<Keys>>,
    shutdown: Shutdown,
}

/// What a key means now.
enum Found {
    New,
    Running,
    Other,
    Done(Kept),
    /// Not remembered: there is no room.
    Full,
}

impl Once {
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { keys: Arc::default(), shutdown }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is asked, or gives the answer of the first time. With a key it is done to its end, even if whoever asked is gone.
    ///
    /// # Errors
    /// A malformed key (400), one that came with another request (422), one whose request is still being done (409), or too many
    /// of these (503).
    pub(super) async fn run(
        &self,
        headers: &HeaderMap,
        fingerprint: blake3::Hash,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Result<Response, Problem> {
        let Some(key) = key(headers)? else { return Ok(work.await) };
        match self.keys().claim(&key, fingerprint, Instant::now()) {
            Found::New => {}
            Found::Done(kept) => return Ok(kept.into()),
            Found::Running => {
                return Err(Problem::new(
                    StatusCode::CONFLICT,
                    ErrorKind::Refused,
                    "that request is still being done",
                )
                .hint("ask again in a moment"));
            }
            Found::Full => {
                return Err(Problem::busy(format!(
                    "{MAX_KEYS} requests with a key of their own are still being done"
                )));
            }
            Found::Other => {
                let detail = "Idempotency-Key: came with another request before";
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ErrorKind::Usage, detail)
                    .hint("choose a new key for each request that is not a repetition"));
            }
        }
        let claim = Claim { once: self.clone(), key: Some(key) };
        let done = self.shutdown.spawn("request", async move {
            let (parts, body) = work.await.into_parts();
            // These answers are whole in memory already.
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let kept = Kept { status: parts.status, headers: parts.headers, body };
            claim.done(&kept);
            Response::from(kept)
        });
        let failed = || Problem::failed("the gateway failed at this request");
        match done.await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Cancelled,
                "the peer is stopping",
            )),
            Err(_) => Err(failed()),
        }
    }
}

/// A key whose request is being done. Dropped before that is done, it is free again.
struct Claim {
    once: Once,
    key: Option<String>,
}

impl Claim {
    fn done(mut self, kept: &Kept) {
        // What failed here may work the next time.
        if !kept.status.is_server_error()
            && kept.body.len() <= MAX_ANSWER_BYTES
            && let Some(key) = self.key.take()
        {
            self.once.keys().keep(&key, kept.clone());
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.once.keys().remove(&key);
        }
    }
}

impl Keys {
    fn claim(&mut self, key: &str, fingerprint: blake3::Hash, now: Instant) -> Found {
        // A repetition needs no room: made for it, that could be its own answer's.
        let is_known = self.entries.contains_key(key);
        for _ in 0..self.order.len() {
            let Some((began, oldest)) = self.order.front().cloned() else { break };
            if now.duration_since(began) < LIFETIME && (is_known || self.order.len() < MAX_KEYS) {
                break;
            }
            self.order.pop_front();
            match self.is_done(&oldest, began) {
                Some(true) => self.remove(&oldest),
                Some(false) => self.order.push_back((began, oldest)),
                // Another entry may have the key by now.
                None => {}
            }
        }
        match self.entries.get(key) {
            Some(entry) if entry.fingerprint != fingerprint => Found::Other,
            Some(Entry { kept: Some(kept), .. }) => Found::Done(kept.clone()),
            Some(_) => Found::Running,
            None if self.entries.len() >= MAX_KEYS => Found::Full,
            None => {
                self.entries.insert(key.to_owned(), Entry { fingerprint, began: now, kept: None });
                self.order.push_back((now, key.to_owned()));
                Found::New
            }
        }
    }

    fn keep(&mut self, key: &str, kept: Kept) {
        let bytes = kept.body.len();
        let mut at = 0;
        while self.bytes + bytes > MAX_ALL_BYTES && at < self.order.len() {
            let (began, oldest) = self.order[at].clone();
            if self.is_done(&oldest, began) == Some(true) {
                self.remove(&oldest);
                self.order.remove(at);
            } else {
                at += 1;
            }
        }
        if let Some(entry) = self.entries.get_mut(key) {
            entry.kept = Some(kept);
            self.bytes += bytes;
        }
    }

    /// Whether the request that took the key then has its answer; `None` when the key is not that one's any more.
    fn is_done(&self, key: &str, began: Instant) -> Option<bool> {
        self.entries.get(key).filter(|entry| entry.began == began).map(|entry| entry.kept.is_some())
    }

    fn remove(&mut self, key: &str) {
        if let Some(Entry { kept: Some(kept), .. }) = self.entries.remove(key) {
            self.bytes -= kept.body.len();
        }
    }
}

impl From<Kept> for Response {
    fn from(kept: Kept) -> Self {
        let mut response = Self::new(Body::from(kept.body));
        *response.status_mut() = kept.status;
        *response.headers_mut() = kept.headers;
        response
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(HEADER) else { return Ok(None) };
    let is_visible = |key: &&str| {
        (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match key.to_str().ok().filter(is_visible) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Problem::usage(format!(
            "Idempotency-Key: must be 1 to {MAX_KEY_BYTES} visible ASCII characters"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::response::IntoResponse as _;

    use super::*;

    fn headers(key: &str) -> HeaderMap {
        HeaderMap::from_iter([(HEADER.parse().expect("a name"), key.parse().expect("a value"))])
    }

    #[tokio::test]
    async fn a_repeated_request_is_done_once_and_another_one_is_told_from_it() {
        let once = Once::new(Shutdown::new());
        let done = Arc::new(AtomicU32::new(0));
        let ask = async |key: &str, what: &[u8]| {
            let done = done.clone();
            let work = async move { format!("{}", done.fetch_add(1, Ordering::Relaxed) + 1).into_response() };
            once.run(&headers(key), blake3::hash(what), work).await
        };
        for _ in 0..3 {
            let answer = ask("key", b"body").await.expect("done");
            assert_eq!(answer.into_body().collect().await.expect("whole").to_bytes(), "1");
        }
        assert_eq!(
            ask("key", b"other").await.expect_err("refused").status(),
            StatusCode::UNPROCESSABLE_ENTITY
        );
        assert!(ask("new", b"body").await.is_ok());
        assert_eq!(done.load(Ordering::Relaxed), 2);
        for bad in ["", "a b", &"x".repeat(65)] {
            assert_eq!(ask(bad, b"").await.expect_err("refused").status(), StatusCode::BAD_REQUEST);
        }
    }

    #[tokio::test]
    async fn what_failed_here_is_tried_again() {
        let once = Once::new(Shutdown::new());
        for _ in 0..2 {
            let work = async { Problem::failed("broken").into_response() };
            let answer = once.run(&headers("key"), blake3::hash(b""), work).await.expect("answered");
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        let work = async { "done".into_response() };
        let answer = once.run(&headers("key"), blake3::hash(b"other"), work).await.expect("the key is free");
        assert_eq!(answer.status(), StatusCode::OK);
    }

    fn kept(size_bytes: usize) -> Kept {
        Kept { status: StatusCode::OK, headers: HeaderMap::new(), body: vec![0; size_bytes].into() }
    }

    #[test]
    fn a_key_whose_request_runs_is_not_forgotten_by_age_number_or_room() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        let what = blake3::hash(b"");
        assert!(matches!(keys.claim("running", what, now), Found::New));
        // The short ones are forgotten by number, the long ones for room.
        for size_bytes in [1, 64 << 10] {
            for number in 0..2 * MAX_KEYS {
                let key = format!("{size_bytes}-{number}");
                assert!(matches!(keys.claim(&key, what, now), Found::New));
                keys.keep(&key, kept(size_bytes));
            }
        }
        assert!(matches!(keys.claim("running", what, now), Found::Running));
        assert!(matches!(keys.claim("running", what, now + 2 * LIFETIME), Found::Running));
        keys.keep("running", kept(1));
        assert!(matches!(keys.claim("running", what, now), Found::Done(_)));
        assert!(matches!(keys.claim("running", what, now + 2 * LIFETIME), Found::New));
    }

    #[test]
    fn the_oldest_of_as_many_as_are_remembered_is_not_done_again() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        let what = blake3::hash(b"");
        for number in 0..MAX_KEYS {
            assert!(matches!(keys.claim(&number.to_string(), what, now), Found::New));
            keys.keep(&number.to_string(), kept(1));
        }
        assert!(matches!(keys.claim("0", what, now), Found::Done(_)));
    }

    #[test]
    fn a_new_key_is_refused_while_the_requests_of_all_others_run() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        let what = blake3::hash(b"");
        for number in 0..MAX_KEYS {
            assert!(matches!(keys.claim(&number.to_string(), what, now), Found::New));
        }
        assert!(matches!(keys.claim("new", what, now), Found::Full));
        assert!(matches!(keys.claim("0", what, now), Found::Running));
        keys.keep("7", kept(1));
        assert!(matches!(keys.claim("new", what, now), Found::New));
        assert_eq!((keys.entries.len(), keys.order.len()), (MAX_KEYS, MAX_KEYS));
    }

    #[test]
    fn keys_are_bounded_in_number_and_time() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        let what = blake3::hash(b"");
        for number in 0..2 * MAX_KEYS {
            assert!(matches!(keys.claim(&number.to_string(), what, now), Found::New));
            keys.keep(&number.to_string(), kept(64 << 10));
        }
        assert!(keys.entries.len() <= MAX_KEYS && keys.bytes <= MAX_ALL_BYTES);
        let newest = (2 * MAX_KEYS - 1).to_string();
        assert!(matches!(keys.claim(&newest, what, now), Found::Done(_)));
        assert!(matches!(keys.claim(&newest, what, now + LIFETIME), Found::New));
    }
}
