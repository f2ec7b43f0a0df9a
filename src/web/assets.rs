//! The files of the page, compiled in. Whoever passes the guard may read them: they hold nothing of anybody.

use axum::{Router, routing::get};
use http::header;

/// A file of the page.
struct Asset {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// All of them.
const ASSETS: &[Asset] = &[
    Asset { path: "/", media_type: HTML, bytes: include_bytes!("page/index.html") },
    Asset { path: "/docs", media_type: HTML, bytes: include_bytes!("api/docs.html") },
    Asset { path: "/docs.js", media_type: SCRIPT, bytes: include_bytes!("api/docs.js") },
    Asset { path: "/docs.css", media_type: STYLE, bytes: include_bytes!("api/docs.css") },
];

/// Serves them.
pub(super) fn routes() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(|| async { ([(header::CONTENT_TYPE, asset.media_type)], asset.bytes) }))
    })
}
