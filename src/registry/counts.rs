//! What a registry counts, without locks: one atomic addition where something happens, whoever looks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counts {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Running counts.
        #[derive(Debug, Default)]
        pub(super) struct Counts {
            $(pub(super) $field: Count,)*
        }

        /// The counts at one moment, since the start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counted {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Counts {
            /// As they are now.
            pub(super) fn now(&self) -> Counted {
                Counted { $($field: self.$field.0.load(Relaxed),)* }
            }
        }
    };
}

counts! {
    /// Registrations that were let in, those of peers that came back included.
    registrations,
    /// Registrations that were refused.
    refused,
    /// Renewals of leases.
    heartbeats,
    /// Leases that ran out.
    expiries,
    /// Peers that left by themselves.
    leaves,
    /// Peers that were moved to another zone.
    moves,
    /// Zones that were opened.
    zones_opened,
    /// Zones that were merged into others, or closed behind their last peer.
    zones_closed,
    /// Sessions that were opened.
    sessions,
    /// Peers that were let into the network by an invite.
    enrollments,
    /// Certificates that were renewed.
    renewals,
    /// Members that were shut out.
    revocations,
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// One more.
    pub(super) fn add_one(&self) {
        self.add(1);
    }

    /// So many more.
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }
}
