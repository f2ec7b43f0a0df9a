//! A headless Chromium of its own, driven through Debian's chromedriver; both end when it is dropped, and what the page wrote
//! to the browser's log is looked at before.

// Shared by several tests as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{
    io::{BufRead, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    prelude::*,
    session::http::{Body, HttpClient},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Long enough for any one step on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Without the background ones, Chromium looks for its maker's hosts all the time.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--window-size=1200,860",
];

/// The few lines of HTTP/1.1 that a driver on loopback speaks.
#[derive(Clone)]
struct Loopback;

async fn exchange(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = BufReader::new(stream);
    let (mut line, mut status, mut length) = (String::new(), None, 0);
    // The driver keeps the connection, whatever it was told: the answer ends where it says.
    while answer.read_line(&mut line).await? > 0 && !line.trim_end().is_empty() {
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or(0);
            }
            None => status = line.split(' ').nth(1).and_then(|status| status.parse().ok()),
            Some(_) => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body).await?;
    let status = status.ok_or_else(|| std::io::Error::other("an answer without a status"))?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[tonic::async_trait]
impl HttpClient for Loopback {
    async fn send(&self, request: http::Request<Body<'_>>) -> WebDriverResult<http::Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = match body {
            Body::Empty => String::new(),
            Body::Json(json) => json.to_string(),
        };
        let address = parts.uri.authority().map(ToString::to_string).unwrap_or_default();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let (status, body) = exchange(&address, parts.method.as_str(), path, &body).await?;
        Ok(http::Response::builder().status(status).body(body.into()).expect("a status and a body"))
    }

    async fn new(&self) -> Arc<dyn HttpClient> {
        Arc::new(Self)
    }
}

/// One browser with one window.
pub struct Browser {
    pub driver: WebDriver,
    chromedriver: Child,
    address: String,
    profile: TempDir,
    _said: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
}

impl Browser {
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut chromedriver = Command::new("chromedriver")
            .args(["--port=0"])
            .process_group(0)
            .env("HOME", profile.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is there: apt-get install chromium chromium-driver");
        // Kept: whoever writes into a pipe that nobody holds is ended.
        let mut said = std::io::BufReader::new(chromedriver.stdout.take().expect("piped")).lines();
        let port = said
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("on port ")?;
                // It says `0` first, and then what the system chose.
                port.trim_end_matches('.').parse::<u16>().ok().filter(|port| *port > 0)
            })
            .expect("chromedriver says its port");
        let address = format!("127.0.0.1:{port}");
        let mut wanted = DesiredCapabilities::chrome();
        for flag in FLAGS {
            wanted.add_arg(flag).expect("a flag");
        }
        wanted
            .add_arg(&format!("--user-data-dir={}", profile.path().join("profile").display()))
            .expect("a flag");
        let downloads = json!({"download.default_directory": profile.path().join("downloads"), "download.prompt_for_download": false});
        wanted.add_experimental_option("prefs", downloads).expect("an option");
        wanted.set("goog:loggingPrefs", json!({"browser": "ALL"})).expect("a capability");
        let driver = WebDriver::builder(format!("http://{address}"), wanted)
            .client(Loopback)
            .connect()
            .await
            .expect("a browser");
        driver.set_script_timeout(PATIENCE).await.expect("set");
        Self { driver, chromedriver, address, profile, _said: said }
    }

    /// Where the browser itself puts what it downloads.
    pub fn downloads(&self) -> PathBuf {
        self.profile.path().join("downloads")
    }

    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.expect("opens");
    }

    /// What a script gives.
    pub async fn js(&self, script: &str, values: Vec<Value>) -> Value {
        let what = self.driver.execute(script, values).await;
        what.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// What an expression is.
    pub async fn value(&self, expression: &str) -> Value {
        self.js(&format!("return ({expression});"), Vec::new()).await
    }

    /// What the words of an element are, all of them.
    pub async fn text(&self, selector: &str) -> String {
        let text =
            self.js("return document.querySelector(arguments[0])?.textContent ?? ''", vec![selector.into()]);
        text.await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the expression is neither false nor empty; what it is then.
    pub async fn until(&self, expression: &str) -> Value {
        let began = Instant::now();
        loop {
            let value = self.value(expression).await;
            if !matches!(value, Value::Null | Value::Bool(false)) && value != json!(0) && value != json!("") {
                return value;
            }
            if began.elapsed() > PATIENCE {
                let seen = self.value("location.href + ' ' + document.body.innerText.slice(0, 3000)").await;
                panic!("never: {expression}\n{}", seen.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// Waits until an element has these words.
    pub async fn says(&self, selector: &str, words: &str) {
        let (selector, words) = (json!(selector), json!(words));
        self.until(&format!(
            "[...document.querySelectorAll({selector})].some((node) => node.checkVisibility() && node.textContent.includes({words}))"
        ))
        .await;
    }

    /// Presses the first visible button or link of that name, as its label or words have it.
    pub async fn press(&self, name: &str) {
        let name = json!(name);
        let find = format!(
            "[...document.querySelectorAll('button, a')].find((node) => node.checkVisibility() && !node.disabled && (node.ariaLabel ?? node.textContent).trim() === {name})"
        );
        self.until(&format!("Boolean({find})")).await;
        self.js(
            &format!("const node = {find}; node.scrollIntoView({{ block: 'center' }}); node.click();"),
            Vec::new(),
        )
        .await;
    }

    /// Types into what has the focus, as a person at the keyboard does.
    pub async fn keys(&self, keys: impl Into<thirtyfour::TypingData>) {
        self.driver.action_chain().send_keys(keys).perform().await.expect("typed");
    }

    /// Fills a field and tells the page.
    pub async fn fill(&self, selector: &str, text: &str) {
        self.until(&format!("Boolean(document.querySelector({}))", json!(selector))).await;
        let script = "const node = document.querySelector(arguments[0]); node.focus(); node.value = arguments[1]; node.dispatchEvent(new Event('input', { bubbles: true })); node.dispatchEvent(new Event('change', { bubbles: true }));";
        self.js(script, vec![selector.into(), text.into()]).await;
    }

    /// Goes to a view by its address, which is what the links of the page do.
    pub async fn view(&self, view: &str) {
        self.js("location.hash = arguments[0]", vec![format!("#/{view}").into()]).await;
    }

    /// Searches by the box, all zones or the own one.
    pub async fn search(&self, query: &str) {
        self.view("search").await;
        self.fill("#query", query).await;
        self.js("document.querySelector('#view-search [type=submit]').click()", Vec::new()).await;
    }

    /// A command of the browser's own protocol.
    pub async fn devtools(&self, command: &str, values: Value) -> Value {
        let path = format!("/session/{}/goog/cdp/execute", self.driver.session_id());
        let body = json!({"cmd": command, "params": values}).to_string();
        let (status, answer) = exchange(&self.address, "POST", &path, &body).await.expect("answers");
        assert_eq!(status, 200, "{command}: {answer}");
        serde_json::from_str(&answer).expect("an object")
    }

    /// The size of the page in CSS pixels.
    pub async fn size(&self, width: u32, height: u32) {
        let values = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.devtools("Emulation.setDeviceMetricsOverride", values).await;
    }

    /// The colours that the system is said to prefer, `light` or `dark`.
    pub async fn colours(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// A picture of what is seen, for people, in `target/screenshots`.
    pub async fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target").join("screenshots");
        std::fs::create_dir_all(&folder).expect("made");
        self.driver.screenshot(&folder.join(format!("{name}.png"))).await.expect("a picture");
    }

    /// What axe-core finds wrong with what is shown, one line a rule; nothing when it breaks none.
    pub async fn violations(&self) -> Vec<String> {
        if self.value("typeof axe === 'undefined'").await == true {
            let path = std::env::var("FLOODPLAIN_TEST_AXE").expect(
                "FLOODPLAIN_TEST_AXE names axe.min.js: `npm pack axe-core@4`, unpack it, and give package/axe.min.js",
            );
            let axe = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            self.js(&axe, Vec::new()).await;
        }
        let script = "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then((result) => done(result.violations.map((one) => one.id + ': ' + one.help + ' ' + one.nodes.map((node) => node.html + ' ' + (node.any[0]?.message ?? '')).slice(0, 3).join(' | '))), (error) => done([String(error)]))";
        let found = self.driver.execute_async(script, Vec::new()).await.expect("it runs");
        serde_json::from_value(found.json().clone()).expect("a list of texts")
    }

    /// Another window beside those that there are, on this page; it is the one that is driven from now on.
    pub async fn window(&self, url: &str) -> WindowHandle {
        let window = self.driver.new_window().await.expect("opens");
        self.driver.switch_to_window(window.clone()).await.expect("it is there");
        self.open(url).await;
        window
    }

    /// What the page wrote to the browser's log that is not one of `allowed`.
    pub async fn complaints(&self, allowed: &[&str]) -> Vec<String> {
        let log = self.driver.browser_log().await.expect("a log");
        log.into_iter()
            .filter(|entry| entry.level == "SEVERE" || entry.level == "WARNING")
            .map(|entry| entry.message)
            .filter(|message| !allowed.iter().any(|allowed| message.contains(allowed)))
            .collect()
    }

    /// Ends it. The page wrote nothing of errors to the log.
    pub async fn done(self) {
        self.done_with(&[]).await;
    }

    /// As [`Self::done`], with errors that were provoked.
    pub async fn done_with(self, allowed: &[&str]) {
        let complaints = self.complaints(allowed).await;
        self.driver.clone().quit().await.expect("ends");
        assert!(complaints.is_empty(), "the browser's log: {complaints:#?}");
    }
}

impl Drop for Browser {
    /// The driver starts the browser in a group of its own, so that only the driver can end it: it is asked first.
    fn drop(&mut self) {
        if let Ok(mut stream) = std::net::TcpStream::connect(&self.address) {
            let path = format!("/session/{}", self.driver.session_id());
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = write!(
                stream,
                "DELETE {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
                self.address
            );
            let _ = stream.read(&mut [0; 512]);
        }
        let _ = kill_process_group(Pid::from_child(&self.chromedriver), Signal::KILL);
        let _ = self.chromedriver.wait();
    }
}
