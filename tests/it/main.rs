//! The integration tests: one binary, so that it links once.

mod architecture;
mod controller;
mod manifests;
mod rules;
