//! `searches`: the searches that are asked again and again, and what they find.

use std::time::Duration;

use super::{
    args::SearchesAction,
    exit::{Ended, Exit, Failure},
    json,
    output::Output,
    search,
};
use crate::{
    peer::Handle,
    protocol::{
        action::{ActionError, ErrorKind, NewHit, SavedSearch, SearchAsk},
        name::Printable,
    },
};

/// One wait for news; then the next begins.
const WATCH_WAIT: Duration = Duration::from_secs(20);

/// Lists, removes, runs or watches saved searches.
pub async fn searches(peer: &Handle, out: &mut Output, action: Option<&SearchesAction>) -> Ended {
    match action {
        None | Some(SearchesAction::Ls) => print(out, &peer.saved_searches().await?)?,
        Some(SearchesAction::Rm { name }) => {
            peer.remove_saved_search(name.clone()).await?;
            if out.style.json {
                out.json(&json::Done {})?;
            } else {
                out.note(format_args!("{} is not asked any more", Printable(name)));
            }
        }
        Some(SearchesAction::Run { name }) => {
            let all = peer.saved_searches().await?;
            let saved = all.into_iter().find(|saved| saved.name == *name).ok_or_else(|| {
                ActionError::new(ErrorKind::NotFound, format!("no search is saved as `{name}`"))
                    .hint("`floodplain searches` lists them")
            })?;
            let ask = SearchAsk { text: saved.text, scope: saved.scope, ..SearchAsk::default() };
            return search::print(peer, out, ask).await;
        }
        Some(SearchesAction::Watch) => loop {
            for hit in peer.take_new_hits(WATCH_WAIT).await? {
                new_hit(out, &hit)?;
            }
        },
    }
    Ok(Exit::Done)
}

fn print(out: &mut Output, searches: &[SavedSearch]) -> Result<(), Failure> {
    if out.style.json {
        return searches.iter().try_for_each(|search| out.json(&json::SavedSearch::from(search)));
    }
    let rows = searches.iter().map(|search| {
        let run = search.last_run.and_then(json::time).unwrap_or_default();
        [
            search.name.clone(),
            search.text.clone(),
            search.scope.name().into(),
            search.known_hits.to_string(),
            search.new_hits.to_string(),
            run,
            search.problem.clone().unwrap_or_default(),
        ]
    });
    out.table(["name", "query", "zones", "known", "new", "last run", "problem"], rows)
}

fn new_hit(out: &mut Output, hit: &NewHit) -> Result<(), Failure> {
    if out.style.json {
        return out.json(&json::NewHit::from(hit));
    }
    let hash = hit.file.hash.map(|hash| hash.to_string()).unwrap_or_default();
    let (path, peers) = (Printable(&hit.file.path), hit.peers.join(", "));
    out.line(format_args!(
        "{}\t{path}\t{}\t{hash}\t{}",
        Printable(&hit.search),
        hit.file.size_bytes,
        Printable(&peers)
    ))
}
