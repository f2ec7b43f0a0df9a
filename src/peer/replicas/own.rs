//! What this peer had the network keep, with who keeps it now.
//!
//! Invariant: whoever does not answer in time is no keeper here; nothing is done because of that.

use std::collections::HashMap;

use futures::{StreamExt, stream};

use super::{
    Keeping,
    put::{LOOK_TIMEOUT, MAX_ASKED},
};
use crate::{
    peer::handle::Outcome,
    protocol::{
        action::{ActionError, ErrorKind, PageAsk, PutInfo, PutPage},
        id::{ContentHash, PeerId},
        placement,
        roster::Member,
    },
    store::puts::Put,
};

/// Rows of a page, unless told.
const PAGE_SIZE: usize = 100;
/// Most rows of a page.
const MAX_PAGE_SIZE: usize = 1000;

impl Keeping {
    /// One page of what this peer put, in order of names. Asks the zone who keeps it, for a second at most.
    ///
    /// # Errors
    /// `Usage` for a token that no page gave.
    pub(in crate::peer) async fn puts(&self, page: PageAsk) -> Outcome<PutPage> {
        let after = page.token.as_deref().map(place).transpose()?;
        let size = if page.size == 0 { PAGE_SIZE } else { page.size.min(MAX_PAGE_SIZE) };
        let puts = self.0.puts.clone();
        let listing = self.0.shutdown.spawn_blocking(move || puts.page(after.as_ref(), size));
        let failed = |_| ActionError::new(ErrorKind::Failed, "the puts could not be read");
        let (found, has_more) = listing.await.map_err(failed)?;
        let mut keepers = self.keepers_of(&found).await;
        let next = found.last().filter(|_| has_more).map(|last| format!("{}/{}", last.hash, last.name));
        let rows = found.into_iter().map(|put| PutInfo {
            hash: put.hash,
            size_bytes: put.size_bytes,
            replicas: put.replicas,
            put_time: put.put_time,
            keepers: keepers.as_mut().map(|keepers| keepers.remove(&put.hash).unwrap_or_default()),
            name: put.name,
        });
        Ok(PutPage { rows: rows.collect(), next })
    }

    /// The names of those in the zone who tell in time that they keep them; `None` while this peer is in no zone.
    async fn keepers_of(&self, puts: &[Put]) -> Option<HashMap<ContentHash, Vec<String>>> {
        let now = self.0.view.now();
        let roster = now.roster.clone()?;
        let mut asked: HashMap<PeerId, Vec<ContentHash>> = HashMap::new();
        for put in puts {
            let mut members: Vec<&Member> = roster.members().iter().collect();
            placement::rank(&put.hash, &mut members, |member| member.id);
            for member in members.into_iter().take(MAX_ASKED) {
                asked.entry(member.id).or_default().push(put.hash);
            }
        }
        let asking = asked.into_iter().filter_map(|(id, hashes)| Some((roster.get(&id)?.clone(), hashes)));
        let asking = asking.collect::<Vec<_>>().into_iter().map(|(member, hashes)| async move {
            let kept: Vec<ContentHash> = if member.id == self.0.view.now().me.id {
                hashes.into_iter().filter(|hash| self.0.store.get(hash).is_some()).collect()
            } else {
                let answer = self.check(&member, &hashes).await;
                answer.map(|answer| answer.kept.into_iter().collect()).unwrap_or_default()
            };
            (member.name.to_string(), kept)
        });
        let told =
            stream::iter(asking).buffer_unordered(MAX_ASKED).take_until(tokio::time::sleep(LOOK_TIMEOUT));
        let mut told = std::pin::pin!(told);
        let mut keepers: HashMap<ContentHash, Vec<String>> = HashMap::new();
        while let Some((name, kept)) = told.next().await {
            for hash in kept {
                keepers.entry(hash).or_default().push(name.clone());
            }
        }
        for names in keepers.values_mut() {
            names.sort();
        }
        Some(keepers)
    }
}

/// The last row of the page before.
fn place(token: &str) -> Outcome<(String, ContentHash)> {
    let place = token.split_once('/').and_then(|(hash, name)| Some((name.to_owned(), hash.parse().ok()?)));
    place.ok_or_else(|| {
        ActionError::new(ErrorKind::Usage, "page_token is none that this list gave")
            .hint("leave it out to begin anew")
    })
}
