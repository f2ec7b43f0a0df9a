//! Queries at this peer: lets them in, asks the rules what to do with each, and starts what is to be done.
//!
//! Queries of others and own ones take the same way. Whoever listens to a query runs it; when it goes away the query
//! ends, and with it every branch behind it.

mod alarm;
mod branch;
mod flow;
mod gate;
mod in_place;
mod parts;
mod second;
mod turns;
mod wanted;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;

pub(crate) use self::flow::Running;
use self::{
    flow::{Flow, REPORT_GRACE},
    gate::{Gate, Refused},
    in_place::{Absences, InPlace},
    parts::Parts,
    second::SecondLook,
    turns::{Meter, Metered, Turns},
};
use super::{
    activity::Activities,
    counters::{Counts, Why},
    links::Links,
    room::{Room, Sender},
    summaries::Summaries,
    upload::Uploads,
    view::{Knowledge, View},
    zones::Zones,
};
use crate::{
    index::Index,
    net::{Caller, guard::Scope},
    protocol::{
        claim::{Reach, RulesOut},
        crossing::RulesOutZones,
        flood::{self, QueryCache, Refusal, Verdict},
        id::{PeerId, QueryId},
        report::Report,
        roster::{Member, Roster},
        strikes::Tally,
        summary::Probe,
    },
    shutdown::Shutdown,
    wire::peer::Found,
};

/// Messages of one query that wait for whoever listens; a full queue slows the branches down.
const FOUND_QUEUE: usize = 2;

/// Why a query does not run here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotServed {
    /// The rules say no.
    #[error("{0}")]
    Refused(Refusal),
    /// There is no room for it: `RESOURCE_EXHAUSTED`.
    #[error("{0}")]
    NoRoom(Refusal, Refused),
    /// Too much of this sender runs already: `RESOURCE_EXHAUSTED`.
    #[error("too many queries of this sender run here already")]
    Busy(Refused),
    /// This sender asks more than it may: `RESOURCE_EXHAUSTED`.
    #[error("too many queries of this sender come here")]
    Muted(Refused),
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

/// A query that the cache was told to serve; dropped, it has ended.
#[derive(Debug)]
struct Served(Arc<Mutex<QueryCache>>, QueryId);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).on_end(&self.1, Instant::now());
    }
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
    activities: Activities,
    gate: Gate,
    room: Room,
    turns: Arc<Turns>,
    // Held for one verdict, never across an await.
    cache: Arc<Mutex<QueryCache>>,
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
        let (gate, room, turns) = (Gate::new(), Room::of_peer(), Arc::new(Turns::of_machine()));
        let (cache, activities) = (Arc::new(Mutex::new(cache)), Activities::new());
        Self { view, index, links, uploads, words, counts, activities, gate, room, turns, cache, shutdown }
    }

    /// Where its queries are told.
    pub(crate) fn activities(&self) -> &Activities {
        &self.activities
    }

    /// Queries that run now.
    pub(crate) fn running(&self) -> usize {
        self.room.holding()
    }

    /// What senders of queries have been given so far.
    pub(crate) fn tally(&self) -> Tally {
        self.gate.tally()
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
    /// began here, and its report goes back as counts; so is one for whose origin this peer answers for the zone, and its report
    /// goes back as it is.
    pub(crate) fn serve_other(
        self: &Arc<Self>,
        running: Running,
    ) -> Result<BoxStream<'static, Found>, NotServed> {
        if running.rules.reach == Reach::AllZones {
            return self.serve_whole_zone(running);
        }
        if !matches!(running.rules.reach, Reach::WholeZone(_)) {
            let probe = Probe::of(&running.query);
            return self.serve(running, &probe);
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
        let found = self.serve(running, &probe)?;
        let (summaries, searcher) = (self.words.summaries.clone(), self.clone());
        Ok(SecondLook { summaries, searcher, probe, again }.behind(found))
    }

    /// Takes a query, or says why not. What is found comes as it is found; the last item is the report. Dropping the
    /// stream ends everything behind it.
    fn serve(
        self: &Arc<Self>,
        running: Running,
        probe: &Probe,
    ) -> Result<BoxStream<'static, Found>, NotServed> {
        let now = Instant::now();
        let knowledge = self.view.now();
        let roster = knowledge.roster.clone().ok_or(NotServed::NoZone)?;
        let is_own = running.rules.from == knowledge.me.id;
        let sender = sender_of(&running, &knowledge, &roster);
        if !is_own {
            self.gate.enter(sender, now).map_err(|refused| self.refused(NotServed::Muted(refused)))?;
        }
        let busy = || self.refused(NotServed::Busy(self.gate.refuse(sender, now)));
        let place = self.room.enter(sender).map_err(|_| busy())?;
        let line = self.turns.line(sender, now);
        // What would have to wait for half of its time is better asked elsewhere.
        let patience = running.rules.deadline.saturating_duration_since(now) / 2;
        let metered = match line.clone().map(|line| Meter::begin(line, patience, now)) {
            Some(None) => return Err(busy()),
            Some(metered) => metered,
            None => None,
        };
        let (me, neighbors, gateways) = (knowledge.me.id, &knowledge.neighbors, &knowledge.gateways);
        let only = running.only.clone().map(Only);
        let decide = |rule: &dyn RulesOut, zones: &dyn RulesOutZones| {
            let rule: &dyn RulesOut = only.as_ref().map_or(rule, |only| only);
            let seen = flood::View { me, roster: &roster, neighbors, gateways, rule, zones };
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            flood::on_query(&mut cache, &running.rules, &seen, now)
        };
        let verdict = self
            .words
            .zones
            .with_rule(probe, |zones| self.words.summaries.with_rule(probe, |rule| decide(rule, zones)));
        let (is_searched_here, plan) = match verdict {
            Verdict::Refuse(refusal @ (Refusal::NoRoom | Refusal::NoShare | Refusal::TooOften)) => {
                return Err(self.refused(NotServed::NoRoom(refusal, self.gate.refuse(sender, now))));
            }
            Verdict::Refuse(refusal) => return Err(self.refused(NotServed::Refused(refusal))),
            Verdict::Duplicate => {
                self.counts.add_duplicate_dropped();
                return Ok(stream::iter([Found::Done(Report::duplicate())]).boxed());
            }
            Verdict::Serve { is_searched_here, plan } => (is_searched_here, plan),
        };
        let served = Served(self.cache.clone(), running.id);
        if !is_own && is_searched_here {
            self.counts.add_query_answered();
        }
        let (out, found) = mpsc::channel(FOUND_QUEUE);
        let parts = Parts {
            index: self.index.clone(),
            links: self.links.clone(),
            turns: self.turns.clone(),
            uploads: self.uploads.clone(),
            activities: self.activities.clone(),
            shutdown: self.shutdown.clone(),
        };
        let absences = Arc::new(Absences::new(now));
        let latest = running.rules.deadline + REPORT_GRACE;
        let (meter, wait) = metered.map_or((None, Duration::ZERO), |(meter, wait)| (Some(meter), wait));
        let away = absences.clone();
        let run = async move {
            let _served = served;
            let mut begun = now;
            if !wait.is_zero() {
                sleep(wait).await;
                begun = Instant::now();
            }
            let (out, place) = ((out, away), (sender, line, place));
            let (flow, commands) =
                Flow::new(parts, knowledge, running, (is_searched_here, plan), begun, out, place);
            flow.run(commands, is_searched_here).await;
        };
        let run = run.boxed();
        let mut run = match meter {
            Some(meter) => Metered::new(run, meter).boxed(),
            None => run,
        };
        // What it asks of others leaves now, however long whoever listens takes to listen.
        if run.as_mut().now_or_never().is_some() {
            return Ok(ReceiverStream::new(found).boxed());
        }
        Ok(InPlace::new(run, latest, found, absences).boxed())
    }

    fn refused(&self, why: NotServed) -> NotServed {
        self.counts.add_refused(match &why {
            NotServed::Refused(_) | NotServed::NoZone => Why::Rules,
            NotServed::NoRoom(..) => Why::NoRoom,
            NotServed::Busy(_) => Why::Busy,
            NotServed::Muted(_) => Why::Muted,
        });
        why
    }
}

/// For whom a query runs. A second look for another is no own query.
fn sender_of(running: &Running, knowledge: &Knowledge, roster: &Roster) -> Sender {
    match running.asked_by {
        id if id == knowledge.me.id => Sender::Me,
        id if roster.get(&id).is_none() && knowledge.gateways.get(&id).is_none() => Sender::Stranger,
        id if running.rules.is_senders_own() => Sender::Asks(id),
        id => Sender::Relays(id),
    }
}
