//! `/healthz` and `/readyz`: whether a daemon lives, and whether it can do its work. Anybody who reaches the port may ask.

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

/// Both routes. `problem` says why the daemon cannot do its work now; `None` when it can.
pub fn routes(problem: impl Fn() -> Option<&'static str> + Clone + Send + Sync + 'static) -> Router {
    Router::new()
        .route("/healthz", get(|| async { ([(header::CACHE_CONTROL, "no-store")], "ok\n") }))
        .route("/readyz", get(move || std::future::ready(ready(problem()))))
}

fn ready(problem: Option<&'static str>) -> impl IntoResponse {
    let (status, line) = match problem {
        None => (StatusCode::OK, "ready".to_owned()),
        Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {problem}")),
    };
    (status, [(header::CACHE_CONTROL, "no-store")], format!("{line}\n"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_daemon_that_cannot_work_is_healthy_and_not_ready() {
        for (problem, status, told) in
            [(None, 200, "ready\n"), (Some("stopping"), 503, "not ready: stopping\n")]
        {
            for (path, status, told) in [("/readyz", status, told), ("/healthz", 200, "ok\n")] {
                let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
                let answer = routes(move || problem).oneshot(request).await.unwrap();
                assert_eq!(answer.status(), status, "{path} {problem:?}");
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, told);
            }
        }
    }
}
