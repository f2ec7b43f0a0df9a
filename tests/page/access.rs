//! Who may use the page, and what names of others can do to it: nothing.

use std::{fs, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::browser::Browser;
use crate::stage::Stage;

/// The status and the body of one request, with these headers.
async fn ask(address: &str, request: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{request} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{text}")), text)
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_leave_is_told_how_to_get_it() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let address = stage.address("ana");
    let browser = Browser::start().await;
    browser.open(&stage.page("ana", "search")).await;
    browser.says("main", "floodplain web --open").await;
    assert_eq!(browser.value("document.querySelector('#query')").await, serde_json::Value::Null);

    // A link opens once.
    let link = stage.link("ana");
    browser.open(&link).await;
    browser.until("document.querySelector('#connection').dataset.state === 'connected'").await;
    let cookie = browser.value("document.cookie").await;
    assert_eq!(cookie, "", "no script reads the cookie");
    browser.done_with(&["status of 401"]).await;
    let second = Browser::start().await;
    second.open(&link).await;
    second.open(&stage.page("ana", "search")).await;
    second.says("main", "floodplain web --open").await;
    second.done_with(&["status of 4"]).await;

    let token = fs::read_to_string(stage.at("ana").join("data/gateway/token")).unwrap();
    let host = format!("Host: {address}\r\n");
    let with = |token: &str| format!("{host}Authorization: Bearer {token}\r\n");
    assert_eq!(ask(&address, "GET /api/v1/status", &host).await.0, 401);
    assert_eq!(ask(&address, "GET /api/v1/status", &with("wrong")).await.0, 401);
    assert_eq!(ask(&address, "GET /api/v1/status", &with(&"A".repeat(43))).await.0, 401);
    let (status, answer) = ask(&address, "GET /api/v1/status", &with(token.trim())).await;
    assert!(status == 200 && answer.contains("\"name\":\"ana\""), "{answer}");
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn another_site_can_do_nothing_with_the_browsers_leave() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let address = stage.address("ana");
    let browser = stage.browser("ana").await;

    // A page of another origin on this machine, in the browser that has the cookie.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let evil = listener.local_addr().unwrap();
    let body = format!(
        "<!doctype html><link rel=icon href='data:,'><script>
        const to = 'http://{address}/api/v1/';
        const ask = (path, more) => fetch(to + path, {{ credentials: 'include', ...more }}).then((answer) => answer.type + answer.status, () => 'refused');
        Promise.all([ask('status'), ask('connection', {{ method: 'POST', mode: 'no-cors', body: '{{\"connected\":false}}' }}),
          ask('connection', {{ method: 'POST', headers: {{ 'content-type': 'application/json' }}, body: '{{\"connected\":false}}' }})]).then((all) => {{ window.seen = all; }});
        </script>"
    );
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await;
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    browser.open(&format!("http://{evil}/")).await;
    let seen = browser.until("window.seen").await;
    assert_eq!(seen, serde_json::json!(["refused", "refused", "refused"]), "nothing can be read");
    serving.abort();
    let token = fs::read_to_string(stage.at("ana").join("data/gateway/token")).unwrap();
    let owner = format!("Authorization: Bearer {}\r\n", token.trim());
    for (headers, expected) in [
        (format!("Host: {address}\r\nOrigin: http://{evil}\r\n{owner}"), 403),
        (format!("Host: {address}\r\nSec-Fetch-Site: cross-site\r\n{owner}"), 403),
        // A name that a foreign server had point here.
        (format!("Host: rebound.example:7080\r\n{owner}"), 421),
        (format!("Host: {address}\r\nOrigin: http://{address}\r\n{owner}"), 200),
    ] {
        let (status, answer) = ask(&address, "GET /api/v1/status", &headers).await;
        assert!(status == expected || expected == 421 && status == 403, "{headers}: {answer}");
    }
    stage.daemons.until("ana", "--json status", "\"connection\":\"connected\"");
    browser.done_with(&["CORS", "net::ERR_", "status of 403"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn names_of_others_stay_text_whatever_they_hold() {
    // `<`, `"`, `?`, `%`, `#`, an element that would run, an override of direction, a control of C1, an escape, a blank.
    const EVIL: &str =
        "evil <img src=x onerror=window.pwned=1> # 100% ? \"x\" \u{202e}gpj.\u{9b}31m\u{1b}[2J\u{3164}exe";
    const SHOWN: &str = "evil <img src=x onerror=window.pwned=1> # 100% ? \"x\" \\u{202e}gpj.\\u{9b}31m\\u{1b}[2J\\u{3164}exe";
    let stage = Stage::new();
    stage.share("ben", EVIL, b"harmless");
    stage.share(
        "ben",
        &format!("{EVIL} folder/evil & <b>bold</b> %2e%2e.txt").replace("</", "<_"),
        b"inside",
    );
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search evil", "bold");
    let browser = stage.browser("ana").await;

    browser.search("evil").await;
    browser.says("#view-search .coverage", "2 files found.").await;
    browser.says("#view-search [role=row] bdi", SHOWN).await;
    browser.js("document.querySelector('[role=row] [aria-label^=\"Who has\"]').click()", Vec::new()).await;
    browser.says("dialog", "evil").await;
    browser.press("Close").await;
    browser.press(&format!("Download {SHOWN}")).await;
    browser.view("transfers").await;
    browser.says("#view-transfers li[data-state=done]", "evil").await;
    browser.view("peers").await;
    browser.press("ben").await;
    browser.press("share").await;
    browser.press(&format!("{SHOWN} folder")).await;
    browser.says("#view-peers [role=row] bdi", "evil & <b>bold<_b> %2e%2e.txt").await;
    browser.driver.refresh().await.unwrap();
    browser.says("#view-peers [role=row] bdi", "evil & <b>bold<_b> %2e%2e.txt").await;
    browser.press("Download evil & <b>bold<_b> %2e%2e.txt").await;
    browser.view("transfers").await;
    browser.until("document.querySelectorAll('#view-transfers li[data-state=done]').length === 2").await;

    // Typed text is as harmless, in the address too.
    browser.search("<img src=x onerror=window.pwned=1>").await;
    browser.until("document.querySelector('#view-search').dataset.state === 'done'").await;
    assert_eq!(browser.value("document.querySelectorAll('main img, main script, b').length").await, 0);
    assert_eq!(browser.value("window.pwned === undefined").await, true);
    // No such character anywhere in what is shown or read out.
    let bad = "/[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u202a-\\u202e\\u2066-\\u2069\\u3164]/.test(document.body.textContent + [...document.querySelectorAll('[aria-label], [title]')].map((node) => node.ariaLabel + node.title).join())";
    assert_eq!(browser.value(bad).await, false);
    browser.done().await;
}
