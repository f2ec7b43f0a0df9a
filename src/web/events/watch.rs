//! Looks at the peer while somebody reads events, and tells what changed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::StreamExt as _;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Inner;
use crate::{protocol::action::Connection, web::json};

/// Between two looks at the transfers while one of them moves.
const BUSY_EVERY: Duration = Duration::from_millis(300);
/// Between two looks at everything else, and at the transfers while none moves.
const IDLE_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at the zones, for which the registry is asked.
const NETWORK_EVERY: Duration = Duration::from_secs(5);
/// How long one call for new hits waits.
const NEWS_WAIT: Duration = Duration::from_secs(5);
/// After a call that failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
/// Queries told within a second; others are passed by, so that a storm does not push all other events out.
const MAX_QUERIES_A_SECOND: u32 = 50;
/// How long is watched on after the last reader: one that comes back at once has missed nothing.
const LINGER: Duration = Duration::from_secs(30);

/// What changed of it.
#[derive(Debug, Serialize)]
struct NetworkNews {
    roster_revision: u64,
    zone_peers: u32,
    zones: Vec<json::Zone>,
    is_stale: bool,
}

/// A transfer that is in the list no more: an upload that has ended, or the oldest of the ended ones.
#[derive(Debug, Serialize)]
struct Gone {
    id: u64,
}

/// What was told last.
#[derive(Default)]
struct Told {
    status: String,
    transfers: HashMap<u64, json::Transfer>,
    inbox: String,
    shares: String,
    is_moving: bool,
    connection: Option<Connection>,
}

/// Starts a task, which ends some time after the last reader.
pub(super) fn start(inner: &Arc<Inner>) {
    let (shutdown, inner) = (inner.shutdown.clone(), inner.clone());
    drop(shutdown.spawn("events", async move {
        tokio::select! {
            () = look(&inner) => {}
            () = look_at_network(&inner) => {}
            () = take_new_hits(&inner) => {}
            () = pass_on_queries(&inner) => {}
        }
    }));
}

/// Ends some time after the last reader.
async fn look(inner: &Inner) {
    let (mut told, mut read_at) = (Told::default(), Instant::now());
    let mut others_at = Instant::now();
    loop {
        let now = Instant::now();
        if inner.has_readers() {
            read_at = now;
        } else if now > read_at + LINGER {
            let mut ring = inner.ring();
            // A reader that came between the two looks is counted before it asks for this.
            if !inner.has_readers() {
                ring.is_watched = false;
                return;
            }
        }
        told.look_at_transfers(inner).await;
        if now >= others_at {
            others_at = now + IDLE_EVERY;
            told.look_at_others(inner).await;
        }
        sleep(if told.is_moving { BUSY_EVERY } else { IDLE_EVERY }).await;
    }
}

impl Told {
    async fn look_at_transfers(&mut self, inner: &Inner) {
        let Ok(transfers) = inner.peer.transfers().await else { return };
        let mut now = HashMap::with_capacity(transfers.len());
        self.is_moving = false;
        for transfer in &transfers {
            let transfer = json::Transfer::from(transfer);
            self.is_moving |= transfer.is_moving();
            if self.transfers.get(&transfer.id()) != Some(&transfer) {
                tell(inner, "transfer", &transfer);
            }
            now.insert(transfer.id(), transfer);
        }
        for id in self.transfers.keys().filter(|id| !now.contains_key(id)) {
            tell(inner, "transfer_gone", &Gone { id: *id });
        }
        self.transfers = now;
    }

    async fn look_at_others(&mut self, inner: &Inner) {
        if let Ok(mut status) = inner.peer.status().await {
            // It always grows, and is no news.
            let uptime = std::mem::take(&mut status.uptime);
            let (connection, still) = (status.connection, to_json(&json::Status::from(status.clone())));
            if still != self.status {
                status.uptime = uptime;
                tell(inner, "status", &json::Status::from(status));
                self.status = still;
            }
            if self.connection.replace(connection) != Some(connection) {
                inner.network_changed.notify_one();
            }
        }
        if let Ok(inbox) = inner.peer.inbox().await {
            tell_changed(inner, "inbox", &mut self.inbox, to_json(&json::Inbox::from(&inbox)));
        }
        if let Ok(shares) = inner.peer.shares().await {
            let shares: Vec<_> = shares.iter().map(json::Share::from).collect();
            tell_changed(inner, "shares", &mut self.shares, to_json(&serde_json::json!({ "items": shares })));
        }
    }
}

/// Apart from the rest: a registry that does not answer is waited for.
async fn look_at_network(inner: &Inner) {
    let mut told = String::new();
    loop {
        if let (Ok(status), Ok(zones)) = (inner.peer.status().await, inner.peer.zones().await) {
            let news = NetworkNews {
                roster_revision: status.roster_revision,
                zone_peers: status.zone_peers,
                zones: zones.rows.iter().map(json::Zone::from).collect(),
                is_stale: zones.is_stale,
            };
            tell_changed(inner, "network", &mut told, to_json(&news));
        }
        tokio::select! {
            () = sleep(NETWORK_EVERY) => {}
            () = inner.network_changed.notified() => {}
        }
    }
}

/// New hits are told to one who asks, and to nobody again: they are taken only while somebody reads.
async fn take_new_hits(inner: &Inner) {
    loop {
        if !inner.has_readers() {
            sleep(FAILURE_PAUSE).await;
            continue;
        }
        let taken = tokio::select! {
            biased;
            // Given up before anything is taken: whoever comes next, here or at the console, is told.
            () = inner.until_unread() => continue,
            taken = inner.peer.take_new_hits(NEWS_WAIT) => taken,
        };
        match taken {
            Ok(hits) => hits.iter().for_each(|hit| tell(inner, "new_hit", &json::NewHit::from(hit))),
            Err(_) => sleep(FAILURE_PAUSE).await,
        }
    }
}

/// Queries that pass through the peer; nobody pays for them while nobody reads.
async fn pass_on_queries(inner: &Inner) {
    let (mut second, mut told) = (Instant::now(), 0);
    loop {
        if inner.has_readers()
            && let Ok(mut activity) = inner.peer.activity().await
        {
            while let Some(Ok(query)) = activity.next().await {
                if second.elapsed() >= Duration::from_secs(1) {
                    (second, told) = (Instant::now(), 0);
                }
                told += 1;
                if told <= MAX_QUERIES_A_SECOND {
                    tell(inner, "query", &json::Activity::from(&query));
                }
                if !inner.has_readers() {
                    break;
                }
            }
        }
        sleep(FAILURE_PAUSE).await;
    }
}

fn tell_changed(inner: &Inner, name: &str, told: &mut String, now: String) {
    if *told != now {
        inner.tell(name, &now);
        *told = now;
    }
}

fn tell(inner: &Inner, name: &str, data: &impl Serialize) {
    inner.tell(name, &to_json(data));
}

fn to_json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("texts and numbers become JSON")
}
