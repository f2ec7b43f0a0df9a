//! The holder's rounds: asks the others what they keep, and does what the rule of placement says. Bounded in calls, repairs
//! and time; a round that is cut short is made up for by the next.

use std::{
    collections::HashMap,
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};

use super::{
    Keeping,
    others::{Answer, look_again},
};
use crate::{
    protocol::{
        id::{ContentHash, PeerId},
        placement::{self, Decision, Other, Told, Wanted},
        roster::Member,
    },
    store::replica::Replica,
    wire::replica::KeepAsk,
};

/// Time from one round to the next, when nothing happens.
const EVERY: Duration = Duration::from_secs(30);
/// Shortest pause between two rounds: a zone that comes up is one change, not fifty.
const PAUSE: Duration = Duration::from_millis(200);
/// Replicas that one round looks at; the next round goes on behind them.
const MAX_LOOKED_AT: usize = 2048;
/// Members that are asked about one content, the best-scoring ones: its holders are among them unless so many have no room.
/// Its owner is asked besides.
const MAX_ASKED: usize = 32;
/// Members asked at once.
const CHECKS_AT_ONCE: usize = 8;
/// Repairs of one round, and at once.
const MAX_REPAIRS: usize = 16;
const REPAIRS_AT_ONCE: usize = 2;
/// Replicas handed over at once by one who leaves.
const HANDED_AT_ONCE: usize = 4;

/// A replica with what the others told of it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) replica: Replica,
    pub(super) others: Vec<Other>,
    pub(super) released: Option<crate::protocol::id::OwnerKey>,
}

/// A hand-over that runs. Dropped, the copies count again.
struct Leaving<'a>(&'a Keeping);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.come_back();
    }
}

impl Keeping {
    /// Looks after what is kept, until the stop.
    pub(in crate::peer) async fn look_after(self) {
        let mut after = None;
        loop {
            let seen = self.0.view.now().roster.as_ref().map(|roster| roster.revision());
            let due = self.round(&mut after).await;
            tokio::time::sleep(PAUSE).await;
            let late = due.map_or(EVERY, |due| due.saturating_duration_since(Instant::now()).min(EVERY));
            let changed =
                self.0.view.until(|now| now.roster.as_ref().map(|roster| roster.revision()) != seen);
            tokio::select! {
                _ = changed => {}
                () = tokio::time::sleep(late) => {}
            }
        }
    }

    /// One round behind the content `after`. When the next is due, if sooner than usual.
    async fn round(&self, after: &mut Option<ContentHash>) -> Option<Instant> {
        let store = self.0.store.clone();
        // A panic there leaves the records as they are.
        let _ = self.0.shutdown.spawn_blocking(move || store.mend()).await;
        let mut replicas = self.0.store.list();
        self.forget_all_but(&replicas);
        if replicas.is_empty() || self.is_leaving() {
            return None;
        }
        let from = after.map_or(0, |after| replicas.partition_point(|replica| replica.hash <= after));
        replicas.rotate_left(from);
        replicas.truncate(MAX_LOOKED_AT);
        *after = replicas.last().map(|replica| replica.hash);
        let seen = self.ask_around(replicas).await?;
        let (mut due, mut repairs) = (None::<Instant>, Vec::new());
        for seen in seen {
            let hash = seen.replica.hash;
            if let Some(key) = seen.released
                && self.release_here(crate::wire::replica::Released { hash, key }).await.is_ok()
            {
                tracing::info!(%hash, name = seen.replica.name, "dropped a replica: its owner took it back");
                continue;
            }
            let now = Instant::now();
            let wanted = self.wanted(&seen.replica);
            let since = self.short_since(&wanted, &seen.others, now);
            match placement::decide(&wanted, self.me(), &seen.others, since, now) {
                Decision::Rest => {}
                Decision::WaitUntil(at) => due = Some(due.map_or(at, |due| due.min(at))),
                Decision::Drop => self.give_up(&seen.replica).await,
                Decision::Repair { missing, candidates } if repairs.len() < MAX_REPAIRS => {
                    repairs.push((seen.replica, missing, candidates));
                }
                Decision::Repair { .. } => due = Some(now),
            }
        }
        let repairing = repairs.into_iter().map(|(replica, missing, candidates)| async move {
            let made = self.replicate(&replica, missing, candidates).await;
            tracing::info!(hash = %replica.hash, name = replica.name, missing, made, "repaired what the network keeps");
        });
        stream::iter(repairing).buffer_unordered(REPAIRS_AT_ONCE).collect::<()>().await;
        due
    }

    /// Hands every replica over to the next best member, as far as the others do not have enough. What could not be handed
    /// over within the time is told in the log; the copies stay here and count again after a return, and at once when this is
    /// dropped before its end. While another hand-over runs, waits for its end.
    pub(in crate::peer) async fn hand_over(&self, within: Duration) {
        let _turn = self.0.handing_over.lock().await;
        let replicas = self.0.store.list();
        if replicas.is_empty() || self.0.is_leaving.swap(true, Ordering::AcqRel) {
            return;
        }
        let leaving = Leaving(self);
        let total = replicas.len();
        let handed = std::sync::atomic::AtomicUsize::new(0);
        let handing = async {
            let Some(seen) = self.ask_around(replicas).await else { return };
            let handed = &handed;
            let each = seen.into_iter().map(|seen| async move {
                let kept = seen.others.iter().filter(|other| other.told == Told::Kept).count();
                let missing = seen.replica.replicas.saturating_sub(kept);
                let candidates = placement::candidates(&seen.replica.hash, &seen.others);
                let made =
                    if missing > 0 { self.replicate(&seen.replica, missing, candidates).await } else { 0 };
                // One who leaves takes one copy along; what was missing before is not its to make up.
                if missing == 0 || made > 0 {
                    handed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                } else {
                    let name = &seen.replica.name;
                    tracing::warn!(hash = %seen.replica.hash, name, "nobody could take over a replica");
                }
            });
            stream::iter(each).buffer_unordered(HANDED_AT_ONCE).collect::<()>().await;
        };
        let is_late = tokio::time::timeout(within, handing).await.is_err();
        std::mem::forget(leaving);
        let handed = handed.into_inner();
        if handed < total {
            tracing::warn!(total, handed, is_late, "left with replicas that were not handed over");
        } else {
            tracing::info!(total, "handed over what was kept for the network");
        }
    }

    /// Has the best candidates keep a replica of this peer's until `missing` do. How many did.
    async fn replicate(&self, replica: &Replica, missing: usize, candidates: Vec<PeerId>) -> usize {
        let ask = to_keep(replica, self.me());
        let mut made = 0;
        for candidate in candidates.into_iter().take(MAX_ASKED) {
            if made == missing {
                break;
            }
            let Some(member) = self.0.view.now().member(&candidate).cloned() else { continue };
            match self.have_kept(&member, &ask).await {
                Ok(()) => made += 1,
                Err(status) => {
                    tracing::debug!(peer = %member.name, reason = status.message(), "did not take a replica");
                }
            }
        }
        made
    }

    /// What the others tell of these replicas; `None` while this peer is in no zone.
    pub(super) async fn ask_around(&self, replicas: Vec<Replica>) -> Option<Vec<Seen>> {
        let (roster, me) = (self.0.view.now().roster.clone()?, self.me());
        let mut asked: HashMap<PeerId, Vec<ContentHash>> = HashMap::new();
        let mut by_content = Vec::with_capacity(replicas.len());
        for replica in &replicas {
            let mut members: Vec<&Member> =
                roster.members().iter().filter(|member| member.id != me).collect();
            placement::rank(&replica.hash, &mut members, |member| member.id);
            let rest = members.split_off(members.len().min(MAX_ASKED));
            // The owner remembers a release when every other holder of that time is gone.
            members.extend(rest.into_iter().find(|member| member.id == replica.owner));
            for member in &members {
                asked.entry(member.id).or_default().push(replica.hash);
            }
            by_content.push(members);
        }
        let asking = asked.into_iter().map(|(id, hashes)| {
            let member = roster.get(&id).cloned();
            async move {
                let answer = match &member {
                    Some(member) => self.check(member, &hashes).await,
                    None => None,
                };
                (id, answer)
            }
        });
        let answers: HashMap<PeerId, Option<Answer>> =
            stream::iter(asking).buffer_unordered(CHECKS_AT_ONCE).collect().await;
        let seen = replicas.into_iter().zip(by_content).map(|(replica, members)| {
            let mut released = None;
            let others = members.into_iter().map(|member| {
                let answer = answers.get(&member.id).and_then(Option::as_ref);
                let told = match answer {
                    None => Told::Silent,
                    Some(answer) if answer.kept.contains(&replica.hash) => Told::Kept,
                    Some(answer) => {
                        let is_proof = |told: &&crate::wire::replica::Released| {
                            told.hash == replica.hash && told.key.tag() == replica.owner_tag
                        };
                        released = released.or(answer.released.iter().find(is_proof).map(|told| told.key));
                        Told::Absent
                    }
                };
                let room_bytes = answer.and_then(|answer| answer.room_bytes).unwrap_or(member.room_bytes);
                Other { id: member.id, told, has_room: room_bytes >= replica.size_bytes.max(1) }
            });
            let others = others.collect();
            Seen { replica, others, released }
        });
        Some(seen.collect())
    }

    async fn give_up(&self, replica: &Replica) {
        tracing::info!(hash = %replica.hash, name = replica.name, "dropped a replica: enough others have it");
        let (store, index, hash) = (self.0.store.clone(), self.0.index.clone(), replica.hash);
        let giving_up = self.0.shutdown.spawn_blocking(move || {
            store.give_up(&hash);
            look_again(&index, &hash);
        });
        // A panic in it leaves the copy.
        let _ = giving_up.await;
    }

    fn wanted(&self, replica: &Replica) -> Wanted {
        Wanted { content: replica.hash, replicas: replica.replicas, grace: self.0.grace }
    }

    /// Since when too few are seen, now included.
    fn short_since(&self, wanted: &Wanted, others: &[Other], now: Instant) -> Option<Instant> {
        let mut short = self.0.short.lock().unwrap_or_else(PoisonError::into_inner);
        if placement::is_short(wanted, others) {
            return Some(*short.entry(wanted.content).or_insert(now));
        }
        short.remove(&wanted.content);
        None
    }

    fn forget_all_but(&self, replicas: &[Replica]) {
        let mut short = self.0.short.lock().unwrap_or_else(PoisonError::into_inner);
        short.retain(|hash, _| replicas.binary_search_by(|replica| replica.hash.cmp(hash)).is_ok());
    }

    fn me(&self) -> PeerId {
        self.0.view.now().me.id
    }
}

/// The request to keep a replica, pulled from that peer.
pub(super) fn to_keep(replica: &Replica, source: PeerId) -> KeepAsk {
    KeepAsk {
        hash: replica.hash,
        size_bytes: replica.size_bytes,
        name: replica.name.clone(),
        replicas: replica.replicas,
        owner_tag: replica.owner_tag,
        owner: replica.owner,
        source,
    }
}
