//! The page of a registry: who is there and in which zones, to be looked at and not to be changed.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::Browser;
use crate::daemons::processes::{Daemon, ask, home, run, until};

/// A registry with its page, and peers that show none.
struct Hub {
    folder: TempDir,
    arguments: Vec<&'static str>,
    /// Of its page, kept over a restart.
    page: String,
    /// `None` between two lives.
    registry: Option<Daemon>,
}

impl Hub {
    /// `settings` are lines of its `.env`, `more` are arguments.
    fn start(settings: &str, more: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = [&["registry", "--data", "data"], more].concat();
        let mut hub = Self { folder, arguments, page: "127.0.0.1:0".to_owned(), registry: None };
        hub.run("127.0.0.1:0", settings);
        let address = fs::read_to_string(hub.at("hub").join("data/registry-gateway/address")).unwrap();
        address.trim_end().clone_into(&mut hub.page);
        hub
    }

    fn run(&mut self, listen: &str, settings: &str) {
        let home = self.at("hub");
        let page = format!("FLOODPLAIN_REGISTRY_HTTP_LISTEN={}\n", self.page);
        fs::write(home.join(".env"), format!("{settings}{page}")).unwrap();
        let mut arguments = self.arguments.clone();
        arguments.extend(["--listen", listen]);
        self.registry = Some(Daemon::start(&home, &arguments));
    }

    fn at(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Where peers reach it.
    fn address(&self) -> String {
        self.registry.as_ref().unwrap().address.clone()
    }

    /// A peer of a network without keys.
    fn peer(&self, name: &str) -> Daemon {
        let home = home(&self.at(name), &self.address(), "FLOODPLAIN_HTTP_LISTEN=off\n");
        fs::write(home.join("share/a file.txt"), name).unwrap();
        let peer = Daemon::start(&home, &["peer", "--name", name]);
        until(&home, "--json status", "\"connection\":\"connected\"");
        peer
    }

    fn link(&self) -> String {
        let (code, printed) = run(&self.at("hub"), "web --registry --data data");
        assert_eq!(code, 0, "{printed}");
        printed.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned()
    }

    async fn browser(&self) -> Browser {
        let browser = Browser::start().await;
        browser.open(&self.link()).await;
        browser.says("#state", "Serving").await;
        browser
    }
}

const PLAIN: &str = "FLOODPLAIN_INSECURE_LOOPBACK=true\n";

/// The words of the cells of each row of a table.
async fn rows(browser: &Browser, table: &str) -> Vec<Vec<String>> {
    let script = "return [...document.querySelectorAll(arguments[0] + ' tr')].map((row) => [...row.cells].map((cell) => cell.textContent))";
    serde_json::from_value(browser.js(script, vec![table.into()]).await).unwrap()
}

/// Nothing is wrong with it for a screen reader in either colour set, and a phone does not scroll it sideways.
async fn is_well_made(browser: &Browser, name: &str) {
    for (size, width, height) in [("", 1200, 800), ("-phone", 390, 844)] {
        for theme in ["light", "dark"] {
            browser.size(width, height).await;
            browser.colours(theme).await;
            assert_eq!(browser.violations().await, [""; 0], "{name} {theme} {width}");
            let over = browser.value("document.documentElement.scrollWidth - innerWidth").await;
            assert!(over.as_i64().unwrap() <= 0, "{over} pixels too wide at {width}");
            browser.picture(&format!("{name}-{theme}{size}")).await;
        }
    }
    browser.devtools("Emulation.clearDeviceMetricsOverride", json!({})).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_shows_who_is_there_in_which_zones() {
    let hub = Hub::start(PLAIN, &["--network-size", "8", "--number-of-zones", "4"]);
    let names = ["ana", "ben", "cem", "dora", "emil"];
    let mut peers: Vec<Daemon> = names.iter().map(|name| hub.peer(name)).collect();
    let browser = hub.browser().await;
    browser.until("document.querySelectorAll('#peers tr').length === 5").await;
    browser.says("#facts", "5 of 8").await;
    browser.says("#facts", "4 zones of 2").await;
    browser.says("#facts", "without keys").await;

    let zones = rows(&browser, "#zones").await;
    assert_eq!(zones.len(), 4);
    // Each names its gateway peers, and counts the changes since the start: exact, not as a browser rounds them.
    for zone in &zones {
        let [_, peers, gateways, revision] = &zone[..] else { panic!("{zone:?}") };
        assert!(peers.ends_with(" of 2"), "{zone:?}");
        let (is_empty, revision) = (peers.starts_with('0'), revision.parse::<u64>().unwrap());
        assert_eq!(is_empty, gateways == "none", "{zone:?}");
        assert!(is_empty || (1..100).contains(&revision), "{zone:?}");
    }
    let listed = rows(&browser, "#peers").await;
    for name in names {
        let row = listed.iter().find(|row| row[0].starts_with(name)).unwrap();
        let [about, _, files, lease] = &row[..] else { panic!("{row:?}") };
        assert!(about.contains("127.0.0.1:"), "{about}");
        let seconds: u64 = lease.strip_suffix(" s").unwrap().parse().unwrap();
        assert!(files.parse::<u64>().is_ok() && (1..=30).contains(&seconds), "{row:?}");
    }
    // Of one zone only.
    let zone = &listed[0][1];
    let mates = listed.iter().filter(|row| row[1] == *zone).count();
    browser.fill("#zone", zone).await;
    browser.until(&format!("document.querySelectorAll('#peers tr').length === {mates}")).await;
    browser.fill("#zone", "").await;
    browser.until("document.querySelectorAll('#peers tr').length === 5").await;
    is_well_made(&browser, "registry").await;
    browser
        .js("document.querySelectorAll('details').forEach((one) => { one.open = true; })", Vec::new())
        .await;
    browser.says("#setup", "every 10 s").await;
    browser.says("#counters", "Registrations5").await;
    assert_eq!(browser.violations().await, [""; 0]);

    // Who leaves is not shown any more, by itself.
    assert_eq!(peers.pop().unwrap().stop(), Some(0));
    browser.until("document.querySelectorAll('#peers tr').length === 4").await;
    browser.says("#facts", "4 of 8").await;
    // It only reads, and from nowhere else.
    let foreign = "performance.getEntriesByType('resource').map((one) => one.name).filter((name) => !name.startsWith(location.origin))";
    assert_eq!(browser.value(foreign).await, json!([]));
    browser.js("window.statuses = null; Promise.all(['registry', 'zones', 'peers'].flatMap((path) => ['POST', 'PUT', 'DELETE'].map((method) => fetch('/api/v1/' + path, { method }).then((answer) => answer.status)))).then((all) => { window.statuses = all; })", Vec::new()).await;
    let statuses = browser.until("window.statuses").await;
    assert!(statuses.as_array().unwrap().iter().all(|status| *status == 405), "{statuses}");
    browser.done_with(&["status of 405"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_registry_tells_how_to_let_the_first_one_in() {
    let hub = Hub::start("", &[]);
    let browser = hub.browser().await;
    browser.says("#nobody", "No peer is here yet.").await;
    browser.says("#nobody", "floodplain invite").await;
    browser.says("#facts", "by invite").await;
    is_well_made(&browser, "registry-empty").await;

    let invite = ask(&hub.at("hub"), &["invite", "--data", "data"]);
    let invite = String::from_utf8(invite.stdout).unwrap();
    let ana = hub.at("ana");
    fs::write(
        ana.join(".env"),
        "FLOODPLAIN_LISTEN=127.0.0.1:0\nFLOODPLAIN_DATA=data\nFLOODPLAIN_NAME=ana\nFLOODPLAIN_HTTP_LISTEN=off\n",
    )
    .unwrap();
    let _ana = Daemon::start(&ana, &["join", invite.trim_end(), "--headless"]);
    // Without a press.
    browser.says("#peers", "ana").await;
    browser.says("#facts", "1 member").await;
    browser.until("document.querySelector('#nobody').hidden").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_page_finds_it_again_after_a_restart() {
    let mut hub = Hub::start(PLAIN, &[]);
    let address = hub.address();
    let _ana = hub.peer("ana");
    let browser = hub.browser().await;
    browser.says("#peers", "ana").await;
    assert_eq!(hub.registry.take().unwrap().stop(), Some(0));
    browser.says("#lost", "The registry does not answer.").await;
    browser.says("#state", "Reconnecting").await;
    browser.says("#peers", "ana").await;
    hub.run(&address, PLAIN);
    browser.says("#state", "Serving").await;
    browser.until("document.querySelector('#lost').hidden").await;
    browser.says("#peers", "ana").await;
    browser.done_with(&["net::ERR_"]).await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_registry_tells_stays_text() {
    const EVIL: &str = "<img src=x onerror=window.pwned=1> \u{202e}gpj.\u{9b}31m";
    let hub = Hub::start(PLAIN, &[]);
    let browser = hub.browser().await;
    // No peer can have such a name: the answers are made up in the browser, beneath the page.
    let peer = json!({"name": EVIL, "peer_id": EVIL, "zone": 1, "address": EVIL, "lease_seconds": 1e6, "shared_files": 1e9, "room_bytes": 1e18, "is_gateway": true, "has_session": false});
    let zone = json!({"zone": u32::MAX, "peers": 1e6, "revision": u64::MAX, "gateways": [EVIL, EVIL]});
    let page = |item: &Value| json!({"items": [item], "next_page_token": null}).to_string();
    let script = format!(
        "const real = window.fetch; window.fetch = async (path, more) => {{ const made = path.startsWith('/api/v1/zones') ? {} : path.startsWith('/api/v1/peers') ? {} : null; return made ? new Response(made) : real(path, more); }};",
        json!(page(&zone)),
        json!(page(&peer))
    );
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": script})).await;
    browser.driver.refresh().await.unwrap();
    browser.says("#peers", "<img src=x onerror=window.pwned=1> \\u{202e}gpj.\\u{9b}31m").await;
    browser.says("#peers", "out of touch").await;
    assert_eq!(browser.value("document.querySelectorAll('main img').length").await, 0);
    assert_eq!(browser.value("window.pwned === undefined").await, true);
    let bad = "/[\\u0080-\\u009f\\u202a-\\u202e]/.test(document.body.textContent + [...document.querySelectorAll('[aria-label], [title]')].map((node) => node.ariaLabel + node.title).join())";
    assert_eq!(browser.value(bad).await, false);
    is_well_made(&browser, "registry-hostile").await;
    browser.done().await;
}

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_leave_is_told_how_to_see_a_registry() {
    let hub = Hub::start(PLAIN, &[]);
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", hub.page)).await;
    browser.says("main", "floodplain web --registry --open").await;
    assert_eq!(browser.value("document.querySelectorAll('table').length").await, 0);
    browser.open(&hub.link()).await;
    browser.says("#state", "Serving").await;
    browser.done_with(&["status of 401"]).await;
}
