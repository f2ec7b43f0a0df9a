//! What the registry of a closed network demands of its peers over their sessions: whom not to talk to, and to renew.
//!
//! Invariant: whoever is shut out is told to every session before anything else that happens later.

use std::{sync::Arc, time::Instant};

use super::{Down, Hub, Opened, Outbox};
use crate::protocol::{
    id::{PeerId, ZoneId},
    trust::DenyList,
};

/// Demands that one session has not been told yet.
#[derive(Debug, Default)]
pub(super) struct Orders {
    is_denied_due: bool,
    is_renewal_due: bool,
}

impl Orders {
    /// The list comes after the welcome, also when it is empty: the peer may hold an old one.
    pub(super) fn behind_welcome(denied: Option<&Arc<DenyList>>) -> Self {
        Self { is_denied_due: denied.is_some(), is_renewal_due: false }
    }

    /// The next one.
    pub(super) fn take(&mut self, denied: Option<&Arc<DenyList>>) -> Option<Down> {
        if std::mem::take(&mut self.is_denied_due)
            && let Some(denied) = denied
        {
            return Some(Down::Denied(denied.clone()));
        }
        std::mem::take(&mut self.is_renewal_due).then_some(Down::RenewalDue)
    }
}

impl Outbox {
    pub(super) fn want_renewal(&mut self) {
        self.orders.is_renewal_due = true;
        self.wake.notify_one();
    }
}

impl Hub {
    /// Everyone who was shut out, from now on told to every session; they are gone themselves. A list that is older than the last
    /// one changes nothing: two who shut somebody out at once may come here in either order.
    pub(in crate::registry) fn deny(&self, list: &DenyList) {
        let mut inner = self.lock();
        if inner.denied.as_ref().is_some_and(|denied| list.version < denied.version) {
            return;
        }
        inner.denied = Some(Arc::new(list.clone()));
        for peer in list.peers() {
            let events = inner.state.expel(peer, Instant::now());
            inner.dispatch(events);
        }
        for outbox in inner.outboxes.values_mut() {
            outbox.orders.is_denied_due = true;
            outbox.wake.notify_one();
        }
    }

    /// Takes off a peer that may be here no longer, and ends its session.
    pub(in crate::registry) fn expel(&self, peer: &PeerId) {
        let mut inner = self.lock();
        let events = inner.state.expel(peer, Instant::now());
        inner.dispatch(events);
    }

    /// Everyone is to renew.
    pub(in crate::registry) fn want_renewals(&self) {
        self.lock().outboxes.values_mut().for_each(Outbox::want_renewal);
    }

    /// This one is to renew.
    pub(in crate::registry) fn want_renewal(&self, session: &Opened) {
        if let Some(outbox) = self.lock().outbox(session) {
            outbox.want_renewal();
        }
    }

    /// From its next join on a peer is in this zone only; with `None`, in any.
    pub(in crate::registry) fn pin(&self, peer: PeerId, zone: Option<ZoneId>) {
        self.lock().state.pin(peer, zone);
    }
}
