//! The REST interface of real peers, asked over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/http.rs"]
mod http_client;
#[path = "support/network.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

use bytes::Bytes;
use floodplain::{
    config::PeerSettings,
    protocol::{action::AcceptPolicy, zone::Layout},
};
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use http_client::Client;
use hyper::body::Frame;
use serde_json::{Value, json};
use support::{TestPeer, TestRegistry, network, soon};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Asks until it is so.
async fn until(client: &Client, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let answer = client.get(path).await.good();
            if is_so(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(path, asking).await
}

fn state_of(transfers: &Value, id: &Value) -> Option<String> {
    let rows = transfers["items"].as_array().unwrap();
    rows.iter().find(|row| row["id"] == *id).and_then(|row| row["state"].as_str()).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_gets_in_and_a_link_opens_once() {
    let (_registry, peers) = network(1, 1).await;
    let client = Client::open(&peers[0]).await;
    let status = client.get("/api/v1/status").await;
    assert_eq!(status.good()["name"], "peer1");
    assert_eq!(status.header("cache-control"), "no-store");
    assert_eq!(status.header("x-content-type-options"), "nosniff");
    assert!(status.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"));

    let bare = |path: &str| http::Request::builder().uri(path).header("host", client.address().to_string());
    let send = async |request: http::request::Builder| {
        client.send(request.body(http_client::full("")).unwrap()).await
    };
    send(bare("/api/v1/status")).await.problem(401, "refused");
    send(bare("/api/v1/status").header("authorization", "Bearer x")).await.problem(401, "refused");
    send(bare("/api/v1/nothing")).await.problem(404, "not_found");
    assert_eq!(send(bare("/")).await.status, 200, "the page itself is nobody's secret");
    for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        client.with("GET", "/api/v1/status", &[(name, value)], b"").await.problem(403, "refused");
    }
    let rebound = http::Request::builder().uri("/").header("host", "evil.example:7080");
    send(rebound).await.problem(403, "refused");

    let link = client.gateway.link().unwrap();
    let path = link.strip_prefix(&format!("http://{}", client.address())).unwrap();
    let entered = send(bare(path)).await;
    assert_eq!((entered.status.as_u16(), entered.header("location")), (303, "/"));
    let cookie = entered.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
    send(bare(path)).await.problem(403, "refused");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert_eq!(send(bare("/api/v1/status").header("cookie", &cookie)).await.status, 200);
    assert_eq!(send(bare(path).header("cookie", &cookie)).await.status, 303, "who is in already stays in");

    client.with("PATCH", "/api/v1/status", &[], b"").await.problem(405, "usage");
    client.get("/api/v1/status?verbose=1").await.problem(400, "usage");
    let openapi = client.get("/openapi.json").await.good();
    assert!(openapi["paths"]["/api/v1/files/{file}"]["head"].is_object());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_tells_its_hits_as_they_come_and_keeps_them() {
    let (_registry, peers) = network(1, 3).await;
    let client = Client::open(&peers[0]).await;
    let mut happenings = client.events("/api/v1/events", None).await;
    happenings.until("status").await;
    let begun = client.post("/api/v1/searches", &json!({ "query": "report", "zones": "all" })).await;
    assert_eq!(begun.status, 201);
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(begun.header("location"), format!("/api/v1/searches/{id}"));
    let told = happenings.until("query").await;
    assert_eq!((&told.data["kind"], &told.data["text"]), (&json!("began"), &json!("report")));
    let path = format!("/api/v1/searches/{id}/events");
    let mut events = client.events(&path, None).await;
    let (mut names, mut ids, mut coverage) = (std::collections::BTreeSet::new(), Vec::new(), None);
    while let Some(event) = events.next().await {
        match event.name.as_str() {
            "hit" => drop(names.insert(event.data["name"].as_str().unwrap().to_owned())),
            name => {
                assert_eq!(name, "done");
                coverage = Some(event.data);
            }
        }
        ids.push(event.id);
    }
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        ["peer1 report.txt", "peer2 report.txt", "peer3 report.txt"]
    );
    let coverage = coverage.unwrap();
    assert_eq!((&coverage["answered"], &coverage["complete"]), (&json!(3), &json!(true)));
    let mut again = client.events(&path, Some(&ids[ids.len() - 2])).await;
    assert_eq!(again.next().await.unwrap().name, "done", "only what was missed");
    assert_eq!(again.next().await, None);

    let kept = client.get(&format!("/api/v1/searches/{id}?page_size=2")).await.good();
    assert_eq!((kept["items"].as_array().unwrap().len(), &kept["state"]), (2, &json!("done")));
    let token = kept["next_page_token"].as_str().unwrap();
    let rest = client.get(&format!("/api/v1/searches/{id}?page_token={token}")).await.good();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest["next_page_token"], Value::Null);
    assert_eq!(client.get("/api/v1/searches").await.good()["items"][0]["id"], id.as_str());
    assert_eq!(client.delete(&format!("/api/v1/searches/{id}")).await.status, 204);
    client.get(&path).await.problem(404, "not_found");

    let bad = [
        json!({}),
        json!({ "query": "" }),
        json!({ "query": "x", "wait": 1 }),
        json!({ "query": "x", "ttl": 99 }),
        json!([]),
    ];
    for body in bad {
        client.post("/api/v1/searches", &body).await.problem(400, "usage");
    }
    let unknown = client.post("/api/v1/searches", &json!({ "query": "x", "wait": 1 })).await;
    assert!(unknown.json()["detail"].as_str().unwrap().contains("`wait`"), "{unknown:?}");
    client.with("POST", "/api/v1/searches", &[], b"{}").await.problem(415, "usage");
    let huge = json!({ "query": "x".repeat(100_000) });
    client.post("/api/v1/searches", &huge).await.problem(413, "usage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_read_by_range_from_whoever_has_them() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let odd = "a#b 100% ?\u{e9}\"<x>.html";
    let files: [(&str, &[u8]); 3] =
        [("film.bin", &bytes), ("empty.txt", b""), (odd, b"<script>alert(1)</script>")];
    let ana = TestPeer::start(registry.address, "ana", &[]).await;
    let ben = TestPeer::start(registry.address, "ben", &files).await;
    ana.until_zone_has(2).await;
    soon("hashes", ben.peer.until_hashed()).await;
    let client = Client::open(&ana).await;
    let path = format!("/api/v1/files/{}", hash(&bytes));
    let whole = client.get(&path).await;
    assert_eq!((whole.status.as_u16(), whole.body == bytes), (200, true));
    let etag = whole.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", hash(&bytes)));
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert_eq!(whole.header("content-security-policy"), "default-src 'none'; sandbox");
    assert_eq!(whole.header("content-disposition"), "attachment; filename=\"film.bin\"");

    for (range, part, told) in [
        ("bytes=0-9", 0..10, "bytes 0-9/3000000"),
        ("bytes=1500000-1500999", 1_500_000..1_501_000, "bytes 1500000-1500999/3000000"),
        ("bytes=2999990-", 2_999_990..3_000_000, "bytes 2999990-2999999/3000000"),
        ("bytes=-10", 2_999_990..3_000_000, "bytes 2999990-2999999/3000000"),
        ("bytes=-9999999", 0..3_000_000, "bytes 0-2999999/3000000"),
    ] {
        for if_range in [None, Some(("if-range", etag.as_str()))] {
            let mut headers = vec![("range", range)];
            headers.extend(if_range);
            let answer = client.with("GET", &path, &headers, b"").await;
            assert_eq!((answer.status.as_u16(), answer.header("content-range")), (206, told), "{range}");
            assert!(answer.body[..] == bytes[part.clone()], "{range}");
        }
    }
    for range in ["bytes=3000000-", "bytes=9999999-99999999", "bytes=-0"] {
        let answer = client.with("GET", &path, &[("range", range)], b"").await;
        answer.problem(416, "usage");
        assert_eq!(answer.header("content-range"), "bytes */3000000");
    }
    for ignored in ["bytes=0-1,5-6", "lines=1-2", "bytes=5-1"] {
        let answer = client.with("GET", &path, &[("range", ignored)], b"").await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, bytes.len()), "{ignored}");
    }
    let other = [("range", "bytes=5-9"), ("if-range", "\"another\"")];
    assert_eq!(client.with("GET", &path, &other, b"").await.body, bytes);
    assert_eq!(client.with("GET", &path, &[("if-none-match", &etag)], b"").await.status, 304);
    let head = client.with("HEAD", &path, &[], b"").await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, "3000000", 0));
    let empty = client.get(&format!("/api/v1/files/{}", hash(b""))).await;
    assert_eq!((empty.status.as_u16(), empty.header("content-length")), (200, "0"));

    let place = "/api/v1/peers/ben/files/docs/a%23b%20100%25%20%3F%C3%A9%22%3Cx%3E.html";
    let by_place = client.get(place).await;
    assert_eq!(by_place.body, "<script>alert(1)</script>");
    assert_eq!(by_place.header("content-type"), "application/octet-stream");
    let disposition = by_place.header("content-disposition");
    assert!(disposition.ends_with("filename*=UTF-8''a%23b%20100%25%20_%C3%A9__x_.html"), "{disposition}");
    client.get(&format!("/api/v1/files/{}", hash(b"nobody"))).await.problem(404, "not_found");
    client.get("/api/v1/files/zz").await.problem(400, "usage");
    client.get("/api/v1/peers/ben/files/docs/..%2f..%2fetc/passwd").await.problem(404, "not_found");
    client.get("/api/v1/peers/nobody/files/docs/film.bin").await.problem(404, "not_found");

    let listed = client.get("/api/v1/peers/ben/folder?path=docs").await.good();
    assert_eq!(listed["files"].as_array().unwrap().len(), 3);
    client.get("/api/v1/peers/ben/folder?path=nowhere").await.problem(404, "not_found");
    let peers = client.get("/api/v1/peers?page_size=1").await.good();
    assert_eq!((&peers["is_stale"], peers["items"].as_array().unwrap().len()), (&json!(false), 1));
    let network = client.get("/api/v1/network").await.good();
    assert_eq!(network["zones"][0]["peers"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_shared_at_once_and_replaces_nothing() {
    let (_registry, peers) = network(1, 2).await;
    let (client, other) = (Client::open(&peers[0]).await, Client::open(&peers[1]).await);
    for (bytes, status, name) in [
        ("uploaded", 201, "a #1 %20.txt"),
        ("uploaded", 200, "a #1 %20.txt"),
        ("another", 201, "a #1 %20 (1).txt"),
        ("another", 200, "a #1 %20 (1).txt"),
        ("uploaded", 200, "a #1 %20.txt"),
    ] {
        let put = client.with("PUT", "/api/v1/files/a%20%231%20%2520.txt", &[], bytes.as_bytes()).await;
        assert_eq!((put.status.as_u16(), &put.json()["name"]), (status, &json!(name)));
        assert_eq!(put.json()["hash"], hash(bytes.as_bytes()));
        assert_eq!(put.json()["path"], format!("docs/{name}"));
        let path = put.header("location").to_owned();
        assert_eq!(client.get(&path).await.body, bytes);
    }
    let names = ["a #1 %20.txt", "a #1 %20 (1).txt", "a #1 %20 (2).txt"];
    assert_eq!(names.map(|name| peers[0].share().join(name).exists()), [true, true, false]);
    let chunks = ["one ", "two ", "three"].map(|chunk| Ok(Frame::data(Bytes::from(chunk))));
    let chunked = client
        .request("PUT", "/api/v1/files/chunked.txt")
        .body(StreamBody::new(stream::iter(chunks)).boxed())
        .unwrap();
    assert_eq!(client.send(chunked).await.good()["size_bytes"], 13);
    let found = soon("the upload to be found", async {
        loop {
            let begun = other.post("/api/v1/searches", &json!({ "query": "chunked" })).await.good();
            let path = format!("/api/v1/searches/{}", begun["id"].as_str().unwrap());
            let done = until(&other, &path, |search| search["state"] == "done").await;
            if !done["items"].as_array().unwrap().is_empty() {
                break done;
            }
        }
    });
    assert_eq!(found.await["items"][0]["hash"], hash(b"one two three"));
    for name in ["..", "..%2Fx", "a%2Fb", "%2e%2e%5Cx", "a%00", &"x".repeat(256)] {
        client.with("PUT", &format!("/api/v1/files/{name}"), &[], b"").await.problem(400, "usage");
    }
    let bidi = client.with("PUT", "/api/v1/files/what%3F%20%22%3Cx%3E%E2%80%AEexe.txt", &[], b"x").await;
    assert_eq!(bidi.good()["name"], "what_ __x__exe.txt");
    client.with("PUT", "/api/v1/files/.hidden", &[], b"x").await.problem(400, "usage");
    let spool = peers[0].settings.data.join("gateway/spool");
    assert_eq!(std::fs::read_dir(spool).unwrap().count(), 0, "nothing is left in the spool");
    let listed = client.get("/api/v1/shares").await.good();
    assert_eq!(listed["items"][0]["name"], "docs");
}

/// The head of an answer, and whether its connection ended behind it.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !read.ends_with(b"\r\n\r\n") {
            read.push(stream.read_u8().await.unwrap());
        }
    };
    soon("an answer", reading).await;
    String::from_utf8(read).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_waits_for_a_word_is_told_to_go_on_or_refused_without_its_bytes() {
    let (_registry, peers) = network(1, 1).await;
    let client = Client::open(&peers[0]).await;
    let ask = async |name: &str, token: &str, length: u64| {
        let mut stream = TcpStream::connect(client.address()).await.unwrap();
        let host = client.address();
        let head = format!(
            "PUT /api/v1/files/{name} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut stream = ask("waited.txt", &client.token, 5).await;
    assert_eq!(head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"bytes").await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 201 "));
    assert_eq!(std::fs::read(peers[0].share().join("waited.txt")).unwrap(), b"bytes");
    for (name, token, length, status) in [
        ("waited.txt", "none", 5, 401),
        ("waited.txt", &client.token, 9_000_000_000_000_000_000, 507),
        (".hidden", &client.token, 5, 400),
    ] {
        let mut stream = ask(name, token, length).await;
        let told = head(&mut stream).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
    }
}

/// curl asks for the word to go on above 1 MiB, and takes the name of the file for that of the address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_shares_a_file_and_once_only() {
    let (_registry, peers) = network(1, 1).await;
    let client = Client::open(&peers[0]).await;
    let file = peers[0].folder.path().join("a film.bin");
    let bytes = vec![7; 3 << 20];
    std::fs::write(&file, &bytes).unwrap();
    let upload = async |token: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "-w", "%{http_code}", "-o", "/dev/null"])
            .args(["-H", &format!("Authorization: Bearer {token}"), "-T"])
            .arg(&file)
            .arg(format!("http://{}/api/v1/files/", client.address()));
        match tokio::task::spawn_blocking(move || curl.output()).await.unwrap() {
            Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("{error}"),
        }
    };
    let Some(first) = upload(&client.token).await else {
        eprintln!("not run: there is no curl");
        return;
    };
    assert_eq!(first, "201");
    assert_eq!(upload(&client.token).await.unwrap(), "200");
    assert_eq!(upload("none").await.unwrap(), "401");
    assert!(std::fs::read(peers[0].share().join("a film.bin")).unwrap() == bytes);
    assert!(!peers[0].share().join("a film (1).bin").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_tell_what_they_are_for_and_what_is_kept_for_the_network_stays_offered() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 1 }).await;
    let peer = TestPeer::start_changed(registry.address, "ana", &[], |settings| {
        settings.replica_space = 1 << 20;
        settings.shares.push(settings.inbox.clone());
    })
    .await;
    let client = Client::open(&peer).await;
    let listed = client.get("/api/v1/shares").await.good();
    let told: Vec<_> = listed["items"].as_array().unwrap().iter().collect();
    let told: Vec<_> =
        told.iter().map(|share| [&share["name"], &share["kind"], &share["is_removable"]]).collect();
    let expected = json!([
        ["docs", "folder", true],
        ["inbox", "inbox", true],
        ["downloads", "downloads", true],
        ["replicas", "replicas", false]
    ]);
    assert_eq!(json!(told), expected);
    client.delete("/api/v1/shares/replicas").await.problem(409, "refused");
    for share in ["inbox", "downloads"] {
        assert_eq!(client.delete(&format!("/api/v1/shares/{share}")).await.status, 204);
    }
    let downloads = peer.folder.path().join("downloads");
    let again = client.post("/api/v1/shares", &json!({ "folder": downloads })).await;
    assert_eq!((again.status.as_u16(), &again.json()["kind"]), (201, &json!("downloads")));
    assert_eq!(client.get("/api/v1/shares").await.good()["items"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_are_begun_told_of_and_steered() {
    let (_registry, peers) = network(1, 2).await;
    let client = Client::open(&peers[0]).await;
    let mut events = client.events("/api/v1/events", None).await;
    events.until("status").await;
    soon("hashes", peers[1].peer.until_hashed()).await;
    let ask = json!({ "hash": hash(b"the report of peer2\n"), "priority": "high" });
    let begun = client.post("/api/v1/downloads", &ask).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let id = begun.json()["id"].clone();
    loop {
        let told = events.until("transfer").await;
        if told.data["id"] == id && told.data["state"] == "done" {
            break;
        }
    }
    let listed = client.get("/api/v1/transfers?direction=download&state=done").await.good();
    assert_eq!(listed["items"][0]["sources"], json!(["peer2"]));
    client.post("/api/v1/downloads", &ask).await.problem(409, "refused");
    client.post("/api/v1/downloads", &json!({})).await.problem(400, "usage");
    client.post("/api/v1/downloads", &json!({ "hash": hash(b"none") })).await.problem(404, "not_found");
    assert_eq!(client.post("/api/v1/transfers/pause", &json!({})).await.good(), json!({ "changed": 0 }));
    let unknown = client.post("/api/v1/transfers/4711/pause", &json!({})).await;
    unknown.problem(404, "not_found");
    assert_eq!(unknown.json()["hint_code"], "list_transfers");
    client.post("/api/v1/transfers/1/explode", &json!({})).await.problem(400, "usage");
    client.get("/api/v1/transfers?state=odd").await.problem(400, "usage");

    let sent = client.with("POST", "/api/v1/sends?to=peer2&name=gift%20%231.txt", &[], b"a gift").await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let id = sent.json()["items"][0]["id"].clone();
    until(&client, "/api/v1/transfers", |transfers| state_of(transfers, &id).as_deref() == Some("done"))
        .await;
    assert_eq!(std::fs::read(peers[1].folder.path().join("inbox/gift #1.txt")).unwrap(), b"a gift");
    client.with("POST", "/api/v1/sends?to=nobody&name=x", &[], b"x").await.problem(404, "not_found");
    client.with("POST", "/api/v1/sends?to=zone:99&name=x", &[], b"x").await.problem(404, "not_found");
    client.with("POST", "/api/v1/sends?name=x", &[], b"x").await.problem(400, "usage");
    let spool = peers[0].settings.data.join("gateway/spool");
    let emptied = async {
        while std::fs::read_dir(&spool).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the spool to be empty", emptied).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_told_of_is_told_to_be_gone() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let files = [("large.bin", vec![7; 3 << 20])];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let slowly = |settings: &mut PeerSettings| settings.upload_limits.whole = 1 << 20;
    let ana = TestPeer::start(registry.address, "ana", &[]).await;
    let ben = TestPeer::start_changed(registry.address, "ben", &files, slowly).await;
    ana.until_zone_has(2).await;
    let (reader, holder) = (Client::open(&ana).await, Client::open(&ben).await);
    let mut events = holder.events("/api/v1/events", None).await;
    events.until("status").await;
    let ask = json!({ "peer": "ben", "path": "docs/large.bin" });
    assert_eq!(reader.post("/api/v1/downloads", &ask).await.status, 202);
    let id = loop {
        let told = events.until("transfer").await;
        if told.data["direction"] == "upload" {
            break told.data["id"].clone();
        }
    };
    while events.until("transfer_gone").await.data != json!({ "id": id }) {}
    // A reader that cannot set a header goes on by a parameter.
    let mut first = holder.events("/api/v1/events", None).await;
    holder.post("/api/v1/shares", &json!({ "folder": ana.folder.path() })).await;
    let last = first.until("shares").await.id;
    let mut again = holder.events(&format!("/api/v1/events?last_event_id={last}"), None).await;
    holder.delete("/api/v1/shares/docs").await;
    assert_ne!(again.next().await.unwrap().name, "reset");
    let mut unknown = holder.events("/api/v1/events?last_event_id=0-7", None).await;
    assert_eq!(unknown.next().await.unwrap().name, "reset");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_does_nothing_twice() {
    let (_registry, peers) = network(1, 2).await;
    let client = Client::open(&peers[0]).await;
    let key = [("idempotency-key", "send-1")];
    let path = "/api/v1/sends?to=peer2&name=once.txt";
    let first = client.with("POST", path, &key, b"once").await;
    let again = client.with("POST", path, &key, b"once").await;
    assert_eq!((first.status.as_u16(), &first.body), (202, &again.body));
    client.with("POST", path, &key, b"other").await.problem(422, "usage");
    let body = json!({ "query": "report" }).to_string();
    let begin = async || {
        let headers = [("idempotency-key", "search-1"), ("content-type", "application/json")];
        client.with("POST", "/api/v1/searches", &headers, body.as_bytes()).await.good()["id"].clone()
    };
    assert_eq!(begin().await, begin().await);
    let id = first.json()["items"][0]["id"].clone();
    until(&client, "/api/v1/transfers", |transfers| state_of(transfers, &id).as_deref() == Some("done"))
        .await;
    let inbox = peers[1].folder.path().join("inbox");
    assert_eq!(std::fs::read_dir(inbox).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_shares_saved_searches_and_messages_are_answered() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let ana = TestPeer::start_changed(registry.address, "ana", &[("note.txt", b"x")], |settings| {
        settings.accept = AcceptPolicy::Ask;
        settings.replica_space = 1 << 20;
    })
    .await;
    let ben =
        TestPeer::start_changed(registry.address, "ben", &[], |settings| settings.replica_space = 1 << 20)
            .await;
    ana.until_zone_has(2).await;
    ben.until_zone_has(2).await;
    let (client, other) = (Client::open(&ana).await, Client::open(&ben).await);
    let mut events = client.events("/api/v1/events", None).await;
    let sent = other.with("POST", "/api/v1/sends?to=ana&name=offer.txt", &[], b"offered").await;
    let id = sent.good()["items"][0]["id"].clone();
    let offer = loop {
        let told = events.until("inbox").await;
        if let Some(offer) = told.data["items"].get(0) {
            break offer.clone();
        }
    };
    assert_eq!((&offer["sender"], &offer["name"]), (&json!("ben"), &json!("offer.txt")));
    for (asked, direction, code) in
        [(&client, "receive", "waits_for_answer_here"), (&other, "send", "waits_for_receiver")]
    {
        let path = format!("/api/v1/transfers?direction={direction}");
        let told = until(asked, &path, |told| !told["items"][0]["note_code"].is_null()).await;
        assert_eq!(told["items"][0]["note_code"], code, "{told}");
    }
    let path = format!("/api/v1/inbox/{}", offer["id"]);
    let declined = client.post(&format!("{path}/decline"), &json!({ "reason": "no room" })).await;
    assert_eq!(declined.status, 204, "{declined:?}");
    until(&other, "/api/v1/transfers", |transfers| state_of(transfers, &id).as_deref() == Some("failed"))
        .await;
    client.with("POST", &format!("{path}/accept"), &[], b"").await.problem(404, "not_found");

    let folder = ana.folder.path().join("more");
    std::fs::create_dir(&folder).unwrap();
    let added = client.post("/api/v1/shares", &json!({ "folder": folder })).await;
    assert_eq!((added.status.as_u16(), &added.json()["name"]), (201, &json!("more")));
    client.post("/api/v1/shares", &json!({ "folder": folder })).await.problem(409, "refused");
    client.post("/api/v1/shares", &json!({ "folder": "relative" })).await.problem(400, "usage");
    assert!(client.post("/api/v1/shares/rescan", &json!({})).await.good()["files"].is_u64());
    assert_eq!(client.delete("/api/v1/shares/more").await.status, 204);
    client.delete("/api/v1/shares/more").await.problem(404, "not_found");

    let saved = client.post("/api/v1/saved-searches", &json!({ "name": "notes", "query": "note" })).await;
    assert_eq!((saved.status.as_u16(), &saved.json()["zones"]), (201, &json!("mine")));
    assert_eq!(client.get("/api/v1/saved-searches").await.good()["items"][0]["query"], "note");
    assert_eq!(client.delete("/api/v1/saved-searches/notes").await.status, 204);

    let left = client.post("/api/v1/messages", &json!({ "name": "hello.txt", "text": "hello all" })).await;
    assert_eq!(left.status, 202, "{left:?}");
    let id = left.json()["id"].clone();
    until(&client, "/api/v1/transfers", |transfers| state_of(transfers, &id).as_deref() == Some("done"))
        .await;
    let listed = client.get("/api/v1/puts").await.good();
    let [row] = &listed["items"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&row["name"], &row["hash"]), (&json!("hello.txt"), &json!(hash(b"hello all"))));
    assert_eq!((&row["size_bytes"], &row["replicas"], &row["kept"]), (&json!(9), &json!(2), &json!(2)));
    assert_eq!(row["keepers"], json!(["ana", "ben"]));
    assert!(row["put_time"].as_str().unwrap().ends_with('Z'), "{row}");
    assert_eq!(other.get("/api/v1/puts").await.good()["items"], json!([]), "of its own puts alone");
    client.get("/api/v1/puts?page_token=x").await.problem(400, "usage");
    let back = client.delete("/api/v1/puts/hello.txt").await;
    assert_eq!(back.good()["hash"], hash(b"hello all"));
    client.delete("/api/v1/puts/hello.txt").await.problem(409, "refused");
    for name in ["kept.bin", "again.bin", "third.bin"] {
        let path = format!("/api/v1/puts?name={name}&replicas=1");
        let put = client.with("POST", &path, &[], name.as_bytes()).await;
        assert_eq!(put.status, 202, "{put:?}");
        let id = put.json()["id"].clone();
        until(&client, "/api/v1/transfers", |transfers| state_of(transfers, &id).as_deref() == Some("done"))
            .await;
    }
    let first = client.get("/api/v1/puts?page_size=2").await.good();
    let token = first["next_page_token"].as_str().unwrap();
    let second = client.get(&format!("/api/v1/puts?page_size=2&page_token={token}")).await.good();
    let rows = first["items"].as_array().unwrap().iter().chain(second["items"].as_array().unwrap());
    let names: Vec<_> = rows.map(|row| (row["name"].as_str().unwrap(), &row["kept"])).collect();
    assert_eq!(names, [("again.bin", &json!(1)), ("kept.bin", &json!(1)), ("third.bin", &json!(1))]);
    assert_eq!(second["next_page_token"], Value::Null);

    assert_eq!(client.post("/api/v1/connection", &json!({ "connected": false })).await.status, 204);
    assert_eq!(client.get("/api/v1/status").await.good()["connection"], "disconnected");
    assert_eq!(client.post("/api/v1/connection", &json!({ "connected": true })).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_where_a_reader_was_and_end_with_the_peer() {
    let (_registry, mut peers) = network(1, 1).await;
    let client = Client::open(&peers[0]).await;
    let mut events = client.events("/api/v1/events", None).await;
    let first = events.until("status").await;
    let second = events.next().await.unwrap();
    drop(events);
    let mut again = client.events("/api/v1/events", Some(&first.id)).await;
    assert_eq!(again.next().await.unwrap(), second);
    let mut lost = client.events("/api/v1/events", Some("0badcafe-7")).await;
    assert_eq!(lost.next().await.unwrap().name, "reset", "of an earlier run");
    let address_file = peers[0].settings.data.join("gateway/address");
    assert_eq!(std::fs::read_to_string(&address_file).unwrap(), format!("{}\n", client.address()));
    let ending = tokio::spawn(async move { while again.next().await.is_some() {} });
    peers.remove(0).kill().await;
    soon("the stream to end", ending).await.unwrap();
    assert!(!address_file.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded_and_free_again_when_readers_go() {
    let (_registry, peers) = network(1, 1).await;
    let client = Client::open(&peers[0]).await;
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(client.events("/api/v1/events", None).await);
    }
    let refused = client.get("/api/v1/events").await;
    refused.problem(503, "refused");
    assert_eq!(refused.header("retry-after"), "1");
    held.clear();
    soon("a free place", async {
        while client
            .stream(client.request("GET", "/api/v1/events").body(http_client::full("")).unwrap())
            .await
            .status()
            != 200
        {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_is_served_on_the_same_port_to_the_owner_only() {
    use floodplain::wire::pb::{self, control_service_client::ControlServiceClient};
    let (_registry, peers) = network(1, 1).await;
    let client = Client::open(&peers[0]).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", client.address())).unwrap();
    let mut calls = ControlServiceClient::new(endpoint.connect().await.unwrap());
    let refused = calls.get_status(pb::GetStatusRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let mut request = tonic::Request::new(pb::GetStatusRequest {});
    request.metadata_mut().insert("authorization", format!("Bearer {}", client.token).parse().unwrap());
    let status = calls.get_status(request).await.unwrap().into_inner();
    assert_eq!(status.self_.unwrap().name, "peer1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_named_unless_nobody_chose_it() {
    use floodplain::{config::HttpSettings, web};
    let (_registry, peers) = network(1, 1).await;
    let client = Client::open(&peers[0]).await;
    let open = async |is_default| {
        let settings = HttpSettings { listen: Some(client.address()), is_default, hosts: Vec::new() };
        let folder = peers[0].folder.path().join("second");
        let (peer, operator) = (&peers[0], axum::Router::new());
        web::open_peer(&settings, folder, peer.handle.clone(), None, operator, &peer.shutdown).await
    };
    let refused = open(false).await.unwrap_err().to_string();
    assert!(refused.contains(&client.address().to_string()), "{refused}");
    let second = open(true).await.unwrap().unwrap();
    assert_eq!(second.instead_of(), Some(client.address()));
    assert_ne!(second.address(), client.address());
    let off = HttpSettings::default();
    let folder = peers[0].folder.path().join("third");
    let (peer, operator) = (&peers[0], axum::Router::new());
    let none =
        web::open_peer(&off, folder, peer.handle.clone(), None, operator, &peer.shutdown).await.unwrap();
    assert!(none.is_none());
}
