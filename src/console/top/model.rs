//! What the full-screen view knows, and what keys do to it. Pure: no terminal, no peer, no clock.
//!
//! Invariant: what it holds of others is bounded, whatever they send.

use std::{
    collections::{HashMap, VecDeque},
    time::{Instant, SystemTime},
};

use super::list::Cursor;
use crate::{
    console::view,
    peer::handle::Outcome,
    protocol::{
        action::{
            ActionError, Activity, ActivityKind, Counters, ErrorKind, Listing, PeerInfo, Status, Transfer,
            TransferControl, TransferState, Which,
        },
        id::PeerId,
        name::Printable,
    },
};

/// Queries that are remembered; the oldest goes.
const MAX_QUERIES: usize = 200;
/// Rows that a page key moves.
const PAGE: usize = 10;

/// What one look at the peer gave.
#[derive(Debug, Clone)]
pub struct Look {
    /// The peer itself.
    pub status: Status,
    /// Its transfers.
    pub transfers: Vec<Transfer>,
    /// Who is there, when that was asked.
    pub peers: Option<Listing<PeerInfo>>,
}

/// A key, as far as it means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The end.
    Quit,
    /// Ctrl-C.
    Interrupt,
    /// To the next list.
    NextList,
    /// To the list before.
    PreviousList,
    /// To the row above.
    Up,
    /// To the row below.
    Down,
    /// Ten up.
    PageUp,
    /// Ten down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Anything that may name an action.
    Char(char),
}

/// What the peer is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// To which transfers.
    pub which: Which,
    /// What.
    pub control: TransferControl,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked.
    pub order: Order,
    /// How many it changed.
    pub outcome: Outcome<u32>,
}

/// A query as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// As last told.
    pub last: Activity,
    /// When it began.
    pub began: SystemTime,
}

/// Bytes per second, up and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Sent.
    pub up: u64,
    /// Received.
    pub down: u64,
}

/// A list that keys can move in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum List {
    /// What moves.
    #[default]
    Transfers,
    /// Who is there.
    Peers,
    /// What is asked.
    Queries,
}

/// Everything that is drawn.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The peer itself; `None` before its first answer.
    pub status: Option<Status>,
    /// Who is in the network, own zone first.
    pub peers: Vec<PeerInfo>,
    /// The registry could not be asked for them.
    pub is_stale: bool,
    /// What moves, in the order of the list.
    pub transfers: Vec<Transfer>,
    /// Queries, the newest first.
    pub queries: VecDeque<Query>,
    /// Activities that came too fast to be told.
    pub missed: u64,
    /// How fast bytes come and go.
    pub rates: Rates,
    /// The list that keys move in.
    pub list: List,
    /// The chosen row of the peers.
    pub peer: Cursor<PeerId>,
    /// The chosen row of the queries.
    pub query: Cursor<[u8; 8]>,
    /// Which transfer keys are meant for, by its number.
    pub selected: Option<u64>,
    /// The one that is to be cancelled once that is confirmed.
    pub confirming: Option<u64>,
    /// What the last key did.
    pub said: Option<String>,
    /// Why the peer could not be asked the last time.
    pub problem: Option<String>,
    /// Colors may be used.
    pub has_color: bool,
    names: HashMap<PeerId, String>,
    counted: Option<(Instant, Counters)>,
}

/// The peer took too long.
pub fn silent() -> ActionError {
    ActionError::new(ErrorKind::TimedOut, "the peer does not answer").hint("is it stopped?")
}

impl Model {
    /// Nothing known yet.
    pub fn new(has_color: bool) -> Self {
        Self { has_color, ..Self::default() }
    }

    /// The peer was looked at.
    pub fn on_look(&mut self, seen: Outcome<Look>, now: Instant) {
        let look = match seen {
            Ok(look) => look,
            Err(error) => {
                self.problem = Some(view::error(&error));
                return;
            }
        };
        self.problem = None;
        self.count(look.status.counters, now);
        if let Some(listing) = look.peers {
            self.set_peers(listing, &look.status);
        }
        self.status = Some(look.status);
        self.transfers = look.transfers;
        // What moves first, then what waits for somebody, then what ended; within each, the newest.
        self.transfers.sort_by_key(|transfer| (rank(&transfer.state), std::cmp::Reverse(transfer.id)));
        if self.selected_row().is_none() {
            self.selected = self.transfers.first().map(|transfer| transfer.id);
        }
        if self.confirming.is_some_and(|id| self.transfers.iter().all(|transfer| transfer.id != id)) {
            self.confirming = None;
        }
    }

    fn count(&mut self, counters: Counters, now: Instant) {
        if let Some((before, last)) = self.counted {
            let seconds = now.saturating_duration_since(before).as_secs_f64();
            if seconds > 0.0 {
                self.rates = Rates {
                    up: per_second(counters.bytes_up.saturating_sub(last.bytes_up), seconds),
                    down: per_second(counters.bytes_down.saturating_sub(last.bytes_down), seconds),
                };
            }
        }
        self.counted = Some((now, counters));
    }

    fn set_peers(&mut self, listing: Listing<PeerInfo>, status: &Status) {
        self.is_stale = listing.is_stale;
        self.peers = listing.rows;
        let (zone, me) = (status.me.zone, status.me.id);
        self.peers.sort_by(|a, b| {
            let key = |peer: &PeerInfo| (peer.zone != zone, peer.zone, peer.id != me);
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        self.peer.settle(self.peers.iter().map(|peer| &peer.id));
        self.names = self.peers.iter().map(|peer| (peer.id, peer.name.to_string())).collect();
    }

    /// Something happened to a query.
    pub fn on_activity(&mut self, told: Activity) {
        self.missed = self.missed.saturating_add(told.missed);
        if let Some(known) = self.queries.iter_mut().find(|query| query.last.query == told.query) {
            known.last = told;
            return;
        }
        // The end of one whose beginning was missed says what there is to say.
        self.queries.push_front(Query { began: told.time, last: told });
        self.queries.truncate(MAX_QUERIES);
        self.query.settle(self.queries.iter().map(|query| &query.last.query));
    }

    /// Queries that run now.
    pub fn running(&self) -> usize {
        self.queries.iter().filter(|query| query.last.kind == ActivityKind::Began).count()
    }

    /// What a peer is called, or the beginning of its id; fit for a terminal.
    pub fn name(&self, id: &PeerId) -> String {
        match self.names.get(id) {
            Some(name) => Printable(name).to_string(),
            None => id.to_string().chars().take(8).collect(),
        }
    }

    /// The row of the transfer that keys are meant for.
    pub fn selected_row(&self) -> Option<usize> {
        let selected = self.selected?;
        self.transfers.iter().position(|transfer| transfer.id == selected)
    }

    /// A key was pressed; gives what the peer is to do for it.
    pub fn on_key(&mut self, key: Key) -> Option<Order> {
        self.said = None;
        if let Some(id) = self.confirming.take() {
            if key == Key::Char('y') {
                return Some(Order { which: Which::One(id), control: TransferControl::Cancel });
            }
            self.said = Some("not cancelled".into());
            return None;
        }
        match key {
            Key::NextList => self.list = self.list.next(),
            Key::PreviousList => self.list = self.list.next().next(),
            Key::Up | Key::Char('k') => self.step(|row, _| row.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.step(|row, last| (row + 1).min(last)),
            Key::PageUp => self.step(|row, _| row.saturating_sub(PAGE)),
            Key::PageDown => self.step(|row, last| (row + PAGE).min(last)),
            Key::Home => self.step(|_, _| 0),
            Key::End => self.step(|_, last| last),
            Key::Char(key) => return self.order(key),
            Key::Quit | Key::Interrupt => {}
        }
        None
    }

    fn step(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let last = |rows: usize| rows.saturating_sub(1);
        match self.list {
            List::Transfers => {
                let row = to(self.selected_row().unwrap_or(0), last(self.transfers.len()));
                self.selected = self.transfers.get(row).map(|transfer| transfer.id);
            }
            List::Peers => {
                let row = to(self.peer.row(), last(self.peers.len()));
                self.peer.choose(row, self.peers.iter().map(|peer| &peer.id));
            }
            List::Queries => {
                let row = to(self.query.row(), last(self.queries.len()));
                self.query.choose(row, self.queries.iter().map(|query| &query.last.query));
            }
        }
    }

    fn order(&mut self, key: char) -> Option<Order> {
        let control = match key.to_ascii_lowercase() {
            'p' => TransferControl::Pause,
            'r' => TransferControl::Resume,
            't' => TransferControl::Retry,
            'c' => TransferControl::Cancel,
            _ => return None,
        };
        let is_cancel = control == TransferControl::Cancel;
        if key.is_ascii_uppercase() && !is_cancel {
            return Some(Order { which: Which::All, control });
        }
        if self.list != List::Transfers {
            self.said = Some("no transfer is chosen here; Tab leads to the transfers".into());
            return None;
        }
        let Some(transfer) = self.selected_row().and_then(|row| self.transfers.get(row)) else {
            self.said = Some("there is no transfer; `get` starts one".into());
            return None;
        };
        if is_cancel {
            let what = Printable(&transfer.name);
            self.said = Some(format!("cancel transfer {}, {what}, for good? y/n", transfer.id));
            self.confirming = Some(transfer.id);
            return None;
        }
        Some(Order { which: Which::One(transfer.id), control })
    }

    /// The peer has done what a key asked, or not.
    pub fn on_answer(&mut self, answer: Answer) {
        let Order { which, control } = answer.order;
        self.said = Some(match answer.outcome {
            Ok(count) => view::controlled(which, control, count),
            Err(error) => view::error(&error),
        });
    }
}

impl List {
    fn next(self) -> Self {
        match self {
            Self::Transfers => Self::Peers,
            Self::Peers => Self::Queries,
            Self::Queries => Self::Transfers,
        }
    }
}

fn rank(state: &TransferState) -> u8 {
    match state {
        TransferState::Running | TransferState::Verifying => 0,
        TransferState::Waiting => 1,
        TransferState::Paused => 2,
        TransferState::Failed(_) => 3,
        TransferState::Done | TransferState::Cancelled => 4,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rate to look at"
)]
fn per_second(bytes: u64, seconds: f64) -> u64 {
    (bytes as f64 / seconds) as u64
}
