//! The cluster that the other tests run on: that it does what it says, and leaves nothing behind.

mod control_plane;
mod host;
mod node;
mod postgres;

/// The program under test.
const CLUSTER: &str = env!("CARGO_BIN_EXE_cluster");
