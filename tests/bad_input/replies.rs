//! Replies of a hostile peer to an honest one: what the honest one shows is checked and escaped, what it takes is bounded, and
//! each of its commands ends with what the others have.

use std::{fs, time::Instant};

use floodplain::{
    protocol::id::{Credential, PeerId},
    wire::pb::{self, search_response::Message},
};
use futures::{StreamExt, stream};
use prost_types::Timestamp;
use tonic::{Request, Response, Status};

use super::{
    Network,
    processes::{PATIENCE, run},
    stand_in::{self, Answer, Answers, Replies, StandIn},
    status_kib,
};

/// Steers a terminal: clears it, sets its clipboard, in 8-bit form; turns text round; begins a line of its own.
const STEERING: &str = "\u{1b}[2J\u{1b}]52;c;eA==\u{7}\u{9b}31m\u{202e}txt.\u{2066}\r\nowned";
/// One honest peer may take so much more while it is lied to.
const MOST_ADDED_KIB: u64 = 64 << 10;

/// Each is a word that the honest peer has a file of as well.
const LIES: [&str; 12] = [
    "steering", "endless", "enormous", "sizes", "empties", "crowd", "shortid", "escaping", "counts",
    "garbled", "early", "nothing",
];

struct Mallory(PeerId);

fn file(path: &str) -> pb::FileEntry {
    let content_hash = blake3::hash(path.as_bytes()).as_bytes().to_vec().into();
    pb::FileEntry { content_hash, path: path.into(), size_bytes: 5, modify_time: Some(Timestamp::default()) }
}

impl Mallory {
    fn hits(&self, files: Vec<pb::FileEntry>) -> pb::SearchResponse {
        let peer_id = self.0.as_bytes().to_vec().into();
        let hits = pb::Hits {
            peer_id,
            peer_name: "mallory".into(),
            zone_id: 1,
            hops: 1,
            files,
            ..Default::default()
        };
        pb::SearchResponse { message: Some(Message::Hits(hits)) }
    }

    fn lie(&self, word: &str) -> Vec<Result<pb::SearchResponse, Status>> {
        let file = |name: String| file(&format!("docs/{word} {name}"));
        let odd = |change: &dyn Fn(&mut pb::Hits)| {
            let mut hits = self.hits(vec![file("x".into())]);
            if let Some(Message::Hits(hits)) = &mut hits.message {
                change(hits);
            }
            hits
        };
        let done = pb::SearchDone { answered: vec![self.0.short()], ..Default::default() };
        let mut all = match word {
            "steering" => vec![self.hits(vec![file(STEERING.into())])],
            "enormous" => vec![self.hits(vec![file("x".repeat(4000)); 900])],
            "sizes" => {
                let times = [i64::MIN, -1, 0, 1 << 40, i64::MAX].into_iter().zip([
                    i32::MIN,
                    -1,
                    0,
                    999_999_999,
                    i32::MAX,
                ]);
                let of = |(seconds, nanos)| {
                    let modify_time = Some(Timestamp { seconds, nanos });
                    self.hits(vec![pb::FileEntry {
                        size_bytes: u64::MAX,
                        modify_time,
                        ..file(seconds.to_string())
                    }])
                };
                // One that cannot be read ends the branch.
                times.rev().map(of).collect()
            }
            "empties" => vec![self.hits(vec![pb::FileEntry::default(); 200_000])],
            "crowd" => vec![self.hits((0..300).map(|at| file(at.to_string())).collect())],
            "shortid" => vec![odd(&|hits| hits.peer_id = vec![1; 5].into())],
            "escaping" => ["../../../etc/passwd", "/etc/passwd", "docs/../x", "docs//x", "docs/\0", ""]
                .map(|path| odd(&|hits| hits.files[0].path = path.into()))
                .to_vec(),
            "counts" => {
                let zone = pb::ZoneReport {
                    zone_id: 1,
                    listed: 1,
                    answered: u32::MAX,
                    ruled_out: u32::MAX,
                    unreachable: u32::MAX,
                };
                let done = pb::SearchDone {
                    answered: (0..5000).collect(),
                    duplicates: u32::MAX,
                    messages: u32::MAX,
                    zones: vec![zone; 4096],
                    ..Default::default()
                };
                vec![pb::SearchResponse { message: Some(Message::Done(done)) }]
            }
            "garbled" => vec![pb::SearchResponse { message: None }],
            "early" => return vec![Err(Status::aborted(STEERING))],
            _ => return vec![],
        };
        all.push(pb::SearchResponse { message: Some(Message::Done(done)) });
        all.into_iter().map(Ok).collect()
    }
}

#[tonic::async_trait]
impl Answers for Mallory {
    async fn search(&self, request: Request<pb::SearchRequest>) -> Answer<Replies<pb::SearchResponse>> {
        let text = request.into_inner().text;
        if text == "endless" {
            let me = Self(self.0);
            let endless =
                (0_u64..).map(move |at| Ok(me.hits(vec![file(&format!("docs/endless {at}")); 100])));
            return Ok(Response::new(stream::iter(endless).boxed()));
        }
        Ok(Response::new(stream::iter(self.lie(&text)).boxed()))
    }

    async fn browse(&self, request: Request<pb::BrowseRequest>) -> Answer<pb::BrowseResponse> {
        let files = vec![file(&format!("docs/{STEERING}"))];
        Ok(Response::new(match request.into_inner().path.as_str() {
            "" => pb::BrowseResponse { folders: vec![STEERING.into()], ..Default::default() },
            "docs" => pb::BrowseResponse { files, ..Default::default() },
            "empties" => pb::BrowseResponse { folders: vec![String::new(); 200_000], ..Default::default() },
            // A next page without end.
            _ => pb::BrowseResponse { files, next_page_token: "again".into(), ..Default::default() },
        }))
    }

    async fn list_files(&self, _: Request<pb::ListFilesRequest>) -> Answer<pb::ListFilesResponse> {
        let files = ["docs/tree/a", "docs/tree/../../../../pwned"].map(file).to_vec();
        Ok(Response::new(pb::ListFilesResponse { files, ..Default::default() }))
    }

    async fn download(&self, request: Request<pb::DownloadRequest>) -> Answer<Replies<pb::DownloadResponse>> {
        let request = request.into_inner();
        let Some(pb::download_request::File::Path(path)) = request.file else {
            return Err(Status::not_found(STEERING));
        };
        let head = |size_bytes| pb::DownloadResponse {
            file: Some(pb::FileEntry { size_bytes, ..file(&path) }),
            ..Default::default()
        };
        let data = |offset, data: &'static [u8]| pb::DownloadResponse {
            offset,
            data: data.into(),
            ..Default::default()
        };
        Ok(Response::new(match path.as_str() {
            "docs/other bytes" => stream::iter([head(5), data(0, b"other")]).map(Ok).boxed(),
            "docs/too much" => {
                let chunks = (0..).map(move |at| data(at * 1024, &[7; 1024]));
                stream::iter([head(5)].into_iter().chain(chunks)).map(Ok).boxed()
            }
            "docs/no room" => stream::iter([head(u64::MAX), data(0, b"x")]).map(Ok).boxed(),
            "docs/elsewhere" => stream::iter([head(5), data(1 << 60, b"01234")]).map(Ok).boxed(),
            "docs/no head" => stream::iter([data(0, b"01234")]).map(Ok).boxed(),
            "docs/large tree" => {
                let tree = vec![0; 500 << 10].into();
                stream::iter([pb::DownloadResponse { tree, ..head(5) }]).map(Ok).boxed()
            }
            _ => return Err(Status::not_found(STEERING)),
        }))
    }
}

fn is_calm(text: &str) -> bool {
    !text.chars().any(|c| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_peers_replies_are_checked_escaped_and_bounded() {
    let network = Network::start().await;
    let home = network.folder.path().join("ana");
    for word in LIES {
        fs::write(home.join("share").join(format!("{word} of ana.txt")), word).unwrap();
    }
    let credential = Credential::random(&mut rand::rng());
    let address = StandIn::serve(Mallory(credential.peer_id())).await;
    stand_in::register(network.registry(), &credential, "mallory", address).await;
    let at = home.clone();
    // Commands are waited for on a thread that may wait; mallory answers on the others.
    let asked = tokio::task::spawn_blocking(move || {
        let run = |line: &str| {
            let began = Instant::now();
            let (code, printed) = run(&at, line);
            assert!(began.elapsed() < PATIENCE && is_calm(&printed), "{line}: {printed:.2000}");
            (code, printed)
        };
        let began = Instant::now();
        while !(run("peers").1.contains("mallory") && run("search nothing").1.contains("nothing of ana")) {
            assert!(began.elapsed() < PATIENCE, "the network is not complete");
        }
        for word in LIES {
            for line in [format!("search {word} --wait 5s"), format!("--json search {word} --wait 5s")] {
                let (code, printed) = run(&line);
                assert!(
                    code == 0 && printed.contains(&format!("{word} of ana")),
                    "{line}: {code} {printed:.2000}"
                );
                assert!(!printed.contains("etc/passwd"), "{printed}");
            }
        }
        for line in [
            "browse mallory",
            "browse mallory:docs",
            "--json browse mallory:docs",
            "browse mallory:empties",
            "browse mallory:again",
        ] {
            run(line);
        }
        for name in
            ["other bytes", "too much", "no room", "elsewhere", "no head", "large tree", "nothing", "tree"]
        {
            let output = super::processes::ask(&at, &["get", &format!("mallory:docs/{name}"), "-o", "got"]);
            assert!(output.status.code().is_some_and(|code| code != 0), "{name}: {output:?}");
            assert!(is_calm(&String::from_utf8_lossy(&output.stderr)), "{name}: {output:?}");
            assert!(!at.join("got").exists(), "{name}");
        }
    });
    let before = status_kib(network.peer.pid(), "VmRSS");
    asked.await.unwrap();
    let most = status_kib(network.peer.pid(), "VmHWM");
    assert!(most < before + MOST_ADDED_KIB, "from {before} to {most} KiB");
    network.is_unharmed().await;
}
