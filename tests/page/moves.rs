//! Files moved by the page: fetched, dropped, sent, kept, paused, and shown again after a reload or a restart.

use std::{fs, time::Instant};

use data_encoding::BASE64;
use serde_json::json;

use crate::browser::{Browser, PATIENCE};
use crate::stage::{Stage, noise};

/// The bytes that the page gets for an address of its own peer.
async fn fetched(browser: &Browser, path: &str) -> Vec<u8> {
    let script = "const done = arguments[arguments.length - 1]; fetch(arguments[0]).then((answer) => answer.blob()).then((blob) => { const reader = new FileReader(); reader.onload = () => done(reader.result.split(',')[1]); reader.readAsDataURL(blob); });";
    let text = browser.driver.execute_async(script, vec![path.into()]).await.unwrap();
    BASE64.decode(text.json().as_str().unwrap().as_bytes()).unwrap()
}

/// Drops a file of these bytes on the element.
async fn dropped(browser: &Browser, selector: &str, name: &str, bytes: &[u8]) {
    let script = "const [selector, name, text] = arguments; const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const dataTransfer = new DataTransfer(); dataTransfer.items.add(new File([bytes], name));
        const node = document.querySelector(selector);
        for (const type of ['dragenter', 'dragover', 'drop']) node.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));";
    browser.js(script, vec![selector.into(), name.into(), BASE64.encode(bytes).into()]).await;
    browser.until("document.querySelector('dialog[open]')").await;
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_string()
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_the_file_byte_for_byte() {
    let stage = Stage::new();
    let bytes = noise(2, 3_000_001);
    stage.share("ben", "a song # 100% é.mp3", &bytes);
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search song", "a song # 100% é.mp3");
    let browser = stage.browser("ana").await;

    // By the browser, which needs no transfer.
    browser.search("song").await;
    browser.press("Who has a song # 100% é.mp3").await;
    browser.press("Save by the browser").await;
    let saved = browser.downloads().join("a song # 100% é.mp3");
    let began = Instant::now();
    while fs::read(&saved).map_or(0, |bytes| bytes.len()) < bytes.len() {
        assert!(began.elapsed() < PATIENCE, "the browser never saved {}", saved.display());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(hash(&fs::read(&saved).unwrap()), hash(&bytes));
    browser.press("Close").await;
    assert_eq!(hash(&fetched(&browser, &format!("/api/v1/files/{}", hash(&bytes))).await), hash(&bytes));

    // By the peer, which keeps it.
    browser.press("Download a song # 100% é.mp3").await;
    browser.view("transfers").await;
    browser.says("#view-transfers li[data-state=done]", "a song # 100% é.mp3").await;
    let line = stage.daemons.until("ana", "--json transfers", "\"state\":\"done\"");
    let transfer: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(hash(&fs::read(transfer["path"].as_str().unwrap()).unwrap()), hash(&bytes));
    browser.view("search").await;
    browser.says("#view-search [role=row] .tag", "have").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn dropped_files_are_shared_sent_and_kept_unchanged() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &["ACCEPT=all"]);
    let _cem = stage.peer("cem", &["ACCEPT=all"]);
    stage.zone_has("ana", 3);
    let browser = stage.browser("ana").await;

    let shared = noise(3, 1_200_003);
    dropped(&browser, "main", "a picture #1 50%.png", &shared).await;
    browser.press("Go").await;
    browser.says(".toast", "1 file shared.").await;
    assert_eq!(hash(&fs::read(stage.at("ana").join("share/a picture #1 50%.png")).unwrap()), hash(&shared));
    stage.daemons.until("ben", "--json search picture", &hash(&shared));

    // On a peer: it is who is meant.
    let sent = noise(4, 700_001);
    browser.view("peers").await;
    browser.until("document.querySelector('[data-drop=ben]')").await;
    dropped(&browser, "[data-drop=ben]", "for ben.bin", &sent).await;
    assert_eq!(browser.value("document.querySelector('[name=goal]:checked').value").await, "peer");
    browser.press("Go").await;
    browser.view("transfers").await;
    browser.says("#view-transfers li[data-state=done]", "for ben.bin").await;
    assert_eq!(hash(&fs::read(stage.at("ben").join("inbox/for ben.bin")).unwrap()), hash(&sent));

    // To a zone, and into the network.
    let zone = noise(5, 100_001);
    dropped(&browser, "main", "for all of us.bin", &zone).await;
    browser.fill("[name=goal][value=zone]", "zone").await;
    browser.js("document.querySelector('[name=goal][value=zone]').click()", Vec::new()).await;
    browser.press("Go").await;
    for peer in ["ben", "cem"] {
        let path = stage.at(peer).join("inbox/for all of us.bin");
        let began = Instant::now();
        while !path.exists() {
            assert!(began.elapsed() < PATIENCE, "{peer} never got it");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(hash(&fs::read(path).unwrap()), hash(&zone));
    }
    let kept = noise(6, 50_001);
    dropped(&browser, "main", "kept for long.bin", &kept).await;
    browser.js("document.querySelector('[name=goal][value=put]').click()", Vec::new()).await;
    browser.press("Go").await;
    browser.until("[...document.querySelectorAll('#view-transfers li[data-state=done]')].some((node) => node.textContent.includes('kept for long.bin') && node.textContent.includes('kept by'))").await;
    stage.daemons.until("cem", "--json search kept", &hash(&kept));
    // A file from a disk, by the button and the dialog of the browser.
    let path = stage.at("ana").join("chosen.txt");
    fs::write(&path, "chosen").unwrap();
    browser
        .driver
        .find(thirtyfour::By::Id("picker"))
        .await
        .unwrap()
        .send_keys(path.to_str().unwrap())
        .await
        .unwrap();
    browser.press("Go").await;
    stage.daemons.until("ben", "--json search chosen", &hash(b"chosen"));
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_shown_again_after_a_reload_and_can_be_held() {
    let stage = Stage::new();
    let bytes = noise(7, 24 << 20);
    stage.share("ben", "long film.mkv", &bytes);
    let _ana = stage.peer("ana", &["DOWNLOAD_LIMIT=2MiB"]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search film", &hash(&bytes));
    let browser = stage.browser("ana").await;

    browser.search("film").await;
    browser.press("Download long film.mkv").await;
    browser.view("transfers").await;
    browser.until("document.querySelector('li[data-state=running] progress')?.value > 0").await;
    browser.says("li[data-state=running]", "left").await;
    browser.driver.refresh().await.unwrap();
    browser.until("document.querySelector('li[data-state=running] progress')?.value > 0").await;
    assert!(browser.text("li[data-state=running]").await.contains("long film.mkv"));
    browser.press("Pause long film.mkv").await;
    browser.says("li[data-state=paused]", "Paused").await;
    browser.fill("li[data-state=paused] select", "high").await;
    stage.daemons.until("ana", "--json transfers", "\"priority\":\"high\"");
    browser.press("Resume all").await;
    browser.until("document.querySelector('li[data-state=running]')").await;
    browser.press("Cancel all").await;
    browser.until("document.querySelector('dialog[open] .danger')").await;
    browser.js("document.querySelector('dialog[open] .danger').click()", Vec::new()).await;
    browser.says("li[data-state=cancelled]", "Cancelled").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn the_page_finds_its_peer_again_after_a_restart() {
    let stage = Stage::new();
    stage.share("ben", "minutes.txt", b"what was said");
    let ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search minutes", "minutes.txt");
    let browser = stage.browser("ana").await;
    let port = format!("HTTP_LISTEN={}", stage.address("ana"));

    assert_eq!(ana.stop(), Some(0));
    browser.says("#reconnecting", "Reconnecting to your peer").await;
    let _ana = stage.daemons.peer("ana", &[&port]);
    browser.until("document.querySelector('#reconnecting').hidden").await;
    browser.until("document.querySelector('#connection').dataset.state === 'connected'").await;
    stage.daemons.until("ana", "--json search minutes", "minutes.txt");
    browser.search("minutes").await;
    browser.says("#view-search [role=row]", "minutes.txt").await;
    browser.done_with(&["net::ERR_"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn an_offer_appears_by_itself_and_is_accepted_declined_or_trusted() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &["ACCEPT=ask"]);
    let _ben = stage.peer("ben", &[]);
    stage.zone_has("ben", 2);
    let browser = stage.browser("ana").await;
    browser.view("inbox").await;
    browser.says("#view-inbox", "No offer waits for you.").await;

    for (name, verb) in
        [("first.txt", "Decline"), ("second.txt", "Accept"), ("third.txt", "Always accept from ben")]
    {
        let path = stage.at("ben").join(name);
        fs::write(&path, name).unwrap();
        let mut send = stage.daemons.command("ben", "send --to ana");
        let mut sending = send
            .arg(&path)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        browser.says("#view-inbox li", name).await;
        let press = if verb.contains("from") { verb.to_owned() } else { format!("{verb} {name}") };
        browser.press(&press).await;
        let code = sending.wait().unwrap().code();
        assert_eq!(code, Some(if verb == "Decline" { 5 } else { 0 }), "{verb}");
        assert_eq!(stage.at("ana").join("inbox").join(name).exists(), verb != "Decline");
    }
    browser.says("#view-inbox", "No offer waits for you.").await;
    assert_eq!(
        browser.value("document.querySelector('a[href=\"#/inbox\"] .badge').hidden").await,
        json!(true)
    );
    browser.done().await;
}
