//! What search costs where peers have documents: a made-up world of file names, and networks of it over the same rules and
//! filters that the daemons run. One seed gives one world and one run.

// Shared by a test and an example as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]
// Counts of at most some millions, portions, and figures for tables.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_lossless
)]

#[path = "sim/filter.rs"]
pub mod filter;
#[path = "sim/large.rs"]
pub mod large;
#[path = "sim/random.rs"]
pub mod random;
#[path = "sim/random_graph.rs"]
pub mod random_graph;
#[path = "sim/team.rs"]
pub mod team;
#[path = "sim/vocabulary.rs"]
pub mod vocabulary;
#[path = "sim/world.rs"]
pub mod world;
#[path = "sim/zones.rs"]
pub mod zones;
