//! `search`: hits as they come, then who answered.
//!
//! Exit codes: 0 with a hit; 3 with none when everyone in scope answered; 7 with none when someone did not, for then it
//! is not known that there is nothing.

use std::collections::HashMap;

use futures::StreamExt;

use super::{
    args::SearchArgs,
    exit::{Ended, Exit, Failure},
    json,
    output::{Output, size},
};
use crate::{
    peer::Handle,
    protocol::{
        action::{ActionError, Coverage, ErrorKind, Hit, SearchAsk, SearchEvent},
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
    let mut events = peer.search(ask).await?;
    let mut shown = Shown::default();
    while let Some(event) = events.next().await {
        match event? {
            SearchEvent::Hit(hit) => shown.hit(out, &hit)?,
            SearchEvent::Done(coverage) => return shown.done(out, &coverage),
        }
    }
    Err(ActionError::new(ErrorKind::Unreachable, "the peer ended the search without an answer")
        .hint("is it still running? see `floodplain status`")
        .into())
}

/// Holders printed so far, by the hit's number.
#[derive(Default)]
struct Shown(HashMap<u32, usize>);

impl Shown {
    fn hit(&mut self, out: &mut Output, hit: &Hit) -> Result<(), Failure> {
        let before = self.0.insert(hit.number, hit.holders.len());
        if out.style.json {
            return out.json(&json::Hit::from(hit));
        }
        let holders: Vec<_> = hit
            .holders
            .iter()
            .skip(if out.style.is_rich { before.unwrap_or(0) } else { 0 })
            .map(|holder| match holder.zone {
                Some(zone) => format!("{} (zone {zone})", holder.peer),
                None => holder.peer.to_string(),
            })
            .collect();
        let (number, holders) = (hit.number, holders.join(", "));
        let have = if hit.have { "here already" } else { "" };
        if !out.style.is_rich {
            let hash = hit.file.hash.map(|hash| hash.to_string()).unwrap_or_default();
            let path = Printable(&hit.file.path);
            return out
                .line(format_args!("{number}\t{path}\t{}\t{hash}\t{holders}\t{have}", hit.file.size_bytes));
        }
        match before {
            None => {
                let (name, size) = (Printable(hit.file.name()), size(hit.file.size_bytes));
                let have = if hit.have { "  (here already)" } else { "" };
                out.line(format_args!("{number:>4}  {name:<40}  {size:>10}  {holders}{have}"))
            }
            Some(_) if holders.is_empty() => Ok(()),
            Some(_) => out.line(format_args!("{number:>4}  also: {holders}")),
        }
    }

    fn done(&self, out: &mut Output, coverage: &Coverage) -> Ended {
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
        }
        Ok(match (self.0.is_empty(), coverage.is_complete()) {
            (false, _) => Exit::Done,
            (true, true) => Exit::NotFound,
            (true, false) => Exit::TimedOut,
        })
    }
}
