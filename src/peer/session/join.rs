//! The beginning of a session: with a good certificate, at a registry that takes this peer in or says why not.

use std::time::SystemTime;

use anyhow::anyhow;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::{ANSWER_TIMEOUT, End, MAX_ANSWER_BYTES, Session, UP_QUEUE, request};
use crate::{
    net::Purpose,
    peer::renew::Renewal,
    protocol::{
        action::{ActionError, ErrorKind},
        membership::{Membership, Registration},
    },
    wire::{
        self,
        pb::{self, registry_service_client::RegistryServiceClient, session_request},
        session::Down,
    },
};

/// A session that has begun: what comes down it, the way up, and what came first.
/// Last the end of the certificate that it was begun with, in a closed network.
type Joined =
    (Streaming<pb::SessionResponse>, mpsc::Sender<pb::SessionRequest>, Membership, Option<SystemTime>);

impl Session {
    /// Registers. In a closed network with a certificate that has not run out, and knowing every authority that others may be
    /// certified by: whoever is on the lists has to be able to talk to everyone on them.
    pub(super) async fn join(&self) -> Result<Joined, End> {
        let Some(renewal) = &self.renewal else { return self.register().await };
        if renewal.is_expired() {
            renewal.anew().await;
        }
        match self.register().await {
            Err(End::Refused(status)) if is_about(&status, wire::enrollment::RENEWAL_DUE) => {
                renewal.anew().await;
                self.register().await
            }
            joined => joined,
        }
    }

    async fn register(&self) -> Result<Joined, End> {
        let shown_until = self.renewal.as_ref().map(Renewal::good_until);
        let channel = self
            .transport
            .dial_host(&self.registry, Purpose::Registry)
            .await
            .map_err(|error| End::Lost(error.into()))?;
        let mut client = RegistryServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let (up, ups) = mpsc::channel(UP_QUEUE);
        let registration = Registration {
            member: self.me(),
            credential: self.transport.identity().credential().copied(),
            host_id: host_id(),
        };
        let register = wire::registry::to_registration(&registration);
        up.try_send(request(session_request::Message::Register(register)))
            .expect("the queue is new and empty");

        let answer = async {
            let mut down = client.session(ReceiverStream::new(ups)).await?.into_inner();
            let first =
                down.message().await?.ok_or_else(|| Status::unavailable("the registry ended the session"))?;
            Ok::<_, Status>((down, first))
        };
        let (down, first) = match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) if is_refusal(&status) => return Err(End::Refused(status)),
            Ok(Err(status)) => return Err(End::Lost(anyhow!("{}", status.message().to_owned()))),
            Err(_) => {
                return Err(End::Lost(anyhow!("no answer to the registration within {ANSWER_TIMEOUT:?}")));
            }
        };
        match wire::session::down(first) {
            Ok(Down::Welcome(welcome)) => Ok((down, up, welcome, shown_until)),
            Ok(_) => Err(End::Lost(anyhow!("the registry did not begin with a welcome"))),
            Err(invalid) => Err(End::Lost(anyhow!("the registry's welcome is malformed: {invalid}"))),
        }
    }
}

/// The registry understood and said no, so that asking again at once changes nothing.
fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::InvalidArgument
    )
}

/// What has to be so first is of that kind.
fn is_about(status: &Status, kind: &str) -> bool {
    let details = status.get_details_precondition_failure();
    details.is_some_and(|details| details.violations.iter().any(|violation| violation.r#type == kind))
}

/// For good: the registry does not know this peer any more, or has shut it out.
pub(super) fn is_shut_out(status: &Status) -> bool {
    status.code() == Code::PermissionDenied
}

/// A refusal, told to a person.
pub(super) fn refused(registry: &str, status: &Status) -> ActionError {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    let hint = match status.code() {
        Code::AlreadyExists => "set FLOODPLAIN_NAME to a name of its own, or stop the other peer",
        Code::ResourceExhausted => "wait until a peer leaves, or raise NETWORK_SIZE at the registry",
        Code::PermissionDenied if reason == "UNKNOWN_KEY" => {
            "stop it and run `floodplain join INVITE` with a new invite: it keeps its key and its name"
        }
        Code::PermissionDenied => {
            "one that was shut out stays out: stop it; with a new data folder (--data) and a new invite it is a new peer"
        }
        // Anything else that has to be so first is told with what to do about it.
        Code::FailedPrecondition if is_about(status, "INCARNATION") => {
            "another process runs with the same data folder: stop it, or use --data"
        }
        Code::FailedPrecondition => "the registry's log may say more",
        _ => "compare the versions and the settings of the two daemons",
    };
    ActionError::new(
        ErrorKind::Refused,
        format!("the registry at {registry} refused this peer: {}", status.message()),
    )
    .hint(hint)
}

/// Tells the registry which peers share a machine, without telling it which machine.
fn host_id() -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hash = blake3::derive_key("floodplain.v1 host id", format!("{machine}\0{node}").as_bytes());
    let (head, _) = hash.split_first_chunk::<8>().expect("32 bytes hold 8");
    format!("{:016x}", u64::from_be_bytes(*head))
}
