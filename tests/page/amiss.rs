//! What goes another way than it was meant: somebody left, there is no room, an answer comes late. Nothing goes astray or is lost.

use std::{fs, time::Instant};

use serde_json::{Value, json};

use crate::browser::{Browser, PATIENCE};
use crate::stage::{Stage, noise};

/// Drops small files of these names on the element, and large ones where the name says so.
async fn dropped(browser: &Browser, selector: &str, names: &[String]) {
    let script = "const [selector, names] = arguments; const dataTransfer = new DataTransfer();
        for (const name of names) dataTransfer.items.add(new File([name, new Uint8Array(name.includes('large') ? 48 << 20 : 0)], name));
        const node = document.querySelector(selector);
        for (const type of ['dragenter', 'dragover', 'drop']) node.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));";
    browser.js(script, vec![selector.into(), json!(names)]).await;
    browser.until("document.querySelector('dialog[open]')").await;
}

/// The words of the choice that a visible select of the dialog stands on.
async fn chosen(browser: &Browser) -> Value {
    browser
        .value("[...document.querySelectorAll('dialog select')].find((node) => node.checkVisibility())?.selectedOptions[0].text")
        .await
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn files_for_one_who_left_go_to_nobody_else() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    // Before ben and before ana in every list.
    let _abe = stage.peer("abe", &["ACCEPT=all"]);
    let ben = stage.peer("ben", &["ACCEPT=all"]);
    // Called as one of the goals.
    let _share = stage.peer("share", &["ACCEPT=all"]);
    stage.zone_has("ana", 4);
    let browser = stage.browser("ana").await;

    browser.view("peers/ben").await;
    browser.until("document.querySelector('#view-peers div[data-drop=ben]')?.checkVisibility()").await;
    assert_eq!(ben.stop(), Some(0));
    stage.daemons.until("ana", "--json status", "\"zone_peers\":3");
    browser.until("!document.querySelector('[data-filter=peer] option[value=ben]')").await;
    dropped(&browser, "#view-peers div[data-drop=ben]", &["for ben.txt".into()]).await;
    assert_eq!(chosen(&browser).await, "ben");
    browser.press("Go").await;
    browser.says(".toast.bad", "There is no peer `ben`.").await;

    // A zone that is not there any more, by the same way.
    browser
        .js("document.querySelector('#view-peers div[data-drop]').dataset.drop = 'zone:77'", Vec::new())
        .await;
    dropped(&browser, "#view-peers div[data-drop]", &["for a zone.txt".into()]).await;
    assert_eq!(chosen(&browser).await, "Zone 77");
    browser.press("Go").await;
    browser.says(".toast.bad", "nobody else to send to").await;
    assert!(!stage.at("abe").join("inbox").exists(), "abe got nothing");

    browser.view("peers").await;
    browser.until("document.querySelector('li[data-drop=share]')").await;
    dropped(&browser, "li[data-drop=share]", &["for one.txt".into()]).await;
    assert_eq!(chosen(&browser).await, "share");
    browser.press("Go").await;
    let path = stage.at("share").join("inbox/for one.txt");
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < PATIENCE, "it never came");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!stage.at("ana").join("share/for one.txt").exists(), "shared with everyone");
    browser.done_with(&["status of 404"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn more_files_than_there_is_room_for_wait_and_all_arrive() {
    const FILES: usize = 11;
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &["ACCEPT=ask"]);
    stage.zone_has("ana", 2);
    let browser = stage.browser("ana").await;

    browser.view("peers").await;
    browser.until("document.querySelector('li[data-drop=ben]')").await;
    let mut names: Vec<String> = (1..=FILES).map(|number| format!("page {number:02}.txt")).collect();
    // Refused before all of it came.
    names[8] = "page 09, large.txt".into();
    dropped(&browser, "li[data-drop=ben]", &names).await;
    browser.press("Go").await;
    // Ben answers nothing yet: each offer holds a place for its file.
    browser.says("#uploads", "waits for room").await;
    browser.says("#uploads", "page 09, large.txt").await;
    let began = Instant::now();
    loop {
        let inbox = stage.at("ben").join("inbox");
        let there = fs::read_dir(&inbox).map_or(0, |files| {
            files.flatten().filter(|file| file.file_name().to_string_lossy().starts_with("page ")).count()
        });
        if there == FILES {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "only {there} came");
        let (_, offers, _) = stage.daemons.run("ben", "--json inbox");
        for offer in offers.lines() {
            let offer: Value = serde_json::from_str(offer).unwrap();
            if let Some(id) = offer["id"].as_u64() {
                stage.daemons.run("ben", &format!("inbox accept {id}"));
            }
        }
    }
    browser.says(".toast", "11 files on the way.").await;
    browser.until("document.querySelector('#uploads').hidden").await;
    browser.done_with(&["status of 503"]).await;
}

/// Has every page that is opened from now on run this first.
async fn before(browser: &Browser, script: &str) {
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": script})).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn who_was_refused_is_told_by_name() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &["ACCEPT=all"]);
    stage.zone_has("ana", 2);
    let browser = stage.browser("ana").await;
    browser.view("peers").await;
    browser.until("document.querySelector('li[data-drop=ben]')").await;
    // As the peer answers when it has no room for transfers to them.
    let refused: Vec<Value> = ["cem", "dora", "emil", "fay", "gil"]
        .map(|to| json!({"to": to, "detail": "it waits for too many already"}))
        .to_vec();
    let script = "const answer = { items: [], refused: arguments[0] }; Object.defineProperty(XMLHttpRequest.prototype, 'response', { get: () => answer });";
    browser.js(script, vec![json!(refused)]).await;
    dropped(&browser, "li[data-drop=ben]", &["for all.txt".into()]).await;
    browser.press("Go").await;
    let words = "for all.txt: not sent to cem, dora, emil and 2 more. It waits for too many already";
    browser.says(".toast.bad", words).await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_words_and_a_filter_is_saved_under_a_name_that_can_be_mended() {
    let stage = Stage::new();
    stage.share("ben", "annual report.txt", b"one");
    let _ana = stage.peer("ana", &["SAVED_SEARCH_EVERY=1s"]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search annual", "annual report.txt");
    let browser = stage.browser("ana").await;

    browser.search("annual report type:document").await;
    browser.press("Save search").await;
    browser.press("Save").await;
    browser.says("#saved-title + ul", "annual-report-type-document").await;
    browser.says("#saved-title + ul", "1 file known").await;

    browser.search("report").await;
    browser.press("Save search").await;
    browser.fill("dialog [name=saved]", "my report").await;
    assert_eq!(
        browser.value("document.querySelector('dialog [name=saved]').validity.patternMismatch").await,
        true
    );
    // A refusal leaves the window as it is.
    browser.js("document.querySelector('dialog [name=saved]').pattern = '.*'", Vec::new()).await;
    browser.press("Save").await;
    browser.says("dialog [role=alert]", "is none for a search").await;
    browser.fill("dialog [name=saved]", "my-report").await;
    browser.press("Save").await;
    browser.says("#saved-title + ul", "my-report").await;
    browser.until("!document.querySelector('dialog')").await;

    // What is new stays so over a reload.
    stage.share("ben", "annual report of now.txt", b"two");
    browser.says("#fresh-title", "New for you").await;
    browser.says("#view-search", "annual report of now.txt").await;
    browser.driver.refresh().await.unwrap();
    browser.says("#fresh-title", "New for you").await;
    browser.says("#view-search", "annual report of now.txt").await;
    browser.press("Clear").await;
    browser.driver.refresh().await.unwrap();
    browser.says("#saved-title + ul", "my-report").await;
    assert_eq!(browser.value("document.querySelector('#fresh-title').checkVisibility()").await, false);
    browser.done_with(&["status of 400"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_comes_late_hides_nothing_that_was_told_since() {
    let stage = Stage::new();
    stage.share("ben", "minutes.txt", b"what was said");
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    let hit = stage.daemons.until("ana", "--json search minutes", "minutes.txt");
    assert!(hit.contains("minutes.txt"));
    let browser = Browser::start().await;
    // The first list of transfers is read at once and given late.
    let script = "const real = fetch; let is = true; window.fetch = async (...ask) => {
        const answer = await real(...ask);
        if (!is || !String(ask[0]).includes('/transfers?')) return answer;
        is = false; const text = await answer.text(); window.held = true;
        await new Promise((done) => { window.release = done; });
        return new Response(text, { status: 200 }); };";
    before(&browser, script).await;
    browser.open(&stage.link("ana")).await;
    browser.until("window.held").await;
    browser.view("transfers").await;
    stage.daemons.ok("ana", "--json search minutes");
    stage.daemons.ok("ana", "get 1");
    browser.says("#view-transfers li[data-state=done]", "minutes.txt").await;
    browser.js("window.release(); return new Promise((done) => setTimeout(done, 0));", Vec::new()).await;
    browser.until("new Promise((done) => setTimeout(() => done(true), 300))").await;
    browser.says("#view-transfers li[data-state=done]", "minutes.txt").await;
    let script = "return [...document.querySelectorAll('#view-transfers li')].length";
    assert_eq!(browser.js(script, Vec::new()).await, 1);
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_large_network_is_listed_only_for_who_looks_at_it() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    stage.zone_has("ana", 1);
    let browser = Browser::start().await;
    // Two pages of a thousand others each, and a count of what is asked for.
    let script = "const real = fetch; window.asked = { peers: 0, network: 0 }; window.fetch = async (...ask) => {
        const path = String(ask[0]);
        if (/v1\\/network/.test(path)) window.asked.network += 1;
        if (!/v1\\/peers\\?/.test(path)) return real(...ask);
        window.asked.peers += 1;
        const from = path.includes('page_token') ? 1000 : 0;
        const items = Array.from({ length: 1000 }, (_, at) => ({ peer_id: String(from + at), name: `p${from + at}`, zone: 1, shared_files: 0 }));
        return new Response(JSON.stringify({ items, is_stale: false, next_page_token: from ? null : '1000' }), { status: 200 }); };";
    before(&browser, script).await;
    browser.open(&stage.link("ana")).await;
    browser.until("window.asked.peers === 2").await;
    let ben = stage.peer("ben", &[]);
    browser.view("status").await;
    browser.says("#view-status", "with 2 peers").await;
    // The events come in their order: what the network was asked for by then, it was asked for by the event before.
    drop(ben);
    browser.says("#view-status", "with 1 peer").await;
    assert_eq!(browser.value("window.asked").await, json!({"peers": 2, "network": 0}));
    browser.view("peers").await;
    browser.until("window.asked.peers === 4").await;
    browser.view("map").await;
    browser.says("#view-map .coverage", "1 zone, 1 peer").await;
    assert_eq!(browser.value("window.asked").await, json!({"peers": 4, "network": 1}));
    // So does the question where files shall go, when something changed.
    let _cem = stage.peer("cem", &[]);
    browser.says("#view-map .coverage", "1 zone, 2 peers").await;
    assert_eq!(browser.value("window.asked.peers").await, 4);
    dropped(&browser, "main", &["a file.txt".into()]).await;
    assert_eq!(browser.value("window.asked.peers").await, 6);
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_read_up_to_a_bound_and_an_empty_one_is_no_error() {
    let stage = Stage::new();
    stage.share("ben", "long letter.txt", "ten bytes\n".repeat(6000).as_bytes());
    stage.share("ben", "empty letter.txt", b"");
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search letter", "empty letter.txt");
    let browser = stage.browser("ana").await;
    browser.view("messages").await;
    browser.js("const real = fetch; window.ranges = []; window.fetch = async (...ask) => { const answer = await real(...ask); if (/files/.test(ask[0])) window.ranges.push(`${answer.status} ${answer.headers.get('content-range')}`); return answer; };", Vec::new()).await;
    browser.fill("#view-messages [type=search]", "letter").await;
    browser.press("Find").await;
    browser.says("#view-messages .coverage", "2 messages found.").await;
    // What a holder says of its size is not believed.
    browser.js("[...document.querySelectorAll('#view-messages .cards li')].find((node) => node.textContent.includes('long letter')).querySelector('button').click()", Vec::new()).await;
    browser
        .until(
            "[...document.querySelectorAll('pre.message')].some((node) => node.textContent.length === 60000)",
        )
        .await;
    browser.js("[...document.querySelectorAll('#view-messages .cards li')].find((node) => node.textContent.includes('empty letter')).querySelector('button').click()", Vec::new()).await;
    browser.until("[...document.querySelectorAll('pre.message')].every((node) => !node.hidden)").await;
    assert_eq!(browser.value("window.ranges").await, json!(["206 bytes 0-59999/60000", "416 bytes */0"]));
    assert_eq!(browser.value("document.querySelectorAll('.toast.bad').length").await, 0);

    // One that the peer would refuse for its length is told so before, by its bytes.
    browser.fill("[name=name]", "long").await;
    browser.fill("[name=text]", &"ä".repeat(5000)).await;
    browser.press("Leave it in the network").await;
    let words = browser.value("document.querySelector('[name=text]').validationMessage").await;
    assert!(words.as_str().unwrap().contains("8,192 bytes"), "{words}");
    browser.fill("[name=text]", &"ä".repeat(4096)).await;
    browser.press("Leave it in the network").await;
    browser.says(".toast", "The network keeps “long”.").await;
    browser.done_with(&["status of 416"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_could_not_be_read_is_asked_for_again() {
    let stage = Stage::new();
    stage.share("ben", "a book.txt", b"words");
    let _ana = stage.peer("ana", &[]);
    let ben = stage.peer("ben", &[]);
    stage.daemons.until("ana", "--json search book", "a book.txt");
    let browser = stage.browser("ana").await;
    assert_eq!(ben.stop(), Some(0));
    stage.zone_has("ana", 1);
    browser.view("peers/ben/share").await;
    browser.says("#view-peers .coverage", "There is no peer `ben`.").await;
    let _ben = stage.peer("ben", &[]);
    stage.zone_has("ana", 2);
    browser.until("(document.querySelector('#view-peers .coverage button')?.click(), [...document.querySelectorAll('#view-peers [role=row]')].some((node) => node.textContent.includes('a book.txt')))").await;
    browser.done_with(&["status of 404"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_stays_so_and_what_is_kept_is_still_told_after_a_restart() {
    let stage = Stage::new();
    let ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.zone_has("ana", 2);
    let browser = stage.browser("ana").await;
    browser.view("messages").await;
    for name in ["lunch.txt", "supper.txt"] {
        browser.fill("[name=name]", name).await;
        browser.fill("[name=text]", name).await;
        browser.press("Leave it in the network").await;
        browser.until(&format!("[...document.querySelectorAll('section[aria-labelledby=own-title] button')].some((node) => node.ariaLabel.includes('{}'))", &name[..5])).await;
    }
    browser.js("[...document.querySelectorAll('section[aria-labelledby=own-title] button')].find((node) => node.ariaLabel.includes('lunch')).click()", Vec::new()).await;
    browser.until("document.querySelector('dialog[open] .danger')").await;
    browser.js("document.querySelector('dialog[open] .danger').click()", Vec::new()).await;
    let kept = "[...document.querySelectorAll('section[aria-labelledby=own-title] button')].map((node) => node.ariaLabel.replace('.txt', '')).join()";
    browser.until(&format!("{kept} === 'Take back supper'")).await;
    browser.driver.refresh().await.unwrap();
    browser.until(&format!("{kept} !== ''")).await;
    assert_eq!(browser.value(kept).await, "Take back supper");

    let port = format!("HTTP_LISTEN={}", stage.address("ana"));
    assert_eq!(ana.stop(), Some(0));
    let _ana = stage.daemons.peer("ana", &[&port]);
    browser.driver.refresh().await.unwrap();
    browser.until(&format!("{kept} !== ''")).await;
    assert_eq!(browser.value(kept).await, "Take back supper");
    browser.done_with(&["net::ERR_"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_ended_is_shown_no_more() {
    let stage = Stage::new();
    stage.share("ana", "film.mkv", &noise(8, 6 << 20));
    let _ana = stage.peer("ana", &["UPLOAD_LIMIT=2MiB"]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ben", "--json search film", "film.mkv");
    let browser = stage.browser("ana").await;
    browser.view("transfers").await;
    stage.daemons.ok("ben", "get --detach 1");
    browser.says("#view-transfers li", "film.mkv").await;
    browser.until("!document.querySelector('#view-transfers li')").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_nobody_looked_is_told_afterwards() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let browser = Browser::start().await;
    // Each stream that is opened, and the patience with a hidden page cut short.
    let script = "const Real = EventSource; window.opened = []; window.EventSource = class extends Real { constructor(url) { super(url); window.opened.push(url); window.last = this; } }; const real = setTimeout; window.setTimeout = (work, ms, ...more) => real(work, Math.min(ms, 1000), ...more);
        window.look = (isHidden) => { Object.defineProperty(document, 'hidden', { get: () => isHidden, configurable: true }); document.dispatchEvent(new Event('visibilitychange')); };";
    before(&browser, script).await;
    browser.open(&stage.link("ana")).await;
    // An event has come.
    let _ben = stage.peer("ben", &[]);
    browser.view("status").await;
    browser.says("#view-status", "with 2 peers").await;
    browser.js("window.look(true)", Vec::new()).await;
    browser.until("window.last.readyState === EventSource.CLOSED").await;
    browser.js("window.look(false)", Vec::new()).await;
    browser.until("window.opened.length === 2").await;
    let opened = browser.value("window.opened").await;
    assert!(!opened[0].as_str().unwrap().contains("last_event_id"), "{opened}");
    assert!(opened[1].as_str().unwrap().contains("/events?last_event_id="), "{opened}");
    browser.until("window.last.readyState === EventSource.OPEN").await;
    browser.done().await;
}
