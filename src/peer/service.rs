//! What other peers may ask of this one.
