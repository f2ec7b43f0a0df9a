//! HTTP/2 by hand: frames that no library would send, over a bare socket.

// Shared as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types and flags of RFC 9113.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a call of that path, without any table: each as a literal with its name.
pub fn head(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "peer"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// One header that no table remembers (RFC 7541, section 6.2.2).
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// A text as it is, its length in front.
pub fn text(text: &str) -> Vec<u8> {
    let mut coded = Vec::new();
    match text.len() {
        short @ 0..127 => coded.push(u8::try_from(short).expect("below 127")),
        long => {
            coded.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                coded.push(u8::try_from(rest % 128).expect("below 128") | 128);
                rest /= 128;
            }
            coded.push(u8::try_from(rest).expect("below 128"));
        }
    }
    coded.extend(text.as_bytes());
    coded
}

/// A socket that says what it likes.
pub struct Raw {
    pub write: OwnedWriteHalf,
    pub read: OwnedReadHalf,
}

impl Raw {
    /// Connected, nothing said.
    pub async fn connect(address: SocketAddr) -> Self {
        let (read, write) = TcpStream::connect(address).await.expect("accepted").into_split();
        Self { write, read }
    }

    /// With the preface and these settings said.
    pub async fn open(address: SocketAddr, settings: &[u8]) -> Self {
        let mut raw = Self::connect(address).await;
        raw.say(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await;
        raw
    }

    /// False when the other end has had enough.
    pub async fn say(&mut self, bytes: &[u8]) -> bool {
        // A daemon that reads no more, and does not close, is found by the test's own patience.
        matches!(tokio::time::timeout(Duration::from_secs(30), self.write.write_all(bytes)).await, Ok(Ok(())))
    }

    /// The same as often as it is heard, at most so many times; the answers are read and dropped meanwhile. How often it was.
    pub async fn repeat(&mut self, bytes: &[u8], times: usize) -> usize {
        // Many at once: what is measured is the other end.
        let at_once = (64_usize << 10).div_ceil(bytes.len()).min(times);
        let (chunk, mut said) = (bytes.repeat(at_once), 0);
        let Self { write, read } = self;
        let saying = async {
            while said < times {
                if write.write_all(&chunk).await.is_err() {
                    break;
                }
                said += at_once;
            }
        };
        let draining = async {
            let mut buffer = vec![0; 64 << 10];
            while matches!(read.read(&mut buffer).await, Ok(1..)) {}
            // Closed: what is being said fails by itself.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = saying => {}
            () = draining => {}
            () = tokio::time::sleep(Duration::from_secs(30)) => {}
        }
        said
    }

    /// Whether the other end closes within that time, without waiting for a word from here.
    pub async fn is_closed_within(&mut self, patience: Duration) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let closed = async { while matches!(self.read.read(&mut buffer).await, Ok(1..)) {} };
        tokio::time::timeout(patience, closed).await.is_ok()
    }
}
