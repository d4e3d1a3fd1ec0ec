//! A real Kubernetes with CloudNativePG on one machine.

pub mod artifacts;
pub mod certificates;
pub mod child;
pub mod components;
pub mod control_plane;
pub mod debian;
pub mod kubeconfig;
pub mod manifest;
pub mod postgres;
pub mod process;
pub mod scratch;
pub mod wait;
