//! One function for each action: asks the peer and prints what comes. Dropping its future cancels the action.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::StreamExt;
use tokio::time::Instant;

use super::{
    complete::Names,
    menu,
    pages::{PAGE_SIZE, pages},
    screen::Screen,
    view,
};
use crate::{
    peer::{
        Handle,
        handle::{Events, Outcome},
    },
    protocol::{
        action::{
            ActionError, Answer, Connection, Coverage, ErrorKind, GetAsk, Hit, PageAsk, PeerPath, PutAsk,
            SaveAsk, SearchAsk, SearchEvent, SendAsk, Transfer, TransferControl, TransferState, Which,
        },
        id::ZoneId,
        name::Printable,
    },
};

/// Hits of one search that are shown; the rest is only counted.
const MAX_SHOWN_HITS: usize = 1000;
/// Pages of one folder that are shown.
const MAX_PAGES: usize = 10;
/// Time between two lines of progress where one takes the place of the other, and where they add up.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
const PLAIN_PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
/// The same where lines add up, of one that waits: what it waits for changes every second.
const PLAIN_WAITING_INTERVAL: Duration = Duration::from_secs(30);

/// What every action needs; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Acting {
    pub(super) handle: Handle,
    pub(super) screen: Screen,
    pub(super) names: Names,
}

impl Acting {
    async fn print(&self, outcome: Outcome<Vec<String>>) {
        match outcome {
            Ok(lines) => self.screen.lines(lines).await,
            Err(error) => self.screen.line(view::error(&error)).await,
        }
    }

    pub(super) async fn menu(self) {
        // Without an answer the menu is still wanted; the next command tells what is wrong.
        let connection = self.handle.status().await.map_or(Connection::Connected, |status| status.connection);
        self.screen.line(menu::menu(connection)).await;
    }

    pub(super) async fn status(self) {
        let status = self.handle.status().await;
        self.print(status.map(|status| view::status(&status))).await;
    }

    pub(super) async fn search(self, ask: SearchAsk) {
        self.names.clear_hits();
        if let Err(error) = self.show_hits(ask).await {
            self.screen.line(view::error(&error)).await;
        }
    }

    async fn show_hits(&self, ask: SearchAsk) -> Outcome<()> {
        let text = ask.text.clone();
        let mut events = self.handle.search(ask).await?;
        // As last told, and how many holders were shown.
        let mut hits: BTreeMap<u32, (Hit, usize)> = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event? {
                SearchEvent::Hit(hit) => {
                    if let Some((known, _)) = hits.get_mut(&hit.number) {
                        *known = hit;
                    } else if hits.len() < MAX_SHOWN_HITS {
                        self.remember(&hit);
                        self.screen.line(view::hit(&hit)).await;
                        hits.insert(hit.number, (hit.clone(), hit.holders.len()));
                    }
                }
                SearchEvent::Done(coverage) => {
                    self.end_search(&text, &hits, &coverage).await;
                    return Ok(());
                }
            }
        }
        Err(ActionError::new(ErrorKind::TimedOut, "the search ended without a result").hint("try it again"))
    }

    async fn end_search(&self, text: &str, hits: &BTreeMap<u32, (Hit, usize)>, coverage: &Coverage) {
        let grown = hits.values().filter(|(hit, shown)| hit.holders.len() > *shown);
        let mut lines: Vec<String> = grown.map(|(hit, _)| view::hit(hit)).collect();
        lines.extend(view::best_first(hits.values().map(|(hit, _)| hit)));
        lines.push(view::coverage(coverage, hits.len()));
        lines.extend(view::suggestions(text, coverage));
        lines
            .extend(view::next_step(hits.values().map(|(hit, _)| hit)).filter(|_| self.screen.is_terminal()));
        self.screen.lines(lines).await;
    }

    fn remember(&self, hit: &Hit) {
        self.names.add_hit(hit.number, hit.file.name());
        for holder in &hit.holders {
            self.names.add_place(format!("{}:{}", holder.peer, holder.path));
        }
    }

    /// Saves a search and runs it.
    pub(super) async fn save(self, name: String, ask: SearchAsk) {
        let save = SaveAsk { name, text: ask.text.clone(), scope: ask.scope };
        match self.handle.save_search(save).await {
            Ok(saved) => {
                self.screen
                    .line(format!("saved as {}; what is new is told here", Printable(&saved.name)))
                    .await;
                self.search(ask).await;
            }
            Err(error) => self.screen.line(view::error(&error)).await,
        }
    }

    pub(super) async fn saved_searches(self) {
        let searches = self.handle.saved_searches().await;
        self.print(searches.map(|searches| view::saved_searches(&searches))).await;
    }

    /// What the saved search of that name asks.
    pub(super) async fn saved_search(&self, name: &str) -> Outcome<SearchAsk> {
        let searches = self.handle.saved_searches().await?;
        let saved = searches.into_iter().find(|saved| saved.name == name);
        let saved = saved.ok_or_else(|| {
            ActionError::new(ErrorKind::NotFound, format!("no search is saved as `{name}`"))
                .hint("`saved` lists them")
        })?;
        Ok(SearchAsk { text: saved.text, scope: saved.scope, ..SearchAsk::default() })
    }

    pub(super) async fn remove_saved(self, name: String) {
        let outcome = self.handle.remove_saved_search(name.clone()).await;
        self.print(outcome.map(|()| vec![format!("{} is not asked any more", Printable(&name))])).await;
    }

    /// Queues all and follows them; they go on when this is dropped.
    pub(super) async fn get(self, asks: Vec<GetAsk>) {
        let mut queued = Vec::new();
        for ask in asks {
            match self.handle.get(ask).await {
                Ok(events) => queued.push(self.follow(Ok(events))),
                Err(error) => self.screen.line(view::error(&error)).await,
            }
        }
        futures::future::join_all(queued).await;
    }

    pub(super) async fn send(self, ask: SendAsk) {
        let events = self.handle.send(ask).await;
        self.follow(events).await;
    }

    pub(super) async fn put(self, ask: PutAsk) {
        let wanted = ask.replicas;
        let events = self.handle.put(ask).await;
        let events = events.map(|events| {
            let screen = self.screen.clone();
            events
                .then(move |event| {
                    let screen = screen.clone();
                    async move {
                        if let Ok(transfer) = &event
                            && transfer.state == TransferState::Done
                            && transfer.sources.len() < wanted
                        {
                            let kept = transfer.sources.len();
                            screen.line(format!("{kept} of {wanted} replicas: no other peer has room")).await;
                        }
                        event
                    }
                })
                .boxed()
        });
        self.follow(events).await;
    }

    pub(super) async fn puts(self) {
        let page = self.handle.puts(PageAsk { size: PAGE_SIZE, token: None }).await;
        self.print(page.map(|page| view::puts(&page))).await;
    }

    pub(super) async fn unput(self, what: String) {
        let outcome = self.handle.unput(what).await;
        self.print(outcome.map(|unput| view::unput(&unput))).await;
    }

    async fn follow(&self, events: Outcome<Events<Transfer>>) {
        let outcome = match events {
            Ok(events) => self.show_progress(events).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.screen.line(view::error(&error)).await;
        }
    }

    async fn show_progress(&self, mut events: Events<Transfer>) -> Outcome<()> {
        let mut shown: Option<(Transfer, Instant)> = None;
        while let Some(event) = events.next().await {
            let (transfer, now) = (event?, Instant::now());
            if transfer.state.is_final() {
                self.screen.line(view::ended(&transfer)).await;
                return Ok(());
            }
            let interval = match transfer.state {
                _ if self.screen.is_terminal() => PROGRESS_INTERVAL,
                TransferState::Waiting => PLAIN_WAITING_INTERVAL,
                _ => PLAIN_PROGRESS_INTERVAL,
            };
            let is_due = shown
                .as_ref()
                .is_none_or(|(last, at)| view::is_news(last, &transfer) || now - *at >= interval);
            if !is_due {
                continue;
            }
            self.screen.progress(transfer.id, view::progress(&transfer)).await;
            shown = Some((transfer, now));
        }
        Err(ActionError::new(ErrorKind::Failed, "the transfer ended without a result")
            .hint("see `transfers`"))
    }

    pub(super) async fn network(self) {
        self.clone().zones().await;
        self.peers(None).await;
    }

    pub(super) async fn peers(self, zone: Option<ZoneId>) {
        let peers = self.handle.peers(zone).await;
        if let (Ok(listing), None) = (&peers, zone) {
            self.names.set_peers(listing.rows.iter().map(|peer| peer.name.to_string()));
        }
        self.print(peers.map(|listing| view::peers(&listing))).await;
    }

    pub(super) async fn zones(self) {
        let zones = self.handle.zones().await;
        self.print(zones.map(|listing| view::zones(&listing))).await;
    }

    pub(super) async fn browse(self, path: PeerPath) {
        let mut pages = pin!(pages(&self.handle, &path, MAX_PAGES));
        let mut has_more = false;
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => return self.screen.line(view::error(&error)).await,
            };
            let slash = if path.path.is_empty() { "" } else { "/" };
            for folder in &page.folders {
                self.names.add_place(format!("{}:{}{slash}{folder}", path.peer, path.path));
            }
            for file in &page.files {
                self.names.add_place(format!("{}:{}", path.peer, file.path));
            }
            self.screen.lines(view::folder(&page)).await;
            has_more = page.next.is_some();
        }
        if has_more {
            let shown = MAX_PAGES * PAGE_SIZE;
            self.screen
                .line(format!("{shown} entries were shown, and there are more; search for what you want"))
                .await;
        }
    }

    pub(super) async fn transfers(self) {
        let transfers = self.handle.transfers().await;
        self.print(transfers.map(|transfers| view::transfers(&transfers))).await;
    }

    pub(super) async fn control_transfers(self, which: Which, control: TransferControl) {
        let outcome = self.handle.control_transfers(which, control).await;
        self.print(outcome.map(|count| vec![view::controlled(which, control, count)])).await;
    }

    pub(super) async fn shares(self) {
        let shares = self.handle.shares().await;
        if let Ok(shares) = &shares {
            self.names.set_shares(shares.iter().map(|share| share.name.clone()));
        }
        self.print(shares.map(|shares| view::shares(&shares))).await;
    }

    pub(super) async fn add_share(self, folder: std::path::PathBuf) {
        let share = self.handle.add_share(folder).await;
        let said = share.map(|share| {
            let folder = share.folder.to_string_lossy();
            vec![format!("{} is shared as {}", Printable(&folder), Printable(&share.name))]
        });
        self.print(said).await;
    }

    pub(super) async fn remove_share(self, name: String) {
        let outcome = self.handle.remove_share(name.clone()).await;
        let said = format!("{} is shared no more; its files stay where they are", Printable(&name));
        self.print(outcome.map(|()| vec![said])).await;
    }

    pub(super) async fn rescan(self) {
        let index = self.handle.rescan().await;
        self.print(index.map(|index| vec![format!("shared files: {}", view::index(&index))])).await;
    }

    pub(super) async fn inbox(self) {
        let inbox = self.handle.inbox().await;
        self.print(inbox.map(|inbox| view::inbox(&inbox))).await;
    }

    pub(super) async fn answer(self, id: u64, answer: Answer) {
        let said = match &answer {
            Answer::Accept => "is accepted",
            Answer::Decline(_) => "is declined",
            Answer::Trust => "is accepted, and so is whatever its sender sends from now on",
        };
        let outcome = self.handle.answer_offer(id, answer).await;
        self.print(outcome.map(|()| vec![format!("offer {id} {said}")])).await;
    }

    pub(super) async fn set_connected(self, is_connected: bool) {
        let outcome = self.handle.set_connected(is_connected).await;
        let said = if is_connected { "connected" } else { "disconnected; 1 connects again" };
        self.print(outcome.map(|()| vec![said.to_owned()])).await;
    }

    /// Learns the names that Tab offers; a failure leaves the old ones.
    pub(super) async fn learn(self) {
        if let Ok(listing) = self.handle.peers(None).await {
            self.names.set_peers(listing.rows.iter().map(|peer| peer.name.to_string()));
        }
        if let Ok(shares) = self.handle.shares().await {
            self.names.set_shares(shares.iter().map(|share| share.name.clone()));
        }
    }
}

/// Prints the offers that were not printed yet. Their numbers rise.
pub(super) async fn announce(acting: &Acting, announced: &AtomicU64) {
    // A failure is not told here: nobody asked, and the next command tells it.
    let Ok(inbox) = acting.handle.inbox().await else { return };
    let before = announced.load(Ordering::Relaxed);
    let new = inbox.offers.iter().filter(|offer| offer.id > before);
    let lines: Vec<String> = new.map(view::offer).collect();
    if !lines.is_empty() {
        acting.screen.lines(lines).await;
    }
    announced.fetch_max(inbox.offers.iter().map(|offer| offer.id).max().unwrap_or(0), Ordering::Relaxed);
}

/// Prints what saved searches found, which is told to nobody else then.
pub(super) async fn tell_news(acting: &Acting) {
    // A failure is not told here, as with offers.
    let Ok(news) = acting.handle.take_new_hits(Duration::ZERO).await else { return };
    if !news.is_empty() {
        acting.screen.lines(news.iter().map(view::new_hit).collect()).await;
    }
}

/// As the person at this console means it: from the current folder, `~` as home.
pub(super) fn absolute(typed: &str) -> PathBuf {
    let path = match typed.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => directories::BaseDirs::new()
            .map_or_else(|| typed.into(), |dirs| dirs.home_dir().join(rest.trim_start_matches('/'))),
        _ => PathBuf::from(typed),
    };
    std::path::absolute(&path).unwrap_or(path)
}
