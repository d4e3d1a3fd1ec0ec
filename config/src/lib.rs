//! What both programs need before they can start.
//!
//! | module | subject |
//! |---|---|
//! | [`settings`] | typed settings from flags, environment and an optional YAML file |
//! | [`telemetry`] | logs, as JSON for machines or as text for people |
//! | [`process`] | the cryptography provider, and the signals that end a process |
//! | [`tls`] | the certificate of a server, followed when it is renewed |
//! | [`kubernetes`] | a client with deadlines and without hidden retries |

pub mod kubernetes;
pub mod process;
pub mod settings;
pub mod telemetry;
pub mod tls;
