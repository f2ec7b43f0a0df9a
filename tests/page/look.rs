//! How the page looks and reads: both colour sets, a phone, a screen reader's rules, its weight. Pictures for the documents.

use serde_json::json;

use crate::browser::Browser;
use crate::stage::{Stage, noise};

const VIEWS: [&str; 9] = [
    "search",
    "search?q=report",
    "transfers",
    "peers",
    "peers/ben/share",
    "inbox",
    "shares",
    "messages",
    "map",
];
/// Bytes of the whole page, all of it: it shall open at once everywhere.
const MOST_BYTES: u64 = 100_000;

/// Something to see in every view.
struct Scene {
    stage: Stage,
    _daemons: Vec<crate::daemons::Daemon>,
    offer: Option<std::process::Child>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl Scene {
    fn new() -> Self {
        let stage = Stage::new();
        for (peer, name, size_bytes) in [
            ("ben", "Annual report 2025.pdf", 2_340_000),
            ("ben", "Report of the harbour walk.odt", 84_000),
            ("ben", "report holiday in the Alps.mp4", 30_000_000),
            ("cem", "Lab report, group 4.xlsx", 41_000),
            ("cem", "weather report <July>.mp3", 3_100_000),
            ("dora", "Field report \u{202e}gpj.exe", 12_000),
            ("dora", "report template.zip", 910_000),
        ] {
            stage.share(peer, name, &noise(u8::try_from(name.len()).unwrap(), size_bytes));
        }
        stage.share("cem", "Annual report 2025 (copy).pdf", &noise(22, 2_340_000));
        stage.share("ana", "notes/report notes.md", b"notes");
        let mut daemons = vec![stage.peer("ana", &["DOWNLOAD_LIMIT=512KiB"])];
        daemons.extend(["ben", "cem", "dora", "emil"].map(|name| stage.peer(name, &[])));
        for name in ["harbour", "lab", "template"] {
            stage.daemons.until("ana", &format!("--json search {name}"), "\"type\":\"hit\"");
        }
        stage.daemons.ok("ana", "--json search harbour");
        stage.daemons.ok("ana", "get --detach 1");
        let line = stage.daemons.until("ana", "--json search alps", "\"type\":\"hit\"");
        assert!(line.contains("Alps"));
        stage.daemons.ok("ana", "get --detach 1");
        Self { stage, _daemons: daemons, offer: None }
    }

    /// Something in the inbox: offers wait for a minute only.
    fn offer(&mut self) {
        self.withdraw();
        let path = self.stage.at("emil").join("invitation.pdf");
        std::fs::write(&path, noise(9, 120_000)).unwrap();
        let mut send = self.stage.daemons.command("emil", "send --to ana");
        let quiet = std::process::Stdio::null;
        self.offer = Some(send.arg(&path).stdout(quiet()).stderr(quiet()).spawn().unwrap());
    }

    fn withdraw(&mut self) {
        if let Some(mut offer) = self.offer.take() {
            let _ = offer.kill();
            let _ = offer.wait();
        }
    }
}

/// Goes to a view and waits until it has something to show.
async fn show(browser: &Browser, view: &str) {
    browser.js("location.hash = arguments[0]", vec![format!("#/{view}").into()]).await;
    let what = match view {
        "search?q=report" => "document.querySelector('#view-search').dataset.state === 'done'",
        "transfers" => "document.querySelector('#view-transfers li')",
        "peers" => "document.querySelector('#view-peers li')",
        "peers/ben/share" => "document.querySelectorAll('#view-peers [role=row]').length > 2",
        "inbox" => "document.querySelector('#view-inbox li')",
        "shares" => "document.querySelector('#view-shares li')",
        "map" => "document.querySelectorAll('.node').length === 5",
        _ => "document.querySelector('main > section:not([hidden])')",
    };
    browser.until(what).await;
    browser.until("document.getAnimations().every((one) => one.effect.target.closest('.map') || one.effect.getTiming().iterations === Infinity)").await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn no_view_breaks_a_rule_of_accessibility_in_either_theme() {
    let mut scene = Scene::new();
    let browser = scene.stage.browser("ana").await;
    let mut found = Vec::new();
    for theme in ["light", "dark"] {
        browser.colours(theme).await;
        for view in VIEWS.into_iter().chain(["status", "dialog", "phone"]) {
            if view == "inbox" {
                scene.offer();
            }
            match view {
                "dialog" => {
                    show(&browser, "search?q=report").await;
                    browser
                        .js(
                            "document.querySelector('[role=row] [aria-label^=\"Who has\"]').click()",
                            Vec::new(),
                        )
                        .await;
                    browser.until("document.querySelector('dialog[open]')").await;
                }
                "phone" => {
                    browser.size(390, 844).await;
                    show(&browser, "transfers").await;
                }
                view => show(&browser, view).await,
            }
            let violations = browser.violations().await;
            found.extend(violations.into_iter().map(|violation| format!("{theme} {view}: {violation}")));
            if view == "dialog" {
                browser.press("Close").await;
            }
        }
        browser.devtools("Emulation.clearDeviceMetricsOverride", json!({})).await;
    }
    assert!(found.is_empty(), "{found:#?}");
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_phone_scrolls_no_view_sideways_and_the_page_weighs_little() {
    let mut scene = Scene::new();
    let browser = scene.stage.browser("ana").await;
    for (name, width, height, theme) in [
        ("light", 1200, 800, "light"),
        ("dark", 1200, 800, "dark"),
        ("phone", 390, 844, "light"),
        ("small", 320, 640, "dark"),
    ] {
        browser.size(width, height).await;
        browser.colours(theme).await;
        for view in VIEWS.into_iter().chain(["status"]) {
            if view == "inbox" {
                scene.offer();
            }
            show(&browser, view).await;
            let over = browser.value("document.documentElement.scrollWidth - innerWidth").await;
            assert!(over.as_i64().unwrap() <= 0, "{view} is {over} pixels too wide at {width}");
            if name != "small" {
                let file = view.split('?').next().unwrap().replace('/', "-");
                let file = if view.contains('?') {
                    "search".into()
                } else if view == "search" {
                    "start".into()
                } else {
                    file
                };
                if view == "map" {
                    scene.stage.daemons.ok("ben", "--json search report");
                    browser.until("document.querySelector('#view-map .log li')").await;
                }
                browser.picture(&format!("{file}-{name}")).await;
            }
        }
    }
    // What was loaded, and from where.
    browser.driver.refresh().await.unwrap();
    browser.until("document.querySelector('#connection').dataset.state === 'connected'").await;
    let foreign = browser.value("performance.getEntriesByType('resource').map((one) => one.name).filter((name) => !name.startsWith(location.origin))").await;
    assert_eq!(foreign, json!([]));
    let script = "const done = arguments[0]; Promise.all([...new Set(['/', ...performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname).filter((path) => !path.startsWith('/api/'))])].map(async (path) => { const answer = await fetch(path, { cache: 'reload' }); return [path, (await answer.arrayBuffer()).byteLength]; })).then(done)";
    let parts = browser.driver.execute_async(script, Vec::new()).await.unwrap();
    let parts: Vec<(String, u64)> = serde_json::from_value(parts.json().clone()).unwrap();
    let whole: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    println!("the page weighs {whole} bytes: {parts:?}");
    assert!(parts.len() > 10, "{parts:?}");
    assert!(whole <= MOST_BYTES, "{whole} bytes: {parts:?}");
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn the_colours_are_chosen_and_remembered() {
    let stage = Stage::new();
    let _ana = stage.peer("ana", &[]);
    let browser = stage.browser("ana").await;
    let ground = "getComputedStyle(document.body).backgroundColor";
    browser.colours("light").await;
    let light = browser.value(ground).await;
    browser.colours("dark").await;
    let dark = browser.value(ground).await;
    assert_ne!(light, dark);
    browser.press("Colours: as the system").await;
    browser.press("Colours: light").await;
    browser.colours("light").await;
    assert_eq!(browser.value(ground).await, dark, "dark was chosen");
    browser.driver.refresh().await.unwrap();
    assert_eq!(browser.value(ground).await, dark);
    browser.press("Colours: dark").await;
    assert_eq!(browser.value(ground).await, light, "as the system again");
    browser.done().await;
}
