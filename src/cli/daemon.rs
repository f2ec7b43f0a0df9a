//! The verbs that stay: registry, peer, console, demo.

use super::{
    args::{DemoArgs, Global, PeerArgs, RegistryArgs},
    exit::{Ended, Failure},
    output::Output,
};

pub(super) fn registry(_: &Global, _: &RegistryArgs, _: &mut Output) -> Ended {
    Err(Failure::failed("not built in"))
}

pub(super) fn peer(_: &Global, _: &PeerArgs, _: &mut Output) -> Ended {
    Err(Failure::failed("not built in"))
}

pub(super) fn console(_: &Global, _: &mut Output) -> Ended {
    Err(Failure::failed("not built in"))
}

pub(super) fn demo(_: &Global, _: &DemoArgs, _: &mut Output) -> Ended {
    Err(Failure::failed("not built in"))
}
