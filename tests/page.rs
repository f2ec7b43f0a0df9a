//! The page in a real browser, against daemons as they are run: what a person does who never saw a terminal.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/browser.rs"]
mod browser;
#[expect(dead_code, reason = "of other tests")]
#[path = "support/daemons.rs"]
mod daemons;
#[path = "page/stage.rs"]
mod stage;

#[path = "page/access.rs"]
mod access;
#[path = "page/amiss.rs"]
mod amiss;
#[path = "page/first_hit.rs"]
mod first_hit;
#[path = "page/look.rs"]
mod look;
#[path = "page/moves.rs"]
mod moves;
#[path = "page/registry.rs"]
mod registry;
#[path = "page/search.rs"]
mod search;
#[path = "page/views.rs"]
mod views;
#[path = "page/windows.rs"]
mod windows;
