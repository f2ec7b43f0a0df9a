//! Queries at this peer: lets them in, asks the rules what to do with each, and starts what is to be done.
//!
//! Queries of others and own ones take the same way. One task runs a query; when whoever listens goes away the task
//! ends, and with it every branch behind it.

mod branch;
mod flow;
mod room;
mod second;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub(crate) use self::{
    flow::Running,
    room::{Room, Sender},
};
use self::{
    flow::{Flow, Parts},
    room::Turns,
    second::SecondLook,
};
use super::{
    counters::Counts, links::Links, summaries::Summaries, upload::Uploads, view::View, zones::Zones,
};
use crate::{
    index::Index,
    net::{Caller, guard::Scope},
    protocol::{
        claim::{Reach, RulesOut},
        crossing::RulesOutZones,
        flood::{self, QueryCache, Refusal, Verdict},
        id::PeerId,
        report::Report,
        roster::Member,
        summary::Probe,
    },
    shutdown::Shutdown,
    wire::peer::Found,
};

/// Messages of one query that wait for whoever listens; a full queue slows the branches down.
const FOUND_QUEUE: usize = 2;

/// Why a query does not run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotServed {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too much of this sender runs already.
    #[error("too many queries of this sender run here already")]
    Busy,
    /// This peer is in no zone.
    #[error("this peer has not joined a zone")]
    NoZone,
}

/// Passes everyone by but these.
#[derive(Debug)]
struct Only(Arc<BTreeSet<PeerId>>);

impl RulesOut for Only {
    fn rules_out(&self, member: &Member) -> bool {
        !self.0.contains(&member.id)
    }
}

/// What is known of the words of others.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    /// Of the members of the zone.
    pub(crate) summaries: Summaries,
    /// Of other zones, at a gateway.
    pub(crate) zones: Zones,
}

/// Runs queries.
#[derive(Debug)]
pub(crate) struct Searcher {
    view: View,
    index: Index,
    links: Arc<Links>,
    uploads: Uploads,
    words: Words,
    counts: Counts,
    room: Room,
    turns: Arc<Turns>,
    // Held for one verdict, never across an await.
    cache: Mutex<QueryCache>,
    shutdown: Shutdown,
}

impl Searcher {
    /// With an empty query cache.
    pub(crate) fn new(
        view: View,
        index: Index,
        (links, uploads): (Arc<Links>, Uploads),
        words: Words,
        counts: Counts,
        cache: QueryCache,
        shutdown: Shutdown,
    ) -> Self {
        let (room, turns, cache) = (Room::of_peer(), Arc::new(Turns::of_machine()), Mutex::new(cache));
        Self { view, index, links, uploads, words, counts, room, turns, cache, shutdown }
    }

    /// Queries that run now.
    pub(crate) fn running(&self) -> usize {
        self.room.holding()
    }

    /// That is this peer.
    pub(crate) fn is_me(&self, id: &PeerId) -> bool {
        self.view.now().me.id == *id
    }

    /// That caller may ask what belongs to the zone.
    pub(crate) fn admits(&self, caller: &Caller) -> bool {
        self.view.admits(caller)
    }

    /// Takes a query of another peer, or says why not. One that comes from another zone is asked of this one as if it
    /// began here, and its report goes back as counts.
    pub(crate) fn serve_other(
        self: &Arc<Self>,
        running: Running,
    ) -> Result<BoxStream<'static, Found>, NotServed> {
        if !matches!(running.rules.reach, Reach::WholeZone(_)) {
            return self.serve(running);
        }
        let knowledge = self.view.now();
        let roster = knowledge.roster.clone().ok_or(NotServed::NoZone)?;
        let me = knowledge.me.id;
        let found = self.serve_whole_zone(running)?.map(move |found| match found {
            Found::Done(report) => Found::Done(report.as_zone(&roster, me)),
            hits @ Found::Hits(_) => hits,
        });
        Ok(found.boxed())
    }

    /// Takes a query that begins here for its zone, and looks again at those that it should not have passed by.
    pub(crate) fn serve_whole_zone(
        self: &Arc<Self>,
        running: Running,
    ) -> Result<BoxStream<'static, Found>, NotServed> {
        let (again, probe) = (running.clone(), Probe::of(&running.query));
        let found = self.serve(running)?;
        let (summaries, searcher) = (self.words.summaries.clone(), self.clone());
        Ok(SecondLook { summaries, searcher, probe, again }.behind(found))
    }

    /// Takes a query, or says why not. What is found comes as it is found; the last item is the report. Dropping the
    /// stream ends everything behind it.
    fn serve(self: &Arc<Self>, running: Running) -> Result<BoxStream<'static, Found>, NotServed> {
        let now = Instant::now();
        let knowledge = self.view.now();
        let roster = knowledge.roster.clone().ok_or(NotServed::NoZone)?;
        let is_own = running.rules.from == knowledge.me.id;
        // A second look for another is no own query.
        let sender = match running.asked_by {
            id if id == knowledge.me.id => Sender::Me,
            id if roster.get(&id).is_some() || knowledge.gateways.get(&id).is_some() => Sender::Known(id),
            _ => Sender::Stranger,
        };
        let Ok(place) = self.room.enter(sender) else {
            self.counts.add_queries_refused(1);
            return Err(NotServed::Busy);
        };
        let (me, neighbors, gateways) = (knowledge.me.id, &knowledge.neighbors, &knowledge.gateways);
        let only = running.only.clone().map(Only);
        let probe = Probe::of(&running.query);
        let decide = |rule: &dyn RulesOut, zones: &dyn RulesOutZones| {
            let rule: &dyn RulesOut = only.as_ref().map_or(rule, |only| only);
            let seen = flood::View { me, roster: &roster, neighbors, gateways, rule, zones };
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            flood::on_query(&mut cache, &running.rules, &seen, now)
        };
        let verdict = self
            .words
            .zones
            .with_rule(&probe, |zones| self.words.summaries.with_rule(&probe, |rule| decide(rule, zones)));
        let (is_searched_here, plan) = match verdict {
            Verdict::Refuse(refusal) => {
                self.counts.add_queries_refused(1);
                return Err(refusal.into());
            }
            Verdict::Duplicate => {
                self.counts.add_duplicates_dropped(1);
                return Ok(stream::iter([Found::Done(Report::duplicate())]).boxed());
            }
            Verdict::Serve { is_searched_here, plan } => (is_searched_here, plan),
        };
        if !is_own && is_searched_here {
            self.counts.add_queries_answered(1);
        }
        let (out, found) = mpsc::channel(FOUND_QUEUE);
        let parts = Parts {
            index: self.index.clone(),
            links: self.links.clone(),
            turns: self.turns.clone(),
            uploads: self.uploads.clone(),
            shutdown: self.shutdown.clone(),
        };
        let (flow, commands) =
            Flow::new(parts, knowledge, running, (is_searched_here, plan), now, out, (sender, place));
        // A peer that nobody is behind has answered at the first poll, and needs no task and no change of threads: 18 of
        // the 23 that are asked in a zone of 24.
        let mut run = Box::pin(flow.run(commands, is_searched_here));
        if run.as_mut().now_or_never().is_none() {
            self.shutdown.spawn("query", run);
        }
        Ok(ReceiverStream::new(found).boxed())
    }
}
