//! The registry of a closed network as its authority: who is let in, renewed, shut out; invites, and the change of the
//! authority itself.
//!
//! Invariant: nothing is answered that a restart could take back: the file is written first. When it cannot be written, what
//! was used stays used, and the authorities stay as they were. One write follows another, whoever waits for them.

mod book;
mod encode;
mod file;
#[cfg(test)]
pub(super) mod tests;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use tokio::sync::OwnedMutexGuard;

use self::{book::Book, file::File};
use crate::{
    net::{PrivateKey, Trust},
    protocol::{
        admission::{NetworkMember, NotAdmitted, NotFound},
        id::{PeerId, PeerName, ZoneId},
        trust::{
            Credentials, DenyList, PublicKey,
            invite::{Invite, Token},
        },
    },
    shutdown::Shutdown,
    wire::{
        admin::{InviteAsk, Rotation, RotationStep},
        enrollment::Enrollment,
    },
};

/// The registry's own certificate is made anew when so little of its life is left.
const RENEW_BEFORE: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error("the proof was not made with the private half of this key, for this invite and this name")]
    WrongProof,
    #[error(
        "{0} members hold certificates of the old authority that are still good; wait until they have come and renewed, or leave them out by force"
    )]
    MembersLeft(usize),
    #[error(
        "no certificate of the new authority is out yet: it is used when every live peer has been told of it, or at once after `floodplain authority switch`"
    )]
    NotInUse,
    #[error(
        "which authorities are trusted has changed since this peer renewed its certificate: renew it first"
    )]
    RenewFirst,
    #[error("could not sign a certificate")]
    NotSigned(#[source] anyhow::Error),
    #[error("the registry could not write down what it did; see its log, and try again")]
    NotWritten,
}

/// Looks at what is kept in a folder. True when there is something.
pub(super) fn check(data: &Path) -> Result<bool> {
    Ok(File::in_folder(data).load()?.is_some())
}

/// The authority of a network and what it keeps.
#[derive(Debug)]
pub(super) struct Closed {
    // Held for look-ups, changes and signatures of some 50 us, never across an await.
    book: Arc<Mutex<Book>>,
    file: File,
    /// Of peers' certificates.
    lifetime: Duration,
    /// The generation that was written last. Held by the write itself: whoever waits for it finds its own change written as well,
    /// and one that nobody waits for any more is not overtaken.
    written: Arc<tokio::sync::Mutex<u64>>,
    trust: Trust,
    shutdown: Shutdown,
}

impl Closed {
    /// Takes up the authority of a data folder, or founds a network there. In memory only when the path is empty.
    ///
    /// # Errors
    /// When the file is damaged, can be read by others, or cannot be read or written.
    pub(super) fn open(data: &Path, lifetime: Duration, shutdown: Shutdown) -> Result<Self> {
        let file = File::at(data)?;
        let mut book = if let Some(book) = file.load()? {
            book
        } else {
            let book = Book::found()?;
            file.save(&encode::encode(&book)).context("could not keep the network's authority")?;
            tracing::info!(network = %book.network, "founded a new network");
            book
        };
        let written = Arc::new(tokio::sync::Mutex::new(book.generation()));
        // Peers may have been told of later lists than a backup has.
        book.admissions.lift_denied(encode::millis(SystemTime::now()));
        // A new key at every start: nobody remembers the registry's, and nothing needs to be kept.
        let key = PrivateKey::generate()?;
        let credentials = book.certify_registry(&key.public())?;
        let trust = Trust::new(key, credentials)?;
        trust.deny(book.admissions.denied().clone());
        Ok(Self { book: Arc::new(Mutex::new(book)), file, lifetime, written, trust, shutdown })
    }

    /// What the registry shows and trusts.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The key that invites of now name.
    pub(super) fn authority(&self) -> PublicKey {
        self.lock().oldest().authority.public()
    }

    /// Whom nobody is to talk to.
    pub(super) fn denied(&self) -> DenyList {
        self.lock().admissions.denied().clone()
    }

    /// How many members there are, and how many of them are shut out.
    pub(super) fn member_counts(&self) -> (usize, usize) {
        let book = self.lock();
        let members = book.admissions.members();
        (members.iter().count(), members.iter().filter(|member| member.is_revoked).count())
    }

    /// Keys that members may be certified by: two while the authority is being changed.
    pub(super) fn authorities(&self) -> usize {
        self.lock().authorities.len()
    }

    /// Members that may be in one zone only.
    pub(super) fn zone_pins(&self) -> Vec<(PeerId, ZoneId)> {
        let book = self.lock();
        let members = book.admissions.members().iter().filter(|member| !member.is_revoked);
        members.filter_map(|member| Some((member.id(), member.zone?))).collect()
    }

    /// Makes an invite to a registry at that `HOST:PORT`.
    pub(super) async fn invite(&self, ask: &InviteAsk, host: &str) -> Result<(Invite, SystemTime), Refused> {
        let token = Token::random(&mut rand::rng());
        let (authority, expires) = {
            let mut book = self.lock();
            let expires =
                book.admissions.issue(token.hash(), ask.lifetime, ask.uses, ask.zone, SystemTime::now())?;
            (book.oldest().authority.public(), expires)
        };
        self.commit().await?;
        Ok((Invite { registry: host.to_owned(), authority, token }, expires))
    }

    /// Until when that invite lets in more peers; `None` when it does not, or when it names an authority of the past.
    pub(super) fn good_until(&self, invite: &Invite) -> Option<SystemTime> {
        let book = self.lock();
        let is_ours = invite.authority == book.oldest().authority.public();
        book.admissions.good_until(&invite.token, SystemTime::now()).filter(|_| is_ours)
    }

    /// Lets a peer in.
    pub(super) async fn enroll(&self, asked: &Enrollment) -> Result<Credentials, Refused> {
        let credentials = self.lock().enroll(asked, self.lifetime, SystemTime::now())?;
        self.commit().await?;
        tracing::info!(peer = %asked.key.peer_id(), name = %asked.name, "let a peer in");
        Ok(credentials)
    }

    /// A new certificate for a member that is in that zone. It is written down soon: should that be lost, the member seems to
    /// hold an older one, which keeps an old authority trusted for longer.
    pub(super) fn renew(&self, peer: &PeerId, zone: Option<ZoneId>) -> Result<Credentials, Refused> {
        self.lock().renew(peer, zone, self.lifetime)
    }

    /// How long peers' certificates are good.
    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A member is about to register under a name: pins it. Gives the only zone that it may be in.
    pub(super) async fn pin_name(&self, peer: &PeerId, name: &PeerName) -> Result<Option<ZoneId>, Refused> {
        let (is_changed, zone) = {
            let mut book = self.lock();
            book.check_standing(peer)?;
            let is_changed = book.admissions.pin_name(peer, name)?;
            (is_changed, book.admissions.members().get(peer).and_then(|member| member.zone))
        };
        if is_changed {
            self.commit().await?;
        }
        Ok(zone)
    }

    /// It is a member that may be here, and knows every authority that others may be certified by.
    pub(super) fn check_told(&self, peer: &PeerId) -> Result<(), Refused> {
        let book = self.lock();
        book.check_standing(peer)?;
        if book.is_told(peer) { Ok(()) } else { Err(Refused::RenewFirst) }
    }

    /// Its certificate is of an older authority than the newest.
    pub(super) fn is_on_older(&self, peer: &PeerId) -> bool {
        self.lock().is_on_older(peer)
    }

    /// It is to renew: its certificate is of an older authority than it could be, or came without the newest ones.
    pub(super) fn is_behind(&self, peer: &PeerId) -> bool {
        let book = self.lock();
        book.is_behind(peer) || !book.is_told(peer)
    }

    /// There is a new authority that is not used yet, and every live peer has been told of it.
    pub(super) fn is_known(&self, is_live: impl Fn(&PeerId) -> bool) -> bool {
        let book = self.lock();
        book.is_making_known() && book.rotation(is_live, SystemTime::now()).live_untold == 0
    }

    /// Uses it, if that is so. True then; the peers are to renew.
    pub(super) async fn switch_when_known(&self, is_live: impl Fn(&PeerId) -> bool) -> Result<bool, Refused> {
        if !self.is_known(is_live) {
            return Ok(false);
        }
        let is_changed = self.change(|book| Ok(book.switch().then_some(()))).await?.is_some();
        if is_changed {
            tracing::info!("the new authority is known, and certifies from now on");
        }
        Ok(is_changed)
    }

    /// Shuts out the member of that name, or whose id begins like that. Connections with it are cut at once, and `tell` is called
    /// with everyone who is shut out now, also when this cannot be written down or nobody waits until it is.
    pub(super) async fn revoke(
        &self,
        who: &str,
        tell: impl FnOnce(&DenyList),
    ) -> Result<NetworkMember, Refused> {
        let (member, denied) = {
            let mut book = self.lock();
            let id = book.admissions.members().find(who)?.id();
            book.admissions.revoke(&id, SystemTime::now())?;
            let member = book.admissions.members().get(&id).cloned().ok_or(NotFound::Nobody)?;
            (member, book.admissions.denied().clone())
        };
        tracing::info!(peer = %member.id(), name = %member.name, "shut a member out");
        tell(&denied);
        self.trust.deny(denied);
        self.commit().await?;
        Ok(member)
    }

    /// A page of members in order of names, whether more follow, and the newest authority's number.
    pub(super) fn members(
        &self,
        after: Option<&(String, PeerId)>,
        limit: usize,
    ) -> (Vec<(NetworkMember, bool)>, bool) {
        let book = self.lock();
        let (page, has_more) = book.admissions.members().page(after, limit);
        let of_newest = |member: &NetworkMember| !book.is_on_older(&member.id());
        (page.into_iter().map(|member| (member.clone(), of_newest(member))).collect(), has_more)
    }

    /// Changes the authority by a step. Gives how things stand then, whether that changed anything, and who is left out.
    pub(super) async fn rotate(
        &self,
        step: RotationStep,
        is_live: impl Fn(&PeerId) -> bool,
    ) -> Result<Rotated, Refused> {
        let now = SystemTime::now();
        let nobody = |is_changed: bool| is_changed.then(Vec::new);
        let change = self.change(|book| {
            Ok(match step {
                RotationStep::Tell => None,
                RotationStep::Begin => nobody(book.begin_rotation().map_err(Refused::NotSigned)?),
                RotationStep::Switch => nobody(book.switch()),
                RotationStep::Finish | RotationStep::Force => {
                    book.finish_rotation(step == RotationStep::Force, now)?
                }
            })
        });
        let changed = if step == RotationStep::Tell { None } else { change.await? };
        let (is_changed, left_out) = (changed.is_some(), changed.unwrap_or_default());
        if is_changed {
            self.certify_self().map_err(Refused::NotSigned)?;
            tracing::info!(?step, left_out = left_out.len(), "changed the network's authority");
        }
        let rotation = self.lock().rotation(is_live, now);
        Ok(Rotated { rotation, is_changed, left_out })
    }

    /// Changes the authorities by a step that nobody sees before it is written: what was certified or trusted by it could be taken
    /// back by a restart. `None`, when it changes nothing.
    async fn change<T>(
        &self,
        step: impl FnOnce(&mut Book) -> Result<Option<T>, Refused>,
    ) -> Result<Option<T>, Refused> {
        let written = self.written.clone().lock_owned().await;
        let mut next = self.lock().clone();
        let Some(changed) = step(&mut next)? else { return Ok(None) };
        let (generation, bytes) = (next.generation(), encode::encode(&next));
        let book = self.book.clone();
        self.write((written, generation), bytes, move || lock(&book).adopt(next)).await?;
        Ok(Some(changed))
    }

    /// What is due with time: the registry's own certificate, and invites that are over.
    pub(super) fn tidy(&self, now: SystemTime) -> Result<()> {
        let not_after = self.trust.credentials().not_after;
        if not_after.duration_since(now).unwrap_or_default() < RENEW_BEFORE {
            self.certify_self()?;
        }
        self.lock().admissions.expire(now);
        Ok(())
    }

    /// Trusts what is written by now, should its own certificate not have been made when it changed. True if that was so.
    pub(super) fn catch_up(&self) -> Result<bool> {
        if self.trust.credentials().authorities == self.lock().trusted() {
            return Ok(false);
        }
        self.certify_self()?;
        Ok(true)
    }

    fn certify_self(&self) -> Result<()> {
        let credentials = self.lock().certify_registry(&self.trust.key().public())?;
        self.trust.renew(credentials)
    }

    /// Writes down what changed so far, together with what others changed meanwhile.
    pub(super) async fn commit(&self) -> Result<(), Refused> {
        let generation = self.lock().generation();
        let written = self.written.clone().lock_owned().await;
        if *written >= generation {
            return Ok(());
        }
        let (generation, bytes) = {
            let book = self.lock();
            (book.generation(), encode::encode(&book))
        };
        self.write((written, generation), bytes, || ()).await
    }

    /// Writes a book of that generation, and does that once it is written. Goes on to its end when it is dropped.
    async fn write(
        &self,
        (mut written, generation): (OwnedMutexGuard<u64>, u64),
        bytes: Vec<u8>,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), Refused> {
        let file = self.file.clone();
        let saved = self.shutdown.spawn_blocking(move || {
            file.save(&bytes)?;
            then();
            *written = generation;
            Ok(())
        });
        if let Err(error) = saved.await.context("the task failed").flatten() {
            tracing::error!(error = format!("{error:#}"), "could not write the authority's file");
            return Err(Refused::NotWritten);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a step of the change of the authority came to.
#[derive(Debug)]
pub(super) struct Rotated {
    pub(super) rotation: Rotation,
    pub(super) is_changed: bool,
    /// Members whose certificates are trusted no longer.
    pub(super) left_out: Vec<PeerId>,
}
