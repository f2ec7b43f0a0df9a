//! A peer in memory for the faces' tests: fixed answers, every call recorded, and some names that misbehave on purpose.
//!
//! Searches: `slow` gives one hit and never ends, `missing` finds nothing, `bugdet` neither but has a suggestion, `broken` fails
//! after one hit, `worse first` finds the better one last.
//! Downloads: hit 1 is done, hit 2 stays at half, hit 3 fails, hit 4 waits in the queue and then runs, hit 5 goes on by a byte ten times a second, hit 6 as well under a name that is long and misbehaves; everything else is not found.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use floodplain::{
    peer::{
        Actions,
        handle::{Events, Outcome},
    },
    protocol::{
        action::{
            AcceptPolicy, ActionError, Activity, ActivityKind, Answer, Connection, Counters, Coverage,
            Direction, ErrorKind, FileInfo, FolderPage, GetAsk, Hit, Holder, InboxInfo, IndexState, Listing,
            NewHit, Offer, PageAsk, PeerInfo, PeerPath, Priority, PutAsk, PutInfo, PutPage, ReadAsk,
            ReadEvent, SaveAsk, SavedSearch, Scope, SearchAsk, SearchEvent, SendAsk, ShareFileAsk, ShareInfo,
            ShareKind, SharedFile, Status, Target, Transfer, TransferControl, TransferState, Unput, Which,
            ZoneCoverage, ZoneInfo,
        },
        id::{ContentHash, PeerId, ZoneId},
        query::Fit,
    },
};
use futures::{StreamExt, stream};
use tokio::sync::Notify;

/// The peer in memory.
#[derive(Debug)]
pub(crate) struct Double {
    calls: Mutex<Vec<String>>,
    offers: Mutex<Vec<Offer>>,
    transfers: Mutex<Vec<Transfer>>,
    news: Mutex<Vec<NewHit>>,
    connection: Mutex<Connection>,
    cancelled: Arc<Notify>,
    /// How often `status` is still answered.
    statuses: AtomicU32,
    /// Many peers are there.
    is_crowded: AtomicBool,
}

/// Tells when the stream that holds it is dropped.
struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Double {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            offers: Mutex::default(),
            transfers: Mutex::new(vec![
                transfer(1, TransferState::Done),
                transfer(2, TransferState::Running),
            ]),
            news: Mutex::default(),
            connection: Mutex::new(Connection::Connected),
            cancelled: Arc::default(),
            statuses: AtomicU32::new(u32::MAX),
            is_crowded: AtomicBool::new(false),
        })
    }

    /// Everything asked so far, as `action(arguments)`, except what a console asks by itself: `status`, `inbox` and new hits.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    /// Puts an offer into the inbox.
    pub(crate) fn offer(&self, offer: Offer) {
        self.offers.lock().unwrap().push(offer);
    }

    /// A saved search has found something, which is told once.
    pub(crate) fn finds(&self, hit: NewHit) {
        self.news.lock().unwrap().push(hit);
    }

    /// Nothing runs any more.
    pub(crate) fn end_transfers(&self) {
        self.transfers.lock().unwrap().truncate(1);
    }

    /// From now on 200 peers are told of, `peer-000` to `peer-199`.
    pub(crate) fn is_crowded(&self) {
        self.is_crowded.store(true, Relaxed);
    }

    /// The first status is answered; the next one is a fault of this program.
    pub(crate) fn panic_at_the_second_status(&self) {
        self.statuses.store(1, Relaxed);
    }

    /// Completes once for every unending stream that was dropped.
    pub(crate) async fn cancelled(&self) {
        tokio::time::timeout(Duration::from_secs(60), self.cancelled.notified())
            .await
            .expect("cancelled in 10 s");
    }

    fn record(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn unending<T: Send + 'static>(&self, events: Vec<T>) -> Events<T> {
        let guard = OnDrop(Arc::clone(&self.cancelled));
        let events = stream::iter(events.into_iter().map(Ok)).chain(stream::pending());
        events.inspect(move |_| _ = &guard).boxed()
    }
}

pub(crate) fn peer_id(byte: u8) -> PeerId {
    PeerId::from_bytes([byte; 32])
}

pub(crate) fn file(path: &str, byte: u8) -> FileInfo {
    FileInfo {
        hash: Some(ContentHash::from_bytes([byte; 32])),
        path: path.into(),
        size_bytes: 1_536 * u64::from(byte),
        modified: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
    }
}

/// A file of that number whose name tries to clear the terminal when it is 2.
pub(crate) fn hit(number: u32) -> Hit {
    let path = if number == 2 { "docs/b\u{1b}[2J.pdf" } else { "docs/report.pdf" };
    let holder = |name: &str, byte: u8| Holder {
        peer: name.parse().unwrap(),
        peer_id: peer_id(byte),
        zone: ZoneId::new(1),
        hops: byte,
        queue_place: 0,
        path: path.into(),
    };
    let holders = if number == 1 { vec![holder("ana", 1), holder("ben", 2)] } else { vec![holder("ana", 1)] };
    let file = file(path, number.try_into().unwrap());
    Hit { number, file, fit: Fit::Name, have: number == 2, holders }
}

pub(crate) fn saved_search() -> SavedSearch {
    SavedSearch {
        name: "reports".into(),
        text: "report newer:7d".into(),
        scope: Scope::Mine,
        known_hits: 7,
        new_hits: 1,
        dropped_hits: 0,
        last_run: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        problem: None,
    }
}

/// Its name tries to clear the terminal when its number is 2.
pub(crate) fn new_hit(number: u32) -> NewHit {
    NewHit {
        search: "reports".into(),
        file: hit(number).file,
        peers: vec!["ana".into(), "ben".into()],
        found: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    }
}

pub(crate) fn coverage() -> Coverage {
    let home = ZoneCoverage { zone: ZoneId::new(1), answered: 6, asked: 6, ..ZoneCoverage::default() };
    Coverage { duplicates: 3, messages: 5, ..Coverage::default() }.over(vec![home])
}

pub(crate) fn transfer(id: u64, state: TransferState) -> Transfer {
    let is_done = state == TransferState::Done;
    Transfer {
        id,
        direction: Direction::Download,
        name: "report.pdf".into(),
        path: is_done.then(|| PathBuf::from("/srv/share/report.pdf")),
        hash: Some(ContentHash::from_bytes([1; 32])),
        size_bytes: 2048,
        done_bytes: if is_done { 2048 } else { 1024 },
        sources: vec!["ana".into(), "ben".into()],
        priority: Priority::Normal,
        bytes_per_second: 0,
        queue_position: None,
        note: String::new(),
        note_code: None,
        state,
    }
}

pub(crate) fn mismatch() -> ActionError {
    ActionError::new(ErrorKind::Mismatch, "ben sent bytes that are not of this file")
        .hint("try another holder")
}

pub(crate) fn no_peer(name: &str) -> ActionError {
    ActionError::new(ErrorKind::NotFound, format!("no peer is named {name}")).hint("see `peers`")
}

pub(crate) fn offer(id: u64) -> Offer {
    Offer {
        id,
        sender: "ben".parse().unwrap(),
        sender_id: peer_id(2),
        is_confirmed: true,
        name: format!("photo{id}.jpg"),
        size_bytes: 4096,
        files: None,
    }
}

pub(crate) fn peer_info(name: &str, byte: u8) -> PeerInfo {
    PeerInfo {
        name: name.parse().unwrap(),
        id: peer_id(byte),
        zone: ZoneId::new(byte.into()),
        address: format!("127.0.0.1:700{byte}").parse().unwrap(),
        shared_files: 10 * u64::from(byte),
    }
}

pub(crate) fn share() -> ShareInfo {
    ShareInfo {
        name: "docs".into(),
        kind: ShareKind::Folder,
        folder: "/srv/docs".into(),
        files: 2,
        bytes: 4608,
        problem: None,
    }
}

pub(crate) fn index_state() -> IndexState {
    IndexState { files: 2, bytes: 4608, hashed_files: 1, is_scanning: true }
}

pub(crate) fn status(connection: Connection) -> Status {
    Status {
        me: peer_info("me", 3),
        connection,
        registry: "127.0.0.1:7000".into(),
        zone_peers: 6,
        roster_revision: 41,
        neighbors: vec!["ana".into(), "ben".into()],
        index: index_state(),
        counters: Counters {
            searches: 7,
            queries_answered: 8,
            duplicates_dropped: 9,
            queries_refused: 1,
            bytes_up: 3 * 1024 * 1024,
            bytes_down: 512,
        },
        uptime: Duration::new(3661, 5),
        version: "0.1.0".into(),
    }
}

/// A query of a neighbor that went on and found something, then an own one whose text tries to clear the terminal.
pub(crate) fn activities() -> Vec<Activity> {
    let began = Activity {
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        query: [7; 8],
        kind: ActivityKind::Began,
        text: "annual report".into(),
        from: Some(peer_id(1)),
        zone: ZoneId::new(1),
        hops: 1,
        hits: 0,
        asked: vec![peer_id(2)],
        missed: 0,
    };
    let answered = Activity { kind: ActivityKind::Answered, hits: 3, ..began.clone() };
    let text = "own\u{1b}[2J".into();
    let own = Activity { query: [8; 8], text, from: None, hops: 0, missed: 4, ..began.clone() };
    vec![began, answered, own]
}

#[tonic::async_trait]
impl Actions for Double {
    async fn search(&self, ask: SearchAsk) -> Outcome<Events<SearchEvent>> {
        self.record(format!("search({ask:?})"));
        let events = match ask.text.as_str() {
            "slow" => return Ok(self.unending(vec![SearchEvent::Hit(hit(1))])),
            "missing" => vec![Ok(SearchEvent::Done(coverage()))],
            "bugdet" => {
                let suggestions = vec!["budget".into(), "b\u{1b}[2J".into()];
                vec![Ok(SearchEvent::Done(Coverage { suggestions, ..coverage() }))]
            }
            "worse first" => vec![
                Ok(SearchEvent::Hit(Hit { number: 1, fit: Fit::InName, ..hit(2) })),
                Ok(SearchEvent::Hit(Hit { number: 2, holders: hit(2).holders, ..hit(1) })),
                Ok(SearchEvent::Hit(Hit { number: 2, ..hit(1) })),
                Ok(SearchEvent::Done(coverage())),
            ],
            "broken" => vec![Ok(SearchEvent::Hit(hit(1))), Err(no_peer("ana"))],
            "refused" => return Err(ActionError::new(ErrorKind::Usage, "the query has an open quote")),
            _ => vec![
                Ok(SearchEvent::Hit(hit(1))),
                Ok(SearchEvent::Hit(hit(2))),
                Ok(SearchEvent::Done(coverage())),
            ],
        };
        Ok(stream::iter(events).boxed())
    }

    async fn save_search(&self, ask: SaveAsk) -> Outcome<SavedSearch> {
        self.record(format!("save_search({ask:?})"));
        match ask.name.as_str() {
            "taken" => Err(ActionError::new(ErrorKind::Refused, "another search is saved as `taken`")),
            _ => Ok(SavedSearch { name: ask.name, text: ask.text, scope: ask.scope, ..saved_search() }),
        }
    }

    async fn saved_searches(&self) -> Outcome<Vec<SavedSearch>> {
        self.record("saved_searches()".into());
        let failed = SavedSearch {
            name: "x.2".into(),
            text: "\u{1b}[2J".into(),
            scope: Scope::All,
            last_run: None,
            problem: Some("this peer has not joined a zone".into()),
            ..saved_search()
        };
        Ok(vec![saved_search(), failed])
    }

    async fn remove_saved_search(&self, name: String) -> Outcome<()> {
        self.record(format!("remove_saved_search({name:?})"));
        if name == "reports" { Ok(()) } else { Err(ActionError::new(ErrorKind::NotFound, "no such search")) }
    }

    async fn take_new_hits(&self, wait: Duration) -> Outcome<Vec<NewHit>> {
        let news = std::mem::take(&mut *self.news.lock().unwrap());
        if news.is_empty() {
            tokio::time::sleep(wait).await;
        }
        Ok(news)
    }

    async fn get(&self, ask: GetAsk) -> Outcome<Events<Transfer>> {
        self.record(format!("get({ask:?})"));
        let (waiting, running) = (transfer(7, TransferState::Waiting), transfer(7, TransferState::Running));
        let last = match ask.target {
            Target::Hit(1) | Target::Hash(_) => transfer(7, TransferState::Done),
            Target::Hit(2) => return Ok(self.unending(vec![waiting, running])),
            Target::Hit(4) => {
                let queued = Transfer { queue_position: Some(3), ..waiting };
                let fast = Transfer { bytes_per_second: 512, ..running };
                return Ok(self.unending(vec![queued, fast]));
            }
            Target::Hit(number @ 5..=6) => {
                let long = || format!("\u{1b}[2J\u{202e}\r\n{}.pdf", "annual report ".repeat(8));
                let name = move || if number == 5 { "report.pdf".into() } else { long() };
                let steps = stream::unfold(0, move |done_bytes| async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let running = transfer(7, TransferState::Running);
                    let now = Transfer { name: name(), done_bytes, bytes_per_second: 10, ..running };
                    Some((Ok(now), done_bytes + 1))
                });
                return Ok(steps.boxed());
            }
            Target::Hit(3) => transfer(7, TransferState::Failed(mismatch())),
            Target::Hit(number) => {
                return Err(ActionError::new(
                    ErrorKind::NotFound,
                    format!("the last search has no hit {number}"),
                ));
            }
            Target::Path(path) => return Err(no_peer(&path.peer)),
        };
        Ok(stream::iter([waiting, running, last].map(Ok)).boxed())
    }

    async fn read(&self, ask: ReadAsk) -> Outcome<Events<ReadEvent>> {
        self.record(format!("read({ask:?})"));
        let Target::Hash(_) = ask.target else { return Err(no_peer("ana")) };
        if ask.target == Target::Hash(ContentHash::from_bytes([9; 32])) {
            // More than any pipe takes.
            let chunk = bytes::Bytes::from(vec![b'x'; 64 << 10]);
            let chunks = stream::iter((0..1024).map(move |_| Ok(ReadEvent::Data(chunk.clone()))));
            return Ok(chunks.boxed());
        }
        let content = bytes::Bytes::from_static(b"the whole content");
        let first = usize::try_from(ask.offset).expect("small").min(content.len());
        let data = ReadEvent::Data(content.slice(first..));
        Ok(stream::iter([Ok(ReadEvent::File(file("docs/report.pdf", 1))), Ok(data)]).boxed())
    }

    async fn send(&self, ask: SendAsk) -> Outcome<Events<Transfer>> {
        self.record(format!("send({ask:?})"));
        if ask.peer != "ana" {
            return Err(no_peer(&ask.peer));
        }
        let sent = |state| Transfer { direction: Direction::Send, ..transfer(8, state) };
        Ok(stream::iter([sent(TransferState::Waiting), sent(TransferState::Done)].map(Ok)).boxed())
    }

    async fn put(&self, ask: PutAsk) -> Outcome<Events<Transfer>> {
        self.record(format!("put({ask:?})"));
        let kept = |state| Transfer { direction: Direction::Put, path: None, ..transfer(9, state) };
        Ok(stream::iter([kept(TransferState::Running), kept(TransferState::Done)].map(Ok)).boxed())
    }

    async fn puts(&self, page: PageAsk) -> Outcome<PutPage> {
        self.record(format!("puts({page:?})"));
        let put = |number: u8, keepers: Option<Vec<String>>| PutInfo {
            hash: ContentHash::from_bytes([number; 32]),
            name: format!("kept {number}\u{202e}.txt"),
            size_bytes: 2048,
            replicas: 2,
            put_time: keepers.as_ref().map(|_| SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
            keepers,
        };
        Ok(match page.token {
            None => {
                PutPage { rows: vec![put(1, Some(vec!["ana".into(), "ben".into()]))], next: Some("1".into()) }
            }
            Some(_) => PutPage { rows: vec![put(2, None)], next: None },
        })
    }

    async fn unput(&self, what: String) -> Outcome<Unput> {
        self.record(format!("unput({what:?})"));
        match what.as_str() {
            "report.pdf" => Ok(Unput {
                hash: ContentHash::from_bytes([1; 32]),
                name: what,
                released_by: vec!["ana".into()],
                unreachable: vec!["ben".into()],
            }),
            other => Err(ActionError::new(ErrorKind::Refused, format!("this peer did not put `{other}`"))),
        }
    }

    async fn browse(&self, path: PeerPath, page: PageAsk) -> Outcome<FolderPage> {
        self.record(format!("browse({path:?}, {page:?})"));
        match path.peer.as_str() {
            "ana" if page.token.is_none() => Ok(FolderPage {
                folders: vec!["sub".into(), "s\u{202e}x".into()],
                files: vec![file("docs/report.pdf", 1)],
                next: Some("report.pdf".into()),
            }),
            "ana" => {
                let unhashed = FileInfo { hash: None, ..file("docs/z.txt", 2) };
                Ok(FolderPage { folders: vec![], files: vec![unhashed], next: None })
            }
            "panic" => panic!("on purpose"),
            other => Err(no_peer(other)),
        }
    }

    async fn peers(&self, zone: Option<ZoneId>) -> Outcome<Listing<PeerInfo>> {
        self.record(format!("peers({zone:?})"));
        let mut rows = vec![peer_info("ana", 1), peer_info("ben", 2)];
        if self.is_crowded.load(Relaxed) {
            let other = |byte: u8| PeerInfo { id: peer_id(byte), ..peer_info(&format!("peer-{byte:03}"), 1) };
            rows = (0..200).map(other).collect();
        }
        let rows = rows.into_iter().filter(|peer| zone.is_none() || peer.zone == zone).collect();
        Ok(Listing { rows, is_stale: zone.is_some() })
    }

    async fn zones(&self) -> Outcome<Listing<ZoneInfo>> {
        self.record("zones()".into());
        let zone = ZoneId::new(1).unwrap();
        Ok(Listing { rows: vec![ZoneInfo { zone, peers: 6, gateways: vec!["ana".into()] }], is_stale: false })
    }

    async fn status(&self) -> Outcome<Status> {
        assert!(self.statuses.fetch_sub(1, Relaxed) > 0, "a status on purpose");
        Ok(status(*self.connection.lock().unwrap()))
    }

    async fn shares(&self) -> Outcome<Vec<ShareInfo>> {
        self.record("shares()".into());
        let gone = ShareInfo {
            name: "old".into(),
            kind: ShareKind::Replicas,
            folder: "/srv/old".into(),
            files: 0,
            bytes: 0,
            problem: Some("is gone".into()),
        };
        Ok(vec![share(), gone])
    }

    async fn add_share(&self, folder: PathBuf) -> Outcome<ShareInfo> {
        self.record(format!("add_share({})", folder.display()));
        Ok(share())
    }

    async fn share_file(&self, ask: ShareFileAsk) -> Outcome<SharedFile> {
        self.record(format!("share_file({}, {:?})", ask.path.display(), ask.name));
        let path = format!("docs/{}", ask.name);
        let hash = ContentHash::from_bytes([1; 32]);
        Ok(SharedFile { share: "docs".into(), path, hash, size_bytes: 5, was_there: ask.name == "again" })
    }

    async fn remove_share(&self, name: String) -> Outcome<()> {
        self.record(format!("remove_share({name:?})"));
        if name == "docs" { Ok(()) } else { Err(ActionError::new(ErrorKind::NotFound, "no such share")) }
    }

    async fn rescan(&self) -> Outcome<IndexState> {
        self.record("rescan()".into());
        Ok(index_state())
    }

    async fn transfers(&self) -> Outcome<Vec<Transfer>> {
        self.record("transfers()".into());
        Ok(self.transfers.lock().unwrap().clone())
    }

    async fn control_transfers(&self, which: Which, control: TransferControl) -> Outcome<u32> {
        self.record(format!("control_transfers({which:?}, {control:?})"));
        match which {
            Which::All => Ok(2),
            Which::One(id) if id < 3 => Ok(1),
            Which::One(id) => Err(ActionError::new(ErrorKind::NotFound, format!("no transfer {id}"))),
        }
    }

    async fn inbox(&self) -> Outcome<InboxInfo> {
        let offers = self.offers.lock().unwrap().clone();
        Ok(InboxInfo { offers, folder: "/srv/inbox".into(), policy: AcceptPolicy::Ask })
    }

    async fn answer_offer(&self, id: u64, answer: Answer) -> Outcome<()> {
        self.record(format!("answer_offer({id}, {answer:?})"));
        let mut offers = self.offers.lock().unwrap();
        let before = offers.len();
        offers.retain(|offer| offer.id != id);
        if offers.len() < before {
            Ok(())
        } else {
            Err(ActionError::new(ErrorKind::NotFound, format!("no offer {id}")))
        }
    }

    async fn set_connected(&self, connected: bool) -> Outcome<()> {
        self.record(format!("set_connected({connected})"));
        *self.connection.lock().unwrap() =
            if connected { Connection::Connected } else { Connection::Disconnected };
        Ok(())
    }

    async fn activity(&self) -> Outcome<Events<Activity>> {
        self.record("activity()".into());
        Ok(self.unending(activities()))
    }
}
