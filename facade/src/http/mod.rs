//! HTTP: from a connection to an operation of `api`, and from its result to an answer. poem's request and response
//! types live here; no decision about teams, databases or tiers is made here.
//!
//! `server` (accepts) → `connection` (limits, TLS) → `gate` (who, may they, audit) → `api` (operation) → `answer`.
//!
//! | module | subject |
//! |---|---|
//! | [`server`] | the accept loop and its end |
//! | [`connection`] | one connection: TLS, deadlines, idleness |
//! | [`explained`] | refusals of what is no request |
//! | [`gate`] | what every request goes through, in order |
//! | [`idempotency`] | a repeated POST has one effect |
//! | [`routes`] | which operation a request is for |
//! | [`limit`] | how often somebody may ask |
//! | [`trace`] | where a request stands in a trace |
//! | [`upload`] | bodies, bounded in size and time |
//! | [`answer`] | responses, problem documents |
//! | [`metrics`] | counts and durations for Prometheus |

pub mod answer;
pub mod connection;
pub mod explained;
pub mod gate;
pub mod idempotency;
pub mod limit;
pub mod metrics;
pub mod routes;
pub mod server;
pub mod trace;
pub mod upload;

#[cfg(test)]
mod tests;
