//! The pieces that a run of a zone moves about: peers, their parts in queries, the streams between them, and events.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    rc::Rc,
    time::Instant,
};

use floodplain::protocol::{
    claim::{Reach, RulesOut},
    flood::{Query, QueryCache},
    gateway::Gateways,
    hedge::Delays,
    id::PeerId,
    relay::{AskId, Relay, Report},
    roster::{Member, Roster},
};

#[allow(clippy::struct_excessive_bools)] // in every combination
pub(super) struct Node {
    pub(super) id: PeerId,
    pub(super) roster: Rc<Roster>,
    pub(super) neighbors: Vec<PeerId>,
    pub(super) gateways: Rc<Gateways>,
    pub(super) cache: QueryCache,
    /// Of the links to others, and of all of them.
    pub(super) delays: BTreeMap<usize, Delays>,
    pub(super) all_delays: Delays,
    pub(super) is_dead: bool,
    pub(super) is_silent: bool,
    pub(super) is_slow: bool,
    pub(super) is_careless: bool,
}

pub(super) struct Task {
    pub(super) node: usize,
    pub(super) query: usize,
    pub(super) hops: u8,
    pub(super) reach: Reach,
    /// `None` when it has ended.
    pub(super) relay: Option<Relay>,
    /// Contents that are still wanted, and those that were passed on.
    pub(super) wanted: Option<(usize, HashSet<u64>)>,
    pub(super) upstream: Option<usize>,
    pub(super) streams: BTreeMap<AskId, usize>,
}

impl Task {
    /// Contents out of these that are still wanted, as the daemons count them: whoever else has one that is already there
    /// is passed on as well.
    pub(super) fn take(&mut self, mut files: Vec<u64>) -> Vec<u64> {
        if let Some((left, seen)) = &mut self.wanted {
            files.retain(|file| {
                if seen.contains(file) {
                    return true;
                }
                let is_wanted = *left > 0;
                if is_wanted {
                    *left -= 1;
                    seen.insert(*file);
                }
                is_wanted
            });
        }
        files
    }

    pub(super) fn is_enough(&self) -> bool {
        self.wanted.as_ref().is_some_and(|(left, _)| *left == 0)
    }
}

pub(super) struct Stream {
    pub(super) parent: usize,
    pub(super) ask: AskId,
    pub(super) child: usize,
    pub(super) copy: Query,
    pub(super) child_task: Option<usize>,
    pub(super) is_open: bool,
    pub(super) asked_at: Instant,
    pub(super) last_arrival: u64,
}

#[derive(Clone)]
pub(super) enum Up {
    Heard,
    Hits(usize, u8, Vec<u64>),
    Done(Report),
    Broken,
}

pub(super) enum Event {
    Start(usize),
    Arrive(usize),
    Up(usize, Up),
    Cancelled(usize),
    Cut(usize),
    Searched(usize),
    Wake(usize),
    Dies(usize),
    FallsSilent(usize),
}

/// Only these are asked.
#[derive(Debug)]
pub(super) struct OnlyThese<'a> {
    pub(super) peers: &'a BTreeSet<usize>,
    pub(super) index: &'a BTreeMap<PeerId, usize>,
}

impl RulesOut for OnlyThese<'_> {
    fn rules_out(&self, member: &Member) -> bool {
        self.index.get(&member.id).is_none_or(|peer| !self.peers.contains(peer))
    }
}
