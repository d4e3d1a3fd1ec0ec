//! The Kubernetes API: how it is read, written, watched, and who may write.
//!
//! | module | subject |
//! |---|---|
//! | [`client`] | reads, each with a deadline |
//! | [`apply`] | writes, each with a deadline and only by the leader |
//! | [`difference`] | whether a write is needed; pure |
//! | [`finalizer`] | what keeps an object that others use; pure |
//! | [`watch`] | watches that never block each other, and how fresh they are |
//! | [`lease`] | which replica leads |
//! | [`events`] | Events for people |
//! | [`error`] | what can go wrong with a call |

pub mod apply;
pub mod client;
pub mod difference;
pub mod error;
pub mod events;
pub mod finalizer;
pub mod lease;
pub mod watch;

/// The name under which the controller's fields stand in `managedFields`.
pub const FIELD_MANAGER: &str = "daap-controller";
