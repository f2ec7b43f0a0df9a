//! The owner's face of the registry, on a Unix socket in its data folder: nobody but the owner can connect, and nothing of it
//! is served on the port.

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tonic::{Request, Response, Status, transport::Server};

use super::{
    closed::Closed,
    refusal::{no_such_zone, not_admitted},
    session::Hub,
};
use crate::{
    net::{accept::accepted, socket::ControlSocket},
    protocol::{
        admission::{NetworkMember, place},
        gateway::MAX_ZONES,
        id::ZoneId,
        trust::invite::Invite,
        zone::Layout,
    },
    shutdown::Shutdown,
    telemetry::service::Logs,
    wire::{
        admin::{self as wire, InviteAsk, MemberInfo, Rotation, RotationStep},
        pb::{
            self,
            registry_admin_service_server::{RegistryAdminService, RegistryAdminServiceServer},
        },
        registry::page_size,
    },
};

/// File name of the socket in the registry's data folder.
const SOCKET_NAME: &str = "registry.sock";
/// Connections at once; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 16;
/// Calls at once on one connection.
const MAX_STREAMS: u32 = 16;
/// For running calls to end when the registry stops.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// Where the socket of a registry's data folder is.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join(SOCKET_NAME)
}

/// What the owner does, over the socket or in the same process.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    pub(super) closed: Option<Arc<Closed>>,
    pub(super) hub: Arc<Hub>,
    pub(super) layout: Layout,
    /// `HOST:PORT` of invites.
    pub(super) host: String,
    pub(super) shutdown: Shutdown,
}

impl Admin {
    fn closed(&self) -> Result<&Arc<Closed>, Status> {
        let open = "this network is not closed: it is plaintext on this machine, and nobody needs an invite";
        self.closed.as_ref().ok_or_else(|| Status::failed_precondition(open))
    }

    /// Makes an invite.
    pub(super) async fn invite(&self, ask: &InviteAsk) -> Result<(Invite, SystemTime), Status> {
        let closed = self.closed()?;
        let zones = match self.layout {
            Layout::Fixed { zones, .. } => zones,
            Layout::Elastic { .. } => u32::try_from(MAX_ZONES).expect("a small constant"),
        };
        if ask.zone.map_or(0, ZoneId::get) > zones {
            return Err(no_such_zone(zones));
        }
        closed.invite(ask, &self.host).await.map_err(|refusal| not_admitted(&refusal))
    }

    /// Changes the authority by a step, and has the peers follow.
    async fn rotate(&self, step: RotationStep) -> Result<Rotation, Status> {
        let stepped = self.closed()?.rotate(step, |peer| self.hub.is_live(peer)).await;
        let rotated = stepped.map_err(|refusal| not_admitted(&refusal))?;
        if rotated.is_changed {
            rotated.left_out.iter().for_each(|peer| self.hub.expel(peer));
            self.hub.want_renewals();
        }
        Ok(rotated.rotation)
    }

    fn info(&self, member: &NetworkMember, is_newest_authority: bool) -> MemberInfo {
        let id = member.id();
        MemberInfo {
            id,
            name: member.name.clone(),
            enrolled: member.enrolled,
            not_after: member.issued.not_after,
            is_revoked: member.is_revoked,
            is_live: self.hub.is_live(&id),
            is_newest_authority,
        }
    }

    /// Serves on the socket until the stop.
    pub(super) fn serve(self, socket: ControlSocket, shutdown: &Shutdown) {
        let service =
            RegistryAdminServiceServer::new(self).max_decoding_message_size(wire::MAX_REQUEST_BYTES);
        let (stopping, overdue) = (shutdown.stopping_owned(), shutdown.stopping_owned());
        shutdown.spawn_draining("admin", async move {
            // For health checks beside the daemon: the port takes members only.
            let (reporter, health) = tonic_health::server::health_reporter();
            let incoming = accepted(socket.listener(), MAX_CONNECTIONS);
            let serving = Server::builder()
                .max_concurrent_streams(MAX_STREAMS)
                .add_service(health)
                .add_service(service)
                .add_service(Logs::service())
                .serve_with_incoming_shutdown(incoming, stopping);
            let drained = async {
                overdue.await;
                reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
                tokio::time::sleep(DRAIN_GRACE).await;
            };
            tokio::select! {
                served = serving => if let Err(error) = served {
                    tracing::error!(%error, "the owner's socket is not served any more");
                },
                () = drained => {}
            }
        });
    }
}

#[tonic::async_trait]
impl RegistryAdminService for Admin {
    async fn create_invite(
        &self,
        request: Request<pb::CreateInviteRequest>,
    ) -> Result<Response<pb::CreateInviteResponse>, Status> {
        let ask = wire::invite_ask(&request.into_inner())?;
        let (invite, expires) = self.invite(&ask).await?;
        Ok(Response::new(wire::to_invite(&invite, expires)))
    }

    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        let closed = self.closed()?;
        let request = request.into_inner();
        let limit = page_size(request.page_size)?;
        let after = wire::member_page_token(&request.page_token)?;
        let (page, has_more) = closed.members(after.as_ref(), limit);
        let last = page.last().filter(|_| has_more).map(|(member, _)| place(member));
        let members = page.iter().map(|(member, is_newest)| wire::to_member(&self.info(member, *is_newest)));
        Ok(Response::new(pb::ListMembersResponse {
            members: members.collect(),
            next_page_token: last.map(|last| wire::to_member_page_token(&last)).unwrap_or_default(),
        }))
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        let closed = self.closed()?;
        let who = wire::who(request.into_inner())?;
        // Also when it cannot be written down: whoever asked wants it gone now.
        let revoked = closed.revoke(&who, |denied| self.hub.deny(denied)).await;
        self.hub.counts().revocations.add(u64::from(revoked.is_ok()));
        let member = revoked.map_err(|refusal| not_admitted(&refusal))?;
        let info = self.info(&member, !closed.is_on_older(&member.id()));
        Ok(Response::new(pb::RevokeResponse { member: Some(wire::to_member(&info)) }))
    }

    async fn rotate_authority(
        &self,
        request: Request<pb::RotateAuthorityRequest>,
    ) -> Result<Response<pb::RotateAuthorityResponse>, Status> {
        let step = wire::rotation_step(request.into_inner())?;
        let admin = self.clone();
        // Whoever asked may go away once the step is on its way, and those whom it leaves out must go all the same.
        let stepping =
            self.shutdown.spawn_draining("authority step", async move { admin.rotate(step).await });
        let rotation = stepping.await.map_err(|_| Status::internal("the step failed; see the log"))??;
        Ok(Response::new(wire::to_rotation(&rotation)))
    }
}
