//! Which peer belongs to which zone.

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
