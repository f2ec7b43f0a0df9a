//! A search that begins here: the query goes through the same rules as those of others, and its hits are grouped by
//! content for whoever asked.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};

use super::{
    counters::Counts,
    handle::{Events, Outcome},
    search::{NotServed, Running, Searcher},
    view::View,
};
use crate::{
    index::Index,
    protocol::{
        action::{ActionError, Coverage, ErrorKind, Hit, Scope, SearchAsk, SearchEvent},
        flood::{self, choose_mode},
        hits::Groups,
        id::QueryId,
        query::Query,
        relay::Report,
    },
    wire::peer::Found,
};

/// Starts searches and remembers the hits of the last one, so that `get 3` has a meaning.
#[derive(Debug)]
pub struct Origin {
    view: View,
    index: Index,
    searcher: Arc<Searcher>,
    counts: Counts,
    ttl: u8,
    wait: Duration,
    // Held to replace or to read, never across an await.
    last: Arc<Mutex<Vec<Hit>>>,
}
