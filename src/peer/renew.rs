//! Keeps a peer's certificate good: at two thirds of its life, when the registry says so, when the peer is in another zone
//! than it names, and after it has run out too.
//!
//! Invariant: there is one renewal at a time; what is shown changes only when a new certificate is checked and kept.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use rand::RngExt;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Code, Status};

use super::retry::pauses;
use crate::{
    net::{Purpose, Transport, Trust},
    protocol::{
        id::{PeerName, ZoneId},
        trust::DenyList,
    },
    shutdown::Shutdown,
    store::membership::{Enrolled, NetworkFolder},
    wire::{
        enrollment,
        pb::{self, enrollment_service_client::EnrollmentServiceClient},
    },
};

/// How long the registry may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between attempts: doubled with jitter from the first to the second.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// So long after a renewal there is none by the clock alone: to a peer whose clock is far ahead every certificate has run out.
const LEAST_PAUSE: Duration = Duration::from_secs(30);
/// How long a peer waits for a certificate that it should have before it goes on.
const WAIT: Duration = Duration::from_secs(2);
/// Longest sleep in one piece: the clock on the wall goes on while a machine is suspended, and that of tasks does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Everything that a renewal needs.
#[derive(Debug)]
pub(super) struct Renewer {
    /// The registry, `HOST:PORT`.
    pub(super) registry: String,
    /// The registry of the invite: what is kept.
    pub(super) kept_registry: String,
    /// The name that is bound to the key.
    pub(super) name: PeerName,
    /// How to get there.
    pub(super) transport: Transport,
    /// What is renewed.
    pub(super) trust: Trust,
    /// Where it is kept.
    pub(super) folder: NetworkFolder,
    /// When the certificate was given.
    pub(super) issued: SystemTime,
}

/// Asks for renewals; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Renewal {
    trust: Trust,
    denied: watch::Sender<DenyList>,
    /// Counts what was asked for.
    wanted: watch::Sender<u64>,
    /// Counts what was given.
    given: watch::Receiver<u64>,
}

impl Renewal {
    /// Renews at once.
    pub(super) fn ask(&self) {
        self.wanted.send_modify(|count| *count += 1);
    }

    /// Keeps who was shut out, for the time from the next start to the next welcome.
    pub(super) fn keep_denied(&self, list: DenyList) {
        self.denied.send_replace(list);
    }

    /// The certificate of now is not good from then on.
    pub(super) fn good_until(&self) -> SystemTime {
        self.trust.credentials().not_after
    }

    /// The certificate of now has run out.
    pub(super) fn is_expired(&self) -> bool {
        self.good_until() <= SystemTime::now()
    }

    /// Renews at once; completes when there is a new certificate, or after 2 s.
    pub(super) async fn anew(&self) {
        let mut given = self.given.clone();
        // What was given before is none.
        given.mark_unchanged();
        self.ask();
        let _ = timeout(WAIT, given.changed()).await;
    }

    /// Completes in the last twelfth of the life of a certificate that is good until then, once there is a newer one. It is cut
    /// off there by the one that it was shown to.
    pub(super) async fn outlived(&self, not_after: SystemTime) {
        let mut given = self.given.clone();
        until(not_after.checked_sub(self.trust.lifetime() / 12).unwrap_or(not_after)).await;
        while self.good_until() <= not_after {
            if given.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Completes when the certificate names that zone, or after 2 s: the peer then goes on, and members of its zone go by
    /// their rosters until it does.
    pub(super) async fn names(&self, zone: ZoneId) {
        if self.trust.zone() == Some(zone) {
            return;
        }
        let mut given = self.given.clone();
        self.ask();
        let named = async { while self.trust.zone() != Some(zone) && given.changed().await.is_ok() {} };
        if timeout(WAIT, named).await.is_err() {
            tracing::warn!(%zone, "no certificate for this zone yet; trying on");
        }
    }
}

impl Renewer {
    /// Starts renewing.
    pub(super) fn start(self, shutdown: &Shutdown) -> Renewal {
        let (wanted, wants) = watch::channel(0);
        let (giving, given) = watch::channel(0);
        let denied = keep_lists(self.folder.clone(), shutdown);
        let renewal = Renewal { trust: self.trust.clone(), denied, wanted, given };
        drop(shutdown.spawn("renew", self.run(wants, giving)));
        renewal
    }

    async fn run(mut self, mut wants: watch::Receiver<u64>, giving: watch::Sender<u64>) {
        loop {
            let credentials = self.trust.credentials();
            let due = due(self.issued, credentials.not_after, self.trust.lifetime(), rand::rng().random());
            tokio::select! {
                () = until(due) => {}
                wanted = wants.changed() => if wanted.is_err() {
                    return;
                },
            }
            let (mut retries, mut was_told) = (pauses(RETRY_PAUSES), false);
            loop {
                // What is asked for from here on is asked for again.
                wants.mark_unchanged();
                let error = match self.renew().await {
                    Ok(()) => break,
                    Err(error) => error,
                };
                let not_after = humantime::format_rfc3339_seconds(self.trust.credentials().not_after);
                if was_told {
                    tracing::debug!(%not_after, error = format!("{error:#}"), "the certificate is not renewed yet");
                } else {
                    tracing::warn!(%not_after, error = format!("{error:#}"), "could not renew the certificate; trying again");
                    was_told = true;
                }
                tokio::select! {
                    () = sleep(retries.next().unwrap_or(RETRY_PAUSES.1)) => {}
                    // The registry is there again, or this peer has moved.
                    wanted = wants.changed() => if wanted.is_err() {
                        return;
                    },
                }
            }
            giving.send_modify(|count| *count += 1);
        }
    }

    async fn renew(&mut self) -> Result<()> {
        let channel = self.transport.dial_host(&self.registry, Purpose::Registry).await?;
        let mut client =
            EnrollmentServiceClient::new(channel).max_decoding_message_size(enrollment::MAX_ANSWER_BYTES);
        let public_key = self.trust.key().public().to_der().to_vec().into();
        let answer = timeout(ANSWER_TIMEOUT, client.renew(pb::RenewRequest { public_key }));
        let answer =
            answer.await.context("the registry did not answer")?.map_err(|status| refused(&status))?;
        let credentials = enrollment::credentials(answer.into_inner().credentials)?;
        // Checked first: what is kept can be loaded again.
        self.trust.renew(credentials.clone())?;
        self.issued = SystemTime::now();
        let enrolled = Enrolled {
            key: self.trust.key().clone(),
            credentials,
            issued: self.issued,
            registry: self.kept_registry.clone(),
            name: self.name.clone(),
        };
        let folder = self.folder.clone();
        let saved = tokio::task::spawn_blocking(move || folder.save(&enrolled)).await;
        // It is shown already; the next one is kept again.
        if let Err(error) = saved.context("the task failed").flatten() {
            tracing::error!(error = format!("{error:#}"), "could not keep the new certificate");
        }
        let not_after = humantime::format_rfc3339_seconds(self.trust.credentials().not_after);
        tracing::info!(%not_after, "the certificate is renewed");
        Ok(())
    }
}

fn refused(status: &Status) -> anyhow::Error {
    let message = status.message();
    match status.code() {
        Code::PermissionDenied => {
            anyhow!("the registry does not renew it, which needs a new invite: {message}")
        }
        _ => anyhow!("{message}"),
    }
}

/// Keeps the last list that it is given, one write after the other, until the stop; what was given before that is kept still.
fn keep_lists(folder: NetworkFolder, shutdown: &Shutdown) -> watch::Sender<DenyList> {
    let (lists, mut given) = watch::channel(DenyList::default());
    let tasks = shutdown.clone();
    drop(shutdown.spawn_draining("denied", async move {
        loop {
            let is_given = tokio::select! {
                biased;
                changed = given.changed() => changed.is_ok(),
                () = tasks.stopping() => false,
            };
            if !is_given {
                return;
            }
            let (folder, list) = (folder.clone(), given.borrow_and_update().clone());
            let saved = tasks.spawn_blocking(move || folder.save_denied(&list)).await;
            if let Err(error) = saved.context("the task failed").flatten() {
                tracing::error!(error = format!("{error:#}"), "could not keep who was shut out");
            }
        }
    }));
    lists
}

/// When a certificate is renewed: at two thirds of its life, a tenth of it more or less by `jitter` (0 to 1), so that the
/// peers of a network that started together do not come together. `issued` is by this clock and `not_after` by the registry's;
/// `lifetime`, of the certificate, is by the registry's alone.
fn due(issued: SystemTime, not_after: SystemTime, lifetime: Duration, jitter: f64) -> SystemTime {
    let life = not_after.duration_since(issued).unwrap_or_default();
    // Certificates may last for seconds only.
    let least = LEAST_PAUSE.min(lifetime / 3);
    issued + life.mul_f64(2.0 / 3.0 + (jitter - 0.5) / 5.0).max(least)
}

/// Until the clock on the wall says so.
async fn until(due: SystemTime) {
    while let Ok(left) = due.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        sleep(left.min(LONGEST_SLEEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::id::PeerId;

    #[test]
    fn a_certificate_is_renewed_around_two_thirds_of_its_life() {
        let issued = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let not_after = issued + Duration::from_secs(3000);
        let life = Duration::from_secs(3000);
        let at =
            |jitter| due(issued, not_after, life, jitter).duration_since(issued).expect("later").as_secs();
        assert_eq!((at(0.0), at(0.5), at(1.0)), (1700, 2000, 2300));
        let short = due(issued, issued + Duration::from_secs(3), Duration::from_secs(3), 0.0);
        assert!(short < issued + Duration::from_secs(2), "while it is good");
    }

    #[test]
    fn a_peer_whose_clock_is_ahead_does_not_renew_all_the_time() {
        let (issued, day) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000), 24 * 3600);
        for ahead in [day - 1, day, 2 * day] {
            let not_after = issued + Duration::from_secs(day) - Duration::from_secs(ahead);
            let due = due(issued, not_after, Duration::from_secs(day), 0.5);
            assert_eq!(due, issued + Duration::from_secs(30), "{ahead} s ahead");
        }
    }

    #[tokio::test]
    async fn of_lists_that_come_at_once_the_last_is_kept_before_the_stop_is_over() {
        let data = tempfile::tempdir().expect("a folder");
        let (folder, shutdown) = (NetworkFolder::of(data.path()), Shutdown::new());
        folder.key().expect("made");
        let lists = keep_lists(folder.clone(), &shutdown);
        let list = |number| {
            let peers = vec![PeerId::from_bytes([number; 32])];
            DenyList::new(u64::from(number), peers).expect("short")
        };
        for number in 1..=50 {
            lists.send_replace(list(number));
            tokio::task::yield_now().await;
        }
        assert!(shutdown.drain(Duration::from_secs(9)).await);
        assert_eq!(folder.denied().expect("read").peers(), list(50).peers());
    }
}
