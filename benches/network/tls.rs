//! What mutual TLS costs: opening a connection and one call over it, and a call over a warm one, each against the same in
//! plaintext, taken in turns in one process. CPU is that of both ends.

use std::time::{Duration, Instant};

use anyhow::Result;
use floodplain::{
    net::{Authority, Purpose, To, Transport},
    protocol::id::PeerId,
    shutdown::Shutdown,
    wire::pb::peer_service_client::PeerServiceClient,
};

use crate::{
    first_hit::{serve_echo, transport},
    measure::{Cpu, Times, micros},
    member::member,
    small::unary,
};

/// Calls of one kind before CPU is read: enough that reading it counts little.
const BATCH: u32 = 20;
/// Rounds before anything is counted.
const WARM_UP: u32 = 5;

/// One way to talk, and what it took.
struct Way {
    client: Transport,
    to: To,
    opened: (Times, Duration),
    called: (Times, Duration),
}

impl Way {
    async fn new(client: Transport, server: Transport, peer: PeerId, shutdown: &Shutdown) -> Result<Self> {
        let to = To { address: serve_echo(&server, Vec::new(), shutdown).await?, peer };
        Ok(Self { client, to, opened: Default::default(), called: Default::default() })
    }

    async fn round(&mut self, is_counted: bool) -> Result<()> {
        let pid = std::process::id();
        let mut opened = Vec::new();
        let before = Cpu::of(pid);
        for _ in 0..BATCH {
            let begun = Instant::now();
            let mut client = PeerServiceClient::new(self.client.dial(self.to, Purpose::Link).await?);
            unary(&mut client).await?;
            opened.push(begun.elapsed());
        }
        let opening = Cpu::of(pid).since(&before);
        let mut client = PeerServiceClient::new(self.client.dial(self.to, Purpose::Link).await?);
        unary(&mut client).await?;
        let mut called = Vec::new();
        let before = Cpu::of(pid);
        for _ in 0..BATCH * 10 {
            called.push(unary(&mut client).await?);
        }
        let calling = Cpu::of(pid).since(&before);
        if is_counted {
            for took in opened {
                self.opened.0.push(took);
            }
            for took in called {
                self.called.0.push(took);
            }
            self.opened.1 += opening;
            self.called.1 += calling;
        }
        Ok(())
    }
}

pub(crate) async fn run(rounds: u32) -> Result<()> {
    let shutdown = Shutdown::new();
    let authority = Authority::generate()?;
    let ((client, _), (server, id)) = (member(&authority)?, member(&authority)?);
    let mut plain = Way::new(transport(), transport(), PeerId::from_bytes([0; 32]), &shutdown).await?;
    let mut closed = Way::new(client, server, id, &shutdown).await?;
    for round in 0..rounds + WARM_UP {
        plain.round(round >= WARM_UP).await?;
        closed.round(round >= WARM_UP).await?;
    }
    println!("one process, both ends; 1 KiB answers");
    println!(
        "{:36} {:>6} {:>9} {:>9} {:>9} {:>7} {:>7}",
        "", "count", "p50 us", "p99 us", "CPU us", "p50", "CPU"
    );
    let ways = [("plaintext", &mut plain), ("mutual TLS 1.3", &mut closed)];
    let mut base = [[0.0; 2]; 2];
    for (name, way) in ways {
        for (kind, (what, (times, cpu))) in
            [("connect and call", &mut way.opened), ("call, warm", &mut way.called)].into_iter().enumerate()
        {
            let count = u32::try_from(times.count())?;
            let [p50, p99] = [0.5, 0.99].map(|part| micros(times.quantile(part)));
            let each = micros(*cpu / count);
            if name == "plaintext" {
                base[kind] = [p50, each];
            }
            let against = [p50 / base[kind][0], each / base[kind][1]];
            println!(
                "{:36} {count:6} {p50:9.0} {p99:9.0} {each:9.0} {:7.2} {:7.2}",
                format!("{what}, {name}"),
                against[0],
                against[1]
            );
        }
    }
    shutdown.drain(Duration::from_secs(5)).await;
    Ok(())
}
