//! The full-screen view of a peer: who is there, what is on its way, what is asked.
//!
//! Invariant: the terminal is given back as it was, however this ends; what is drawn is a pure function of the
//! [`model::Model`], and every text of others is escaped there.

pub mod draw;
pub mod list;
pub mod model;
mod terminal;

use std::{
    io::{self, IsTerminal},
    time::{Duration, SystemTime},
};

use anyhow::Context;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokio::time::{Instant, sleep_until};

use self::{
    model::{Answer, Key, Model, Order},
    terminal::{Input, Inputs, Screen},
};
use super::{ExitReason, understands_escapes};
use crate::{
    peer::{
        Handle,
        handle::{Events, Outcome},
    },
    protocol::action::Activity,
    shutdown::Shutdown,
};

/// How often the peer is asked how it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who is in the network is asked every so many looks: it takes a call to the registry.
const PEERS_EVERY: u64 = 5;
/// For one look; a peer that does not answer is told to be away.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// Between two pictures, so that a storm of queries costs 20 pictures a second and no more.
const FRAME: Duration = Duration::from_millis(50);
/// Before the queries are asked for again, of a peer that went away.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

/// Standard input and output are a terminal on which a picture can be drawn.
pub fn can_draw() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && understands_escapes()
}

/// Shows the peer until a key or the stop ends it.
///
/// # Errors
/// When the terminal cannot be set up, or goes away.
pub async fn run(handle: Handle, has_color: bool, shutdown: Shutdown) -> anyhow::Result<ExitReason> {
    let mut screen = Screen::open().context("could not take the terminal over")?;
    let mut inputs = Inputs::start().context("could not start to read the keys")?;
    let mut model = Model::new(has_color);
    let mut activity = watched(handle.clone());
    let (mut looks, mut looking) = (0, Some(look(handle.clone(), true)));
    let mut acting: Option<BoxFuture<'static, Answer>> = None;
    let (mut next_look, mut next_frame) = (Instant::now(), Instant::now());
    let mut is_stale = true;
    loop {
        if is_stale && Instant::now() >= next_frame {
            screen.draw(&model, SystemTime::now()).context("the terminal takes no more")?;
            (is_stale, next_frame) = (false, Instant::now() + FRAME);
        }
        tokio::select! {
            biased;
            () = shutdown.stopping() => return Ok(ExitReason::Stopped),
            input = inputs.next() => match input {
                Input::Key(Key::Quit) => return Ok(ExitReason::Quit),
                Input::Key(Key::Interrupt) => return Ok(ExitReason::Interrupted),
                Input::End => return Ok(ExitReason::EndOfInput),
                Input::Key(key) => {
                    if let Some(order) = model.on_key(key) {
                        // One at a time: a key that is held down asks nothing twice.
                        acting.get_or_insert_with(|| act(handle.clone(), order));
                    }
                }
                Input::Resized => {}
            },
            answer = on(&mut acting) => {
                acting = None;
                model.on_answer(answer);
                next_look = Instant::now();
            }
            seen = on(&mut looking) => {
                looking = None;
                next_look = Instant::now() + LOOK_EVERY;
                model.on_look(seen, Instant::now().into_std());
            }
            () = sleep_until(next_look), if looking.is_none() => {
                looks += 1;
                looking = Some(look(handle.clone(), looks % PEERS_EVERY == 0));
                continue;
            }
            Some(told) = activity.next() => match told {
                Ok(told) => model.on_activity(told),
                Err(_) => continue,
            },
            () = sleep_until(next_frame), if is_stale => continue,
        }
        is_stale = true;
    }
}

async fn on<T>(running: &mut Option<BoxFuture<'static, T>>) -> T {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}

fn look(handle: Handle, with_peers: bool) -> BoxFuture<'static, Outcome<model::Look>> {
    async move {
        let seen = async {
            let (status, transfers) = tokio::try_join!(handle.status(), handle.transfers())?;
            // Without them the rest is still worth seeing.
            let peers = if with_peers { handle.peers(None).await.ok() } else { None };
            Ok(model::Look { status, transfers, peers })
        };
        tokio::time::timeout(LOOK_DEADLINE, seen).await.unwrap_or_else(|_| Err(model::silent()))
    }
    .boxed()
}

fn act(handle: Handle, order: Order) -> BoxFuture<'static, Answer> {
    async move {
        let outcome = handle.control_transfers(order.which, order.control).await;
        Answer { order, outcome }
    }
    .boxed()
}

/// The queries at the peer, again when it went away and came back.
fn watched(handle: Handle) -> Events<Activity> {
    let again = stream::unfold(true, move |is_first| {
        let handle = handle.clone();
        async move {
            if !is_first {
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
            let events = match handle.activity().await {
                Ok(events) => events,
                Err(error) => stream::iter([Err(error)]).boxed(),
            };
            Some((events, false))
        }
    });
    again.flatten().boxed()
}
