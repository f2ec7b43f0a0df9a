//! The filter of the own zone: fetches the keys of the members as they announce them, and makes a filter of all of them.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Request;

use super::{Published, Zones, publishes};
use crate::{
    peer::view::Knowledge,
    protocol::{
        roster::{Member, Roster},
        summary::{
            book::Book,
            zone::{Basis, ZoneFilter},
        },
    },
    wire::{
        pb::{self, peer_service_client::PeerServiceClient},
        zone_filter::{self as wire, Given, MAX_KEYS_ANSWER_BYTES},
    },
};

/// Keys that are fetched at once.
const FETCHES: usize = 4;
/// A member has this long to give its keys, at most 4 MiB.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// After a fetch that failed the others are asked again.
const FETCH_AGAIN: Duration = Duration::from_secs(5);
/// A new filter is made this long after the one before at the soonest,
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// and so many times as long as that took to make: it takes a twentieth of a core at most.
const REST_FACTOR: u32 = 20;

impl Zones {
    /// Keeps the book of the members' keys while this peer is a gateway, and none otherwise.
    pub(super) async fn fetch_keys(&self) {
        loop {
            let is_to_do = |now: &Knowledge| match publishes(now) {
                Some(_) => !self.missing(now).is_empty(),
                None => !now.is_gateway() && !self.0.summaries.keys().is_empty(),
            };
            let now = self.0.view.until(is_to_do).await;
            let Some(roster) = now.roster.as_deref().filter(|_| publishes(&now).is_some()) else {
                *self.0.summaries.keys_mut() = Book::new();
                continue;
            };
            self.0.summaries.keys_mut().keep_only(roster);
            let fetches = stream::iter(self.missing(&now)).map(|member| async move {
                let fetched = timeout(FETCH_TIMEOUT, self.fetch(&member)).await;
                if let Err(error) = fetched.context("it does not answer").and_then(|fetched| fetched) {
                    tracing::debug!(peer = %member.name, %error, "could not fetch keys");
                    return false;
                }
                self.0.keys_came.send_replace(());
                true
            });
            let is_fetched: Vec<bool> = fetches.buffer_unordered(FETCHES).collect().await;
            if is_fetched.contains(&false) {
                sleep(FETCH_AGAIN).await;
            }
        }
    }

    fn missing(&self, now: &Knowledge) -> Vec<Member> {
        let book = self.0.summaries.keys();
        let members = now.roster.as_deref().map_or(&[][..], Roster::members);
        members.iter().filter(|member| member.id != now.me.id && book.misses(member)).cloned().collect()
    }

    async fn fetch(&self, member: &Member) -> anyhow::Result<()> {
        let held = self.0.summaries.keys().held(member).map(|(version, keys)| (version, keys.clone()));
        let channel = self.0.links.channel(member)?;
        let mut client = PeerServiceClient::new(channel).max_decoding_message_size(MAX_KEYS_ANSWER_BYTES);
        let held_version = held.as_ref().map_or(0, |(version, _)| *version);
        let response = client.get_keys(Request::new(pb::GetKeysRequest { held_version })).await?;
        let (version, told) = wire::keys(response.into_inner())?;
        // Announced before it had them: asked again at once it would say the same.
        anyhow::ensure!(version >= member.summary.version, "it gave older keys than it announced");
        let keys = match (told, held) {
            (Given::Keys(keys), _) => Some(Arc::new(keys)),
            (Given::Held, Some((held_version, keys))) if held_version == version => Some(keys),
            (Given::Unknown, _) => None,
            (Given::Held, _) => anyhow::bail!("it gave no keys, and none of that version are held"),
        };
        self.0.summaries.keys_mut().hold(member.id, member.incarnation, version, keys);
        Ok(())
    }

    /// Tells the own zone's filter while this peer is a gateway.
    pub(super) async fn publish(&self) {
        let mut changes = self.0.view.changes();
        let (mut stamps, mut keys_came) = (self.0.summaries.stamps(), self.0.keys_came.subscribe());
        let mut last: Option<(Arc<ZoneFilter>, Basis)> = None;
        let (mut not_before, mut made_count) = (Instant::now(), 0);
        // What was too large a moment ago is not made again.
        let mut too_large: Option<Basis> = None;
        loop {
            let now = self.0.view.now();
            let zone = publishes(&now);
            let basis = zone.and_then(|_| self.basis(&now));
            let is_told = |(_, told): &&(Arc<ZoneFilter>, Basis)| {
                basis.as_ref().is_some_and(|basis| basis.is_same(told))
            };
            let filter = last.as_ref().filter(is_told).map(|(filter, _)| filter.clone());
            let is_to_make = filter.is_none()
                && basis
                    .as_ref()
                    .is_some_and(|basis| !too_large.as_ref().is_some_and(|large| large.is_same(basis)));
            if zone.is_none() {
                (last, too_large) = (None, None);
            }
            self.0.published.send_if_modified(|published| {
                let version = |filter: &Option<Arc<ZoneFilter>>| filter.as_deref().map(ZoneFilter::version);
                let is_new = (published.zone, version(&published.filter)) != (zone, version(&filter));
                *published = Published { zone, filter };
                is_new
            });
            tokio::select! {
                Ok(()) = changes.changed() => {}
                Ok(()) = stamps.changed() => {}
                Ok(()) = keys_came.changed() => {}
                () = sleep_until(not_before), if is_to_make => {
                    let Some(basis) = basis else { continue };
                    let (begun, making) = (Instant::now(), basis.clone());
                    let Ok(made) = self.0.shutdown.spawn_blocking(move || making.filter()).await else { return };
                    not_before = Instant::now() + LEAST_PAUSE.max(begun.elapsed() * REST_FACTOR);
                    if let Some(filter) = made {
                        made_count += 1;
                        let before = last.as_ref().map(|(before, _)| &**before);
                        let filter = ZoneFilter::new(made_count, before, basis.listed(), filter);
                        last = Some((Arc::new(filter), basis));
                    } else {
                        tracing::info!("this zone has more words than a filter holds; it is asked every query");
                        too_large = Some(basis);
                    }
                }
            }
        }
    }

    /// The keys of everyone, when all are settled and here.
    fn basis(&self, now: &Knowledge) -> Option<Basis> {
        let stamp = self.0.summaries.stamp();
        let (version, own) = self.0.summaries.own_keys(0)?;
        let own = own.filter(|_| stamp.is_settled && stamp.version == version)?;
        let members = now.roster.as_deref().map_or(&[][..], Roster::members);
        Basis::of(members.iter(), now.me.id, &own, &self.0.summaries.keys())
    }
}
