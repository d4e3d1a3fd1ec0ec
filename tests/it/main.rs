//! The integration tests: one binary, so that it links once.

mod architecture;
mod controller;
mod facade;
mod manifests;
mod product;
mod rules;
mod world;
