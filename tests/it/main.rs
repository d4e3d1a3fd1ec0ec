//! The integration tests: one binary, so that it links once.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, and in what only tests use, a panic is the report"
)]

mod architecture;
mod archive;
mod cluster;
mod contract;
mod controller;
mod facade;
mod lifecycle;
mod manifests;
mod mortal;
mod policies;
mod product;
mod quota;
mod rules;
mod tenant_sql;
mod world;
