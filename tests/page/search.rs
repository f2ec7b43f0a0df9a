//! Searching by the page: hits as they come, keys, many rows, suggestions, saved searches.

use std::time::Instant;

use rustix::process::Signal;
use thirtyfour::Key;

use crate::stage::{Stage, noise};

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn hits_are_shown_before_the_search_is_over() {
    let stage = Stage::new();
    stage.share("ben", "report of ben.txt", b"of ben");
    stage.share("cem", "report of cem.txt", b"of cem");
    let _ana = stage.peer("ana", &["SEARCH_TIMEOUT=30s"]);
    let _ben = stage.peer("ben", &[]);
    let slow = stage.peer("cem", &[]);
    stage.zone_has("ana", 3);
    stage.daemons.until("ana", "--json search report", "report of cem.txt");
    let browser = stage.browser("ana").await;

    slow.signal(Signal::STOP);
    browser.search("report").await;
    browser.says("[role=row]", "report of ben.txt").await;
    let standing = browser.value("document.querySelector('#view-search').dataset.state").await;
    assert_eq!(standing, "running", "cem was not heard yet");
    assert!(browser.text("#view-search .coverage").await.contains("so far"));
    let painted = browser.until("performance.getEntriesByName('first-hit')[0]?.duration").await;
    println!("first hit painted {painted} ms after the search was asked for");
    slow.signal(Signal::CONT);
    browser.until("document.querySelector('#view-search').dataset.state === 'done'").await;
    browser.says("[role=row]", "report of cem.txt").await;
    browser.says("#view-search .coverage", "2 files found.").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_found_and_fetched_by_keys_alone() {
    let stage = Stage::new();
    stage.share("ben", "alpha lecture.txt", b"the first");
    stage.share("ben", "beta lecture.txt", b"the second");
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search lecture", "beta lecture.txt");
    let browser = stage.browser("ana").await;

    browser.keys("/").await;
    browser.until("document.activeElement.id === 'query'").await;
    browser.keys("lecture").await;
    browser.keys(Key::Enter + "").await;
    browser.until("document.querySelector('#view-search').dataset.state === 'done'").await;
    browser.until("document.querySelectorAll('#view-search [role=row]').length === 2").await;
    browser.keys(Key::Down + "").await;
    browser.until("document.activeElement.matches('[role=row][aria-rowindex=\"1\"]')").await;
    browser.keys(Key::Down + "").await;
    browser.until("document.activeElement.matches('[role=row][aria-rowindex=\"2\"]')").await;
    let name = browser.text("[role=row][aria-rowindex='2'] bdi").await;
    browser.keys(" ").await;
    browser.says(".chosen", "1 file").await;
    browser.keys(Key::Enter + "").await;
    // A key is the way to the other views too.
    browser.keys("2").await;
    browser.says("#view-transfers li[data-state=done]", &name).await;
    assert!(browser.text("#view-transfers li[data-state=done]").await.contains("from ben"));
    browser.keys("?").await;
    browser.until("document.querySelector('dialog[open]')").await;
    browser.keys(Key::Escape + "").await;
    browser.until("!document.querySelector('dialog')").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_hits_stay_usable() {
    const PEERS: usize = 10;
    const EACH: usize = 1000;
    let stage = Stage::new();
    let _ana = stage.peer("ana", &["SEARCH_TIMEOUT=60s"]);
    let mut others = Vec::new();
    for peer in 0..PEERS {
        let name = format!("p{peer}");
        for file in 0..EACH {
            stage.share(&name, &format!("item {peer} {file}.txt"), format!("{peer} {file}").as_bytes());
        }
        others.push(stage.peer(&name, &[]));
    }
    for peer in 0..PEERS {
        stage.daemons.until(&format!("p{peer}"), "--json status", "\"hashed_files\":1000");
    }
    let browser = stage.browser("ana").await;

    browser.search("item").await;
    browser.until("document.querySelector('#view-search').dataset.state === 'done'").await;
    let rows = browser.until("document.querySelector('#view-search [role=grid]').ariaRowCount").await;
    assert_eq!(rows, "10000", "{}", browser.text("#view-search .coverage").await);
    let drawn = browser.until("document.querySelectorAll('#view-search [role=row]').length").await;
    assert!(drawn.as_u64().unwrap() < 60, "only what is seen is in the page: {drawn}");

    let began = Instant::now();
    browser.js("scrollTo(0, document.documentElement.scrollHeight)", Vec::new()).await;
    browser.until("document.querySelector('#view-search [role=row][aria-rowindex=\"10000\"]')").await;
    println!("the last of 10,000 rows is drawn after {:?}", began.elapsed());
    let began = Instant::now();
    browser.press("Select all").await;
    browser.says(".chosen", "10,000 files").await;
    println!("10,000 rows are selected after {:?}", began.elapsed());
    // The longest that one press keeps the page from doing anything else.
    let script = "const row = document.querySelector('#view-search [role=row] input'); const began = performance.now(); row.click(); document.body.offsetHeight; return performance.now() - began;";
    let took = browser.js(script, Vec::new()).await.as_f64().unwrap();
    println!("one row of 10,000 is unselected after {took} ms");
    assert!(took < 1000.0, "{took} ms");
    browser.says(".chosen", "9,999 files").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn filters_write_the_query_and_a_miss_suggests() {
    let stage = Stage::new();
    // Words are suggested that the own peer knows.
    stage.share("ana", "budget.xlsx", b"numbers");
    stage.share("ben", "budget.mp4", &noise(1, 2_000_000));
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search budget", "budget.mp4");
    let browser = stage.browser("ana").await;

    browser.search("budget").await;
    browser.says("#view-search .coverage", "2 files found. All 2 peers answered.").await;
    browser.fill("[data-filter=type]", "video").await;
    browser.says("#view-search .coverage", "1 file found.").await;
    assert_eq!(browser.value("document.querySelector('#query').value").await, "budget type:video");
    browser.fill("[data-filter=size]", "<1M").await;
    browser.says("#view-search .coverage", "Nothing found.").await;
    // Where one is can be kept, sent on, and gone back to.
    let address = browser.value("location.hash").await;
    assert_eq!(address, "#/search?q=budget+type%3Avideo+size%3A%3C1M");
    browser.js("history.back()", Vec::new()).await;
    browser.says("#view-search .coverage", "1 file found.").await;
    assert_eq!(browser.value("document.querySelector('[data-filter=size]').value").await, "");

    browser.search("bugdet").await;
    browser.says(".notice", "Did you mean budget?").await;
    browser.press("budget").await;
    browser.says("#view-search .coverage", "2 files found.").await;
    browser.search("size:wrong").await;
    browser.says(".notice [role=alert]", "size:wrong").await;
    browser.done_with(&["status of 400"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_saved_search_tells_of_a_new_file() {
    let stage = Stage::new();
    stage.share("ben", "weekly report.txt", b"one");
    let _ana = stage.peer("ana", &["SAVED_SEARCH_EVERY=1s"]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search weekly", "weekly report.txt");
    let browser = stage.browser("ana").await;

    browser.search("weekly").await;
    browser.press("Save search").await;
    browser.press("Save").await;
    browser.says("#saved-title + ul", "1 file known").await;
    stage.share("ben", "weekly numbers.txt", b"two");
    browser.says("#view-search", "New for you").await;
    browser.says(".toast", "New in “weekly”: weekly numbers.txt").await;
    browser.press("Download weekly numbers.txt").await;
    browser.view("transfers").await;
    browser.says("#view-transfers li[data-state=done]", "weekly numbers.txt").await;
    browser.view("search").await;
    browser.press("Forget the saved search weekly").await;
    browser.until("!document.querySelector('#saved-title + ul li')").await;
    browser.done().await;
}
