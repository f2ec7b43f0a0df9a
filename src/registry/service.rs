//! The gRPC face of the registry: checks what comes in, asks the state, answers.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    door::Door,
    refusal::refused,
    session::{self, Hub},
    state::PeerPlace,
};
use crate::{
    net::Caller,
    protocol::id::ZoneId,
    shutdown::Shutdown,
    wire::{
        common::{address, to_peer},
        pb::{self, registry_service_server::RegistryService},
        registry as wire,
    },
};

#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) hub: Arc<Hub>,
    pub(super) door: Arc<Door>,
    pub(super) shutdown: Shutdown,
}

#[tonic::async_trait]
impl RegistryService for Service {
    type SessionStream = BoxStream<'static, Result<pb::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<pb::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = Caller::of(request.extensions());
        let answers = session::serve(
            self.hub.clone(),
            self.door.clone(),
            request.into_inner(),
            caller,
            self.shutdown.clone(),
        );
        Ok(Response::new(answers.boxed()))
    }

    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let registration = wire::registration(request.into_inner())?;
        self.door.admit(&registration, &caller).await?;
        let membership = self.hub.register(registration).map_err(|refusal| refused(&refusal))?;
        Ok(Response::new(wire::to_membership(&membership)))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let lease = wire::lease(&request.lease_id)?;
        let mut renewal =
            self.hub.heartbeat(&lease, wire::load(&request)).map_err(|refusal| refused(&refusal))?;
        renewal.sequence = request.sequence;
        Ok(Response::new(wire::to_renewal(&renewal)))
    }

    async fn unregister(
        &self,
        request: Request<pb::UnregisterRequest>,
    ) -> Result<Response<pb::UnregisterResponse>, Status> {
        self.hub.unregister(&wire::lease(&request.into_inner().lease_id)?);
        Ok(Response::new(pb::UnregisterResponse {}))
    }

    async fn list_zones(
        &self,
        request: Request<pb::ListZonesRequest>,
    ) -> Result<Response<pb::ListZonesResponse>, Status> {
        let request = request.into_inner();
        let limit = wire::page_size(request.page_size)?;
        let after = wire::zone_page_token(&request.page_token)?;
        let page = self.hub.read(|state| state.list_zones(after, limit));
        let last = page.items.last().filter(|_| page.has_more);
        let next_page_token = last.map(|last| last.zone.to_string()).unwrap_or_default();
        let zones = page.items.into_iter().map(|zone| pb::Zone {
            zone_id: zone.zone.get(),
            peers: u32::try_from(zone.peers).unwrap_or(u32::MAX),
            revision: zone.revision,
            gateways: zone.gateways.iter().map(ToString::to_string).collect(),
        });
        Ok(Response::new(pb::ListZonesResponse { zones: zones.collect(), next_page_token }))
    }

    async fn list_peers(
        &self,
        request: Request<pb::ListPeersRequest>,
    ) -> Result<Response<pb::ListPeersResponse>, Status> {
        let request = request.into_inner();
        let limit = wire::page_size(request.page_size)?;
        let only = ZoneId::new(request.zone_id);
        let after = wire::peer_page_token(&request.page_token, only)?;
        let after = after.map(|(zone, name)| PeerPlace { zone, name });
        let page = self.hub.read(|state| state.list_peers(only, after.as_ref(), limit));
        let last = page.items.last().filter(|_| page.has_more);
        let next_page_token =
            last.map(|(zone, member)| wire::to_peer_page_token(*zone, &member.name)).unwrap_or_default();
        let peers = page.items.iter().map(|(zone, member)| to_peer(member, Some(*zone))).collect();
        Ok(Response::new(pb::ListPeersResponse { peers, next_page_token }))
    }

    async fn check_reach(
        &self,
        request: Request<pb::CheckReachRequest>,
    ) -> Result<Response<pb::CheckReachResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let address = address("address", &request.into_inner().address)?;
        self.door.check_reach(address, &caller).await?;
        Ok(Response::new(pb::CheckReachResponse {}))
    }
}
