//! Many windows of one browser on one peer: each is told what happens, though a browser opens six connections to one place.

use crate::stage::Stage;

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn eight_windows_share_one_stream_and_outlive_the_one_that_reads_it() {
    const CONNECTED: &str = "document.querySelector('#connection')?.dataset.state === 'connected'";
    let stage = Stage::new();
    stage.share("ben", "minutes.txt", b"what was said");
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search minutes", "minutes.txt");
    let browser = stage.browser("ana").await;
    let first = browser.driver.window().await.unwrap();
    let mut windows = Vec::new();
    for _ in 0..7 {
        windows.push(browser.window(&stage.page("ana", "search")).await);
        browser.until(CONNECTED).await;
    }
    // The last has room for a search, and every other is told of the download.
    browser.search("minutes").await;
    browser.press("Download minutes.txt").await;
    for window in &windows {
        browser.driver.switch_to_window(window.clone()).await.unwrap();
        browser.view("transfers").await;
        browser.says("#view-transfers li[data-state=done]", "minutes.txt").await;
    }
    // The first one read the stream: another does when it is closed.
    browser.driver.switch_to_window(first).await.unwrap();
    browser.driver.close_window().await.unwrap();
    browser.driver.switch_to_window(windows[0].clone()).await.unwrap();
    browser.view("status").await;
    browser.press("Leave the network").await;
    browser.press("Leave").await;
    for window in &windows {
        browser.driver.switch_to_window(window.clone()).await.unwrap();
        browser.says("#connection", "Left the network").await;
    }
    browser.done().await;
}
