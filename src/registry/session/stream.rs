//! One session's two streams as one: whoever reads the answers drives the requests, so that a peer that does not read
//! is not heard either, and a dropped stream leaves no task behind.

use std::{sync::Arc, time::Duration};

use futures::Stream;
use tonic::{Code, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Down, End, Hub, NotOpened, Opened};
use crate::{
    net::Caller,
    protocol::id::LeaseId,
    registry::{
        door::Door,
        refusal::refused,
        state::{Reason, Refusal},
    },
    shutdown::Shutdown,
    wire::{
        Invalid, enrollment,
        pb::{self, SessionRequest, SessionResponse, session_request, session_response::Message},
        registry as wire, required,
    },
};

/// A session that has not sent `register` by then ends.
const REGISTER_WITHIN: Duration = Duration::from_secs(5);

/// Where a stopping registry tells its peers to come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Answer = Result<SessionResponse, Status>;

/// Serves one session until either side ends it. Dropping the stream is the same as a lost connection.
pub(in crate::registry) fn serve(
    hub: Arc<Hub>,
    door: Arc<Door>,
    requests: Streaming<SessionRequest>,
    caller: Caller,
    shutdown: Shutdown,
) -> impl Stream<Item = Answer> + Send + 'static {
    let session = Session { hub, door, requests, caller, shutdown, opened: None };
    futures::stream::unfold(Some(session), |session| async {
        let mut session = session?;
        match session.next().await {
            Ok(Some(message)) => Some((Ok(SessionResponse { message: Some(message) }), Some(session))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
}

struct Session {
    hub: Arc<Hub>,
    door: Arc<Door>,
    requests: Streaming<SessionRequest>,
    caller: Caller,
    shutdown: Shutdown,
    opened: Option<Opened>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // A stopping registry keeps its peers for the snapshot.
        if let Some(opened) = self.opened.as_ref().filter(|_| !self.shutdown.is_stopping()) {
            self.hub.close(opened);
        }
    }
}

impl Session {
    async fn next(&mut self) -> Result<Option<Message>, Status> {
        let Some(opened) = &self.opened else { return self.open().await.map(Some) };
        loop {
            if let Some(down) = self.hub.next(opened).map_err(ended)? {
                return Ok(Some(message(&down)));
            }
            tokio::select! {
                () = self.shutdown.stopping() => return Err(stopping()),
                () = opened.wake.notified() => {}
                request = self.requests.message() => match request? {
                    None => return Ok(None),
                    Some(request) => {
                        if receive(&self.hub, opened, request)?.is_break() {
                            return Ok(None);
                        }
                    }
                },
            }
        }
    }

    async fn open(&mut self) -> Result<Message, Status> {
        let first = tokio::select! {
            () = self.shutdown.stopping() => return Err(stopping()),
            first = tokio::time::timeout(REGISTER_WITHIN, self.requests.message()) => first,
        };
        let Ok(first) = first else {
            return Err(Status::deadline_exceeded(format!(
                "send `register` within {} s of opening a session",
                REGISTER_WITHIN.as_secs()
            )));
        };
        let request = first?.and_then(|request| request.message);
        let Some(session_request::Message::Register(request)) = request else {
            return Err(Invalid::new("message", "the first one must be `register`").into());
        };
        let registration = wire::registration(request)?;
        tokio::select! {
            () = self.shutdown.stopping() => return Err(stopping()),
            admitted = self.door.admit(&registration, &self.caller) => admitted?,
        }
        let (opened, membership) = self.hub.open(registration).map_err(not_opened)?;
        if self.door.is_renewal_due(&opened.peer) {
            self.hub.want_renewal(&opened);
        }
        let welcome = wire::to_membership(&membership);
        self.opened = Some(opened);
        Ok(Message::Welcome(welcome))
    }
}

type Flow = std::ops::ControlFlow<()>;

fn receive(hub: &Hub, opened: &Opened, request: SessionRequest) -> Result<Flow, Status> {
    match required("message", request.message)? {
        session_request::Message::Register(_) => {
            return Err(Invalid::new("message", "`register` comes once, at the beginning").into());
        }
        session_request::Message::Heartbeat(beat) => {
            check_lease(opened, wire::lease(&beat.lease_id)?)?;
            hub.beat(opened, wire::load(&beat), beat.sequence).map_err(|refusal| refused(&refusal))?;
        }
        session_request::Message::Leave(pb::UnregisterRequest { lease_id }) => {
            check_lease(opened, wire::lease(&lease_id)?)?;
            hub.unregister(&opened.lease);
            return Ok(Flow::Break(()));
        }
        session_request::Message::Snapshot(pb::SnapshotRequest {}) => hub.want_snapshot(opened),
    }
    Ok(Flow::Continue(()))
}

/// A session speaks for its own lease only.
fn check_lease(opened: &Opened, lease: LeaseId) -> Result<(), Status> {
    if lease == opened.lease { Ok(()) } else { Err(refused(&Refusal::UnknownLease)) }
}

fn message(down: &Down) -> Message {
    match down {
        Down::Snapshot(roster) => Message::Snapshot(wire::to_roster(roster)),
        Down::Delta(delta) => Message::Delta(wire::to_delta(delta)),
        Down::News(news) => Message::News(wire::to_news(news)),
        Down::Neighbors(neighbors) => Message::Neighbors(wire::to_neighbors(neighbors)),
        Down::Gateways(told) => Message::Gateways(wire::to_gateways(told)),
        Down::Ack(renewal) => Message::Ack(wire::to_renewal(renewal)),
        Down::Denied(list) => Message::Denied(enrollment::to_deny_list(list)),
        Down::RenewalDue => Message::RenewalDue(pb::RenewalDue {}),
    }
}

fn ended(end: End) -> Status {
    match end {
        End::OtherSession => Status::aborted("another session of this peer took over"),
        End::Lease(Reason::Replaced) => {
            Status::failed_precondition("a newer incarnation of this peer is registered")
        }
        End::Lease(Reason::Expelled) => Status::permission_denied("this peer was shut out of the network"),
        End::Lease(Reason::Expired) => refused(&Refusal::UnknownLease),
        End::Lease(Reason::Left) => Status::aborted("the peer has left"),
    }
}

fn not_opened(error: NotOpened) -> Status {
    match error {
        NotOpened::Refused(refusal) => refused(&refusal),
        NotOpened::Full(full) => {
            let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
            let text = format!("sessions are open already: {full}; close them, or read them to their end");
            Status::with_error_details(Code::Unavailable, text, details)
        }
    }
}

fn stopping() -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, "the registry is stopping; connect again", details)
}
