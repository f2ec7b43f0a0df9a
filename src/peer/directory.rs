//! Who is in the network: asked of the registry, and told from the last roster while the registry is away.

use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Channel;

use self::kept::Kept;
use super::{handle::Outcome, view::View};
use crate::{
    net::{Purpose, Transport},
    protocol::{
        action::{ActionError, ErrorKind, HintCode, Listing, PeerInfo, ZoneInfo},
        id::ZoneId,
        query::MIN_ID_DIGITS,
        roster::Member,
    },
    shutdown::Shutdown,
    wire::{
        common::{member, peer_info},
        pb::{ListPeersRequest, ListZonesRequest, registry_service_client::RegistryServiceClient},
        registry::zone_info,
    },
};

mod kept;

/// How long the registry may take for a whole list.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Most rows of a list.
const MAX_ROWS: usize = 10_000;
/// Rows of one page.
const PAGE_ROWS: u32 = 1000;

/// Looks peers and zones up.
#[derive(Debug)]
pub(crate) struct Directory {
    registry: String,
    transport: Transport,
    view: View,
    /// Closed when a call over it fails: the registry's name may lead to another address by then.
    channel: Kept,
}

impl Directory {
    /// Connects at the first look-up.
    pub(crate) fn new(registry: String, transport: Transport, view: View, shutdown: Shutdown) -> Self {
        Self { registry, transport, view, channel: Kept::new(shutdown) }
    }

    /// The peers of the network, or of one zone, in order of zone and name.
    pub(crate) async fn peers(&self, zone: Option<ZoneId>) -> Listing<PeerInfo> {
        match self.within_time(self.ask_peers(zone)).await {
            Ok(rows) => Listing { rows, is_stale: false },
            Err(error) => self.last_roster(zone, &error),
        }
    }

    /// The zones of the network, in order of their numbers.
    pub(crate) async fn zones(&self) -> Listing<ZoneInfo> {
        if let Ok(rows) = self.within_time(self.ask_zones()).await {
            return Listing { rows, is_stale: false };
        }
        let knowledge = self.view.now();
        let rows = knowledge.roster.iter().map(|roster| ZoneInfo {
            zone: roster.zone(),
            peers: u32::try_from(roster.members().len()).unwrap_or(u32::MAX),
            gateways: knowledge.own_gateways().iter().map(|gateway| gateway.name.to_string()).collect(),
        });
        Listing { rows: rows.collect(), is_stale: true }
    }

    /// The peer of that name, or whose id begins so. The own zone first, which is known without asking.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Usage` when an id's beginning fits several.
    pub(crate) async fn find(&self, text: &str) -> Outcome<Member> {
        let knowledge = self.view.now();
        if let Some(found) = knowledge.roster.as_ref().and_then(|roster| roster.named(text)) {
            return Ok(found.clone());
        }
        let lower = text.to_ascii_lowercase();
        let is_id = lower.len() >= MIN_ID_DIGITS && lower.bytes().all(|byte| byte.is_ascii_hexdigit());
        let listing = self.peers(None).await;
        let mut found = listing.rows.into_iter().filter(|peer| {
            peer.name.as_str().eq_ignore_ascii_case(text)
                || (is_id && peer.id.to_string().starts_with(&lower))
        });
        match (found.next(), found.next()) {
            (Some(peer), None) => Ok(Member {
                id: peer.id,
                name: peer.name,
                address: peer.address,
                incarnation: 0,
                shared_files: peer.shared_files,
                room_bytes: 0,
                summary: crate::protocol::roster::Stamp::default(),
            }),
            (Some(_), Some(_)) => {
                Err(ActionError::new(ErrorKind::Usage, format!("`{text}` fits several peers"))
                    .hint("give more digits of the id"))
            }
            (None, _) => {
                let missing = ActionError::new(ErrorKind::NotFound, format!("there is no peer `{text}`"));
                Err(if listing.is_stale {
                    missing.hint("the registry cannot be asked; only the own zone is known")
                } else {
                    missing.hint_as(HintCode::ListPeers, "see `floodplain peers`")
                })
            }
        }
    }

    fn last_roster(&self, zone: Option<ZoneId>, error: &anyhow::Error) -> Listing<PeerInfo> {
        tracing::debug!(registry = %self.registry, error = format!("{error:#}"), "listing from the last roster");
        let knowledge = self.view.now();
        let mut rows = match &knowledge.roster {
            Some(roster) if zone.is_none_or(|zone| zone == roster.zone()) => {
                roster.members().iter().map(|member| peer_info(member.clone(), Some(roster.zone()))).collect()
            }
            _ => Vec::new(),
        };
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Listing { rows, is_stale: true }
    }

    async fn client(&self) -> anyhow::Result<RegistryServiceClient<Channel>> {
        let channel = self.channel.get(self.transport.dial_host(&self.registry, Purpose::Registry)).await?;
        Ok(RegistryServiceClient::new(channel))
    }

    /// One list, or why there is none; the next one dials anew then.
    async fn within_time<T>(&self, list: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let listed = timeout(TIMEOUT, list)
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {TIMEOUT:?}")));
        if listed.is_err() {
            self.channel.close().await;
        }
        listed
    }

    async fn ask_peers(&self, zone: Option<ZoneId>) -> anyhow::Result<Vec<PeerInfo>> {
        let (mut client, mut rows, mut page_token) = (self.client().await?, Vec::new(), String::new());
        loop {
            let zone_id = zone.map_or(0, ZoneId::get);
            let page = client
                .list_peers(ListPeersRequest { zone_id, page_size: PAGE_ROWS, page_token })
                .await?
                .into_inner();
            for peer in &page.peers {
                let (member, zone) = member(peer)?;
                rows.push(peer_info(member, zone));
            }
            if page.next_page_token.is_empty() || page.peers.is_empty() || rows.len() >= MAX_ROWS {
                return Ok(rows);
            }
            page_token = page.next_page_token;
        }
    }

    async fn ask_zones(&self) -> anyhow::Result<Vec<ZoneInfo>> {
        let (mut client, mut rows, mut page_token) = (self.client().await?, Vec::new(), String::new());
        loop {
            let page =
                client.list_zones(ListZonesRequest { page_size: PAGE_ROWS, page_token }).await?.into_inner();
            let is_last = page.next_page_token.is_empty() || page.zones.is_empty();
            for zone in page.zones {
                rows.push(zone_info(zone)?);
            }
            if is_last || rows.len() >= MAX_ROWS {
                return Ok(rows);
            }
            page_token = page.next_page_token;
        }
    }
}
