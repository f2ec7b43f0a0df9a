//! The accept loop: never more connections at once than a bound, nor from one host, and never a spin when the system has no descriptor left.
//!
//! It is ours because tonic's own spins when descriptors run out and forgets `TCP_NODELAY` on a listener that it did not
//! bind. A place is taken before a connection is accepted, so that those above the bound wait in the kernel's queue; one
//! above the bound of its host is closed at once, or it would keep the others waiting.

mod watch;

use std::{
    convert::Infallible,
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

use self::watch::Watch;
use super::{
    Trust,
    caller::{Caller, Standing},
    conduct::Conduct,
    counts::{ConnectionCounts, Open},
    leaf::{Leaf, Subject},
    limit::{Admission, Permit},
    link::{Bounds, Link},
};
use crate::protocol::rate::{Rate, Rates};

/// From the accept to the end of the handshake.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(2);
/// Handshakes at once; more wait in the kernel's queue. Each costs about 20 KB and 1 ms of a core.
const MAX_HANDSHAKES: usize = 512;
/// From the accept to the whole HTTP/2 preface: whoever connects and says nothing must not keep a place from others. From
/// there on pings tell who is gone.
const PREFACE_DEADLINE: Duration = Duration::from_secs(5);
/// Connections of one other host at once: two peers have a few between them, and some hosts run many peers. This machine
/// itself has no bound but that of all: a whole network may run on it.
const MAX_PER_HOST: usize = 256;
/// New connections of one other host: a handshake takes 0.5 ms of a core, so that a host that comes and goes takes a hundredth.
const NEW_OF_HOST: Rate = Rate { burst: 512, interval: Duration::from_millis(50) };
/// Bytes of the preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// How long the loop rests after a failure: descriptors do not come back sooner for asking at once.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(100);

/// Something that connections come from.
pub trait Accept: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Where it comes from; `None` when that has no address.
    fn address(&self, stream: &Self::Stream) -> Option<SocketAddr>;

    /// The other host that it comes from; `None` is this machine.
    fn host(&self, stream: &Self::Stream) -> Option<IpAddr> {
        // A TCP connection without an address is gone already.
        let ip = self.address(stream)?.ip().to_canonical();
        (!ip.is_loopback()).then_some(ip)
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        // Without it every small answer waits for the delayed acknowledgement of the one before: 44 ms a call.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn address(&self, stream: &TcpStream) -> Option<SocketAddr> {
        stream.peer_addr().ok()
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = Self::accept(self).await?;
        // The socket's mode keeps others off already; a mode can be changed by hand.
        let user = stream.peer_cred()?.uid();
        if user != rustix::process::geteuid().as_raw() && user != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user"));
        }
        Ok(stream)
    }

    fn address(&self, _: &UnixStream) -> Option<SocketAddr> {
        None
    }
}

impl<L: Accept + Sync> Accept for &L {
    type Stream = L::Stream;

    async fn accept(&self) -> io::Result<L::Stream> {
        L::accept(self).await
    }

    fn address(&self, stream: &L::Stream) -> Option<SocketAddr> {
        L::address(self, stream)
    }

    fn host(&self, stream: &L::Stream) -> Option<IpAddr> {
        L::host(self, stream)
    }
}

/// A connection of any kind. HTTP/2 is compiled once for all of them; a call through the table costs nothing beside the read
/// or write of the system that it leads to.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// Connections to be served, whatever they are made of.
pub type Incoming<'a> = BoxStream<'a, Result<Accepted<Box<dyn Socket>>, Infallible>>;

/// Connections as they come, at most `most` at once and `MAX_PER_HOST` of each other host; never ends and never fails.
pub fn accepted<'a, L: Accept + Sync + 'a>(listener: L, most: usize) -> Incoming<'a> {
    served(accepted_by(listener, most, Conduct::default(), ConnectionCounts::default()))
}

/// The same connections, as the server takes them.
pub(super) fn served<'a, S: Socket + 'static>(
    connections: impl Stream<Item = Result<Accepted<S>, Infallible>> + Send + 'a,
) -> Incoming<'a> {
    connections.map(|connection| connection.map(Accepted::boxed)).boxed()
}

/// The same, under the conduct that the calls over them are told to, and counted there.
pub(super) fn accepted_by<L: Accept>(
    listener: L,
    most: usize,
    conduct: Conduct,
    counts: ConnectionCounts,
) -> impl Stream<Item = Result<Accepted<L::Stream>, Infallible>> {
    let places = Arc::new(Semaphore::new(most));
    let hosts = Admission::new(MAX_PER_HOST, most);
    let door = ((conduct, Rates::new(NEW_OF_HOST)), counts);
    stream::unfold((listener, places, hosts, door), |(listener, places, hosts, mut door)| async move {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match Accept::accept(&listener).await {
                Ok(stream) => {
                    let host = listener.host(&stream);
                    if let Some(why) = host.and_then(|host| turned_away(&mut door.0, host)) {
                        door.1.refuse();
                        tracing::debug!(?host, why, "closed a connection");
                        continue;
                    }
                    let Ok(host) = host.map(|host| hosts.admit(host)).transpose() else {
                        door.1.refuse();
                        tracing::debug!(?host, "closed a connection above the bound of its host");
                        continue;
                    };
                    let deadline = Box::pin(tokio::time::sleep(PREFACE_DEADLINE));
                    let preface = Some(Preface { left_bytes: PREFACE_BYTES, deadline });
                    let caller = Caller::at(listener.address(&stream));
                    let bond = door.0.0.connect(&caller).expect("only those of peers are bounded here");
                    let (watch, open) = (Watch::new(bond), door.1.opened());
                    let accepted =
                        Accepted { stream, caller, preface, watch, open, _place: place, _host: host };
                    return Some((Ok(accepted), (listener, places, hosts, door)));
                }
                // A connection that is gone before it was taken says nothing about the next one.
                Err(error) if !is_exhaustion(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections now");
                    tokio::time::sleep(EXHAUSTION_PAUSE).await;
                }
            }
        }
    })
}

/// Why a connection of that host is closed before a byte of it is read.
fn turned_away((conduct, new): &mut (Conduct, Rates<IpAddr>), host: IpAddr) -> Option<&'static str> {
    let now = std::time::Instant::now();
    if conduct.is_refused(host, now) {
        return Some("its host asked too much and is not heard for now");
    }
    new.take(host, now).is_err().then_some("its host opens too many")
}

/// The same connections once they speak TLS and have shown who they are. Handshakes run beside each other and beside the
/// accept loop; one that fails or takes too long ends its connection and says nothing to anyone else.
pub(super) fn secured(
    connections: impl Stream<Item = Result<Accepted<TcpStream>, Infallible>> + Send + 'static,
    trust: Trust,
    conduct: Conduct,
) -> impl Stream<Item = Result<Accepted<Link<TlsStream<TcpStream>>>, Infallible>> {
    let handshakes = JoinSet::new();
    stream::unfold(
        (Box::pin(connections), handshakes, (trust, conduct)),
        |(mut connections, mut handshakes, (trust, conduct))| async move {
            loop {
                tokio::select! {
                    Some(done) = handshakes.join_next() => {
                        // One that panicked or was dropped leaves only its own connection behind.
                        if let Ok(Some(secured)) = done {
                            return Some((Ok(secured), (connections, handshakes, (trust, conduct))));
                        }
                    }
                    Some(Ok(connection)) = connections.next(), if handshakes.len() < MAX_HANDSHAKES => {
                        handshakes.spawn(handshake(connection, trust.clone(), conduct.clone()));
                    }
                }
            }
        },
    )
}

async fn handshake(
    connection: Accepted<TcpStream>,
    trust: Trust,
    conduct: Conduct,
) -> Option<Accepted<Link<TlsStream<TcpStream>>>> {
    let Accepted { stream, caller, preface, watch: _, open, _place: place, _host: host } = connection;
    let proving = tokio::time::timeout(HANDSHAKE_DEADLINE, prove(stream, &trust));
    match proving.await.unwrap_or_else(|late| Err(late.into())) {
        Ok((stream, standing)) => {
            let caller = Caller::new(caller.address(), standing);
            let Some(bond) = conduct.connect(&caller) else {
                tracing::debug!(%caller, "closed a connection above the bound of its peer");
                return None;
            };
            let watch = Watch::new(bond);
            Some(Accepted { stream, caller, preface, watch, open, _place: place, _host: host })
        }
        Err(error) => {
            open.is_unproven();
            tracing::debug!(%caller, %error, "no handshake");
            None
        }
    }
}

async fn prove(stream: TcpStream, trust: &Trust) -> io::Result<(Link<TlsStream<TcpStream>>, Standing)> {
    let stream = TlsAcceptor::from(trust.server()).accept(stream).await?;
    let (standing, bounds) = shown(&stream, trust)?;
    Ok((Link::new(stream, bounds), standing))
}

/// Who is at the other end, by the certificate that the verifier let pass, and how long the connection may live.
fn shown(stream: &TlsStream<TcpStream>, trust: &Trust) -> io::Result<(Standing, Bounds)> {
    let Some(certificate) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) else {
        return Ok((Standing::Stranger, Bounds::brief()));
    };
    let leaf = Leaf::read(certificate, trust.network()).map_err(io::Error::other)?;
    // The verifier lets the second pass in which it ends.
    if leaf.is_expired() && !trust.is_registry() {
        return Err(io::Error::other("the certificate has run out"));
    }
    Ok(match leaf.subject {
        // It sees whether a peer is where it says.
        Subject::Registry => (Standing::Stranger, Bounds::until(leaf.not_after)),
        Subject::Peer { peer, .. } if leaf.is_expired() => (Standing::Expired { peer }, Bounds::brief()),
        Subject::Peer { peer, zone } => (
            Standing::Member { peer, zone },
            Bounds::of_peer(trust.watch(peer), trust.bounded(leaf.not_after)),
        ),
    })
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A connection with its place; the place is free again when it is dropped.
pub struct Accepted<S> {
    stream: S,
    caller: Caller,
    /// What is still owed; `None` once it came.
    preface: Option<Preface>,
    watch: Watch,
    open: Open,
    _place: OwnedSemaphorePermit,
    _host: Option<Permit<IpAddr>>,
}

impl<S: Socket + 'static> Accepted<S> {
    fn boxed(self) -> Accepted<Box<dyn Socket>> {
        let Self { stream, caller, preface, watch, open, _place: place, _host: host } = self;
        Accepted { stream: Box::new(stream), caller, preface, watch, open, _place: place, _host: host }
    }
}

impl<S> Accepted<S> {
    fn on_written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.watch.on_written(*bytes);
        }
        written
    }
}

impl<S> fmt::Debug for Accepted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("caller", &self.caller).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Preface {
    left_bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

/// Every call over it carries who is at the other end.
impl<S> Connected for Accepted<S> {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Accepted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.watch.poll_quiet(cx));
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch.on_read(&buf.filled()[before..])?;
        if let Some(preface) = &mut self.preface {
            preface.left_bytes = preface.left_bytes.saturating_sub(buf.filled().len() - before);
            if preface.left_bytes == 0 {
                self.preface = None;
            } else if preface.deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.on_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.on_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_connection_above_the_bound_waits_for_a_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut connections = Box::pin(accepted(listener, 1));
        let _clients = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        let first = connections.next().await;
        assert!(futures::poll!(connections.next()).is_pending());
        drop(first);
        assert!(connections.next().await.is_some());
    }

    #[test]
    fn a_host_that_comes_without_end_or_was_silenced_is_turned_away_and_no_other() {
        let host = |last| IpAddr::from([10, 0, 0, last]);
        let conduct = Conduct::default();
        let mut door = (conduct.clone(), Rates::new(NEW_OF_HOST));
        assert!((0..NEW_OF_HOST.burst).all(|_| turned_away(&mut door, host(1)).is_none()));
        assert!(turned_away(&mut door, host(1)).is_some() && turned_away(&mut door, host(2)).is_none());
        let caller = Caller::at(Some((host(3), 1).into()));
        let _bond = conduct.connect(&caller).expect("room");
        conduct.silence(caller.key(), HANDSHAKE_DEADLINE, std::time::Instant::now());
        assert!(turned_away(&mut door, host(3)).is_some() && turned_away(&mut door, host(2)).is_none());
    }

    /// Connections of this machine as if those from 127.0.0.2 came from another host.
    struct Elsewhere(TcpListener);

    impl Accept for Elsewhere {
        type Stream = TcpStream;

        async fn accept(&self) -> io::Result<TcpStream> {
            Accept::accept(&self.0).await
        }

        fn address(&self, stream: &TcpStream) -> Option<SocketAddr> {
            stream.peer_addr().ok()
        }

        fn host(&self, stream: &TcpStream) -> Option<IpAddr> {
            let is_other = stream.peer_addr().expect("connected").ip() == IpAddr::from([127, 0, 0, 2]);
            is_other.then_some(IpAddr::from([10, 0, 0, 2]))
        }
    }

    #[tokio::test]
    async fn one_host_cannot_take_the_places_of_all() {
        use tokio::{io::AsyncReadExt, net::TcpSocket};
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connect = async |from: &str| {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(from.parse().expect("an address")).expect("a port");
            socket.connect(address).await.expect("connects")
        };
        let mut connections = Box::pin(accepted_by(
            Elsewhere(listener),
            2 * MAX_PER_HOST,
            Conduct::default(),
            ConnectionCounts::default(),
        ));
        let mut held = Vec::new();
        for _ in 0..MAX_PER_HOST {
            held.push((connect("127.0.0.2:0").await, connections.next().await));
        }
        let mut above = connect("127.0.0.2:0").await;
        let _other = connect("127.0.0.3:0").await;
        let next = connections.next().await.expect("never ends").expect("never fails");
        let from = next.stream.peer_addr().expect("connected").ip();
        assert_eq!(from, IpAddr::from([127, 0, 0, 3]), "the next one let in is another host's");
        assert_eq!(above.read(&mut [0]).await.expect("closed"), 0);
        held.pop();
        let _again = connect("127.0.0.2:0").await;
        assert!(connections.next().await.is_some(), "its place is free again");
    }
}
