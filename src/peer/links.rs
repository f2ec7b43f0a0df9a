//! Open channels to other peers of the zone, kept for the next query, with what is known of each: how long its answers
//! take to begin, and how much is on its way.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;
use tonic::transport::Channel;

use super::room::Room;
use crate::{
    net::{Forbidden, Purpose, Transport},
    protocol::{
        hedge::{self, Delays},
        id::PeerId,
        roster::Member,
    },
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
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    links: LruCache<PeerId, Link>,
    /// Of all links together.
    delays: Delays,
}

#[derive(Debug)]
struct Link {
    address: SocketAddr,
    incarnation: u64,
    opened: Instant,
    channel: Channel,
    room: Room,
    delays: Delays,
}

impl Links {
    /// With none open.
    pub(crate) fn new(transport: Transport, purpose: Purpose) -> Self {
        let open = Open { links: LruCache::new(MAX_LINKS), delays: Delays::default() };
        Self { transport, purpose, open: Mutex::new(open) }
    }

    /// The channel to a member, which connects at its first call. A member that moved or restarted gets a new one, so
    /// that nothing waits on a connection to what is gone; so does one whose connection may soon be ended for its age.
    ///
    /// # Errors
    /// When the security in force does not allow its address.
    pub(crate) fn channel(&self, member: &Member) -> Result<Channel, Forbidden> {
        Ok(self.link(member)?.0)
    }

    /// A client over the channel to a member.
    ///
    /// # Errors
    /// When the security in force does not allow its address.
    pub(crate) fn client(&self, member: &Member) -> Result<PeerServiceClient<Channel>, Forbidden> {
        Ok(client(self.channel(member)?))
    }

    /// A client for queries, and the room that they have on that link.
    ///
    /// # Errors
    /// When the security in force does not allow its address.
    pub(crate) fn for_query(&self, member: &Member) -> Result<(PeerServiceClient<Channel>, Room), Forbidden> {
        let (channel, room) = self.link(member)?;
        Ok((client(channel), room))
    }

    /// How long that peer may be silent before someone else is asked as well.
    pub(crate) fn hedge_after(&self, peer: &PeerId) -> Duration {
        let open = self.lock();
        let link = open.links.peek(peer).map_or_else(Delays::default, |link| link.delays);
        hedge::hedge_after(&link, &open.delays, Instant::now())
    }

    /// That peer began to answer a query after this time.
    pub(crate) fn on_heard(&self, peer: &PeerId, delay: Duration) {
        let (mut open, now) = (self.lock(), Instant::now());
        open.delays.on_heard(delay, now);
        if let Some(link) = open.links.peek_mut(peer) {
            link.delays.on_heard(delay, now);
        }
    }

    /// Nobody waits for that peer any more, which had not begun to answer after this time.
    pub(crate) fn on_silence(&self, peer: &PeerId, waited: Duration) {
        if let Some(link) = self.lock().links.peek_mut(peer) {
            link.delays.on_silence(waited, Instant::now());
        }
    }

    fn link(&self, member: &Member) -> Result<(Channel, Room), Forbidden> {
        let mut open = self.lock();
        if let Some(link) = open.links.get_mut(&member.id)
            && (link.address, link.incarnation) == (member.address, member.incarnation)
        {
            if link.opened.elapsed() > self.transport.channel_age() {
                // What runs over the old one goes on there.
                link.channel = self.transport.dial_lazily(member.into(), self.purpose)?;
                link.opened = Instant::now();
            }
            return Ok((link.channel.clone(), link.room.clone()));
        }
        let channel = self.transport.dial_lazily(member.into(), self.purpose)?;
        let link = Link {
            address: member.address,
            incarnation: member.incarnation,
            opened: Instant::now(),
            channel: channel.clone(),
            room: Room::of_link(),
            delays: Delays::default(),
        };
        let room = link.room.clone();
        open.links.put(member.id, link);
        Ok((channel, room))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(channel: Channel) -> PeerServiceClient<Channel> {
    PeerServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}
