//! The second look of a search at those whom it passed by, when one of them had announced new words a moment before.
//!
//! Invariant: a report that goes on from here names nobody as ruled out who had announced, before the search ended, words
//! that its summary did not have.

use std::sync::Arc;

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{super::summaries::Summaries, Running, Searcher};
use crate::{
    protocol::{
        claim::{Claim, Reach},
        id::{PeerId, QueryId},
        report::Report,
        roster::Roster,
        summary::Probe,
    },
    wire::peer::Found,
};

/// What it needs.
pub(super) struct SecondLook {
    pub(super) summaries: Summaries,
    pub(super) searcher: Arc<Searcher>,
    pub(super) probe: Probe,
    /// The search, to be run once more.
    pub(super) again: Running,
}

enum State {
    First(BoxStream<'static, Found>, Box<SecondLook>),
    Second(BoxStream<'static, Found>, Report),
    Ended,
}

impl SecondLook {
    /// What is found, its report corrected by the second look.
    pub(super) fn behind(self, found: BoxStream<'static, Found>) -> BoxStream<'static, Found> {
        let looks = stream::unfold(State::First(found, Box::new(self)), |mut state| async move {
            loop {
                state = match state {
                    State::First(mut found, look) => match found.next().await? {
                        Found::Done(mut report) => match look.begin(&mut report).await {
                            Some(again) => State::Second(again, report),
                            None => return Some((Found::Done(report), State::Ended)),
                        },
                        hits @ Found::Hits(_) => return Some((hits, State::First(found, look))),
                    },
                    State::Second(mut found, mut first) => match found.next().await {
                        Some(Found::Done(report)) => {
                            first.merge(&report);
                            return Some((Found::Done(first.settled()), State::Ended));
                        }
                        Some(hits) => return Some((hits, State::Second(found, first))),
                        None => return None,
                    },
                    State::Ended => return None,
                };
            }
        });
        looks.boxed()
    }

    /// Those whom it is about are ruled out no more; one that cannot begin leaves them out, and the report says so.
    async fn begin(&self, report: &mut Report) -> Option<BoxStream<'static, Found>> {
        // One that has enough, or no time, says so itself.
        let ruled_out = &report.ruled_out - &report.vouched_for;
        if ruled_out.is_empty() || report.truncated {
            return None;
        }
        let only = self.summaries.wrongly_ruled_out(&ruled_out, &self.probe).await;
        if only.is_empty() {
            return None;
        }
        let passed: Vec<u64> = only.iter().map(PeerId::short).collect();
        let mut again = self.again.clone();
        again.id = QueryId::random(&mut rand::rng());
        again.only = Some(Arc::new(only));
        // A claim over the roster as it is now, by this peer, and no further than its zone.
        let now = self.searcher.view.now();
        again.rules.id = again.id;
        again.rules.from = now.me.id;
        again.rules.claim = Some(Claim { before: now.me.id });
        again.rules.roster_revision = now.roster.as_deref().map_or(0, Roster::revision);
        again.rules.reach = Reach::Inside;
        let begun = self.searcher.serve(again, &self.probe);
        unrule(report, &passed, begun.is_ok());
        begun.inspect_err(|error| tracing::debug!(%error, "no second look")).ok()
    }
}

/// These were passed by wrongly; somebody looks at them now, or nobody does.
fn unrule(report: &mut Report, passed: &[u64], is_looked_at: bool) {
    for short in passed {
        report.ruled_out.remove(short);
    }
    report.truncated |= !is_looked_at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_look_that_is_refused_leaves_out_those_whom_it_was_about_and_says_so() {
        let first = Report { answered: [1].into(), ruled_out: [2, 3, 4].into(), ..Report::default() };
        let mut refused = first.clone();
        unrule(&mut refused, &[3], false);
        assert_eq!((refused.ruled_out, refused.truncated), ([2, 4].into(), true));
        let mut begun = first;
        unrule(&mut begun, &[3], true);
        assert_eq!((&begun.ruled_out, begun.truncated), (&[2, 4].into(), false));
        begun.merge(&Report { answered: [3].into(), ..Report::default() });
        assert_eq!(begun.settled().answered, [1, 3].into());
    }
}
