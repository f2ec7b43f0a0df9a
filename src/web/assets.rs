//! The files of the page, compiled in. Whoever passes the guard may read them: they hold nothing of anybody.
//!
//! Invariant: a browser that has a file of this build is told so in place of the file, and never shows one of another build.

use axum::{Router, response::IntoResponse, response::Response, routing::get};
use http::{HeaderMap, StatusCode, header};

/// A file of the page, as it was written by hand.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    media_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Blanks around operators: none of our texts has one of these.
const NEEDLESS_IN_SCRIPTS: [(&str, &str); 11] = [
    (" = ", "="),
    (" => ", "=>"),
    (" === ", "==="),
    (" !== ", "!=="),
    (" && ", "&&"),
    (" || ", "||"),
    (" ?? ", "??"),
    (" ? ", "?"),
    (") {", "){"),
    ("{ ", "{"),
    (" }", "}"),
];

/// Where the page is, and files beside this one.
macro_rules! assets {
    ($($path:literal $media_type:ident $file:literal;)*) => {
        &[$(Asset { path: $path, media_type: $media_type, text: include_str!($file) }),*]
    };
}

/// All of them.
const ASSETS: &[Asset] = assets![
    "/" HTML "page/index.html";
    "/icon.svg" IMAGE "page/icon.svg";
    "/style.css" STYLE "page/style.css";
    "/theme.js" SCRIPT "page/theme.js";
    "/app.js" SCRIPT "page/app.js";
    "/api.js" SCRIPT "page/api.js";
    "/browse.js" SCRIPT "page/browse.js";
    "/dom.js" SCRIPT "page/dom.js";
    "/download.js" SCRIPT "page/download.js";
    "/drop.js" SCRIPT "page/drop.js";
    "/inbox.js" SCRIPT "page/inbox.js";
    "/list.js" SCRIPT "page/list.js";
    "/map.js" SCRIPT "page/map.js";
    "/messages.js" SCRIPT "page/messages.js";
    "/search.js" SCRIPT "page/search.js";
    "/shares.js" SCRIPT "page/shares.js";
    "/status.js" SCRIPT "page/status.js";
    "/transfers.js" SCRIPT "page/transfers.js";
    "/docs" HTML "api/docs.html";
    "/docs.js" SCRIPT "api/docs.js";
    "/docs.css" STYLE "api/docs.css";
];

/// Serves them.
pub(super) fn routes() -> Router {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(move |headers: HeaderMap| async move { asset.answer(&headers) }))
    })
}

impl Asset {
    /// Made at each request: a browser asks rarely, and what is made takes no memory in between.
    fn answer(self, asked: &HeaderMap) -> Response {
        let text = self.served();
        let tag = format!("\"{}\"", blake3::hash(text.as_bytes()).to_hex());
        let has = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let is_there = has.is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag));
        // Asked for again each time, so that a browser never mixes the files of two versions.
        let headers = [
            (header::CONTENT_TYPE, self.media_type.to_owned()),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
            (header::ETAG, tag),
        ];
        if is_there {
            (StatusCode::NOT_MODIFIED, headers).into_response()
        } else {
            (headers, text).into_response()
        }
    }

    /// What is there for readers of the source stays there: lines that are nothing but a comment, indents, ends of lines that
    /// end nothing, and blanks that are not needed. No text of ours goes over several lines.
    fn served(self) -> String {
        let is_comment = |line: &str| match self.media_type {
            SCRIPT => ["//", "/**", "* ", "*/"].iter().any(|begin| line.starts_with(begin)),
            STYLE => line.starts_with("/*") && line.ends_with("*/"),
            _ => false,
        };
        if !matches!(self.media_type, SCRIPT | STYLE) {
            return self.text.to_owned();
        }
        let lines = self.text.lines().map(str::trim_start);
        let mut served = String::with_capacity(self.text.len());
        for line in lines.filter(|line| !line.is_empty() && !is_comment(line)) {
            served.push_str(line);
            // A comment behind code goes to the end of its line.
            if !line.ends_with([';', ',', '{']) || line.contains("//") {
                served.push('\n');
            }
        }
        let needless: &[(&str, &str)] = if self.media_type == STYLE {
            &[(": ", ":"), ("; ", ";"), (", ", ","), (" {", "{"), ("{ ", "{"), (" }", "}"), (";}", "}")]
        } else {
            &NEEDLESS_IN_SCRIPTS
        };
        needless.iter().fold(served, |text, (with, without)| text.replace(with, without))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the page, all files together: it opens at once everywhere.
    const MAX_PAGE_BYTES: usize = 100_000;

    #[test]
    fn the_page_is_light_whole_and_asks_for_nothing_elsewhere() {
        let page: Vec<&Asset> = ASSETS.iter().filter(|asset| !asset.path.starts_with("/docs")).collect();
        let weight: usize = page.iter().map(|asset| asset.served().len()).sum();
        assert!(weight <= MAX_PAGE_BYTES, "{weight} bytes");
        for asset in &page {
            let text = asset.served().replace("http://www.w3.org/", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", asset.path);
            assert!(!text.contains("innerHTML") && !text.contains("style=\""), "{}", asset.path);
            // No blank of a text is taken for one of code.
            for line in asset.text.lines().filter(|_| asset.media_type == SCRIPT) {
                let text: String = line.split('\'').skip(1).step_by(2).collect::<Vec<_>>().join("|");
                assert!(!NEEDLESS_IN_SCRIPTS.iter().any(|(blanks, _)| text.contains(blanks)), "{line}");
            }
            // Every module that one names is served.
            for module in text.split("from './").skip(1).filter_map(|rest| rest.split('\'').next()) {
                assert!(page.iter().any(|other| other.path[1..] == *module), "{}: {module}", asset.path);
            }
        }
    }

    #[test]
    fn only_what_readers_of_the_source_need_is_left_out() {
        let asset = |media_type, text| Asset { path: "/x", media_type, text };
        let script = "/** Doc. */\nlet a = 1; // stays;\n  if (a) { a *= 2; }\n\n  // goes\n/**\n * goes\n */\na = {\n  b\n}\na = '//';\n";
        assert_eq!(asset(SCRIPT, script).served(), "let a=1; // stays;\nif (a){a *= 2;}\na={b\n}\na='//';\n");
        let style = "/* goes */\n* { a: b c; d: calc(1px + 2px); }\n@media (e: f) {\n  g, h i { j: k }\n}\n";
        assert_eq!(asset(STYLE, style).served(), "*{a:b c;d:calc(1px + 2px)}\n@media (e:f){g,h i{j:k}\n}\n");
        assert_eq!(asset(HTML, " <p>\n").served(), " <p>\n");
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let asset = ASSETS[0];
        let first = asset.answer(&HeaderMap::new());
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(
            (first.status(), asset.answer(&asked).status()),
            (StatusCode::OK, StatusCode::NOT_MODIFIED)
        );
        asked.insert(header::IF_NONE_MATCH, "\"other\"".parse().expect("a value"));
        assert_eq!(asset.answer(&asked).status(), StatusCode::OK);
    }
}
