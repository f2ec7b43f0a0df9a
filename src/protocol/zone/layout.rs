//! How zones are laid out, and why one does not take a peer: sizes are bounded whatever the layout.

use crate::protocol::id::ZoneId;

/// A fixed zone that has members is filled to this before an empty one is taken, so that few peers do not end up alone.
const FIXED_FILL_FIRST: u32 = 6;

/// How zones are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Zones open and merge as peers come and go. `max >= target + min`, `target >= 2 * min`, `min >= 1`.
    Elastic {
        /// A zone below this is filled first, and merged when it stays below.
        min: u32,
        /// A zone's usual size.
        target: u32,
        /// A zone is never larger.
        max: u32,
    },
    /// A number of zones of one size; the network is full when they are.
    Fixed {
        /// How many.
        zones: u32,
        /// Peers in each.
        zone_size: u32,
    },
}

impl Layout {
    /// A zone is never larger than this.
    pub fn max_size(self) -> u32 {
        match self {
            Self::Elastic { max, .. } => max,
            Self::Fixed { zone_size, .. } => zone_size,
        }
    }

    /// A zone with fewer members is filled first.
    pub(super) fn min_size(self) -> u32 {
        match self {
            Self::Elastic { min, .. } => min,
            Self::Fixed { zone_size, .. } => zone_size.min(FIXED_FILL_FIRST),
        }
    }

    /// Peers that a network of this layout holds; `None` where the layout sets no limit.
    pub fn capacity(self) -> Option<usize> {
        match self {
            Self::Elastic { .. } => None,
            Self::Fixed { zones, zone_size } => Some(zones as usize * zone_size as usize),
        }
    }
}

/// Every zone of a fixed layout is full. Nothing changed; there is room again when a peer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network is full: all {zones} zones hold {zone_size} peers")]
pub struct Full {
    /// How many zones there are.
    pub zones: u32,
    /// Peers in each.
    pub zone_size: u32,
}

/// Why the zone that a peer is pinned to does not take it. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Every zone of a fixed layout is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The zone is full.
    #[error("zone {zone}, the only one that this peer's invite allows, is full: it holds {size} peers")]
    PinnedFull {
        /// Which.
        zone: ZoneId,
        /// Peers that it holds.
        size: u32,
    },
    /// A fixed layout does not have the zone.
    #[error("zone {zone}, the only one that this peer's invite allows, does not exist")]
    PinnedAbsent {
        /// Which.
        zone: ZoneId,
    },
}
