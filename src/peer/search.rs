//! Queries at this peer: lets them in, asks the rules what to do with each, and starts what is to be done.
//!
//! Queries of others and own ones take the same way. One task runs a query; when whoever listens goes away the task
//! ends, and with it every branch behind it.

mod flow;
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

pub(crate) use self::flow::Running;
use self::{
    flow::{Flow, Parts},
    second::SecondLook,
};
use super::{counters::Counts, links::Links, summaries::Summaries, view::View};
use crate::{
    index::Index,
    net::limit::Admission,
    protocol::{
        claim::{Reach, RulesOut},
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
/// Queries of one sender at once: as many as a zone's members may have on their way through one neighbor.
const RUNNING_PER_SENDER: usize = 256;
/// Queries at once.
const RUNNING: usize = 1024;

/// Why a query does not run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotServed {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too much runs already.
    #[error("{0}")]
    Busy(crate::net::limit::Full),
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

/// Runs queries.
#[derive(Debug)]
pub(crate) struct Searcher {
    view: View,
    index: Index,
    links: Arc<Links>,
    summaries: Summaries,
    counts: Counts,
    admission: Admission<Option<PeerId>>,
    // Held for one verdict, never across an await.
    cache: Mutex<QueryCache>,
    shutdown: Shutdown,
}

impl Searcher {
    /// With an empty query cache.
    pub(crate) fn new(
        view: View,
        index: Index,
        links: Arc<Links>,
        summaries: Summaries,
        counts: Counts,
        cache: QueryCache,
        shutdown: Shutdown,
    ) -> Self {
        let admission = Admission::new(RUNNING_PER_SENDER, RUNNING);
        Self { view, index, links, summaries, counts, admission, cache: Mutex::new(cache), shutdown }
    }

    /// Queries that run now.
    pub(crate) fn running(&self) -> usize {
        self.admission.running()
    }

    /// That is this peer.
    pub(crate) fn is_me(&self, id: &PeerId) -> bool {
        self.view.now().me.id == *id
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
        let (summaries, searcher) = (self.summaries.clone(), self.clone());
        Ok(SecondLook { summaries, searcher, probe, again }.behind(found))
    }

    /// Takes a query, or says why not. What is found comes as it is found; the last item is the report. Dropping the
    /// stream ends everything behind it.
    fn serve(self: &Arc<Self>, running: Running) -> Result<BoxStream<'static, Found>, NotServed> {
        let now = Instant::now();
        let knowledge = self.view.now();
        let roster = knowledge.roster.clone().ok_or(NotServed::NoZone)?;
        let is_own = running.rules.from == knowledge.me.id;
        // Senders whom nobody knows share one place, so that nobody gains room by making up names.
        let from = &running.rules.from;
        let gateway = || knowledge.gateways.get(from).map(|(_, gateway)| gateway);
        let sender = roster.get(from).or_else(gateway).map(|member| member.id);
        let permit = match self.admission.admit(sender) {
            Ok(permit) => permit,
            Err(full) => {
                self.counts.add_queries_refused(1);
                return Err(NotServed::Busy(full));
            }
        };
        let (me, neighbors, gateways) = (knowledge.me.id, &knowledge.neighbors, &knowledge.gateways);
        let only = running.only.clone().map(Only);
        let verdict = self.summaries.with_rule(&Probe::of(&running.query), |rule| {
            let rule: &dyn RulesOut = only.as_ref().map_or(rule, |only| only);
            let seen = flood::View { me, roster: &roster, neighbors, gateways, rule };
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            flood::on_query(&mut cache, &running.rules, &seen, now)
        });
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
        let parts =
            Parts { index: self.index.clone(), links: self.links.clone(), shutdown: self.shutdown.clone() };
        let (flow, commands) =
            Flow::new(parts, knowledge, running, (is_searched_here, plan), now, out, permit);
        // A peer that nobody is behind has answered at the first poll, and needs no task and no change of threads: 18 of
        // the 23 that are asked in a zone of 24.
        let mut run = Box::pin(flow.run(commands, is_searched_here));
        if run.as_mut().now_or_never().is_none() {
            self.shutdown.spawn("query", run);
        }
        Ok(ReceiverStream::new(found).boxed())
    }
}
