//! `search`: the hits, best first once all are there, then who answered; with `--json` each hit as it comes.
//!
//! Exit codes: 0 with a hit; 3 with none when everyone in scope answered; 7 with none when someone did not, for then it
//! is not known that there is nothing.

use std::collections::BTreeMap;

use futures::StreamExt;

use super::{
    args::SearchArgs,
    exit::{Ended, Exit, Failure},
    json,
    output::{Output, size},
};
use crate::{
    console::view,
    peer::Handle,
    protocol::{
        action::{ActionError, Coverage, ErrorKind, Hit, SaveAsk, SearchAsk, SearchEvent},
        hits::in_order,
        name::Printable,
    },
};

/// Searches and prints.
pub async fn search(peer: &Handle, out: &mut Output, args: &SearchArgs) -> Ended {
    let ask = SearchAsk {
        text: args.query.join(" "),
        scope: args.zones.into(),
        ttl: args.ttl,
        wait: args.wait,
        want: args.limit,
    };
    if let Some(name) = &args.save {
        // First, so that nothing comes between what is printed now and what is told later.
        let saved = peer
            .save_search(SaveAsk { name: name.clone(), text: ask.text.clone(), scope: ask.scope })
            .await?;
        if !out.style.json {
            let saved = Printable(&saved.name);
            out.note(format_args!("saved as {saved}; `floodplain searches watch` tells what is new"));
        }
    }
    print(peer, out, ask).await
}

/// Runs a search and prints what it finds; what was found before an error is printed too.
pub(super) async fn print(peer: &Handle, out: &mut Output, ask: SearchAsk) -> Ended {
    let text = ask.text.clone();
    let mut events = peer.search(ask).await?;
    let mut found = Found::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(SearchEvent::Hit(hit)) => found.take(out, hit)?,
            Ok(SearchEvent::Done(coverage)) => return found.done(out, &text, &coverage),
            Err(error) => {
                found.print(out)?;
                return Err(error.into());
            }
        }
    }
    found.print(out)?;
    Err(ActionError::new(ErrorKind::Unreachable, "the peer ended the search without an answer")
        .hint("is it still running? see `floodplain status`")
        .into())
}

/// Hits so far, by number, with all holders told so far; the peer bounds them.
#[derive(Default)]
struct Found(BTreeMap<u32, Hit>);

impl Found {
    fn take(&mut self, out: &mut Output, hit: Hit) -> Result<(), Failure> {
        if out.style.json {
            out.json(&json::Hit::from(&hit))?;
        }
        self.0.insert(hit.number, hit);
        Ok(())
    }

    /// All of them, best first; with `--json` they were printed as they came.
    fn print(&self, out: &mut Output) -> Result<(), Failure> {
        if out.style.json {
            return Ok(());
        }
        in_order(self.0.values()).into_iter().try_for_each(|hit| line(out, hit))
    }

    fn done(&self, out: &mut Output, text: &str, coverage: &Coverage) -> Ended {
        self.print(out)?;
        if out.style.json {
            out.json(&json::SearchDone::from(coverage))?;
        } else {
            let found = match self.0.len() {
                0 if coverage.is_complete() => "nothing found".into(),
                0 => "nothing found so far, since not everyone was heard".into(),
                1 => "1 hit".to_owned(),
                hits => format!("{hits} hits"),
            };
            out.note(format_args!("{found}; {coverage}"));
            if let Some(question) = view::suggestions(text, coverage) {
                out.note(question);
            }
        }
        Ok(match (self.0.is_empty(), coverage.is_complete()) {
            (false, _) => Exit::Done,
            (true, true) => Exit::NotFound,
            (true, false) => Exit::TimedOut,
        })
    }
}

fn line(out: &mut Output, hit: &Hit) -> Result<(), Failure> {
    let (number, holders) = (hit.number, hit.places());
    if out.style.is_rich {
        let (name, size) = (Printable(hit.file.name()), size(hit.file.size_bytes));
        let have = if hit.have { "  (here already)" } else { "" };
        return out.line(format_args!("{number:>4}  {name:<40}  {size:>10}  {holders}{have}"));
    }
    let have = if hit.have { "here already" } else { "" };
    let (path, size_bytes) = (Printable(&hit.file.path), hit.file.size_bytes);
    let hash = hit.file.hash.map(|hash| hash.to_string()).unwrap_or_default();
    out.line(format_args!("{number}\t{path}\t{size_bytes}\t{hash}\t{holders}\t{have}"))
}
