//! Whether a connection is read: not while its caller is silenced, nor for a while when it sends what brings nothing.
//!
//! Invariant: what is not read costs nothing here; it stays with the system, and then with its sender. A connection that was
//! closed instead would only come back.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::time::Sleep;

use crate::{
    net::conduct::Bond,
    protocol::idle::{Budget, Frames, Reading},
};

/// How a connection behaves, and whether it is read.
#[derive(Debug)]
pub(super) struct Watch {
    bond: Bond,
    frames: Frames,
    budget: Budget,
    quiet: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    pub(super) fn new(bond: Bond) -> Self {
        let budget = Budget::new(Instant::now());
        Self { bond, frames: Frames::default(), budget, quiet: None }
    }

    /// Ready when it may be read. What is not read stays with its sender.
    pub(super) fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(quiet) = &mut self.quiet {
                ready!(quiet.as_mut().poll(cx));
                self.quiet = None;
            }
            let Some(until) = self.bond.silent_until() else { return Poll::Ready(()) };
            self.quiet = Some(Box::pin(tokio::time::sleep_until(until.into())));
        }
    }

    pub(super) fn on_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        let seen = self.frames.read(bytes);
        match self.budget.on_read(seen, Instant::now()) {
            Reading::On => Ok(()),
            Reading::After(silence) => {
                self.quiet = Some(Box::pin(tokio::time::sleep(silence)));
                Ok(())
            }
            Reading::Over => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "nothing but idle frames")),
        }
    }

    pub(super) fn on_written(&mut self, bytes: usize) {
        self.budget.on_answered(bytes);
    }
}
