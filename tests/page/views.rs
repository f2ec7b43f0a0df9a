//! The other views: folders of peers, shares, messages, the map, the peer itself.

use std::fs;

use crate::stage::Stage;

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_peers_folders_are_walked_and_several_files_fetched() {
    let stage = Stage::new();
    for name in ["Lectures #1/one.txt", "Lectures #1/two.txt", "top 100%.txt"] {
        stage.share("ben", name, name.as_bytes());
    }
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search two", "two.txt");
    let browser = stage.browser("ana").await;

    browser.view("peers").await;
    browser.says("#view-peers", "2 peers").await;
    browser.press("ben").await;
    browser.press("share").await;
    browser.says("#view-peers [role=row]", "top 100%.txt").await;
    browser.press("Lectures #1").await;
    browser.says("#view-peers .coverage", "2 files").await;
    // Where one is outlives a reload.
    browser.driver.refresh().await.unwrap();
    browser.says("#view-peers .coverage", "2 files").await;
    browser.press("Select all").await;
    browser.says("#view-peers .chosen", "2 files").await;
    browser.js("document.querySelector('#view-peers .chosen .primary').click()", Vec::new()).await;
    browser.view("transfers").await;
    browser.until("document.querySelectorAll('#view-transfers li[data-state=done]').length === 2").await;
    // A folder as one transfer.
    browser.js("history.back()", Vec::new()).await;
    browser.press("Download this folder").await;
    browser.view("transfers").await;
    browser.until("document.querySelectorAll('#view-transfers li[data-state=done]').length === 3").await;
    browser.says("#view-transfers li", "Lectures #1").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_shared_read_and_shared_no_more() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.zone_has("ana", 2);
    let folder = stage.at("ana").join("pictures #1");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("harbour.jpg"), "a picture").unwrap();
    let browser = stage.browser("ana").await;

    browser.view("shares").await;
    browser.fill("[name=folder]", folder.to_str().unwrap()).await;
    browser.press("Share it").await;
    browser.says("#view-shares li", "pictures #1").await;
    browser.says("#view-shares li", "1 file ·").await;
    browser.says("#view-shares .coverage", "1 file, 9 B, all can be found.").await;
    stage.daemons.until("ben", "--json search harbour", "harbour.jpg");
    // That of what is kept for the network cannot be taken away, and is not offered.
    browser.says("#view-shares li", "what you keep for others").await;
    assert_eq!(
        browser.value("document.querySelectorAll('[aria-label=\"Stop sharing replicas\"]').length").await,
        0
    );
    browser.fill("[name=folder]", "/no/such/folder").await;
    browser.press("Share it").await;
    browser.says(".toast.bad", "/no/such/folder").await;
    browser.press("Read again").await;
    browser.press("Stop sharing pictures #1").await;
    browser.until("document.querySelector('dialog[open] .danger')").await;
    browser.js("document.querySelector('dialog[open] .danger').click()", Vec::new()).await;
    browser.until("[...document.querySelectorAll('#view-shares .cards li')].every((node) => !node.textContent.includes('pictures'))").await;
    assert!(folder.join("harbour.jpg").exists());
    browser.done_with(&["status of 4"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_left_found_read_and_taken_back() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.zone_has("ana", 2);
    let browser = stage.browser("ana").await;

    browser.view("messages").await;
    browser.fill("[name=name]", "lunch today").await;
    browser.fill("[name=text]", "At noon,\n<script>window.pwned = 1</script> \u{202e}at the gate").await;
    browser.press("Leave it in the network").await;
    browser.says("#view-messages", "Kept for you by the network").await;
    browser.says("#view-messages [aria-label='Kept for you'] li", "2 of 2 copies, kept by ").await;
    stage.daemons.until("ben", "--json search lunch", "lunch today.txt");
    // Without a word all are shown.
    browser.press("Find").await;
    browser.says("#view-messages .coverage", "1 message found.").await;
    browser.press("Read lunch today").await;
    browser.says("pre.message", "At noon,\n<script>window.pwned = 1</script> \\u{202e}at the gate").await;
    assert_eq!(browser.value("window.pwned === undefined").await, true);
    browser.press("Take back lunch today").await;
    browser.until("document.querySelector('dialog[open] .danger')").await;
    browser.js("document.querySelector('dialog[open] .danger').click()", Vec::new()).await;
    browser.until("document.querySelector('[aria-labelledby=own-title]').hidden").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn the_map_shows_who_is_there_and_a_query_on_its_way() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let ben = stage.peer("ben", &[]);
    stage.share("ana", "a map.txt", b"a map");
    stage.daemons.until("ben", "--json search map", "a map.txt");
    let browser = stage.browser("ana").await;
    browser.view("map").await;
    browser.says("#view-map .coverage", "1 zone, 2 peers").await;
    browser.until("document.querySelector('.node.me')").await;
    browser.until("document.querySelector('a.node[href=\"#/peers/ben\"]')").await;
    // Each dot on its way is noted as it enters the page: it is gone within a second.
    browser.js("window.flown = []; new MutationObserver((all) => all.forEach((one) => one.addedNodes.forEach((node) => window.flown.push(node.getAttribute('class'))))).observe(document.querySelector('.map > g[aria-hidden]'), { childList: true })", Vec::new()).await;
    // A query of another peer passes through this one.
    stage.daemons.ok("ben", "--json search map");
    browser.says("#view-map .log li", "map").await;
    browser.until("window.flown.some((name) => name.includes('query'))").await;
    // Who leaves is not drawn any more.
    drop(ben);
    browser.says("#view-map .coverage", "1 zone, 1 peer").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_left_and_joined_again() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.zone_has("ben", 2);
    let browser = stage.browser("ana").await;
    browser.js("document.querySelector('#connection').click()", Vec::new()).await;
    browser.says("#view-status dl", "ana").await;
    browser.press("Leave the network").await;
    browser.press("Leave").await;
    browser.says("#connection", "Left the network").await;
    stage.zone_has("ben", 1);
    browser.press("Join the network").await;
    browser.says("#connection", "Connected").await;
    stage.zone_has("ben", 2);
    browser.done().await;
}
