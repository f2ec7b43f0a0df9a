//! Brings a peer up from its settings, and down again in order.
