//! Open channels to other peers of the zone, kept for the next query.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;
use tonic::transport::Channel;

use crate::{
    net::{Forbidden, Purpose, Transport},
    protocol::{id::PeerId, roster::Member},
    wire::pb::peer_service_client::PeerServiceClient,
};

/// Channels kept; the one longest unused is closed for a new one. A claimed flood in a zone of 1,000 needs 32, each
/// about 20 KB.
const MAX_LINKS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// Largest message of a search: hits are cut at 4 KiB, and a report on the most peers has 256 KiB. A message of empty
/// entries grows fifty times when it is decoded, so there is no room to spare.
const MAX_ANSWER_BYTES: usize = 512 << 10;

/// Channels by peer.
#[derive(Debug)]
pub(crate) struct Links {
    transport: Transport,
    purpose: Purpose,
    // Held for a look-up, never across an await.
    open: Mutex<LruCache<PeerId, Link>>,
}

#[derive(Debug, Clone)]
struct Link {
    address: SocketAddr,
    incarnation: u64,
    channel: Channel,
}

impl Links {
    /// With none open.
    pub(crate) fn new(transport: Transport, purpose: Purpose) -> Self {
        Self { transport, purpose, open: Mutex::new(LruCache::new(MAX_LINKS)) }
    }

    /// The channel to a member, which connects at its first call. A member that moved or restarted gets a new one, so
    /// that nothing waits on a connection to what is gone.
    ///
    /// # Errors
    /// When the security in force does not allow its address.
    pub(crate) fn channel(&self, member: &Member) -> Result<Channel, Forbidden> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = open.get(&member.id)
            && (link.address, link.incarnation) == (member.address, member.incarnation)
        {
            return Ok(link.channel.clone());
        }
        let channel = self.transport.dial_lazily(member.address, self.purpose)?;
        let link =
            Link { address: member.address, incarnation: member.incarnation, channel: channel.clone() };
        open.put(member.id, link);
        Ok(channel)
    }

    /// A client over the channel to a member.
    ///
    /// # Errors
    /// When the security in force does not allow its address.
    pub(crate) fn client(&self, member: &Member) -> Result<PeerServiceClient<Channel>, Forbidden> {
        let channel = self.channel(member)?;
        Ok(PeerServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES))
    }
}
