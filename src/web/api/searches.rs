//! Searches: begun by one request, watched by others.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, response::Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Api};
use crate::{
    protocol::{
        action::{Scope, SearchAsk},
        query::MAX_QUERY_BYTES,
    },
    web::{
        extract::{Body, NoParams, Params, Segments, whole},
        json,
        paging::{Page, PageParams},
        problem::Problem,
        searches::{News, Search, State as SearchState},
        sse::{event, last_event_id},
    },
    wire::control::{MAX_TTL, MAX_WAIT},
};

/// How far a search goes.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Zones {
    /// The peer's own zone.
    #[default]
    Mine,
    /// Every zone that can be reached.
    All,
}

impl From<Zones> for Scope {
    fn from(zones: Zones) -> Self {
        match zones {
            Zones::Mine => Self::Mine,
            Zones::All => Self::All,
        }
    }
}

/// A search to begin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchBody {
    /// Words, `"a phrase"`, `-not`, `ext:pdf`, `size:>1M`, `type:video`, `peer:ana`, `hash:..`; at most 512 bytes.
    #[schema(min_length = 1, max_length = 512)]
    query: String,
    /// How far.
    #[serde(default)]
    zones: Zones,
    /// Set: classic flood with this TTL.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 32)]
    ttl: Option<u8>,
    /// How long to wait for answers; the peer's setting unless told.
    #[schema(exclusive_minimum = 0, maximum = 60)]
    wait_seconds: Option<f64>,
    /// Stop after so many hits.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 4_294_967_295_i64, value_type = Option<i64>)]
    want: Option<u32>,
}

/// A search that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchInfo {
    id: String,
    query: String,
    /// `mine` or `all`.
    zones: &'static str,
    /// `running`, `done`, `failed` or `cancelled`.
    state: &'static str,
}

/// A search and a page of its hits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchPage {
    #[serde(flatten)]
    search: SearchInfo,
    /// Who answered; `null` until it is done.
    #[schema(required)]
    coverage: Option<json::Coverage>,
    items: Vec<json::Hit>,
    #[schema(required)]
    next_page_token: Option<String>,
}

impl SearchInfo {
    fn of(search: &Search, state: &SearchState) -> Self {
        Self {
            id: search.id.clone(),
            query: search.query.clone(),
            zones: search.scope.name(),
            state: state.name(),
        }
    }
}

/// What a search asks, within its bounds.
pub(super) fn checked_query(query: String) -> Result<String, Problem> {
    if query.trim().is_empty() {
        return Err(Problem::usage("query: must hold a word to search for"));
    }
    if query.len() > MAX_QUERY_BYTES {
        return Err(Problem::usage(format!("query: must be at most {MAX_QUERY_BYTES} bytes")));
    }
    Ok(query)
}

/// Begins a search, which runs at once. It is kept with its hits until it is one of the oldest of 32.
#[utoipa::path(
    post, path = "/api/v1/searches", tag = "search", request_body = SearchBody,
    responses(
        (status = 201, body = SearchInfo, headers(("Location" = String, description = "Where its hits are"))),
    ),
)]
pub(super) async fn begin(
    State(api): State<Api>,
    _: NoParams,
    Body(body): Body<SearchBody>,
) -> Answer<(StatusCode, [(header::HeaderName, String); 1], Json<SearchInfo>)> {
    let wait = match body.wait_seconds {
        None => None,
        Some(seconds) if seconds > 0.0 && seconds <= MAX_WAIT.as_secs_f64() => {
            Some(Duration::from_secs_f64(seconds).max(Duration::from_millis(1)))
        }
        Some(_) => {
            return Err(Problem::usage(format!(
                "wait_seconds: must be above 0 and at most {}",
                MAX_WAIT.as_secs()
            )));
        }
    };
    if body.ttl.is_some_and(|ttl| !(1..=MAX_TTL).contains(&u32::from(ttl))) {
        return Err(Problem::usage(format!("ttl: must be 1 to {MAX_TTL}")));
    }
    if body.want == Some(0) {
        return Err(Problem::usage("want: must be 1 or more"));
    }
    let (query, scope) = (checked_query(body.query)?, Scope::from(body.zones));
    let ask = SearchAsk { text: query.clone(), scope, ttl: body.ttl, wait, want: body.want };
    api.searches().make_room()?;
    let events = api.answer(api.peer().search(ask)).await?;
    let search = api.searches().keep(query, scope, events);
    let place = format!("/api/v1/searches/{}", search.id);
    let info = SearchInfo::of(&search, &SearchState::Running);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(info)))
}

/// The searches that are kept, from the oldest to the newest.
#[utoipa::path(
    get, path = "/api/v1/searches", tag = "search", params(PageParams),
    responses(
        (status = 200, body = Page<SearchInfo>),
    ),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Params(page): Params<PageParams>,
) -> Answer<Json<Page<SearchInfo>>> {
    let show = |search: &Arc<Search>| SearchInfo::of(search, &search.state());
    Ok(Json(Page::of(&api.searches().list(), page.window()?, show)))
}

/// A search and its hits so far, in order of their numbers.
#[utoipa::path(
    get, path = "/api/v1/searches/{id}", tag = "search", params(("id" = String, Path), PageParams),
    responses(
        (status = 200, body = SearchPage),
        (status = 404, description = "There is no such search"),
    ),
)]
pub(super) async fn get(
    State(api): State<Api>,
    Segments(id): Segments<String>,
    Params(page): Params<PageParams>,
) -> Answer<Json<SearchPage>> {
    let window = page.window()?;
    let search = api.searches().get(&id)?;
    let (hits, has_more, state) = search.page(window.start, window.size);
    let coverage = match &state {
        SearchState::Done(coverage) => Some(coverage.into()),
        _ => None,
    };
    Ok(Json(SearchPage {
        search: SearchInfo::of(&search, &state),
        coverage,
        items: hits.iter().map(json::Hit::from).collect(),
        next_page_token: has_more.then(|| (window.start + hits.len()).to_string()),
    }))
}

/// A search as it runs: `hit` for each hit that is new or has more holders, and `done`, `problem` or `cancelled` at its end.
/// `Last-Event-ID` goes on behind that event.
#[utoipa::path(
    get, path = "/api/v1/searches/{id}/events", tag = "search",
    params(("id" = String, Path), ("Last-Event-ID" = Option<String>, Header, pattern = "^[0-9]{1,18}$")),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"),
        (status = 404, description = "There is no such search"),
    ),
)]
pub(super) async fn events(
    State(api): State<Api>,
    Segments(id): Segments<String>,
    _: NoParams,
    headers: HeaderMap,
) -> Answer<Response> {
    let search = api.searches().get(&id)?;
    let seen = match last_event_id(&headers) {
        None => 0,
        Some(id) => id.parse().map_err(|_| Problem::usage("Last-Event-ID: is none that this search gave"))?,
    };
    let events = stream::unfold(Some((search, seen)), |reading| async move {
        let (search, seen) = reading?;
        match search.after(seen).await {
            News::Hits(hits) => {
                let seen = hits.last().map_or(seen, |(count, _)| *count);
                let told = hits.iter().flat_map(|(count, hit)| told("hit", *count, &json::Hit::from(hit)));
                Some((told.collect::<Bytes>(), Some((search, seen))))
            }
            News::Ended(count, state) => {
                let last = match &state {
                    SearchState::Done(coverage) => told("done", count, &json::Coverage::from(coverage)),
                    SearchState::Failed(error) => {
                        event("problem", &count.to_string(), &Problem::from(error.clone()).to_json())
                    }
                    SearchState::Running | SearchState::Cancelled => {
                        event("cancelled", &count.to_string(), "{}")
                    }
                };
                Some((last, None))
            }
        }
    });
    api.streams().open(events.boxed())
}

fn told(name: &str, count: u64, data: &impl Serialize) -> Bytes {
    event(name, &count.to_string(), &serde_json::to_string(data).expect("texts and numbers become JSON"))
}

/// Cancels a search and forgets it.
#[utoipa::path(
    delete, path = "/api/v1/searches/{id}", tag = "search", params(("id" = String, Path)),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such search"),
    ),
)]
pub(super) async fn forget(
    State(api): State<Api>,
    Segments(id): Segments<String>,
    _: NoParams,
) -> Answer<StatusCode> {
    api.searches().forget(&id)?;
    Ok(StatusCode::NO_CONTENT)
}
